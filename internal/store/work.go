package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"smtpbridge/events"
)

// work is one transaction of the history, with its statements, and what it writes
// at its end.
type work struct {
	tx         *sql.Tx
	number     int64 // among those of this bridge
	lost       bool  // its COMMIT never came
	server     bool
	portions   []int                      // of rows, for which there are statements
	prepared   map[statementFor]*sql.Stmt // those of the connection
	statements map[statementFor]*sql.Stmt // those of tx, which closes them
	outbox     Outbox
	owing      bool
	tallies    map[counted]tally
	names      names
	standings  map[string]*standing // by address, those that were asked for
	sequences  []int64              // of the events that were stored
	suppressed []string             // addresses
	told       []events.Event       // the bridge's own
}

func (w *work) end() { _ = w.tx.Rollback() } // nothing after Commit

// conclude writes what was gathered.
func (w *work) conclude(ctx context.Context, now time.Time) error {
	if err := w.addUp(ctx); err != nil {
		return err
	}
	if err := w.putStandings(ctx, now); err != nil {
		return err
	}
	return w.enqueue(ctx)
}

func (w *work) enqueue(ctx context.Context) error {
	switch {
	case len(w.sequences) == 0:
	case w.outbox != nil:
		if err := w.outbox.Enqueue(ctx, w.tx, w.sequences); err != nil {
			return fmt.Errorf("queueing what the application is told: %w", err)
		}
	case w.owing:
		return w.putRows(ctx, owe, column(w.sequences))
	}
	return nil
}

// statementFor is one of historyStatements, for so many rows.
type statementFor struct {
	text string
	rows int
}

// String is the text, with what stands in braces once for each row: there are
// fewer statements to run then, and fewer answers of a server to wait for.
func (s statementFor) String() string {
	before, rest, several := strings.Cut(s.text, "{")
	if !several {
		return s.text
	}
	row, after, _ := strings.Cut(rest, "}")
	row = "(" + row + ")"
	return before + row + strings.Repeat(", "+row, s.rows-1) + after
}

// manyRows are the most that a statement is made for.
const manyRows = 64

// portions are how many rows there are statements for, the most first. A server is
// far away; SQLite keeps each compiled, in memory that a small bridge does not have.
func (d *database) portions() []int {
	if d.isServer() {
		return []int{manyRows, 8, 1}
	}
	return []int{16, 4, 1}
}

// shapes are the statements that are prepared for a text.
func (d *database) shapes(text string) (all []statementFor) {
	if !strings.Contains(text, "{") {
		return []statementFor{{text, 1}}
	}
	for _, rows := range d.portions() {
		all = append(all, statementFor{text, rows})
	}
	return all
}

// portion is how many of n rows the next statement takes.
func (w *work) portion(n int) int {
	for _, rows := range w.portions {
		if n >= rows {
			return rows
		}
	}
	return n // there are none
}

// column makes rows of one value each.
func column[T any](values []T) [][]any {
	rows := make([][]any, len(values))
	for i, value := range values {
		rows[i] = []any{value}
	}
	return rows
}

// kept is a text as the database gives it back: there it may be the same as another.
func (w *work) kept(text string) string {
	if w.server {
		return storable(text)
	}
	return text
}

// putRows runs a statement with braces for all rows.
func (w *work) putRows(ctx context.Context, text string, rows [][]any) error {
	for len(rows) > 0 {
		n := w.portion(len(rows))
		if _, err := w.runFor(ctx, statementFor{text, n}, slices.Concat(rows[:n]...)); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// askRows has all rows scanned that a statement with braces gives for rows.
func (w *work) askRows(ctx context.Context, text string, rows [][]any, scan func(*sql.Rows) error) error {
	for len(rows) > 0 {
		n := w.portion(len(rows))
		if err := w.ask(ctx, statementFor{text, n}, slices.Concat(rows[:n]...), scan); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// ask has each row scanned that a statement gives.
func (w *work) ask(ctx context.Context, of statementFor, args []any, scan func(*sql.Rows) error) (err error) {
	s, err := w.statement(ctx, of) //nolint:sqlclosecheck // the transaction does
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return fmt.Errorf("running %s: %w", of.text, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("reading what %s gives: %w", of.text, err)
		}
	}
	return rows.Err()
}

// statement is that of the connection, in the transaction.
func (w *work) statement(ctx context.Context, of statementFor) (*sql.Stmt, error) {
	if s, found := w.statements[of]; found {
		return s, nil
	}
	s, found := w.prepared[of]
	if !found {
		return nil, fmt.Errorf("not among the statements: %s", of.text)
	}
	s = w.tx.StmtContext(ctx, s)
	w.statements[of] = s
	return s, nil
}

// run runs a statement; what went wrong says which.
func (w *work) run(ctx context.Context, text string, args ...any) (sql.Result, error) {
	return w.runFor(ctx, statementFor{text, 1}, args)
}

func (w *work) runFor(ctx context.Context, of statementFor, args []any) (sql.Result, error) {
	s, err := w.statement(ctx, of) //nolint:sqlclosecheck // the transaction does
	if err != nil {
		return nil, err
	}
	result, err := s.ExecContext(ctx, args...)
	if err != nil {
		return nil, fmt.Errorf("running %s: %w", of.text, err)
	}
	return result, nil
}

// exec gives the number of rows that were changed.
func (w *work) exec(ctx context.Context, text string, args ...any) (int64, error) {
	result, err := w.run(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// insert gives the key of the row; false where there was one.
func (w *work) insert(ctx context.Context, text string, args ...any) (key int64, added bool, err error) {
	if w.server {
		added, err = w.row(ctx, text, args, &key)
		return key, added, err
	}
	result, err := w.run(ctx, text, args...)
	if err != nil {
		return 0, false, err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return 0, false, err
	}
	key, err = result.LastInsertId()
	return key, true, err
}

// row reads one row into dest; false where there is none.
func (w *work) row(ctx context.Context, text string, args []any, dest ...any) (found bool, err error) {
	err = w.ask(ctx, statementFor{text, 1}, args, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(dest...)
	})
	return found && err == nil, err
}

// numbers reads rows of one number.
func (w *work) numbers(ctx context.Context, text string, args ...any) (all []int64, err error) {
	err = w.ask(ctx, statementFor{text, 1}, args, func(rows *sql.Rows) error {
		var number int64
		if err := rows.Scan(&number); err != nil {
			return err
		}
		all = append(all, number)
		return nil
	})
	return all, err
}

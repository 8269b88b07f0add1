package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

const (
	// turnTime bounds a transaction of deliveries on a server, the wait for other
	// bridges and a new connection included; finding out what became of one may take
	// it again.
	turnTime = 10 * time.Second
	// historyTime is for the history: a call of a provider may bring a thousand events.
	historyTime = 30 * time.Second
	// resolvePause is between two tries at that.
	resolvePause = 250 * time.Millisecond
)

// session is the one connection of a writer, with its statements. That of a
// server may be lost; the next transaction makes a new one.
type session struct {
	db       *database
	instance string
	texts    [statements]string
	conn     *sql.Conn // nil where there is none now
	// prepared are the statements on it: a sql.Tx would prepare its BEGIN, its COMMIT
	// and its own of each anew, a sixth of the cost of a turn.
	prepared [statements]*sql.Stmt

	number int64 // of the transaction, among those of this bridge
	wrote  bool
}

func newSession(db *database, instance string) *session {
	s := &session{db: db, instance: instance, texts: sqliteStatements()}
	if db.isServer() {
		s.texts = postgresStatements()
	}
	return s
}

func (s *session) exec(ctx context.Context, of statement, args ...any) (sql.Result, error) {
	s.wrote = true
	return s.prepared[of].ExecContext(ctx, args...)
}

func (s *session) query(ctx context.Context, of statement, args ...any) (*sql.Rows, error) {
	return s.prepared[of].QueryContext(ctx, args...)
}

func (s *session) queryRow(ctx context.Context, of statement, args ...any) *sql.Row {
	return s.prepared[of].QueryRowContext(ctx, args...)
}

// insert gives the number of a new row, 0 where there was one.
func (s *session) insert(ctx context.Context, of statement, args ...any) (number int64, err error) {
	if s.db.isServer() {
		s.wrote = true
		err := s.queryRow(ctx, of, args...).Scan(&number)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil
		}
		return number, err
	}
	inserted, err := s.exec(ctx, of, args...)
	if err != nil {
		return 0, err
	}
	if n, err := inserted.RowsAffected(); err != nil || n == 0 {
		return 0, err
	}
	return inserted.LastInsertId()
}

// connect takes a connection and compiles the statements on it. After an error,
// too, close must be called.
func (s *session) connect(ctx context.Context) (err error) {
	if s.conn, err = s.db.Conn(ctx); err != nil {
		s.conn = nil
		return err
	}
	for i, text := range s.texts {
		if s.prepared[i], err = s.conn.PrepareContext(ctx, text); err != nil { //nolint:sqlclosecheck // close does
			return fmt.Errorf("preparing %s: %w", text, err)
		}
	}
	return nil
}

// close gives the connection back, once nothing runs any more.
func (s *session) close() error {
	if s.conn == nil {
		return nil
	}
	var errs []error
	for _, prepared := range s.prepared {
		if prepared != nil {
			errs = append(errs, prepared.Close())
		}
	}
	err := errors.Join(append(errs, s.conn.Close())...)
	s.conn = nil
	return err
}

// drop lets go of a connection that is broken.
func (s *session) drop() {
	if s.conn != nil {
		_ = s.conn.Raw(func(any) error { return driver.ErrBadConn }) // it is not given to anybody else
		_ = s.close()                                                // it is closed
	}
}

// begin begins a transaction. A connection that has been lost since the last one
// shows here: then there is a second try, on a new one.
func (s *session) begin(ctx context.Context) error {
	s.wrote = false
	s.number = max(s.number+1, time.Now().UnixNano())
	if !s.db.isServer() {
		_, err := s.exec(ctx, beginTurn)
		return err
	}
	for tries := 1; ; tries++ {
		fresh := s.conn == nil
		if fresh {
			if err := s.connect(ctx); err != nil {
				return err
			}
		}
		_, err := s.conn.ExecContext(ctx, s.texts[beginTurn])
		if err == nil {
			return nil
		}
		s.drop()
		if fresh || ctx.Err() != nil {
			return err
		}
	}
}

func (s *session) rollback(ctx context.Context) {
	if s.conn == nil {
		return
	}
	_, err := s.conn.ExecContext(ctx, s.texts[rollbackTurn])
	if s.db.isServer() && (err != nil || !s.isValid()) {
		s.drop()
	}
}

// isValid: the connection is not to a server of which is known that it only reads.
func (s *session) isValid() bool {
	return s.conn.Raw(func(c any) error {
		if known, is := c.(driver.Validator); is && !known.IsValid() {
			return driver.ErrBadConn
		}
		return nil
	}) == nil
}

// undo ends a transaction that has failed. Where it has lost the connection with
// it there may be a better one, and nothing is on record.
func (s *session) undo(ctx context.Context, cause error) error {
	s.rollback(ctx)
	if s.db.isServer() && s.conn == nil && ctx.Err() == nil {
		return &lostError{cause}
	}
	return cause
}

// commit ends a transaction. After an error nothing of it is on record, unless
// the error is an unsureError.
func (s *session) commit(ctx context.Context) error {
	if !s.db.isServer() {
		_, err := s.exec(ctx, commitTurn)
		if err != nil {
			s.rollback(ctx) // SQLite may have done it
		}
		return err
	}
	text := s.texts[commitTurn]
	if s.wrote {
		text = noteTurn(s.instance, s.number) + text
	}
	_, err := s.conn.ExecContext(ctx, text)
	if err == nil {
		return nil
	}
	if s.rollback(ctx); s.conn != nil || !s.wrote {
		return err // the server is there, and has said no
	}
	return s.resolve(ctx, err)
}

// unsureError: a COMMIT was sent and not answered, and the server is away.
type unsureError struct{ error }

func (e *unsureError) Unwrap() error { return e.error }

func isUnsure(err error) bool {
	_, is := errors.AsType[*unsureError](err)
	return is
}

// lostError: the connection was lost before a COMMIT came.
type lostError struct{ error }

func (e *lostError) Unwrap() error { return e.error }

func isLost(err error) bool {
	_, is := errors.AsType[*lostError](err)
	return is
}

// beginError: there is not even a transaction.
type beginError struct{ error }

func (e *beginError) Unwrap() error { return e.error }

// isWhole: the error is about no single request.
func isWhole(err error) bool {
	_, is := errors.AsType[*beginError](err)
	return is || isUnsure(err)
}

// resolve finds out whether a COMMIT without an answer was one; cause is what it
// has ended with.
func (s *session) resolve(ctx context.Context, cause error) error {
	var last int64
	err := s.db.persist(ctx, func(ctx context.Context) (err error) {
		last, err = s.lastTurn(ctx)
		return err
	})
	switch {
	case err != nil:
		return &unsureError{cause}
	case last != s.number:
		return &lostError{cause}
	}
	return nil
}

// lastTurn is the number of the last transaction that was committed. It waits for
// the end of one that still is: a transaction has the lock until then.
func (s *session) lastTurn(ctx context.Context) (number int64, err error) {
	if err := s.connect(ctx); err != nil {
		return 0, err
	}
	if _, err = s.conn.ExecContext(ctx, s.texts[beginTurn]); err == nil {
		err = s.conn.QueryRowContext(ctx, turnOf, s.instance).Scan(&number)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		s.drop()
		return 0, err
	}
	s.rollback(ctx)
	return number, nil
}

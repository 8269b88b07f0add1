package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// pgConnector makes connections that take the texts of this package as they are.
type pgConnector struct {
	driver.Connector

	texts *sync.Map     // what was asked, in the form that the server knows
	limit time.Duration // of what is asked without a deadline
	// turned is how often a server was met that only reads: what was connected before
	// the last time may be to one that does.
	turned *atomic.Int64
	silent *unanswered
}

// onlyReads is the code of the error of a server that has become a standby.
const onlyReads = "25006"

// Connect makes a connection.
func (c pgConnector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	if err := c.silent.heard(); err != nil {
		return nil, err
	}
	turned, start := c.turned.Load(), time.Now()
	made, err := c.Connector.Connect(ctx)
	if err != nil {
		c.silent.note(err, time.Since(start) >= min(connectTime, c.limit)/2)
		return nil, err //nolint:wrapcheck // whoever asks says of what
	}
	conn, ok := made.(*stdlib.Conn)
	if !ok {
		return nil, fmt.Errorf("the driver of PostgreSQL makes a %T", made)
	}
	return &pgConn{Conn: conn, of: c, turned: turned}, nil
}

// unanswered is what a server has come to that did not answer. Those who have waited
// for a connection while others waited for that server are told the same: one after
// the other they would wait for it as many times as there are of them.
type unanswered struct {
	mu    sync.Mutex // guards what follows
	err   error
	since time.Time
}

// silenceTime is how long it is taken for granted.
const silenceTime = 100 * time.Millisecond

func (s *unanswered) heard() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.since) >= silenceTime {
		return nil
	}
	return s.err
}

// note takes in what a connection has failed with, where it was waited for.
func (s *unanswered) note(err error, waited bool) {
	if !waited || !pgconn.Timeout(err) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.since = err, time.Now()
}

// isOfConnection: the error may be one of the connection alone, and another may do.
func isOfConnection(err error) bool {
	if _, unconnected := errors.AsType[*pgconn.ConnectError](err); unconnected {
		return false
	}
	said, is := errors.AsType[*pgconn.PgError](err)
	return !is || said.Code == onlyReads || strings.HasPrefix(said.Code, "57P")
}

// pgConn is a connection of the driver, with five differences: a text may have
// the placeholders of SQLite; preparing costs nothing, because the driver itself
// prepares what is new to a connection when it is first asked; strings are
// without what PostgreSQL knows no place for; nothing is waited for without end,
// whoever asks; and none is used again once a server was met that only reads.
type pgConn struct {
	*stdlib.Conn

	of     pgConnector
	turned int64
}

// bound gives a deadline to what has none: a network may lose things without a word.
func (c *pgConn) bound(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}

// heed looks whether an error says that the server only reads.
func (c *pgConn) heed(err error) error {
	if said, is := errors.AsType[*pgconn.PgError](err); is && said.Code == onlyReads {
		c.of.turned.CompareAndSwap(c.turned, c.turned+1)
	}
	return err
}

// IsValid says whether the connection may be kept.
func (c *pgConn) IsValid() bool { return c.turned == c.of.turned.Load() && !c.Conn.Conn().IsClosed() }

// ResetSession is called before the connection is used again. One that does not
// answer soon is given up for another.
func (c *pgConn) ResetSession(ctx context.Context) error {
	if !c.IsValid() {
		return driver.ErrBadConn
	}
	ctx, cancel := context.WithTimeout(ctx, min(checkTime, c.of.limit/2))
	defer cancel()
	return c.Conn.ResetSession(ctx) //nolint:wrapcheck // driver.ErrBadConn, or nil
}

// Ping is that of the driver.
func (c *pgConn) Ping(ctx context.Context) error {
	if !c.IsValid() {
		return driver.ErrBadConn
	}
	ctx, cancel := c.bound(ctx, checkTime)
	defer cancel()
	return c.Conn.Ping(ctx) //nolint:wrapcheck // driver.ErrBadConn, or nil
}

// BeginTx is that of the driver; the deadline is that of the COMMIT, too.
func (c *pgConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	ctx, cancel := c.bound(ctx, c.of.limit)
	tx, err := c.Conn.BeginTx(ctx, opts)
	if err != nil {
		cancel()
		return nil, err //nolint:wrapcheck // whoever asks says for what
	}
	return &pgTx{tx, cancel}, nil
}

// pgTx is a transaction with a deadline.
type pgTx struct {
	driver.Tx

	done context.CancelFunc
}

// Commit is that of the driver.
func (t *pgTx) Commit() error {
	defer t.done()
	return t.Tx.Commit() //nolint:wrapcheck // whoever asks says of what
}

// Rollback is that of the driver.
func (t *pgTx) Rollback() error {
	defer t.done()
	return t.Tx.Rollback() //nolint:wrapcheck // whoever asks says of what
}

func (c *pgConn) text(query string) string {
	if known, found := c.of.texts.Load(query); found {
		return known.(string) //nolint:errcheck,forcetypeassert // it holds nothing else
	}
	text := dollars(query)
	if len(text) <= maxKnownText {
		c.of.texts.Store(query, text)
	}
	return text
}

// maxKnownText keeps what is made anew for each call, long lists, out of memory.
const maxKnownText = 2000

// ExecContext is that of the driver.
func (c *pgConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, c.text(query), args)
}

func (c *pgConn) exec(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	ctx, cancel := c.bound(ctx, c.of.limit)
	defer cancel()
	result, err := c.Conn.ExecContext(ctx, text, args)
	return result, c.heed(err)
}

// QueryContext is that of the driver.
func (c *pgConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, c.text(query), args)
}

func (c *pgConn) query(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	ctx, cancel := c.bound(ctx, c.of.limit)
	outside := c.Conn.Conn().PgConn().TxStatus() == 'I'
	rows, err := c.Conn.QueryContext(ctx, text, args)
	if err != nil {
		// What reads may be read again, on another connection: one that was lost while
		// it was idle shows only now.
		again := outside && strings.HasPrefix(text, "SELECT") && c.Conn.Conn().IsClosed() && ctx.Err() == nil
		cancel()
		if again {
			return nil, driver.ErrBadConn
		}
		return nil, c.heed(err)
	}
	read, is := rows.(*stdlib.Rows)
	if !is {
		cancel()
		return nil, errors.Join(fmt.Errorf("the driver of PostgreSQL gives a %T", rows), rows.Close())
	}
	return &pgRows{read, cancel}, nil
}

// pgRows are rows with a deadline.
type pgRows struct {
	*stdlib.Rows

	done context.CancelFunc
}

// Close is that of the driver.
func (r *pgRows) Close() error {
	defer r.done()
	return r.Rows.Close() //nolint:wrapcheck // whoever asks says of what
}

// PrepareContext asks nothing of the server.
func (c *pgConn) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	return &pgStatement{conn: c, text: c.text(query)}, nil
}

// CheckNamedValue lets all through that the driver knows.
func (c *pgConn) CheckNamedValue(v *driver.NamedValue) error {
	switch value := v.Value.(type) {
	case string:
		v.Value = storable(value)
	case []string:
		texts := make([]string, len(value))
		for i, text := range value {
			texts[i] = storable(text)
		}
		v.Value = texts
	}
	return nil
}

// pgStatement is a statement that the driver prepares when it is first needed.
type pgStatement struct {
	conn *pgConn
	text string
}

// Close has nothing to let go of: the driver keeps it with the connection.
func (*pgStatement) Close() error { return nil }

// NumInput leaves the check to the server.
func (*pgStatement) NumInput() int { return -1 }

// Exec is never called, where there is ExecContext.
func (*pgStatement) Exec([]driver.Value) (driver.Result, error) { return nil, driver.ErrSkip }

// Query is never called, where there is QueryContext.
func (*pgStatement) Query([]driver.Value) (driver.Rows, error) { return nil, driver.ErrSkip }

// ExecContext runs it.
func (s *pgStatement) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.exec(ctx, s.text, args)
}

// QueryContext runs it.
func (s *pgStatement) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.query(ctx, s.text, args)
}

// storable gives a text without NUL and what is not UTF-8, which PostgreSQL's
// TEXT cannot hold, and without the escaped NUL of JSON, which its JSON cannot.
func storable(text string) string {
	const replacement = "\uFFFD"
	text = strings.ToValidUTF8(text, replacement)
	if strings.IndexByte(text, 0) >= 0 {
		text = strings.ReplaceAll(text, "\x00", replacement)
	}
	if strings.Contains(text, `\u0000`) {
		text = withoutEscapedNUL(text)
	}
	return text
}

// withoutEscapedNUL leaves a backslash that is itself escaped alone.
func withoutEscapedNUL(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], `\u0000`):
			b.WriteString(`\ufffd`)
			i += len(`\u0000`) - 1
		case text[i] == '\\' && i+1 < len(text):
			b.WriteString(text[i : i+2])
			i++
		default:
			b.WriteByte(text[i])
		}
	}
	return b.String()
}

// dollars gives a text the placeholders of PostgreSQL: $1 for ?1, and for each ?
// without a number the next. What has them is left alone.
func dollars(text string) string {
	if strings.Contains(text, "$1") {
		return text
	}
	var b strings.Builder
	next := 0
	for i := range len(text) {
		switch {
		case text[i] != '?':
			b.WriteByte(text[i])
		case i+1 < len(text) && text[i+1] >= '1' && text[i+1] <= '9':
			b.WriteByte('$')
		default:
			next++
			fmt.Fprintf(&b, "$%d", next)
		}
	}
	return b.String()
}

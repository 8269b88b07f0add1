package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/stdlib"
)

// pgConnector makes connections that take the texts of this package as they are.
type pgConnector struct {
	driver.Connector

	texts *sync.Map // what was asked, in the form that the server knows
}

// Connect makes a connection.
func (c pgConnector) Connect(ctx context.Context) (driver.Conn, error) {
	made, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // whoever asks says of what
	}
	conn, ok := made.(*stdlib.Conn)
	if !ok {
		return nil, fmt.Errorf("the driver of PostgreSQL makes a %T", made)
	}
	return &pgConn{Conn: conn, texts: c.texts}, nil
}

// pgConn is a connection of the driver, with three differences: a text may have
// the placeholders of SQLite; preparing costs nothing, because the driver itself
// prepares what is new to a connection when it is first asked; and strings are
// without what PostgreSQL knows no place for.
type pgConn struct {
	*stdlib.Conn

	texts *sync.Map
}

func (c *pgConn) text(query string) string {
	if known, found := c.texts.Load(query); found {
		return known.(string) //nolint:errcheck,forcetypeassert // it holds nothing else
	}
	text := dollars(query)
	if len(text) <= maxKnownText {
		c.texts.Store(query, text)
	}
	return text
}

// maxKnownText keeps what is made anew for each call, long lists, out of memory.
const maxKnownText = 2000

// ExecContext is that of the driver.
func (c *pgConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.ExecContext(ctx, c.text(query), args) //nolint:wrapcheck // whoever asks says for what
}

// QueryContext is that of the driver.
func (c *pgConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.QueryContext(ctx, c.text(query), args) //nolint:wrapcheck // whoever asks says for what
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
	return s.conn.Conn.ExecContext(ctx, s.text, args) //nolint:wrapcheck // whoever asks says for what
}

// QueryContext runs it.
func (s *pgStatement) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.Conn.QueryContext(ctx, s.text, args) //nolint:wrapcheck // whoever asks says for what
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

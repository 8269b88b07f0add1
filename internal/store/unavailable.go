package store

import (
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
)

// Unavailable reports whether an error says that the database is locked, full,
// damaged, away or closed, and what to do: the same may be asked again afterwards.
// Any other error is a mistake of the bridge.
func Unavailable(err error) (remedy string, is bool) {
	if errors.Is(err, ErrClosed) {
		return "the bridge is stopping", true
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		remedy = remedyFor(e.Code())
	} else if remedy = remedyOf(err); remedy == "" && isAway(err) {
		remedy = "; see that the server of store.url is up and can be reached"
	}
	return strings.TrimPrefix(remedy, "; "), remedy != ""
}

// awayClasses are the errors of a server that stops, is overloaded, has ended the
// connection or has waited too long (PostgreSQL, appendix A).
var awayClasses = []string{"08", "40", "53", "55", "57", "58"}

// isAway: the server does not answer, or not now.
func isAway(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "25P03" || len(pg.Code) > 2 && slices.Contains(awayClasses, pg.Code[:2])
	}
	if _, ok := errors.AsType[net.Error](err); ok { // a context that has run out is one
		return true
	}
	_, unconnected := errors.AsType[*pgconn.ConnectError](err)
	return unconnected || pgconn.SafeToRetry(err) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

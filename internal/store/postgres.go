package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"smtpbridge/internal/config"
)

//go:embed postgres
var postgresFiles embed.FS

// How a PostgreSQL server is used.
//
// Each part of the store has a schema of its own and a lock of its own, which a
// transaction that writes takes first and has until it has ended: so the
// transactions of all bridges follow one another. Counts are exact without more,
// two repeats at two bridges see each other, and whoever reads what rises (the
// sequence of events, the changes of the suppressions) never passes over what a
// slower transaction shows later. What comes at once at one bridge shares a
// transaction, so the wait is short.
const (
	// connectTime bounds a new connection, to all hosts of the URL together, where
	// that does not say how long each may take.
	connectTime = 5 * time.Second
	// checkTime bounds the question whether a connection that was idle is still one.
	checkTime = 2 * time.Second
	// migrationTime is how long a bridge that starts waits for others that make tables.
	migrationTime = 10 * time.Minute
	// idleConnections are kept; more are made when many read at once.
	idleConnections = 4
	// migrationLock is taken while tables are made, whatever the part.
	migrationLock = 0x736d7470_00
)

// schema of a part.
func (p part) schema() string { return "bridge_" + p.name() }

// lock of a part, among the advisory locks of its database.
func (p part) lock() int64 { return migrationLock + 1 + int64(p) }

// connections are how many a part may have at once. The writer of deliveries has
// one, and catching up needs a second beside it; the history has one that writes,
// and forwarding the others. With the readers it makes 12.
func (p part) connections() int {
	if p == deliveryPart {
		return 2
	}
	return 6
}

// limit is how long a transaction of a part may take.
func (p part) limit() time.Duration {
	if p == deliveryPart {
		return turnTime
	}
	return historyTime
}

// bound bounds what is asked of a server.
func (d *database) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if !d.isServer() {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d.limit)
}

// ended is what is on record of the last transaction of the history that a bridge
// has committed: who got no answer to a COMMIT finds out by it whether it was one.
type ended struct {
	instance string
	number   int64
}

func (e ended) name() string { return "turn " + e.instance }

// takeTurn notes the transaction once it is its turn, in one step.
const takeTurn = `INSERT INTO progress (name, value) SELECT $1::text, $2::bigint FROM pg_advisory_xact_lock(%d)
	ON CONFLICT (name) DO UPDATE SET value = excluded.value`

// beginTurn begins a transaction of the history that writes; on a server, when it
// is its turn. A connection that was lost while it was idle shows here: then
// another may be better, but for no longer than all may be such.
func (d *database) beginTurn(ctx context.Context, e ended) (tx *sql.Tx, err error) {
	for range d.part.connections() {
		tx, err = d.tryTurn(ctx, e)
		if err == nil || !d.isServer() || ctx.Err() != nil || !isOfConnection(err) {
			break
		}
	}
	return tx, err
}

func (d *database) tryTurn(ctx context.Context, e ended) (*sql.Tx, error) {
	tx, err := d.BeginTx(ctx, nil)
	if err != nil || !d.isServer() {
		return tx, err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(takeTurn, d.part.lock()), e.name(), e.number); err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for other bridges: %w", err), tx.Rollback())
	}
	return tx, nil
}

// hasEnded reports whether a transaction was committed. It waits for the end of
// one that still is, which has the lock until then.
func (d *database) hasEnded(ctx context.Context, e ended) (is bool, err error) {
	tx, err := d.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", d.part.lock())); err != nil {
		return false, fmt.Errorf("waiting for other bridges: %w", err)
	}
	var last int64
	err = tx.QueryRowContext(ctx, getProgress, e.name()).Scan(&last)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return last == e.number, err
}

// persist does f until it works, as long as a transaction may take.
func (d *database) persist(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancel := d.bound(context.WithoutCancel(ctx))
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(resolvePause):
		}
	}
}

// returning has the statement that inserts one row give its key, which a server
// does not tell else.
func (d *database) returning(text string) string {
	if d.isServer() && text == addSuppression {
		return text + " RETURNING change"
	}
	return text
}

// isPostgres: the URL is that of a server.
func isPostgres(url string) bool {
	return strings.HasPrefix(url, "postgres:") || strings.HasPrefix(url, "postgresql:")
}

// parsePostgres never repeats the URL: there may be a password in it.
func parsePostgres(url string, password config.Secret) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New(`is no URL of PostgreSQL; write one such as "postgres://bridge@db.example.com:5432/bridge?sslmode=verify-full"`)
	}
	if !password.IsZero() {
		c.Password = password.Reveal()
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTime / time.Duration(len(addressesOf(c)))
	}
	// A server that is gone without a word must not be waited for as long as the
	// kernel would.
	c.DialFunc = (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepaliveIdle, Interval: keepaliveInterval, Count: keepaliveCount,
	}}).DialContext
	return c, nil
}

// addressesOf are the servers of a URL, in the order in which they are tried.
func addressesOf(c *pgx.ConnConfig) []string {
	all := []string{fmt.Sprintf("%s:%d", c.Host, c.Port)}
	for _, other := range c.Fallbacks { // one may be there with TLS and without
		if address := fmt.Sprintf("%s:%d", other.Host, other.Port); !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	return all
}

// Who has not been heard of for 25 seconds is gone: both sides ask.
const (
	keepaliveIdle     = 10 * time.Second
	keepaliveInterval = 5 * time.Second
	keepaliveCount    = 3
)

// isolation must not be another, whatever the database or the URL says.
const isolation = "default_transaction_isolation"

// settings of each connection, but for those that the URL has. A bridge whose
// machine has gone without a word must not keep the lock: the server ends its
// transaction. Nothing waits for it longer than a transaction may take.
func (p part) settings(limit time.Duration) map[string]string {
	s := map[string]string{
		"application_name":                    "smtp-bridge " + p.name(),
		"search_path":                         p.schema(),
		"statement_timeout":                   milliseconds(limit + limit/2),
		"lock_timeout":                        milliseconds(limit - limit/5),
		"idle_in_transaction_session_timeout": "8s",
		"tcp_keepalives_idle":                 seconds(keepaliveIdle),
		"tcp_keepalives_interval":             seconds(keepaliveInterval),
		"tcp_keepalives_count":                fmt.Sprint(keepaliveCount),
		// A plan that was made while the tables were empty is kept.
		"enable_seqscan": "off",
		// Whoever has waited for his turn must see what came before it.
		isolation: "read committed",
	}
	if p.commits() == kept {
		s["synchronous_commit"] = "off"
	}
	return s
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

func seconds(d time.Duration) string { return fmt.Sprint(int(d.Seconds())) }

// openPostgres prepares the connections of a part; whoever asks first connects.
func openPostgres(c Config, o Options, p part) (*database, error) {
	parsed, err := parsePostgres(c.URL, c.Password)
	if err != nil {
		return nil, fmt.Errorf("the URL %w", err)
	}
	limit := p.limit()
	if o.limit > 0 {
		limit = o.limit
	}
	for key, value := range p.settings(limit) {
		if _, given := parsed.RuntimeParams[key]; !given || key == "search_path" || key == isolation {
			parsed.RuntimeParams[key] = value
		}
	}
	connector := pgConnector{stdlib.GetConnector(*parsed), new(sync.Map), limit, new(atomic.Int64), new(unanswered)}
	d := &database{
		DB:     sql.OpenDB(connector),
		again:  connector,
		part:   p,
		limit:  limit,
		soon:   make(chan struct{}, 1),
		server: fmt.Sprintf("PostgreSQL at %s, database %s", strings.Join(addressesOf(parsed), ", "), parsed.Database),
	}
	d.SetMaxOpenConns(p.connections())
	d.SetMaxIdleConns(min(p.connections(), idleConnections))
	d.SetConnMaxIdleTime(time.Minute)
	return d, nil
}

// migratePostgres brings a schema up to date, one bridge at a time.
func migratePostgres(ctx context.Context, d *database) error {
	files, err := fs.Sub(postgresFiles, "postgres/"+d.part.name())
	if err != nil {
		return fmt.Errorf("finding the migrations: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, migrationTime)
	defer cancel()
	conn, err := d.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // back to the pool
	// Whoever waits for another's migration may wait longer than for its mail.
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("SET lock_timeout = 0; SET statement_timeout = 0; SELECT pg_advisory_lock(%d)", migrationLock)); err != nil {
		return fmt.Errorf("waiting for the migrations of other bridges: %w", err)
	}
	err = makeSchema(ctx, conn, d.part.schema())
	if err == nil {
		err = migrate(ctx, conn, files)
	}
	_, unlocked := conn.ExecContext(context.WithoutCancel(ctx),
		fmt.Sprintf("SELECT pg_advisory_unlock(%d); RESET lock_timeout; RESET statement_timeout", migrationLock))
	return errors.Join(err, unlocked)
}

// makeSchema asks first: who may not create may still use what was made for him.
func makeSchema(ctx context.Context, conn *sql.Conn, name string) error {
	var there bool
	const exists = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)"
	if err := conn.QueryRowContext(ctx, exists, name).Scan(&there); err != nil || there {
		return err
	}
	if _, err := conn.ExecContext(ctx, "CREATE SCHEMA "+name); err != nil {
		return fmt.Errorf("making the schema %s: %w", name, err)
	}
	return nil
}

// noteTurn is put before a COMMIT. There are no parameters where several
// statements go at once.
func noteTurn(instance string, number int64) string {
	return fmt.Sprintf("INSERT INTO turns (instance, turn) VALUES ('%s', %d) ON CONFLICT (instance) DO UPDATE SET turn = excluded.turn; ",
		strings.ReplaceAll(instance, "'", "''"), number)
}

// remedyOf an error of a server.
func remedyOf(err error) string {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		if errors.Is(err, context.DeadlineExceeded) {
			return "; it does not answer in time"
		}
		if isAway(err) {
			return "; see that the server of store.url is up and can be reached"
		}
		return ""
	}
	switch {
	case pg.Code == "28P01" || pg.Code == "28000":
		return "; check the user in store.url and store.password"
	case pg.Code == "3D000":
		return "; create the database, or name another in store.url"
	case pg.Code == "42501" || pg.Code == "3F000": // the second where a schema may not even be used
		return "; the user must be allowed to create schemas in the database, or own the schemas bridge_delivery and bridge_history"
	case pg.Code == onlyReads:
		return "; it only reads: write the address of the server that writes, or target_session_attrs=read-write, in store.url"
	case pg.Code == "55P03" || pg.Code == "57014":
		return "; it, or another bridge, takes too long"
	case pg.Code == "53300":
		return "; a bridge needs up to 12 connections: raise max_connections"
	case strings.HasPrefix(pg.Code, "53"):
		return "; make room on the server"
	}
	return ""
}

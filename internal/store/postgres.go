package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
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
	// connectTime bounds a new connection, where the URL does not.
	connectTime = 5 * time.Second
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

// bound bounds what is asked of a server.
func (d *database) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	switch {
	case !d.isServer():
		return ctx, func() {}
	case d.part == deliveryPart:
		return context.WithTimeout(ctx, turnTime)
	}
	return context.WithTimeout(ctx, historyTime)
}

// beginTurn begins a transaction that writes; on a server, when it is its turn.
func (d *database) beginTurn(ctx context.Context) (*sql.Tx, error) {
	tx, err := d.BeginTx(ctx, nil)
	if err != nil || !d.isServer() {
		return tx, err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", d.part.lock())); err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for other bridges: %w", err), tx.Rollback())
	}
	return tx, nil
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
		c.ConnectTimeout = connectTime
	}
	return c, nil
}

// settings of each connection, but for those that the URL has. A bridge whose
// machine has gone without a word must not keep the lock: the server ends its
// transaction. Nothing waits longer than turnTime.
func (p part) settings() map[string]string {
	statementTime, lockTime := turnTime+turnTime/2, turnTime-2*time.Second
	if p == historyPart {
		statementTime, lockTime = historyTime, historyTime-2*time.Second
	}
	s := map[string]string{
		"application_name":                    "smtp-bridge " + p.name(),
		"search_path":                         p.schema(),
		"statement_timeout":                   milliseconds(statementTime),
		"lock_timeout":                        milliseconds(lockTime),
		"idle_in_transaction_session_timeout": "8s",
		"tcp_keepalives_idle":                 "10",
		"tcp_keepalives_interval":             "5",
		"tcp_keepalives_count":                "3",
		// A plan that was made while the tables were empty is kept.
		"enable_seqscan": "off",
	}
	if p.commits() == kept {
		s["synchronous_commit"] = "off"
	}
	return s
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

// openPostgres prepares the connections of a part; whoever asks first connects.
func openPostgres(c Config, p part) (*database, error) {
	parsed, err := parsePostgres(c.URL, c.Password)
	if err != nil {
		return nil, fmt.Errorf("the URL %w", err)
	}
	for key, value := range p.settings() {
		if _, given := parsed.RuntimeParams[key]; !given || key == "search_path" {
			parsed.RuntimeParams[key] = value
		}
	}
	connector := pgConnector{stdlib.GetConnector(*parsed), new(sync.Map)}
	d := &database{
		DB:     sql.OpenDB(connector),
		again:  connector,
		part:   p,
		soon:   make(chan struct{}, 1),
		server: fmt.Sprintf("PostgreSQL at %s:%d, database %s", parsed.Host, parsed.Port, parsed.Database),
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
		return ""
	}
	switch {
	case pg.Code == "28P01" || pg.Code == "28000":
		return "; check the user in store.url and store.password"
	case pg.Code == "3D000":
		return "; create the database, or name another in store.url"
	case pg.Code == "42501":
		return "; the user must be allowed to create schemas in the database, or own the schemas bridge_delivery and bridge_history"
	case pg.Code == "25006":
		return "; it only reads: write the address of the server that writes, or target_session_attrs=read-write, in store.url"
	case pg.Code == "53300":
		return "; a bridge needs up to 12 connections: raise max_connections"
	case strings.HasPrefix(pg.Code, "53"):
		return "; make room on the server"
	}
	return ""
}

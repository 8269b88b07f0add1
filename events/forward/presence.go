package forward

import (
	"context"
	"database/sql"
	driversql "database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// presence lets the bridges on one PostgreSQL know of each other. Each holds a
// lock of its name on a connection of its own, which the server lets go of with
// the connection, however the bridge ends. Whoever finds that the lock of a name
// is free makes the jobs that were running under it available again, and their
// attempt does not count. A bridge that has only lost its connection sends such
// a job too; the application drops the repeat by its id.
type presence struct {
	db       *sql.DB
	name     string
	logger   *slog.Logger
	interval time.Duration
	wake     func()

	conn *sql.Conn // nil where it was lost
}

const (
	// lockOf is the number of the lock of a name.
	lockOf = `hashtextextended('smtp-bridge forward ' || $1, 0)`

	holdName = `SELECT pg_try_advisory_lock(` + lockOf + `)`
	heldName = `SELECT pg_try_advisory_xact_lock(` + lockOf + `)`

	runningNames = `SELECT DISTINCT attempted_by[array_upper(attempted_by, 1)] FROM river_job
		WHERE state = 'running' AND queue = '` + queue + `'`
	reclaimOf = `UPDATE river_job SET state = 'available', attempt = attempt - 1
		WHERE state = 'running' AND queue = '` + queue + `' AND attempted_by[array_upper(attempted_by, 1)] = $1`

	lockMigration   = `SELECT pg_advisory_lock(hashtextextended('smtp-bridge forward', 0))`
	unlockMigration = `SELECT pg_advisory_unlock(hashtextextended('smtp-bridge forward', 0))`
)

// errName says that the server has not noticed yet that a connection was lost, or
// that another bridge is just taking over.
var errName = errors.New("the lock of the bridge's name is not free yet")

// watch looks again and again until ctx ends.
func (p *presence) watch(ctx context.Context) {
	tick := time.NewTicker(p.interval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := p.look(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			p.logger.WarnContext(ctx, "what other bridges leave behind cannot be taken over now", slog.Any("err", err))
		}
		failing = err != nil
	}
}

// look holds the name, and takes over what was left behind.
func (p *presence) look(ctx context.Context) error {
	if err := p.hold(ctx); err != nil {
		return err
	}
	names, err := p.running(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == p.name {
			continue
		}
		if err := p.takeOver(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// hold makes the connection where there is none any more.
func (p *presence) hold(ctx context.Context) (err error) {
	if p.conn != nil {
		if p.conn.PingContext(ctx) == nil {
			return nil
		}
		p.leave()
	}
	if p.conn, err = p.db.Conn(ctx); err != nil {
		p.conn = nil
		return fmt.Errorf("connecting: %w", err)
	}
	var held bool
	if err := p.conn.QueryRowContext(ctx, holdName, p.name).Scan(&held); err != nil {
		p.leave()
		return fmt.Errorf("holding the name: %w", err)
	}
	if !held {
		p.leave()
		return errName
	}
	return nil
}

// leave lets go of the name, with the connection.
func (p *presence) leave() {
	if p.conn != nil {
		_ = p.conn.Raw(func(any) error { return driversql.ErrBadConn }) // nobody else gets it
		_ = p.conn.Close()
		p.conn = nil
	}
}

func (p *presence) running(ctx context.Context) (names []string, err error) {
	rows, err := p.db.QueryContext(ctx, runningNames)
	if err != nil {
		return nil, fmt.Errorf("looking who sends: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("looking who sends: %w", err)
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// takeOver makes the jobs of a name available again, where nobody holds it.
func (p *presence) takeOver(ctx context.Context, name string) error {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	defer tx.Rollback()
	var free bool
	if err := tx.QueryRowContext(ctx, heldName, name).Scan(&free); err != nil || !free {
		return err
	}
	if _, err := tx.ExecContext(ctx, reclaimOf, name); err != nil {
		return fmt.Errorf("taking over what was being sent: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	p.wake()
	return nil
}

// lockMigrations lets one bridge at a time make tables.
func lockMigrations(ctx context.Context, db *sql.DB) (unlock func(), err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	if _, err := conn.ExecContext(ctx, lockMigration); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("waiting for the migrations of other bridges: %w", err)
	}
	return func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), unlockMigration)
		_ = conn.Close()
	}, nil
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"strings"
)

// migrated is a database, or a connection to one.
type migrated interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

// migrate brings a database to the newest version of a directory, whose files
// are called 0001_name.sql and so on, without a gap. Each is applied in a
// transaction of its own and recorded. A database that a newer bridge has
// migrated is refused.
func migrate(ctx context.Context, db migrated, files fs.FS) error {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return fmt.Errorf("listing the migrations: %w", err)
	}
	if _, err := db.ExecContext(ctx, createMigrations); err != nil {
		return fmt.Errorf("creating the table of migrations: %w", err)
	}
	var version int
	if err := db.QueryRowContext(ctx, migratedVersion).Scan(&version); err != nil {
		return fmt.Errorf("reading the version: %w", err)
	}
	if version > len(names) {
		return fmt.Errorf("it has version %d and this bridge knows none above %d: a newer bridge has used it;"+
			" run that one, or move the file away and lose what it knows", version, len(names))
	}
	for i, name := range names {
		if !strings.HasPrefix(name, fmt.Sprintf("%04d_", i+1)) {
			return fmt.Errorf("migration %s should be number %d", name, i+1)
		}
		if i < version {
			continue
		}
		m := migration{name: name, version: i + 1}
		if err := m.apply(ctx, db, files); err != nil {
			return fmt.Errorf("applying migration %s: %w", name, err)
		}
	}
	return nil
}

// migration is one file.
type migration struct {
	name    string
	version int
}

func (m migration) apply(ctx context.Context, db migrated, files fs.FS) error {
	text, err := fs.ReadFile(files, m.name)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, string(text)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, recordMigration, m.version, m.name); err != nil {
		return err
	}
	return tx.Commit()
}

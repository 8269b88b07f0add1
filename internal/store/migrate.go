package store

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"strings"
)

// migrate brings a database to the newest version of a directory, whose files
// are called 0001_name.sql and so on, without a gap. Each is applied in a
// transaction of its own and recorded. A database that a newer bridge has
// migrated is refused.
func migrate(ctx context.Context, db *sql.DB, files fs.FS) error {
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
		if err := apply(ctx, db, files, name, i+1); err != nil {
			return fmt.Errorf("applying migration %s: %w", name, err)
		}
	}
	return nil
}

func apply(ctx context.Context, db *sql.DB, files fs.FS, name string, version int) error {
	text, err := fs.ReadFile(files, name)
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
	if _, err := tx.ExecContext(ctx, recordMigration, version, name); err != nil {
		return err
	}
	return tx.Commit()
}

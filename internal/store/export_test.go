package store

import (
	"context"
	"database/sql"
	"io/fs"
)

// Shared makes a database one that others write to, as PostgreSQL is.
func Shared(o Options) Options {
	o.shared = true
	return o
}

// Pragma sets something of the connection that writes.
func (s *Store) Pragma(ctx context.Context, text string) error {
	_, err := s.deliveries.writer.session.conn.ExecContext(ctx, "PRAGMA "+text)
	return err
}

// Migrate applies the migrations of a directory.
func Migrate(ctx context.Context, db *sql.DB, files fs.FS) error { return migrate(ctx, db, files) }

// Pages are those in use.
func (s *Store) Pages(ctx context.Context) (n int, err error) {
	err = s.deliveries.writer.session.prepared[pagesInUse].QueryRowContext(ctx).Scan(&n)
	return n, err
}

// DeliveryLock is the number of the lock under which bridges take turns.
func DeliveryLock() int64 { return deliveryPart.lock() }

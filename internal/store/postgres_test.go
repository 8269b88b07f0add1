package store_test

import (
	"context"
	"testing"

	"smtpbridge/internal/store"
	"smtpbridge/internal/store/postgrestest"
	"smtpbridge/internal/store/storetest"
)

func TestPostgres(t *testing.T) {
	server := postgrestest.Start(t)
	storetest.Run(t, func(t *testing.T) storetest.Database {
		t.Helper()
		return onServer(t, server)
	})
}

// onServer is an empty database. A kill leaves there what it had.
func onServer(t *testing.T, server *postgrestest.Server) storetest.Database {
	t.Helper()
	url := server.Database(t)
	return storetest.Database{
		Shared: true,
		Open: func(ctx context.Context, o storetest.Options) (storetest.Store, error) {
			return store.Open(ctx, store.Config{URL: url}, store.Options{Instance: o.Instance, Now: o.Now, After: o.After})
		},
		Crash: func() error { return nil },
	}
}

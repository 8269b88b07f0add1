package store_test

import (
	"context"
	"database/sql"
	"sync"
	"testing"

	"smtpbridge/internal/store"
	"smtpbridge/internal/store/postgrestest"
	"smtpbridge/internal/store/storetest"
)

func TestPostgres(t *testing.T) {
	all := &databases{server: postgrestest.Start(t)}
	storetest.Run(t, all.create)
}

// databases are those of a server. One that is not used any more is emptied for
// the next test: to make one, with its tables, takes most of the time of a test.
type databases struct {
	server *postgrestest.Server

	mu   sync.Mutex // guards what follows
	free []string
}

// create gives an empty database. A kill leaves there what it had.
func (d *databases) create(t *testing.T) storetest.Database {
	t.Helper()
	url := d.take(t)
	done := sync.OnceFunc(func() { d.giveBack(t, url) })
	t.Cleanup(done)
	return storetest.Database{
		Shared: true,
		Open: func(ctx context.Context, o storetest.Options) (storetest.Store, error) {
			return store.Open(ctx, store.Config{URL: url}, store.Options{Instance: o.Instance, Now: o.Now, After: o.After})
		},
		Crash: func() error { return nil },
		Done:  done,
	}
}

func (d *databases) take(t *testing.T) string {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.free); n > 0 {
		url := d.free[n-1]
		d.free = d.free[:n-1]
		return url
	}
	return d.server.Database(t)
}

// clean deletes all rows but those that say which migrations there were.
const clean = `DO $$ DECLARE t record; BEGIN
	FOR t IN SELECT schemaname, tablename FROM pg_tables
		WHERE schemaname IN ('bridge_delivery', 'bridge_history') AND tablename NOT IN ('migrations', 'river_migration')
	LOOP EXECUTE format('DELETE FROM %I.%I', t.schemaname, t.tablename); END LOOP; END $$`

func (d *databases) giveBack(t *testing.T, url string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Error(err)
		return
	}
	defer db.Close()
	if _, err := db.ExecContext(context.WithoutCancel(t.Context()), clean); err != nil {
		t.Error(err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = append(d.free, url)
}

func TestHistoryOnPostgres(t *testing.T) {
	t.Parallel()
	all := &databases{server: postgrestest.Start(t)}
	testHistory(t, all.create)
}

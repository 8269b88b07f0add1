package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/internal/store"
	"smtpbridge/internal/store/postgrestest"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// onPostgres runs a store on a database, as an instance.
func onPostgres(t *testing.T, url, instance string, log *bytes.Buffer) (s *store.Store, stop func()) {
	t.Helper()
	o := store.Options{Instance: instance}
	if log != nil {
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	}
	return run(t, store.Config{URL: url, Retention: config.Duration(time.Hour)}, o)
}

// While the server is away nothing begins, and says so soon; what becomes of
// messages meanwhile is written once it is back, without anybody's help.
func TestPostgresAway(t *testing.T) {
	t.Parallel()
	server := owned(t)
	var log bytes.Buffer
	s, stop := onPostgres(t, server.Database(t), "a", &log)
	if _, err := s.Begin(t.Context(), flight("1")); err != nil {
		t.Fatal(err)
	}
	synced(t, s)
	for range 2 {
		server.Stop(t)
		if past, err := s.Begin(t.Context(), flight("2")); past != nil || err == nil || !strings.Contains(err.Error(), "PostgreSQL at") {
			t.Errorf("Begin while the server is away: %v, %v, want an error that names it", past, err)
		}
		if taken, err := s.Take(t.Context(), "p", 1, delivery.QuotaLimits{}, someDay()); taken || err == nil {
			t.Errorf("Take while the server is away: %v, %v, want an error", taken, err)
		}
		if err := s.Land(t.Context(), "1", accepted()); err == nil {
			t.Error("Land while the server is away: no error")
		}
		if err := s.Check(t.Context()); err == nil {
			t.Error("Check while the server is away: no error")
		}
		_, reading := s.History().Events(t.Context(), store.EventQuery{Limit: 1, After: -1})
		for _, err := range []error{reading, add(t, s.History(), event("1", events.Opened, "a@example.com"))} {
			if remedy, is := store.Unavailable(err); !is || !strings.Contains(remedy, "can be reached") {
				t.Errorf("Unavailable(%v) = %q, %v", err, remedy, is)
			}
		}
		server.Restart(t)
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("Check once the server is back: %v", err)
		}
		if past, err := s.Begin(t.Context(), flight("2")); past != nil && past.ID != "2" || err != nil {
			t.Errorf("Begin once the server is back: %v, %v", past, err)
		}
		if past, err := s.Await(shortly(t), "1"); err != nil || past.InFlight || past.Outcome[0].State != providers.Accepted {
			t.Errorf("what has landed meanwhile: %+v, %v", past, err)
		}
		synced(t, s)
	}
	stop()
	if got := log.String(); strings.Count(got, "cannot be written to") != 2 || strings.Count(got, "written to again") != 2 {
		t.Errorf("log: %s, want one line for each time that it began and ended", got)
	}
}

// synced has the server write to its disk what was committed without waiting.
func synced(t *testing.T, s *store.Store) {
	t.Helper()
	one := events.Suppression{Address: rand.Text() + "@example.com", Reason: events.Manual}
	if _, err := s.History().Suppress(t.Context(), one); err != nil {
		t.Fatal(err)
	}
}

func owned(t *testing.T) *postgrestest.Server {
	t.Helper()
	server := postgrestest.Start(t)
	if !server.Owned() {
		t.Skip("the server is not ours to stop")
	}
	return server
}

// A server that only reads is named as that; whoever waits for its lock for too
// long is told.
func TestPostgresRefuses(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	at := server.Database(t)
	s, _ := onPostgres(t, at, "a", nil)
	db := connect(t, at)
	if _, err := s.Begin(t.Context(), flight("1")); err != nil {
		t.Fatal(err)
	}

	setting(t, db, at, "default_transaction_read_only = on")
	if past, err := s.Begin(t.Context(), flight("2")); past != nil || err == nil || !strings.Contains(err.Error(), "it only reads") {
		t.Errorf("Begin on a server that only reads: %v, %v", past, err)
	}
	setting(t, db, at, "default_transaction_read_only = off")
	if past, err := s.Begin(t.Context(), flight("2")); past != nil || err != nil {
		t.Errorf("Begin once it writes again: %v, %v", past, err)
	}

	// Somebody has the lock and does not go on: another bridge whose machine is gone.
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), "SET LOCAL idle_in_transaction_session_timeout = '500ms'; "+
		fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", store.DeliveryLock())); err != nil {
		t.Fatal(err)
	}
	if past, err := s.Begin(t.Context(), flight("3")); past != nil || err != nil {
		t.Errorf("Begin after a bridge has gone that had the lock: %v, %v", past, err)
	}
}

// setting changes one of a database, for connections that are made from now on,
// and ends those that are there.
func setting(t *testing.T, db *sql.DB, at, text string) {
	t.Helper()
	parsed, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		"SET default_transaction_read_only = off; ALTER DATABASE " + strings.TrimPrefix(parsed.Path, "/") + " SET " + text,
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
	} {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
}

func connect(t *testing.T, at string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", at)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// A COMMIT that gets no answer is one or is not; the store finds out which, and
// neither loses nor repeats anything.
func TestPostgresCommitWithoutAnswer(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	at := server.Database(t)
	proxy := newProxy(t, at)
	s, _ := onPostgres(t, proxy.url, "a", nil)
	other, _ := onPostgres(t, at, "b", nil)
	for i, committed := range []bool{true, false, true, true, false} {
		id := string(rune('1' + i))
		proxy.cutCommit(turnCommit, committed)
		taken, err := s.Take(t.Context(), "p", 1, delivery.QuotaLimits{}, someDay())
		if !taken || err != nil {
			t.Errorf("Take with a COMMIT cut: %v, %v", taken, err)
		}
		proxy.cutCommit(turnCommit, committed)
		if past, err := s.Begin(t.Context(), flight(id)); past != nil || err != nil {
			t.Errorf("Begin with a COMMIT cut: %v, %v", past, err)
		}
		if day, _, err := other.Used(t.Context(), "p", someDay()); err != nil || day != int64(i+1) {
			t.Errorf("Used at another bridge = %d, %v, want %d", day, err, i+1)
		}
		if past, err := other.Await(shortly(t), id); err != nil || !past.InFlight {
			t.Errorf("Await at another bridge: %+v, %v, want it in flight", past, err)
		}
	}
}

// Several bridges may start at once on a database that is empty, and a bridge is
// the same after a restart, by the name in its directory.
func TestPostgresStart(t *testing.T) {
	t.Parallel()
	at := postgrestest.Start(t).Database(t)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	var all sync.WaitGroup
	for _, dir := range dirs {
		all.Go(func() {
			s, err := store.Open(t.Context(), store.Config{URL: at}, store.Options{DataDir: dir})
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s, stop := run(t, store.Config{URL: at}, store.Options{DataDir: dirs[0]})
	if _, err := s.Begin(t.Context(), flight("1")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), store.Config{URL: at}, store.Options{
		DataDir: dirs[0], After: func(time.Duration) <-chan time.Time { return time.After(0) },
	}); err == nil || !strings.Contains(err.Error(), "another bridge is using the directory") {
		t.Errorf("a second bridge in the directory: %v", err)
	}
	for i, want := range []bool{true, false} { // another leaves it alone; the same bridge knows that it is over
		if i == 1 {
			stop()
		}
		other, _ := run(t, store.Config{URL: at}, store.Options{DataDir: dirs[1-i]})
		if past, err := other.Await(shortly(t), "1"); err != nil || past.InFlight != want {
			t.Errorf("after the start of another, and then of the same: %+v, %v, want in flight: %v", past, err, want)
		}
	}
}

// No error shows the password, whatever it is about.
func TestPostgresPassword(t *testing.T) {
	t.Parallel()
	const password = "s3cret"
	for _, c := range []store.Config{
		{URL: "postgres://bridge:" + password + "@127.0.0.1:1/mail?connect_timeout=1"},
		{URL: "postgres://bridge@127.0.0.1:1/mail?connect_timeout=1", Password: config.NewSecret(password)},
		{URL: "postgres://bridge:" + password + "@127.0.0.1:port/mail"},
	} {
		_, err := store.Open(t.Context(), c, store.Options{DataDir: t.TempDir()})
		if err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("%v, want an error without the password", err)
		}
	}
}

// Whatever isolation a database is set to, who has waited for his turn sees what
// came before it.
func TestPostgresIsolation(t *testing.T) {
	t.Parallel()
	at := postgrestest.Start(t).Database(t)
	setting(t, connect(t, at), at, "default_transaction_isolation = 'repeatable read'")
	const many = 30
	stores := make([]*store.Store, 3)
	for i := range stores {
		stores[i], _ = onPostgres(t, at+"&default_transaction_isolation=serializable", fmt.Sprint(i), nil)
	}
	var all sync.WaitGroup
	for _, s := range stores {
		all.Go(func() {
			for range many {
				if taken, err := s.Take(t.Context(), "p", 1, delivery.QuotaLimits{}, someDay()); !taken || err != nil {
					t.Errorf("Take: %v, %v", taken, err)
				}
			}
		})
	}
	all.Wait()
	if day, _, err := stores[0].Used(t.Context(), "p", someDay()); err != nil || day != int64(len(stores)*many) {
		t.Errorf("Used = %d, %v, want %d", day, err, len(stores)*many)
	}
}

// Names and addresses that differ only in what PostgreSQL cannot hold are one
// there, and no reason to keep nothing of what came with them.
func TestPostgresNamesThatMeet(t *testing.T) {
	t.Parallel()
	s, _ := onPostgres(t, postgrestest.Start(t).Database(t), "a", nil)
	h := s.History()
	const id = "01J8Z3K4M5N6P0000000000001"
	h.Record(delivery.Record{
		ID: id, Time: time.Now(), Tags: []string{"caf\xe9", "caf\xe8", "caf\x00", "1", "2", "3", "4", "5", "6"}, // more than one statement is for
		Recipients: []delivery.Recipient{{Recipient: address, State: providers.Accepted, Provider: "p"}},
	})
	h.Flush(t.Context())
	if _, err := h.Message(t.Context(), id); err != nil {
		t.Errorf("the message: %v", err)
	}
	var met []events.Event
	for i, to := range []string{"\x00", "\uFFFD", "1", "2", "3", "4", "5", "6", "7"} {
		met = append(met, event(fmt.Sprint(i), events.Delivered, to+"@example.com"))
	}
	if err := add(t, h, met...); err != nil {
		t.Errorf("the events: %v", err)
	}
}

package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/internal/store"
	"smtpbridge/internal/store/postgrestest"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// limited runs a store whose transactions may take no longer than limit.
func limited(t *testing.T, url, instance string, limit time.Duration) *store.Store {
	t.Helper()
	s, _ := run(t, store.Config{URL: url, Retention: config.Duration(time.Hour)}, store.Limited(store.Options{Instance: instance}, limit))
	return s
}

// recovers tries until it works, for as long as a machine that is busy may need.
func recovers(t *testing.T, what string, try func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(30 * time.Second)
	for err := try(); err != nil; err = try() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s does not recover: %v", what, err)
		}
	}
}

// begins puts a flight on record that is nowhere yet.
func begins(t *testing.T, s *store.Store, id string) error {
	t.Helper()
	past, err := s.Begin(t.Context(), flight(id))
	if err == nil && past != nil && past.ID != id {
		return fmt.Errorf("it repeats %s", past.ID)
	}
	return err
}

func suppress(t *testing.T, h *store.History, address string) error {
	t.Helper()
	_, err := h.Suppress(t.Context(), events.Suppression{Address: address, Reason: events.Manual})
	return err
}

func TestPostgresNetwork(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	for name, test := range map[string]func(t *testing.T, at string){
		"slow": testSlow, "silent": testSilent, "silent for many": testSilentForMany, "cut": testCut, "another server takes over": testFailsOver,
		"a COMMIT of the history without an answer": testHistoryCommit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, server.Database(t))
		})
	}
}

// A server that is slow makes mail slow. One that is too slow is an error that
// says so; and whatever the moment was at which time was up, the mail that was not
// begun is free to be sent by whoever comes next, once.
func testSlow(t *testing.T, at string) {
	t.Helper()
	proxy := newProxy(t, at)
	patient, _ := onPostgres(t, proxy.url, "patient", nil)
	const limit = 300 * time.Millisecond
	s := limited(t, proxy.url, "a", limit)
	other, _ := onPostgres(t, at, "b", nil)
	proxy.slow(50 * time.Millisecond)
	if err := errors.Join(begins(t, patient, "patient"), suppress(t, patient.History(), address)); err != nil {
		t.Errorf("where each answer takes its time: %v", err)
	}
	for i, ms := range []int{30, 45, 55, 70, 400} {
		id, delay := fmt.Sprint(i), time.Duration(ms)*time.Millisecond
		proxy.slow(delay)
		err := begins(t, s, id)
		if delay > limit && (err == nil || !strings.Contains(err.Error(), "does not answer in time")) {
			t.Errorf("Begin where each answer takes %v: %v, want an error that says that it is too slow", delay, err)
		}
		proxy.slow(0)
		recovers(t, "the store", func() error { return s.Check(t.Context()) })
		again := flight("again " + id)
		again.Keys = flight(id).Keys
		past, errAgain := other.Begin(t.Context(), again)
		mine := past != nil && past.InFlight
		free := past == nil || !past.InFlight && past.Outcome[0].State == providers.Refused
		if errAgain != nil || err == nil && !mine || err != nil && !free {
			t.Errorf("a repeat at another bridge, after %v where each answer takes %v: %+v, %v", err, delay, past, errAgain)
		}
	}
}

// callsOf are what is asked of a store, one of each kind.
func callsOf(t *testing.T, s *store.Store) map[string]func(ctx context.Context) error {
	t.Helper()
	h := s.History()
	return map[string]func(ctx context.Context) error{
		"Begin":    func(context.Context) error { return begins(t, s, fmt.Sprint(time.Now().UnixNano())) },
		"Suppress": func(context.Context) error { return suppress(t, h, fmt.Sprint(time.Now().UnixNano(), "@example.com")) },
		"Check":    s.Check,
		"Used":     func(ctx context.Context) error { _, _, err := s.Used(ctx, "p", someDay()); return err },
		"Events":   func(ctx context.Context) error { _, err := h.Events(ctx, store.EventQuery{Limit: 1}); return err },
		"Counts": func(ctx context.Context) error {
			_, err := h.Counts(ctx, store.CountQuery{By: store.ByProvider, To: time.Now()})
			return err
		},
		"Suppressed": func(ctx context.Context) error { _, err := h.Suppressed(ctx, address); return err },
		"Refresh":    h.Refresh,
	}
}

// Connections that were cut while they were idle nobody notices: what is asked is
// asked again on new ones.
func testCut(t *testing.T, at string) {
	t.Helper()
	proxy := newProxy(t, at)
	s, _ := onPostgres(t, proxy.url, "a", nil)
	if err := suppress(t, s.History(), address); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for name, call := range callsOf(t, s) {
			proxy.become(away)
			proxy.become(working)
			if err := call(t.Context()); err != nil {
				t.Errorf("%s after the connections were cut: %v", name, err)
			}
		}
	}
}

// A network that goes silent without a word holds nobody for longer than the
// limit, whatever is asked, on connections that are idle and on new ones; once it
// is open again all goes on, although the connections of before are lost for ever.
func testSilent(t *testing.T, at string) {
	t.Helper()
	proxy := newProxy(t, at)
	s := limited(t, proxy.url, "a", 250*time.Millisecond)
	h := s.History()
	calls := callsOf(t, s)
	calls["a transaction of River's"] = func(ctx context.Context) error {
		tx, err := h.DB().BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "SELECT 1")
		return errors.Join(err, tx.Commit())
	}
	recovers(t, "Suppress", func() error { return suppress(t, h, address) })
	ctx := context.WithoutCancel(t.Context()) // nobody else ends it
	for _, lost := range []bool{false, true} {
		for name, call := range calls {
			recovers(t, name, func() error { return call(ctx) })
		}
		proxy.become(silent)
		for name, call := range calls {
			if lost {
				break // only what was idle is lost, and nobody has noticed
			}
			if err := call(ctx); err == nil {
				t.Errorf("%s on a network that is silent: no error", name)
			}
		}
		proxy.become(working)
		for name, call := range calls {
			recovers(t, name, func() error { return call(ctx) })
		}
	}
}

// However many wait for a network that is silent, they do so together, and not one
// after the other.
func testSilentForMany(t *testing.T, at string) {
	t.Helper()
	proxy := newProxy(t, at)
	s := limited(t, proxy.url, "a", 250*time.Millisecond)
	recovers(t, "Suppress", func() error { return suppress(t, s.History(), address) })
	proxy.become(silent)
	var all sync.WaitGroup
	for name, call := range callsOf(t, s) {
		for range 200 {
			all.Go(func() {
				if err := call(context.WithoutCancel(t.Context())); err == nil {
					t.Errorf("%s on a network that is silent: no error", name)
				}
			})
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		all.Wait()
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second): // one after the other it is minutes
		t.Error("some still wait")
		proxy.become(away)
		<-done
	}
}

// A bridge that finds no connection left says what to do about it; one that runs
// keeps its own, and where it has lost them goes on once there are some again.
func TestPostgresWithoutConnections(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, "max_connections=16", "max_wal_senders=0", "superuser_reserved_connections=0")
	if !server.Owned() {
		t.Skip("the server has connections enough")
	}
	at := server.Database(t)
	s, _ := onPostgres(t, at, "a", nil)
	if err := errors.Join(begins(t, s, "1"), suppress(t, s.History(), address)); err != nil {
		t.Fatal(err)
	}
	crowd := crowd(t, at)
	if err := begins(t, s, "2"); err != nil {
		t.Errorf("Begin on the connection that it has: %v", err)
	}
	const remedy = "raise max_connections"
	_, err := store.Open(t.Context(), store.Config{URL: at}, store.Options{Instance: "b"})
	if err == nil || !strings.Contains(err.Error(), remedy) {
		t.Errorf("Open without a connection: %v, want %q", err, remedy)
	}

	const others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'smtp-bridge%'"
	if _, err := crowd.ExecContext(t.Context(), others); err != nil {
		t.Fatal(err)
	}
	occupy(t, crowd)
	recovers(t, "nothing", func() error { // it had connections that were just ending
		if err := begins(t, s, "3"); err == nil || !strings.Contains(err.Error(), remedy) {
			occupy(t, crowd)
			return fmt.Errorf("Begin without a connection: %w, want %q", err, remedy)
		}
		return nil
	})
	if err := s.Check(t.Context()); err == nil {
		t.Error("Check without a connection: no error")
	}
	if err := crowd.Close(); err != nil {
		t.Fatal(err)
	}
	recovers(t, "Begin", func() error { return begins(t, s, "4") })
	recovers(t, "Suppress", func() error { return suppress(t, s.History(), "b@example.com") })
	recovers(t, "Check", func() error { return s.Check(t.Context()) })
}

// crowd takes all connections that are left.
func crowd(t *testing.T, at string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxIdleConns(100)
	occupy(t, db)
	return db
}

func occupy(t *testing.T, db *sql.DB) {
	t.Helper()
	var taken []*sql.Conn
	for {
		conn, err := db.Conn(t.Context())
		if err != nil {
			break
		}
		taken = append(taken, conn)
	}
	for _, conn := range taken { // they stay, idle
		_ = conn.Close()
	}
}

// beside starts a server with a database of the same name as another's, which has
// the tables that a standby would have, and gives a URL that leads through a proxy
// for each to the one that writes, the new one first.
func beside(t *testing.T, second string) (at, first string, proxies [2]*proxy) {
	t.Helper()
	parsed, err := url.Parse(owned(t).Database(t))
	if err != nil {
		t.Fatal(err)
	}
	there, err := url.Parse(second)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(there.Path, "/")
	if _, err := connect(t, parsed.String()).ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	parsed.Path = there.Path
	first = parsed.String()
	_, stop := onPostgres(t, second, "a", nil)
	stop()
	proxies = [2]*proxy{newProxy(t, first), newProxy(t, second)}
	at = fmt.Sprintf("postgres://%s@%s,%s/%s?sslmode=disable&target_session_attrs=read-write",
		parsed.User.Username(), proxies[0].address, proxies[1].address, name)
	return at, first, proxies
}

// Where the server that writes becomes one that only reads, under connections that
// stay, all of the store moves to the one that has taken over, and back again when
// that one is gone.
func testFailsOver(t *testing.T, second string) {
	t.Helper()
	at, first, proxies := beside(t, second)
	s, _ := onPostgres(t, at, "a", nil)
	h := s.History()
	held, err := h.DB().Conn(t.Context()) // as forwarding has one for its name
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := errors.Join(begins(t, s, "1"), suppress(t, h, address), held.PingContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	wantSuppressions(t, first, 1)

	demote(t, first, "on")
	// Each is asked by itself: the connections of deliveries are others.
	recovers(t, "Begin", func() error { return begins(t, s, "2") })
	recovers(t, "Suppress", func() error { return suppress(t, h, "b@example.com") })
	wantSuppressions(t, first, 1)
	wantSuppressions(t, second, 1)
	if err := held.PingContext(t.Context()); err == nil {
		t.Error("a connection to the server that only reads is still used")
	}
	var where string
	for range 8 { // none of the pool is left behind
		if err := h.DB().QueryRowContext(t.Context(), "SHOW transaction_read_only").Scan(&where); err != nil || where != "off" {
			t.Errorf("a connection of the pool: read only %s, %v", where, err)
		}
	}

	demote(t, first, "off")
	proxies[1].become(away)
	recovers(t, "Begin", func() error { return begins(t, s, "3") })
	recovers(t, "Suppress", func() error { return suppress(t, h, "c@example.com") })
	wantSuppressions(t, first, 2)
	proxies[0].become(away)
	if err := begins(t, s, "4"); err == nil || !strings.Contains(err.Error(), proxies[0].address) || !strings.Contains(err.Error(), proxies[1].address) {
		t.Errorf("Begin without any server: %v, want an error that names both", err)
	}
}

// demote has a server only read, or write again, also on the connections that
// there are.
func demote(t *testing.T, at, to string) {
	t.Helper()
	db := connect(t, at)
	for _, query := range []string{
		"SET default_transaction_read_only = off", "ALTER SYSTEM SET default_transaction_read_only = " + to, "SELECT pg_reload_conf()",
	} {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	watch := connect(t, at)
	recovers(t, "the server", func() error { // it reads its configuration some moments later
		var now string
		if err := watch.QueryRowContext(t.Context(), "SHOW default_transaction_read_only").Scan(&now); err != nil || now != to {
			return fmt.Errorf("default_transaction_read_only is %s, %w", now, err)
		}
		return nil
	})
}

func wantSuppressions(t *testing.T, at string, want int) {
	t.Helper()
	var n int
	if err := connect(t, at).QueryRowContext(t.Context(), "SELECT count(*) FROM bridge_history.suppressions").Scan(&n); err != nil || n != want {
		t.Errorf("%d suppressions there, %v, want %d", n, err, want)
	}
}

// A COMMIT of the history that gets no answer is one or is not; whoever has asked
// is told what has come of it, and nothing is counted twice or not at all.
func testHistoryCommit(t *testing.T, at string) {
	t.Helper()
	proxy := newProxy(t, at)
	s, _ := onPostgres(t, proxy.url, "a", nil)
	h := s.History()
	var told atomic.Int64
	h.CountBy(func(string, events.Type) { told.Add(1) })
	now := time.Now()
	rounds := []bool{true, false, true, true, false}
	for i, committed := range rounds {
		batch := events.Batch{Nonce: fmt.Sprint("nonce ", i), Events: []events.Event{
			{ID: fmt.Sprint("evt_a", i), Provider: "p", Type: events.Delivered, Recipient: address, Timestamp: now},
			{ID: fmt.Sprint("evt_b", i), Provider: "p", Type: events.Opened, Recipient: address, Timestamp: now},
		}}
		proxy.cutCommit(historyCommit, committed)
		added, err := h.Add(t.Context(), batch, events.Rules{SoftBounceLimit: 5})
		if err != nil || len(added) != len(batch.Events) {
			t.Errorf("Add with a COMMIT cut: %d events are new, %v, want %d", len(added), err, len(batch.Events))
		}
		proxy.cutCommit(historyCommit, committed)
		if n, err := h.Suppress(t.Context(), events.Suppression{Address: "b@example.com", Reason: events.Manual}); n != 1 || err != nil {
			t.Errorf("Suppress with a COMMIT cut: %d, %v, want 1", n, err)
		}
		proxy.cutCommit(historyCommit, committed)
		if err := h.Lift(t.Context(), "b@example.com", nil); err != nil {
			t.Errorf("Lift with a COMMIT cut: %v", err)
		}
		id := fmt.Sprintf("01J8Z3K4M5N6P000000000000%d", i)
		h.Record(delivery.Record{ID: id, Time: now, Recipients: []delivery.Recipient{{Recipient: address, State: accepted()[0].State, Provider: "p"}}})
		proxy.cutCommit(historyCommit, committed)
		h.Flush(t.Context())
	}
	if got := told.Load(); got != int64(len(rounds)) {
		t.Errorf("%d of the bridge's own events are counted, want %d", got, len(rounds))
	}
	wantEach(t, h, now, len(rounds))
}

// wantEach: of what testHistoryCommit has done in each round all is there, once.
func wantEach(t *testing.T, h *store.History, now time.Time, rounds int) {
	t.Helper()
	counts, err := h.Counts(t.Context(), store.CountQuery{By: store.ByProvider, From: now.Add(-time.Hour), To: now.Add(time.Hour)})
	if err != nil || len(counts) != 1 {
		t.Fatalf("Counts: %+v, %v", counts, err)
	}
	for _, of := range []events.Type{events.Delivered, events.Opened, events.Accepted} {
		if got := counts[0].Total[of]; got != int64(rounds) {
			t.Errorf("%d %s are counted, want %d", got, of, rounds)
		}
	}
	page, err := h.Events(t.Context(), store.EventQuery{After: 0, Limit: 100})
	if want := 5 * rounds; err != nil || len(page.Events) != want { // two told, two of the suppression, one of ours
		t.Errorf("%d events, %v, want %d", len(page.Events), err, want)
	}
}

package store_test

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"testing"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/store"
	"smtpbridge/internal/store/postgrestest"
	"smtpbridge/internal/store/storetest"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
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

// What is asked of many rows leads to each through an index, also by a plan that was
// made while the tables were empty: a connection keeps it.
func TestPostgresPlans(t *testing.T) {
	t.Parallel()
	all := &databases{server: postgrestest.Start(t)}
	b := opened(t, all.create)
	for name, query := range store.FixedQueries() {
		if !strings.Contains(query, "VALUES") {
			continue
		}
		args := make([]any, strings.Count(query, "?"))
		for i := range args {
			args[i] = "1"
		}
		rows, err := b.History().DB().QueryContext(t.Context(), "EXPLAIN "+query, args...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer rows.Close()
		for rows.Next() {
			var step string
			if err := rows.Scan(&step); err != nil {
				t.Fatal(err)
			}
			for _, whole := range []string{"Seq Scan", "Hash Join", "Hash Semi Join", "Merge"} {
				if strings.Contains(step, whole) {
					t.Errorf("%s reads a whole table: %s", name, step)
				}
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// What became of the mail of a bridge that was killed, and never comes back,
// another one takes over once its time is up: it is in the log, and its event is
// told. What was in flight there is ambiguous.
func TestPostgresAdopts(t *testing.T) {
	t.Parallel()
	all := &databases{server: postgrestest.Start(t)}
	db, clock := all.create(t), storetest.NewClock()
	killed, other := join(t, db, clock, "killed"), join(t, db, clock, "other")
	const landed, inFlight = "01J8Z3K4M5N6P0000000000001", "01J8Z3K4M5N6P0000000000002"
	for _, id := range []string{landed, inFlight} {
		f := flight(id)
		f.Time, f.Deadline = clock.Now(), clock.Now().Add(time.Minute)
		if _, err := killed.Begin(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	if err := killed.Land(t.Context(), landed, accepted()); err != nil {
		t.Fatal(err)
	}
	if err := killed.stop(); err != nil {
		t.Fatal(err)
	}
	for _, found := range []bool{false, true} { // not before its deadline, and a minute
		if err := other.Adopt(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{landed, inFlight} {
			if _, err := other.History().Message(t.Context(), id); (err == nil) != found {
				t.Errorf("%s: %v, want it in the log: %v", id, err, found)
			}
		}
		clock.Advance(3 * time.Minute)
	}
	page, err := other.History().Events(t.Context(), store.EventQuery{After: 0, Limit: 10})
	if err != nil || len(page.Events) != 1 || page.Events[0].MessageID != landed || page.Events[0].Type != events.Accepted {
		t.Errorf("events: %+v, %v, want that one was accepted", page.Events, err)
	}
	f := flight("again")
	f.Time, f.Deadline, f.Keys.Idempotency = clock.Now(), clock.Now().Add(time.Minute), inFlight
	if past, err := other.Begin(t.Context(), f); err != nil || past == nil || past.InFlight || past.Outcome[0].State != providers.Ambiguous {
		t.Errorf("a repeat of what was in flight: %+v, %v, want it ambiguous", past, err)
	}
}

// A bridge that starts takes over what was left behind when all had ended, however
// long ago; what was there while others were is not looked for again.
func TestPostgresStartsAfterAll(t *testing.T) {
	t.Parallel()
	all := &databases{server: postgrestest.Start(t)}
	db, clock := all.create(t), storetest.NewClock()
	killed := join(t, db, clock, "killed")
	const early, late = "01J8Z3K4M5N6P0000000000001", "01J8Z3K4M5N6P0000000000002"
	for _, id := range []string{early, late} {
		f := flight(id)
		f.Time, f.Deadline = clock.Now(), clock.Now().Add(time.Minute)
		if _, err := killed.Begin(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if err := killed.Land(t.Context(), id, accepted()); err != nil {
			t.Fatal(err)
		}
		if id == early {
			clock.Advance(3 * time.Hour)
			killed.History().Record(delivery.Record{ID: "01J8Z3K4M5N6P0000000000003", Time: clock.Now()})
			killed.History().Flush(t.Context())
		}
	}
	if err := killed.stop(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(5 * time.Hour)
	other := join(t, db, clock, "other")
	for id, want := range map[string]bool{early: false, late: true} {
		if _, err := other.History().Message(t.Context(), id); (err == nil) != want {
			t.Errorf("%s: %v, want it in the log: %v", id, err, want)
		}
	}
}

// A pod has a name of its own, and when it is gone nothing of it stays for ever.
func TestPostgresForgetsBridges(t *testing.T) {
	t.Parallel()
	at := postgrestest.Start(t).Database(t)
	s, _ := onPostgres(t, at, "a", nil)
	db := connect(t, at)
	const gone = "INSERT INTO bridge_history.progress (name, value) VALUES ('turn gone', $1), ('logged gone', $1)"
	if _, err := db.ExecContext(t.Context(), gone, time.Now().AddDate(0, -3, 0).UnixNano()); err != nil {
		t.Fatal(err)
	}
	if err := s.History().Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	var others, own int
	const left = "SELECT count(*) FILTER (WHERE name LIKE '% gone'), count(*) FILTER (WHERE name LIKE '% a') FROM bridge_history.progress"
	if err := db.QueryRowContext(t.Context(), left).Scan(&others, &own); err != nil || others != 0 || own == 0 {
		t.Errorf("%d rows of a bridge that is gone and %d of one that is there, %v", others, own, err)
	}
}

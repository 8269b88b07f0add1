package forward_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"smtpbridge/events/forward"
	"smtpbridge/internal/store/postgrestest"
)

// openServer opens an empty database of a server.
func openServer(tb testing.TB, url string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(8)
	tb.Cleanup(func() { _ = db.Close() })
	if err := forward.Migrate(tb.Context(), db, true); err != nil {
		tb.Fatal(err)
	}
	return db
}

// Several bridges on one database send each event once, whoever has stored it.
func TestBridgesShareTheEvents(t *testing.T) {
	t.Parallel()
	url := postgrestest.Start(t).Database(t)
	app := newApplication(t)
	bridges := make([]*bridge, 3)
	for i := range bridges {
		bridges[i] = newSharing(t, openServer(t, url), app.config())
		bridges[i].Hurry(forward.Attempts)
		bridges[i].start(t)
	}
	const each = 100
	for i, b := range bridges {
		b.enqueue(t, int64(i*each+1), int64((i+1)*each))
	}
	got := app.await(t, len(bridges)*each)
	for sequence, n := range got {
		if n != 1 {
			t.Errorf("event %d was sent %d times", sequence, n)
		}
	}
	if len(got) != len(bridges)*each {
		t.Errorf("%d different events were sent, want %d", len(got), len(bridges)*each)
	}
}

// What a bridge was sending when it was killed another one sends.
func TestKilledBridgeIsTakenOver(t *testing.T) {
	t.Parallel()
	url := postgrestest.Start(t).Database(t)
	app := newApplication(t)
	db := openServer(t, url)
	// A bridge that is gone: its connection has ended, and with it the lock of its
	// name, while its jobs are still running.
	const left = `INSERT INTO river_job (args, attempt, attempted_at, attempted_by, kind, max_attempts, queue, state)
		VALUES ('{"sequence": 7}', 1, now(), '{gone}', 'forward', 210, 'forward', 'running')`
	if _, err := db.ExecContext(t.Context(), left); err != nil {
		t.Fatal(err)
	}
	// One that lives, and is still sending.
	alive := openServer(t, url)
	alive.SetMaxOpenConns(1)
	const hold = `SELECT pg_advisory_lock(hashtextextended('smtp-bridge forward ' || 'alive', 0))`
	if _, err := alive.ExecContext(t.Context(), hold); err != nil {
		t.Fatal(err)
	}
	const sending = `INSERT INTO river_job (args, attempt, attempted_at, attempted_by, kind, max_attempts, queue, state)
		VALUES ('{"sequence": 8}', 1, now(), '{gone,alive}', 'forward', 210, 'forward', 'running')`
	if _, err := db.ExecContext(t.Context(), sending); err != nil {
		t.Fatal(err)
	}

	b := newSharing(t, openServer(t, url), app.config())
	b.Hurry(forward.Attempts)
	b.start(t)
	if got := app.await(t, 1); got[7] != 1 {
		t.Errorf("sent %v, want what the dead bridge has left", got)
	}
	b.enqueue(t, 9, 9)
	if got := app.await(t, 1); got[9] != 1 {
		t.Errorf("sent %v, want 9 and nothing of the bridge that lives", got)
	}
	if err := alive.Close(); err != nil {
		t.Fatal(err)
	}
	if got := app.await(t, 1); got[8] != 1 {
		t.Errorf("sent %v, want what the second dead bridge has left", got)
	}
}

// A bridge whose server was away goes on by itself.
func TestServerWasAway(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	if !server.Owned() {
		t.Skip("the server is not ours to stop")
	}
	url := server.Database(t)
	app := newApplication(t)
	b := newSharing(t, openServer(t, url), app.config())
	b.Hurry(forward.Attempts)
	b.start(t)
	b.enqueue(t, 1, 10)
	app.await(t, 10)
	server.Stop(t)
	server.Restart(t)
	deadline := time.Now().Add(time.Minute)
	for b.db.PingContext(t.Context()) != nil {
		if time.Now().After(deadline) {
			t.Fatal("no connection")
		}
	}
	b.enqueue(t, 11, 20)
	if got := app.await(t, 10); len(got) == 0 {
		t.Errorf("sent %v", got)
	}
}

// A bridge whose connection was lost while the server has not noticed holds its
// name again once that has: else the others would send what it sends, too.
func TestLostNameIsHeldAgain(t *testing.T) {
	t.Parallel()
	url := postgrestest.Start(t).Database(t)
	app := newApplication(t)
	db := openServer(t, url)
	b := newSharing(t, openServer(t, url), app.config())
	b.Hurry(forward.Attempts)
	b.start(t)
	b.enqueue(t, 1, 1)
	app.await(t, 1)

	const ours = `FROM pg_locks WHERE locktype = 'advisory' AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	lost := openServer(t, url)
	lost.SetMaxOpenConns(1)
	const lose = `DO $$ DECLARE held record; BEGIN
		SELECT pid, classid::bigint << 32 | objid::bigint AS name INTO held ` + ours + `;
		PERFORM pg_terminate_backend(held.pid);
		PERFORM pg_advisory_lock(held.name);
	END $$`
	if _, err := lost.ExecContext(t.Context(), lose); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the bridge notices", func() bool { return strings.Contains(b.log.String(), "is not free yet") })
	if err := lost.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its name is held", func() bool {
		var n int
		return db.QueryRowContext(t.Context(), `SELECT count(*) `+ours).Scan(&n) == nil && n == 1
	})
}

package forward_test

import (
	"database/sql"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"smtpbridge/events/forward"
)

// eventually waits until something holds.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-deadline:
			tb.Fatalf("it has not come to this: %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (b *bridge) awaitDead(tb testing.TB, n int) (letters []forward.Letter) {
	tb.Helper()
	eventually(tb, "dead letters", func() bool {
		var err error
		if letters, _, err = b.Dead(tb.Context(), 100, ""); err != nil {
			tb.Fatal(err)
		}
		return len(letters) >= n
	})
	return letters
}

func (b *bridge) count(tb testing.TB, query string) (n int) {
	tb.Helper()
	if err := b.db.QueryRowContext(tb.Context(), query).Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n
}

// awaitPending asks the metric.
func (b *bridge) awaitPending(tb testing.TB, n int) {
	tb.Helper()
	eventually(tb, "pending events", func() bool {
		err := testutil.GatherAndCompare(b.registry, strings.NewReader(strings.Join([]string{
			"# HELP bridge_forward_pending Events that the application has not taken yet.",
			"# TYPE bridge_forward_pending gauge",
			"bridge_forward_pending " + string(rune('0'+n)), "",
		}, "\n")), "bridge_forward_pending")
		return err == nil
	})
}

// once wants n events, each of them once.
func once(tb testing.TB, got map[int64]int, n int) {
	tb.Helper()
	if len(got) != n {
		tb.Errorf("%d events have come, want %d: %v", len(got), n, got)
	}
}

func TestForwards(t *testing.T) {
	app := newApplication(t)
	b := newBridge(t, openFile(t, file(t)), app.config())
	b.enqueue(t, 1, 3)
	b.awaitPending(t, 3)
	b.start(t)
	once(t, app.await(t, 3), 3)
	b.enqueue(t, 4, 200)
	once(t, app.await(t, 197), 197)
	b.awaitPending(t, 0)
	if n := b.count(t, "SELECT count(*) FROM river_job"); n != 0 {
		t.Errorf("%d jobs are left of what was taken", n)
	}
}

// Nothing tells of what was committed; River looks by itself.
func TestForwardsUnasked(t *testing.T) {
	app := newApplication(t)
	b := newBridge(t, openFile(t, file(t)), app.config())
	b.Hurry(10)
	b.start(t)
	b.transaction(t, 1, 1, (*sql.Tx).Commit)
	app.await(t, 1)
}

// Whoever has committed says so, and nobody waits for River to look.
func TestWake(t *testing.T) {
	app := newApplication(t)
	b := newBridge(t, openFile(t, file(t)), app.config())
	b.Doze()
	b.start(t)
	for n := range int64(3) {
		b.enqueue(t, n+1, n+1)
		if got := app.await(t, 1); got[n+1] != 1 {
			t.Errorf("got %v", got)
		}
	}
}

func TestRolledBackIsNotSent(t *testing.T) {
	app := newApplication(t)
	b := newBridge(t, openFile(t, file(t)), app.config())
	b.start(t)
	b.transaction(t, 1, 5, (*sql.Tx).Rollback)
	b.enqueue(t, 6, 6)
	if got := app.await(t, 1); got[6] != 1 {
		t.Errorf("got %v", got)
	}
	b.awaitPending(t, 0)
	if n := app.calls.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestEventThatIsGone(t *testing.T) {
	app := newApplication(t)
	b := newBridge(t, openFile(t, file(t)), app.config())
	b.kept.gone.Store(int64(1), true)
	b.enqueue(t, 1, 1)
	b.start(t)
	b.awaitPending(t, 0)
	if n := app.calls.Load(); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

func TestWithoutURLNothingHappens(t *testing.T) {
	app := newApplication(t)
	b := newBridge(t, openFile(t, file(t)), forward.Config{})
	b.start(t)
	b.enqueue(t, 1, 3)
	if n := b.count(t, "SELECT (SELECT count(*) FROM river_job) + (SELECT count(*) FROM river_queue)"); n != 0 {
		t.Error("River runs, or has jobs")
	}
	if err := b.Replace(app.config()); err != nil {
		t.Fatal(err)
	}
	b.enqueue(t, 4, 4)
	if got := app.await(t, 1); got[4] != 1 {
		t.Errorf("got %v", got)
	}
}

func TestReplace(t *testing.T) {
	first, second := newApplication(t), newApplication(t)
	first.refuse(http.StatusInternalServerError)
	b := newBridge(t, openFile(t, file(t)), first.config())
	b.Hurry(1000)
	b.start(t)
	b.enqueue(t, 1, 9)
	eventually(t, "the first one is asked", func() bool { return first.calls.Load() > 0 })
	if err := b.Replace(forward.Config{}); err != nil {
		t.Fatal(err)
	}
	b.enqueue(t, 10, 10) // not to be forwarded
	b.awaitPending(t, 9)
	if err := b.Replace(forward.Config{URL: "nonsense"}); err == nil {
		t.Error("a wrong configuration was taken")
	}
	if err := b.Replace(second.config()); err != nil {
		t.Fatal(err)
	}
	got := second.await(t, 9)
	if once(t, got, 9); got[10] != 0 {
		t.Errorf("got %v", got)
	}
}

func TestRestart(t *testing.T) {
	app := newApplication(t)
	app.refuse(http.StatusServiceUnavailable)
	path := file(t)
	db := openFile(t, path)
	b := newBridge(t, db, app.config())
	b.Hurry(1000)
	b.start(t)
	b.enqueue(t, 1, 50)
	eventually(t, "the application is asked", func() bool { return app.calls.Load() > 10 })
	b.stop()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	app.refuse(0)
	again := newBridge(t, openFile(t, path), app.config())
	again.Hurry(1000)
	again.start(t)
	once(t, app.await(t, 50), 50)
}

// What a kill leaves on the disk while events are on their way.
func TestKill(t *testing.T) {
	app := newApplication(t)
	held := make(chan struct{})
	answer := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-held })
	app.answer.Store(&answer)
	db := openFile(t, file(t))
	b := newBridge(t, db, app.config())
	b.start(t)
	b.enqueue(t, 1, 50)
	eventually(t, "32 are on their way", func() bool { return app.calls.Load() == 32 })
	image := filepath.Join(t.TempDir(), "killed.db")
	if _, err := db.ExecContext(t.Context(), "VACUUM INTO ?", image); err != nil {
		t.Fatal(err)
	}
	other := newApplication(t)
	again := newBridge(t, openFile(t, image), other.config())
	if n := again.count(t, "SELECT count(*) FROM river_job WHERE state = 'running'"); n != 32 {
		t.Errorf("%d jobs were running in the image, want 32", n)
	}
	again.start(t)
	once(t, other.await(t, 50), 50)
	// The first one does not wait for its application.
	b.stop()
	if n := b.count(t, "SELECT count(*) FROM river_job WHERE state = 'available' AND attempt = 0"); n != 50 {
		t.Errorf("%d jobs wait for the next start without having used up an attempt, want 50", n)
	}
	close(held)
}

func TestDownThenUp(t *testing.T) {
	app := newApplication(t)
	app.refuse(http.StatusNotFound)
	b := newBridge(t, openFile(t, file(t)), app.config())
	b.Hurry(1000)
	b.start(t)
	b.enqueue(t, 1, 600)
	eventually(t, "many are refused", func() bool { return app.calls.Load() > 40 })
	if n := b.count(t, "SELECT count(*) FROM river_job WHERE attempt = 0"); n < 300 {
		t.Errorf("only %d jobs were left alone in the outage", n)
	}
	app.refuse(0)
	once(t, app.await(t, 600), 600)
	b.awaitPending(t, 0)
	for _, line := range []string{"application takes no events", "application takes events again"} {
		if n := strings.Count(b.log.String(), line); n != 1 {
			t.Errorf("%d × %q in the log:\n%s", n, line, b.log)
		}
	}
	if n := strings.Count(b.log.String(), "\n"); n != 2 {
		t.Errorf("%d lines in the log:\n%s", n, b.log)
	}
}

// What failed in an outage does not wait for its backoff once it is over.
func TestOutageEndsForAll(t *testing.T) {
	app := newApplication(t)
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	app.answer.Store(&answer)
	b := newBridge(t, openFile(t, file(t)), app.config())
	b.start(t)
	b.enqueue(t, 1, 1)
	const late = "SELECT count(*) FROM river_job WHERE state = 'retryable' AND scheduled_at > datetime('now', '+59 minutes')"
	eventually(t, "Retry-After is kept to", func() bool { return b.count(t, late) == 1 })
	if !strings.Contains(b.log.String(), "application takes no events") {
		t.Error("the log does not tell of it")
	}
	app.refuse(0)
	if err := b.Replace(forward.Config{URL: app.URL + "/moved", Secret: app.config().Secret}); err != nil {
		t.Fatal(err)
	}
	b.enqueue(t, 2, 2)
	if got := app.await(t, 2); got[1] != 1 || got[2] != 1 {
		t.Errorf("got %v", got)
	}
}

func TestDeadLetters(t *testing.T) {
	app := newApplication(t)
	app.refuse(http.StatusGone)
	b := newBridge(t, openFile(t, file(t)), app.config())
	b.Hurry(3)
	b.start(t)
	b.enqueue(t, 1, 3)
	letters := b.awaitDead(t, 3)
	seen := make(map[int64]bool)
	for _, l := range letters {
		seen[l.Sequence] = true
		if l.Attempts != 3 || l.Error != "HTTP 410 Gone" || time.Since(l.Time).Abs() > time.Hour {
			t.Errorf("%+v", l)
		}
	}
	if len(seen) != 3 || !seen[1] || !seen[2] || !seen[3] {
		t.Errorf("letters %+v", letters)
	}
	app.refuse(0)
	if err := b.Retry(t.Context(), letters[1].ID); err != nil {
		t.Fatal(err)
	}
	if got := app.await(t, 1); got[letters[1].Sequence] != 1 {
		t.Errorf("got %v", got)
	}
	if err := b.Retry(t.Context(), letters[1].ID); !errors.Is(err, forward.ErrNoLetter) {
		t.Errorf("a letter was sent again twice: %v", err)
	}
	if n, err := b.RetryAll(t.Context()); n != 2 || err != nil {
		t.Errorf("%d letters are sent again, %v; want 2", n, err)
	}
	got := app.await(t, 2)
	if got[letters[0].Sequence] != 1 || got[letters[2].Sequence] != 1 {
		t.Errorf("got %v", got)
	}
	if letters, next, err := b.Dead(t.Context(), 10, ""); len(letters) != 0 || next != "" || err != nil {
		t.Errorf("left %v, %q, %v", letters, next, err)
	}
}

func TestDeadLettersByThePage(t *testing.T) {
	app := newApplication(t)
	app.refuse(http.StatusTeapot)
	b := newBridge(t, openFile(t, file(t)), app.config())
	b.Hurry(1)
	b.start(t)
	b.enqueue(t, 1, 25)
	all := b.awaitDead(t, 25)
	var paged []forward.Letter
	for cursor, pages := "", 0; ; pages++ {
		letters, next, err := b.Dead(t.Context(), 10, cursor)
		if err != nil || len(letters) > 10 || pages > 3 {
			t.Fatalf("page %d has %d letters, %v", pages, len(letters), err)
		}
		paged = append(paged, letters...)
		if cursor = next; next == "" {
			break
		}
	}
	if len(paged) != 25 {
		t.Fatalf("%d letters, want 25", len(paged))
	}
	for i, l := range paged {
		if l != all[i] || i > 0 && l.Time.After(paged[i-1].Time) {
			t.Errorf("letter %d is %+v, want %+v, the newest first", i, l, all[i])
		}
	}
	if _, _, err := b.Dead(t.Context(), 10, "nonsense"); !errors.Is(err, forward.ErrCursor) {
		t.Errorf("a wrong cursor gives %v", err)
	}
}

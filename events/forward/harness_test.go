package forward_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"smtpbridge/events"
	"smtpbridge/events/forward"
	"smtpbridge/internal/config"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openFile opens a database as internal/store does: a file, one connection, every
// commit on the disk.
func openFile(tb testing.TB, path string) *sql.DB {
	tb.Helper()
	name := "file:" + path + "?" + url.Values{
		"_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "temp_store(MEMORY)", "busy_timeout(5000)"},
		"_txlock": {"immediate"},
	}.Encode()
	db, err := sql.Open("sqlite", name)
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	tb.Cleanup(func() { _ = db.Close() })
	if err := forward.Migrate(tb.Context(), db, false); err != nil {
		tb.Fatal(err)
	}
	return db
}

// kept are the events of a store; every sequence up to the last has one, but for
// those that are gone.
type kept struct{ gone sync.Map }

func (k *kept) Event(_ context.Context, sequence int64) (events.Event, bool, error) {
	if _, gone := k.gone.Load(sequence); gone {
		return events.Event{}, false, nil
	}
	return event(sequence), true, nil
}

func event(sequence int64) events.Event {
	return events.Event{
		ID: events.ID("esp", strconv.FormatInt(sequence, 10)), Provider: "esp", Type: events.Delivered, Sequence: sequence,
		Recipient: "a@example.com", Timestamp: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Tags: []string{"welcome"}, Raw: json.RawMessage(`{"event":"delivered"}`),
	}
}

// application is who takes the events.
type application struct {
	*httptest.Server

	answer atomic.Pointer[http.HandlerFunc] // nil takes all
	taken  chan events.Event
	calls  atomic.Int64
	bad    atomic.Pointer[string]
}

func newApplication(tb testing.TB) *application {
	tb.Helper()
	a := &application{taken: make(chan events.Event, 1000)}
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		tb.Fatal(err)
	}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		var e events.Event
		if err := json.Unmarshal(body, &e); err != nil {
			a.complain(err.Error())
		}
		if err := verifier.Verify(body, r.Header); err != nil {
			a.complain(err.Error())
		}
		if r.Header.Get("Webhook-Id") != e.ID || r.Header.Get("X-Webhook-Source") != "smtp-bridge" ||
			r.Header.Get("X-Webhook-Timestamp") != r.Header.Get("Webhook-Timestamp") {
			a.complain("a header is not as promised")
		}
		if answer := a.answer.Load(); answer != nil {
			(*answer)(w, r)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		a.taken <- e
	}))
	tb.Cleanup(func() {
		a.Close()
		if bad := a.bad.Load(); bad != nil {
			tb.Error(*bad)
		}
	})
	return a
}

func (a *application) complain(text string) { a.bad.Store(&text) }

// refuse answers all with a status; 0 takes them again.
func (a *application) refuse(status int) {
	if status == 0 {
		a.answer.Store(nil)
		return
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	a.answer.Store(&answer)
}

func (a *application) config() forward.Config {
	return forward.Config{URL: a.URL + "/events", Secret: config.NewSecret(secret)}
}

// await gives the sequences of the next n events that are taken.
func (a *application) await(tb testing.TB, n int) map[int64]int {
	tb.Helper()
	got := make(map[int64]int)
	for range n {
		select {
		case e := <-a.taken:
			got[e.Sequence]++
		case <-time.After(time.Minute):
			tb.Fatalf("%d of %d events have come: %v", len(got), n, got)
		}
	}
	return got
}

// bridge is a forwarder over a file.
type bridge struct {
	*forward.Forwarder

	db       *sql.DB
	kept     *kept
	log      *lockedBuffer
	registry *prometheus.Registry
	stop     func()
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func newBridge(tb testing.TB, db *sql.DB, c forward.Config) *bridge {
	tb.Helper()
	return makeBridge(tb, db, c, false)
}

// newSharing is a bridge of several on a PostgreSQL server.
func newSharing(tb testing.TB, db *sql.DB, c forward.Config) *bridge {
	tb.Helper()
	return makeBridge(tb, db, c, true)
}

func makeBridge(tb testing.TB, db *sql.DB, c forward.Config, shared bool) *bridge {
	tb.Helper()
	b := &bridge{db: db, kept: &kept{}, log: &lockedBuffer{}, registry: prometheus.NewPedanticRegistry()}
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	tb.Cleanup(transport.CloseIdleConnections)
	var err error
	b.Forwarder, err = forward.New(c, forward.Options{
		DB: db, Shared: shared, Events: b.kept, Retention: 720 * time.Hour, Transport: transport,
		Logger: slog.New(slog.NewJSONHandler(b.log, nil)), Registerer: b.registry,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// start runs b until stop, or the end of the test.
func (b *bridge) start(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context())) // it ends in the clean-up
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(b.stop)
}

// enqueue commits the events from first to last.
func (b *bridge) enqueue(tb testing.TB, first, last int64) {
	tb.Helper()
	b.transaction(tb, first, last, (*sql.Tx).Commit)
	b.Wake()
}

func (b *bridge) transaction(tb testing.TB, first, last int64, end func(*sql.Tx) error) {
	tb.Helper()
	tx, err := b.db.BeginTx(tb.Context(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer tx.Rollback()
	var sequences []int64
	for s := first; s <= last; s++ {
		sequences = append(sequences, s)
	}
	if err := b.Enqueue(tb.Context(), tx, sequences); err != nil {
		tb.Fatal(err)
	}
	if err := end(tx); err != nil {
		tb.Fatal(err)
	}
}

func file(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "bridge.db")
}

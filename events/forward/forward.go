// Package forward brings events to the application, signed after Standard
// Webhooks, until it has taken them.
//
// An event is enqueued in the transaction that stores it ([Forwarder.Enqueue])
// and leaves once that has committed ([Forwarder.Wake]): neither a restart nor a
// crash nor an application that is down for days loses one. It is sent at least
// once and in no promised order. What the application refuses for days ends as a
// dead letter, which stays to be looked at and sent again.
//
// River keeps the jobs, each of which is no more than the number of an event. It
// runs only while there is a forward_url.
package forward

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/riverqueue/river"

	"smtpbridge/events"
)

const (
	// restartPause is how long is waited where River cannot start.
	restartPause = 5 * time.Second
	// countTime is how long the metric waits for the database.
	countTime = time.Second
)

// Events loads what is to be sent.
type Events interface {
	// Event gives the event of a sequence number; found is false where it is no
	// longer kept.
	Event(ctx context.Context, sequence int64) (e events.Event, found bool, err error)
}

// Options are what forwarding needs besides its configuration. All are needed.
type Options struct {
	// DB has the tables that Migrate makes. SQLite may have a single connection, and
	// no other process may forward from it.
	DB *sql.DB
	// Shared: the database is PostgreSQL, and other bridges forward from it too, each
	// event one of them.
	Shared bool
	Events Events
	// Retention is how long a dead letter is kept: as long as events are.
	Retention  time.Duration
	Transport  http.RoundTripper
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Forwarder sends events. It is safe for concurrent use.
type Forwarder struct {
	options Options
	pace    pace
	jobs    *river.Client[*sql.Tx] // only inserts and looks
	gate    *gate

	target   atomic.Pointer[target] // nil where nothing is forwarded
	changed  chan struct{}          // the target has appeared or gone
	bell     atomic.Pointer[func()] // has River fetch; nil where it does not run
	hastened atomic.Int64           // when backoffs were ended last, in ns since 1970
	counted  atomic.Int64           // what was pending when it could be counted last
}

// pace is how fast things happen; tests cannot wait for hours.
type pace struct {
	poll     time.Duration
	attempts int
	backoff  func(attempt int) time.Duration
}

// New makes a forwarder; nothing is sent before Run.
func New(c Config, o Options) (*Forwarder, error) {
	f := &Forwarder{
		options: o,
		pace:    pace{poll: pollInterval, attempts: attempts, backoff: backoff},
		gate:    newGate(time.Second, 30*time.Second),
		changed: make(chan struct{}, 1),
	}
	var err error
	f.jobs, err = river.NewClient(newDriver(o.DB, o.Shared), &river.Config{Logger: slog.New(quiet{o.Logger.Handler()})})
	if err != nil {
		return nil, fmt.Errorf("making the queue: %w", err)
	}
	if err := f.Replace(c); err != nil {
		return nil, err
	}
	promauto.With(o.Registerer).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "bridge_forward_pending",
		Help: "Events that the application has not taken yet.",
	}, f.pending)
	return f, nil
}

// Replace swaps the configuration, also while Run runs. What waits then goes to
// the new URL; where there is none it stays. After an error nothing has changed.
func (f *Forwarder) Replace(c Config) error {
	to, err := newTarget(c)
	if err != nil {
		return err
	}
	if before := f.target.Swap(to); before == nil || to == nil || before.config != to.config {
		f.gate.hurry()
	}
	select {
	case f.changed <- struct{}{}:
	default:
	}
	return nil
}

// Forwards reports whether there is a forward_url.
func (f *Forwarder) Forwards() bool { return f.target.Load() != nil }

// Enqueue has events sent once tx has committed, and nothing sent where it rolls
// back. Where there is no forward_url it does nothing.
func (f *Forwarder) Enqueue(ctx context.Context, tx *sql.Tx, sequences []int64) error {
	if len(sequences) == 0 || !f.Forwards() {
		return nil
	}
	return f.insert(ctx, tx, sequences)
}

func (f *Forwarder) insert(ctx context.Context, tx *sql.Tx, sequences []int64) error {
	how := &river.InsertOpts{Queue: queue, MaxAttempts: f.pace.attempts}
	params := make([]river.InsertManyParams, len(sequences))
	for i, sequence := range sequences {
		params[i] = river.InsertManyParams{Args: job{Sequence: sequence}, InsertOpts: how}
	}
	if _, err := f.jobs.InsertManyFastTx(ctx, tx, params); err != nil {
		return fmt.Errorf("enqueueing events: %w", err)
	}
	return nil
}

// Wake lets what was enqueued leave at once; it is called after the commit. It
// does not wait. Without it events leave two seconds later.
func (f *Forwarder) Wake() {
	if bell := f.bell.Load(); bell != nil {
		(*bell)()
	}
}

// Run sends until ctx ends. When it returns nothing of it is left running; what
// was being sent then had a second to end, and else is sent again.
func (f *Forwarder) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if f.target.Load() == nil {
			f.await(ctx)
			continue
		}
		if err := f.work(ctx); err != nil && ctx.Err() == nil {
			f.options.Logger.ErrorContext(ctx, "events cannot be forwarded now", slog.Any("err", err))
			pause, cancel := context.WithTimeout(ctx, restartPause)
			f.await(pause)
			cancel()
		}
	}
	return nil
}

// await waits for another target.
func (f *Forwarder) await(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-f.changed:
	}
}

// work runs River until ctx ends or there is no target.
func (f *Forwarder) work(ctx context.Context) error {
	name := rand.Text()
	working, stop := context.WithCancel(ctx)
	defer stop()
	leave, err := f.enter(working, name)
	if err != nil {
		return fmt.Errorf("taking back what was being sent: %w", err)
	}
	defer leave()
	client, pilot, err := f.newClient(name)
	if err != nil {
		return fmt.Errorf("making the queue: %w", err)
	}
	if err := client.Start(working); err != nil {
		return fmt.Errorf("starting the queue: %w", err)
	}
	bell := func() { pilot.ring(working) }
	f.bell.Store(&bell)
	bell() // for whoever has found none
	for working.Err() == nil && f.target.Load() != nil {
		f.await(working)
	}
	f.bell.Store(nil)
	stop()
	<-client.Stopped()
	return nil
}

// enter takes back what those were sending who have ended, and where there are
// others lets them know of this one by its name, until leave is called.
func (f *Forwarder) enter(ctx context.Context, name string) (leave func(), err error) {
	if !f.options.Shared {
		_, err := f.options.DB.ExecContext(ctx, reclaim)
		return func() {}, err
	}
	p := &presence{db: f.options.DB, name: name, logger: f.options.Logger, interval: f.pace.poll, wake: f.Wake}
	if err := p.look(ctx); err != nil {
		p.leave()
		return nil, err
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		p.watch(ctx)
	}()
	return func() { <-gone; p.leave() }, nil
}

// pending counts for the metric: what could be counted last where the database
// is busy.
func (f *Forwarder) pending() float64 {
	//nolint:forbidigo // a collector is asked without a context
	ctx, cancel := context.WithTimeout(context.Background(), countTime)
	defer cancel()
	var n int64
	if err := f.options.DB.QueryRowContext(ctx, countPending).Scan(&n); err == nil {
		f.counted.Store(n)
	}
	return float64(f.counted.Load())
}

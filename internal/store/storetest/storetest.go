// Package storetest says what a store must do, whatever database is below it: the
// rules of delivery.Memory and delivery.Quotas, through restarts and kills, and,
// where several bridges share the database, between them.
//
// A new database is a single call of [Run].
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// Store is what is tested.
type Store interface {
	delivery.Memory
	delivery.Quotas

	Run(ctx context.Context) error
	Close(ctx context.Context) error
	Check(ctx context.Context) error
}

// Options are what a store is opened with.
type Options struct {
	Instance string
	Now      func() time.Time
	After    func(time.Duration) <-chan time.Time
}

// Database is one that is empty at first.
type Database struct {
	// Open opens it, again after Close, and where it is Shared any number of times.
	Open func(ctx context.Context, o Options) (Store, error)
	// Crash makes the next Open find what a kill of the process now would leave; the
	// stores that are open are then only closed. It is nil for a database that
	// keeps nothing when it is closed.
	Crash func() error
	// Shared: several bridges may have it open.
	Shared bool
	// Done is told, where it is not nil, that a database is not used any more before
	// the end of the test.
	Done func()
}

// Run runs the suite; create makes a new database for each test.
func Run(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, create func(t *testing.T) Database)
	}{
		{"Keys", testKeys},
		{"KeysApart", testKeysApart},
		{"Retention", testRetention},
		{"Past", testPast},
		{"Refused", testRefused},
		{"Continues", testContinues},
		{"ContinuesTakesOver", testTakesOver},
		{"Land", testLand},
		{"LandOnce", testLandOnce},
		{"Learn", testLearn},
		{"Await", testAwait},
		{"AwaitDeadline", testAwaitDeadline},
		{"Ended", testEnded},
		{"RepeatsAtOnce", testRepeatsAtOnce},
		{"ContinuationsAtOnce", testContinuationsAtOnce},
		{"MessagesAtOnce", testMessagesAtOnce},
		{"Quotas", testQuotas},
		{"QuotasAtOnce", testQuotasAtOnce},
		{"Expiry", testExpiry},
		{"Restart", testRestart},
		{"OtherInstance", testOtherInstance},
		{"QuotasRestart", testQuotasRestart},
		{"Bridges", testBridges},
		{"Model", testModel},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, create)
		})
	}
}

// bridge is a store that runs, with the clock and the database below it.
type bridge struct {
	Store

	t        *testing.T
	database Database
	clock    *Clock
	stop     func() error
}

// start opens a database as an instance.
func start(ctx context.Context, db Database, clock *Clock, instance string) (*bridge, error) {
	s, err := db.Open(ctx, Options{Instance: instance, Now: clock.Now, After: clock.After})
	if err != nil {
		return nil, fmt.Errorf("opening: %w", err)
	}
	detached := context.WithoutCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- s.Run(detached) }()
	stop := sync.OnceValue(func() error { return errors.Join(s.Close(detached), <-ran) })
	return &bridge{Store: s, database: db, clock: clock, stop: stop}, nil
}

// open starts a bridge on a new database; the end of the test stops it.
func open(t *testing.T, create func(t *testing.T) Database) *bridge {
	t.Helper()
	return join(t, create(t), NewClock(), "a")
}

// join starts a bridge; the end of the test stops it.
func join(t *testing.T, db Database, clock *Clock, instance string) *bridge {
	t.Helper()
	b, err := start(t.Context(), db, clock, instance)
	if err != nil {
		t.Fatal(err)
	}
	b.t = t
	t.Cleanup(func() {
		if err := b.stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	return b
}

// done stops a bridge before the end of its test: nobody uses its database again.
func (b *bridge) done() {
	b.t.Helper()
	if err := b.stop(); err != nil {
		b.t.Errorf("stopping: %v", err)
	}
	if b.database.Done != nil {
		b.database.Done()
	}
}

// restart ends a bridge and starts another in its place, after a kill or in
// order.
func (b *bridge) restart(killed bool, instance string) *bridge {
	b.t.Helper()
	if err := b.end(b.t.Context(), killed); err != nil {
		b.t.Fatal(err)
	}
	return join(b.t, b.database, b.clock, instance)
}

func (b *bridge) end(ctx context.Context, killed bool) error {
	if !killed {
		return b.stop()
	}
	// What was left behind may be lost in a kill; here it is not.
	if err := b.Check(ctx); err != nil {
		return err
	}
	return errors.Join(b.database.Crash(), b.stop())
}

// patience is how long a flight may take: less than whatever a store itself waits
// for, so that Clock.Await finds those who wait for a flight.
const patience = 50 * time.Second

// flight is a message to one recipient with these keys.
func (b *bridge) flight(id string, keys delivery.Keys) delivery.Flight {
	now := b.clock.Now()
	return delivery.Flight{
		ID: id, Time: now, Deadline: now.Add(patience), Keys: keys, Recipients: []string{recipient},
	}
}

const recipient = "a@example.com"

// begin puts a flight on record and gives the ID of the message that it repeats,
// empty for none.
func (b *bridge) begin(f delivery.Flight) string {
	b.t.Helper()
	past, err := b.Begin(b.t.Context(), f)
	if err != nil {
		b.t.Fatalf("Begin(%s): %v", f.ID, err)
	}
	if past == nil {
		return ""
	}
	return past.ID
}

// land puts on record what became of the recipient.
func (b *bridge) land(id string, state providers.State) {
	b.t.Helper()
	if err := b.Land(b.t.Context(), id, providers.Outcome{answer(recipient, state)}); err != nil {
		b.t.Fatalf("Land(%s): %v", id, err)
	}
}

// known is what Await gives at once.
func (b *bridge) known(id string) string {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	cancel()
	past, err := b.Await(ctx, id)
	if err != nil {
		b.t.Fatalf("Await(%s): %v", id, err)
	}
	return text(past)
}

// answer is a provider's about a recipient.
func answer(recipient string, state providers.State) providers.Result {
	r := providers.Result{Recipient: recipient, State: state, Provider: "p", ProviderID: "id of " + recipient}
	if state != providers.Accepted {
		r.Err = &providers.Error{Category: providers.Unknown, Message: "words about " + recipient}
	}
	return r
}

// text is a past in short: "1 in flight: a@example.com ambiguous, …".
func text(p *delivery.Past) string {
	if p == nil {
		return "nothing"
	}
	words := p.ID
	if p.InFlight {
		words += " in flight"
	}
	results := make([]string, len(p.Outcome))
	for i, r := range p.Outcome {
		results[i] = r.Recipient + " " + r.State.String()
	}
	return words + ": " + strings.Join(results, ", ")
}

package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"smtpbridge/internal/store"
	"smtpbridge/internal/store/storetest"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// testHistory says what a history must do, whatever database is below it. A new
// database is a single call.
func testHistory(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, create func(t *testing.T) storetest.Database)
	}{
		{"Log", testLog},
		{"LogPages", testLogPages},
		{"LogSettled", testLogSettled},
		{"OwnEvents", testOwnEvents},
		{"OwnEventsOfRepeats", testOwnEventsOfRepeats},
		{"Events", testEvents},
		{"EventsOdd", testEventsOdd},
		{"EventsAtOnce", testEventsAtOnce},
		{"Together", testTogether},
		{"TogetherAtOnce", testTogetherAtOnce},
		{"TogetherOdd", testTogetherOdd},
		{"Nonce", testNonce},
		{"Correlation", testCorrelation},
		{"EventFilters", testEventFilters},
		{"EventPages", testEventPages},
		{"Replay", testReplay},
		{"Outbox", testOutbox},
		{"OutboxRefuses", testOutboxRefuses},
		{"Counts", testCounts},
		{"ManyNames", testManyNames},
		{"Suppress", testSuppress},
		{"SoftBounces", testSoftBounces},
		{"AnyOrder", testAnyOrder},
		{"EveryOrder", testEveryOrder},
		{"Lift", testLift},
		{"Pull", testPull},
		{"SuppressionEvents", testSuppressionEvents},
		{"SuppressionPages", testSuppressionPages},
		{"SuppressionCounts", testSuppressionCounts},
		{"Recipient", testRecipient},
		{"Contexts", testContexts},
		{"Closed", testClosed},
		{"Restart", testHistoryRestart},
		{"CatchUp", testCatchUp},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, create)
		})
	}
}

func TestHistoryOnDisk(t *testing.T) {
	t.Parallel()
	testHistory(t, func(t *testing.T) storetest.Database {
		t.Helper()
		return onDisk(t, false)
	})
}

func TestHistoryInMemory(t *testing.T) {
	t.Parallel()
	testHistory(t, inMemory)
}

// bridge is a store that runs, with the clock and the database below it.
type bridge struct {
	*store.Store

	t        *testing.T
	database storetest.Database
	clock    *storetest.Clock
	stop     func() error
}

// opened starts a bridge on a new database; the end of the test stops it.
func opened(t *testing.T, create func(t *testing.T) storetest.Database) *bridge {
	t.Helper()
	return join(t, create(t), storetest.NewClock(), "a")
}

// join starts a bridge; the end of the test stops it.
func join(t *testing.T, db storetest.Database, clock *storetest.Clock, instance string) *bridge {
	t.Helper()
	one, err := db.Open(t.Context(), storetest.Options{Instance: instance, Now: clock.Now, After: clock.After})
	if err != nil {
		t.Fatal(err)
	}
	s, ok := one.(*store.Store)
	if !ok {
		t.Fatalf("a %T has no history", one)
	}
	detached := context.WithoutCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(detached) }()
	s.History().Ready() // whether Run has come to it yet or not
	b := &bridge{Store: s, t: t, database: db, clock: clock}
	b.stop = sync.OnceValue(func() error { return errors.Join(s.Close(detached), <-ran) })
	t.Cleanup(func() {
		if err := b.stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	return b
}

// keeping skips a test where nothing survives.
func keeping(t *testing.T, create func(t *testing.T) storetest.Database) storetest.Database {
	t.Helper()
	db := create(t)
	if db.Crash == nil {
		t.Skip("nothing survives")
	}
	return db
}

// restart ends a bridge and starts another in its place, after a kill or in order.
func (b *bridge) restart(killed bool, instance string) *bridge {
	b.t.Helper()
	var err error
	if killed {
		err = errors.Join(b.Check(b.t.Context()), b.database.Crash())
	}
	if err := errors.Join(err, b.stop()); err != nil {
		b.t.Fatal(err)
	}
	return join(b.t, b.database, b.clock, instance)
}

const recipient = "a@example.com"

func (b *bridge) flight(id string, keys delivery.Keys) delivery.Flight {
	now := b.clock.Now()
	return delivery.Flight{ID: id, Time: now, Deadline: now.Add(time.Minute), Keys: keys, Recipients: []string{recipient}}
}

func (b *bridge) continuing(id, earlier string, known ...providers.Result) delivery.Flight {
	f := b.flight(id, delivery.Keys{})
	f.Continues, f.Known = earlier, known
	return f
}

func (b *bridge) begin(f delivery.Flight) {
	b.t.Helper()
	if past, err := b.Begin(b.t.Context(), f); past != nil || err != nil {
		b.t.Fatalf("Begin(%s) = %v, %v", f.ID, past, err)
	}
}

// land puts on record what became of the recipient.
func (b *bridge) land(id string, state providers.State) {
	b.t.Helper()
	if err := b.Land(b.t.Context(), id, providers.Outcome{answer(recipient, state)}); err != nil {
		b.t.Fatalf("Land(%s): %v", id, err)
	}
}

// answer is a provider's about a recipient.
func answer(recipient string, state providers.State) providers.Result {
	r := providers.Result{Recipient: recipient, State: state, Provider: "p", ProviderID: "id of " + recipient}
	if state != providers.Accepted {
		r.Err = &providers.Error{Category: providers.Unknown, Message: "words about " + recipient}
	}
	return r
}

package store_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"

	"smtpbridge/events"
	"smtpbridge/internal/store"
	"smtpbridge/internal/store/storetest"
)

// Enqueue implements [store.Outbox].
func (o *outbox) Enqueue(_ context.Context, tx *sql.Tx, sequences []int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if tx == nil || o.refuse != nil {
		return o.refuse
	}
	o.sequences = append(o.sequences, sequences...)
	return nil
}

// Wake implements [store.Outbox].
func (o *outbox) Wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wakes++
	if o.woken != nil {
		o.woken()
	}
}

// The outbox is told of exactly the events that are new, and woken once they are
// on record.
func testOutbox(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	if err := b.Check(t.Context()); err != nil { // it runs
		t.Fatal(err)
	}
	b.add(b.event("0", events.Delivered, "a@example.com", 0)) // nobody is told
	o := &outbox{}
	b.History().ForwardBy(o)
	b.add(b.event("0", events.Delivered, "a@example.com", 0))
	if len(o.sequences) > 0 || o.wakes > 0 {
		t.Errorf("told of %v, woken %d times, for nothing new", o.sequences, o.wakes)
	}
	b.History().Record(b.record(id(1), "a@example.com accepted", "b@example.com refused"))
	hard := b.event("1", events.Bounced, "a@example.com", 0)
	hard.Bounce = events.Hard
	b.add(b.event("0", events.Delivered, "a@example.com", 0), hard)
	if err := b.History().Lift(t.Context(), "a@example.com", nil); err != nil {
		t.Error(err)
	}
	var want []int64
	for _, e := range b.events(store.EventQuery{})[1:] {
		want = append(want, e.Sequence)
	}
	if len(want) != 5 || !slices.Equal(o.sequences, want) {
		t.Errorf("told of %v, want %v: accepted, rejected, bounced, suppression_added, suppression_removed", o.sequences, want)
	}
	if o.wakes == 0 {
		t.Error("not woken")
	}
}

// What the outbox cannot take charge of is not stored, and does nothing.
func testOutboxRefuses(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	o := &outbox{refuse: errors.New("the queue is full")}
	b.History().ForwardBy(o)
	hard := b.event("1", events.Bounced, "a@example.com", 0)
	hard.Bounce = events.Hard
	batch := events.Batch{Events: []events.Event{b.event("0", events.Opened, "b@example.com", 0), hard}, Nonce: "n"}
	if added, err := b.History().Add(t.Context(), batch, events.Rules{SoftBounceLimit: limit}); !errors.Is(err, o.refuse) || added != nil {
		t.Errorf("Add = %v, %v, want %v", added, err, o.refuse)
	}
	if n, err := b.History().Suppress(t.Context(), events.Suppression{Address: "a@example.com", Reason: events.Manual}); !errors.Is(err, o.refuse) || n != 0 {
		t.Errorf("Suppress = %d, %v, want %v", n, err, o.refuse)
	}
	b.wantTold("refused", store.EventQuery{})
	b.wantSuppressed("refused", "a@example.com")
	if _, err := b.History().Recipient(t.Context(), "b@example.com"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Recipient: %v, want %v", err, store.ErrNotFound)
	}
	// The log of messages waits, with its events.
	b.History().Record(b.record(id(1), "c@example.com accepted"))
	b.wantTold("refused", store.EventQuery{})
	if o.wakes > 0 {
		t.Errorf("woken %d times for what is not on record", o.wakes)
	}
	b.History().ForwardBy(&outbox{})
	if added, err := b.History().Add(t.Context(), batch, events.Rules{SoftBounceLimit: limit}); err != nil || len(added) != 2 {
		t.Errorf("Add again = %v, %v, want both", added, err)
	}
	b.wantTold("told again", store.EventQuery{},
		"accepted c@example.com", "opened b@example.com", "bounced a@example.com", "suppression_added a@example.com")
}

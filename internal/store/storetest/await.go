package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// awaited is what an Await in a goroutine of its own has given.
func awaited(ctx context.Context, b *bridge, id string) <-chan string {
	got := make(chan string, 1)
	go func() {
		past, err := b.Await(ctx, id)
		if err != nil {
			got <- err.Error()
			return
		}
		got <- text(past)
	}()
	return got
}

// A wait ends when the message lands, or with the caller's patience.
func testAwait(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	f := b.flight("1", delivery.Keys{})
	b.begin(f)
	var waits []<-chan string
	for range 5 {
		waits = append(waits, awaited(t.Context(), b, "1"))
	}
	impatient, cancel := context.WithCancel(t.Context())
	early := awaited(impatient, b, "1")
	b.clock.Await(f.Deadline)
	cancel()
	if got, want := <-early, "1 in flight: a@example.com ambiguous"; got != want {
		t.Errorf("Await with a context that ends: %s, want %s", got, want)
	}
	b.land("1", providers.Refused)
	waits = append(waits, awaited(t.Context(), b, "1"))
	for i, got := range waits {
		if got, want := <-got, "1: a@example.com refused"; got != want {
			t.Errorf("Await %d: %s, want %s", i, got, want)
		}
	}
	if past, err := b.Await(t.Context(), "unheard of"); err == nil {
		t.Errorf("Await(unheard of) = %v, no error", past)
	}
}

// A flight that nobody lands has landed at its deadline.
func testAwaitDeadline(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	f := b.flight("1", delivery.Keys{MessageID: "m", Content: "c"})
	f.Deadline = f.Time.Add(30 * time.Second)
	b.begin(f)
	got := awaited(t.Context(), b, "1")
	b.clock.Await(f.Deadline)
	if repeated := b.begin(b.flight("2", delivery.Keys{Content: "c"})); repeated != "" {
		t.Errorf("before the deadline the content repeats %q", repeated)
	}
	b.clock.Advance(30 * time.Second)
	if got, want := <-got, "1: a@example.com ambiguous"; got != want {
		t.Errorf("Await: %s, want %s", got, want)
	}
	past, err := b.Begin(t.Context(), b.flight("3", delivery.Keys{MessageID: "m"}))
	if err != nil || past == nil || past.InFlight {
		t.Errorf("Begin after the deadline = %v, %v, want a past that has landed", past, err)
	}
}

// A caller who has gone before his turn has put nothing on record.
func testEnded(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	gone := errors.New("the client has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	f := b.flight("1", delivery.Keys{Idempotency: "k"})
	if past, err := b.Begin(ctx, f); !errors.Is(err, gone) {
		t.Errorf("Begin = %v, %v, want %v", past, err, gone)
	}
	if taken, err := b.Take(ctx, "p", 1, delivery.QuotaLimits{Day: 1}, b.clock.Now()); !errors.Is(err, gone) {
		t.Errorf("Take = %v, %v, want %v", taken, err, gone)
	}
	if got := b.begin(b.flight("2", f.Keys)); got != "" {
		t.Errorf("a later one repeats %q", got)
	}
	if day, month, err := b.Used(t.Context(), "p", b.clock.Now()); day != 0 || month != 0 || err != nil {
		t.Errorf("Used = %d, %d, %v, want nothing", day, month, err)
	}
	// Whenever it ends: there is an error and nothing, or no error and all of it.
	for i := range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		id := fmt.Sprint("race ", i)
		go cancel()
		_, err := b.Begin(ctx, b.flight(id, delivery.Keys{}))
		if _, found := b.Await(ctx, id); (found == nil) != (err == nil) {
			t.Errorf("Begin: %v, yet Await: %v", err, found)
		}
		cancel()
	}
}

// Of repeats that come at once one is sent, and all others are its repeats.
func testRepeatsAtOnce(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	for _, keys := range []delivery.Keys{{Idempotency: "k"}, {MessageID: "k"}} {
		b := open(t, create)
		first := sole(t, b, func(id string) delivery.Flight { return b.flight(id, keys) })
		b.land(first, providers.Accepted)
		if got := b.begin(b.flight("later", keys)); got != first {
			t.Errorf("a later one repeats %q, want %q", got, first)
		}
	}
}

// Of continuations of one message one is sent, and all others are its repeats.
func testContinuationsAtOnce(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	for _, keys := range []delivery.Keys{{}, {Idempotency: "k"}, {MessageID: "k"}, {Content: "k"}} {
		b := open(t, create)
		b.begin(b.flight("earlier", keys))
		b.land("earlier", providers.Ambiguous)
		sole(t, b, func(id string) delivery.Flight { return b.continuing(id, "earlier", keys) })
	}
}

// sole begins flights at once, of which one may be sent, and waits for it in the
// others.
func sole(t *testing.T, b *bridge, flight func(id string) delivery.Flight) string {
	t.Helper()
	const many = 20
	first := make(chan string, many)
	repeats := make(chan string, many)
	var all sync.WaitGroup
	for i := range many {
		f := flight(fmt.Sprint("of many ", i))
		all.Go(func() {
			past, err := b.Begin(t.Context(), f)
			switch {
			case err != nil:
				t.Error(err)
			case past == nil:
				first <- f.ID
			case past.ID != "":
				repeats <- past.ID
			}
		})
	}
	all.Wait()
	if len(first) != 1 || len(repeats) != many-1 {
		t.Fatalf("of %d at once %d are sent and %d are repeats", many, len(first), len(repeats))
	}
	id := <-first
	for range many - 1 {
		if got := <-repeats; got != id {
			t.Errorf("a repeat of %q, want of %q", got, id)
		}
	}
	return id
}

// Many messages at once do not disturb each other.
func testMessagesAtOnce(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	const workers, messages = 10, manyMessages / 2
	b := open(t, create)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range messages {
				id := fmt.Sprintf("%d of %d", i, w)
				keys := delivery.Keys{MessageID: id, Idempotency: id}
				past, err := b.Begin(t.Context(), b.flight(id, keys))
				if past != nil || err != nil {
					t.Errorf("Begin(%s) = %v, %v", id, text(past), err)
				}
				wait := awaited(t.Context(), b, id)
				if err := b.Land(t.Context(), id, providers.Outcome{answer(recipient, providers.Accepted)}); err != nil {
					t.Error(err)
				}
				b.Replied(id, true)
				if got, want := <-wait, id+": a@example.com accepted"; got != want {
					t.Errorf("Await: %s, want %s", got, want)
				}
				past, err = b.Begin(t.Context(), b.flight("again "+id, keys))
				if err != nil || past == nil || past.ID != id {
					t.Errorf("Begin(again %s) = %v, %v, want %s", id, text(past), err, id)
				}
			}
		})
	}
	all.Wait()
}

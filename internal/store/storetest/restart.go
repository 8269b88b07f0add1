package storetest

import (
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// keeping skips a test where nothing survives.
func keeping(t *testing.T, create func(t *testing.T) Database) Database {
	t.Helper()
	db := create(t)
	if db.Crash == nil {
		t.Skip("nothing survives")
	}
	return db
}

// After a restart, in order or not, all is there; what was in flight is
// ambiguous, and a reply of which nothing was known was not given.
func testRestart(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	for _, killed := range []bool{false, true} {
		for _, f := range fates() {
			b := join(t, keeping(t, create), NewClock(), "a")
			keys := delivery.Keys{Idempotency: "i", MessageID: "m", Content: "c"}
			b.begin(b.flight("1", keys))
			f.meet(b)
			unknown := f.name == "in flight" || f.name == "past its deadline"
			outcome := b.known("1")
			b = b.restart(killed, "a")
			if unknown {
				outcome = "1: a@example.com ambiguous"
			}
			if got := b.known("1"); got != outcome {
				t.Errorf("killed %v, %s: %s, want %s", killed, f.name, got, outcome)
			}
			// All replies of which nothing was known are known not to have been given.
			for _, tt := range []struct {
				keys delivery.Keys
				want bool
			}{
				{delivery.Keys{Content: "c"}, f.byMessageID},
				{delivery.Keys{MessageID: "m"}, f.byMessageID},
				{delivery.Keys{Idempotency: "i"}, true},
			} {
				id := tt.keys.Content + tt.keys.MessageID + tt.keys.Idempotency
				if got := b.begin(b.flight(id, tt.keys)); (got == "1") != tt.want {
					t.Errorf("killed %v, %s: %+v repeats %q, want that %v", killed, f.name, tt.keys, got, tt.want)
				}
			}
			b.done()
		}
		testRestartContinued(t, killed, create)
		testRestartWithheld(t, killed, create)
	}
}

// Who was not to be sent to is no less known after an end without warning.
func testRestartWithheld(t *testing.T, killed bool, create func(t *testing.T) Database) {
	t.Helper()
	b := join(t, keeping(t, create), NewClock(), "a")
	f := b.flight("1", delivery.Keys{MessageID: "m"})
	f.Recipients = []string{recipient, "b@example.com", "c@example.com"}
	f.Known = providers.Outcome{answer(recipient, providers.Refused), answer("c@example.com", providers.Accepted)}
	b.begin(f)
	b = b.restart(killed, "a")
	if got, want := b.known("1"), "1: a@example.com refused, b@example.com ambiguous, c@example.com accepted"; got != want {
		t.Errorf("killed %v: %s, want %s", killed, got, want)
	}
	b.done()
}

// What stands for another still does after a restart, and is put right by what is
// heard then.
func testRestartContinued(t *testing.T, killed bool, create func(t *testing.T) Database) {
	t.Helper()
	b := join(t, keeping(t, create), NewClock(), "a")
	b.begin(b.flight("1", delivery.Keys{Idempotency: "i1", MessageID: "m1"}))
	b.land("1", providers.Ambiguous)
	b.begin(b.continuing("2", "1", delivery.Keys{MessageID: "m2"}, answer(recipient, providers.Ambiguous)))
	b = b.restart(killed, "a")
	for _, keys := range []delivery.Keys{{Idempotency: "i1"}, {MessageID: "m1"}, {MessageID: "m2"}} {
		if got := b.begin(b.flight("x", keys)); got != "2" {
			t.Errorf("killed %v: %+v repeats %q, want 2", killed, keys, got)
		}
	}
	if got := b.begin(b.continuing("x", "1", delivery.Keys{})); got != "2" {
		t.Errorf("killed %v: who continues 1 too repeats %q, want 2", killed, got)
	}
	b.land("1", providers.Accepted)
	if got, want := b.known("2"), "2: a@example.com accepted"; got != want {
		t.Errorf("killed %v: %s, want %s", killed, got, want)
	}
	b.Replied("2", true)
	for keys, want := range map[delivery.Keys]string{{MessageID: "m1"}: "", {MessageID: "m2"}: "", {Idempotency: "i1"}: "2"} {
		if got := b.begin(b.flight("y"+keys.MessageID, keys)); got != want {
			t.Errorf("killed %v, settled: %+v repeats %q, want %q", killed, keys, got, want)
		}
	}
}

// What another bridge had in flight stays so until its deadline.
func testOtherInstance(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := join(t, keeping(t, create), NewClock(), "a")
	keys := delivery.Keys{MessageID: "m", Content: "c"}
	b.begin(b.flight("1", keys))
	b = b.restart(true, "b")
	if got, want := b.known("1"), "1 in flight: a@example.com ambiguous"; got != want {
		t.Errorf("before its deadline: %s, want %s", got, want)
	}
	got := awaited(t.Context(), b, "1")
	b.clock.Await(b.clock.Now().Add(patience))
	for range 500 { // in small steps, for those who look again and again
		b.clock.Advance(100 * time.Millisecond)
	}
	if got, want := <-got, "1: a@example.com ambiguous"; got != want {
		t.Errorf("at its deadline: %s, want %s", got, want)
	}
	// Its reply may still be on the way, unless it is gone.
	if got := b.begin(b.flight("2", delivery.Keys{Content: "c"})); got != "1" {
		t.Errorf("the same content repeats %q, want 1: it is ambiguous", got)
	}
	b.land("1", providers.Accepted)
	if got := b.begin(b.flight("2", delivery.Keys{Content: "c"})); got != "" {
		t.Errorf("the same content repeats %q: it is not known that no reply was given", got)
	}
	b = b.restart(true, "c")
	if got := b.begin(b.flight("3", delivery.Keys{Content: "c"})); got == "" {
		t.Error("the same content repeats nothing: a bridge whose deadline has passed gives no reply any more")
	}
}

func testQuotasRestart(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	for _, killed := range []bool{false, true} {
		b := join(t, keeping(t, create), NewClock(), "a")
		now := b.clock.Now()
		if taken, err := b.Take(t.Context(), "p", 3, delivery.QuotaLimits{Day: 4}, now); !taken || err != nil {
			t.Fatalf("Take = %v, %v", taken, err)
		}
		b = b.restart(killed, "b")
		b.used("after a restart", "p", now, 3, 3)
		if taken, err := b.Take(t.Context(), "p", 2, delivery.QuotaLimits{Day: 4}, now); taken || err != nil {
			t.Errorf("Take beyond the limit after a restart = %v, %v", taken, err)
		}
		// Counts of long ago are dropped, not those that may count.
		b.clock.Advance(45 * 24 * time.Hour)
		b = b.restart(killed, "b")
		b.used("of the month before", "p", now, 3, 3)
		b.clock.Advance(60 * 24 * time.Hour)
		b = b.restart(killed, "b")
		b.used("of long ago", "p", now, 0, 0)
	}
}

// Bridges on one database know of each other's mail and counts.
func testBridges(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	db := create(t)
	if !db.Shared {
		t.Skip("not shared")
	}
	clock := NewClock()
	a, b := join(t, db, clock, "a"), join(t, db, clock, "b")
	keys := delivery.Keys{MessageID: "m"}
	a.begin(a.flight("1", keys))
	if got := b.begin(b.flight("2", keys)); got != "1" {
		t.Errorf("at the other bridge repeats %q, want 1", got)
	}
	// A third that starts leaves their flights alone.
	c := join(t, db, clock, "c")
	if got, want := c.known("1"), "1 in flight: a@example.com ambiguous"; got != want {
		t.Errorf("at a third: %s, want %s", got, want)
	}
	got := awaited(t.Context(), b, "1")
	b.clock.Await(clock.Now().Add(time.Second))
	a.land("1", providers.Accepted)
	clock.Advance(time.Second)
	if got, want := <-got, "1: a@example.com accepted"; got != want {
		t.Errorf("Await at the other bridge: %s, want %s", got, want)
	}
	a.Replied("1", true)
	if err := a.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if got := b.begin(b.flight("3", keys)); got != "" {
		t.Errorf("after its reply, at the other bridge: repeats %q", got)
	}
	// An event may come to any of them, and the answer to the first.
	b.land("3", providers.Ambiguous)
	c.land("3", providers.Accepted)
	b.land("3", providers.Refused)
	if got, want := a.known("3"), "3: a@example.com accepted"; got != want {
		t.Errorf("landed at several: %s, want %s", got, want)
	}
	sole(t, b, func(id string) delivery.Flight { return c.continuing(id, "3", keys) })
	takeAtOnce(t, a, b)
}

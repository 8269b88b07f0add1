package storetest

import (
	"fmt"
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// fates are what may have become of a message when another of the same key comes.
func fates() []fate {
	landed := func(state providers.State) func(*bridge) {
		return func(b *bridge) { b.land("1", state) }
	}
	replied := func(state providers.State, given bool) func(*bridge) {
		return func(b *bridge) {
			b.land("1", state)
			b.Replied("1", given)
		}
	}
	return []fate{
		{"in flight", func(*bridge) {}, true, false},
		{"past its deadline", func(b *bridge) { b.clock.Advance(patience) }, true, true},
		{"accepted, reply not known", landed(providers.Accepted), true, false},
		{"accepted, reply given", replied(providers.Accepted, true), false, false},
		{"accepted, reply not given", replied(providers.Accepted, false), true, true},
		{"refused, reply not known", landed(providers.Refused), true, false},
		{"refused, reply given", replied(providers.Refused, true), false, false},
		{"refused, reply not given", replied(providers.Refused, false), true, true},
		{"ambiguous, reply not known", landed(providers.Ambiguous), true, true},
		{"ambiguous, reply given", replied(providers.Ambiguous, true), true, true},
		{"ambiguous, reply not given", replied(providers.Ambiguous, false), true, true},
		{"reply given before it landed", func(b *bridge) {
			b.Replied("1", true)
			b.land("1", providers.Accepted)
		}, false, false},
		{"reply given in the end", func(b *bridge) {
			replied(providers.Accepted, false)(b)
			b.Replied("1", true)
		}, false, false},
		{"reply to a repeat not given", func(b *bridge) {
			replied(providers.Accepted, true)(b)
			b.Replied("1", false)
		}, true, true},
		{"reply to a repeat not given, later", func(b *bridge) {
			replied(providers.Accepted, true)(b)
			_ = b.known("1")
			b.Replied("1", false)
		}, true, true},
		{"ambiguous, put right", func(b *bridge) {
			replied(providers.Ambiguous, true)(b)
			b.land("1", providers.Accepted)
		}, false, false},
		{"past its deadline, put right", func(b *bridge) {
			b.clock.Advance(time.Hour)
			replied(providers.Accepted, true)(b)
		}, false, false},
	}
}

// fate says by which keys a message is repeated then; by its idempotency key
// always.
type fate struct {
	name                 string
	meet                 func(*bridge)
	byMessageID, content bool
}

func testKeys(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	for _, f := range fates() {
		for _, kind := range []struct {
			name string
			keys delivery.Keys
			want bool
		}{
			{"idempotency", delivery.Keys{Idempotency: "k"}, true},
			{"Message-ID", delivery.Keys{MessageID: "k"}, f.byMessageID},
			{"content", delivery.Keys{Content: "k"}, f.content},
		} {
			b := open(t, create)
			b.begin(b.flight("1", kind.keys))
			f.meet(b)
			want := ""
			if kind.want {
				want = "1"
			}
			if got := b.begin(b.flight("2", kind.keys)); got != want {
				t.Errorf("%s, the same %s: repeats %q, want %q", f.name, kind.name, got, want)
			}
			b.done()
		}
	}
}

// Keys of one kind are told apart, kinds are not mixed, and a message without
// keys repeats nothing.
func testKeysApart(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	all := delivery.Keys{Idempotency: "i", MessageID: "m", Content: "c"}
	tests := []struct {
		earlier, later delivery.Keys
		want           bool
	}{
		{all, all, true},
		{all, delivery.Keys{}, false},
		{delivery.Keys{}, delivery.Keys{}, false},
		{delivery.Keys{}, all, false},
		{all, delivery.Keys{Idempotency: "m", MessageID: "c", Content: "i"}, false},
		{all, delivery.Keys{Idempotency: "I", MessageID: "M", Content: "C"}, false},
		{all, delivery.Keys{Idempotency: "i", MessageID: "x", Content: "x"}, true},
		{all, delivery.Keys{Idempotency: "x", MessageID: "m", Content: "x"}, true},
		{all, delivery.Keys{Idempotency: "x", MessageID: "x", Content: "c"}, true},
	}
	for _, tt := range tests {
		b := open(t, create)
		b.begin(b.flight("1", tt.earlier))
		b.land("1", providers.Ambiguous)
		if got := b.begin(b.flight("2", tt.later)); (got == "1") != tt.want {
			t.Errorf("%+v after %+v: repeats %q, want that %v", tt.later, tt.earlier, got, tt.want)
		}
		b.done()
	}

	// Of several the idempotency key decides, then the Message-ID; of several
	// messages the newest.
	b := open(t, create)
	for i, keys := range []delivery.Keys{{Content: "c"}, {Content: "c"}, {MessageID: "m"}, {Idempotency: "i"}} {
		b.begin(b.flight(fmt.Sprint(i), keys))
	}
	for i := range 4 {
		b.land(fmt.Sprint(i), providers.Ambiguous)
	}
	for _, tt := range []struct {
		keys delivery.Keys
		want string
	}{{all, "3"}, {delivery.Keys{MessageID: "m", Content: "c"}, "2"}, {delivery.Keys{Content: "c"}, "1"}} {
		if got := b.begin(b.flight("later", tt.keys)); got != tt.want {
			t.Errorf("%+v: repeats %q, want %q", tt.keys, got, tt.want)
		}
	}
}

// A message is remembered for 24 hours from when it came.
func testRetention(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	for _, tt := range []struct {
		age  time.Duration
		want string
	}{
		{delivery.Retention - time.Nanosecond, "1"},
		{delivery.Retention, ""},
		{delivery.Retention + time.Hour, ""},
	} {
		b := open(t, create)
		keys := delivery.Keys{Idempotency: "k", MessageID: "k"}
		b.begin(b.flight("1", keys))
		b.clock.Advance(tt.age)
		_, landing := b.Await(t.Context(), "1")
		awaiting := b.Land(t.Context(), "1", providers.Outcome{answer(recipient, providers.Ambiguous)})
		if (landing == nil) != (tt.want == "1") || (awaiting == nil) != (tt.want == "1") {
			t.Errorf("after %s: Await %v, Land %v, want errors only after %s", tt.age, awaiting, landing, delivery.Retention)
		}
		if got := b.begin(b.flight("2", keys)); got != tt.want {
			t.Errorf("after %s: repeats %q, want %q", tt.age, got, tt.want)
		}
	}
}

// What has expired leaves by and by; what has not stays.
func testExpiry(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	const many = 3 * manyMessages
	begin := func(round string) {
		for i := range many {
			id := fmt.Sprint(round, i)
			f := b.flight(id, delivery.Keys{Idempotency: id, MessageID: id})
			if got := b.begin(f); got != "" {
				t.Fatalf("%s repeats %s", id, got)
			}
			b.land(id, providers.Accepted)
			b.Replied(id, i%2 == 0)
		}
	}
	begin("a")
	b.clock.Advance(delivery.Retention - time.Hour)
	begin("b")
	b.clock.Advance(2 * time.Hour)
	begin("c")
	for _, round := range []string{"b", "c"} {
		for i := range many {
			id := fmt.Sprint(round, i)
			if got := b.begin(b.flight("again", delivery.Keys{Idempotency: id})); got != id {
				t.Errorf("the same key as %s repeats %q", id, got)
			}
		}
	}
	if _, err := b.Await(t.Context(), "a0"); err == nil {
		t.Error("Await(a0) finds a message of the day before")
	}
}

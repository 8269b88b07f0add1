package storetest

import (
	"slices"
	"strings"
	"testing"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// expand makes addresses of letters: "a accepted" is "a@example.com accepted".
func expand(short string) string {
	results := strings.Split(short, ", ")
	for i, r := range results {
		results[i] = r[:1] + "@example.com" + r[1:]
	}
	return strings.Join(results, ", ")
}

// continuing is a flight that continues another.
func (b *bridge) continuing(id, earlier string, keys delivery.Keys, known ...providers.Result) delivery.Flight {
	f := b.flight(id, keys)
	f.Continues, f.Known = earlier, known
	return f
}

// What a flight continues it stands for, whatever its own keys are; whoever
// continues the same one finds it.
func testContinues(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	first := delivery.Keys{Idempotency: "i1", MessageID: "m1", Content: "c1"}
	second := delivery.Keys{Idempotency: "i2", MessageID: "m1"}
	third := delivery.Keys{Idempotency: "i2", MessageID: "m3"}
	b.begin(b.flight("1", first))
	b.land("1", providers.Ambiguous)
	if got := b.begin(b.continuing("2", "1", second)); got != "" {
		t.Fatalf("2 continues 1 and repeats %q", got)
	}
	b.land("2", providers.Ambiguous)
	if got := b.begin(b.continuing("x", "1", first)); got != "2" {
		t.Errorf("who continues 1 too repeats %q, want 2", got)
	}
	if got := b.begin(b.continuing("3", "2", third)); got != "" {
		t.Fatalf("3 continues 2 and repeats %q", got)
	}
	for _, earlier := range []string{"1", "2"} {
		if got := b.begin(b.continuing("x", earlier, first)); got != "3" {
			t.Errorf("who continues %s too repeats %q, want 3", earlier, got)
		}
	}
	for _, keys := range []delivery.Keys{
		first, second, third,
		{Idempotency: "i1"},
		{Idempotency: "i2"},
		{MessageID: "m1"},
		{MessageID: "m3"},
	} {
		if got := b.begin(b.flight("x", keys)); got != "3" {
			t.Errorf("%+v repeats %q, want 3", keys, got)
		}
	}
	// What 3 is decides: in flight it is no message of the same content.
	content := delivery.Keys{Content: "c1"}
	if got := b.begin(b.flight("4", content)); got != "" {
		t.Errorf("the content of 1, continued in flight, repeats %q", got)
	}
	b.land("3", providers.Accepted)
	b.Replied("3", true)
	for keys, want := range map[delivery.Keys]string{{Idempotency: "i1"}: "3", {MessageID: "m1"}: "", content: ""} {
		if got := b.begin(b.flight("x"+want+keys.Content, keys)); got != want {
			t.Errorf("%+v after the end of 3 repeats %q, want %q", keys, got, want)
		}
	}
	testTwins(t, create)
	testAlike(t, create)
}

// A message is alike only if its own keys say so: not by an idempotency key, nor
// by one that it took over. Who was not sent to again is told.
func testAlike(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	b.begin(b.flight("1", delivery.Keys{Idempotency: "i", MessageID: "m1"}))
	b.land("1", providers.Ambiguous)
	again := func(keys delivery.Keys) *delivery.Past {
		past, err := b.Begin(t.Context(), b.flight("x", keys))
		if err != nil || past == nil {
			t.Fatalf("Begin(%+v) = %v, %v, want a past", keys, past, err)
		}
		return past
	}
	for keys, want := range map[delivery.Keys]bool{
		{MessageID: "m1"}: true, {Idempotency: "i", MessageID: "m1"}: true,
		{Idempotency: "i", MessageID: "m2"}: false, {Idempotency: "i", Content: "c"}: false, {Idempotency: "i"}: false,
	} {
		if got := again(keys); got.Alike != want || got.Inherited != nil {
			t.Errorf("%+v: %+v, want alike %t", keys, got, want)
		}
	}
	b.begin(b.continuing("2", "1", delivery.Keys{Idempotency: "i", MessageID: "m2"}, answer(recipient, providers.Ambiguous)))
	if got := again(delivery.Keys{MessageID: "m1"}); got.ID != "2" || got.Alike || !slices.Equal(got.Inherited, []string{recipient}) {
		t.Errorf("the Message-ID of 1 finds %+v, want 2, not alike, with an inherited recipient", got)
	}
}

// Two messages of one key are continued apart; what is not on record cannot be
// continued, and an idempotency key has one message whatever it continues.
func testTwins(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	keys := delivery.Keys{Content: "c"}
	for _, id := range []string{"1", "2"} {
		b.begin(b.flight(id, keys))
	}
	for _, id := range []string{"1", "2"} {
		b.land(id, providers.Ambiguous)
	}
	if got := b.begin(b.continuing("3", "2", keys)); got != "" {
		t.Errorf("3 continues 2 and repeats %q", got)
	}
	if got := b.begin(b.flight("4", keys)); got != "1" {
		t.Errorf("4 repeats %q, want the twin 1", got)
	}
	if got := b.begin(b.continuing("4", "unheard of", keys)); got != "1" {
		t.Errorf("4 continues what is not on record and repeats %q, want 1", got)
	}
	if got := b.begin(b.continuing("4", "1", keys)); got != "" {
		t.Errorf("4 continues 1 and repeats %q", got)
	}
	b.begin(b.flight("5", delivery.Keys{Idempotency: "i"}))
	if got := b.begin(b.continuing("6", "4", delivery.Keys{Idempotency: "i"})); got != "5" {
		t.Errorf("6 continues 4 with the key of 5 and repeats %q, want 5", got)
	}
}

// A flight takes over what is known of the one that it continues, when it begins
// and when more becomes known of that one later.
func testTakesOver(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	const a, c, d = "a@example.com", "b@example.com", "c@example.com"
	tests := []struct {
		name          string
		known         providers.Outcome // when 2 begins
		before, after providers.Outcome // of 1
		landed        providers.Outcome // of 2
		want          string            // of 2
	}{
		{
			name:  "what the caller knows",
			known: providers.Outcome{answer(a, providers.Accepted), answer(d, providers.Ambiguous)},
			want:  "a accepted, b ambiguous, c ambiguous",
		},
		{
			name:   "and stays with it",
			known:  providers.Outcome{answer(a, providers.Accepted), answer(d, providers.Refused)},
			landed: providers.Outcome{answer(a, providers.Refused), answer(c, providers.Refused), answer(d, providers.Accepted)},
			want:   "a accepted, b refused, c refused",
		},
		{
			name:   "who was accepted by then has it, whoever is sent to again",
			known:  providers.Outcome{answer(d, providers.Ambiguous)},
			before: providers.Outcome{answer(a, providers.Accepted), answer(c, providers.Refused), answer(d, providers.Refused)},
			want:   "a accepted, b ambiguous, c refused",
		},
		{
			name:  "what is heard of the first later is true of those who were not sent to again",
			known: providers.Outcome{answer(c, providers.Ambiguous), answer(d, providers.Ambiguous)},
			after: providers.Outcome{answer(c, providers.Refused), answer(d, providers.Accepted)},
			want:  "a ambiguous, b refused, c accepted",
		},
		{
			name:   "of the others only that they have it",
			after:  providers.Outcome{answer(a, providers.Accepted), answer(c, providers.Refused)},
			landed: providers.Outcome{answer(a, providers.Ambiguous), answer(c, providers.Ambiguous), answer(d, providers.Accepted)},
			want:   "a accepted, b ambiguous, c accepted",
		},
	}
	for _, tt := range tests {
		for _, landFirst := range []bool{false, true} {
			b := open(t, create)
			f := b.flight("1", delivery.Keys{Idempotency: "k"})
			f.Recipients = []string{a, c, d}
			b.begin(f)
			land := func(id string, outcome providers.Outcome) {
				if err := b.Land(t.Context(), id, outcome); err != nil {
					t.Errorf("%s: %v", tt.name, err)
				}
			}
			land("1", tt.before)
			f.ID, f.Continues, f.Known = "2", "1", tt.known
			b.begin(f)
			if landFirst {
				land("2", tt.landed)
			}
			land("1", tt.after)
			land("2", tt.landed)
			if got, want := b.known("2"), "2: "+expand(tt.want); got != want {
				t.Errorf("%s, landed first %v: %s, want %s", tt.name, landFirst, got, want)
			}
		}
	}
}

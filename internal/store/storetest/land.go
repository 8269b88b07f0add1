package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// three is a flight to three recipients, one of them twice.
func three(b *bridge, id string, keys delivery.Keys) delivery.Flight {
	f := b.flight(id, keys)
	f.Recipients = []string{"a@example.com", "b@example.com", "a@example.com", "c@example.com"}
	return f
}

// What is told of an earlier message is what was put on record.
func testPast(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	f := three(b, "1", delivery.Keys{Idempotency: "k"})
	b.begin(f)
	again := func() *delivery.Past {
		past, err := b.Begin(t.Context(), b.flight("2", f.Keys))
		if err != nil || past == nil {
			t.Fatalf("Begin(2) = %v, %v, want a past", past, err)
		}
		return past
	}
	got := again()
	if got.ID != "1" || !got.Time.Equal(f.Time) || !got.InFlight {
		t.Errorf("in flight: %+v, want 1 at %s", got, f.Time)
	}
	for i, r := range got.Outcome {
		if r.Recipient != f.Recipients[i] || r.State != providers.Ambiguous || r.Err == nil {
			t.Errorf("in flight: result %d is %+v, want one of %s, ambiguous, with an error", i, r, f.Recipients[i])
		}
	}
	outcome := providers.Outcome{
		{Recipient: "a@example.com", State: providers.Accepted, Provider: "one", ProviderID: "<1@one>"},
		{Recipient: "b@example.com", State: providers.Refused, Provider: "two", Err: &providers.Error{
			Category: providers.InvalidRecipient, Local: true, Message: "no such user: ünknown\r\n",
			RetryAfter: time.Minute, ProviderCode: "550", Cause: errors.New("a cause"),
		}},
		{Recipient: "a@example.com", State: providers.Ambiguous, Provider: "one", Err: &providers.Error{
			Category: providers.NetworkError, Message: "no answer within 50s",
		}},
		{Recipient: "c@example.com", State: providers.Refused, Err: &providers.Error{Category: providers.NoProvider}},
	}
	if err := b.Land(t.Context(), "1", outcome); err != nil {
		t.Fatal(err)
	}
	got = again()
	// Of an error only category, Local and words are kept.
	outcome[1].Err = &providers.Error{Category: providers.InvalidRecipient, Local: true, Message: outcome[1].Err.Message}
	want := &delivery.Past{ID: "1", Time: f.Time, Deadline: f.Deadline, Outcome: outcome}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("landed (-want +got):\n%s", diff)
	}
}

// An event says of one recipient that the provider has the message, or tells
// nothing new; it never ends a flight.
func testLearn(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	f := b.flight("1", delivery.Keys{Idempotency: "k"})
	f.Recipients = []string{"A@bücher.example", "b@example.com"}
	b.begin(f)
	learn := func(recipient, id string) {
		t.Helper()
		result := providers.Result{Recipient: recipient, State: providers.Accepted, Provider: "p", ProviderID: id}
		if err := b.Learn(t.Context(), "1", result); err != nil {
			t.Fatal(err)
		}
	}
	learn("a@xn--bcher-kva.example", "<1@p>")
	learn("stranger@example.com", "<1@p>")
	past, err := b.Begin(t.Context(), b.flight("2", f.Keys))
	if err != nil || past == nil || !past.InFlight {
		t.Fatalf("after an event in flight: %+v, %v, want it still in flight", past, err)
	}
	silent := providers.Fail(f.Recipients, providers.Ambiguous, &providers.Error{Category: providers.NetworkError})
	for i := range silent {
		silent[i].Provider = "p"
	}
	if err := b.Land(t.Context(), "1", silent); err != nil {
		t.Fatal(err)
	}
	other := providers.Result{Recipient: "b@example.com", State: providers.Accepted, Provider: "another"}
	if err := b.Learn(t.Context(), "1", other); err != nil { // it was never asked
		t.Fatal(err)
	}
	learn("a@xn--bcher-kva.example", "<2@p>")
	want := "1: A@bücher.example accepted, b@example.com ambiguous"
	if past, err = b.Begin(t.Context(), b.flight("2", f.Keys)); err != nil || text(past) != want || past.Outcome[0].ProviderID != "<1@p>" {
		t.Errorf("after it has landed: %s by %v, %v, want %s by <1@p>", text(past), past.Outcome, err, want)
	}
	learn("b@example.com", "<1@p>")
	if past, err = b.Begin(t.Context(), b.flight("2", f.Keys)); err != nil || past.Outcome.Accepted() != 2 {
		t.Errorf("after the second event: %s, %v, want both accepted", text(past), err)
	}
	if err := b.Learn(t.Context(), "unheard of", providers.Result{Recipient: "b@example.com", State: providers.Accepted}); err == nil {
		t.Error("an event of a message that nobody knows gives no error")
	}
}

// What cannot be put on record is refused, and leaves nothing there.
func testRefused(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	now := b.clock.Now()
	later := now.Add(time.Minute)
	b.begin(b.flight("there", delivery.Keys{Idempotency: "k"}))
	for name, f := range map[string]delivery.Flight{
		"no ID":       {Time: now, Deadline: later},
		"no time":     {ID: "1", Deadline: later},
		"no deadline": {ID: "1", Time: now},
		"an ID twice": {ID: "there", Time: now, Deadline: later},
		"known of a stranger": {
			ID: "1", Time: now, Deadline: later, Recipients: []string{recipient},
			Known: providers.Outcome{answer("stranger@example.com", providers.Accepted)},
		},
	} {
		if past, err := b.Begin(t.Context(), f); err == nil || past != nil {
			t.Errorf("%s: Begin = %v, %v, want an error", name, past, err)
		}
	}
	if _, err := b.Await(t.Context(), "1"); err == nil {
		t.Error("Await finds what was refused")
	}
	if got := b.begin(b.flight("2", delivery.Keys{Idempotency: "k"})); got != "there" {
		t.Errorf("a repeat of what is there repeats %q", got)
	}
}

// Land may come again, with more or less than all recipients: only what was
// ambiguous changes.
func testLand(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	const a, c, d = "a@example.com", "b@example.com", "c@example.com"
	tests := []struct {
		name  string
		lands []providers.Outcome
		want  string
	}{
		{"nothing", []providers.Outcome{{}}, "a ambiguous, b ambiguous, a ambiguous, c ambiguous"},
		{
			"all", []providers.Outcome{{
				answer(a, providers.Accepted), answer(c, providers.Refused), answer(a, providers.Ambiguous), answer(d, providers.Accepted),
			}}, "a accepted, b refused, a ambiguous, c accepted",
		},
		{"in order", []providers.Outcome{{answer(c, providers.Accepted), answer(d, providers.Refused)}}, "a ambiguous, b accepted, a ambiguous, c refused"},
		{"out of order", []providers.Outcome{{answer(d, providers.Refused), answer(c, providers.Accepted)}}, "a ambiguous, b accepted, a ambiguous, c refused"},
		{"who is there twice", []providers.Outcome{{answer(a, providers.Accepted), answer(a, providers.Refused)}}, "a accepted, b ambiguous, a refused, c ambiguous"},
		{
			"again", []providers.Outcome{
				{answer(a, providers.Accepted), answer(c, providers.Ambiguous), answer(a, providers.Ambiguous), answer(d, providers.Refused)},
				{answer(a, providers.Refused), answer(c, providers.Accepted), answer(a, providers.Refused), answer(d, providers.Accepted)},
				{answer(a, providers.Ambiguous), answer(c, providers.Ambiguous), answer(a, providers.Ambiguous), answer(d, providers.Ambiguous)},
			}, "a accepted, b accepted, a refused, c refused",
		},
	}
	for _, tt := range tests {
		b := open(t, create)
		b.begin(three(b, "1", delivery.Keys{}))
		for _, outcome := range tt.lands {
			if err := b.Land(t.Context(), "1", outcome); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		want := "1: " + expand(tt.want)
		if got := b.known("1"); got != want {
			t.Errorf("%s: %s, want %s", tt.name, got, want)
		}
	}
}

// A flight lands when Land is first called, also for one that has ended; who is
// no recipient, and what is not on record, is an error and changes nothing.
func testLandOnce(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	b.begin(b.flight("1", delivery.Keys{}))
	mixed := providers.Outcome{answer(recipient, providers.Accepted), answer("stranger@example.com", providers.Accepted)}
	if err := b.Land(t.Context(), "1", mixed); err == nil {
		t.Error("Land of a stranger: no error")
	}
	if got, want := b.known("1"), "1 in flight: a@example.com ambiguous"; got != want {
		t.Errorf("after that: %s, want %s", got, want)
	}
	if err := b.Land(t.Context(), "unheard of", mixed[:1]); err == nil {
		t.Error("Land of what is not on record: no error")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Land(ended, "1", mixed[:1]); err != nil {
		t.Errorf("Land for a caller who has gone: %v", err)
	}
	if got, want := b.known("1"), "1: a@example.com accepted"; got != want {
		t.Errorf("after that: %s, want %s", got, want)
	}
	b.Replied("unheard of", true) // is nothing
	if err := b.Check(t.Context()); err != nil {
		t.Errorf("Check() = %v", err)
	}
}

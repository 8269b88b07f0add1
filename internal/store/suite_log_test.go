package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/events"
	"smtpbridge/internal/store"
	"smtpbridge/internal/store/storetest"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// What was left behind is there for whoever reads, the latest of each message.
func testLog(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	r := b.record(id(1), "a@example.com", "b@example.com")
	b.History().Record(r)
	want := b.record(id(1), "a@example.com accepted", "b@example.com refused")
	want.Losses = []string{"tracking"}
	want.Attempts = []delivery.Attempt{{Provider: "p", Time: b.clock.Now(), Seconds: 0.5, Category: "ok", Late: true}}
	for _, read := range []bool{false, true} {
		b.History().Record(r)
		if read {
			if got, err := b.History().Message(t.Context(), r.ID); err != nil || len(got.Events) != 0 && !read {
				t.Errorf("Message = %+v, %v", got, err)
			}
		}
		b.History().Record(want)
		got, err := b.History().Message(t.Context(), r.ID)
		if diff := cmp.Diff(want, got.Record); diff != "" || err != nil {
			t.Errorf("read between: %v: %v (-want +got):\n%s", read, err, diff)
		}
	}
	if m, err := b.History().Message(t.Context(), r.ID); err != nil || len(m.Events) != 2 {
		t.Errorf("Message = %+v, %v, want two events, whatever was recorded again", m, err)
	}
	var all sync.WaitGroup
	for w := range 10 {
		all.Go(func() {
			for i := range 100 {
				one := b.record(id(100+w*100+i), "c@example.com accepted")
				b.History().Record(one)
				if i%10 > 0 {
					continue
				}
				if m, err := b.History().Message(t.Context(), one.ID); err != nil || len(m.Events) != 1 {
					t.Errorf("Message at once = %+v, %v", m, err)
				}
			}
		})
	}
	all.Wait()
	page, err := b.History().Messages(t.Context(), store.Query{Recipient: "c@example.com", Limit: 2000})
	if err != nil || len(page.Records) != 1000 {
		t.Errorf("%d messages, %v, want 1000", len(page.Records), err)
	}
}

// A list holds what all of its fields say, newest first, each message once.
func testLogPages(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	for n := range 8 {
		state := []string{"accepted", "refused"}[n%2]
		r := b.record(id(n), fmt.Sprintf("%d@example.com %s", n/4, state), "x@example.com accepted")
		if n%4 == 0 {
			r.From, r.MailFrom, r.Tags, r.Recipients[0].Provider = "Other@App.example", "", nil, "another"
		}
		b.History().Record(r)
	}
	for _, tt := range []struct {
		q    store.Query
		want []int
	}{
		{store.Query{}, []int{7, 6, 5, 4, 3, 2, 1, 0}},
		{store.Query{Recipient: "<1@EXAMPLE.com>"}, []int{7, 6, 5, 4}},
		{store.Query{Recipient: "1@example.com", State: "refused"}, []int{7, 5}},
		{store.Query{Recipient: "x@example.com", State: "refused"}, nil},
		{store.Query{State: "refused", Category: "invalid_recipient"}, []int{7, 5, 3, 1}},
		{store.Query{Provider: "another"}, []int{4, 0}},
		{store.Query{Tag: "welcome", Recipient: "0@example.com"}, []int{3, 2, 1}},
		{store.Query{From: "other@app.example"}, []int{4, 0}},
		{store.Query{MailFrom: "bounces@app.example", State: "accepted", Recipient: "0@example.com"}, []int{2}},
		{store.Query{Recipient: "0@example.com", Provider: "another", State: "refused"}, nil},
	} {
		for _, size := range []int{1, 3, 100} {
			q := tt.q
			q.Limit = size
			var got, want []string
			for more := true; more; more = q.Cursor != "" {
				page, err := b.History().Messages(t.Context(), q)
				if err != nil || len(page.Records) > size {
					t.Fatalf("%+v: %+v, %v", q, page, err)
				}
				for _, r := range page.Records {
					got = append(got, r.ID)
				}
				q.Cursor = page.Next
			}
			for _, n := range tt.want {
				want = append(want, id(n))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%+v, %d on a page: %v, want %v", tt.q, size, got, want)
			}
		}
	}
	for _, cursor := range []string{"x", "01J'", fmt.Sprintf("%065d", 1)} {
		if _, err := b.History().Messages(t.Context(), store.Query{Cursor: cursor, Limit: 1}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("cursor %q: %v, want %v", cursor, err, store.ErrCursor)
		}
	}
}

// An event settles of whom nothing was known, and what the SMTP path says later
// without knowing more does not take it back.
func testLogSettled(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	silent := b.record(id(1), "a@example.com", "b@example.com")
	b.History().Record(silent)
	e := b.event("1", events.Bounced, "a@example.com", 0)
	e.MessageID, e.ProviderMessageID, e.Bounce = id(1), "at p", events.Soft
	b.add(e)
	b.History().Record(silent)
	m, err := b.History().Message(t.Context(), id(1))
	if err != nil {
		t.Fatal(err)
	}
	want := []delivery.Recipient{
		{Recipient: "a@example.com", State: providers.Accepted, Provider: "p", ProviderID: "at p"},
		{Recipient: "b@example.com", Provider: "p", ProviderID: "at p " + id(1)},
	}
	if diff := cmp.Diff(want, m.Recipients); diff != "" {
		t.Errorf("recipients (-want +got):\n%s", diff)
	}
	page, err := b.History().Messages(t.Context(), store.Query{Recipient: "a@example.com", State: "accepted", Limit: 1})
	if err != nil || len(page.Records) != 1 {
		t.Errorf("Messages = %+v, %v, want that which was settled", page, err)
	}
	refused := b.record(id(1), "a@example.com", "b@example.com refused")
	b.History().Record(refused)
	if m, err = b.History().Message(t.Context(), id(1)); err != nil || m.Recipients[1].State != providers.Refused {
		t.Errorf("Message = %+v, %v, want b refused: more is known of it", m, err)
	}
}

// The bridge's own events: what became of each recipient of a mail that was
// answered 250, once.
func testOwnEvents(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	for _, tt := range []struct {
		name       string
		recipients []string
		want       []string
	}{
		{"all taken", []string{"A@Example.com accepted", "b@example.com accepted"}, []string{"accepted a@example.com", "accepted b@example.com"}},
		{
			"some",
			[]string{"a@example.com accepted", "b@example.com refused", "c@example.com"},
			[]string{"accepted a@example.com", "rejected b@example.com", "unknown c@example.com"},
		},
		{"twice in the envelope", []string{"a@example.com accepted", "a@example.com accepted"}, []string{"accepted a@example.com"}},
		{"none", []string{"a@example.com refused", "b@example.com refused"}, nil},
		{"none known", []string{"a@example.com", "b@example.com refused"}, nil},
		{"nothing sent", []string{"a@example.com dropped"}, nil},
	} {
		b := opened(t, create)
		r := b.record(id(1), tt.recipients...)
		for range 3 {
			b.History().Record(r)
			b.wantTold(tt.name, store.EventQuery{}, tt.want...)
		}
	}
	b := opened(t, create)
	r := b.record(id(1), "a@example.com accepted", "b@example.com refused")
	r.Attempts = []delivery.Attempt{{Provider: "p", Time: b.clock.Now(), Seconds: 2, Category: "ok"}}
	b.History().Record(r)
	b.clock.Advance(time.Hour) // until it is written
	got := b.events(store.EventQuery{MessageID: id(1)})
	for i := range got {
		got[i].ID, got[i].Sequence = "", 0
	}
	want := events.Event{
		Provider: "p", Type: events.Accepted, MessageID: id(1), ProviderMessageID: "at p " + id(1), Recipient: "a@example.com",
		Timestamp: r.Time.Add(2 * time.Second), Tags: r.Tags, Metadata: r.Metadata,
	}
	rejected := want
	rejected.Type, rejected.Recipient, rejected.Reason = events.Rejected, "b@example.com", "no such user"
	if diff := cmp.Diff([]events.Event{want, rejected}, got); diff != "" {
		t.Errorf("own events (-want +got):\n%s", diff)
	}
}

// A message that repeats another tells nothing that was told of that; what it
// knows more, it does.
func testOwnEventsOfRepeats(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	b.History().Record(b.record(id(1), "a@example.com accepted", "b@example.com refused"))
	again := b.record(id(2), "a@example.com accepted", "b@example.com refused")
	again.RepeatOf = id(1)
	third := b.record(id(3), "a@example.com accepted", "b@example.com accepted")
	third.RepeatOf = id(2)
	want := []string{"accepted a@example.com", "rejected b@example.com"}
	for _, r := range []delivery.Record{again, third, third} {
		b.History().Record(r)
		if r.ID == third.ID {
			want = []string{"accepted a@example.com", "rejected b@example.com", "accepted b@example.com"}
		}
		b.wantTold("after "+r.ID, store.EventQuery{}, want...)
	}
	// A deferred mail has told nothing yet.
	b.History().Record(b.record(id(4), "c@example.com"))
	taken := b.record(id(5), "c@example.com accepted")
	taken.RepeatOf = id(4)
	b.History().Record(taken)
	b.wantTold("deferred first", store.EventQuery{Recipient: "c@example.com"}, "accepted c@example.com")
}

// A caller who has gone before his turn has changed nothing; who reads is told.
func testContexts(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	gone := errors.New("the provider has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	batch := events.Batch{Events: []events.Event{b.event("1", events.Delivered, "a@example.com", 0)}}
	if added, err := b.History().Add(ctx, batch, events.Rules{SoftBounceLimit: limit}); !errors.Is(err, gone) || added != nil {
		t.Errorf("Add = %v, %v, want %v", added, err, gone)
	}
	if n, err := b.History().Suppress(ctx, events.Suppression{Address: "a@example.com", Reason: events.Manual}); !errors.Is(err, gone) || n != 0 {
		t.Errorf("Suppress = %d, %v, want %v", n, err, gone)
	}
	b.wantTold("gone", store.EventQuery{})
	for name, read := range historyReads(b.History()) {
		if err := read(ctx); err == nil {
			t.Errorf("%s for a caller who has gone: no error", name)
		}
	}
	// Whenever it ends: there is an error and nothing, or no error and all of it.
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			e := b.event(fmt.Sprint("race ", i), events.Delivered, fmt.Sprintf("%d@example.com", i), 0)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go cancel()
			_, err := b.History().Add(ctx, events.Batch{Events: []events.Event{e}}, events.Rules{SoftBounceLimit: limit})
			page, found := b.History().Events(t.Context(), store.EventQuery{Recipient: e.Recipient, Limit: 1})
			if found != nil || (len(page.Events) == 1) != (err == nil) {
				t.Errorf("Add: %v, yet there are %d events, %v", err, len(page.Events), found)
			}
		})
	}
	all.Wait()
}

// historyReads are all ways to read.
func historyReads(h *store.History) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Message":  func(ctx context.Context) error { _, err := h.Message(ctx, id(1)); return err },
		"Messages": func(ctx context.Context) error { _, err := h.Messages(ctx, store.Query{Limit: 1}); return err },
		"Events":   func(ctx context.Context) error { _, err := h.Events(ctx, store.EventQuery{Limit: 1}); return err },
		"Event":    func(ctx context.Context) error { _, _, err := h.Event(ctx, 1); return err },
		"Replay":   func(ctx context.Context) error { _, err := h.Replay(ctx, time.Time{}, time.Time{}); return err },
		"Counts":   func(ctx context.Context) error { _, err := h.Counts(ctx, store.CountQuery{}); return err },
		"Complaints": func(ctx context.Context) error {
			_, _, err := h.Complaints(ctx, "p", time.Time{})
			return err
		},
		"Suppressions": func(ctx context.Context) error {
			_, err := h.Suppressions(ctx, store.SuppressionQuery{Limit: 1})
			return err
		},
		"SuppressionCounts": func(ctx context.Context) error { _, err := h.SuppressionCounts(ctx); return err },
		"Recipient":         func(ctx context.Context) error { _, err := h.Recipient(ctx, "a@example.com"); return err },
	}
}

// Who waits while the store is closed has an answer, and so has who comes later:
// an error where nothing was done.
func testClosed(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	h := b.History()
	if _, err := h.Suppress(t.Context(), events.Suppression{Address: "held@example.com", Reason: events.Manual}); err != nil {
		t.Fatal(err)
	}
	o := &outbox{}
	closing := make(chan error, 1)
	first := sync.OnceFunc(func() { go func() { closing <- b.stop() }() })
	o.woken = first // in the middle of a commit
	h.ForwardBy(o)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for j := range 20 {
				e := b.event(fmt.Sprint(i, "-", j), events.Delivered, "a@example.com", 0)
				added, err := h.Add(t.Context(), events.Batch{Events: []events.Event{e}}, events.Rules{SoftBounceLimit: limit})
				if (err == nil) != (len(added) == 1) || err != nil && !errors.Is(err, store.ErrClosed) {
					t.Errorf("Add = %v, %v, want the event or %v", added, err, store.ErrClosed)
				}
				h.Record(b.record(id(i), "a@example.com accepted"))
			}
		})
	}
	all.Wait()
	if err := <-closing; err != nil {
		t.Errorf("Close: %v", err)
	}
	for name, read := range historyReads(h) {
		if err := read(t.Context()); err == nil {
			t.Errorf("%s after Close: no error", name)
		}
	}
	if scopes, err := h.Suppressed(t.Context(), "held@example.com"); err == nil {
		t.Errorf("Suppressed after Close: %v, no error", scopes)
	}
	if err := h.Lift(t.Context(), "held@example.com", nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Lift after Close: %v, want %v", err, store.ErrClosed)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

// All is there after a restart: in order, what was left behind too.
func testHistoryRestart(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	for _, killed := range []bool{false, true} {
		b := join(t, keeping(t, create), storetest.NewClock(), "a")
		b.add(b.event("1", events.Complained, "a@example.com", 0), b.event("2", events.Delivered, "a@example.com", 0))
		if _, err := b.History().Suppress(t.Context(), events.Suppression{Address: "b@example.com", Reason: events.Manual}); err != nil {
			t.Fatal(err)
		}
		before := b.events(store.EventQuery{})
		b.History().Record(b.record(id(1), "c@example.com accepted"))
		b = b.restart(killed, "a")
		if !killed {
			before = append(before, b.events(store.EventQuery{Type: "accepted"})...)
			if len(before) != 5 {
				t.Errorf("what was left behind is not there: %v", before)
			}
		}
		if diff := cmp.Diff(before, b.events(store.EventQuery{})[:len(before)]); diff != "" {
			t.Errorf("killed %v: events (-want +got):\n%s", killed, diff)
		}
		b.wantSuppressed("restarted", "a@example.com", "complaint")
		b.wantSuppressed("restarted", "b@example.com", "manual")
		if n := b.add(b.event("1", events.Complained, "a@example.com", 0), b.event("3", events.Opened, "a@example.com", 0)); n != 1 {
			t.Errorf("killed %v: %d of one new and one known event are new", killed, n)
		}
		after := b.events(store.EventQuery{})
		if last := after[len(after)-1].Sequence; last <= before[len(before)-1].Sequence {
			t.Errorf("killed %v: the sequence goes on at %d", killed, last)
		}
	}
}

// What has landed just before a kill is told after it, once, and passed on.
func testCatchUp(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := join(t, keeping(t, create), storetest.NewClock(), "a")
	for n, state := range []providers.State{providers.Accepted, providers.Refused, providers.Accepted} {
		b.begin(b.flight(id(n), delivery.Keys{}))
		b.land(id(n), state)
	}
	b.History().Record(b.record(id(0), recipient+" accepted"))
	b.wantTold("before", store.EventQuery{}, "accepted "+recipient)
	// One that continues another, of which all was told before.
	two := []string{recipient, "b@example.com"}
	f := b.flight(id(3), delivery.Keys{})
	f.Recipients = two
	b.begin(f)
	outcome := providers.Outcome{answer(two[0], providers.Accepted), answer(two[1], providers.Refused)}
	if err := b.Land(t.Context(), id(3), outcome); err != nil {
		t.Fatal(err)
	}
	b.History().Record(b.record(id(3), two[0]+" accepted", two[1]+" refused"))
	before := len(b.told(store.EventQuery{}))
	c := b.continuing(id(4), id(3), outcome[0])
	c.Recipients = two
	b.begin(c)
	if err := b.Land(t.Context(), id(4), providers.Outcome{outcome[0], answer(two[1], providers.Accepted)}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b = b.restart(true, "a")
		got := b.told(store.EventQuery{})
		if want := []string{"accepted " + recipient, "accepted " + two[1]}; before != 3 || !slices.Equal(got[before:], want) {
			t.Errorf("after the kill also %q, want %q", got[before:], want)
		}
	}
	o := &outbox{}
	told := make(chan struct{})
	o.woken = sync.OnceFunc(func() { close(told) })
	b.History().ForwardBy(o)
	<-told
	o.mu.Lock()
	defer o.mu.Unlock()
	var want []int64
	for _, e := range b.events(store.EventQuery{})[before:] {
		want = append(want, e.Sequence)
	}
	if !slices.Equal(o.sequences, want) {
		t.Errorf("passed on: %v, want %v", o.sequences, want)
	}
}

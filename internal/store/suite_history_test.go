package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// limit is the soft bounces in a row that suppress.
const limit = 3

// id is the n-th id of a message.
func id(n int) string { return fmt.Sprintf("01J%022d", n) }

// record is that of a mail to these recipients: "a@example.com accepted".
func (b *bridge) record(id string, recipients ...string) delivery.Record {
	r := delivery.Record{
		ID: id, Time: b.clock.Now(), MailFrom: "bounces@app.example", From: "hello@app.example", Subject: "Hello",
		Tags: []string{"welcome"}, Metadata: map[string]string{"campaign": "spring"}, Attempts: []delivery.Attempt{},
	}
	for _, text := range recipients {
		address, state, _ := strings.Cut(text, " ")
		to := delivery.Recipient{Recipient: address, Provider: "p", ProviderID: "at p " + id}
		switch state {
		case "accepted":
			to.State = providers.Accepted
		case "refused":
			to.State, to.Category, to.Reason = providers.Refused, providers.InvalidRecipient, "no such user"
		case "dropped":
			to = delivery.Recipient{Recipient: address, State: providers.Accepted}
		}
		r.Recipients = append(r.Recipients, to)
	}
	return r
}

// event is one that a provider tells, for a message, at a time after the clock's.
func (b *bridge) event(key string, of events.Type, recipient string, after time.Duration) events.Event {
	return events.Event{
		ID: events.ID("p", key), Provider: "p", Type: of, Recipient: recipient, Timestamp: b.clock.Now().Add(after),
		Raw: []byte(`{"key":"` + key + `"}`),
	}
}

// add stores events and gives the number of those that are new.
func (b *bridge) add(all ...events.Event) int {
	b.t.Helper()
	added, err := b.History().Add(b.t.Context(), events.Batch{Events: all}, events.Rules{SoftBounceLimit: limit})
	if err != nil {
		b.t.Fatalf("Add: %v", err)
	}
	return len(added)
}

// events are those that q asks for, on one page.
func (b *bridge) events(q store.EventQuery) []events.Event {
	b.t.Helper()
	if q.Limit == 0 {
		q.Limit = 10_000
	}
	page, err := b.History().Events(b.t.Context(), q)
	if err != nil || page.Next != "" {
		b.t.Fatalf("Events(%+v): %v, next %q", q, err, page.Next)
	}
	return page.Events
}

// told are the events that q asks for, in short: "accepted a@example.com".
func (b *bridge) told(q store.EventQuery) []string {
	b.t.Helper()
	var texts []string
	for _, e := range b.events(q) {
		texts = append(texts, string(e.Type)+" "+e.Recipient)
	}
	return texts
}

// suppressed are the suppressions of an address: "hard_bounce", "unsubscribe in
// tag:news".
func (b *bridge) suppressed(address string) []string {
	b.t.Helper()
	page, err := b.History().Suppressions(b.t.Context(), store.SuppressionQuery{Address: address, Limit: 100})
	if err != nil {
		b.t.Fatalf("Suppressions: %v", err)
	}
	var texts, scopes []string
	for _, s := range page.Suppressions {
		text := string(s.Reason)
		if s.Scope != "" {
			text += " in " + s.Scope
		}
		texts = append(texts, text)
		if !slices.Contains(scopes, s.Scope) {
			scopes = append(scopes, s.Scope)
		}
	}
	got, err := b.History().Suppressed(b.t.Context(), address)
	if err != nil || !slices.Equal(got, scopes) {
		b.t.Errorf("Suppressed(%s) = %q, %v, want %q", address, got, err, scopes)
	}
	return texts
}

func (b *bridge) wantSuppressed(when, address string, want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.suppressed(address)); diff != "" {
		b.t.Errorf("%s: suppressions of %s (-want +got):\n%s", when, address, diff)
	}
}

func (b *bridge) wantTold(when string, q store.EventQuery, want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.told(q)); diff != "" {
		b.t.Errorf("%s: events (-want +got):\n%s", when, diff)
	}
}

// An event is stored once, by its id, with what its message was given.
func testEvents(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	b.History().Record(b.record(id(1), "a@example.com accepted"))
	e := b.event("1", events.Delivered, "a@example.com", time.Minute)
	e.MessageID, e.Response, e.Attempt = id(1), "250 ok", 2
	added, err := b.History().Add(t.Context(), events.Batch{Events: []events.Event{e, e}}, events.Rules{SoftBounceLimit: limit})
	if err != nil || len(added) != 1 {
		t.Fatalf("Add of an event twice = %v, %v, want one", added, err)
	}
	if !added[0].Mailed.Equal(b.clock.Now()) {
		t.Errorf("Mailed = %s, want %s", added[0].Mailed, b.clock.Now())
	}
	if n := b.add(e); n != 0 {
		t.Errorf("Add again: %d are new", n)
	}
	want := e
	want.Tags, want.Metadata = []string{"welcome"}, map[string]string{"campaign": "spring"}
	got := b.events(store.EventQuery{})
	if len(got) != 2 || got[0].Type != events.Accepted || got[0].Sequence >= got[1].Sequence {
		t.Fatalf("stored: %+v, want accepted, then delivered, in a sequence that rises", got)
	}
	want.Sequence = got[1].Sequence
	for what, got := range map[string]events.Event{"added": added[0].Event, "listed": got[1]} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	one, found, err := b.History().Event(t.Context(), want.Sequence)
	if diff := cmp.Diff(want, one); diff != "" || !found || err != nil {
		t.Errorf("Event: %v, %v (-want +got):\n%s", found, err, diff)
	}
	if _, found, err := b.History().Event(t.Context(), want.Sequence+1); found || err != nil {
		t.Errorf("Event of what is not there: %v, %v", found, err)
	}
}

// Nothing that a provider can write keeps an event from being stored, or from
// being read; what the application gave is more than what a provider says of it.
func testEventsOdd(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	odd := b.event("year", events.Bounced, "a@example.com", 0)
	odd.Timestamp = time.Date(57_000, 1, 1, 0, 0, 0, 0, time.UTC)
	form := b.event("form", events.Complained, "tab\t'\x00\xff@example.com", 0)
	form.Raw = []byte("a=1&b=2")
	early := b.event("zero", events.Unsubscribed, "", 0)
	early.Timestamp, early.Tags = time.Time{}, []string{"the provider's"}
	if n := b.add(odd, form, early); n != 3 {
		t.Errorf("%d of 3 are stored", n)
	}
	got := b.events(store.EventQuery{Type: "bounced"})
	if len(got) != 1 || !got[0].Timestamp.Equal(b.clock.Now()) {
		t.Errorf("with a time of no calendar: %+v, want the time now", got)
	}
	if got := b.events(store.EventQuery{Type: "complained"}); len(got) != 1 || string(got[0].Raw) != `"a=1\u0026b=2"` {
		t.Errorf("with a raw that is no JSON: %+v, want it as a string", got)
	}
	if got := b.events(store.EventQuery{Type: "unsubscribed"}); len(got) != 1 || !slices.Equal(got[0].Tags, early.Tags) {
		t.Errorf("of no message: %+v, want the provider's tags", got)
	}
	page, err := b.History().Suppressions(t.Context(), store.SuppressionQuery{Limit: 1})
	if err != nil || len(page.Suppressions) != 0 {
		t.Errorf("Suppressions = %+v, %v, want none: nobody is mailed at such an address", page, err)
	}
}

// Callers at once share transactions, and each is told of its own.
func testEventsAtOnce(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	const callers, calls = 20, 20
	b := opened(t, create)
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := range calls {
				mine := b.event(fmt.Sprint(c, "-", i), events.Delivered, fmt.Sprintf("%d@example.com", c), 0)
				same := b.event(fmt.Sprint("all-", i), events.Opened, "all@example.com", 0)
				added, err := b.History().Add(t.Context(), events.Batch{Events: []events.Event{mine, same}}, events.Rules{SoftBounceLimit: limit})
				if err != nil || len(added) == 0 || added[0].ID != mine.ID {
					t.Errorf("Add = %+v, %v, want its own event", added, err)
				}
			}
		})
	}
	all.Wait()
	got := b.events(store.EventQuery{})
	if len(got) != callers*calls+calls {
		t.Errorf("%d events, want %d", len(got), callers*calls+calls)
	}
	for i := 1; i < len(got); i++ {
		if got[i].Sequence <= got[i-1].Sequence {
			t.Fatalf("the sequence does not rise: %d, %d", got[i-1].Sequence, got[i].Sequence)
		}
	}
}

// What may be used once is used once it is stored, whatever provider's call it is
// in: two may share one key.
func testNonce(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	add := func(provider, key string) (int, error) {
		e := b.event(key, events.Delivered, "a@example.com", 0)
		e.Provider = provider
		added, err := b.History().Add(t.Context(), events.Batch{Events: []events.Event{e}, Nonce: "n"}, events.Rules{SoftBounceLimit: limit})
		return len(added), err
	}
	o := &outbox{refuse: errors.New("no")}
	b.History().ForwardBy(o)
	if n, err := add("p", "1"); !errors.Is(err, o.refuse) {
		t.Errorf("not stored: %d, %v, want an error", n, err)
	}
	b.History().ForwardBy(nil)
	for i, tt := range []struct {
		provider string
		want     int
	}{{"p", 1}, {"p", 0}, {"another", 0}} {
		if n, err := add(tt.provider, fmt.Sprint(i)); n != tt.want || err != nil {
			t.Errorf("call %d, of %s: %d stored, %v, want %d", i, tt.provider, n, err, tt.want)
		}
	}
}

// An event belongs to the message that it names, else to that which has the
// provider's id: the newest, one to the recipient before any other.
func testCorrelation(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	for n, recipients := range [][]string{
		{"a@example.com accepted"},
		{"b@example.com accepted", "c@example.com accepted"},
		{"a@example.com accepted"},
		{"d@example.com accepted"},
	} {
		r := b.record(id(n), recipients...)
		for i := range r.Recipients {
			r.Recipients[i].ProviderID = "used again"
			if n == 3 {
				r.Recipients[i].Provider = "another"
			}
		}
		b.History().Record(r)
	}
	for _, tt := range []struct{ names, providerID, recipient, want string }{
		{id(7), "used again", "a@example.com", id(7)},
		{"", "used again", "a@example.com", id(2)},
		{"", "used again", "b@example.com", id(1)},
		{"", "used again", "x@example.com", id(2)},
		{"", "used again", "d@example.com", id(2)},
		{"", "unheard of", "a@example.com", ""},
		{"", "", "a@example.com", ""},
	} {
		e := b.event(fmt.Sprint(tt), events.Delivered, tt.recipient, 0)
		e.MessageID, e.ProviderMessageID = tt.names, tt.providerID
		b.add(e)
		got := b.events(store.EventQuery{Type: "delivered"})
		if last := got[len(got)-1]; last.MessageID != tt.want {
			t.Errorf("%+v: of message %q", tt, last.MessageID)
		}
	}
	m, err := b.History().Message(t.Context(), id(1))
	if err != nil || len(m.Events) != 3 || m.Events[2].Recipient != "b@example.com" || m.Tags[0] != "welcome" {
		t.Errorf("Message = %+v, %v, want two accepted and one delivered", m, err)
	}
	if _, err := b.History().Message(t.Context(), id(99)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Message of what is not there: %v", err)
	}
}

func testEventFilters(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	all := []events.Event{
		b.event("1", events.Delivered, "a@example.com", 0), b.event("2", events.Opened, "a@example.com", 0),
		b.event("3", events.Delivered, "b@example.com", 0), b.event("4", events.Opened, "b@example.com", 0),
	}
	for i := range all {
		all[i].MessageID = id(i % 2)
	}
	all[3].Provider = "another"
	b.add(all...)
	first := b.events(store.EventQuery{})[0].Sequence
	for _, tt := range []struct {
		q    store.EventQuery
		want []string
	}{
		{store.EventQuery{}, []string{"delivered a@example.com", "opened a@example.com", "delivered b@example.com", "opened b@example.com"}},
		{store.EventQuery{Type: "opened"}, []string{"opened a@example.com", "opened b@example.com"}},
		{store.EventQuery{Recipient: " <B@Example.COM>"}, []string{"delivered b@example.com", "opened b@example.com"}},
		{store.EventQuery{Provider: "another"}, []string{"opened b@example.com"}},
		{store.EventQuery{MessageID: id(0)}, []string{"delivered a@example.com", "delivered b@example.com"}},
		{store.EventQuery{Type: "opened", Recipient: "a@example.com", Provider: "p", MessageID: id(1)}, []string{"opened a@example.com"}},
		{store.EventQuery{Type: "opened", Provider: "another", MessageID: id(0)}, nil},
		{store.EventQuery{After: first + 1}, []string{"delivered b@example.com", "opened b@example.com"}},
		{store.EventQuery{After: first + 1, Type: "opened"}, []string{"opened b@example.com"}},
		{store.EventQuery{After: first + 99}, nil},
		{store.EventQuery{After: -1, Type: "delivered"}, []string{"delivered b@example.com", "delivered a@example.com"}},
	} {
		b.wantTold(fmt.Sprintf("%+v", tt.q), tt.q, tt.want...)
	}
	for _, cursor := range []string{"x", "1.5", "99999999999999999999"} {
		if _, err := b.History().Events(t.Context(), store.EventQuery{Cursor: cursor, Limit: 1}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("cursor %q: %v, want %v", cursor, err, store.ErrCursor)
		}
	}
}

// Pages hold each event once, while others come in.
func testEventPages(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	more := func(n int) { b.add(b.event(fmt.Sprint(n), events.Delivered, fmt.Sprintf("%d@example.com", n), 0)) }
	for n := range 10 {
		more(n)
	}
	for name, tt := range map[string]struct {
		after int64
		want  func(n int) string
	}{
		"oldest first": {0, func(n int) string { return fmt.Sprintf("%d@example.com", n) }},
		"newest first": {-1, func(n int) string { return fmt.Sprintf("%d@example.com", 9-n) }},
	} {
		before := len(b.events(store.EventQuery{}))
		q := store.EventQuery{After: tt.after, Limit: 3, Type: "delivered"}
		var got []string
		for pages := 0; pages == 0 || q.Cursor != ""; pages++ {
			page, err := b.History().Events(t.Context(), q)
			if err != nil || len(page.Events) > 3 {
				t.Fatalf("%s: %+v, %v", name, page, err)
			}
			for _, e := range page.Events {
				got = append(got, e.Recipient)
			}
			if q.Cursor = page.Next; pages < 3 {
				more(1000*before + pages)
			}
		}
		want := before // and what came in, where it lies behind
		if tt.after == 0 {
			want += 3
		}
		if len(got) != want || len(slices.Compact(slices.Sorted(slices.Values(got)))) != want {
			t.Errorf("%s: %d on all pages, want %d, each once: %v", name, len(got), want, got)
		}
		for n := range 10 {
			if at := n; tt.after == 0 && got[at] != tt.want(n) || tt.after < 0 && got[want-10+at] != tt.want(n) {
				t.Errorf("%s: %v", name, got)
				break
			}
		}
	}
}

// outbox is an Outbox that notes what it is told.
type outbox struct {
	refuse error
	woken  func()

	mu        sync.Mutex // guards what follows
	sequences []int64
	wakes     int
}

// Replay passes on what came in a span of time, in order, each once.
func testReplay(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	begun := b.clock.Now()
	const hours, each = 5, 700
	for h := range hours {
		all := make([]events.Event, each)
		for i := range all {
			all[i] = b.event(fmt.Sprint(h, "-", i), events.Opened, "a@example.com", 0)
		}
		b.add(all...)
		b.clock.Advance(time.Hour)
	}
	all := b.events(store.EventQuery{})
	for _, tt := range []struct{ from, to int }{{0, 5}, {1, 4}, {2, 3}, {3, 3}, {4, 2}, {-9, 9}, {5, 9}, {-9, 0}} {
		o := &outbox{}
		b.History().ForwardBy(o)
		n, err := b.History().Replay(t.Context(), begun.Add(time.Duration(tt.from)*time.Hour), begun.Add(time.Duration(tt.to)*time.Hour))
		if err != nil {
			t.Errorf("Replay: %v", err)
		}
		from, to := min(max(tt.from, 0), hours), min(max(tt.to, tt.from, 0), hours)
		var want []int64
		for _, e := range all[from*each : to*each] {
			want = append(want, e.Sequence)
		}
		if n != len(want) || !slices.Equal(o.sequences, want) {
			t.Errorf("Replay of hours %d to %d: %d, told %d, want %d in order", tt.from, tt.to, n, len(o.sequences), len(want))
		}
		if (o.wakes > 0) != (n > 0) {
			t.Errorf("Replay of %d events wakes %d times", n, o.wakes)
		}
	}
	if got := b.events(store.EventQuery{}); len(got) != len(all) {
		t.Errorf("after that there are %d events, want %d", len(got), len(all))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := b.History().Replay(ended, begun, b.clock.Now()); !errors.Is(err, context.Canceled) || n != 0 {
		t.Errorf("Replay for a caller who has gone = %d, %v", n, err)
	}
}

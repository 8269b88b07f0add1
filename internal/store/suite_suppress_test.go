package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"smtpbridge/events"
	"smtpbridge/internal/store"
	"smtpbridge/internal/store/storetest"
)

const address = "a@example.com"

func (b *bridge) lift(address string, of *string) error {
	b.t.Helper()
	return b.History().Lift(b.t.Context(), address, of)
}

// with changes an event.
func with(e events.Event, change func(*events.Event)) events.Event {
	change(&e)
	return e
}

func hard(e *events.Event) { e.Bounce = events.Hard }
func soft(e *events.Event) { e.Bounce = events.Soft }

func scoped(scope string) func(*events.Event) {
	return func(e *events.Event) { e.Scope = scope }
}

// Each event does to its recipient what the rules say, and to nobody else.
func testSuppress(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	for _, tt := range []struct {
		of     events.Type
		change func(*events.Event)
		want   []string
		status events.Status
	}{
		{events.Bounced, hard, []string{"hard_bounce"}, events.StatusBounced},
		{events.Bounced, soft, nil, events.Active},
		{events.Complained, soft, []string{"complaint"}, events.StatusComplained},
		{events.Unsubscribed, scoped(""), []string{"unsubscribe"}, events.StatusUnsub},
		{events.Unsubscribed, scoped("group:10"), []string{"unsubscribe in group:10"}, events.Active},
		{events.Complained, scoped("group:10"), []string{"complaint"}, events.StatusComplained},
		{events.Rejected, hard, nil, ""},
		{events.Deferred, soft, nil, ""},
		{events.Unknown, hard, nil, ""},
		{events.Delivered, soft, nil, events.Active},
	} {
		b := opened(t, create)
		e := with(b.event("1", tt.of, address, 0), tt.change)
		e.MessageID, e.Response = id(1), "550 no"
		b.add(e)
		b.wantSuppressed(string(tt.of), address, tt.want...)
		b.wantSuppressed(string(tt.of), "b@example.com")
		r, err := b.History().Recipient(t.Context(), address)
		if tt.status == "" {
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: Recipient = %+v, %v, want none", tt.of, r, err)
			}
			continue
		}
		if err != nil || r.Status != tt.status {
			t.Errorf("%s: status %s, %v, want %s", tt.of, r.Status, err, tt.status)
		}
		if len(tt.want) == 1 && (r.Suppressions[0].Detail != "550 no" || !r.Suppressions[0].Since.Equal(e.Timestamp) || r.Suppressions[0].Provider != "p") {
			t.Errorf("%s: %+v, want since, provider and words of the event", tt.of, r.Suppressions[0])
		}
	}
}

// So many soft bounces in a row suppress; a delivered mail begins anew.
func testSoftBounces(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	for name, want := range map[string]bool{"sss": true, "ss": false, "ssds": false, "ssdsss": true, "sdsdsd": false} {
		b := opened(t, create)
		row := 0
		for i, c := range name {
			of := events.Bounced
			row++
			if c == 'd' {
				of, row = events.Delivered, 0
			}
			b.add(with(b.event(fmt.Sprint(i), of, address, time.Duration(i)*time.Minute), soft))
		}
		if got := len(b.suppressed(address)) == 1; got != want {
			t.Errorf("%s: suppressed %v, want %v", name, got, want)
		}
		r, err := b.History().Recipient(t.Context(), address)
		if err != nil || r.SoftBounces != row {
			t.Errorf("%s: %d in a row, %v, want %d", name, r.SoftBounces, err, row)
		}
		if !want {
			continue
		}
		if err := b.lift(address, nil); err != nil {
			t.Error(err)
		}
		if r, err := b.History().Recipient(t.Context(), address); err != nil || r.SoftBounces != 0 {
			t.Errorf("%s, lifted: %d in a row, %v, want 0", name, r.SoftBounces, err)
		}
	}
}

// told is one event of a walk, in the simplest form.
type told struct {
	of    events.Type
	scope string
	at    int
}

// left is what suppresses after all of them, whatever their order: an address
// that was unsubscribed after it was last resubscribed, in each scope; a hard
// bounce and a complaint in any case, unless the operator removed them later.
func left(all []told, removed int) []string {
	found := make(map[string]bool)
	for _, e := range all {
		switch {
		case e.at <= removed:
		case e.of == events.Bounced:
			found["hard_bounce"] = true
		case e.of == events.Complained:
			found["complaint"] = true
		case e.of == events.Unsubscribed && !slices.ContainsFunc(all, func(l told) bool {
			return l.of == events.Resubscribed && l.scope == e.scope && l.at >= e.at
		}):
			found[unsubscribe(e.scope)] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func unsubscribe(scope string) string {
	if scope == "" {
		return "unsubscribe"
	}
	return "unsubscribe in " + scope
}

// Events come in any order, on their own or together, and have the same end.
func testAnyOrder(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		one := fmt.Sprintf("%d@example.com", n)
		all := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) told {
			e := told{
				of: rapid.SampledFrom([]events.Type{
					events.Bounced, events.Complained, events.Unsubscribed, events.Unsubscribed, events.Resubscribed, events.Resubscribed,
				}).Draw(rt, "type"),
				at: rapid.IntRange(1, 6).Draw(rt, "at"),
			}
			if e.of == events.Unsubscribed || e.of == events.Resubscribed {
				e.scope = rapid.SampledFrom([]string{"", "tag:news", "group:1"}).Draw(rt, "scope")
			}
			return e
		}), 1, 8).Draw(rt, "events")
		// The operator may have removed what there was at a time before all that follows.
		removed := 0
		if rapid.Bool().Draw(rt, "removed") {
			removed = rapid.IntRange(1, 6).Draw(rt, "at")
			if _, err := b.History().Suppress(t.Context(), allScopes(one)...); err != nil {
				rt.Fatal(err)
			}
			b.clock.Advance(time.Duration(removed) * time.Minute)
			if err := b.lift(one, nil); err != nil {
				rt.Fatal(err)
			}
			b.clock.Advance(-time.Duration(removed) * time.Minute)
		}
		want := left(all, removed)
		batch := make([]events.Event, len(all))
		for i, e := range all {
			batch[i] = with(b.event(fmt.Sprint(n, "-", i), e.of, one, time.Duration(e.at)*time.Minute), hard)
			batch[i].Scope = e.scope
		}
		for len(batch) > 0 {
			some := rapid.IntRange(1, len(batch)).Draw(rt, "at once")
			b.add(batch[:some]...)
			batch = batch[some:]
		}
		got := b.suppressed(one)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			rt.Errorf("%+v, removed at %d: suppressed by %v, want %v", all, removed, got, want)
		}
	})
}

// In each order of these the last word is that the address is unsubscribed, and
// that it has bounced.
func testEveryOrder(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	all := []told{{events.Unsubscribed, "", 1}, {events.Resubscribed, "", 2}, {events.Unsubscribed, "", 3}, {events.Bounced, "", 1}}
	for n, order := range orders(len(all)) {
		one := fmt.Sprintf("%d@example.com", n)
		for _, i := range order {
			e := all[i]
			b.add(with(b.event(fmt.Sprint(n, "-", i), e.of, one, time.Duration(e.at)*time.Minute), hard))
		}
		b.wantSuppressed(fmt.Sprint("in the order ", order), one, left(all, 0)...)
	}
}

// orders are all permutations of n.
func orders(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, shorter := range orders(n - 1) {
		for at := range n {
			all = append(all, slices.Insert(slices.Clone(shorter), at, n-1))
		}
	}
	return all
}

// allScopes are suppressions by the operator, one in each scope.
func allScopes(address string) []events.Suppression {
	var all []events.Suppression
	for _, scope := range []string{"", "tag:news", "group:1"} {
		all = append(all, events.Suppression{Address: address, Scope: scope, Reason: events.Manual})
	}
	return all
}

// What the operator has removed counts again only by what happens later; what the
// operator adds stays.
func testLift(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	if err := b.lift(address, nil); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Lift of what is not there: %v, want %v", err, store.ErrNotFound)
	}
	news, other := "tag:news", "tag:other"
	all := []events.Event{
		with(b.event("1", events.Unsubscribed, address, 0), scoped(news)),
		with(b.event("2", events.Unsubscribed, address, 0), scoped(other)),
		with(b.event("3", events.Bounced, address, 0), hard),
		b.event("4", events.Complained, address, 0),
	}
	b.add(all...)
	b.clock.Advance(time.Minute)
	if err := b.lift("<A@Example.com>", &news); err != nil {
		t.Error(err)
	}
	b.wantSuppressed("one scope lifted", address, "complaint", "hard_bounce", "unsubscribe in tag:other")
	if err := b.lift(address, nil); err != nil {
		t.Error(err)
	}
	b.wantSuppressed("all lifted", address)
	// The same again under new ids, of before.
	for i := range all {
		again := with(all[i], func(e *events.Event) { e.ID = events.ID("p", "again "+e.ID) })
		again.Timestamp = b.clock.Now()
		b.add(again)
	}
	b.wantSuppressed("events of before", address)
	b.add(with(b.event("5", events.Bounced, address, time.Nanosecond), hard))
	b.wantSuppressed("an event of later", address, "hard_bounce")

	if err := b.lift(address, nil); err != nil {
		t.Error(err)
	}
	before := events.Suppression{Address: "A@example.COM", Reason: events.Manual, Since: b.clock.Now().Add(-time.Hour)}
	for i, want := range []int{1, 0} {
		if n, err := b.History().Suppress(t.Context(), before); n != want || err != nil {
			t.Errorf("Suppress, time %d, of before: %d, %v, want %d", i, n, err, want)
		}
	}
	b.add(b.event("6", events.Resubscribed, address, time.Hour))
	b.wantSuppressed("added by hand, resubscribed", address, "manual")
}

// A provider's own list adds what is new there, and never what was removed here
// since.
func testPull(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	day := 24 * time.Hour
	old := events.Suppression{Address: address, Reason: events.HardBounce, Provider: "p", Since: b.clock.Now().Add(-day)}
	undated := events.Suppression{Address: "b@example.com", Reason: events.Unsubscribe, Scope: "group:1", Provider: "p"}
	pull := func(when string, want int, all ...events.Suppression) {
		t.Helper()
		if n, err := b.History().Pull(t.Context(), all...); n != want || err != nil {
			t.Errorf("%s: Pull = %d, %v, want %d", when, n, err, want)
		}
	}
	pull("new", 2, old, undated)
	pull("again", 0, old, undated)
	for _, s := range []events.Suppression{old, undated} {
		if err := b.lift(s.Address, nil); err != nil {
			t.Error(err)
		}
	}
	b.clock.Advance(day)
	pull("removed here", 0, old, undated)
	b.wantSuppressed("removed here", address)
	b.wantSuppressed("removed here", "b@example.com")
	later := old
	later.Since = b.clock.Now()
	pull("said again since", 1, later)
	// Who has resubscribed is on the list of a provider that has not noticed.
	left := events.Suppression{Address: "c@example.com", Reason: events.Unsubscribe, Provider: "p", Since: b.clock.Now()}
	b.add(b.event("1", events.Resubscribed, left.Address, time.Minute))
	pull("resubscribed", 0, left)
	left.Reason = events.Complaint
	pull("resubscribed, and has complained", 1, left)
	// Many are taken over in several transactions.
	many := make([]events.Suppression, 2500)
	for i := range many {
		many[i] = events.Suppression{Address: fmt.Sprintf("%d@many.example", i), Reason: events.HardBounce, Provider: "p"}
	}
	pull("many", len(many), many...)
	b.wantSuppressed("the last of many", "2499@many.example", "hard_bounce")
}

// That a suppression was added or removed is an event, once, of the message that
// was the reason.
func testSuppressionEvents(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	e := with(b.event("1", events.Unsubscribed, address, 0), scoped("tag:news"))
	e.MessageID, e.Reason = id(1), "link"
	same := with(e, func(e *events.Event) { e.ID = events.ID("p", "2") })
	back := with(b.event("3", events.Resubscribed, address, time.Minute), scoped("tag:news"))
	back.MessageID = id(2)
	b.add(e, same, back)
	b.add(e, same, back)
	want := []events.Event{
		{Type: events.SuppressionAdded, MessageID: id(1), Response: "link"}, {Type: events.SuppressionRemoved, MessageID: id(2)},
	}
	b.clock.Advance(time.Second)
	var got []events.Event
	for _, e := range b.events(store.EventQuery{Recipient: address}) {
		if e.Type == events.SuppressionAdded || e.Type == events.SuppressionRemoved {
			got = append(got, e)
		}
	}
	for i := range want {
		want[i].Provider, want[i].Recipient, want[i].Reason, want[i].Scope = "p", address, "unsubscribe", "tag:news"
		want[i].Timestamp, want[i].Tags, want[i].Metadata = b.clock.Now().Add(-time.Second), []string{}, map[string]string{}
		if i < len(got) {
			want[i].ID, want[i].Sequence = got[i].ID, got[i].Sequence
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Each is one, also at the same time.
	before := len(b.events(store.EventQuery{}))
	for range 3 {
		if n, err := b.History().Suppress(t.Context(), allScopes(address)...); n != 3 || err != nil {
			t.Errorf("Suppress = %d, %v", n, err)
		}
		if err := b.lift(address, nil); err != nil {
			t.Error(err)
		}
	}
	if got := len(b.events(store.EventQuery{})) - before; got != 18 {
		t.Errorf("%d events of 9 added and removed", got)
	}
}

// The list by address holds each once, while it changes.
func testSuppressionPages(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	odd := "o'dd%+=;\"@example.com" // what a provider may write
	var all []events.Suppression
	for i := range 7 {
		all = append(all, events.Suppression{Address: fmt.Sprintf("%d@example.com", i), Reason: events.Reasons()[i%2], Provider: "p", Since: b.clock.Now()})
	}
	all = append(all, allScopes("many@example.com")...)
	if n, err := b.History().Suppress(t.Context(), all...); n != len(all) || err != nil {
		t.Fatalf("Suppress = %d, %v", n, err)
	}
	b.add(b.event("odd", events.Complained, odd, 0))
	for _, tt := range []struct {
		q    store.SuppressionQuery
		want int
	}{
		{store.SuppressionQuery{}, 11},
		{store.SuppressionQuery{Reason: "hard_bounce"}, 4},
		{store.SuppressionQuery{Provider: "p"}, 8},
		{store.SuppressionQuery{Address: "Many@example.com"}, 3},
		{store.SuppressionQuery{Address: odd}, 1},
		{store.SuppressionQuery{Reason: "manual", Provider: "p"}, 0},
	} {
		for _, size := range []int{1, 4, 100} {
			q := tt.q
			q.Limit = size
			var got []string
			for more := true; more; more = q.Cursor != "" {
				page, err := b.History().Suppressions(t.Context(), q)
				if err != nil || len(page.Suppressions) > size {
					t.Fatalf("%+v: %+v, %v", q, page, err)
				}
				for _, s := range page.Suppressions {
					got = append(got, s.Address+" "+s.Scope)
				}
				q.Cursor = page.Next
			}
			if len(got) != tt.want || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != tt.want {
				t.Errorf("%+v, %d on a page: %q, want %d in order", tt.q, size, got, tt.want)
			}
		}
	}
	for _, cursor := range []string{"x", "1", "%"} {
		if _, err := b.History().Suppressions(t.Context(), store.SuppressionQuery{Cursor: cursor, Limit: 1}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("cursor %q: %v, want %v", cursor, err, store.ErrCursor)
		}
	}
	counts, err := b.History().SuppressionCounts(t.Context())
	want := map[events.Reason]int64{events.HardBounce: 4, events.SoftBounces: 3, events.Manual: 3, events.Complaint: 1} //nolint:exhaustive // there are no others
	if diff := cmp.Diff(want, counts); diff != "" || err != nil {
		t.Errorf("counts: %v (-want +got):\n%s", err, diff)
	}
}

// What is added and removed is counted, by whatever process, also once there is no
// event any more that tells of it.
func testSuppressionCounts(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	check := func(step, want string) {
		t.Helper()
		counts, err := b.History().SuppressionCounts(t.Context())
		if got := fmt.Sprint(counts); err != nil || got != "map["+want+"]" { // in order
			t.Errorf("%s: %v, %v, want %s", step, got, err, want)
		}
	}
	suppress := func(n int, reason events.Reason, scope string) {
		t.Helper()
		for i := range n {
			s := events.Suppression{Address: fmt.Sprint(i, "@example.com"), Scope: scope, Reason: reason}
			if _, err := b.History().Suppress(t.Context(), s, s); err != nil { // once
				t.Fatal(err)
			}
		}
	}
	check("none", "")
	suppress(3, events.Manual, "")
	check("three", "manual:3")
	suppress(2, events.Unsubscribe, "tag:news")
	b.add(with(b.event("1", events.Resubscribed, "1@example.com", time.Hour), scoped("tag:news")))
	b.add(b.event("2", events.Complained, "1@example.com", time.Hour))
	check("by events", "complaint:1 manual:3 unsubscribe:1")
	b.add(
		with(b.event("3", events.SuppressionAdded, "1@example.com", 0), func(e *events.Event) { e.Reason = "rehearsed" }),
		with(b.event("4", events.SuppressionRemoved, "1@example.com", 0), func(e *events.Event) { e.Reason = string(events.Manual) }),
	)
	check("rehearsed", "complaint:1 manual:3 unsubscribe:1")
	if err := b.History().Lift(t.Context(), "1@example.com", nil); err != nil {
		t.Fatal(err)
	}
	check("lifted", "manual:2 unsubscribe:1")
	suppress(4, events.Manual, "tag:more")
	if _, err := b.History().DB().ExecContext(t.Context(), `DELETE FROM events`); err != nil {
		t.Fatal(err)
	}
	suppress(1, events.HardBounce, "")
	check("after the events have gone", "hard_bounce:1 manual:6 unsubscribe:1")
}

// Of a recipient the latest of everything is known, in whatever order it came.
func testRecipient(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	now := b.clock.Now()
	b.History().Record(b.record(id(1), address+" accepted"))
	at := func(m int) *time.Time {
		when := now.Add(time.Duration(m) * time.Minute)
		return &when
	}
	for i, of := range []events.Type{events.Opened, events.Clicked, events.Delivered, events.Bounced} {
		for _, m := range []int{i + 2, i + 1} {
			b.add(with(b.event(fmt.Sprint(of, m), of, address, time.Duration(m)*time.Minute), soft))
		}
	}
	got, err := b.History().Recipient(t.Context(), "<A@Example.COM>")
	want := store.Recipient{
		Address: address, Status: events.Active, SoftBounces: 2, Accepted: at(0), Opened: at(2), Clicked: at(3), Delivered: at(4),
		Bounced: at(5), Suppressions: []events.Suppression{},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	b.History().Record(b.record(id(2), "only@example.com accepted"))
	if got, err := b.History().Recipient(t.Context(), "only@example.com"); err != nil || !got.Accepted.Equal(now) {
		t.Errorf("only accepted: %+v, %v", got, err)
	}
	if _, err := b.History().Recipient(t.Context(), "nobody@example.com"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("nobody: %v, want %v", err, store.ErrNotFound)
	}
}

// Names without end are counted together beyond a thousand in an hour; none is
// lost, and those that were known stay by themselves.
func testManyNames(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	tagged := func(i int) events.Event {
		return with(b.event(fmt.Sprint(i), events.Delivered, address, 0), func(e *events.Event) {
			e.MessageID, e.ProviderMessageID, e.Tags = "", "", []string{fmt.Sprint("order ", i)}
			e.Metadata = map[string]string{"campaign": "spring"}
		})
	}
	for i := range 1010 {
		b.add(tagged(i))
	}
	b.add(with(tagged(5), func(e *events.Event) { e.ID = "again" }))
	q := store.CountQuery{By: store.ByTag, From: b.clock.Now(), To: b.clock.Now()}
	counts, err := b.History().Counts(t.Context(), q)
	if err != nil || len(counts) != 1001 || counts[0].Name != "(others)" || counts[0].Total[events.Delivered] != 10 {
		t.Fatalf("%d names, of which the first is %+v: %v", len(counts), counts[:min(1, len(counts))], err)
	}
	for _, c := range counts[1:] {
		want := int64(1)
		if c.Name == "order 5" {
			want = 2
		}
		if c.Total[events.Delivered] != want {
			t.Errorf("%s: %v, want %d", c.Name, c.Total, want)
		}
	}
	q.By = store.ByCampaign
	if counts, err := b.History().Counts(t.Context(), q); err != nil || len(counts) != 1 || counts[0].Total[events.Delivered] != 1011 {
		t.Errorf("campaigns: %+v, %v", counts, err)
	}
}

// Counts are of each event once, by provider, tag and campaign, in whole hours.
func testCounts(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	b.clock.Advance(time.Hour - 5*time.Minute) // five minutes before an hour ends, nearly
	b.History().Record(b.record(id(1), address+" accepted", "b@example.com refused"))
	of := func(key string, of events.Type, after time.Duration) events.Event {
		return with(b.event(key, of, address, after), func(e *events.Event) { e.MessageID = id(1) })
	}
	b.add(of("1", events.Accepted, 0), of("2", events.Delivered, 0), of("3", events.Opened, 0), of("4", events.Opened, 0), of("3", events.Opened, 0))
	b.add(of("5", events.Opened, 0), of("6", events.Clicked, time.Hour), of("7", events.Complained, time.Hour))
	now := b.clock.Now()
	total := map[events.Type]int64{events.Accepted: 1, events.Rejected: 1, events.Delivered: 1, events.Opened: 3} //nolint:exhaustive // there were no others
	unique := maps.Clone(total)
	unique[events.Opened] = 1
	for dimension, name := range map[store.Dimension]string{store.ByProvider: "p", store.ByTag: "welcome", store.ByCampaign: "spring"} {
		got, err := b.History().Counts(t.Context(), store.CountQuery{By: dimension, From: now, To: now})
		if diff := cmp.Diff([]store.Counts{{Name: name, Total: total, Unique: unique}}, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", dimension, err, diff)
		}
		if none, err := b.History().Counts(t.Context(), store.CountQuery{By: dimension, Name: "none", From: now, To: now}); err != nil || len(none) > 0 {
			t.Errorf("%s of another name: %+v, %v", dimension, none, err)
		}
	}
	both, err := b.History().Counts(t.Context(), store.CountQuery{By: store.ByProvider, Name: "p", From: now, To: now.Add(time.Hour)})
	if err != nil || len(both) != 1 || both[0].Total[events.Clicked] != 1 || both[0].Total[events.Opened] != 3 {
		t.Errorf("two hours: %+v, %v", both, err)
	}
	for hours, want := range [][2]int64{{1, 1}, {1, 0}, {0, 0}} {
		since := time.Duration(hours) * time.Hour
		b.clock.Advance(time.Hour)
		complained, delivered, err := b.History().Complaints(context.WithoutCancel(t.Context()), "p", now.Add(since))
		b.clock.Advance(-time.Hour)
		if got := [2]int64{complained, delivered}; got != want || err != nil {
			t.Errorf("Complaints since %s = %v, %v, want %v", since, got, err, want)
		}
	}
}

package events_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"smtpbridge/events"
)

// noon is when most of what the tests tell has happened.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

const ann = "ann@example.com"

// told is an event about Ann by a provider.
func told(t events.Type, minutes int, change ...func(*events.Event)) events.Event {
	e := events.Event{Provider: "mail", Type: t, Recipient: ann, Timestamp: at(minutes)}
	for _, f := range change {
		f(&e)
	}
	return e
}

func hard(e *events.Event) { e.Bounce = events.Hard }
func soft(e *events.Event) { e.Bounce = events.Soft }

func scoped(scope string) func(*events.Event) { return func(e *events.Event) { e.Scope = scope } }

func said(reason, response string) func(*events.Event) {
	return func(e *events.Event) { e.Reason, e.Response = reason, response }
}

// rules suppress at the third soft bounce.
var rules = events.Rules{SoftBounceLimit: 3}

func TestRules(t *testing.T) {
	removed := func(scope string, minutes int) events.Standing {
		return events.Standing{Removed: map[string]time.Time{scope: at(minutes)}}
	}
	tests := []struct {
		name     string
		before   events.Standing
		event    events.Event
		suppress string // scope, reason and detail
		bounces  int
		lift     bool
	}{
		// A hard bounce, a complaint and an unsubscription suppress.
		{"hard bounce", events.Standing{}, told(events.Bounced, 0, hard, said("no such user", "550 5.1.1")), "|hard_bounce|no such user", 0, false},
		{"its words, where there is no reason", events.Standing{}, told(events.Bounced, 0, hard, said("", "550 5.1.1 no")), "|hard_bounce|550 5.1.1 no", 0, false},
		{"complaint", events.Standing{}, told(events.Complained, 0), "|complaint|", 0, false},
		{"unsubscription", events.Standing{}, told(events.Unsubscribed, 0), "|unsubscribe|", 0, false},
		// Only an unsubscription has a scope: a complaint is about the sender.
		{"unsubscription from a group", events.Standing{}, told(events.Unsubscribed, 0, scoped("group:10")), "group:10|unsubscribe|", 0, false},
		{"complaint about a stream", events.Standing{}, told(events.Complained, 0, scoped("stream:news")), "|complaint|", 0, false},
		{"hard bounce in a stream", events.Standing{}, told(events.Bounced, 0, hard, scoped("stream:news")), "|hard_bounce|", 0, false},
		// Nothing else does.
		{"rejected", events.Standing{}, told(events.Rejected, 0), "", 0, false},
		{"deferred", events.Standing{SoftBounces: 2}, told(events.Deferred, 0), "", 2, false},
		{"unknown", events.Standing{}, told(events.Unknown, 0, hard), "", 0, false},
		{"told of a suppression", events.Standing{}, told(events.SuppressionAdded, 0), "", 0, false},
		// Soft bounces count, up to the limit and beyond it.
		{"first soft bounce", events.Standing{}, told(events.Bounced, 0, soft), "", 1, false},
		{"last but one", events.Standing{SoftBounces: 1}, told(events.Bounced, 0, soft), "", 2, false},
		{"last", events.Standing{SoftBounces: 2}, told(events.Bounced, 0, soft), "|soft_bounces|", 3, false},
		{"beyond a limit that was lowered", events.Standing{SoftBounces: 9}, told(events.Bounced, 0, soft), "|soft_bounces|", 10, false},
		{"of no kind", events.Standing{SoftBounces: 2}, told(events.Bounced, 0), "|soft_bounces|", 3, false},
		// A delivery ends the row, unless a bounce is known to have followed it.
		{"delivered", events.Standing{SoftBounces: 2, LastBounced: at(-1)}, told(events.Delivered, 0), "", 0, false},
		{"delivered before", events.Standing{SoftBounces: 2, LastBounced: at(1)}, told(events.Delivered, 0), "", 2, false},
		{"soft bounce before a delivery", events.Standing{LastDelivered: at(1)}, told(events.Bounced, 0, soft), "", 0, false},
		{"hard bounce before a delivery", events.Standing{LastDelivered: at(1)}, told(events.Bounced, 0, hard), "|hard_bounce|", 0, false},
		// What was said before it was taken back counts no more.
		{"complaint before a removal", removed("", 1), told(events.Complained, 0), "", 0, false},
		{"complaint at a removal", removed("", 0), told(events.Complained, 0), "", 0, false},
		{"complaint after a removal", removed("", -1), told(events.Complained, 0), "|complaint|", 0, false},
		{"unsubscription before a removal of another scope", removed("group:10", 1), told(events.Unsubscribed, 0, scoped("group:11")), "group:11|unsubscribe|", 0, false},
		{"unsubscription before a removal of its scope", removed("group:10", 1), told(events.Unsubscribed, 0, scoped("group:10")), "", 0, false},
		{"complaint before a removal of some scope", removed("group:10", 1), told(events.Complained, 0, scoped("group:10")), "|complaint|", 0, false},
		{"soft bounce before a removal", removed("", 1), told(events.Bounced, 0, soft), "", 0, false},
		{"soft bounce after a removal", removed("", -1), told(events.Bounced, 0, soft), "", 1, false},
		// A resubscription lifts.
		{"resubscription", events.Standing{}, told(events.Resubscribed, 0, scoped("group:10")), "", 0, true},
		// The words of a server become one line that fits.
		{"words in lines", events.Standing{}, told(events.Bounced, 0, hard, said("550-no\r\n550\tsuch \x00user\xff", "")), "|hard_bounce|550-no 550 such user", 0, false},
		{"many words", events.Standing{}, told(events.Bounced, 0, hard, said(strings.Repeat("€", 400), "")), "|hard_bounce|" + strings.Repeat("€", 333), 0, false},
		// Nobody can be mailed at what is no address.
		{"no address", events.Standing{}, told(events.Complained, 0, func(e *events.Event) { e.Recipient = "undisclosed" }), "", 0, false},
		{"a tab in it", events.Standing{}, told(events.Complained, 0, func(e *events.Event) { e.Recipient = "a\tb@example.com" }), "", 0, false},
		{"a scope that nothing can have", events.Standing{}, told(events.Unsubscribed, 0, scoped("tag:"+strings.Repeat("x", 300))), "", 0, false},
	}
	for _, tt := range tests {
		effect := rules.Apply(tt.before, tt.event)
		got := ""
		if s := effect.Suppress; s != nil {
			got = s.Scope + "|" + string(s.Reason) + "|" + s.Detail
			if s.Address != tt.event.Recipient || s.Provider != "mail" || !s.Since.Equal(tt.event.Timestamp) {
				t.Errorf("%s: the suppression %+v is not of the event", tt.name, s)
			}
			if !tt.event.Suppresses() {
				t.Errorf("%s suppresses, and says that it cannot", tt.name)
			}
		}
		if got != tt.suppress || effect.Standing.SoftBounces != tt.bounces || effect.Lift != tt.lift {
			t.Errorf("%s: %q, %d soft bounces, lift %v; want %q, %d, %v",
				tt.name, got, effect.Standing.SoftBounces, effect.Lift, tt.suppress, tt.bounces, tt.lift)
		}
	}
}

// Each time is the latest of its kind, whatever comes last.
func TestRulesKeepTheLatestTimes(t *testing.T) {
	var s events.Standing
	for _, e := range []events.Event{
		told(events.Accepted, 1), told(events.Accepted, 0),
		told(events.Bounced, 3, soft), told(events.Bounced, 2, hard),
		told(events.Delivered, 4), told(events.Delivered, 1),
		told(events.Opened, 6), told(events.Opened, 5),
		told(events.Clicked, 7), told(events.Clicked, 7),
	} {
		s = rules.Apply(s, e).Standing
	}
	want := events.Standing{LastAccepted: at(1), LastDelivered: at(4), LastBounced: at(3), LastOpened: at(6), LastClicked: at(7)}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// drawn is any event about Ann, each at a minute of its own.
func drawn(minute int) *rapid.Generator[events.Event] {
	return rapid.Custom(func(t *rapid.T) events.Event {
		e := told(rapid.SampledFrom(events.Types()).Draw(t, "type"), minute)
		if e.Type == events.Bounced {
			e.Bounce = rapid.SampledFrom([]events.Bounce{events.Hard, events.Soft}).Draw(t, "bounce")
		}
		e.Scope = rapid.SampledFrom([]string{"", "group:10", "tag:news"}).Draw(t, "scope")
		return e
	})
}

// list is what a store makes of effects.
type list struct {
	standing events.Standing
	held     map[[2]string]time.Time // scope and reason: when it was said last
}

func (l *list) take(r events.Rules, e events.Event) {
	effect := r.Apply(l.standing, e)
	removed := l.standing.Removed
	if l.standing = effect.Standing; l.standing.Removed == nil {
		l.standing.Removed = removed
	}
	if s := effect.Suppress; s != nil {
		key := [2]string{s.Scope, string(s.Reason)}
		if s.Since.After(l.held[key]) {
			l.held[key] = s.Since
		}
	}
	if effect.Lift {
		key := [2]string{e.Scope, string(events.Unsubscribe)}
		if !l.held[key].After(e.Timestamp) {
			delete(l.held, key)
		}
		if e.Timestamp.After(l.standing.Removed[e.Scope]) {
			l.standing.Removed[e.Scope] = e.Timestamp
		}
	}
}

// Events come in any order. What nothing takes back ends the same: the list of hard
// bounces, complaints and unsubscriptions, and the times; soft bounces that nothing
// has interrupted are all counted.
func TestRulesInAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(rt, "events")
		all := make([]events.Event, n)
		lifts := false
		for i := range all {
			all[i] = drawn(i).Draw(rt, "event")
			lifts = lifts || all[i].Type == events.Resubscribed
		}
		result := func(order []events.Event) list {
			l := list{standing: events.Standing{Removed: make(map[string]time.Time)}, held: make(map[[2]string]time.Time)}
			for _, e := range order {
				l.take(events.Rules{SoftBounceLimit: 1000}, e)
			}
			return l
		}
		one, other := result(all), result(rapid.Permutation(all).Draw(rt, "order"))
		unsubscribed := func(l list) []string {
			var scopes []string
			for key := range l.held {
				if key[1] == string(events.Unsubscribe) {
					scopes = append(scopes, key[0])
				}
			}
			slices.Sort(scopes)
			return scopes
		}
		if diff := cmp.Diff(unsubscribed(one), unsubscribed(other)); diff != "" {
			rt.Errorf("who has unsubscribed depends on the order: %s", diff)
		}
		if !lifts {
			if diff := cmp.Diff(one.held, other.held); diff != "" {
				rt.Errorf("the list depends on the order: %s", diff)
			}
		}
		one.standing.SoftBounces, other.standing.SoftBounces = 0, 0
		if diff := cmp.Diff(one.standing, other.standing); diff != "" {
			rt.Errorf("the standing depends on the order: %s", diff)
		}
	})
}

// In their own order soft bounces are counted exactly: those since the last delivery.
func TestRulesCountSoftBouncesInARow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(1, 4).Draw(rt, "limit")
		var s events.Standing
		row := 0
		for i := range rapid.IntRange(1, 30).Draw(rt, "events") {
			e := drawn(i).Draw(rt, "event")
			effect := events.Rules{SoftBounceLimit: limit}.Apply(s, e)
			s = effect.Standing
			switch {
			case e.Type == events.Delivered:
				row = 0
			case e.Type == events.Bounced && e.Bounce == events.Soft:
				row++
			}
			if s.SoftBounces != row {
				rt.Fatalf("after event %d %d soft bounces in a row, want %d", i, s.SoftBounces, row)
			}
			full := e.Type == events.Bounced && e.Bounce == events.Soft && row >= limit
			if got := effect.Suppress != nil && effect.Suppress.Reason == events.SoftBounces; got != full {
				rt.Fatalf("event %d suppresses for soft bounces: %v, want %v", i, got, full)
			}
		}
	})
}

func TestStatusAndGravest(t *testing.T) {
	held := func(scope string, r events.Reason) events.Suppression {
		return events.Suppression{Scope: scope, Reason: r}
	}
	tests := []struct {
		all     []events.Suppression
		status  events.Status
		gravest int
	}{
		{[]events.Suppression{held("", events.Manual)}, events.Active, 0},
		{[]events.Suppression{held("", events.Manual), held("", events.SoftBounces)}, events.StatusBounced, 1},
		{[]events.Suppression{held("", events.HardBounce), held("", events.SoftBounces)}, events.StatusBounced, 0},
		{[]events.Suppression{held("", events.HardBounce), held("", events.Unsubscribe)}, events.StatusUnsub, 1},
		{[]events.Suppression{held("", events.Complaint), held("", events.Unsubscribe)}, events.StatusComplained, 0},
		// What is for some mail says nothing of all.
		{[]events.Suppression{held("group:10", events.Unsubscribe)}, events.Active, 0},
		{[]events.Suppression{held("group:10", events.Unsubscribe), held("", events.Manual)}, events.Active, 1},
		{[]events.Suppression{held("", events.Manual), held("group:10", events.Unsubscribe)}, events.Active, 0},
	}
	for _, tt := range tests {
		if status, gravest := events.StatusOf(tt.all), events.Gravest(tt.all); status != tt.status || gravest != tt.gravest {
			t.Errorf("%v: %s, %d; want %s, %d", tt.all, status, gravest, tt.status, tt.gravest)
		}
	}
	if status := events.StatusOf(nil); status != events.Active {
		t.Errorf("nothing: %s", status)
	}
}

func TestSuppressionValidate(t *testing.T) {
	held := func(address string, change ...func(*events.Suppression)) events.Suppression {
		s := events.Suppression{Address: address, Reason: events.Manual}
		for _, f := range change {
			f(&s)
		}
		return s
	}
	since := func(year int) func(*events.Suppression) {
		return func(s *events.Suppression) { s.Since = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	}
	for _, s := range []events.Suppression{
		held("a@b"), held("A+b@EXAMPLE.com"), held("jürgen@exämple.com"), held("<a@b>"), held(`"a b@c"@example.com`),
		held("a@[192.0.2.1]"), held("a/b@example.com"), held("a@b", since(2261)), held("a@b", since(1970)),
		held("a@b", func(s *events.Suppression) {
			s.Scope, s.Provider, s.Detail = strings.Repeat("s", 256), strings.Repeat("p", 64), strings.Repeat("d", 1000)
		}),
	} {
		if err := s.Validate(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
	tests := []struct {
		s    events.Suppression
		want string
	}{
		{held(""), "address"},
		{held("a"), "address"},
		{held("@b"), "address"},
		{held("a@"), "address"},
		{held("a b@c"), "address"},
		{held("a@b c"), "address"},
		{held("a\x00@b"), "address"},
		{held("a@b@c"), "address"},
		{held("j\xfcrgen@example.com"), "address"},
		{held("a@ex\xe4mple.com"), "address"},
		{held("a@x.com;b"), "address"},
		{held("a@x.com,b"), "address"},
		{held(strings.Repeat("a", 250) + "@b.com"), "address"},
		{held("a@b", func(s *events.Suppression) { s.Reason = "because" }), `"because" is no reason; it is one of [hard_bounce`},
		{held("a@b", func(s *events.Suppression) { s.Scope = "tag:\n" }), "scope"},
		{held("a@b", func(s *events.Suppression) { s.Scope = strings.Repeat("s", 257) }), "scope"},
		{held("a@b", func(s *events.Suppression) { s.Provider = "a\tb" }), "provider"},
		{held("a@b", func(s *events.Suppression) { s.Detail = "\xe9" }), "detail"},
		{held("a@b", func(s *events.Suppression) { s.Detail = strings.Repeat("d", 1001) }), "detail"},
		{held("a@b", since(1969)), "1969"},
		{held("a@b", since(9999)), "9999"},
	}
	for _, tt := range tests {
		if err := tt.s.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want an error of the %s", tt.s, err, tt.want)
		}
	}
}

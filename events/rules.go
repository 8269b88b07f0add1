package events

import (
	"cmp"
	"strings"
	"time"
)

// Standing is what is known of an address before an event.
type Standing struct {
	// SoftBounces are those in a row, up to now.
	SoftBounces int
	// The times are the zero time where there was none.
	LastAccepted, LastDelivered, LastBounced, LastOpened, LastClicked time.Time
	// Removed gives when a suppression with a scope was last taken away: by the
	// operator, by a resubscription. What was said before does not count any more.
	Removed map[string]time.Time
}

// Rules are what events do to addresses.
type Rules struct {
	// SoftBounceLimit is how many soft bounces in a row suppress an address.
	SoftBounceLimit int
}

// Effect is what an event does.
type Effect struct {
	// Standing is what is known of the address afterwards.
	Standing Standing
	// Suppress is what comes of it, nil for nothing.
	Suppress *Suppression
	// Lift: unsubscriptions with the event's scope, up to its time, count no more.
	Lift bool
}

// Suppresses reports whether e may suppress its recipient.
func (e Event) Suppresses() bool {
	return e.Type == Bounced || e.Type == Complained || e.Type == Unsubscribed
}

// Apply says what an event does to its recipient. Events may come in any order:
// what happened before something that undoes it changes nothing any more.
func (r Rules) Apply(s Standing, e Event) Effect {
	effect := Effect{Standing: s}
	reason := Reason("")
	switch e.Type {
	case Accepted:
		effect.Standing.LastAccepted = later(s.LastAccepted, e.Timestamp)
	case Delivered:
		effect.Standing.LastDelivered = later(s.LastDelivered, e.Timestamp)
		if !e.Timestamp.Before(s.LastBounced) {
			effect.Standing.SoftBounces = 0
		}
	case Bounced:
		reason = effect.bounce(r, s, e)
	case Complained:
		reason = Complaint
	case Unsubscribed:
		reason = Unsubscribe
	case Resubscribed:
		effect.Lift = true
	case Opened:
		effect.Standing.LastOpened = later(s.LastOpened, e.Timestamp)
	case Clicked:
		effect.Standing.LastClicked = later(s.LastClicked, e.Timestamp)
	case Deferred, Rejected, Unknown, SuppressionAdded, SuppressionRemoved:
	}
	if reason != "" {
		effect.suppress(s, e, reason)
	}
	return effect
}

// bounce counts a soft bounce, unless the address has taken mail since or what was
// said of it was taken back, and says whether it is one too many.
func (f *Effect) bounce(r Rules, s Standing, e Event) Reason {
	f.Standing.LastBounced = later(s.LastBounced, e.Timestamp)
	switch {
	case e.Bounce == Hard:
		return HardBounce
	case e.Timestamp.Before(s.LastDelivered), !e.Timestamp.After(s.Removed[""]):
		return ""
	}
	f.Standing.SoftBounces++
	if f.Standing.SoftBounces >= r.SoftBounceLimit {
		return SoftBounces
	}
	return ""
}

func (f *Effect) suppress(s Standing, e Event, reason Reason) {
	scope := ""
	if reason == Unsubscribe {
		scope = e.Scope
	}
	if removed, ok := s.Removed[scope]; ok && !e.Timestamp.After(removed) {
		return
	}
	held := Suppression{
		Address: e.Recipient, Scope: scope, Reason: reason, Provider: e.Provider,
		Detail: detail(cmp.Or(e.Reason, e.Response)), Since: e.Timestamp,
	}
	if held.Validate() == nil { // else no mail can be for it
		f.Suppress = &held
	}
}

// detail is what fits of a server's words, in one line.
func detail(words string) string {
	return clip(strings.Join(strings.FieldsFunc(strings.ToValidUTF8(words, " "), unprintable), " "), maxDetailBytes)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

package ses

import (
	"strings"

	"smtpbridge/events"
)

// preferences of a contact, before or after.
type preferences struct {
	UnsubscribeAll flag    `json:"unsubscribeAll"`
	Topics         []topic `json:"topicSubscriptionStatus"`
}

// flag is true or not.
type flag bool

// UnmarshalJSON never fails.
func (f *flag) UnmarshalJSON(raw []byte) error {
	*f = flag(strings.EqualFold(strings.Trim(string(raw), `"`), "true"))
	return nil
}

type topic struct {
	Name   text `json:"topicName"`
	Status text `json:"subscriptionStatus"`
}

// statusOf gives no status for a topic that is not there.
func (p preferences) statusOf(name text) text {
	for _, t := range p.Topics {
		if t.Name == name {
			return t.Status
		}
	}
	return ""
}

// subscribed tells what a contact has left or joined: the whole list, or topics of
// it. Where it cannot be known who, or what, nothing follows from it.
func subscribed(o original, d detail) []events.Event {
	who := only(o.Destination)
	if who == "" || d.New == nil || !isName(string(d.ContactList)) {
		return nil
	}
	change := func(to events.Type, scope text) events.Event {
		return events.Event{Type: to, Recipient: who, Scope: "list:" + string(scope), Reason: string(d.Source)}
	}
	var all []events.Event
	switch before, after := bool(d.Old.UnsubscribeAll), bool(d.New.UnsubscribeAll); {
	case after && !before:
		return []events.Event{change(events.Unsubscribed, d.ContactList)}
	case before && !after:
		all = append(all, change(events.Resubscribed, d.ContactList))
	}
	for _, t := range d.New.Topics {
		to, known := statuses[strings.ToLower(string(t.Status))]
		if known && isName(string(t.Name)) && !strings.EqualFold(string(t.Status), string(d.Old.statusOf(t.Name))) {
			all = append(all, change(to, d.ContactList+"/"+t.Name))
		}
	}
	return all
}

// statuses of a topic, and what it means to come to one.
var statuses = map[string]events.Type{"optout": events.Unsubscribed, "optin": events.Resubscribed}

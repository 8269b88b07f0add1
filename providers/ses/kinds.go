package ses

import (
	"cmp"
	"slices"
	"strings"

	"smtpbridge/events"
)

// kind is one row of the table of events.
type kind struct {
	// object has the facts.
	object string
	// once: a mail has one such event for each recipient, which has no time of its own.
	once bool
	// read gives the events, with what is their own; none where it names nobody.
	read func(original, detail) []events.Event
}

// kinds of events, by name (guide, "Contents of event data"). Any other is unknown.
var kinds = map[string]kind{
	"send": {object: "send", once: true, read: func(o original, _ detail) []events.Event {
		return each(o.Destination, events.Event{Type: events.Accepted})
	}},
	"delivery": {object: "delivery", read: func(_ original, d detail) []events.Event {
		return each(d.Recipients, events.Event{Type: events.Delivered, Response: string(d.SMTPResponse)})
	}},
	"deliverydelay": {object: "deliveryDelay", read: delayed},
	"bounce":        {object: "bounce", read: bounced},
	"complaint":     {object: "complaint", read: complained},
	"reject": {object: "reject", once: true, read: func(o original, d detail) []events.Event {
		return each(o.Destination, events.Event{Type: events.Rejected, Reason: string(d.Reason)})
	}},
	"rendering failure": {object: "failure", once: true, read: func(o original, d detail) []events.Event {
		return each(o.Destination, events.Event{Type: events.Rejected, Reason: string(d.ErrorMessage)})
	}},
	"open": {object: "open", read: func(o original, _ detail) []events.Event {
		return []events.Event{{Type: events.Opened, Recipient: only(o.Destination)}}
	}},
	"click": {object: "click", read: func(o original, d detail) []events.Event {
		return []events.Event{{Type: events.Clicked, Recipient: only(o.Destination), URL: string(d.Link)}}
	}},
	"subscription": {object: "subscription", read: subscribed},
}

// detail is the object of a kind: all that any of them has.
type detail struct {
	Timestamp text `json:"timestamp"`

	Recipients   list     `json:"recipients"`
	Bounced      []person `json:"bouncedRecipients"`
	Complained   []person `json:"complainedRecipients"`
	Delayed      []person `json:"delayedRecipients"`
	SMTPResponse text     `json:"smtpResponse"`

	BounceType            text `json:"bounceType"`
	BounceSubType         text `json:"bounceSubType"`
	DelayType             text `json:"delayType"`
	ComplaintSubType      text `json:"complaintSubType"`
	ComplaintFeedbackType text `json:"complaintFeedbackType"`
	Reason                text `json:"reason"`
	ErrorMessage          text `json:"errorMessage"`

	Link      text `json:"link"`
	IPAddress text `json:"ipAddress"`
	UserAgent text `json:"userAgent"`

	ContactList text         `json:"contactList"`
	Source      text         `json:"source"`
	New         *preferences `json:"newTopicPreferences"`
	Old         preferences  `json:"oldTopicPreferences"`
}

// person is one of several whom a notification names.
type person struct {
	EmailAddress   text `json:"emailAddress"`
	Status         text `json:"status"`
	DiagnosticCode text `json:"diagnosticCode"`
}

// response is what the recipient's server said, without the kind of it.
func (p person) response() string {
	said := string(p.DiagnosticCode)
	if kind, words, found := strings.Cut(said, ";"); found && strings.EqualFold(strings.TrimSpace(kind), "smtp") {
		return strings.TrimSpace(words)
	}
	return said
}

// each is the same event for all of them.
func each(recipients list, like events.Event) []events.Event {
	var all []events.Event
	for _, recipient := range recipients {
		if like.Recipient = bare(recipient); like.Recipient != "" {
			all = append(all, like)
		}
	}
	return all
}

// eachOf is an event for each of them, with what their servers said.
func eachOf(people []person, like events.Event) []events.Event {
	var all []events.Event
	for _, p := range people {
		like.Response = p.response()
		all = append(all, each(list{string(p.EmailAddress)}, like)...)
	}
	return all
}

// only is the recipient of a mail that had one. SES does not say which of several
// opened, clicked or unsubscribed.
func only(recipients list) string {
	if len(recipients) != 1 {
		return ""
	}
	return bare(recipients[0])
}

// bare is the address alone, of what may have a name before it.
func bare(address string) string {
	if start := strings.LastIndexByte(address, '<'); start >= 0 {
		address, _, _ = strings.Cut(address[start+1:], ">")
	}
	return strings.TrimSpace(line(address, maxAddress))
}

func delayed(_ original, d detail) []events.Event {
	return eachOf(d.Delayed, events.Event{Type: events.Deferred, Reason: string(d.DelayType)})
}

// untried are the kinds of a bounce of what SES did not send, as the address is on
// a list of the account's own.
var untried = []string{"onaccountsuppressionlist", "ontenantsuppressionlist", "emailvalidationsuppressed", "unsubscribedrecipient"}

func isUntried(subType text) bool {
	return slices.Contains(untried, strings.ToLower(string(subType)))
}

// bounced goes by the type alone where it is one of those that are known: SES has
// read what the server said.
func bounced(_ original, d detail) []events.Event {
	like := events.Event{Type: events.Bounced, Reason: strings.Trim(string(d.BounceType+"/"+d.BounceSubType), "/")}
	switch strings.ToLower(string(d.BounceType)) {
	case "permanent":
		if isUntried(d.BounceSubType) {
			like.Type = events.Rejected
			return eachOf(d.Bounced, like)
		}
		like.Bounce = events.Hard
	case "transient", "undetermined":
		like.Bounce = events.Soft
	}
	var all []events.Event
	for _, p := range d.Bounced {
		one := like
		one.Bounce = cmp.Or(like.Bounce, events.BounceOf(string(p.Status), p.response()))
		all = append(all, eachOf([]person{p}, one)...)
	}
	return all
}

// complained: those named may be all who have the same mailbox provider.
func complained(_ original, d detail) []events.Event {
	like := events.Event{Type: events.Complained, Reason: string(cmp.Or(d.ComplaintSubType, d.ComplaintFeedbackType))}
	switch {
	case isUntried(d.ComplaintSubType):
		like.Type = events.Rejected
	case strings.EqualFold(string(d.ComplaintFeedbackType), "not-spam"):
		like.Type = events.Unknown
	}
	return eachOf(d.Complained, like)
}

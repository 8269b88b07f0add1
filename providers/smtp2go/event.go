package smtp2go

import (
	"cmp"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers"
)

// events are those of the recipients of a call. What tells it from all other calls
// is made once: a call may be long, and name many.
func (c *call) events() []events.Event {
	whole := events.Key("raw", string(c.raw))
	var list []events.Event
	for _, recipient := range c.recipients() {
		list = append(list, c.event(recipient, whole))
	}
	events.ShareRaw(list, events.Raw(c.raw))
	return list
}

// event is what the call says of one recipient. The API has no tags and no
// metadata.
func (c *call) event(recipient, whole string) events.Event {
	e := events.Event{
		MessageID:         events.Clip(c.first(bridgeHeader), events.MaxWord),
		ProviderMessageID: events.Clip(c.first("email-id"), events.MaxWord),
		Recipient:         events.Clip(recipient, events.MaxWord),
		Timestamp:         events.Time(c.first("time")),
		Tags:              []string{},
		Metadata:          map[string]string{},
	}
	e.Type, e.Bounce = c.meaning()
	e.Reason, e.Response = c.words(e.Type)
	if e.Type == events.Clicked {
		e.URL = events.Clip(c.link(), events.MaxURL)
	}
	e.Key = c.key(e, recipient, whole)
	return e
}

// meaning is what happened, and of a bounce how final it is. The manual, the
// activity search and the calls themselves each have names of their own.
func (c *call) meaning() (events.Type, events.Bounce) {
	switch fieldName(c.first("event")) {
	case "processed":
		return events.Accepted, ""
	case "delivered":
		return events.Delivered, ""
	case "bounce", "bounced":
		return events.Bounced, c.class()
	case "hard-bounce", "hard-bounced":
		return events.Bounced, events.Hard
	case "soft-bounce", "soft-bounced":
		return events.Bounced, events.Soft
	case "reject", "rejected":
		return events.Rejected, ""
	case "spam", "spam-complaint":
		return events.Complained, ""
	case "unsubscribe", "unsubscribed":
		return events.Unsubscribed, ""
	case "resubscribe", "resubscribed":
		return events.Resubscribed, ""
	case "open", "opened":
		return events.Opened, ""
	case "click", "clicked":
		return events.Clicked, ""
	}
	return events.Unknown, ""
}

func (c *call) class() events.Bounce {
	switch strings.ToLower(c.first("bounce")) {
	case "hard":
		return events.Hard
	case "soft":
		return events.Soft
	}
	return events.BounceOf(short(c.first("message")), short(c.first("context")))
}

// unsaid is why SMTP2GO rejects a mail (manual, "Webhooks overview"). The latter two
// are faults of the account, which no other recipient will be spared.
const unsaid = "SMTP2GO does not say why: the address is suppressed there, the sender is not verified, or the API key is sandboxed"

// words are why, and what the recipient's server said. The context is the command
// that the server answered, or stands for the answer. Nobody was asked about a
// mail that SMTP2GO rejects, and often it does not say why.
func (c *call) words(kind events.Type) (reason, response string) {
	message, during := providers.Words(c.first("message")), providers.Words(c.first("context"))
	switch {
	case kind == events.Rejected:
		return cmp.Or(message, during, unsaid), ""
	case message == "":
		return "", during
	}
	return during, message
}

func (c *call) link() string { return cmp.Or(c.first("url"), c.first("click-url"), c.first("link")) }

// key tells an event by what it is made of, for SMTP2GO gives it no id: the field
// "id" is that of the webhook. Where it lacks what tells it apart, all that is
// said does. Times are to the second, hence the reader of an open or a click.
func (c *call) key(e events.Event, recipient, whole string) string {
	recipient = events.Address(recipient)
	mail := cmp.Or(c.first("email-id"), c.first("message-id"))
	if e.Type == events.Unknown || e.Timestamp.IsZero() || mail == "" || recipient == "" {
		return events.Key(whole, recipient)
	}
	return events.Key(
		string(e.Type), string(e.Bounce), mail, recipient, e.Timestamp.Format(time.RFC3339Nano),
		c.link(), c.first("user-agent"), c.first("srchost"),
	)
}

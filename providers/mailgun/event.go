package mailgun

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers"
)

const (
	// maxToBytes of a To that is read for its addresses.
	maxToBytes = 64 << 10
	// allMail is the tag of leaving all mail of a domain.
	allMail = "*"
	// oldReason: the retries ran out.
	oldReason = "old"
)

// event is the event-data of a call (manual, "Webhook Payloads"). Nothing of it is
// certain to be there, or to have the same form always.
type event struct {
	ID        events.Text `json:"id"`
	Event     events.Text `json:"event"`
	Severity  events.Text `json:"severity"`
	Reason    events.Text `json:"reason"`
	Timestamp events.Text `json:"timestamp"`
	Recipient events.Text `json:"recipient"`
	URL       events.Text `json:"url"`
	Tags      words       `json:"tags"`
	Variables variables   `json:"user-variables"`
	Message   struct {
		Headers struct {
			ID events.Text `json:"message-id"`
			To events.Text `json:"to"`
		} `json:"headers"`
	} `json:"message"`
	Status status `json:"delivery-status"`
	Reject struct {
		Reason      events.Text `json:"reason"`
		Description events.Text `json:"description"`
	} `json:"reject"`
	Flags struct {
		Routed        bool `json:"is-routed"`
		DelayedBounce bool `json:"is-delayed-bounce"`
	} `json:"flags"`
	Client struct {
		Bot events.Text `json:"bot"`
	} `json:"client-info"`
}

// status is how a delivery went.
type status struct {
	Code        events.Text `json:"code"`
	Enhanced    events.Text `json:"enhanced-code"`
	Message     events.Text `json:"message"`
	Description events.Text `json:"description"`
	BounceType  events.Text `json:"bounce-type"`
	BounceCode  events.Text `json:"bounce-code"`
	Attempt     events.Text `json:"attempt-no"`
}

// readEvents gives one event for each recipient, and for each tag that was left.
func readEvents(raw json.RawMessage) []events.Event {
	raw = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
	var e event
	json.Unmarshal(raw, &e) //nolint:errcheck // what has another form stays empty, the rest is read
	told, whole := e.normal(), string(raw)
	recipients, scopes := e.recipients(), e.scopes()
	if len(recipients)*len(scopes) > 1 { // all of it, for each of many, would take for ever
		whole = events.Key(whole)
	}
	var list []events.Event
	for _, recipient := range recipients {
		for _, scope := range scopes {
			told.Recipient, told.Scope = recipient, scope
			told.Key = e.key(whole, recipient, scope)
			list = append(list, told)
		}
	}
	events.ShareRaw(list, events.Raw(raw))
	return list
}

// normal is the event but for whom it is about, and what for.
func (e *event) normal() events.Event {
	told := events.Event{
		Type:              e.kind(),
		MessageID:         events.Clip(e.Variables[providers.BridgeIDKey], events.MaxWord),
		ProviderMessageID: events.Clip(strings.Trim(string(e.Message.Headers.ID), "<> "), events.MaxWord),
		Timestamp:         events.UnixTime(string(e.Timestamp)),
		Attempt:           e.Status.Attempt.Count(),
		Reason:            e.reason(),
		Response:          e.Status.response(),
		URL:               events.Clip(string(e.URL), events.MaxURL),
		Machine:           e.Client.Bot != "",
		Metadata:          e.Variables.metadata(),
	}
	told.Tags = []string{}
	if told.Type != events.Unsubscribed { // its tags are what was left
		told.Tags = append(told.Tags, e.Tags...)
	}
	if told.Type == events.Bounced {
		told.Bounce = e.bounce()
	}
	return told
}

func (e *event) name() string { return strings.ToLower(string(e.Event)) }

func (e *event) kind() events.Type {
	switch e.name() {
	case "accepted":
		if e.Flags.Routed {
			return events.Unknown // a mail that came in, and was passed on
		}
		return events.Accepted
	case "delivered":
		return events.Delivered
	case "failed":
		return e.failure()
	case "rejected":
		return events.Rejected
	case "opened":
		return events.Opened
	case "clicked":
		return events.Clicked
	case "unsubscribed":
		return events.Unsubscribed
	case "complained":
		return events.Complained
	}
	return events.Unknown
}

// unsent are Mailgun's own codes of mails that it did not try to deliver: to those
// who bounced, unsubscribed or complained before, and what its check of lists
// keeps back.
var unsent = []events.Text{"605", "606", "607", "625"}

func (e *event) failure() events.Type {
	switch {
	case strings.EqualFold(string(e.Severity), "temporary"):
		return events.Deferred
	case strings.HasPrefix(string(e.Reason), "suppress-"), slices.Contains(unsent, e.Status.Code):
		return events.Rejected
	}
	return events.Bounced
}

// bounce: Mailgun's own class decides. What it calls a bounce is hard unless an
// enhanced code says otherwise; of the rest codes and words decide.
func (e *event) bounce() events.Bounce {
	s := e.Status
	said := []string{
		providers.Words(string(s.Enhanced)), providers.Words(string(s.BounceCode)), providers.Words(string(s.Code)),
		providers.Words(string(s.Message)), providers.Words(string(s.Description)),
	}
	switch kind := events.Bounce(strings.ToLower(string(s.BounceType))); {
	case e.Reason == oldReason:
		return events.Soft
	case kind == events.Hard, kind == events.Soft:
		return kind
	case !e.Flags.DelayedBounce && (e.Reason == "bounce" || e.Reason == "hardfail"):
		said = append(said, "550")
	}
	return events.BounceOf(said...)
}

func (e *event) reason() string {
	switch e.name() {
	case "rejected":
		return providers.Words(string(cmp.Or(e.Reject.Reason, e.Reject.Description)))
	case "failed":
		return providers.Words(string(cmp.Or(e.Status.Description, e.Status.Message, e.Reason)))
	}
	return ""
}

// recipients is one, or none, "", where the event does not say; a rejected mail
// has those of its header.
func (e *event) recipients() []string {
	recipient := providers.Words(string(e.Recipient))
	to := string(e.Message.Headers.To)
	if recipient != "" || e.name() != "rejected" || len(to) > maxToBytes {
		return []string{recipient}
	}
	addresses, err := mail.ParseAddressList(to)
	if err != nil {
		return []string{""}
	}
	var list []string
	for _, address := range addresses {
		if one := providers.Words(address.Address); !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	return list
}

// scopes is one, "", for all mail, or the tags that were left.
func (e *event) scopes() []string {
	if e.kind() != events.Unsubscribed || len(e.Tags) == 0 || slices.Contains(e.Tags, allMail) {
		return []string{""}
	}
	var list []string
	for _, tag := range e.Tags {
		if scope := "tag:" + tag; !slices.Contains(list, scope) {
			list = append(list, scope)
		}
	}
	return list
}

// key: Mailgun's id is unique within a day. Without id or time the event is what
// its octets are. What the key is made of is quoted: no text of it can pass for two.
func (e *event) key(whole, recipient, scope string) string {
	id, day := string(e.ID), events.UnixTime(string(e.Timestamp))
	if id == "" || day.IsZero() {
		id = whole
	}
	return events.Key(fmt.Sprintf("%q", []string{id, day.Format(time.DateOnly), recipient, scope}))
}

// response is what the recipient's server said; codes beyond 599 are Mailgun's own.
func (s status) response() string {
	code, said := string(s.Code), string(s.Message)
	if code != "" && (len(code) != 3 || code[0] < '2' || code[0] > '5') {
		return ""
	}
	if enhanced := string(s.Enhanced); !strings.Contains(said, enhanced) {
		said = enhanced + " " + said
	}
	if !strings.HasPrefix(said, code) {
		said = code + " " + said
	}
	return providers.Words(said)
}

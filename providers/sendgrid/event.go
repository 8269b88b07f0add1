package sendgrid

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"smtpbridge/events"
	"smtpbridge/providers"
)

// maxEventLen is more than an event of SendGrid has, in octets: its custom args
// have 10,000. What is longer is not taken apart.
const maxEventLen = 256 << 10

// The events that are read by their names beyond the table of types.
const (
	groupUnsubscribe = "group_unsubscribe"
	groupResubscribe = "group_resubscribe"
)

// types are the events of the manual, "Event Webhook Reference", in our words.
var types = map[string]events.Type{
	"processed":             events.Accepted,
	"delivered":             events.Delivered,
	"deferred":              events.Deferred,
	"bounce":                events.Bounced,
	"dropped":               events.Rejected, // never left SendGrid
	"spamreport":            events.Complained,
	"unsubscribe":           events.Unsubscribed,
	groupUnsubscribe:        events.Unsubscribed,
	groupResubscribe:        events.Resubscribed,
	"open":                  events.Opened,
	"click":                 events.Clicked,
	"account_status_change": events.Unknown,
}

// identity are the fields that tell an event from all others. sg_event_id is none
// of them: SendGrid may tell the same event again under a new one.
var identity = []string{
	"sg_message_id", "smtp-id", "email", "event", "type", "timestamp", "attempt", "reason", "response",
	"asm_group_id", "url", "ip", "useragent",
}

// fields are those of one event, the custom args of its mail beside them. Names
// are as they are written: the custom arg "Email" is not the recipient.
type fields map[string]json.RawMessage

// readEvent reads one entry of a call. What cannot be read is unknown, and is
// what its octets are.
func readEvent(raw json.RawMessage) events.Event {
	raw = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
	var f fields
	if len(raw) > maxEventLen || json.Unmarshal(raw, &f) != nil {
		f = nil
	}
	e := events.Event{
		Type:              events.Unknown,
		MessageID:         events.Clip(f.text(providers.BridgeIDKey), events.MaxWord),
		ProviderMessageID: events.Clip(messageID.FindString(f.text("sg_message_id")), events.MaxWord),
		Recipient:         providers.Words(f.text("email")),
		Timestamp:         events.UnixTime(f.text("timestamp")),
		Reason:            providers.Words(cmp.Or(f.text("reason"), f.text("bounce_classification"), f.text("type"))),
		Response:          f.response(),
		Attempt:           events.Text(f.text("attempt")).Count(),
		Scope:             f.scope(),
		URL:               events.Clip(f.text("url"), events.MaxURL),
		Machine:           f.text("sg_machine_open") == "true",
		Tags:              f.tags(),
		Metadata:          f.metadata(),
		Raw:               events.Raw(raw),
		Key:               events.Key(string(raw)),
	}
	if kind, known := types[f.event()]; known {
		e.Type, e.Key = kind, f.key()
	}
	if e.Type == events.Bounced {
		e.Bounce = f.bounce()
	}
	return e
}

// messageID is the part of sg_message_id that the answer to the request gave as
// X-Message-Id; behind it stands which server had the mail. An id has no dots, an
// old one has two.
var messageID = regexp.MustCompile(`^(?:[0-9a-f]+\.[0-9a-f]+\.[0-9a-f]+\b|[^.]*)`)

// event is folded: a sample of the manual writes "Processed".
func (f fields) event() string { return strings.ToLower(f.text("event")) }

// key is the same however often, and under whatever id, the event is told. What
// it is made of is quoted: no text of it can pass for two.
func (f fields) key() string {
	parts := []string{string(f["url_offset"])} // which of the links to one URL
	for _, name := range identity {
		parts = append(parts, f.text(name))
	}
	return events.Key(fmt.Sprintf("%q", parts))
}

// bounce: SendGrid's own class decides. A block is a passing denial to it, even
// with a 5xx, after which it sends to the address again.
func (f fields) bounce() events.Bounce {
	switch strings.ToLower(f.text("type")) {
	case "bounce":
		return events.Hard
	case "blocked", "expired":
		return events.Soft
	}
	return events.BounceOf(providers.Words(f.text("status")), providers.Words(f.text("reason")))
}

// reply is what begins as a server's answer does (RFC 5321, 4.2).
var reply = regexp.MustCompile(`^[245]\d\d[ -]`)

// response: of a bounce the server's words are its reason.
func (f fields) response() string {
	said := providers.Words(f.text("response"))
	if reason := providers.Words(f.text("reason")); said == "" && reply.MatchString(reason) {
		return reason
	}
	return said
}

// scope: leaving a group is not leaving all. Without its id the scope is one that
// no mail has, rather than all mail.
func (f fields) scope() string {
	switch f.event() {
	case groupUnsubscribe, groupResubscribe:
		return events.Clip("group:"+f.text("asm_group_id"), events.MaxWord)
	}
	return ""
}

// tags are one category or an array of them, as the mail had it.
func (f fields) tags() []string {
	tags := []string{}
	for _, raw := range events.List(f["category"], maxCategories) {
		if tag := events.Clip(text(raw), events.MaxTag); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}

// metadata are the custom args, which are strings always.
func (f fields) metadata() map[string]string {
	pairs := make(map[string]string)
	for name, value := range f {
		if name != providers.BridgeIDKey && value[0] == '"' && !slices.Contains(reserved, name) {
			pairs[name] = text(value)
		}
	}
	return events.Metadata(pairs, maxCustomArgsBytes)
}

func (f fields) text(name string) string { return text(f[name]) }

// text: the manual's samples write the same field in more than one way.
func text(raw json.RawMessage) string {
	var t events.Text
	t.UnmarshalJSON(raw) //nolint:errcheck // it never fails
	return string(t)
}

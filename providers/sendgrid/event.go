package sendgrid

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers"
)

const (
	// maxIDLen is the most of an id that is kept, in octets; maxURLLen that of a URL.
	maxIDLen  = 255
	maxURLLen = 2048
	// firstMilli is where a number is of milliseconds: as seconds it is of the year 5138.
	firstMilli = 1e11
	// lastSecond of the year 9999, the last that JSON has a form for (RFC 3339).
	lastSecond = 253_402_300_799
)

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
	if json.Unmarshal(raw, &f) != nil {
		f = nil
	}
	e := events.Event{
		Type:              events.Unknown,
		MessageID:         clip(f.text(providers.BridgeIDKey), maxIDLen),
		ProviderMessageID: clip(messageID.FindString(f.text("sg_message_id")), maxIDLen),
		Recipient:         providers.Words(f.text("email")),
		Timestamp:         moment(f.text("timestamp")),
		Reason:            providers.Words(cmp.Or(f.text("reason"), f.text("bounce_classification"), f.text("type"))),
		Response:          f.response(),
		Attempt:           attempt(f.text("attempt")),
		Scope:             f.scope(),
		URL:               clip(f.text("url"), maxURLLen),
		Machine:           f.text("sg_machine_open") == "true",
		Tags:              f.tags(),
		Metadata:          f.metadata(),
		Raw:               raw,
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
		return "group:" + clip(f.text("asm_group_id"), maxIDLen)
	}
	return ""
}

// tags are one category or an array of them, as the mail had it.
func (f fields) tags() []string {
	var list []json.RawMessage
	if json.Unmarshal(f["category"], &list) != nil {
		list = []json.RawMessage{f["category"]}
	}
	list = list[:min(len(list), maxCategories)]
	tags := make([]string, 0, len(list))
	for _, raw := range list {
		if tag := clip(text(raw), maxCategoryLen); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}

// metadata are the custom args, which are strings always.
func (f fields) metadata() map[string]string {
	pairs := make(map[string]string)
	room := maxCustomArgsBytes
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if name == providers.BridgeIDKey || f[name][0] != '"' || slices.Contains(reserved, name) {
			continue
		}
		value := f.text(name)
		if room -= len(name) + len(value); room < 0 {
			break
		}
		pairs[providers.OneLine(name)] = providers.OneLine(value)
	}
	return pairs
}

func (f fields) text(name string) string { return text(f[name]) }

// text is a string, a number or a boolean: the manual's samples write the same
// field in more than one way. Anything else has no text.
func text(raw json.RawMessage) string {
	var s string
	switch {
	case json.Unmarshal(raw, &s) == nil:
		return s
	case len(raw) == 0 || raw[0] == '{' || raw[0] == '[':
		return ""
	}
	return string(raw)
}

// moment reads seconds of the Unix epoch, or milliseconds, which events of
// marketing mails have; it is zero where there are none.
func moment(text string) time.Time {
	seconds, err := strconv.ParseFloat(text, 64)
	if seconds >= firstMilli {
		seconds /= 1000
	}
	if err != nil || !(seconds > 0 && seconds <= lastSecond) {
		return time.Time{}
	}
	return time.UnixMicro(int64(math.Round(seconds * 1e6))).UTC()
}

func attempt(text string) int {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

// clip is one line of at most so many octets, no rune of which is cut.
func clip(s string, most int) string {
	return strings.Clone(providers.OneLine(strings.ToValidUTF8(s[:min(len(s), most)], "")))
}

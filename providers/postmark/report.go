package postmark

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers"
)

// Most of what is kept of a text of an event, in octets.
const (
	maxTextLen = 4 << 10
	maxURLLen  = 2 << 10
	maxWordLen = 512
	// maxPairsLen of all metadata as JSON; more than any message may have.
	maxPairsLen = 64 << 10
)

// report is the body of a call (manual, "Webhooks"): the fields of all kinds of
// events, of which each has some.
type report struct {
	RecordType    text `json:"RecordType"`
	MessageID     text `json:"MessageID"`
	MessageStream text `json:"MessageStream"`

	Recipient text `json:"Recipient"`
	Email     text `json:"Email"` // of a bounce

	DeliveredAt text `json:"DeliveredAt"`
	BouncedAt   text `json:"BouncedAt"`
	ReceivedAt  text `json:"ReceivedAt"` // of an open or a click
	ChangedAt   text `json:"ChangedAt"`

	ID          text `json:"ID"` // of a bounce
	Type        text `json:"Type"`
	TypeCode    text `json:"TypeCode"`
	Name        text `json:"Name"`
	Description text `json:"Description"`
	Details     text `json:"Details"`
	Inactive    text `json:"Inactive"`

	SuppressSending   text `json:"SuppressSending"`
	SuppressionReason text `json:"SuppressionReason"`

	OriginalLink  text `json:"OriginalLink"`
	ClickLocation text `json:"ClickLocation"`
	UserAgent     text `json:"UserAgent"`
	Geo           struct {
		IP text `json:"IP"`
	} `json:"Geo"`

	Tag      text            `json:"Tag"`
	Metadata json.RawMessage `json:"Metadata"`
}

// text is a string, or a number or a boolean as it is written. Anything else says
// nothing.
type text string

// UnmarshalJSON never fails.
func (t *text) UnmarshalJSON(raw []byte) error {
	var s string
	switch {
	case json.Unmarshal(raw, &s) == nil:
		*t = text(s)
	case raw[0] != '{' && raw[0] != '[':
		*t = text(raw)
	}
	return nil
}

func (t text) isTrue() bool  { return strings.EqualFold(string(t), "true") }
func (t text) isFalse() bool { return strings.EqualFold(string(t), "false") }

// isNumber: of digits, and not 0, which is no id.
func (t text) isNumber() bool {
	return strings.Trim(string(t), "0") != "" && !strings.ContainsFunc(string(t), func(r rune) bool { return r < '0' || r > '9' })
}

// messageID is that of the message, in the form of the answer that took it.
func (r *report) messageID() string {
	if r.MessageID == noID {
		return ""
	}
	return clip(string(r.MessageID), maxWordLen)
}

func (r *report) recipient() string { return string(cmp.Or(r.Recipient, r.Email)) }

// time is zero where there is none, or one that JSON cannot write (RFC 3339) or
// that .NET writes for none.
func (r *report) time() time.Time {
	at, err := time.Parse(time.RFC3339Nano, string(cmp.Or(r.DeliveredAt, r.BouncedAt, r.ReceivedAt, r.ChangedAt)))
	if at = at.UTC(); err != nil || at.Year() < 1970 || at.Year() > 9999 {
		return time.Time{}
	}
	return at
}

// pairs are the bridge's id and the application's own metadata.
func (r *report) pairs() (bridgeID string, own map[string]string) {
	own = make(map[string]string)
	var all map[string]text
	if len(r.Metadata) > maxPairsLen || json.Unmarshal(r.Metadata, &all) != nil {
		return "", own
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		switch {
		case strings.EqualFold(key, providers.BridgeIDKey):
			bridgeID = cmp.Or(bridgeID, clip(string(all[key]), maxWordLen))
		case key != "" && len(own) < maxPairs:
			own[clip(key, maxWordLen)] = clip(string(all[key]), maxTextLen)
		}
	}
	return bridgeID, own
}

// clip is one line of at most so many octets, no rune of which is cut.
func clip(s string, most int) string {
	return strings.TrimSpace(providers.OneLine(strings.ToValidUTF8(s[:min(len(s), most)], "")))
}

func (r *report) isBounce() bool {
	return strings.EqualFold(string(r.RecordType), "Bounce") || strings.EqualFold(string(r.RecordType), "SpamComplaint")
}

// bounceType is what a type of bounces means, and how final those are that are
// bounces.
type bounceType struct {
	name, code string
	means      events.Type
	class      events.Bounce
}

// unclassified: the words of the server say how final it is.
var unclassified = bounceType{"Unknown", "2048", events.Bounced, ""}

// bounceTypes are those of the manual ("Bounce types").
var bounceTypes = []bounceType{
	{"HardBounce", "1", events.Bounced, events.Hard},
	{"Transient", "2", events.Deferred, ""},
	{"Unsubscribe", "16", events.Unsubscribed, ""},
	{"Subscribe", "32", events.Resubscribed, ""},
	{"AutoResponder", "64", events.Unknown, ""},
	{"AddressChange", "128", events.Unknown, ""},
	{"DnsError", "256", events.Deferred, ""},
	{"SpamNotification", "512", events.Bounced, events.Soft}, // delivered as spam, or blocked
	{"OpenRelayTest", "1024", events.Unknown, ""},
	unclassified,
	{"SoftBounce", "4096", events.Bounced, events.Soft},
	{"VirusNotification", "8192", events.Bounced, events.Soft},
	{"ChallengeVerification", "16384", events.Unknown, ""},
	{"BadEmailAddress", "100000", events.Rejected, ""},
	{spamComplaint, "100001", events.Complained, ""},
	{"ManuallyDeactivated", "100002", events.Rejected, ""},
	{"Unconfirmed", "100003", events.Rejected, ""},
	{"Blocked", "100006", events.Bounced, events.Soft},
	{"SMTPApiError", "100007", events.Rejected, ""},
	{"InboundError", "100008", events.Unknown, ""},
	{"DMARCPolicy", "100009", events.Bounced, events.Soft},
	{"TemplateRenderingFailed", "100010", events.Rejected, ""},
}

// spamComplaint is a type of bounces, and a kind of event of its own.
const spamComplaint = "SpamComplaint"

// typeName is that of a bounce's type, or its number where it has no name.
func (r *report) typeName() string {
	if strings.EqualFold(string(r.RecordType), spamComplaint) {
		return spamComplaint
	}
	return string(cmp.Or(r.Type, r.TypeCode))
}

// bounce reads a bounce by the name of its type, else by its number. Of a type
// that is in no table Inactive alone tells how final it is: then Postmark itself
// sends nothing more.
func (r *report) bounce() (events.Type, events.Bounce) {
	row := slices.IndexFunc(bounceTypes, func(t bounceType) bool { return strings.EqualFold(t.name, string(r.Type)) })
	if row < 0 {
		row = slices.IndexFunc(bounceTypes, func(t bounceType) bool { return t.code == string(r.TypeCode) })
	}
	switch {
	case row >= 0 && bounceTypes[row] == unclassified:
		return events.Bounced, events.BounceOf(clip(string(r.Details), maxTextLen))
	case row >= 0:
		return bounceTypes[row].means, bounceTypes[row].class
	case r.Inactive.isTrue():
		return events.Bounced, events.Hard
	}
	return events.Bounced, events.Soft
}

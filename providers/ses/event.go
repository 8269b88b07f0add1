package ses

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"smtpbridge/events"
	"smtpbridge/providers"
)

// What SES writes when it is set up to tell its events.
const (
	setUpWords = "Successfully validated SNS topic"
	setUpType  = "amazonsnssubscriptionsucceeded"
)

// maxNotified: SES mails 50 recipients at once. A list of many more is none of SES.
const maxNotified = 1000

// maxID is the most of an id that is kept, in octets.
const maxID = 255

// notification is what SES says, in either of its formats: of an identity, or of a
// configuration set (guide, "Amazon SNS notification contents" and "Contents of
// event data").
type notification struct {
	NotificationType text     `json:"notificationType"`
	EventType        text     `json:"eventType"`
	Original         original `json:"mail"`

	kind   kind
	detail detail
}

// original is the mail that an event is about.
type original struct {
	MessageID   text            `json:"messageId"`
	Destination list            `json:"destination"`
	Tags        map[string]list `json:"tags"`
}

// list is an array of strings; what else is in it counts as not there, and a string
// alone as an array of one.
type list []string

// UnmarshalJSON never fails.
func (l *list) UnmarshalJSON(raw []byte) error {
	*l = nil
	for _, element := range events.List(raw, maxNotified+1) {
		var said text
		said.UnmarshalJSON(element) //nolint:errcheck // it never fails
		if said != "" {
			*l = append(*l, string(said))
		}
	}
	return nil
}

// readMessage gives the events of a verified notification; none where SES only
// tried whether it arrives.
func readMessage(e *envelope) []events.Event {
	if strings.HasPrefix(e.Message, setUpWords) {
		return nil
	}
	n := notification{}
	n.read([]byte(e.Message))
	if n.name() == setUpType {
		return nil
	}
	var found []events.Event
	if n.kind.read != nil {
		found = n.kind.read(n.Original, n.detail)
	}
	if len(found) == 0 || len(found) > maxNotified {
		found = []events.Event{{Type: events.Unknown, Recipient: only(n.Original.Destination)}}
	}
	found = n.complete(e, found)
	events.ShareRaw(found, events.Raw([]byte(e.Message)))
	return found
}

// read takes what has the right type, and leaves the rest: encoding/json goes on
// behind a value that does not fit.
func (n *notification) read(message []byte) {
	json.Unmarshal(message, n) //nolint:errcheck // what could be read is there
	kind, known := kinds[n.name()]
	if !known {
		return
	}
	var objects map[string]json.RawMessage
	json.Unmarshal(message, &objects)               //nolint:errcheck // the same
	json.Unmarshal(objects[kind.object], &n.detail) //nolint:errcheck // the same
	n.kind = kind
}

// name of the event, as it compares.
func (n *notification) name() string {
	return strings.ToLower(string(cmp.Or(n.EventType, n.NotificationType)))
}

// complete fills in what is the same in all events of a notification. An event
// that is there twice is one.
func (n *notification) complete(e *envelope, found []events.Event) []events.Event {
	at := cmp.Or(events.Time(string(n.detail.Timestamp)), e.sent)
	seen := make(map[string]bool, len(found))
	complete := make([]events.Event, 0, len(found))
	for _, event := range found {
		event.Key = n.key(e, event)
		if seen[event.Key] {
			continue
		}
		seen[event.Key] = true
		event.Timestamp = at
		event.MessageID = line(n.Original.tag(providers.BridgeIDKey), maxID)
		event.ProviderMessageID = line(string(n.Original.MessageID), maxID)
		event.Reason, event.Response = providers.Words(event.Reason), providers.Words(event.Response)
		event.URL = line(event.URL, events.MaxURL)
		event.Tags, event.Metadata = n.Original.readTags()
		complete = append(complete, event)
	}
	return complete
}

// key is made of what the event is about, so that it is the same where two topics
// tell of it, or both formats. Where SES says too little for that it is the
// notification that counts: SNS delivers it again under the same id.
func (n *notification) key(e *envelope, event events.Event) string {
	at := string(n.detail.Timestamp)
	if t := events.Time(string(n.detail.Timestamp)); !t.IsZero() {
		at = t.Format(time.RFC3339Nano)
	}
	if n.kind.once {
		at = "once"
	}
	id, who := string(n.Original.MessageID), events.Address(event.Recipient)
	if event.Type == events.Unknown || id == "" || at == "" {
		return joined(e.MessageID, string(event.Type), who, event.Scope)
	}
	d := n.detail
	return joined(id, n.name(), at, who, string(event.Type), event.Scope, string(d.Link), string(d.IPAddress), string(d.UserAgent))
}

// joined is the key of parts that may hold anything: in JSON none looks like two.
func joined(parts ...string) string {
	list, _ := json.Marshal(parts) //nolint:errchkjson // strings
	return events.Key(string(list))
}

// tag is the first value of one; the bridge sends one.
func (o original) tag(name string) string {
	if values := o.Tags[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// readTags gives back what the adapter made tags of SES of: tags by number, and
// metadata. Those with a colon are SES' own.
func (o original) readTags() (tags []string, metadata map[string]string) {
	tags, metadata = []string{}, map[string]string{}
	for i := range maxTags {
		if tag := o.tag(tagName(i)); tag != "" {
			tags = append(tags, line(tag, events.MaxTag))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Tags)) {
		if len(metadata) == maxEmailTags {
			break
		}
		if name != providers.BridgeIDKey && isToken(name) && !slices.Contains(tagNames(), name) && o.tag(name) != "" {
			metadata[name] = line(o.tag(name), events.MaxTag)
		}
	}
	return tags, metadata
}

// isToken: a name that a tag may have; ses:source-ip and its like are none.
func isToken(s string) bool {
	return s != "" && len(s) <= maxTagRunes && !strings.ContainsFunc(s, isNoNameRune)
}

// line is text without control characters, at most so many octets.
func line(s string, most int) string {
	s = strings.ToValidUTF8(s[:min(len(s), most)], "")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

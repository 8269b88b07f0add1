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

// maxMetadataLen of the metadata as JSON, in octets; more than any message may have.
const maxMetadataLen = 64 << 10

// readEvent normalises what one call says.
func readEvent(raw json.RawMessage) events.Event {
	var r report
	_ = json.Unmarshal(raw, &r) // it is JSON: what has another form than ours says nothing
	e := events.Event{
		ProviderMessageID: r.messageID(),
		Recipient:         events.Clip(r.recipient(), events.MaxWord),
		Timestamp:         r.time(),
		Reason:            providers.Words(string(cmp.Or(r.Description, r.Name, r.Type, r.SuppressionReason))),
		Response:          providers.Words(strings.TrimPrefix(string(r.Details), "smtp;")),
		URL:               events.Clip(string(r.OriginalLink), events.MaxURL),
		Tags:              []string{},
		Raw:               events.Raw(raw),
	}
	e.Type, e.Bounce = r.meaning()
	if r.isTrial() {
		e.Type, e.Bounce, e.Reason = events.Unknown, "", events.Trial(string(r.RecordType))
	}
	e.MessageID, e.Metadata = r.pairs()
	if tag := events.Clip(string(r.Tag), events.MaxTag); tag != "" {
		e.Tags = append(e.Tags, tag)
	}
	if r.MessageStream != "" && (e.Type == events.Unsubscribed || e.Type == events.Resubscribed) {
		e.Scope = events.Clip(scopeOfStream+string(r.MessageStream), events.MaxWord)
	}
	e.Key = r.key(e.Type, raw)
	return e
}

// isTrial: the calls that try a webhook are of no message, and to nobody (RFC 2606).
func (r *report) isTrial() bool {
	return r.MessageID == noID && strings.HasSuffix(events.Address(r.recipient()), "@example.com")
}

// scopeOfStream is in front of a stream's id: each has a list of suppressions of
// its own (manual, "Suppressions API").
const scopeOfStream = "stream:"

// meaning is what happened, and of a bounce how final it is.
func (r *report) meaning() (events.Type, events.Bounce) {
	switch strings.ToLower(string(r.RecordType)) {
	case "delivery":
		return events.Delivered, ""
	case "bounce":
		return r.bounce()
	case "spamcomplaint":
		return events.Complained, ""
	case "open":
		return events.Opened, ""
	case "click":
		return events.Clicked, ""
	case "subscriptionchange":
		return r.change(), ""
	}
	return events.Unknown, ""
}

// change reads a change of a stream's list. What got onto it by a hard bounce or
// a complaint has an event of its own, which suppresses for all streams: to count
// the same thing twice would double the rate of complaints.
func (r *report) change() events.Type {
	switch {
	case isFalse(r.SuppressSending):
		return events.Resubscribed
	case !isTrue(r.SuppressSending), strings.EqualFold(string(r.SuppressionReason), "HardBounce"),
		strings.EqualFold(string(r.SuppressionReason), "SpamComplaint"):
		return events.Unknown
	}
	return events.Unsubscribed
}

// key tells an event by the id of its bounce, with the type that it has now: a
// bounce may be classed anew. Other events have no id. They are told by what they
// are made of, with a time to the 100 ns, and where they lack that by all of it.
//
// The header X-PM-Webhook-Trace-Id stays over retries, but it is not always
// there, and two webhooks of one stream need not have the same.
func (r *report) key(kind events.Type, raw json.RawMessage) string {
	at := r.time()
	switch {
	case r.isBounce() && isID(r.ID):
		return events.Key("bounce", string(r.ID), strings.ToLower(r.typeName()))
	case kind == events.Unknown, at.IsZero(), r.recipient() == "":
		return events.Key("raw", string(raw))
	}
	return events.Key(
		string(kind), string(r.MessageID), string(r.MessageStream), events.Address(r.recipient()), at.Format(time.RFC3339Nano),
		string(r.OriginalLink), string(r.ClickLocation), string(r.UserAgent), string(r.Geo.IP),
	)
}

// report is the body of a call (manual, "Webhooks"): the fields of all kinds of
// events, of which each has some.
type report struct {
	RecordType    events.Text `json:"RecordType"`
	MessageID     events.Text `json:"MessageID"`
	MessageStream events.Text `json:"MessageStream"`

	Recipient events.Text `json:"Recipient"`
	Email     events.Text `json:"Email"` // of a bounce

	DeliveredAt events.Text `json:"DeliveredAt"`
	BouncedAt   events.Text `json:"BouncedAt"`
	ReceivedAt  events.Text `json:"ReceivedAt"` // of an open or a click
	ChangedAt   events.Text `json:"ChangedAt"`

	ID          events.Text `json:"ID"` // of a bounce
	Type        events.Text `json:"Type"`
	TypeCode    events.Text `json:"TypeCode"`
	Name        events.Text `json:"Name"`
	Description events.Text `json:"Description"`
	Details     events.Text `json:"Details"`
	Inactive    events.Text `json:"Inactive"`

	SuppressSending   events.Text `json:"SuppressSending"`
	SuppressionReason events.Text `json:"SuppressionReason"`

	OriginalLink  events.Text `json:"OriginalLink"`
	ClickLocation events.Text `json:"ClickLocation"`
	UserAgent     events.Text `json:"UserAgent"`
	Geo           struct {
		IP events.Text `json:"IP"`
	} `json:"Geo"`

	Tag      events.Text     `json:"Tag"`
	Metadata json.RawMessage `json:"Metadata"`
}

func isTrue(t events.Text) bool  { return strings.EqualFold(string(t), "true") }
func isFalse(t events.Text) bool { return strings.EqualFold(string(t), "false") }

// isID: of digits, and not 0, which is no id.
func isID(t events.Text) bool {
	return strings.Trim(string(t), "0") != "" && !strings.ContainsFunc(string(t), func(r rune) bool { return r < '0' || r > '9' })
}

// messageID is that of the message, in the form of the answer that took it.
func (r *report) messageID() string {
	if r.MessageID == noID {
		return ""
	}
	return events.Clip(string(r.MessageID), events.MaxWord)
}

func (r *report) recipient() string { return string(cmp.Or(r.Recipient, r.Email)) }

func (r *report) time() time.Time {
	return events.Time(string(cmp.Or(r.DeliveredAt, r.BouncedAt, r.ReceivedAt, r.ChangedAt)))
}

// pairs are the bridge's id and the application's own metadata.
func (r *report) pairs() (bridgeID string, own map[string]string) {
	var all map[string]events.Text
	if len(r.Metadata) > maxMetadataLen || json.Unmarshal(r.Metadata, &all) != nil {
		all = nil
	}
	pairs := make(map[string]string, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.EqualFold(name, providers.BridgeIDKey) {
			bridgeID = cmp.Or(bridgeID, events.Clip(string(all[name]), events.MaxWord))
		} else if len(pairs) < maxPairs {
			pairs[name] = string(all[name])
		}
	}
	return bridgeID, events.Metadata(pairs, maxMetadataLen)
}

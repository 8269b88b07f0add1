package postmark

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers"
)

// Webhook is what Postmark calls with each event of a stream. It is an
// [events.Source]. Postmark signs nothing: user name and password in the
// webhook's URL are all there is to tell it by.
type Webhook struct{ config Config }

// NewWebhook makes the source of one server.
func NewWebhook(c Config) *Webhook { return &Webhook{c} }

// Receive authenticates a call and reads its event. Postmark saves no webhook
// whose trial calls are not all answered with 200, and documents no body of them:
// so nothing is refused that is empty or JSON.
func (w *Webhook) Receive(_ context.Context, h http.Header, body []byte) (events.Batch, error) {
	if err := w.authenticate(h); err != nil {
		return events.Batch{}, err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return events.Batch{}, nil
	}
	var raw bytes.Buffer
	if err := json.Compact(&raw, bytes.ToValidUTF8(body, []byte("\uFFFD"))); err != nil {
		return events.Batch{}, fmt.Errorf("%w: the body is no JSON: %w", events.ErrMalformed, err)
	}
	return events.Batch{Events: []events.Event{readEvent(raw.Bytes())}}, nil
}

func (w *Webhook) authenticate(h http.Header) error {
	username, password := w.config.WebhookUsername, w.config.WebhookPassword.Reveal()
	if w.config.WebhookUnverified && username == "" && password == "" {
		return nil
	}
	return events.BasicAuth(h, username, password)
}

// readEvent normalises what one call says.
func readEvent(raw json.RawMessage) events.Event {
	var r report
	_ = json.Unmarshal(raw, &r) // it is JSON: what has another form than ours says nothing
	e := events.Event{
		ProviderMessageID: r.messageID(),
		Recipient:         clip(r.recipient(), maxWordLen),
		Timestamp:         r.time(),
		Reason:            providers.Words(string(cmp.Or(r.Description, r.Name, r.Type, r.SuppressionReason))),
		Response:          providers.Words(strings.TrimPrefix(string(r.Details), "smtp;")),
		URL:               clip(string(r.OriginalLink), maxURLLen),
		Tags:              []string{},
		Raw:               raw,
	}
	e.Type, e.Bounce = r.meaning()
	e.MessageID, e.Metadata = r.pairs()
	if tag := clip(string(r.Tag), maxTextLen); tag != "" {
		e.Tags = append(e.Tags, tag)
	}
	if stream := clip(string(r.MessageStream), maxWordLen); stream != "" && (e.Type == events.Unsubscribed || e.Type == events.Resubscribed) {
		e.Scope = scopeOfStream + stream
	}
	e.Key = r.key(e.Type, raw)
	return e
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
	case r.SuppressSending.isFalse():
		return events.Resubscribed
	case !r.SuppressSending.isTrue(), strings.EqualFold(string(r.SuppressionReason), "HardBounce"),
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
	case r.isBounce() && r.ID.isNumber():
		return events.Key("bounce", string(r.ID), strings.ToLower(r.typeName()))
	case kind == events.Unknown, at.IsZero(), r.recipient() == "":
		return events.Key("raw", string(raw))
	}
	return events.Key(
		string(kind), string(r.MessageID), string(r.MessageStream), events.Address(r.recipient()), at.Format(time.RFC3339Nano),
		string(r.OriginalLink), string(r.ClickLocation), string(r.UserAgent), string(r.Geo.IP),
	)
}

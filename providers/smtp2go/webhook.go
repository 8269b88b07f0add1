package smtp2go

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers"
)

// Webhook is what SMTP2GO calls with each event of an account. It is an
// [events.Source]. SMTP2GO signs nothing: user name and password in the webhook's
// URL are all there is to tell it by.
type Webhook struct{ config Config }

// NewWebhook makes the source of one account.
func NewWebhook(c Config) *Webhook { return &Webhook{c} }

// Receive authenticates a call and reads its event, which is one for each
// recipient where the call names several.
func (w *Webhook) Receive(_ context.Context, h http.Header, body []byte) (events.Batch, error) {
	if err := w.authenticate(h); err != nil {
		return events.Batch{}, err
	}
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return events.Batch{}, nil // somebody tries whether there is anybody
	}
	read := readForm
	if isJSON(h, body) {
		read = readJSON
	}
	told, err := read(body)
	if err != nil {
		return events.Batch{}, err
	}
	told.whole = events.Key("raw", string(told.raw))
	var batch events.Batch
	for _, recipient := range told.recipients() {
		batch.Events = append(batch.Events, told.event(recipient))
	}
	return batch, nil
}

func (w *Webhook) authenticate(h http.Header) error {
	username, password := w.config.WebhookUsername, w.config.WebhookPassword.Reveal()
	if w.config.WebhookUnverified && username == "" && password == "" {
		return nil
	}
	return events.BasicAuth(h, username, password)
}

// isJSON: a webhook sends forms unless its output_format is "json" (manual, "Set
// up a webhook"). No form begins with a brace, or is JSON.
func isJSON(h http.Header, body []byte) bool {
	return strings.Contains(strings.ToLower(h.Get("Content-Type")), "json") ||
		bytes.HasPrefix(body, []byte("{")) || bytes.HasPrefix(body, []byte("[")) || json.Valid(body)
}

// event is what the call says of one recipient. The API has no tags and no
// metadata.
func (c *call) event(recipient string) events.Event {
	e := events.Event{
		MessageID:         clip(c.first(bridgeHeader), maxWordLen),
		ProviderMessageID: clip(c.first("email-id"), maxWordLen),
		Recipient:         clip(recipient, maxWordLen),
		Timestamp:         c.time(),
		Tags:              []string{},
		Metadata:          map[string]string{},
		Raw:               c.raw,
	}
	e.Type, e.Bounce = c.meaning()
	e.Reason, e.Response = c.words(e.Type)
	if e.Type == events.Clicked {
		e.URL = clip(c.link(), maxURLLen)
	}
	e.Key = c.key(e, recipient)
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

// words are why, and what the recipient's server said. The context is the command
// that the server answered, or stands for the answer. Nobody was asked about a
// mail that SMTP2GO rejects.
func (c *call) words(kind events.Type) (reason, response string) {
	message, during := providers.Words(c.first("message")), providers.Words(c.first("context"))
	switch {
	case kind == events.Rejected:
		return cmp.Or(message, during), ""
	case message == "":
		return "", during
	}
	return during, message
}

func (c *call) link() string { return cmp.Or(c.first("url"), c.first("click-url"), c.first("link")) }

// key tells an event by what it is made of, for SMTP2GO gives it no id: the field
// "id" is that of the webhook. Where it lacks what tells it apart, all that is
// said does. Times are to the second, hence the reader of an open or a click.
func (c *call) key(e events.Event, recipient string) string {
	recipient = events.Address(recipient)
	mail := cmp.Or(c.first("email-id"), c.first("message-id"))
	if e.Type == events.Unknown || e.Timestamp.IsZero() || mail == "" || recipient == "" {
		return events.Key(c.whole, recipient)
	}
	return events.Key(
		string(e.Type), string(e.Bounce), mail, recipient, e.Timestamp.Format(time.RFC3339Nano),
		c.link(), c.first("user-agent"), c.first("srchost"),
	)
}

package smtp2go

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"smtpbridge/events"
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
	c := w.config
	if err := events.BasicAuth(h, c.WebhookUsername, c.WebhookPassword.Reveal(), c.WebhookUnverified); err != nil {
		return events.Batch{}, err //nolint:wrapcheck // it says what is wrong with the call
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
	return events.Batch{Events: told.events()}, nil
}

// isJSON: a webhook sends forms unless its output_format is "json" (manual, "Set
// up a webhook"). No form begins with a brace, or is JSON.
func isJSON(h http.Header, body []byte) bool {
	return strings.Contains(strings.ToLower(h.Get("Content-Type")), "json") ||
		bytes.HasPrefix(body, []byte("{")) || bytes.HasPrefix(body, []byte("[")) || json.Valid(body)
}

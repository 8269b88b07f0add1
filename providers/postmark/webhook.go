package postmark

import (
	"bytes"
	"context"
	"net/http"

	"smtpbridge/events"
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
	c := w.config
	if err := events.BasicAuth(h, c.WebhookUsername, c.WebhookPassword.Reveal(), c.WebhookUnverified); err != nil {
		return events.Batch{}, err //nolint:wrapcheck // it says what is wrong with the call
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return events.Batch{}, nil
	}
	raw, err := events.Compact(body)
	if err != nil {
		return events.Batch{}, err //nolint:wrapcheck // it says what is wrong with the call
	}
	return events.Batch{Events: []events.Event{readEvent(raw)}}, nil
}

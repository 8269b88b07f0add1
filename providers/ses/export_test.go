package ses

import (
	"time"

	"smtpbridge/events"
)

// SetNow gives the signature another clock, before the adapter is used.
func (a *Adapter) SetNow(now func() time.Time) { a.now = now }

// SetNow gives the check of certificates and ages another clock, before the webhook is used.
func (w *Webhook) SetNow(now func() time.Time) { w.now = now }

// ReadMessage gives the events of a message as if SNS had signed it, which takes a
// fuzzer too long.
func ReadMessage(message string) []events.Event {
	return readMessage(&envelope{MessageID: "00000000-0000-4000-8000-000000000009", Message: message, sent: time.Unix(1767323045, 0).UTC()})
}

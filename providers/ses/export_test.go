package ses

import "time"

// SetNow gives the signature another clock, before the adapter is used.
func (a *Adapter) SetNow(now func() time.Time) { a.now = now }

// SetNow gives the check of certificates and ages another clock, before the webhook is used.
func (w *Webhook) SetNow(now func() time.Time) { w.now = now }

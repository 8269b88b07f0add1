package ses

import "time"

// SetNow gives the signature another clock, before the adapter is used.
func (a *Adapter) SetNow(now func() time.Time) { a.now = now }

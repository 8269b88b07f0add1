package store

import (
	"context"

	"smtpbridge/events"
	"smtpbridge/providers"
)

// learning takes in what an event says of one recipient.
type learning struct {
	d      *deliveries
	id     string
	result providers.Result
}

func (l *learning) keep() {}

// do changes what was ambiguous only. A message in flight stays so: its other
// recipients wait for their own answers.
func (l *learning) do(ctx context.Context, t *turn) error {
	m, err := l.d.current(ctx, t, l.id)
	if err != nil {
		return err
	}
	if m == nil {
		return &refusal{ErrNotFound}
	}
	changed, address := false, events.Address(l.result.Recipient)
	for i := range m.results {
		r := &m.results[i]
		// Another provider than the one that was asked cannot have the message.
		asked := r.Provider == "" || r.Provider == l.result.Provider
		if r.State == providers.Ambiguous && asked && events.Address(r.Recipient) == address {
			l.result.Recipient = r.Recipient
			r.Result, changed = l.result, true
		}
	}
	if !changed {
		return nil
	}
	if err := l.d.write(ctx, t, amendMessage, m); err != nil {
		return err
	}
	return (&landing{d: l.d, id: l.id}).tell(ctx, t, m)
}

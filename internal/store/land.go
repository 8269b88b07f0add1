package store

import (
	"context"
	"slices"

	"smtpbridge/providers"
)

// landing puts on record what became of a message.
type landing struct {
	d       *deliveries
	id      string
	outcome providers.Outcome
}

// keep detaches it from the caller, who was told that it has failed.
func (l *landing) keep() { l.outcome = slices.Clone(l.outcome) }

func (l *landing) do(ctx context.Context, t *turn) error {
	m, err := l.d.current(ctx, t, l.id)
	if err != nil {
		return err
	}
	if m == nil {
		return &refusal{ErrNotFound}
	}
	if err := learn(m.results, l.outcome); err != nil {
		return &refusal{err}
	}
	m.landed = true
	if err := l.d.write(ctx, t, landMessage, m); err != nil {
		return err
	}
	t.then(l)
	return l.tell(ctx, t, m)
}

// committed: those who wait may look.
func (l *landing) committed() { l.d.waiting.wake(l.id) }

// tell passes on what is known of m to those that have taken its place.
func (l *landing) tell(ctx context.Context, t *turn, m *message) error {
	for m.continuedBy != 0 {
		next, err := readMessage(ctx, t, messageByNumber, m.continuedBy, 0)
		if err != nil || next == nil {
			return err
		}
		if !inherit(next.results, m.results) {
			return nil
		}
		delete(l.d.flights, next.id) // it is not what it was
		if err := l.d.write(ctx, t, amendMessage, next); err != nil {
			return err
		}
		m = next
	}
	return nil
}

// write puts the results of m on record.
func (d *deliveries) write(ctx context.Context, t *turn, s statement, m *message) error {
	m.ambiguous = anyAmbiguous(m.results)
	outcome := d.encode(m.results, m.size)
	m.size = len(outcome)
	if _, err := t.exec(ctx, s, flag(m.ambiguous), outcome, m.number); err != nil {
		return err
	}
	return d.file(ctx, t, m)
}

// telling puts on record whether replies were given.
type telling struct {
	d     *deliveries
	ids   []string
	reply reply
}

func (r *telling) keep() {}

// join takes in what is told of other messages.
func (r *telling) join(other request) bool {
	o, is := other.(*telling)
	if is = is && o.reply == r.reply && len(r.ids) < maxTurn; is {
		r.ids = append(r.ids, o.ids...)
	}
	return is
}

// do asks a server once for all.
func (r *telling) do(ctx context.Context, t *turn) error {
	if t.db.isServer() {
		_, err := t.exec(ctx, markReplies, int(r.reply), r.ids, r.d.since(r.d.now()))
		return err
	}
	for _, id := range r.ids {
		if err := r.mark(ctx, t, id); err != nil {
			return err
		}
	}
	return nil
}

func (r *telling) mark(ctx context.Context, t *turn, id string) error {
	m, err := r.d.current(ctx, t, id)
	if err != nil || m == nil {
		return err
	}
	m.reply = r.reply
	if _, err := t.exec(ctx, markReply, int(m.reply), m.number); err != nil {
		return err
	}
	return r.d.file(ctx, t, m)
}

// looking reads what is known of a message.
type looking struct {
	d  *deliveries
	id string

	found *message
}

func (l *looking) do(ctx context.Context, t *turn) (err error) {
	l.found, err = l.d.byID(ctx, t, l.id, l.d.now())
	if err == nil && l.found == nil {
		err = &refusal{ErrNotFound}
	}
	return err
}

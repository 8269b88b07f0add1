package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// beginning puts a flight on record, unless it repeats an earlier message.
type beginning struct {
	d      *deliveries
	flight delivery.Flight
	keys   []key

	earlier *delivery.Past
}

func newBeginning(d *deliveries, f delivery.Flight) (*beginning, error) {
	switch {
	case f.ID == "":
		return nil, errors.New("a flight without an ID")
	case f.Time.IsZero() || f.Deadline.IsZero():
		return nil, fmt.Errorf("flight %s has no time or no deadline", f.ID)
	}
	return &beginning{d: d, flight: f, keys: keysOf(f.Keys)}, nil
}

func (b *beginning) do(ctx context.Context, t *turn) error {
	b.earlier = nil
	now := b.d.now()
	continued, earlier, err := b.look(ctx, t, now)
	if err != nil {
		return err
	}
	if earlier != nil {
		b.earlier = earlier.past(now)
		b.earlier.Alike = b.isAlike(earlier)
		return nil
	}
	return b.record(ctx, t, continued)
}

// isAlike: whatever key has led to it, or one that it inherited, its own are ours.
func (b *beginning) isAlike(earlier *message) bool {
	own := identity(b.keys[:])
	return own == identity(earlier.keys[:]) && own != [kinds]string{}
}

// identity is what tells mails apart: the Message-ID, or the content of one
// without.
func identity(keys []key) [kinds]string {
	var digests [kinds]string
	for _, k := range keys {
		if k.kind != byIdempotency {
			digests[k.kind] = k.digest
		}
	}
	return digests
}

// look gives the message that the flight continues, or the earlier one that it
// repeats, or neither.
func (b *beginning) look(ctx context.Context, t *turn, now time.Time) (continued, earlier *message, err error) {
	if b.flight.Continues != "" {
		if continued, err = b.d.byID(ctx, t, b.flight.Continues, now); err != nil {
			return nil, nil, err
		}
	}
	if continued != nil {
		head, err := b.d.head(ctx, t, continued, now)
		if err != nil || head != continued {
			return nil, head, err
		}
	}
	for _, k := range b.keys {
		// The twins of a message that is continued, in flight or ambiguous as it was,
		// are for others to continue. But an idempotency key has one message.
		if continued != nil && k.kind != byIdempotency {
			continue
		}
		candidates, err := b.d.byKey(ctx, t, k, now)
		if err != nil {
			return nil, nil, err
		}
		for _, m := range candidates {
			if m.repeats(k.kind, now) && (continued == nil || m.number != continued.number) {
				return nil, m, nil
			}
		}
	}
	return continued, nil, nil
}

// record inserts the flight, in the place of the one that it continues.
func (b *beginning) record(ctx context.Context, t *turn, continued *message) error {
	m := &message{
		id:       b.flight.ID,
		instance: b.d.instance,
		received: b.flight.Time.UnixNano(),
		deadline: b.flight.Deadline.UnixNano(),
		keys:     b.keys,
	}
	if err := b.expect(m, continued); err != nil {
		return &refusal{err}
	}
	m.ambiguous = anyAmbiguous(m.results)
	outcome := b.d.encode(m.results, roomBytes+encodedBytes(m.results))
	m.size = len(outcome)
	args := []any{m.id, m.instance, m.received, m.deadline, flag(m.ambiguous), nil, nil, nil, outcome}
	for _, k := range m.keys {
		args[5+k.kind] = []byte(k.digest)
	}
	var err error
	if m.number, err = t.insert(ctx, insertMessage, args...); err != nil {
		return err
	}
	if m.number == 0 {
		return &refusal{errors.New("it is on record already")}
	}
	for _, k := range m.keys {
		delete(b.d.absent, k)
	}
	if continued != nil {
		if err := b.d.replace(ctx, t, continued, m); err != nil {
			return err
		}
	}
	t.grew = true
	b.d.remember(m)
	return nil
}

// expect fills in what is known before anything is sent: what the pipeline says,
// and what the continued message knows to be accepted by now.
func (b *beginning) expect(m, continued *message) error {
	m.results = make([]result, len(b.flight.Recipients))
	for i, recipient := range b.flight.Recipients {
		m.results[i].Recipient = recipient
	}
	if err := learn(m.results, b.flight.Known); err != nil {
		return fmt.Errorf("what is known of it: %w", err)
	}
	if b.flight.Continues == "" {
		return nil
	}
	next := 0
	for _, known := range b.flight.Known {
		at := place(m.results, known.Recipient, next)
		m.results[at].inherited = true
		next = at + 1
	}
	if continued != nil {
		inherit(m.results, continued.results)
	}
	return nil
}

// inherit takes over what became known of a message that was continued: who was
// accepted there has it, and who was not sent to again is what he was there. It
// reports whether that was news.
func inherit(results, earlier []result) (news bool) {
	next := 0
	for _, e := range earlier {
		at := place(results, e.Recipient, next)
		if at < 0 {
			continue
		}
		next = at + 1
		r := &results[at]
		if r.State != providers.Ambiguous || e.State == providers.Ambiguous {
			continue
		}
		if e.State == providers.Accepted || r.inherited {
			r.Result, r.inherited, news = e.Result, true, true
		}
	}
	return news
}

// replace puts m in the place of a message that it continues: the keys of either
// lead to m.
func (d *deliveries) replace(ctx context.Context, t *turn, continued, m *message) error {
	delete(d.flights, continued.id)
	if _, err := t.exec(ctx, markContinued, m.number, continued.number); err != nil {
		return err
	}
	inherited, err := d.inheritedKeys(ctx, t, continued.number)
	if err != nil {
		return err
	}
	if len(inherited) > 0 {
		if _, err := t.exec(ctx, passOnKeys, m.number, continued.number); err != nil {
			return err
		}
	}
	for _, k := range continued.keys {
		if slices.Contains(m.keys, k) {
			continue
		}
		if _, err := t.exec(ctx, inheritKey, m.number, int(k.kind), []byte(k.digest)); err != nil {
			return err
		}
		inherited = append(inherited, k)
	}
	m.inherited = inherited
	t.then(effectFunc(func() { d.forget(continued.number, slices.Concat(continued.keys, inherited)) }))
	return nil
}

// withdrawing says of a flight, should it be on record, that nothing was sent: its
// caller was told that it is not.
type withdrawing struct {
	d  *deliveries
	id string
}

func (w *withdrawing) keep() {}

func (w *withdrawing) do(ctx context.Context, t *turn) error {
	m, err := w.d.byID(ctx, t, w.id, w.d.now())
	if err != nil || m == nil || m.landed {
		return err
	}
	for i := range m.results {
		if r := &m.results[i]; !r.inherited && r.State == providers.Ambiguous {
			r.State = providers.Refused
			r.Err = &providers.Error{Category: providers.LocalFailure, Message: "nothing was sent"}
		}
	}
	m.landed, m.reply = true, replyNotGiven
	if err := w.d.write(ctx, t, landMessage, m); err != nil {
		return err
	}
	_, err = t.exec(ctx, markReply, int(m.reply), m.number)
	return err
}

// flag is how a column says yes or no.
func flag(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

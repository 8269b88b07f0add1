package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

const (
	addEvent = `INSERT INTO events (id, received, provider, type, message_id, recipient, event)
		VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`
	// useNonce: two providers may share the key of one account, and who has seen a call
	// of one could bring it to the other. So a nonce is of no provider.
	useNonce = `INSERT INTO nonces (provider, nonce, received) VALUES ('', ?, ?) ON CONFLICT DO NOTHING`
	// The newest, should a provider have used an id again. That the id is not empty
	// must be said for the index.
	messageByProviderID = `SELECT message_id FROM message_recipients
		WHERE provider_id = ? AND provider_id <> '' AND provider = ? ORDER BY message_id DESC LIMIT 1`
	messageOfRecipient = `SELECT message_id FROM message_recipients
		WHERE provider_id = ? AND provider_id <> '' AND provider = ? AND address = ? ORDER BY message_id DESC LIMIT 1`
	eventBefore = `SELECT 1 FROM events
		WHERE message_id = ? AND message_id <> '' AND recipient = ? AND type = ? AND sequence < ? LIMIT 1`
)

// Add stores the events of a call by a provider, with what they do by the rules,
// all or nothing, and gives those that are new. A nonce that was used at any
// provider stores nothing.
func (h *History) Add(ctx context.Context, _ string, b events.Batch, rules events.Rules) ([]events.Added, error) {
	var added []events.Added
	err := h.do(ctx, func(ctx context.Context, w *work) error {
		added = nil
		if b.Nonce != "" {
			fresh, err := w.exec(ctx, useNonce, b.Nonce, h.now().UnixNano())
			if err != nil || fresh == 0 {
				return err
			}
		}
		for _, e := range b.Events {
			stored, err := h.correlate(ctx, w, e, rules)
			if err != nil {
				return err
			}
			if stored != nil {
				added = append(added, *stored)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("storing events: %w", err)
	}
	return added, nil
}

// correlate finds the message of a provider's event before it is stored.
func (h *History) correlate(ctx context.Context, w *work, e events.Event, rules events.Rules) (*events.Added, error) {
	if err := w.findMessage(ctx, &e); err != nil {
		return nil, err
	}
	if e.MessageID == "" {
		return h.add(ctx, w, e, rules, nil)
	}
	r, found, err := w.record(ctx, e.MessageID)
	if err != nil {
		return nil, err
	}
	if !found {
		return h.add(ctx, w, e, rules, nil)
	}
	if err := w.settle(ctx, &r, e); err != nil {
		return nil, err
	}
	return h.add(ctx, w, e, rules, &r)
}

// findMessage finds the message of an event that does not name it, by the id that
// the provider gave it: that to the recipient, else any.
func (w *work) findMessage(ctx context.Context, e *events.Event) error {
	if e.MessageID != "" || e.ProviderMessageID == "" {
		return nil
	}
	found, err := w.row(ctx, messageOfRecipient, []any{e.ProviderMessageID, e.Provider, e.Recipient}, &e.MessageID)
	if err != nil || found {
		return err
	}
	_, err = w.row(ctx, messageByProviderID, []any{e.ProviderMessageID, e.Provider}, &e.MessageID)
	return err
}

// settle puts right what the log says of a recipient: the provider that tells of
// a message has it.
func (w *work) settle(ctx context.Context, r *delivery.Record, e events.Event) error {
	changed := false
	for i := range r.Recipients {
		to := &r.Recipients[i]
		asked := to.Provider == "" || to.Provider == e.Provider
		if to.State == providers.Ambiguous && asked && events.Address(to.Recipient) == e.Recipient {
			*to = delivery.Recipient{
				Recipient: to.Recipient, State: providers.Accepted, Provider: e.Provider, ProviderID: e.ProviderMessageID,
			}
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return w.putRecord(ctx, r)
}

// add stores one event and does what comes of it; nil where it is known. What
// the message was given by the application (its record, nil where there is
// none) comes back whole, whatever the provider could carry of it.
func (h *History) add(ctx context.Context, w *work, e events.Event, rules events.Rules, r *delivery.Record) (*events.Added, error) {
	stored := events.Added{Event: e}
	if r != nil {
		stored.Mailed = r.Time
		if len(r.Tags) > 0 {
			stored.Tags = r.Tags
		}
		if len(r.Metadata) > 0 {
			stored.Metadata = r.Metadata
		}
	}
	known, err := w.put(ctx, &stored.Event, h.now())
	if err != nil || known {
		return nil, err
	}
	if err := w.count(ctx, &stored.Event); err != nil {
		return nil, err
	}
	if stored.Recipient == "" {
		return &stored, nil
	}
	return &stored, h.act(ctx, w, stored.Event, rules)
}

// put writes an event and gives it its place in the sequence.
func (w *work) put(ctx context.Context, e *events.Event, now time.Time) (known bool, err error) {
	if e.Tags == nil {
		e.Tags = []string{}
	}
	if e.Metadata == nil {
		e.Metadata = map[string]string{}
	}
	if year := e.Timestamp.Year(); year < minYear || year > maxYear {
		e.Timestamp = now.UTC()
	}
	if len(e.Raw) > 0 && !json.Valid(e.Raw) {
		if e.Raw, err = json.Marshal(string(e.Raw)); err != nil {
			return false, fmt.Errorf("encoding what was told: %w", err)
		}
	}
	text, err := json.Marshal(e)
	if err != nil {
		return false, fmt.Errorf("encoding an event: %w", err)
	}
	sequence, added, err := w.insert(ctx, addEvent,
		e.ID, now.UnixNano(), e.Provider, string(e.Type), e.MessageID, e.Recipient, string(text))
	if err != nil || !added {
		return true, err
	}
	e.Sequence = sequence
	w.sequences = append(w.sequences, sequence)
	return false, nil
}

// What lies beyond these years is no time of an event; neither JSON nor a column
// could hold it.
const minYear, maxYear = 1971, 2200

// EventQuery asks for events. Empty fields ask for nothing; all others must hold.
type EventQuery struct {
	Type, Provider, Recipient, MessageID string
	// After asks for what came after a sequence, the oldest first; 0 is the
	// beginning, negative is the newest first.
	After int64
	// Limit is the most events of a page; it must be positive.
	Limit int
	// Cursor is the Next of the page before; empty for the first.
	Cursor string
}

// EventPage is a part of a list of events.
type EventPage struct {
	Events []events.Event
	// Next is the cursor of the next page, empty on the last.
	Next string
}

// Events gives the events that q asks for, or [ErrCursor].
func (h *History) Events(ctx context.Context, q EventQuery) (EventPage, error) {
	h.flush(ctx)
	query, args, err := q.text()
	if err != nil {
		return EventPage{}, err
	}
	found, err := h.events(ctx, query, args)
	if err != nil {
		return EventPage{}, err
	}
	page := EventPage{Events: found}
	if len(found) > q.Limit {
		page.Events = found[:q.Limit]
		page.Next = strconv.FormatInt(page.Events[q.Limit-1].Sequence, 10)
	}
	return page, nil
}

const eventsWhole = `SELECT sequence, event FROM events`

// text is the query in SQL, for one event more than a page has.
func (q *EventQuery) text() (text string, args []any, err error) {
	var c conditions
	c.equal("message_id", q.MessageID)
	if q.MessageID != "" {
		c.add("message_id <> ''") // for the index
	}
	c.equal("recipient", events.Address(q.Recipient))
	c.equal("type", q.Type)
	c.equal("provider", q.Provider)
	beyond, order := "sequence < ?", " ORDER BY sequence DESC"
	if q.After >= 0 {
		beyond, order = "sequence > ?", " ORDER BY sequence"
		c.add(beyond, q.After)
	}
	if q.Cursor != "" {
		at, err := strconv.ParseInt(q.Cursor, 10, 64)
		if err != nil {
			return "", nil, ErrCursor
		}
		c.add(beyond, at)
	}
	return eventsWhole + c.where() + order + ` LIMIT ?`, append(c.args, q.Limit+1), nil
}

// events reads what a query gives.
func (h *History) events(ctx context.Context, query string, args []any) (found []events.Event, err error) {
	rows, err := h.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, h.readError(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	found = []events.Event{}
	for rows.Next() {
		var (
			sequence int64
			text     string
			e        events.Event
		)
		if err := rows.Scan(&sequence, &text); err != nil {
			return nil, h.readError(err)
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			return nil, fmt.Errorf("reading event %d: %w", sequence, err)
		}
		e.Sequence = sequence
		found = append(found, e)
	}
	return found, h.readError(rows.Err())
}

// Event gives one event by its place in the sequence; false where it is not, or
// no longer, there.
func (h *History) Event(ctx context.Context, sequence int64) (e events.Event, found bool, err error) {
	all, err := h.events(ctx, eventsWhole+` WHERE sequence = ?`, []any{sequence})
	if err != nil || len(all) == 0 {
		return e, false, err
	}
	return all[0], true, nil
}

// maxReplayed is how many events one transaction queues again.
const maxReplayed = 1000

// Replay has the events that were received from a time on and before another
// passed on again, oldest first, and gives their number.
func (h *History) Replay(ctx context.Context, from, to time.Time) (replayed int, err error) {
	h.flush(ctx)
	first, err := h.firstSince(ctx, from)
	if err != nil {
		return 0, err
	}
	end, err := h.firstSince(ctx, to)
	if err != nil {
		return 0, err
	}
	for first < end && ctx.Err() == nil {
		var batch []int64
		err := h.do(ctx, func(ctx context.Context, w *work) (err error) {
			batch, err = w.numbers(ctx, eventsBetween, first, end, maxReplayed)
			w.sequences = append(w.sequences, batch...)
			return err
		})
		if err != nil {
			return replayed, fmt.Errorf("replaying events: %w", err)
		}
		replayed += len(batch)
		if len(batch) < maxReplayed {
			break
		}
		first = batch[len(batch)-1] + 1
	}
	return replayed, ctx.Err()
}

const (
	eventBounds   = `SELECT COALESCE((SELECT MIN(sequence) FROM events), 0), COALESCE((SELECT MAX(sequence) FROM events), 0) + 1`
	eventFrom     = `SELECT received FROM events WHERE sequence >= ? ORDER BY sequence LIMIT 1`
	eventsBetween = `SELECT sequence FROM events WHERE sequence >= ? AND sequence < ? ORDER BY sequence LIMIT ?`
)

// firstSince is the place in the sequence from which on events were received at
// a time or later: both rise together, so it is found by halving.
func (h *History) firstSince(ctx context.Context, t time.Time) (int64, error) {
	var low, high int64
	if err := h.read.QueryRowContext(ctx, eventBounds).Scan(&low, &high); err != nil {
		return 0, h.readError(err)
	}
	for low < high {
		middle := low + (high-low)/2
		var received int64
		err := h.readError(h.read.QueryRowContext(ctx, eventFrom, middle).Scan(&received))
		switch {
		case err != nil && !errors.Is(err, ErrNotFound):
			return 0, err
		case err == nil && received < t.UnixNano():
			low = middle + 1
		default: // those that were there may have been let go of meanwhile
			high = middle
		}
	}
	return low, nil
}

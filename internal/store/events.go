package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"smtpbridge/events"
)

const addEvents = `INSERT INTO events (id, received, provider, type, message_id, recipient, event)
	VALUES {?, ?, ?, ?, ?, ?, ?} ON CONFLICT (id) DO NOTHING RETURNING sequence, id`

// putEvents writes events, gives each its place in the sequence, and returns those
// that were not known.
func (w *work) putEvents(ctx context.Context, all []*events.Event, now time.Time) (fresh []*events.Event, err error) {
	for some := range slices.Chunk(all, manyRows) {
		added, err := w.putSome(ctx, some, now)
		if err != nil {
			return nil, err
		}
		for _, e := range some {
			sequence, isFresh := added[e.ID]
			if !isFresh {
				continue
			}
			delete(added, e.ID) // the same again is known
			e.Sequence = sequence
			w.sequences = append(w.sequences, sequence)
			fresh = append(fresh, e)
		}
	}
	return fresh, nil
}

// putSome gives the sequence of those that were not known.
func (w *work) putSome(ctx context.Context, some []*events.Event, now time.Time) (added map[string]int64, err error) {
	rows := make([][]any, len(some))
	for i, e := range some {
		text, err := encode(e, now)
		if err != nil {
			return nil, err
		}
		rows[i] = []any{e.ID, now.UnixNano(), e.Provider, string(e.Type), e.MessageID, e.Recipient, text}
	}
	added = make(map[string]int64, len(some))
	return added, w.askRows(ctx, addEvents, rows, func(rows *sql.Rows) error {
		var (
			sequence int64
			id       string
		)
		if err := rows.Scan(&sequence, &id); err != nil {
			return err
		}
		added[id] = sequence
		return nil
	})
}

// encode puts right what cannot be kept, and gives the event as it is kept.
func encode(e *events.Event, now time.Time) (text string, err error) {
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
			return "", fmt.Errorf("encoding what was told: %w", err)
		}
	}
	kept, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("encoding an event: %w", err)
	}
	return string(kept), nil
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

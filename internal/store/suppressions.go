package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"smtpbridge/events"
)

const (
	addSuppression = `INSERT INTO suppressions (address, scope, reason, provider, detail, since) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING RETURNING change`
	liftUnsubscribe = `DELETE FROM suppressions WHERE address = ? AND scope = ? AND reason = ? AND since <= ? RETURNING change`
	liftAll         = `DELETE FROM suppressions WHERE address = ? AND (? OR scope = ?)`
	noteRemoval     = `INSERT INTO removals (address, scope, removed) VALUES (?, ?, ?)
		ON CONFLICT (address, scope) DO UPDATE SET removed = MAX(removed, excluded.removed)`
	removalsOf        = `SELECT scope, removed FROM removals WHERE address = ?`
	suppressionsOf    = `SELECT address, scope, reason, provider, detail, since FROM suppressions`
	countSuppressions = `SELECT reason, COUNT(*) FROM suppressions GROUP BY reason`

	getStanding = `SELECT soft_bounces, accepted, delivered, bounced, opened, clicked FROM recipients WHERE address = ?`
	putStanding = `INSERT INTO recipients (address, soft_bounces, accepted, delivered, bounced, opened, clicked, touched)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (address) DO UPDATE SET soft_bounces = excluded.soft_bounces, accepted = excluded.accepted,
			delivered = excluded.delivered, bounced = excluded.bounced, opened = excluded.opened,
			clicked = excluded.clicked, touched = excluded.touched`
	forgetBounces = `UPDATE recipients SET soft_bounces = 0 WHERE address = ?`
)

// act does to a recipient what the rules say of an event.
func (h *History) act(ctx context.Context, w *work, e events.Event, rules events.Rules) error {
	s, err := w.standing(ctx, e.Recipient)
	if err != nil {
		return err
	}
	if e.Suppresses() {
		if s.Removed, err = w.removals(ctx, e.Recipient); err != nil {
			return err
		}
	}
	effect := rules.Apply(s, e)
	if err := w.putStanding(ctx, e.Recipient, effect.Standing, h.now()); err != nil {
		return err
	}
	if effect.Suppress != nil {
		if _, err := h.suppress(ctx, w, *effect.Suppress, e.MessageID); err != nil {
			return err
		}
	}
	if !effect.Lift {
		return nil
	}
	if _, err := w.exec(ctx, noteRemoval, e.Recipient, e.Scope, e.Timestamp.UnixNano()); err != nil {
		return err
	}
	var change int64
	args := []any{e.Recipient, e.Scope, string(events.Unsubscribe), e.Timestamp.UnixNano()}
	lifted, err := w.row(ctx, liftUnsubscribe, args, &change)
	if err != nil || !lifted {
		return err
	}
	return h.announce(ctx, w, events.SuppressionRemoved, events.Suppression{
		Address: e.Recipient, Scope: e.Scope, Reason: events.Unsubscribe, Provider: e.Provider, Since: e.Timestamp,
	}, e.MessageID)
}

func (w *work) standing(ctx context.Context, address string) (s events.Standing, err error) {
	var accepted, delivered, bounced, opened, clicked int64
	_, err = w.row(ctx, getStanding, []any{address}, &s.SoftBounces, &accepted, &delivered, &bounced, &opened, &clicked)
	if err != nil {
		return s, err
	}
	s.LastAccepted, s.LastDelivered, s.LastBounced = moment(accepted), moment(delivered), moment(bounced)
	s.LastOpened, s.LastClicked = moment(opened), moment(clicked)
	return s, nil
}

func (w *work) removals(ctx context.Context, address string) (removed map[string]time.Time, err error) {
	statement, err := w.statement(ctx, removalsOf)
	if err != nil {
		return nil, err
	}
	rows, err := statement.QueryContext(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("reading what was removed: %w", err)
	}
	defer rows.Close()
	removed = make(map[string]time.Time)
	for rows.Next() {
		var (
			scope string
			at    int64
		)
		if err := rows.Scan(&scope, &at); err != nil {
			return nil, fmt.Errorf("reading what was removed: %w", err)
		}
		removed[scope] = moment(at)
	}
	return removed, rows.Err()
}

func (w *work) putStanding(ctx context.Context, address string, s events.Standing, now time.Time) error {
	_, err := w.exec(ctx, putStanding, address, s.SoftBounces, stamp(s.LastAccepted), stamp(s.LastDelivered),
		stamp(s.LastBounced), stamp(s.LastOpened), stamp(s.LastClicked), now.UnixNano())
	return err
}

// stamp is a time in a column, 0 for the zero time.
func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(stamp int64) time.Time {
	if stamp == 0 {
		return time.Time{}
	}
	return time.Unix(0, stamp).UTC()
}

// suppress adds a suppression, unless it is there, and tells of it.
func (h *History) suppress(ctx context.Context, w *work, s events.Suppression, messageID string) (added bool, err error) {
	var change int64
	args := []any{s.Address, s.Scope, string(s.Reason), s.Provider, s.Detail, s.Since.UnixNano()}
	added, err = w.row(ctx, addSuppression, args, &change)
	if err != nil || !added {
		return false, err
	}
	w.then(func() { h.held.add([]string{s.Address}, 0) })
	return true, h.announce(ctx, w, events.SuppressionAdded, s, messageID)
}

// announce stores the event of a suppression that was added or removed.
func (h *History) announce(ctx context.Context, w *work, t events.Type, s events.Suppression, messageID string) error {
	now := h.now()
	e := events.Event{
		ID:       events.ID("", events.Key(string(t), s.Address, s.Scope, string(s.Reason), now.Format(time.RFC3339Nano))),
		Provider: s.Provider, Type: t, MessageID: messageID, Recipient: s.Address, Timestamp: now.UTC(),
		Reason: string(s.Reason), Response: s.Detail, Scope: s.Scope,
	}
	_, err := w.put(ctx, &e, now)
	return err
}

// SuppressionQuery asks for suppressions. Empty fields ask for nothing; all
// others must hold.
type SuppressionQuery struct {
	Address, Reason, Provider string
	// Limit is the most of a page; it must be positive.
	Limit int
	// Cursor is the Next of the page before; empty for the first.
	Cursor string
}

// SuppressionPage is a part of the list, by address.
type SuppressionPage struct {
	Suppressions []events.Suppression
	// Next is the cursor of the next page, empty on the last.
	Next string
}

// Suppressions gives those that q asks for, or [ErrCursor].
func (h *History) Suppressions(ctx context.Context, q SuppressionQuery) (SuppressionPage, error) {
	var c conditions
	c.equal("address", events.Address(q.Address))
	c.equal("reason", q.Reason)
	c.equal("provider", q.Provider)
	if q.Cursor != "" {
		at := strings.Split(q.Cursor, cursorSeparator)
		if len(at) != 3 {
			return SuppressionPage{}, ErrCursor
		}
		c.add("(address, scope, reason) > (?, ?, ?)", at[0], at[1], at[2])
	}
	found, err := h.suppressions(ctx, c.where()+` ORDER BY address, scope, reason LIMIT ?`, append(c.args, q.Limit+1))
	if err != nil {
		return SuppressionPage{}, err
	}
	page := SuppressionPage{Suppressions: found}
	if len(found) > q.Limit {
		page.Suppressions = found[:q.Limit]
		last := found[q.Limit-1]
		page.Next = strings.Join([]string{last.Address, last.Scope, string(last.Reason)}, cursorSeparator)
	}
	return page, nil
}

// cursorSeparator is in no address, scope or reason: texts have no control characters.
const cursorSeparator = "\t"

func (h *History) suppressions(ctx context.Context, rest string, args []any) (found []events.Suppression, err error) {
	rows, err := h.read.QueryContext(ctx, suppressionsOf+rest, args...)
	if err != nil {
		return nil, h.readError(err)
	}
	defer rows.Close()
	found = []events.Suppression{}
	for rows.Next() {
		var (
			s     events.Suppression
			since int64
		)
		if err := rows.Scan(&s.Address, &s.Scope, &s.Reason, &s.Provider, &s.Detail, &since); err != nil {
			return nil, h.readError(err)
		}
		s.Since = moment(since)
		found = append(found, s)
	}
	return found, h.readError(rows.Err())
}

// maxImported is how many suppressions share a transaction.
const maxImported = 1000

// Suppress adds suppressions by the operator's hand, and gives the number of
// those that were not there. They stay, whatever was removed before.
func (h *History) Suppress(ctx context.Context, all ...events.Suppression) (added int, err error) {
	return h.insert(ctx, all, func(*work, events.Suppression) (bool, error) { return true, nil })
}

// Pull takes over suppressions of a provider's own list, and gives the number of
// those that were not there. What was removed here since the provider's date
// stays removed.
func (h *History) Pull(ctx context.Context, all ...events.Suppression) (added int, err error) {
	return h.insert(ctx, all, func(w *work, s events.Suppression) (bool, error) {
		removed, err := w.removals(ctx, s.Address)
		if err != nil {
			return false, err
		}
		at, ok := removed[s.Scope]
		return !ok || s.Since.After(at), nil
	})
}

func (h *History) insert(ctx context.Context, all []events.Suppression, may func(*work, events.Suppression) (bool, error)) (added int, err error) {
	for len(all) > 0 {
		some := all[:min(len(all), maxImported)]
		all = all[len(some):]
		n := 0
		err := h.do(ctx, func(ctx context.Context, w *work) error {
			n = 0
			for _, s := range some {
				s.Address = events.Address(s.Address)
				if s.Since.IsZero() {
					s.Since = h.now()
				}
				if ok, err := may(w, s); err != nil || !ok {
					if err != nil {
						return err
					}
					continue
				}
				fresh, err := h.suppress(ctx, w, s, "")
				if err != nil {
					return err
				}
				if fresh {
					n++
				}
			}
			return nil
		})
		added += n
		if err != nil {
			return added, fmt.Errorf("adding suppressions: %w", err)
		}
	}
	return added, nil
}

// Lift removes the suppressions of an address by the operator's hand: those of a
// scope, all where it is nil. Its soft bounces count from nothing again.
// [ErrNotFound] says that there was none.
func (h *History) Lift(ctx context.Context, address string, of *string) error {
	address = events.Address(address)
	all, scope := of == nil, ""
	if !all {
		scope = *of
	}
	err := h.do(ctx, func(ctx context.Context, w *work) error {
		gone, err := h.suppressedFor(ctx, w, address, scope, all)
		if err != nil {
			return err
		}
		if len(gone) == 0 {
			return ErrNotFound
		}
		if _, err := w.exec(ctx, liftAll, address, all, scope); err != nil {
			return err
		}
		if _, err := w.exec(ctx, forgetBounces, address); err != nil {
			return err
		}
		for _, s := range gone {
			if _, err := w.exec(ctx, noteRemoval, address, s.Scope, h.now().UnixNano()); err != nil {
				return err
			}
			s.Provider = ""
			if err := h.announce(ctx, w, events.SuppressionRemoved, s, ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("removing suppressions: %w", err)
	}
	return err
}

// suppressedFor gives what Lift removes.
func (h *History) suppressedFor(ctx context.Context, w *work, address, scope string, all bool) (gone []events.Suppression, err error) {
	statement, err := w.statement(ctx, suppressionsOf+` WHERE address = ? AND (? OR scope = ?)`)
	if err != nil {
		return nil, err
	}
	rows, err := statement.QueryContext(ctx, address, all, scope)
	if err != nil {
		return nil, fmt.Errorf("reading what is suppressed: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var (
			s     events.Suppression
			since int64
		)
		if err := rows.Scan(&s.Address, &s.Scope, &s.Reason, &s.Provider, &s.Detail, &since); err != nil {
			return nil, fmt.Errorf("reading what is suppressed: %w", err)
		}
		s.Since = moment(since)
		gone = append(gone, s)
	}
	return gone, rows.Err()
}

// SuppressionCounts are how many there are, by reason.
func (h *History) SuppressionCounts(ctx context.Context) (counts map[events.Reason]int64, err error) {
	rows, err := h.read.QueryContext(ctx, countSuppressions)
	if err != nil {
		return nil, h.readError(err)
	}
	defer rows.Close()
	counts = make(map[events.Reason]int64)
	for rows.Next() {
		var (
			reason events.Reason
			n      int64
		)
		if err := rows.Scan(&reason, &n); err != nil {
			return nil, h.readError(err)
		}
		counts[reason] = n
	}
	return counts, h.readError(rows.Err())
}

// Recipient is what became of an address: the shape of /api/v1/recipients.
type Recipient struct {
	Address      string               `json:"email"`
	Status       events.Status        `json:"status"`
	SoftBounces  int                  `json:"soft_bounces"`
	Accepted     *time.Time           `json:"last_accepted"`
	Delivered    *time.Time           `json:"last_delivered"`
	Bounced      *time.Time           `json:"last_bounced"`
	Opened       *time.Time           `json:"last_opened"`
	Clicked      *time.Time           `json:"last_clicked"`
	Suppressions []events.Suppression `json:"suppressions"`
}

// Recipient gives what is known of an address, or [ErrNotFound].
func (h *History) Recipient(ctx context.Context, address string) (Recipient, error) {
	h.flush(ctx)
	r := Recipient{Address: events.Address(address)}
	var err error
	if r.Suppressions, err = h.suppressions(ctx, ` WHERE address = ? ORDER BY scope, reason`, []any{r.Address}); err != nil {
		return r, err
	}
	r.Status = events.StatusOf(r.Suppressions)
	var accepted, delivered, bounced, opened, clicked int64
	err = h.read.QueryRowContext(ctx, getStanding, r.Address).
		Scan(&r.SoftBounces, &accepted, &delivered, &bounced, &opened, &clicked)
	if err := h.readError(err); err != nil && (!errors.Is(err, ErrNotFound) || len(r.Suppressions) == 0) {
		return r, err
	}
	r.Accepted, r.Delivered, r.Bounced = momentOrNil(accepted), momentOrNil(delivered), momentOrNil(bounced)
	r.Opened, r.Clicked = momentOrNil(opened), momentOrNil(clicked)
	return r, nil
}

func momentOrNil(stamp int64) *time.Time {
	if stamp == 0 {
		return nil
	}
	t := moment(stamp)
	return &t
}

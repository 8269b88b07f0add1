package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"smtpbridge/events"
)

const (
	addSuppression = `INSERT INTO suppressions (address, scope, reason, provider, detail, since) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`
	// renewSuppression: the latest word counts, so that what came before it undoes nothing.
	renewSuppression = `UPDATE suppressions SET provider = ?4, detail = CASE ?5 WHEN '' THEN detail ELSE ?5 END, since = ?6
		WHERE address = ?1 AND scope = ?2 AND reason = ?3 AND since < ?6`
	liftUnsubscribe = `DELETE FROM suppressions WHERE address = ? AND scope = ? AND reason = ? AND since <= ? RETURNING change`
	liftAll         = `DELETE FROM suppressions WHERE address = ? AND (? OR scope = ?)`
	noteRemoval     = `INSERT INTO removals (address, scope, reason, removed) VALUES (?, ?, ?, ?)
		ON CONFLICT (address, scope, reason) DO UPDATE SET removed =
			CASE WHEN excluded.removed > removals.removed THEN excluded.removed ELSE removals.removed END`
	removalsOf     = `SELECT scope, MAX(removed) FROM removals WHERE address = ? AND reason IN ('', ?) GROUP BY scope`
	suppressionsOf = `SELECT address, scope, reason, provider, detail, since FROM suppressions`
	suppressionsIn = `SELECT change, address, scope, reason, provider, detail, since FROM suppressions WHERE address = ? AND (? OR scope = ?)`

	// lastAccepted is found among the events: to write it down for each mail would cost
	// the SMTP path a place of its own in the file.
	lastAccepted = `SELECT event FROM events WHERE recipient = ? AND type || '' = 'accepted' ORDER BY sequence DESC LIMIT 1`
)

// act does to a recipient, whose standing is loaded, what the rules say of an event.
func (h *History) act(ctx context.Context, w *work, e events.Event, rules events.Rules) error {
	known := w.standings[w.kept(e.Recipient)]
	s := known.Standing
	if e.Suppresses() {
		var err error
		if s.Removed, err = w.removals(ctx, e.Recipient, undoneWith(e)); err != nil {
			return err
		}
	}
	effect := rules.Apply(s, e)
	known.Standing, known.Removed = effect.Standing, nil
	if effect.Suppress != nil {
		if _, err := h.suppress(ctx, w, *effect.Suppress, e.MessageID); err != nil {
			return err
		}
	}
	if !effect.Lift {
		return nil
	}
	return h.resubscribe(ctx, w, e)
}

// undoneWith is the reason with which alone the suppression of an event may have
// been taken away; empty where the operator alone does that.
func undoneWith(e events.Event) events.Reason {
	if e.Type == events.Unsubscribed {
		return events.Unsubscribe
	}
	return ""
}

// resubscribe lifts the unsubscription that came before an event. What else
// suppresses the address stays, and what is told of that later counts.
func (h *History) resubscribe(ctx context.Context, w *work, e events.Event) error {
	if _, err := w.exec(ctx, noteRemoval, e.Recipient, e.Scope, string(events.Unsubscribe), e.Timestamp.UnixNano()); err != nil {
		return err
	}
	var change int64
	args := []any{e.Recipient, e.Scope, string(events.Unsubscribe), e.Timestamp.UnixNano()}
	lifted, err := w.row(ctx, liftUnsubscribe, args, &change)
	if err != nil || !lifted {
		return err
	}
	s := events.Suppression{Address: e.Recipient, Scope: e.Scope, Reason: events.Unsubscribe, Provider: e.Provider, Since: e.Timestamp}
	return h.announce(ctx, w, events.SuppressionRemoved, suppression{s, change, e.MessageID})
}

// removals gives when suppressions for a reason were last taken away, by scope.
func (w *work) removals(ctx context.Context, address string, of events.Reason) (map[string]time.Time, error) {
	removed := make(map[string]time.Time)
	return removed, w.ask(ctx, statementFor{removalsOf, 1}, []any{address, string(of)}, func(rows *sql.Rows) error {
		var (
			scope string
			at    int64
		)
		if err := rows.Scan(&scope, &at); err != nil {
			return err
		}
		removed[scope] = moment(at)
		return nil
	})
}

// suppress adds a suppression and tells of it; one that is there has the latest
// date then.
func (h *History) suppress(ctx context.Context, w *work, s events.Suppression, messageID string) (added bool, err error) {
	args := []any{s.Address, s.Scope, string(s.Reason), s.Provider, s.Detail, s.Since.UnixNano()}
	change, added, err := w.insert(ctx, addSuppression, args...)
	if err != nil {
		return false, err
	}
	if !added {
		_, err := w.exec(ctx, renewSuppression, args...)
		return false, err
	}
	w.suppressed = append(w.suppressed, s.Address)
	return true, h.announce(ctx, w, events.SuppressionAdded, suppression{s, change, messageID})
}

// announce stores the event of a suppression that was added or removed. The change
// tells it from those of the same address at the same time.
func (h *History) announce(ctx context.Context, w *work, t events.Type, s suppression) error {
	now := h.now()
	key := events.Key(string(t), s.Address, s.Scope, string(s.Reason), now.Format(time.RFC3339Nano), strconv.FormatInt(s.change, 10))
	e := events.Event{
		ID: events.ID("", key), Provider: s.Provider, Type: t, MessageID: s.messageID, Recipient: s.Address, Timestamp: now.UTC(),
		Reason: string(s.Reason), Response: s.Detail, Scope: s.Scope,
	}
	_, err := w.putEvents(ctx, []*events.Event{&e}, now)
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
		var at [3]string
		text, err := base64.RawURLEncoding.DecodeString(q.Cursor)
		if err != nil || json.Unmarshal(text, &at) != nil {
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
		page.Next = cursorAfter(found[q.Limit-1])
	}
	return page, nil
}

// cursorAfter holds any text: a provider may write whatever it likes.
func cursorAfter(s events.Suppression) string {
	text, _ := json.Marshal([3]string{s.Address, s.Scope, string(s.Reason)}) // strings always can
	return base64.RawURLEncoding.EncodeToString(text)
}

func (h *History) suppressions(ctx context.Context, rest string, args []any) ([]events.Suppression, error) {
	found := []events.Suppression{}
	err := h.ask(ctx, suppressionsOf+rest, args, func(rows *sql.Rows) error {
		var (
			s     events.Suppression
			since int64
		)
		if err := rows.Scan(&s.Address, &s.Scope, &s.Reason, &s.Provider, &s.Detail, &since); err != nil {
			return err
		}
		s.Since = moment(since)
		found = append(found, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// maxImported is how many suppressions share a transaction.
const maxImported = 1000

// Suppress adds suppressions by the operator's hand, and gives the number of
// those that were not there. They stay, whatever was removed before.
func (h *History) Suppress(ctx context.Context, all ...events.Suppression) (added int, err error) {
	return h.insert(ctx, all, func(context.Context, *work, events.Suppression) (bool, error) { return true, nil })
}

// Pull takes over suppressions of a provider's own list, and gives the number of
// those that were not there. What was removed here since the provider's date
// stays removed; where the provider gives none, for good.
func (h *History) Pull(ctx context.Context, all ...events.Suppression) (added int, err error) {
	return h.insert(ctx, all, func(ctx context.Context, w *work, s events.Suppression) (bool, error) {
		removed, err := w.removals(ctx, s.Address, s.Reason)
		if err != nil {
			return false, err
		}
		at, ok := removed[s.Scope]
		return !ok || s.Since.After(at), nil
	})
}

// mayAdd reports whether a suppression may be added.
type mayAdd func(ctx context.Context, w *work, s events.Suppression) (bool, error)

func (h *History) insert(ctx context.Context, all []events.Suppression, may mayAdd) (added int, err error) {
	for some := range slices.Chunk(all, maxImported) {
		n := 0
		err := h.do(ctx, func(ctx context.Context, w *work) (err error) {
			n, err = h.insertSome(ctx, w, some, may)
			return err
		})
		if err != nil {
			return added, fmt.Errorf("adding suppressions: %w", err)
		}
		added += n
	}
	return added, nil
}

func (h *History) insertSome(ctx context.Context, w *work, some []events.Suppression, may mayAdd) (added int, err error) {
	for _, s := range some {
		s.Address, s.Scope = events.Address(s.Address), events.Scope(s.Scope)
		ok, err := may(ctx, w, s)
		if err != nil {
			return 0, err
		}
		if !ok {
			continue
		}
		if s.Since.IsZero() {
			s.Since = h.now()
		}
		fresh, err := h.suppress(ctx, w, s, "")
		if err != nil {
			return 0, err
		}
		if fresh {
			added++
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
		scope = events.Scope(*of)
	}
	err := h.do(ctx, func(ctx context.Context, w *work) error {
		gone, err := w.suppressedFor(ctx, address, all, scope)
		if err != nil {
			return err
		}
		if len(gone) == 0 {
			return ErrNotFound
		}
		if _, err := w.exec(ctx, liftAll, address, all, scope); err != nil {
			return err
		}
		if err := w.loadStandings(ctx, []string{address}); err != nil {
			return err
		}
		w.standings[w.kept(address)].SoftBounces = 0
		return h.lifted(ctx, w, gone)
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("removing suppressions: %w", err)
	}
	return err
}

// lifted notes and tells what was removed by the operator's hand.
func (h *History) lifted(ctx context.Context, w *work, gone []suppression) error {
	for _, s := range gone {
		if _, err := w.exec(ctx, noteRemoval, s.Address, s.Scope, "", h.now().UnixNano()); err != nil {
			return err
		}
		s.Provider = ""
		if err := h.announce(ctx, w, events.SuppressionRemoved, s); err != nil {
			return err
		}
	}
	return nil
}

// suppression is one with its place in the table, and the message that was the
// reason to add or remove it, empty for none.
type suppression struct {
	events.Suppression

	change    int64
	messageID string
}

// suppressedFor gives what Lift removes.
func (w *work) suppressedFor(ctx context.Context, address string, all bool, scope string) (gone []suppression, err error) {
	err = w.ask(ctx, statementFor{suppressionsIn, 1}, []any{address, all, scope}, func(rows *sql.Rows) error {
		var (
			s     suppression
			since int64
		)
		if err := rows.Scan(&s.change, &s.Address, &s.Scope, &s.Reason, &s.Provider, &s.Detail, &since); err != nil {
			return err
		}
		s.Since = moment(since)
		gone = append(gone, s)
		return nil
	})
	return gone, err
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
	var at stamps
	err = h.read.QueryRowContext(ctx, getStanding, r.Address).
		Scan(&at.softBounces, &at.delivered, &at.bounced, &at.opened, &at.clicked)
	known := err == nil
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return r, h.readError(err)
	}
	r.SoftBounces = at.softBounces
	r.Delivered, r.Bounced = momentOrNil(at.delivered), momentOrNil(at.bounced)
	r.Opened, r.Clicked = momentOrNil(at.opened), momentOrNil(at.clicked)
	if r.Accepted, err = h.lastAccepted(ctx, r.Address); err != nil {
		return r, err
	}
	if !known && r.Accepted == nil && len(r.Suppressions) == 0 {
		return r, ErrNotFound
	}
	return r, nil
}

func (h *History) lastAccepted(ctx context.Context, address string) (*time.Time, error) {
	texts, err := h.texts(ctx, lastAccepted, []any{address})
	if err != nil || len(texts) == 0 {
		return nil, err
	}
	var e events.Event
	if err := json.Unmarshal([]byte(texts[0]), &e); err != nil {
		return nil, fmt.Errorf("reading an event: %w", err)
	}
	return &e.Timestamp, nil
}

func momentOrNil(stamp int64) *time.Time {
	if stamp == 0 {
		return nil
	}
	t := moment(stamp)
	return &t
}

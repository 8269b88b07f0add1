package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"smtpbridge/providers/delivery"
)

// landedSince are the outcomes that may have come after a time, each with the
// message that it repeats.
const (
	landedColumns = `WITH repeats AS MATERIALIZED
		(SELECT continued_by AS number, MIN(id) AS earlier FROM messages WHERE continued_by IS NOT NULL GROUP BY continued_by)
	SELECT id, COALESCE(earlier, ''), received, outcome FROM messages LEFT JOIN repeats USING (number)
	WHERE landed = 1 AND `
	landedSince = landedColumns + `deadline >= ? ORDER BY number`
	// landedShared: of a bridge that shares the database also those that are nowhere
	// in the history although their time is up: another bridge has ended and is not
	// there any more.
	landedShared = landedColumns + `(instance = $1 AND deadline >= $2
		OR deadline >= $3 AND deadline < $4 AND received > $5
			AND NOT EXISTS (SELECT 1 FROM bridge_history.messages AS logged WHERE logged.id = messages.id))
		ORDER BY number`
	lastLogged = `SELECT COALESCE(MAX(value), 0) FROM progress WHERE name LIKE 'logged %'`
	// sweepShared: nobody will say any more what became of these.
	sweepShared = `UPDATE messages SET landed = 1, reply = CASE reply WHEN 0 THEN 2 ELSE reply END
		WHERE (landed = 0 OR reply = 0) AND deadline >= $1 AND deadline < $2`
)

// catchUpMargin is more than lies between the end of a deadline and the record of
// what came just before it.
const catchUpMargin = time.Minute

// catchUp takes over what became of messages just before an end without warning:
// it is on record of the SMTP path, and no event of it may be lost.
func (h *History) catchUp(ctx context.Context, deliveries *database) (err error) {
	since, err := h.loggedUpTo(ctx)
	if err != nil {
		return err
	}
	now := h.now()
	text, args := landedSince, []any{since - int64(catchUpMargin)}
	if deliveries.isServer() {
		others, err := h.leftSince(ctx, now)
		if err != nil {
			return err
		}
		text, args = landedShared, []any{
			h.instance, since - int64(catchUpMargin), others, now.Add(-catchUpMargin).UnixNano(), h.kept(now),
		}
	}
	if err := h.takeOver(ctx, deliveries, text, args); err != nil {
		return err
	}
	return h.do(ctx, func(ctx context.Context, w *work) error { // not before all are in
		_, err := w.exec(ctx, putProgress, h.progress(), now.UnixNano())
		return err
	})
}

// leftSince is from when on bridges that have ended may have left something behind:
// as long as one was there it took that over. To look at all of a day would keep
// a bridge of many from starting.
func (h *History) leftSince(ctx context.Context, now time.Time) (since int64, err error) {
	err = h.do(ctx, func(ctx context.Context, w *work) error {
		_, err := w.row(ctx, lastLogged, nil, &since)
		return err
	})
	return max(since-int64(leftSpan), now.Add(-delivery.Retention).UnixNano()), err
}

// progress is the name of what loggedUpTo says of this bridge.
func (h *History) progress() string {
	if h.db.isServer() {
		return loggedUpTo + " " + h.instance
	}
	return loggedUpTo
}

// kept is when the oldest message came that the history has, with a margin.
func (h *History) kept(now time.Time) int64 {
	age := delivery.Retention
	if h.retention > 0 {
		age = min(age, h.retention)
	}
	return now.Add(-age + catchUpMargin).UnixNano()
}

const (
	// adoptInterval is how often it is looked for what bridges have left behind that
	// are not there any more, and adoptSpan for how old: one may have looked in vain.
	adoptInterval = time.Minute
	adoptSpan     = 15 * time.Minute
	// leftSpan is more than that: whoever was there may have failed for a while.
	leftSpan = time.Hour
)

// adopt takes over what became of messages whose bridge does not say it any more:
// another in its place may never come. It does so until ctx ends.
func (h *History) adopt(ctx context.Context, deliveries *database) {
	tick := time.NewTicker(adoptInterval)
	defer tick.Stop()
	var trouble trouble
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.report(ctx, &trouble, h.adoptOnce(ctx, deliveries))
		}
	}
}

func (h *History) adoptOnce(ctx context.Context, deliveries *database) error {
	now := h.now()
	since, until := now.Add(-adoptSpan).UnixNano(), now.Add(-catchUpMargin).UnixNano()
	if _, err := deliveries.ExecContext(ctx, sweepShared, since, until); err != nil {
		return fmt.Errorf("settling what was in flight: %w", err)
	}
	const own = math.MaxInt64 // says so itself
	return h.takeOver(ctx, deliveries, landedShared, []any{h.instance, own, since, until, h.kept(now)})
}

// takeOver writes what a query gives.
func (h *History) takeOver(ctx context.Context, deliveries *database, query string, args []any) (err error) {
	ctx, cancel := h.db.bound(ctx) // it writes what it reads meanwhile
	defer cancel()
	rows, err := deliveries.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("looking for outcomes: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var batch []landed
	for rows.Next() {
		one, err := scanLanded(rows)
		if err != nil {
			return err
		}
		if batch = append(batch, one); len(batch) == logCompany {
			if err := h.recover(ctx, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading outcomes: %w", err)
	}
	return h.recover(ctx, batch)
}

// landed is what the SMTP path has on record of a message.
type landed struct {
	id       string
	earlier  string // which it repeats, empty for none
	received time.Time
	results  []result
}

func scanLanded(rows *sql.Rows) (l landed, err error) {
	var (
		received int64
		outcome  []byte
	)
	if err := rows.Scan(&l.id, &l.earlier, &received, &outcome); err != nil {
		return l, fmt.Errorf("reading an outcome: %w", err)
	}
	l.received = moment(received)
	if l.results, err = decodeOutcome(outcome); err != nil {
		return l, fmt.Errorf("message %s: %w", l.id, err)
	}
	return l, nil
}

func (h *History) loggedUpTo(ctx context.Context) (since int64, err error) {
	err = h.do(ctx, func(ctx context.Context, w *work) error {
		_, err := w.row(ctx, getProgress, []any{h.progress()}, &since)
		return err
	})
	return since, err
}

// recover writes what became of messages, unless it is known.
func (h *History) recover(ctx context.Context, batch []landed) error {
	return h.do(ctx, func(ctx context.Context, w *work) error {
		for some := range slices.Chunk(batch, manyRows) {
			unknown, err := w.unknown(ctx, some)
			if err != nil {
				return err
			}
			if err := h.logSome(ctx, w, unknown, h.now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// unknown are the records of messages of which the log does not know what became
// of them.
func (w *work) unknown(ctx context.Context, some []landed) ([]*delivery.Record, error) {
	ids := make([]string, len(some))
	for i, l := range some {
		ids[i] = l.id
	}
	known, err := w.records(ctx, ids)
	if err != nil {
		return nil, err
	}
	var unknown []*delivery.Record
	for _, l := range some {
		r, found := known[l.id]
		if !found {
			r = &delivery.Record{ID: l.id, Time: l.received, RepeatOf: l.earlier, Attempts: []delivery.Attempt{}}
		}
		if !concluded(r.Recipients) {
			r.Recipients = recipientsOf(l.results)
			unknown = append(unknown, r)
		}
	}
	return unknown, nil
}

// concluded: something is known of each.
func concluded(recipients []delivery.Recipient) bool {
	return len(recipients) > 0 && !slices.ContainsFunc(recipients, unsettled)
}

func recipientsOf(results []result) []delivery.Recipient {
	recipients := make([]delivery.Recipient, len(results))
	for i, r := range results {
		recipients[i] = delivery.Recipient{
			Recipient: r.Recipient, State: r.State, Provider: r.Provider, ProviderID: r.ProviderID,
		}
		if r.Err != nil {
			recipients[i].Category, recipients[i].Reason = r.Err.Category, r.Err.Message
		}
	}
	return recipients
}

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"smtpbridge/providers/delivery"
)

// landedSince are the outcomes that may have come after a time, each with the
// message that it repeats.
const landedSince = `WITH repeats AS MATERIALIZED
		(SELECT continued_by AS number, MIN(id) AS earlier FROM messages WHERE continued_by IS NOT NULL GROUP BY continued_by)
	SELECT id, COALESCE(earlier, ''), received, outcome FROM messages LEFT JOIN repeats USING (number)
	WHERE landed = 1 AND deadline >= ? ORDER BY number`

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
	rows, err := deliveries.QueryContext(ctx, landedSince, since-int64(catchUpMargin))
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
	if err := h.recover(ctx, batch); err != nil {
		return err
	}
	return h.do(ctx, func(ctx context.Context, w *work) error { // not before all are in
		_, err := w.exec(ctx, putProgress, loggedUpTo, now.UnixNano())
		return err
	})
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
		_, err := w.row(ctx, getProgress, []any{loggedUpTo}, &since)
		return err
	})
	return since, err
}

// recover writes what became of messages, unless it is known.
func (h *History) recover(ctx context.Context, batch []landed) error {
	return h.do(ctx, func(ctx context.Context, w *work) error {
		for _, l := range batch {
			r, found, err := w.record(ctx, l.id)
			if err != nil {
				return err
			}
			if concluded(r.Recipients) {
				continue
			}
			if !found {
				r = delivery.Record{ID: l.id, Time: l.received, RepeatOf: l.earlier, Attempts: []delivery.Attempt{}}
			}
			r.Recipients = recipientsOf(l.results)
			if err := h.logOne(ctx, w, &r, h.now()); err != nil {
				return err
			}
		}
		return nil
	})
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

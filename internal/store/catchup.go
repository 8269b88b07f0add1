package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// landedSince are the outcomes that may have come after a time.
const landedSince = `SELECT id, received, outcome FROM messages WHERE landed = 1 AND deadline >= ? ORDER BY number`

// catchUp takes over what became of messages just before an end without warning:
// it is on record of the SMTP path, and no event of it may be lost.
func (h *History) catchUp(ctx context.Context, deliveries *database) error {
	since, err := h.loggedUpTo(ctx)
	if err != nil {
		return err
	}
	rows, err := deliveries.QueryContext(ctx, landedSince, since)
	if err != nil {
		return fmt.Errorf("looking for outcomes: %w", err)
	}
	defer rows.Close()
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
	received time.Time
	results  []result
}

func scanLanded(rows *sql.Rows) (l landed, err error) {
	var (
		received int64
		outcome  []byte
	)
	if err := rows.Scan(&l.id, &received, &outcome); err != nil {
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
				r = delivery.Record{ID: l.id, Time: l.received, Attempts: []delivery.Attempt{}}
			}
			r.Recipients = recipientsOf(l.results)
			if err := h.log(ctx, w, []delivery.Record{r}); err != nil {
				return err
			}
		}
		return nil
	})
}

// concluded: something is known of each.
func concluded(recipients []delivery.Recipient) bool {
	for _, to := range recipients {
		if to.State == providers.Ambiguous {
			return false
		}
	}
	return len(recipients) > 0
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

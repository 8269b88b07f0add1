package store

import (
	"context"
	"database/sql"
	"maps"
	"sync"

	"smtpbridge/events"
)

const (
	// countSuppressions gives with no reason the place in the sequence that the counts
	// are of: it must be one statement.
	countSuppressions = `SELECT '', COALESCE(MAX(sequence), 0) FROM events
		UNION ALL SELECT reason, COUNT(*) FROM suppressions GROUP BY reason`
	suppressionsChanged = eventsWhole + `
		WHERE type IN ('suppression_added', 'suppression_removed') AND sequence > ? LIMIT ?`
	firstEvent = `SELECT COALESCE(MIN(sequence), 0) FROM events`

	// maxCounted is how many changes are looked at one by one: of more than these it is
	// quicker to count anew.
	maxCounted = 10_000
)

// heldCounts are how many suppressions there are, by reason. To count a million
// takes a quarter of a second, which is too much for each scrape of the metrics.
// But each that is added or removed leaves its event, whichever process did it.
type heldCounts struct {
	mu       sync.Mutex              // guards what follows
	byReason map[events.Reason]int64 // nil before the first
	upTo     int64                   // the place in the sequence that they are of
}

// SuppressionCounts are how many there are, by reason.
func (h *History) SuppressionCounts(ctx context.Context) (map[events.Reason]int64, error) {
	c := &h.heldCounts
	c.mu.Lock()
	defer c.mu.Unlock()
	known, err := h.catchUpCounts(ctx, c)
	if err == nil && !known {
		err = h.countAnew(ctx, c)
	}
	if err != nil {
		c.byReason = nil
		return nil, err
	}
	return maps.Clone(c.byReason), nil
}

// catchUpCounts takes in what has changed; false where that cannot be known.
func (h *History) catchUpCounts(ctx context.Context, c *heldCounts) (known bool, err error) {
	if c.byReason == nil {
		return false, nil
	}
	before := c.upTo
	changes, err := h.takeChanges(ctx, c)
	if err != nil || changes == maxCounted {
		return false, err
	}
	var first int64 // what is older has been let go of, perhaps unseen
	if err := h.read.QueryRowContext(ctx, firstEvent).Scan(&first); err != nil {
		return false, h.readError(err)
	}
	return first <= before+1, nil
}

func (h *History) takeChanges(ctx context.Context, c *heldCounts) (changes int, err error) {
	changed, err := h.events(ctx, suppressionsChanged, []any{c.upTo, maxCounted})
	if err != nil {
		return 0, err
	}
	for _, e := range changed {
		c.upTo = max(c.upTo, e.Sequence)
		if len(e.Raw) > 0 {
			continue // a rehearsal, which has changed nothing
		}
		reason, n := events.Reason(e.Reason), int64(1)
		if e.Type == events.SuppressionRemoved {
			n = -1
		}
		if c.byReason[reason] += n; c.byReason[reason] == 0 {
			delete(c.byReason, reason)
		}
	}
	return len(changed), nil
}

func (h *History) countAnew(ctx context.Context, c *heldCounts) error {
	c.byReason = make(map[events.Reason]int64)
	return h.ask(ctx, countSuppressions, nil, func(rows *sql.Rows) error {
		var (
			reason events.Reason
			n      int64
		)
		if err := rows.Scan(&reason, &n); err != nil {
			return err
		}
		if reason == "" {
			c.upTo = n
		} else {
			c.byReason[reason] = n
		}
		return nil
	})
}

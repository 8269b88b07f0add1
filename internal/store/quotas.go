package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"smtpbridge/providers/delivery"
)

// periods name the UTC day and month of a time.
func periods(at time.Time) (day, month string) {
	at = at.UTC()
	return at.Format("2006-01-02"), at.Format("2006-01")
}

// taking counts recipients, or none where a limit would be exceeded.
type taking struct {
	provider   string
	day, month string
	n          int64
	limits     delivery.QuotaLimits

	taken bool
}

func (q *taking) do(ctx context.Context, t *turn) error {
	q.taken = false
	used := &counting{provider: q.provider, day: q.day, month: q.month}
	if err := used.do(ctx, t); err != nil {
		return err
	}
	if exceeds(used.usedDay, q.n, q.limits.Day) || exceeds(used.usedMonth, q.n, q.limits.Month) {
		return nil
	}
	_, err := t.exec(ctx, quotaAdd, q.provider, q.day, q.month, q.n)
	q.taken, t.grew = err == nil, true
	return err
}

// exceeds: no limit is never exceeded.
func exceeds(used, n, limit int64) bool { return limit > 0 && n > limit-used }

// returning takes back what was counted.
type returning struct {
	provider   string
	day, month string
	n          int64
}

func (q *returning) do(ctx context.Context, t *turn) error {
	_, err := t.exec(ctx, quotaReturn, q.provider, q.day, q.month, q.n)
	return err
}

// counting reads what counts.
type counting struct {
	provider   string
	day, month string

	usedDay, usedMonth int64
}

func (q *counting) do(ctx context.Context, t *turn) (err error) {
	q.usedDay, q.usedMonth = 0, 0
	rows, err := t.query(ctx, quotaUsed, q.provider, q.day, q.month)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var period string
		var used int64
		if err := rows.Scan(&period, &used); err != nil {
			return err
		}
		if period == q.day {
			q.usedDay = used
		} else {
			q.usedMonth = used
		}
	}
	return rows.Err()
}

// Take counts n recipients of now, or none where a limit would be exceeded.
func (s *Store) Take(ctx context.Context, provider string, n int64, limits delivery.QuotaLimits, now time.Time) (bool, error) {
	if n < 0 {
		return false, fmt.Errorf("counting %d recipients of %s", n, provider)
	}
	q := &taking{provider: provider, n: n, limits: limits}
	q.day, q.month = periods(now)
	if err := s.deliveries.writer.do(ctx, q); err != nil {
		return false, fmt.Errorf("counting recipients of %s: %w", provider, err)
	}
	return q.taken, nil
}

// Return takes back what was counted at that time and then not accepted, also
// when ctx has ended. After an error it may be called again.
func (s *Store) Return(ctx context.Context, provider string, n int64, at time.Time) error {
	if n < 0 {
		return fmt.Errorf("taking back %d recipients of %s", n, provider)
	}
	q := &returning{provider: provider, n: n}
	q.day, q.month = periods(at)
	if err := s.deliveries.writer.do(context.WithoutCancel(ctx), q); err != nil {
		return fmt.Errorf("taking back recipients of %s: %w", provider, err)
	}
	return nil
}

// Used is what counts now.
func (s *Store) Used(ctx context.Context, provider string, now time.Time) (day, month int64, err error) {
	q := &counting{provider: provider}
	q.day, q.month = periods(now)
	if err := s.deliveries.writer.do(ctx, q); err != nil {
		return 0, 0, fmt.Errorf("reading what counts of %s: %w", provider, err)
	}
	return q.usedDay, q.usedMonth, nil
}

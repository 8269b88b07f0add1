package store

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"smtpbridge/providers/delivery"
)

const (
	// expireStep is how many rows are deleted at a time, at least.
	expireStep = 64
	// checkpointAfter is how many requests are written before the log is copied
	// into the file: about 2 MiB of log.
	checkpointAfter = 2000
	// crowdAfter is how many requests are written to memory before its size is
	// looked at.
	crowdAfter = 100
)

// tidy comes after each transaction, once its callers have their answers. It
// deletes what is too old to matter: a few rows more than may have come, so that
// the next transaction waits for little and the table never grows beyond a day.
func (d *deliveries) tidy(ctx context.Context, requests int) {
	d.written += requests
	crowded := false
	switch {
	case d.db.inMemory():
		crowded = d.written >= crowdAfter
	case d.written >= checkpointAfter:
		d.written = 0
		d.db.copySoon()
	}
	for crowded || d.expiryDue() {
		step := &expiring{d: d, rows: max(expireStep, 2*requests)}
		if crowded {
			step.rows, d.written, crowded = 2*d.written, 0, false
			step.crowded = true
		}
		if d.writer.commit(ctx, []*call{{request: step}}) != nil {
			return // it is not urgent, and what is wrong shows elsewhere
		}
		if requests > 0 || step.deleted == 0 || d.writer.waiting() > 0 {
			return
		}
	}
}

// expiryDue reports whether the oldest message is to be deleted, or was dated by
// a clock that was wrong.
func (d *deliveries) expiryDue() bool {
	before, after := d.expiry()
	return d.oldest <= before || d.oldest > after
}

// expiry gives the span of times outside of which messages are deleted.
func (d *deliveries) expiry() (before, after int64) {
	now := d.now()
	return d.since(now), now.Add(delivery.Retention).UnixNano()
}

// expiring deletes some of the oldest messages: those that are too old, and in
// memory that is crowded any that has landed.
type expiring struct {
	d       *deliveries
	rows    int
	crowded bool

	deleted int
}

func (e *expiring) do(ctx context.Context, t *turn) error {
	e.deleted = 0
	landed := 0
	before, after := e.d.expiry()
	if e.crowded {
		var pages int
		if err := t.queryRow(ctx, pagesInUse).Scan(&pages); err != nil {
			return err
		}
		if pages > memoryPages {
			landed, before = 1, math.MaxInt64
		}
	}
	if err := e.messages(ctx, t, landed, before, after); err != nil {
		return err
	}
	if e.deleted > 0 {
		if err := e.keys(ctx, t); err != nil {
			return err
		}
	}
	oldest := e.d.now().UnixNano() // where nothing is left
	err := t.queryRow(ctx, oldestMessage).Scan(&oldest)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	t.then(effectFunc(func() { e.d.oldest = oldest }))
	return nil
}

func (e *expiring) messages(ctx context.Context, t *turn, landed int, before, after int64) (err error) {
	rows, err := t.query(ctx, expireMessages, e.rows, landed, before, after)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var number int64
		var keys keyColumns
		if err := rows.Scan(&number, &keys[byIdempotency], &keys[byMessageID], &keys[byContent]); err != nil {
			return err
		}
		e.deleted++
		e.forget(t, number, keys.keys())
	}
	return rows.Err()
}

// keys deletes those that were inherited by what is gone.
func (e *expiring) keys(ctx context.Context, t *turn) (err error) {
	rows, err := t.query(ctx, expireKeys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var number int64
		var k key
		if err := rows.Scan(&number, &k.kind, &k.digest); err != nil {
			return err
		}
		e.forget(t, number, []key{k})
	}
	return rows.Err()
}

func (e *expiring) forget(t *turn, number int64, keys []key) {
	if e.d.alone {
		t.then(effectFunc(func() { e.d.forget(number, keys) }))
	}
}

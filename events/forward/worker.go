package forward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

const (
	// firstBackoff is how long the first failure of an event is waited out; it
	// doubles up to mostBackoff.
	firstBackoff = 2 * time.Second
	mostBackoff  = time.Hour
	// jitter is by what part of it a backoff may be shorter.
	jitter = 0.2
	// attempts make an event last for a week where the application refuses it
	// alone; while it takes nothing, only those that try use them up.
	attempts = 210
	// hastened is how many events are sent again at once when the application
	// takes events again.
	hastened = 1000
)

// job is what River stores of an event.
type job struct {
	Sequence int64 `json:"sequence"`

	// after is when the application wants to be asked again: from Work to NextRetry.
	after time.Duration
}

// Kind names the jobs.
func (job) Kind() string { return "forward" }

// worker sends what a job names.
type worker struct {
	river.WorkerDefaults[job]

	forwarder *Forwarder
}

// Work sends the event. What has gone from the store meanwhile needs no sending.
func (w *worker) Work(ctx context.Context, j *river.Job[job]) error {
	e, found, err := w.forwarder.options.Events.Event(ctx, j.Args.Sequence)
	if err != nil {
		return fmt.Errorf("loading event %d: %w", j.Args.Sequence, err)
	}
	if !found {
		return nil
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("writing event %d as JSON: %w", j.Args.Sequence, err)
	}
	err = w.forwarder.deliver(ctx, e.ID, body)
	if refused, ok := errors.AsType[*refusal](err); ok {
		j.Args.after = refused.after
	}
	return err
}

// NextRetry is when an event is sent again.
func (w *worker) NextRetry(j *river.Job[job]) time.Time {
	return time.Now().Add(max(w.forwarder.pace.backoff(j.Attempt), j.Args.after))
}

// backoff after the n-th attempt, from 1.
func backoff(n int) time.Duration {
	wait := mostBackoff
	if n < 12 { // the next one would be longer than an hour
		wait = firstBackoff << (n - 1)
	}
	return wait - time.Duration(rand.Float64()*jitter*float64(wait)) //nolint:gosec // nobody gains by guessing it
}

// deliver sends one event as soon as the application may be asked.
func (f *Forwarder) deliver(ctx context.Context, id string, body []byte) error {
	trying, err := f.gate.enter(ctx)
	if err != nil {
		return err
	}
	to := f.target.Load()
	if to == nil { // taken from the configuration while the event waited
		f.gate.gaveUp(trying)
		return river.JobSnooze(0)
	}
	refused := f.post(ctx, to, id, body)
	switch {
	case refused == nil:
		f.taken(ctx)
		return nil
	case ctx.Err() != nil: // the bridge stops; River lets the attempt not count
		f.gate.gaveUp(trying)
		return ctx.Err()
	case f.gate.failed(trying, refused.after):
		f.options.Logger.WarnContext(ctx, "application takes no events", slog.Any("err", refused))
	}
	return refused
}

// taken tells of the end of an outage, and has sent again what failed in it and
// now waits.
func (f *Forwarder) taken(ctx context.Context) {
	since := f.gate.taken()
	if since.IsZero() {
		return
	}
	f.options.Logger.InfoContext(ctx, "application takes events again", slog.Duration("dur", time.Since(since).Round(time.Millisecond)))
	if err := f.hasten(ctx); err != nil && ctx.Err() == nil {
		f.options.Logger.WarnContext(ctx, "events that failed wait for their next attempt", slog.Any("err", err))
	}
}

// hasten ends the backoff of what failed. It does so once in the time of the
// longest: shorter outages have left shorter ones, and events that are refused
// alone must not use up their attempts.
func (f *Forwarder) hasten(ctx context.Context) error {
	now := time.Now().UnixNano()
	last := f.hastened.Load()
	if last != 0 && now-last < int64(mostBackoff) || !f.hastened.CompareAndSwap(last, now) {
		return nil
	}
	tx, err := f.options.DB.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	defer tx.Rollback()
	waiting, err := f.jobs.JobListTx(ctx, tx, river.NewJobListParams().States(rivertype.JobStateRetryable).
		OrderBy(river.JobListOrderByScheduledAt, river.SortOrderAsc).First(hastened))
	if err != nil {
		return fmt.Errorf("listing what failed: %w", err)
	}
	for _, j := range waiting.Jobs {
		if _, err := f.jobs.JobRetryTx(ctx, tx, j.ID); err != nil {
			return fmt.Errorf("ending a backoff: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	f.Wake()
	return nil
}

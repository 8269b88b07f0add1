package app

import (
	"context"
	"log/slog"
	"time"

	"smtpbridge/events"
)

const (
	// reportsWaiting is how many events of sandboxes may wait.
	reportsWaiting = 4096
	// reportsAtOnce is how many of them share a transaction.
	reportsAtOnce = 256
	// reportDelay lets the reply go first, as it would.
	reportDelay = 100 * time.Millisecond
)

// report is what a sandbox tells.
type report struct {
	event events.Event
	due   time.Time
}

// rehearsal brings what sandboxes tell to the intake, as a webhook would.
type rehearsal struct {
	queue  chan report
	intake *events.Intake
	logger *slog.Logger
}

func newRehearsal(intake *events.Intake, logger *slog.Logger) *rehearsal {
	return &rehearsal{queue: make(chan report, reportsWaiting), intake: intake, logger: logger}
}

// Report implements sandbox.Reporter.
func (r *rehearsal) Report(provider string, e events.Event) {
	e.Provider, e.ID = provider, events.ID(provider, e.Key)
	select {
	case r.queue <- report{e, time.Now().Add(reportDelay)}:
	default:
		r.logger.Warn("the sandbox's event is lost: too many wait", slog.String("message_id", e.MessageID))
	}
}

// run passes reports on until ctx ends, and then those that are left.
func (r *rehearsal) run(ctx context.Context) {
	for {
		select {
		case first := <-r.queue:
			r.pass(ctx, first)
		case <-ctx.Done():
			for len(r.queue) > 0 {
				r.pass(ctx, <-r.queue)
			}
			return
		}
	}
}

// pass hands on a report, and those that wait behind it, once the last is due.
func (r *rehearsal) pass(ctx context.Context, last report) {
	batch := events.Batch{Events: []events.Event{last.event}}
	for len(batch.Events) < reportsAtOnce && len(r.queue) > 0 {
		last = <-r.queue
		batch.Events = append(batch.Events, last.event)
	}
	r.wait(ctx, last.due)
	if err := r.intake.Take(context.WithoutCancel(ctx), sandboxType, batch); err != nil {
		r.logger.LogAttrs(ctx, slog.LevelError, "the sandbox's events are lost",
			slog.Int("events", len(batch.Events)), slog.Any("err", err))
	}
}

func (r *rehearsal) wait(ctx context.Context, due time.Time) {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

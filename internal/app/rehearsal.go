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
	// reportDelay lets the reply go first, as it would.
	reportDelay = 100 * time.Millisecond
)

// report is what a sandbox tells.
type report struct {
	provider string
	event    events.Event
	due      time.Time
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
	select {
	case r.queue <- report{provider, e, time.Now().Add(reportDelay)}:
	default:
		r.logger.Warn("the sandbox's event is lost: too many wait", slog.String("message_id", e.MessageID))
	}
}

// run passes reports on until ctx ends, and then those that are left.
func (r *rehearsal) run(ctx context.Context) {
	for {
		select {
		case next := <-r.queue:
			r.wait(ctx, next.due)
			r.pass(ctx, next)
		case <-ctx.Done():
			for len(r.queue) > 0 {
				r.pass(ctx, <-r.queue)
			}
			return
		}
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

func (r *rehearsal) pass(ctx context.Context, next report) {
	batch := events.Batch{Events: []events.Event{next.event}}
	if err := r.intake.Take(context.WithoutCancel(ctx), next.provider, batch); err != nil {
		r.logger.LogAttrs(ctx, slog.LevelError, "the sandbox's event is lost",
			slog.String("message_id", next.event.MessageID), slog.Any("err", err))
	}
}

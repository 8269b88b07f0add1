package delivery

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// errBudget is why the wait for an answer ends while the client is still there.
var errBudget = errors.New("the delivery budget is used up")

// transaction is one message from the end of its data to its reply, and beyond
// that to a late answer.
type transaction struct {
	pipeline *Pipeline
	setup    *setup
	message  *translate.Message
	start    time.Time
	record   Record // what was known before anybody was asked
	ledger   *ledger
}

func (p *Pipeline) begin(m *translate.Message) *transaction {
	start := m.Envelope.Complete
	if start.IsZero() {
		start = p.now()
	}
	return &transaction{
		pipeline: p,
		setup:    p.setup.Load(),
		message:  m,
		start:    start,
		record:   newRecord(m, start),
		ledger:   newLedger(m.Envelope.Recipients),
	}
}

// refuse ends the transaction: no provider was asked.
func (t *transaction) refuse(ctx context.Context, err *providers.Error) providers.Outcome {
	defer t.release(ctx)
	return t.conclude(ctx, providers.Fail(t.message.Envelope.Recipients, providers.Refused, err), nil)
}

// drop takes the message and sends nothing.
func (t *transaction) drop(ctx context.Context) providers.Outcome {
	defer t.release(ctx)
	return t.conclude(ctx, providers.Fail(t.message.Envelope.Recipients, providers.Accepted, nil), nil)
}

// send hands the message to the first that carries it and waits for the answer as
// long as ctx and the budget last. The request goes on after that; its late
// answer finds the ledger closed and the silence on record.
func (t *transaction) send(ctx context.Context, carriers []Verdict) providers.Outcome {
	if ctx.Err() != nil {
		return t.refuse(ctx, unsent("the session had ended", context.Cause(ctx)))
	}
	left := t.setup.budget - t.pipeline.now().Sub(t.start)
	if left <= 0 {
		return t.refuse(ctx, &providers.Error{
			Category: providers.LocalFailure, Cause: errBudget,
			Message: "nothing was sent: reading the mail took longer than " + t.setup.budget.String(),
		})
	}
	first := carriers[0]
	t.lose(ctx, first)
	t.pipeline.recorder.Record(t.record)
	done := make(chan struct{})
	started := t.pipeline.sends.start(ctx, t, func(ctx context.Context) {
		defer t.release(ctx)
		defer close(done)
		courier{t, first.candidate, first.Message}.carry(ctx, t.message.Envelope.Recipients)
	})
	if !started {
		return t.refuse(ctx, unsent("the bridge is shutting down", errClosing))
	}
	waiting, cancel := context.WithTimeoutCause(ctx, left, errBudget)
	defer cancel()
	select {
	case <-done:
	case <-waiting.Done():
		t.ledger.close(t.silence(context.Cause(waiting)), t.pipeline.now())
	}
	outcome, attempts := t.ledger.snapshot()
	return t.conclude(ctx, outcome, attempts)
}

// lose keeps and logs what the provider cannot carry.
func (t *transaction) lose(ctx context.Context, v Verdict) {
	if len(v.Losses) == 0 {
		return
	}
	t.record.Losses = clipAll(v.Losses)
	t.log(ctx, slog.LevelInfo, "provider cannot carry everything",
		slog.String("provider", v.Provider), slog.Any("losses", v.Losses))
}

// silence is why there is no answer.
func (t *transaction) silence(cause error) *providers.Error {
	err := &providers.Error{Category: providers.NetworkError, Message: "no answer before the session ended", Cause: cause}
	if errors.Is(cause, errBudget) {
		err.Message = "no answer within " + t.setup.budget.String()
	}
	return err
}

// late puts right what was said to be unknown.
func (t *transaction) late(ctx context.Context, outcome providers.Outcome) {
	all, attempts := t.ledger.snapshot()
	t.pipeline.recorder.Record(t.record.with(all, attempts...))
	t.logLate(ctx, outcome)
}

// conclude counts, records and logs what the application is about to be told.
func (t *transaction) conclude(ctx context.Context, outcome providers.Outcome, attempts []Attempt) providers.Outcome {
	took := t.pipeline.now().Sub(t.start)
	t.pipeline.metrics.deliveries.Observe(took.Seconds())
	t.setup.told(outcome)
	t.pipeline.recorder.Record(t.record.with(outcome, attempts...))
	t.logDecision(ctx, outcome, took)
	return outcome
}

// release closes the message: nobody reads it any more.
func (t *transaction) release(ctx context.Context) {
	if err := t.message.Close(); err != nil {
		t.log(ctx, slog.LevelError, "closing the message", slog.Any("err", err))
	}
}

// unsent is a refusal for the sake of the bridge itself.
func unsent(reason string, cause error) *providers.Error {
	return &providers.Error{Category: providers.Busy, Message: "nothing was sent: " + reason, Cause: cause}
}

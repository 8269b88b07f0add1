package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
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
	message  *translate.Message
	start    time.Time
	record   Record // what was known before anybody was asked
}

func (p *Pipeline) begin(m *translate.Message) *transaction {
	start := m.Envelope.Complete
	if start.IsZero() {
		start = p.now()
	}
	return &transaction{
		pipeline: p,
		message:  m,
		start:    start,
		record:   newRecord(m, start),
	}
}

// check asks whether c carries the message, and keeps what it would lose.
func (t *transaction) check(ctx context.Context, c candidate) *providers.Error {
	losses, refusal := providers.Check(c.Capabilities(), t.message, t.start)
	if refusal == nil && len(losses) > 0 {
		t.record.Losses = clipAll(losses)
		t.log(ctx, slog.LevelInfo, "provider cannot carry everything",
			slog.String("provider", c.Name()), slog.Any("losses", losses))
	}
	return refusal
}

// refuse ends the transaction: no provider was asked.
func (t *transaction) refuse(ctx context.Context, err *providers.Error) providers.Outcome {
	defer t.release(ctx)
	return t.conclude(ctx, providers.Fail(t.message.Envelope.Recipients, providers.Refused, err))
}

// drop takes the message and sends nothing.
func (t *transaction) drop(ctx context.Context) providers.Outcome {
	defer t.release(ctx)
	return t.conclude(ctx, providers.Fail(t.message.Envelope.Recipients, providers.Accepted, nil))
}

// send hands the message to c and waits for the answer as long as ctx and the
// budget last. The request goes on after that; its late answer finds the wait
// given up and the silence on record.
func (t *transaction) send(ctx context.Context, c candidate, budget time.Duration) providers.Outcome {
	if ctx.Err() != nil {
		return t.refuse(ctx, unsent("the session had ended", context.Cause(ctx)))
	}
	left := budget - t.pipeline.now().Sub(t.start)
	if left <= 0 {
		return t.refuse(ctx, &providers.Error{
			Category: providers.LocalFailure, Cause: errBudget,
			Message: "nothing was sent: reading the mail took longer than " + budget.String(),
		})
	}
	t.pipeline.recorder.Record(t.record)
	answers, givenUp := make(chan answer), make(chan struct{})
	started := t.pipeline.sends.start(ctx, t, func(ctx context.Context) {
		defer t.release(ctx)
		a := t.ask(ctx, c)
		select {
		case answers <- a:
		case <-givenUp:
			t.late(ctx, a)
		}
	})
	if !started {
		return t.refuse(ctx, unsent("the bridge is shutting down", errClosing))
	}

	waiting, cancel := context.WithTimeoutCause(ctx, left, errBudget)
	defer cancel()
	var a answer
	select {
	case a = <-answers:
	case <-waiting.Done():
		defer close(givenUp)
		a = t.silence(c, context.Cause(waiting), budget)
	}
	c.meters.told(a.outcome)
	return t.conclude(ctx, a.outcome, a.attempt)
}

// answer is what a provider said, and the attempt that it ended.
type answer struct {
	outcome providers.Outcome
	attempt Attempt
}

// ask calls the provider and counts its answer.
func (t *transaction) ask(ctx context.Context, c candidate) answer {
	start := t.pipeline.now()
	outcome := settle(c.Name(), t.message.Envelope.Recipients, t.call(ctx, c))
	took := t.pipeline.now().Sub(start)
	c.meters.answered(verdict(outcome), took)
	return newAnswer(c, outcome, start, took)
}

// call turns a panic into an outcome: the request may have left before it.
func (t *transaction) call(ctx context.Context, c candidate) (outcome providers.Outcome) {
	defer func() {
		if r := recover(); r != nil {
			t.log(ctx, slog.LevelError, "provider panicked", slog.String("provider", c.Name()),
				slog.String("err", fmt.Sprint(r)), slog.String("stack", string(debug.Stack())))
			outcome = providers.Fail(t.message.Envelope.Recipients, providers.Ambiguous,
				&providers.Error{Category: providers.Unknown, Message: "the bridge failed while it sent"})
		}
	}()
	return c.Send(ctx, t.message)
}

// silence is the answer where none came in time.
func (t *transaction) silence(c candidate, cause error, budget time.Duration) answer {
	err := &providers.Error{Category: providers.NetworkError, Message: "no answer before the session ended", Cause: cause}
	if errors.Is(cause, errBudget) {
		err.Message = "no answer within " + budget.String()
	}
	outcome := settle(c.Name(), t.message.Envelope.Recipients,
		providers.Fail(t.message.Envelope.Recipients, providers.Ambiguous, err))
	return newAnswer(c, outcome, t.start, t.pipeline.now().Sub(t.start))
}

func newAnswer(c candidate, outcome providers.Outcome, start time.Time, took time.Duration) answer {
	return answer{outcome, Attempt{
		Provider: c.Name(), Time: start.UTC(), Seconds: took.Seconds(), Category: verdict(outcome),
	}}
}

// late puts right what was said to be unknown.
func (t *transaction) late(ctx context.Context, a answer) {
	a.attempt.Late = true
	t.pipeline.recorder.Record(t.record.with(a.outcome, a.attempt))
	t.logLate(ctx, a)
}

// conclude counts, records and logs what the application is about to be told.
func (t *transaction) conclude(ctx context.Context, outcome providers.Outcome, attempts ...Attempt) providers.Outcome {
	took := t.pipeline.now().Sub(t.start)
	t.pipeline.metrics.deliveries.Observe(took.Seconds())
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

// settle holds a provider to its contract, one result per recipient, in order:
// what it left out may have been sent.
func settle(name string, recipients []string, outcome providers.Outcome) providers.Outcome {
	settled := providers.Fail(recipients, providers.Ambiguous,
		&providers.Error{Category: providers.Unknown, Message: "the provider's answer leaves this recipient out"})
	for i := range settled {
		if len(outcome) == len(recipients) && outcome[i].Recipient == recipients[i] && sound(outcome[i]) {
			settled[i] = outcome[i]
		}
		settled[i].Provider = name
	}
	return settled
}

// sound: the error is nil exactly when the recipient was accepted.
func sound(r providers.Result) bool { return (r.State == providers.Accepted) == (r.Err == nil) }

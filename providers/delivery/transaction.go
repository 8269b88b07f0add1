package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
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
	until    time.Time // when the reply must be given, and no attempt may begin any more
	record   Record    // what was known before anybody was asked
	ledger   ledger
	legs     []leg
	flies    bool // it is on record as in flight

	// The usual numbers need no memory of their own.
	oneGroup [1]group
	oneLeg   [1]leg
}

func (p *Pipeline) begin(m *translate.Message) *transaction {
	start := m.Envelope.Complete
	if start.IsZero() {
		start = p.now()
	}
	s := p.setup.Load()
	t := &transaction{pipeline: p, setup: s, message: m, start: start, until: start.Add(s.Budget)}
	t.record.fill(m, start)
	t.ledger.open(m.Envelope.Recipients)
	return t
}

// refuse ends the transaction: no provider was asked.
func (t *transaction) refuse(ctx context.Context, err *providers.Error) providers.Outcome {
	defer t.release(ctx)
	t.ledger.refuse(t.message.Envelope.Recipients, err)
	return t.conclude(ctx)
}

// drop takes the message and sends nothing.
func (t *transaction) drop(ctx context.Context) providers.Outcome {
	defer t.release(ctx)
	t.ledger.preset(providers.Fail(t.message.Envelope.Recipients, providers.Accepted, nil))
	return t.conclude(ctx)
}

// plan gives each group of recipients the providers that carry its message. Those
// for whom there are none are refused.
func (t *transaction) plan(groups []group) {
	t.legs = t.oneLeg[:0]
	for _, g := range groups {
		carriers, refusal := carriers(g.route.verdicts(t.message, t.start))
		if refusal != nil {
			t.ledger.preset(providers.Fail(g.recipients, providers.Refused, refusal))
			continue
		}
		t.legs = append(t.legs, leg{transaction: t, group: g, carriers: carriers, pending: g.recipients})
	}
}

// send takes all legs and waits for them as long as ctx and the budget last. The
// requests go on after that; their late answers find the ledger closed and the
// silence on record.
func (t *transaction) send(ctx context.Context) providers.Outcome {
	if refusal := t.mayBegin(ctx); refusal != nil {
		return t.refuse(ctx, refusal)
	}
	switch refusal := t.remember(ctx); {
	case refusal != nil: // it may be a repeat, so nobody is told more than that
		t.ledger.preset(providers.Fail(t.message.Envelope.Recipients, providers.Refused, refusal))
		return t.refuse(ctx, refusal)
	case len(t.legs) == 0: // all is known
		defer t.release(ctx)
		return t.conclude(ctx)
	}
	t.pipeline.recorder.Record(t.record)
	now := t.pipeline.now()
	if elapsed := now.Add(t.setup.Config.MaxElapsed.Std()); elapsed.Before(t.until) {
		t.until = elapsed
	}
	if !t.pipeline.sends.start(t) {
		return t.refuse(ctx, unsent("the bridge is shutting down", errClosing))
	}
	budget := time.AfterFunc(t.start.Add(t.setup.Budget).Sub(now), t.expire)
	defer budget.Stop()
	select {
	case <-t.ledger.closing:
	case <-ctx.Done():
		t.ledger.close(t.silence(context.Cause(ctx)), t.pipeline.now())
	}
	return t.conclude(ctx)
}

// expire ends the wait: the budget is used up.
func (t *transaction) expire() { t.ledger.close(t.silence(errBudget), t.pipeline.now()) }

// run is what a goroutine of the pipeline does: it takes the legs to their end.
func (t *transaction) run(ctx context.Context) {
	defer t.release(ctx)
	if len(t.legs) == 1 {
		t.legs[0].run(ctx)
	} else {
		t.runAll(ctx)
	}
	t.ledger.close(nil, time.Time{}) // nothing is under way
}

// runAll takes the legs side by side: none waits for a provider of another.
func (t *transaction) runAll(ctx context.Context) {
	var all sync.WaitGroup
	for i := range t.legs {
		all.Go(func() { t.legs[i].run(ctx) })
	}
	all.Wait()
}

// mayBegin: there is somebody to reply to, and time.
func (t *transaction) mayBegin(ctx context.Context) *providers.Error {
	if ctx.Err() != nil {
		return unsent("the session had ended", context.Cause(ctx))
	}
	if !t.pipeline.now().Before(t.until) {
		return &providers.Error{
			Category: providers.LocalFailure, Cause: errBudget,
			Message: "nothing was sent: reading the mail took longer than " + t.setup.Budget.String(),
		}
	}
	return nil
}

// lose keeps and logs what the provider cannot carry.
func (t *transaction) lose(ctx context.Context, v Verdict) {
	if len(v.Losses) == 0 {
		return
	}
	t.ledger.lose(v.Losses)
	t.log(ctx, slog.LevelInfo, "provider cannot carry everything",
		slog.String("provider", v.Provider), slog.Any("losses", v.Losses))
}

// silence is why there is no answer.
func (t *transaction) silence(cause error) *providers.Error {
	err := &providers.Error{Category: providers.NetworkError, Message: "no answer before the session ended", Cause: cause}
	if errors.Is(cause, errBudget) {
		err.Message = "no answer within " + t.setup.Budget.String()
	}
	return err
}

// late puts right what was said to be unknown.
func (t *transaction) late(ctx context.Context, outcome providers.Outcome) {
	known := t.ledger.standing()
	t.land(ctx, known.outcome)
	t.pipeline.recorder.Record(t.record.with(known))
	t.logLate(ctx, outcome)
}

// conclude counts, records and logs what the application is about to be told.
func (t *transaction) conclude(ctx context.Context) providers.Outcome {
	known := t.ledger.standing()
	t.land(ctx, known.outcome)
	t.owe(known.outcome)
	took := t.pipeline.now().Sub(t.start)
	t.pipeline.metrics.deliveries.Observe(took.Seconds())
	t.setup.told(known.outcome)
	t.pipeline.recorder.Record(t.record.with(known))
	t.logDecision(ctx, known.outcome, took)
	return known.outcome
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

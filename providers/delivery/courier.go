package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// courier brings one message to one provider.
type courier struct {
	*transaction

	to      *candidate
	message *translate.Message // as this provider is given it
	// redirected: the message has recipients of its own, whose fate is everybody's.
	redirected bool
}

// carry sends to these recipients and gives what became of them; nothing where
// nobody was asked. Where the provider refuses a whole request for the sake of
// one recipient, the others are sent to without it: it is left out where the
// answer names it, else they are halved. Each round has fewer recipients than the
// one before, and none begins once the reply is given.
func (c courier) carry(ctx context.Context, recipients []string) providers.Outcome {
	outcome := c.ask(ctx, recipients)
	innocent := withoutFault(outcome)
	switch half := len(innocent) / 2; {
	case len(innocent) == 0:
	case len(innocent) < len(recipients):
		replace(outcome, c.carry(ctx, innocent))
	case half > 0:
		replace(outcome, c.carry(ctx, innocent[:half]))
		replace(outcome, c.carry(ctx, innocent[half:]))
	}
	return outcome
}

// replace puts later answers in the place of those before; both are in the order
// of the envelope.
func replace(outcome, later providers.Outcome) {
	at := 0
	for _, result := range later {
		for outcome[at].Recipient != result.Recipient {
			at++
		}
		outcome[at] = result
	}
}

// withoutFault are the recipients that were refused because of another.
func withoutFault(outcome providers.Outcome) []string {
	var innocent []string
	for _, result := range outcome {
		if result.State == providers.Refused && errors.Is(result.Err, providers.ErrAnotherRecipient) {
			innocent = append(innocent, result.Recipient)
		}
	}
	return innocent
}

// ask makes one request and counts its answer. Nobody is asked once the reply is
// given.
func (c courier) ask(ctx context.Context, recipients []string) providers.Outcome {
	start := c.pipeline.now()
	attempt, open := c.ledger.start(c.to.Name(), recipients, start)
	if !open {
		return nil
	}
	m := c.message
	if !c.redirected && len(recipients) < len(m.Envelope.Recipients) {
		m = m.For(recipients)
	}
	outcome := settle(c.to.Name(), m.Envelope.Recipients, c.call(ctx, m))
	if c.redirected {
		outcome = share(outcome, recipients)
	}
	took := c.pipeline.now().Sub(start)
	c.to.meters.answered(verdict(outcome), took)
	if late := c.ledger.end(attempt, outcome, took); late {
		c.late(ctx, outcome)
	}
	return outcome
}

// share gives each recipient what became of those who get its mail instead: the
// best of it.
func share(outcome providers.Outcome, recipients []string) providers.Outcome {
	best := outcome[0]
	for _, result := range outcome[1:] {
		if best.State != providers.Accepted && (result.State == providers.Accepted || best.State == providers.Refused) {
			best = result
		}
	}
	shared := make(providers.Outcome, len(recipients))
	for i, recipient := range recipients {
		shared[i] = best
		shared[i].Recipient = recipient
	}
	return shared
}

// call turns a panic into an outcome: the request may have left before it.
func (c courier) call(ctx context.Context, m *translate.Message) (outcome providers.Outcome) {
	defer func() {
		if r := recover(); r != nil {
			c.log(ctx, slog.LevelError, "provider panicked", slog.String("provider", c.to.Name()),
				slog.String("err", fmt.Sprint(r)), slog.String("stack", string(debug.Stack())))
			outcome = providers.Fail(m.Envelope.Recipients, providers.Ambiguous,
				&providers.Error{Category: providers.Unknown, Message: "the bridge failed while it sent"})
		}
	}()
	return c.to.Send(ctx, m)
}

// settle holds a provider to its contract, one result per recipient, in order:
// what it left out may have been sent.
func settle(name string, recipients []string, outcome providers.Outcome) providers.Outcome {
	if len(outcome) != len(recipients) {
		outcome = make(providers.Outcome, len(recipients))
	}
	for i, recipient := range recipients {
		if outcome[i].Recipient != recipient || !sound(outcome[i]) {
			outcome[i] = providers.Result{Recipient: recipient, Err: &providers.Error{
				Category: providers.Unknown, Message: "the provider's answer leaves this recipient out",
			}}
		}
		outcome[i].Provider = name
	}
	return outcome
}

// sound: the error is nil exactly when the recipient was accepted.
func sound(r providers.Result) bool { return (r.State == providers.Accepted) == (r.Err == nil) }

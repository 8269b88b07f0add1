package delivery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// lastAnswer is how long after the reply a request may still be answered, beyond
// the provider's own time-out.
const lastAnswer = 10 * time.Second

// remember puts the message on record as in flight, and keeps the legs that are to
// be taken. Of a repeat those recipients need none of whom it is known that they
// were taken, or whose fate is unknown still: that counts more than what would
// become of them now, so it is asked also where nobody is to be sent to.
func (t *transaction) remember(ctx context.Context) *providers.Error {
	memory := t.pipeline.memory
	if memory == nil {
		return nil
	}
	flight := Flight{
		ID: t.message.Envelope.BridgeID, Time: t.start, Deadline: t.landed(), Recipients: t.message.Envelope.Recipients,
	}
	var err error
	if flight.Keys, err = keysOf(t.message); err != nil {
		return forgetful(err)
	}
	for {
		flight.Known = t.ledger.settled()
		earlier, err := memory.Begin(ctx, flight)
		if err != nil {
			return forgetful(err)
		}
		if earlier == nil {
			t.flies = true
			return nil
		}
		known, again, refusal := t.repeats(ctx, earlier)
		if refusal != nil {
			return refusal
		}
		t.ledger.preset(known)
		t.record.RepeatOf = earlier.ID
		t.pipeline.replies.note(t.message.Envelope.BridgeID, func(r *reply) { r.earlier = earlier.ID })
		if t.keep(again); len(t.legs) == 0 {
			return nil
		}
		flight.Continues = earlier.ID
	}
}

// forgetful: what cannot be remembered is not sent.
func forgetful(err error) *providers.Error {
	return &providers.Error{Category: providers.LocalFailure, Message: "nothing was sent: it cannot be put on record", Cause: err}
}

// landed is when no request of the message can be under way any more: those of an
// attempt leave one after another.
func (t *transaction) landed() time.Time {
	longest := time.Duration(0)
	for i := range t.legs {
		for _, v := range t.legs[i].carriers {
			if bounded, ok := v.candidate.Provider.(interface{ Timeout() time.Duration }); ok {
				longest = max(longest, time.Duration(t.legs[i].requests(v))*bounded.Timeout())
			}
		}
	}
	return t.until.Add(longest + lastAnswer)
}

// repeats finds out what became of the earlier message: what is known, and who is
// to be sent to again.
func (t *transaction) repeats(ctx context.Context, earlier *Past) (known providers.Outcome, again []string, refusal *providers.Error) {
	t.log(ctx, slog.LevelInfo, "message repeats an earlier one", slog.String("repeat_of", earlier.ID))
	if earlier.InFlight {
		waiting, cancel := context.WithDeadline(ctx, t.until)
		defer cancel()
		landed, err := t.pipeline.memory.Await(waiting, earlier.ID)
		if err != nil {
			return nil, nil, forgetful(err)
		}
		landed.Alike = earlier.Alike
		earlier = landed
	}
	for _, result := range t.own(t.lookUp(ctx, earlier)) {
		switch {
		case result.State == providers.Refused, result.State == providers.Ambiguous && !earlier.InFlight && t.setup.Config.OnAmbiguous == ambiguousFailover:
			again = append(again, result.Recipient)
		default:
			known = append(known, result)
		}
	}
	return known, again, nil
}

// own gives results as this message writes and orders its recipients: a repeat
// may differ in both (see digest).
func (t *transaction) own(outcome providers.Outcome) providers.Outcome {
	own := make(providers.Outcome, 0, len(outcome))
	for _, recipient := range t.message.Envelope.Recipients {
		same := func(r providers.Result) bool { return strings.EqualFold(r.Recipient, recipient) }
		if at := slices.IndexFunc(outcome, same); at >= 0 {
			result := outcome[at]
			result.Recipient = recipient
			own = append(own, result)
		}
	}
	return own
}

// finder is a provider that can be asked what became of a message.
type finder interface {
	// Find gives one result per recipient of sent: accepted where the provider has
	// it, refused where it is known not to have it, else ambiguous.
	Find(ctx context.Context, sent providers.Sent) providers.Outcome
}

// lookUp asks the providers about the recipients of whom nothing is known, and
// puts their answers on record.
func (t *transaction) lookUp(ctx context.Context, earlier *Past) providers.Outcome {
	outcome := slices.Clone(earlier.Outcome)
	if earlier.InFlight {
		return outcome
	}
	looking, cancel := context.WithDeadline(ctx, t.until)
	defer cancel()
	changed := false
	for _, c := range t.setup.candidates {
		asked := t.unknownAt(earlier, c.Name())
		f, able := c.Provider.(finder)
		if !able || len(asked) == 0 {
			continue
		}
		found := f.Find(looking, t.sent(earlier, asked))
		t.log(ctx, slog.LevelInfo, "provider was asked what became of a message", slog.String("provider", c.Name()),
			slog.String("repeat_of", earlier.ID), slog.Int("recipients", len(asked)), slog.Int("accepted", found.Accepted()))
		for _, result := range found {
			if result.State != providers.Ambiguous {
				at := slices.IndexFunc(outcome, func(r providers.Result) bool { return r.Recipient == result.Recipient })
				outcome[at], changed = result, true
			}
		}
	}
	if changed {
		if err := t.pipeline.memory.Land(ctx, earlier.ID, outcome); err != nil {
			t.log(ctx, slog.LevelError, "what was looked up is not on record", slog.Any("err", err))
		}
	}
	return outcome
}

// sent is the earlier message as a provider may be asked about it. What only the
// message at hand knows counts where it is the same mail.
func (t *transaction) sent(earlier *Past, recipients []string) providers.Sent {
	sent := providers.Sent{BridgeID: earlier.ID, Recipients: recipients, Time: earlier.Time}
	if earlier.Alike {
		directives := t.message.Directives
		sent.MessageID, sent.Options, sent.Over = t.message.MessageID, directives.Options, earlier.Deadline
		if directives.SendAt.After(sent.Over) {
			sent.Over = directives.SendAt
		}
	}
	return sent
}

// unknownAt are those of whom a provider may know more. Who was sent to under
// another id is not found by this one, and whose mail the guard sends elsewhere
// not by its address.
func (t *transaction) unknownAt(earlier *Past, provider string) []string {
	var unknown []string
	for _, result := range earlier.Outcome {
		if result.State == providers.Ambiguous && result.Provider == provider &&
			!slices.Contains(earlier.Inherited, result.Recipient) && !t.setup.guard.redirects(result.Recipient) {
			unknown = append(unknown, result.Recipient)
		}
	}
	return unknown
}

// keep drops from the legs what does not bring the mail to these recipients.
func (t *transaction) keep(recipients []string) {
	for i := range t.legs {
		l := &t.legs[i]
		l.pending = slices.DeleteFunc(slices.Clone(l.pending), func(r string) bool { return !slices.Contains(recipients, r) })
	}
	t.legs = slices.DeleteFunc(t.legs, func(l leg) bool { return len(l.pending) == 0 })
}

// owe notes that the reply leaves something open.
func (t *transaction) owe(outcome providers.Outcome) {
	if t.pipeline.memory != nil && slices.ContainsFunc(outcome, func(r providers.Result) bool { return r.State == providers.Ambiguous }) {
		t.pipeline.replies.note(t.message.Envelope.BridgeID, func(r *reply) { r.open = true })
	}
}

// land puts the outcome on record, before anybody is told of it.
func (t *transaction) land(ctx context.Context, outcome providers.Outcome) {
	if !t.flies {
		return
	}
	if err := t.pipeline.memory.Land(context.WithoutCancel(ctx), t.message.Envelope.BridgeID, outcome); err != nil {
		t.log(ctx, slog.LevelError, "the outcome is not on record", slog.Any("err", err))
	}
}

// keysOf says what the message repeats: the contract's replies, "What is a repeat".
func keysOf(m *translate.Message) (Keys, error) {
	var keys Keys
	if key := m.Directives.IdempotencyKey; key != "" {
		keys.Idempotency = digest(m.Envelope, "key", key)
	}
	if m.MessageID != "" {
		keys.MessageID = digest(m.Envelope, "id", m.MessageID)
		return keys, nil
	}
	content, err := m.Fingerprint()
	if err != nil {
		return keys, fmt.Errorf("reading the mail again: %w", err)
	}
	keys.Content = digest(m.Envelope, "content", content)
	return keys, nil
}

// digest joins what makes a message the same: its envelope, whoever gave it, and
// a value.
func digest(e translate.Envelope, kind, value string) string {
	recipients := make([]string, len(e.Recipients))
	for i, recipient := range e.Recipients {
		recipients[i] = strings.ToLower(recipient)
	}
	slices.Sort(recipients)
	hash := sha256.New()
	for _, text := range slices.Concat([]string{kind, value, e.User, e.MailFrom}, recipients) {
		hash.Write([]byte(text))
		hash.Write([]byte{0})
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

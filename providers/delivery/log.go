package delivery

import (
	"context"
	"log/slog"
	"regexp"
	"time"

	"smtpbridge/providers"
)

// address finds what may be a mail address in a provider's words: none goes to the log.
var address = regexp.MustCompile(`("[^"]*"|[^\s<>"'(),;:]+)@[^\s<>"'(),;:]+`)

// fate is the recipients of a message that met the same end.
type fate struct {
	state      providers.State
	provider   string
	err        *providers.Error
	recipients int
}

// fates joins the results by state and category, in order of appearance.
func fates(outcome providers.Outcome) []fate {
	var out []fate
next:
	for _, result := range outcome {
		for i := range out {
			if out[i].state == result.State && category(out[i].err) == category(result.Err) {
				out[i].recipients++
				continue next
			}
		}
		out = append(out, fate{result.State, result.Provider, result.Err, 1})
	}
	return out
}

// level is that of the category's severity.
func (f fate) level() slog.Level {
	if f.err == nil {
		return slog.LevelInfo
	}
	return f.err.Category.Level()
}

func (f fate) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("status", f.state.String()), slog.Int("recipients", f.recipients)}
	if f.provider != "" {
		attrs = append(attrs, slog.String("provider", f.provider))
	}
	if f.err != nil {
		attrs = append(attrs,
			slog.String("category", string(f.err.Category)),
			slog.String("class", f.err.Category.Class()),
			slog.String("err", address.ReplaceAllString(f.err.Error(), "[address]")))
		if f.err.ProviderCode != "" {
			attrs = append(attrs, slog.String("provider_code", address.ReplaceAllString(f.err.ProviderCode, "[address]")))
		}
	}
	return attrs
}

// log writes a line with the id of the message on it.
func (t *transaction) log(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	id := slog.String("message_id", t.message.Envelope.BridgeID)
	//nolint:sloglint // the callers' messages are constant
	t.pipeline.logger.LogAttrs(ctx, level, msg, append([]slog.Attr{id}, attrs...)...)
}

// logDecision writes one line for each group of recipients. Where everybody was
// taken the line that tells the reply says it all: this one is for debugging.
func (t *transaction) logDecision(ctx context.Context, outcome providers.Outcome, took time.Duration) {
	quiet := outcome.Accepted() == len(outcome)
	if quiet && !t.pipeline.logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	for _, g := range fates(outcome) {
		level := g.level()
		if quiet {
			level = slog.LevelDebug
		}
		t.log(ctx, level, "delivery decided",
			append(g.attrs(), slog.Int64("bytes", t.message.Size), slog.Duration("dur", took))...)
	}
}

// logAttempt says what a provider answered, and what follows from it.
func (l *leg) logAttempt(ctx context.Context, v Verdict, s step, decision string, wait time.Duration) {
	attrs := append(fate{s.worst.State, v.Provider, s.worst.Err, len(l.group.recipients)}.attrs(),
		slog.Int("attempt", s.number), slog.String("decision", decision), slog.Int("pending", len(l.pending)))
	if wait > 0 {
		attrs = append(attrs, slog.Duration("wait", wait))
	}
	l.log(ctx, s.worst.Err.Category.Level(), "provider refused", attrs...)
}

// logLate warns even where the message was taken: the application, told that
// nobody knows, may have sent it again.
func (t *transaction) logLate(ctx context.Context, outcome providers.Outcome) {
	for _, g := range fates(outcome) {
		t.log(ctx, max(g.level(), slog.LevelWarn), "answer came after the reply",
			append(g.attrs(), slog.Duration("dur", t.pipeline.now().Sub(t.start)))...)
	}
}

// category is "ok" without an error.
func category(err *providers.Error) providers.Category {
	if err == nil {
		return ok
	}
	return err.Category
}

// verdict is what a hand-over counts as: "ok" where a recipient was taken, else
// what the first one met.
func verdict(outcome providers.Outcome) providers.Category {
	if outcome.Accepted() > 0 || len(outcome) == 0 {
		return ok
	}
	return category(outcome[0].Err)
}

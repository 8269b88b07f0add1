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

// group is the recipients of a message that met the same end.
type group struct {
	state      providers.State
	provider   string
	err        *providers.Error
	recipients int
}

// groups joins the results by state and category, in order of appearance.
func groups(outcome providers.Outcome) []group {
	var out []group
next:
	for _, result := range outcome {
		for i := range out {
			if out[i].state == result.State && category(out[i].err) == category(result.Err) {
				out[i].recipients++
				continue next
			}
		}
		out = append(out, group{result.State, result.Provider, result.Err, 1})
	}
	return out
}

// level is that of the category's severity.
func (g group) level() slog.Level {
	if g.err == nil {
		return slog.LevelInfo
	}
	return g.err.Category.Level()
}

func (g group) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("status", g.state.String()), slog.Int("recipients", g.recipients)}
	if g.provider != "" {
		attrs = append(attrs, slog.String("provider", g.provider))
	}
	if g.err != nil {
		attrs = append(attrs,
			slog.String("category", string(g.err.Category)),
			slog.String("class", g.err.Category.Class()),
			slog.String("err", address.ReplaceAllString(g.err.Error(), "[address]")))
		if g.err.ProviderCode != "" {
			attrs = append(attrs, slog.String("provider_code", address.ReplaceAllString(g.err.ProviderCode, "[address]")))
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
	for _, g := range groups(outcome) {
		level := g.level()
		if quiet {
			level = slog.LevelDebug
		}
		t.log(ctx, level, "delivery decided",
			append(g.attrs(), slog.Int64("bytes", t.message.Size), slog.Duration("dur", took))...)
	}
}

// logLate warns even where the message was taken: the application, told that
// nobody knows, may have sent it again.
func (t *transaction) logLate(ctx context.Context, outcome providers.Outcome) {
	for _, g := range groups(outcome) {
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

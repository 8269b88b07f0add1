package delivery

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// leg brings a message to the recipients of one group: it tries the providers of
// its route in order, each with a few attempts, until everybody was taken or
// refused for good, nobody else can be asked, or the reply is given.
//
//	for each provider:  resting or limited?  ─▶ later, if no other is free
//	                    breaker open, quota used up?  ─▶ the next
//	                    attempt ─▶ wait ─▶ attempt ─▶ …  ─▶ the next
type leg struct {
	*transaction

	group    group
	carriers []Verdict
	pending  []string  // who may still be sent to
	last     string    // the provider that was asked last
	skipped  []string  // why others were not asked
	taken    time.Time // when quota was counted last
}

// run sends. Nothing of it is left when it returns.
func (l *leg) run(ctx context.Context) {
	var later []Verdict
	for i, v := range l.carriers {
		if len(l.pending) == 0 {
			return
		}
		if !l.visit(ctx, v, i+1 < len(l.carriers)) {
			later = append(later, v)
		}
	}
	for len(l.pending) > 0 && len(later) > 0 {
		now := l.pipeline.now()
		slices.SortStableFunc(later, func(a, b Verdict) int { return l.readyAt(a, now).Compare(l.readyAt(b, now)) })
		if !l.pause(ctx, later[0], l.readyAt(later[0], now).Sub(now)) {
			break
		}
		if l.visit(ctx, later[0], len(later) > 1) {
			later = later[1:]
		}
	}
	for _, v := range later {
		l.skip(ctx, v, "its rate limit leaves no room within the budget")
	}
	if len(l.skipped) > 0 {
		l.ledger.refuse(l.pending, &providers.Error{
			Category: providers.NoProvider, Message: "nobody could be asked: " + strings.Join(l.skipped, "; "),
		})
	}
}

func (l *leg) readyAt(v Verdict, now time.Time) time.Time {
	return v.candidate.health.readyAt(l.requests(v), now)
}

// visit asks one provider, as often as it makes sense. It reports false, and has
// asked nobody, where the provider may be asked later.
func (l *leg) visit(ctx context.Context, v Verdict, others bool) (visited bool) {
	h := v.candidate.health
	for number := 1; len(l.pending) > 0; number++ {
		if h.isOpen() {
			l.skip(ctx, v, "its circuit breaker is open")
			return true
		}
		for !h.take(l.requests(v), l.pipeline.now()) {
			now := l.pipeline.now()
			switch {
			case number == 1:
				return false
			case others || !l.pause(ctx, v, l.readyAt(v, now).Sub(now)):
				return true
			}
		}
		wait := l.attempt(ctx, v, number, others)
		if wait < 0 || !l.pause(ctx, v, wait) {
			return true
		}
	}
	return true
}

// requests is how many the message takes, at the least.
func (l *leg) requests(v Verdict) int {
	most := v.candidate.Capabilities().MaxRecipients
	if most == 0 {
		return 1
	}
	return (len(l.pending) + most - 1) / most
}

// attempt asks once, and says how long to wait before the next attempt; less than
// 0 means that there is none.
func (l *leg) attempt(ctx context.Context, v Verdict, number int, others bool) time.Duration {
	h := v.candidate.health
	outcome, err := h.breaker.Execute(func() (providers.Outcome, error) { return l.ask(ctx, v) })
	if len(outcome) == 0 {
		if !errors.Is(err, errNotAsked) {
			l.skip(ctx, v, "its circuit breaker is open")
		}
		return -1
	}
	worst := worstOf(outcome)
	if worst == nil || !worst.Err.Simulated {
		h.window.add(outcome.Accepted() > 0 || !worst.Err.Unhealthy(), l.pipeline.now())
		l.pipeline.escalate(v.Provider, outcome)
	}
	l.pending = l.remaining(outcome)
	return l.next(ctx, v, step{number: number, others: others, worst: worst})
}

// ask hands the message over. The error is what the breaker is told; without an
// outcome nobody was asked.
func (l *leg) ask(ctx context.Context, v Verdict) (providers.Outcome, error) {
	if !l.reserve(ctx, v) {
		return nil, errNotAsked
	}
	l.moveTo(ctx, v)
	outcome := courier{l.transaction, v.candidate, l.addressed(v), l.group.redirected}.carry(ctx, l.pending)
	l.giveBack(ctx, v, len(l.pending), outcome)
	switch worst := worstOf(outcome); {
	case len(outcome) == 0:
		return nil, errNotAsked
	case worst == nil || outcome.Accepted() > 0:
		return outcome, nil
	default:
		return outcome, worst.Err
	}
}

// errNotAsked tells the breaker nothing.
var errNotAsked = &providers.Error{Category: providers.LocalFailure}

// worstOf is the result that says most about what follows: one that another
// attempt may mend, else the first that is no success; nil where all are.
func worstOf(outcome providers.Outcome) *providers.Result {
	var worst *providers.Result
	for i := range outcome {
		switch r := &outcome[i]; {
		case r.State == providers.Accepted:
		case r.State == providers.Refused && r.Err.FailsOver():
			return r
		case worst == nil:
			worst = r
		}
	}
	return worst
}

// step is an attempt that ended, as far as what comes next depends on it.
type step struct {
	number int
	others bool // another provider may be asked
	worst  *providers.Result
}

// next decides what follows an attempt and says so in one line.
func (l *leg) next(ctx context.Context, v Verdict, s step) time.Duration {
	if s.worst == nil {
		return -1
	}
	now := l.pipeline.now()
	rest := s.worst.Err.Rest()
	if rest > 0 {
		v.candidate.health.leave(now.Add(rest))
	}
	wait := time.Duration(-1)
	if len(l.pending) > 0 && s.number < l.setup.Config.MaxAttempts && l.mayRetry(s) {
		if wait = max(rest, l.backoff(s.number)); now.Add(wait).After(l.until) {
			wait = -1
		}
	}
	decision := "stop"
	switch {
	case wait >= 0:
		decision = "retry"
	case len(l.pending) > 0 && s.others:
		decision = "next provider"
	}
	l.logAttempt(ctx, v, s, decision, wait)
	return wait
}

// mayRetry: the same provider may take the message soon, and nobody else is free
// to take it sooner.
func (l *leg) mayRetry(s step) bool {
	limited := s.worst.Err.Category == providers.RateLimit || s.worst.Err.RetryAfter > 0
	switch {
	case !s.worst.Err.Retryable(), limited && s.others:
		return false
	case s.worst.State == providers.Ambiguous:
		return l.setup.Config.OnAmbiguous == ambiguousFailover
	}
	return true
}

// backoff doubles with each attempt, with full jitter.
func (l *leg) backoff(attempt int) time.Duration {
	most := l.setup.Config.InitialBackoff.Std() << min(attempt-1, 16)
	return rand.N(most) + 1 //nolint:gosec // jitter guards no secret
}

// remaining are those of the outcome whom another attempt, here or elsewhere, may
// still bring the mail.
func (l *leg) remaining(outcome providers.Outcome) []string {
	var pending []string
	for _, result := range outcome {
		switch {
		case result.State == providers.Refused && result.Err.FailsOver(),
			result.State == providers.Ambiguous && l.setup.Config.OnAmbiguous == ambiguousFailover:
			pending = append(pending, result.Recipient)
		}
	}
	return pending
}

// reserve counts the recipients against the provider's quota.
func (l *leg) reserve(ctx context.Context, v Verdict) bool {
	limits := v.candidate.config.quotas()
	if limits == (QuotaLimits{}) {
		return true
	}
	now := l.pipeline.now()
	ok, err := l.pipeline.quotas.Take(ctx, v.Provider, int64(len(l.pending)), limits, now)
	switch {
	case err != nil:
		l.log(ctx, slog.LevelError, "quota cannot be counted", slog.String("provider", v.Provider), slog.Any("err", err))
		l.skip(ctx, v, "its quota cannot be counted")
		return false
	case !ok:
		v.candidate.health.exhaust(nextDay(now))
		l.skip(ctx, v, "its quota is used up")
		return false
	}
	l.taken = now
	return true
}

// giveBack returns what the provider did not take.
func (l *leg) giveBack(ctx context.Context, v Verdict, asked int, outcome providers.Outcome) {
	if v.candidate.config.quotas() == (QuotaLimits{}) {
		return
	}
	refused := int64(asked - len(outcome)) // of whom nobody was asked
	for _, result := range outcome {
		if result.State == providers.Refused {
			refused++
		}
	}
	if refused == 0 {
		return
	}
	if err := l.pipeline.quotas.Return(ctx, v.Provider, refused, l.taken); err != nil {
		l.log(ctx, slog.LevelError, "quota cannot be given back", slog.String("provider", v.Provider), slog.Any("err", err))
	}
}

func nextDay(now time.Time) time.Time { return now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour) }

// addressed is the message as the provider is given it, for the group.
func (l *leg) addressed(v Verdict) *translate.Message {
	if l.group.redirected {
		return v.Message.Redirected(l.setup.Guard.RedirectTo, l.group.recipients)
	}
	return v.Message
}

// moveTo counts a failover, and names what the provider loses.
func (l *leg) moveTo(ctx context.Context, v Verdict) {
	if l.last == v.Provider {
		return
	}
	if l.last != "" {
		v.candidate.meters.failover(l.last)
	}
	l.last = v.Provider
	l.lose(ctx, v)
}

// skip notes why a provider is not asked.
func (l *leg) skip(ctx context.Context, v Verdict, why string) {
	l.skipped = append(l.skipped, v.Provider+": "+why)
	l.log(ctx, slog.LevelWarn, "provider not asked", slog.String("provider", v.Provider), slog.String("reason", why))
}

// escalate tells of an answer.
func (p *Pipeline) escalate(provider string, outcome providers.Outcome) {
	if p.escalator == nil {
		return
	}
	accepted := outcome.Accepted()
	if accepted < len(outcome) {
		for _, f := range fates(outcome) {
			if f.err != nil {
				p.escalator.Failed(provider, f.err)
			}
		}
	}
	if accepted > 0 {
		p.escalator.Succeeded(provider)
	}
}

// pause waits, unless the time is not there or the reply is given meanwhile.
func (l *leg) pause(ctx context.Context, v Verdict, wait time.Duration) bool {
	if l.pipeline.now().Add(wait).After(l.until) {
		return false
	}
	v.candidate.meters.waited(wait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ledger.closing:
		return false
	case <-ctx.Done():
		return false
	}
}

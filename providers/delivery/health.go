package delivery

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"smtpbridge/providers"
)

// health is what is known of a provider from its answers, and how often it may be
// asked. It outlives a reload, by the provider's name.
type health struct {
	breaker  *gobreaker.CircuitBreaker[providers.Outcome]
	settings breakerSettings
	limiter  *rate.Limiter
	window   *window

	mu      sync.Mutex // guards what follows
	resting time.Time  // until then the provider is to be left alone
	spent   time.Time  // until then our own quota is used up
}

// breakerSettings cannot change in a breaker: with others it is made anew.
type breakerSettings struct {
	threshold int
	recovery  time.Duration
}

// newHealth is that of a provider of which nothing is known.
func newHealth(c AccountConfig) *health {
	settings := breakerSettings{c.FailureThreshold, c.RecoveryTimeout.Std()}
	limiter := rate.NewLimiter(c.limit(), c.BurstLimit) // full at first
	return &health{breaker: newBreaker(settings), settings: settings, limiter: limiter, window: new(window)}
}

// under is what is known under another configuration.
func (h *health) under(c AccountConfig) *health {
	h.limit(c)
	settings := breakerSettings{c.FailureThreshold, c.RecoveryTimeout.Std()}
	if settings == h.settings {
		return h
	}
	return &health{breaker: newBreaker(settings), settings: settings, limiter: h.limiter, window: h.window, resting: h.rest()}
}

// limit sets the limiter; a quota that was used up may be another now.
func (h *health) limit(c AccountConfig) {
	h.limiter.SetLimit(c.limit())
	h.limiter.SetBurst(c.BurstLimit)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.spent = time.Time{}
}

func (c AccountConfig) limit() rate.Limit {
	if c.RateLimit == 0 {
		return rate.Inf
	}
	return rate.Limit(float64(c.RateLimit) / time.Minute.Seconds())
}

// newBreaker opens after so many failures in a row, and lets one request try it
// after the recovery time.
func newBreaker(s breakerSettings) *gobreaker.CircuitBreaker[providers.Outcome] {
	return gobreaker.NewCircuitBreaker[providers.Outcome](gobreaker.Settings{
		MaxRequests:  1,
		Timeout:      s.recovery,
		ReadyToTrip:  func(counts gobreaker.Counts) bool { return int(counts.ConsecutiveFailures) >= s.threshold },
		IsSuccessful: func(err error) bool { return !isUnhealthy(err) },
		IsExcluded:   saysNothing,
	})
}

func isUnhealthy(err error) bool {
	refusal, ok := err.(*providers.Error) //nolint:errorlint // the breaker is given nothing else
	return ok && refusal != nil && refusal.Unhealthy()
}

// saysNothing: about the account, and neither for the provider's health nor
// against it.
func saysNothing(err error) bool {
	refusal, ok := err.(*providers.Error) //nolint:errorlint // the breaker is given nothing else
	if !ok || refusal == nil || refusal.Local {
		return false
	}
	return refusal.Simulated || slices.Contains([]providers.Category{
		providers.RateLimit, providers.QuotaExceeded, providers.ConfigurationError, providers.LocalFailure,
	}, refusal.Category)
}

// isOpen: the breaker lets nothing through.
func (h *health) isOpen() bool { return h.breaker.State() == gobreaker.StateOpen }

// isClosed: the breaker lets everything through.
func (h *health) isClosed() bool { return h.breaker.State() == gobreaker.StateClosed }

// leave lets the provider alone until then.
func (h *health) leave(until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until.After(h.resting) {
		h.resting = until
	}
}

// exhaust notes that our own quota is used up until then.
func (h *health) exhaust(until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.spent = until
}

// isFit: healthy, not to be left alone, and not known to be out of its quota.
func (h *health) isFit(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.isClosed() && !h.resting.After(now) && !h.spent.After(now)
}

func (h *health) rest() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.resting
}

// hasToken: a request could leave now.
func (h *health) hasToken(now time.Time) bool {
	return !h.rest().After(now) && h.limiter.TokensAt(now) >= 1
}

// take takes n tokens if the provider may be asked now.
func (h *health) take(n int, now time.Time) bool {
	return !h.rest().After(now) && h.limiter.AllowN(now, min(n, h.limiter.Burst()))
}

// readyAt is when the provider may be asked with n tokens.
func (h *health) readyAt(n int, now time.Time) time.Time {
	if rest := h.rest(); rest.After(now) {
		return rest
	}
	missing := float64(min(n, h.limiter.Burst())) - h.limiter.TokensAt(now)
	if missing <= 0 {
		return now
	}
	return now.Add(time.Duration(math.Ceil(missing / float64(h.limiter.Limit()) * float64(time.Second))))
}

// score: classification.md, "Selection score".
func (h *health) score(now time.Time) float64 {
	score := 100.0
	if !h.isClosed() {
		score -= 50
	}
	if !h.hasToken(now) {
		score -= 30
	}
	return score * h.window.rate(now)
}

const (
	// windowSize and windowTime bound the outcomes that a success rate is made of.
	windowSize = 100
	windowTime = 5 * time.Minute
	// windowLeast is how many there must be.
	windowLeast = 5
)

// window holds the last outcomes of a provider, in the order of their times.
type window struct {
	mu       sync.Mutex // guards what follows
	outcomes [windowSize]timed
	first    int // the oldest
	all      int
	good     int // of all
}

// timed is an outcome and when it came.
type timed struct {
	at   time.Time
	good bool
}

func (w *window) add(good bool, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == windowSize {
		w.drop()
	}
	w.outcomes[(w.first+w.all)%windowSize] = timed{now, good}
	w.all++
	if good {
		w.good++
	}
}

// drop forgets the oldest.
func (w *window) drop() {
	if w.outcomes[w.first].good {
		w.good--
	}
	w.first = (w.first + 1) % windowSize
	w.all--
}

// rate is the share of good outcomes, 1 where there are few.
func (w *window) rate(now time.Time) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.all > 0 && now.Sub(w.outcomes[w.first].at) > windowTime {
		w.drop()
	}
	if w.all < windowLeast {
		return 1
	}
	return float64(w.good) / float64(w.all)
}

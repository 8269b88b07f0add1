package delivery

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
)

// Status is how a provider stands, for /api/v1/providers.
type Status struct {
	Name string `json:"name"`
	// Breaker is closed, half_open or open.
	Breaker string `json:"breaker"`
	// Tokens are how many requests may leave at once; null without a rate limit.
	Tokens *float64 `json:"tokens"`
	// SuccessRate is that of the last requests, Score what the strategy "score" makes of it.
	SuccessRate float64 `json:"success_rate"`
	Score       float64 `json:"score"`
	// RestsUntil is until when the provider is left alone, after a Retry-After.
	RestsUntil *time.Time `json:"rests_until,omitempty"`
	Quota      Quota      `json:"quota"`
}

// Quota is what is left of a provider's quotas, in recipients; null where there is none.
type Quota struct {
	Day   *int64 `json:"day_remaining"`
	Month *int64 `json:"month_remaining"`
}

// Providers gives the status of each provider, in the order of the configuration.
func (p *Pipeline) Providers(ctx context.Context) []Status {
	s, now := p.setup.Load(), p.now()
	out := make([]Status, len(s.candidates))
	for i, c := range s.candidates {
		out[i] = Status{
			Name: c.Name(), Breaker: breakerNames[c.health.breaker.State()],
			SuccessRate: c.health.window.rate(now), Score: c.health.score(now), Quota: p.quota(ctx, c, now),
		}
		if c.config.RateLimit > 0 {
			tokens := max(c.health.limiter.TokensAt(now), 0)
			out[i].Tokens = &tokens
		}
		if rest := c.health.rest(); rest.After(now) {
			out[i].RestsUntil = &rest
		}
	}
	return out
}

var breakerNames = map[gobreaker.State]string{
	gobreaker.StateClosed: "closed", gobreaker.StateHalfOpen: "half_open", gobreaker.StateOpen: "open",
}

// quota is what is left; nothing where it cannot be counted.
func (p *Pipeline) quota(ctx context.Context, c *candidate, now time.Time) Quota {
	limits := c.config.quotas()
	if limits == (QuotaLimits{}) || p.quotas == nil {
		return Quota{}
	}
	day, month, err := p.quotas.Used(ctx, c.Name(), now)
	if err != nil {
		return Quota{}
	}
	left := func(limit, used int64) *int64 {
		if limit == 0 {
			return nil
		}
		rest := max(limit-used, 0)
		return &rest
	}
	return Quota{Day: left(limits.Day, day), Month: left(limits.Month, month)}
}

// collector gives what is asked for when Prometheus asks.
type collector struct{ pipeline *Pipeline }

var (
	breakerState = prometheus.NewDesc("bridge_breaker_state",
		"The circuit breaker of a provider: 0 closed, 1 half-open, 2 open.", []string{"provider"}, nil)
	quotaRemaining = prometheus.NewDesc("bridge_quota_remaining",
		"Recipients that are left of a provider's quota, where it has one.", []string{"provider", "period"}, nil)
)

// Describe implements [prometheus.Collector].
func (c collector) Describe(to chan<- *prometheus.Desc) {
	to <- breakerState
	to <- quotaRemaining
}

// collectTime bounds the question to the store.
const collectTime = 5 * time.Second

// Collect implements [prometheus.Collector].
func (c collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTime) //nolint:forbidigo // a scrape brings none
	defer cancel()
	now := c.pipeline.now()
	for _, one := range c.pipeline.setup.Load().candidates {
		to <- prometheus.MustNewConstMetric(breakerState, prometheus.GaugeValue, float64(one.health.breaker.State()), one.Name())
		left := c.pipeline.quota(ctx, one, now)
		for period, rest := range map[string]*int64{"day": left.Day, "month": left.Month} {
			if rest != nil {
				to <- prometheus.MustNewConstMetric(quotaRemaining, prometheus.GaugeValue, float64(*rest), one.Name(), period)
			}
		}
	}
}

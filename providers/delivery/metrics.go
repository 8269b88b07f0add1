package delivery

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"smtpbridge/providers"
)

// ok stands where a category would: a recipient was taken.
const ok providers.Category = "ok"

// metrics are the pipeline's. A request is counted when it ends, a recipient
// when the application is told of it.
type metrics struct {
	deliveries prometheus.Histogram
	requests   *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	recipients *prometheus.CounterVec
	waits      *prometheus.HistogramVec
	failovers  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, p *Pipeline) *metrics {
	// From an answer of a provider near by to the longest budget in use, in seconds.
	buckets := []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	auto := promauto.With(reg)
	if reg != nil {
		reg.MustRegister(collector{p})
	}
	return &metrics{
		deliveries: auto.NewHistogram(prometheus.HistogramOpts{
			Name:    "bridge_delivery_duration_seconds",
			Help:    "Time from the end of a message's data to what its reply says.",
			Buckets: buckets,
		}),
		requests: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "bridge_provider_requests_total",
			Help: "Messages handed to a provider, by what it answered; ok where it took a recipient.",
		}, []string{"provider", "category"}),
		durations: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "bridge_provider_request_duration_seconds",
			Help:    "Time that a provider took to answer, late answers included.",
			Buckets: buckets,
		}, []string{"provider"}),
		recipients: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "bridge_provider_recipients_total",
			Help: "Recipients handed to a provider, by what the application was told: accepted, refused or ambiguous.",
		}, []string{"provider", "result"}),
		waits: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "bridge_limiter_wait_seconds",
			Help:    "Waits for a provider's rate limit, for its Retry-After, and between attempts.",
			Buckets: buckets,
		}, []string{"provider"}),
		failovers: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "bridge_failovers_total",
			Help: "Messages that went on to another provider, by the one that did not take them.",
		}, []string{"from", "to"}),
	}
}

// forget deletes the series of a provider that a reload dropped.
func (m *metrics) forget(provider string) {
	label := prometheus.Labels{"provider": provider}
	m.requests.DeletePartialMatch(label)
	m.durations.DeletePartialMatch(label)
	m.recipients.DeletePartialMatch(label)
	m.waits.DeletePartialMatch(label)
	m.failovers.DeletePartialMatch(prometheus.Labels{"from": provider})
	m.failovers.DeletePartialMatch(prometheus.Labels{"to": provider})
}

// meters are the series of one provider. Holding them, not their vectors, lets
// a late answer be counted without bringing back the series of a provider that
// is gone.
type meters struct {
	requests   map[providers.Category]prometheus.Counter
	duration   prometheus.Observer
	recipients map[providers.State]prometheus.Counter
	waits      prometheus.Observer
	failovers  map[string]prometheus.Counter // by the provider before
}

// meters gives a provider's series among all, from zero where they are new.
func (m *metrics) meters(provider string, all []string) meters {
	out := meters{
		requests:   make(map[providers.Category]prometheus.Counter),
		duration:   m.durations.WithLabelValues(provider),
		recipients: make(map[providers.State]prometheus.Counter),
		waits:      m.waits.WithLabelValues(provider),
		failovers:  make(map[string]prometheus.Counter),
	}
	for _, other := range all {
		if other != provider {
			out.failovers[other] = m.failovers.WithLabelValues(other, provider)
		}
	}
	for _, category := range append(providers.Categories(), ok) {
		out.requests[category] = m.requests.WithLabelValues(provider, string(category))
	}
	for _, state := range []providers.State{providers.Ambiguous, providers.Accepted, providers.Refused} {
		out.recipients[state] = m.recipients.WithLabelValues(provider, state.String())
	}
	return out
}

// answered counts one hand-over.
func (m meters) answered(category providers.Category, took time.Duration) {
	counter, known := m.requests[category]
	if !known {
		counter = m.requests[providers.Unknown]
	}
	counter.Inc()
	m.duration.Observe(took.Seconds())
}

// told counts one recipient of a decision.
func (m meters) told(state providers.State) {
	if counter, known := m.recipients[state]; known {
		counter.Inc()
	}
}

// waited takes in a wait before a request.
func (m meters) waited(wait time.Duration) { m.waits.Observe(wait.Seconds()) }

// failover counts a message that comes from another provider.
func (m meters) failover(from string) {
	if counter, known := m.failovers[from]; known {
		counter.Inc()
	}
}

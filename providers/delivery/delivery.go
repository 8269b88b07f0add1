// Package delivery takes a message to a provider inside one time budget and
// says what became of every recipient.
//
// The budget ends the wait, not the request: the [Pipeline] owns the goroutine
// that sends, which runs under the provider's own time-out. A recipient without
// an answer in time is ambiguous; the answer that comes late is logged and
// corrects the record.
package delivery

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// Provider is what the pipeline sees of a provider.
type Provider interface {
	// Name is the configured name.
	Name() string
	Capabilities() providers.Capabilities
	// Send hands the message over and blocks until there is an answer, the
	// provider's own time-out has passed, or ctx ends. The outcome has one
	// result per envelope recipient, in envelope order.
	Send(ctx context.Context, m *translate.Message) providers.Outcome
}

// Options are what the pipeline works with. Only Registerer and Now may be nil:
// nothing is registered then, and the time is the real one.
type Options struct {
	// Budget is the longest wait for an answer.
	Budget     time.Duration
	Recorder   Recorder
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Pipeline delivers messages. It is safe for concurrent use.
type Pipeline struct {
	recorder Recorder
	logger   *slog.Logger
	now      func() time.Time
	metrics  *metrics
	setup    atomic.Pointer[setup]
	sends    sends
}

// New makes a pipeline over accounts, in the order in which they are tried. It
// must be closed.
func New(accounts []Account, o Options) *Pipeline {
	p := &Pipeline{recorder: o.Recorder, logger: o.Logger, now: o.Now, metrics: newMetrics(o.Registerer)}
	if p.now == nil {
		p.now = time.Now
	}
	p.Replace(accounts, o.Budget)
	return p
}

// Deliver takes the message over: it is closed once no request reads it any
// more, which may be after Deliver has returned. The outcome has one result per
// envelope recipient, in envelope order.
func (p *Pipeline) Deliver(ctx context.Context, m *translate.Message) providers.Outcome {
	t := p.begin(m)
	if m.Directives.Drop { // on every provider, so before one is chosen
		return t.drop(ctx)
	}
	verdicts, refusal := t.setup.verdicts(m, t.start)
	if refusal == nil {
		verdicts, refusal = carriers(verdicts)
	}
	if refusal != nil {
		return t.refuse(ctx, refusal)
	}
	return t.send(ctx, verdicts)
}

// Recipient says at RCPT why an address cannot be delivered to; nil where
// nothing speaks against it. The envelope is what is known of it by then.
func (p *Pipeline) Recipient(_ context.Context, _ translate.Envelope, address string) *providers.Error {
	local := address
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		local = address[:at]
	}
	if isASCII(local) {
		return nil
	}
	return &providers.Error{
		Category: providers.NonASCII,
		Message:  "no provider can carry a local part outside ASCII",
	}
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

// Replace swaps accounts and budget for the messages to come; those on their
// way end as they began. The metrics of a provider that is gone go with it.
// It must not be called concurrently with itself.
func (p *Pipeline) Replace(accounts []Account, budget time.Duration) {
	next := &setup{budget: budget}
	for _, a := range accounts {
		next.candidates = append(next.candidates, candidate{a.Provider, a.Config, p.metrics.meters(a.Name())})
	}
	previous := p.setup.Swap(next)
	if previous == nil {
		return
	}
	for _, c := range previous.candidates {
		if _, kept := next.find(c.Name()); !kept {
			p.metrics.forget(c.Name())
		}
	}
}

// Close lets no message in any more and waits for the requests that have
// outlived their reply. When ctx ends first they are cancelled, and Close
// returns its cause once their goroutines are gone.
func (p *Pipeline) Close(ctx context.Context) error { return p.sends.close(ctx) }

// setup is what a reload replaces.
type setup struct {
	budget     time.Duration
	candidates []candidate
}

// candidate is an account with its series.
type candidate struct {
	Provider

	config AccountConfig
	meters meters
}

func (s *setup) find(name string) (candidate, bool) {
	for _, c := range s.candidates {
		if c.Name() == name {
			return c, true
		}
	}
	return candidate{}, false
}

func (s *setup) names() string {
	names := make([]string, len(s.candidates))
	for i, c := range s.candidates {
		names[i] = c.Name()
	}
	return strings.Join(names, ", ")
}

// told counts the recipients of a decision.
func (s *setup) told(outcome providers.Outcome) {
	for _, result := range outcome {
		if c, found := s.find(result.Provider); found {
			c.meters.told(result.State)
		}
	}
}

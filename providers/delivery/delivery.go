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
	"sync"
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
	// result per envelope recipient, in envelope order; it is the caller's own.
	Send(ctx context.Context, m *translate.Message) providers.Outcome
}

// Options are what the pipeline works with. Recorder and Logger must be there;
// without a Registerer nothing is registered, without Memory no repeat is known
// as one, without Quotas none is counted, without Suppressions everybody is mailed,
// without Now the time is the real one.
type Options struct {
	Recorder     Recorder
	Memory       Memory
	Quotas       Quotas
	Suppressions Suppressions
	Escalator    Escalator
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
	Now          func() time.Time
}

// Escalator hears of every answer, so that somebody is told of failures that do
// not end. It must not block.
type Escalator interface {
	Failed(provider string, err *providers.Error)
	Succeeded(provider string)
}

// Pipeline delivers messages. It is safe for concurrent use.
type Pipeline struct {
	recorder     Recorder
	memory       Memory
	quotas       Quotas
	suppressions Suppressions
	escalator    Escalator
	logger       *slog.Logger
	now          func() time.Time
	metrics      *metrics
	setup        atomic.Pointer[setup]
	sends        *sends
	replies      replies
}

// New makes a pipeline. It must be closed.
func New(s Settings, o Options) *Pipeline {
	p := &Pipeline{
		recorder: o.Recorder, memory: o.Memory, quotas: o.Quotas, suppressions: o.Suppressions, escalator: o.Escalator, logger: o.Logger, now: o.Now,
		sends: newSends(),
	}
	p.metrics = newMetrics(o.Registerer, p)
	if p.now == nil {
		p.now = time.Now
	}
	p.Replace(s)
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
	groups, refusal := t.setup.ways(t.oneGroup[:0], m)
	if refusal == nil {
		groups, refusal = t.withhold(ctx, groups)
	}
	if refusal != nil {
		return t.refuse(ctx, refusal)
	}
	t.plan(groups)
	return t.send(ctx)
}

// Replied takes in whether the reply to a message was given: where it was not, or
// where it left open what became of somebody, the application will send it again.
func (p *Pipeline) Replied(id string, given bool) {
	if p.memory == nil {
		return
	}
	reply := p.replies.take(id)
	told := given && !reply.open
	p.memory.Replied(id, told)
	if reply.earlier != "" && told {
		p.memory.Replied(reply.earlier, told)
	}
}

// Refused puts on record a mail that never became a message: it could not be read,
// was too large or found no room.
func (p *Pipeline) Refused(e translate.Envelope, bytes int64, refusal *providers.Error) {
	var r Record
	r.fill(&translate.Message{Envelope: e, Size: bytes}, p.now())
	p.recorder.Record(r.with(standing{
		outcome: providers.Fail(e.Recipients, providers.Refused, refusal), attempts: []Attempt{},
	}))
}

// Learn takes in what an event says of a message: the provider has it for this
// recipient, or has not. Nothing follows where that was known, or nobody of the
// message has the address.
func (p *Pipeline) Learn(ctx context.Context, id string, result providers.Result) error {
	if p.memory == nil {
		return nil
	}
	return p.memory.Learn(ctx, id, result)
}

// reply is what must be known of a reply when it is given.
type reply struct {
	earlier string // the message that it is the answer to as well, empty for none
	open    bool   // it said of somebody that nothing is known
}

// replies are those on their way of which there is something to know.
type replies struct {
	mu   sync.Mutex // guards byID
	byID map[string]reply
}

func (r *replies) note(id string, change func(*reply)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID = make(map[string]reply)
	}
	known := r.byID[id]
	change(&known)
	r.byID[id] = known
}

func (r *replies) take(id string) reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.byID[id]
	delete(r.byID, id)
	return known
}

// Recipient says at RCPT why an address cannot be delivered to; nil where
// nothing speaks against it. The envelope is what is known of it by then.
func (p *Pipeline) Recipient(ctx context.Context, _ translate.Envelope, address string) *providers.Error {
	s := p.setup.Load()
	if refusal := s.guard.refuse(address); refusal != nil {
		return refusal
	}
	if refusal := p.refuseSuppressed(ctx, s, address); refusal != nil {
		return refusal
	}
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

// Replace swaps the settings for the messages to come; those on their way end as
// they began. What is known of a provider stays by its name; the metrics of one
// that is gone go with it. It must not be called concurrently with itself.
func (p *Pipeline) Replace(s Settings) {
	previous := p.setup.Load()
	next := p.newSetup(s, previous)
	p.setup.Store(next)
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

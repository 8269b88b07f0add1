package delivery_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
	"smtpbridge/translate"
)

// world is what the providers of one run did.
type world struct {
	mu       sync.Mutex // guards what follows
	taken    map[string]int
	unsure   map[string]int
	accepted map[string]string // provider by message and recipient
	flying   map[string]int    // requests that began while the breaker was half-open
	probes   int               // the most of them at once
}

// wild is a provider that answers each recipient of each request as it was drawn.
type wild struct {
	name    string
	world   *world
	answers []answer
	delays  []time.Duration
	state   func() string // of its breaker

	mu   sync.Mutex // guards next
	next int
}

func (w *wild) Name() string                         { return w.name }
func (w *wild) Capabilities() providers.Capabilities { return providers.Capabilities{} }

func (w *wild) Send(ctx context.Context, m *translate.Message) providers.Outcome {
	if w.state() == "half_open" {
		w.world.mu.Lock()
		w.world.flying[w.name]++
		w.world.probes = max(w.world.probes, w.world.flying[w.name])
		w.world.mu.Unlock()
		defer func() {
			w.world.mu.Lock()
			defer w.world.mu.Unlock()
			w.world.flying[w.name]--
		}()
	}
	outcome := make(providers.Outcome, len(m.Envelope.Recipients))
	for i, recipient := range m.Envelope.Recipients {
		w.mu.Lock()
		a := w.answers[w.next%len(w.answers)]
		delay := w.delays[w.next%len(w.delays)]
		w.next++
		w.mu.Unlock()
		if i == 0 {
			elapse(ctx, delay)
		}
		outcome[i] = providers.Result{Recipient: recipient, State: a.state, Err: a.err}
		w.note(m.Envelope.BridgeID+" "+recipient, a)
	}
	return outcome
}

func (w *wild) note(key string, a answer) {
	w.world.mu.Lock()
	defer w.world.mu.Unlock()
	switch a.state {
	case providers.Accepted:
		w.world.taken[key]++
		w.world.accepted[key] = w.name
	case providers.Ambiguous:
		w.world.unsure[key]++
	case providers.Refused:
	}
}

// drawn are the answers that a provider may give to one recipient.
func drawn() *rapid.Generator[answer] {
	kinds := []answer{taken, taken, taken, unknown}
	for _, c := range []providers.Category{
		providers.Authentication, providers.RateLimit, providers.QuotaExceeded, providers.InvalidRecipient,
		providers.ContentRejected, providers.NetworkError, providers.ServiceUnavailable, providers.ConfigurationError, providers.Unknown,
	} {
		kinds = append(kinds, refused(c), local(c), refusedFor(c, 7*time.Second))
	}
	return rapid.SampledFrom(kinds)
}

// For any answers of any providers: the reply agrees with what became of each
// recipient, nobody is sent to twice unless the configuration allows it, the
// budget holds, and a half-open breaker lets one request through.
func TestPipelineProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		failover := rapid.Bool().Draw(rt, "failover")
		attempts := rapid.IntRange(1, 4).Draw(rt, "attempts")
		messages := rapid.IntRange(1, 12).Draw(rt, "messages")
		strategy := rapid.SampledFrom([]string{"score", "priority", "weighted", "cost"}).Draw(rt, "strategy")
		w := &world{taken: map[string]int{}, unsure: map[string]int{}, accepted: map[string]string{}, flying: map[string]int{}}
		var wilds []*wild
		var ps []delivery.Provider
		for i := range rapid.IntRange(1, 3).Draw(rt, "providers") {
			one := &wild{
				name: fmt.Sprintf("p%d", i), world: w, answers: rapid.SliceOfN(drawn(), 1, 12).Draw(rt, "answers"),
				delays: rapid.SliceOfN(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 3 * time.Second, 40 * time.Second, 70 * time.Second}), 1, 4).Draw(rt, "delays"),
			}
			wilds, ps = append(wilds, one), append(ps, one)
		}
		var problems []string
		synctest.Test(t, func(t *testing.T) {
			p, _ := pipeline(t, func(s *delivery.Settings) {
				s.Config.MaxAttempts, s.Config.Strategy = attempts, strategy
				if failover {
					s.Config.OnAmbiguous = "failover"
				}
				for i := range s.Accounts {
					s.Accounts[i].Config.FailureThreshold, s.Accounts[i].Config.RecoveryTimeout = 2, config.Duration(5*time.Second)
					s.Accounts[i].Config.RateLimit, s.Accounts[i].Config.BurstLimit = 600, 3
				}
			}, nil, ps...)
			for i, one := range wilds {
				one.state = func() string { return p.Providers(t.Context())[i].Breaker }
			}
			problems = deliverAll(t, p, messages, w, failover)
			closePipeline(t, p)
			if w.probes > 1 {
				problems = append(problems, fmt.Sprintf("%d requests were under way at a half-open breaker", w.probes))
			}
		})
		if len(problems) > 0 {
			rt.Fatalf("%v", problems)
		}
	})
}

// deliverAll sends messages, some at once, and says what is wrong with the replies.
func deliverAll(t *testing.T, p *delivery.Pipeline, n int, w *world, failover bool) (problems []string) {
	t.Helper()
	var mu sync.Mutex
	complain := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		problems = append(problems, fmt.Sprintf(format, args...))
	}
	var wg sync.WaitGroup
	outcomes := make([]providers.Outcome, n)
	for i := range n {
		m := again(t, fmt.Sprintf("m%d", i))
		wg.Go(func() {
			start := time.Now()
			outcomes[i] = p.Deliver(t.Context(), m)
			if took := time.Since(start); took > budget {
				complain("message %d took %v, longer than the budget", i, took)
			}
		})
		if i%3 == 2 {
			<-time.After(2 * time.Second)
		}
	}
	wg.Wait()
	w.mu.Lock()
	told := map[string]providers.Result{}
	for i, outcome := range outcomes {
		for _, result := range outcome {
			key := fmt.Sprintf("m%d %s", i, result.Recipient)
			told[key] = result
			switch {
			case result.State == providers.Accepted && w.taken[key] == 0:
				complain("%s is said to be taken, nobody took it", key)
			case result.State == providers.Accepted && w.accepted[key] != result.Provider && !failover:
				complain("%s is said to be taken by %s, it was %s", key, result.Provider, w.accepted[key])
			case result.State == providers.Refused && w.taken[key]+w.unsure[key] > 0:
				complain("%s is said to be refused, it was taken %d times and perhaps %d", key, w.taken[key], w.unsure[key])
			}
		}
	}
	w.mu.Unlock()
	if err := p.Close(t.Context()); err != nil { // late answers
		complain("closing: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range told {
		if !failover && w.taken[key]+w.unsure[key] > 1 {
			complain("%s was taken %d times and perhaps %d", key, w.taken[key], w.unsure[key])
		}
		if told[key].State == providers.Refused && w.taken[key]+w.unsure[key] > 0 {
			complain("%s was sent after its refusal", key)
		}
	}
	return problems
}

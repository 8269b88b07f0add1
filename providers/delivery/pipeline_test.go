package delivery_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
	"smtpbridge/translate"
)

// script is a provider that gives one answer after the other to each request,
// the last one for ever; and counts.
type script struct {
	name    string
	answers []answer
	took    time.Duration

	mu    sync.Mutex // guards what follows
	asked []time.Time
	sent  map[string]int // times that a recipient was, or may have been, taken
}

// answer is what everybody in a request meets; nil is taken.
type answer struct {
	state providers.State
	err   *providers.Error
}

var taken = answer{state: providers.Accepted}

func refused(c providers.Category) answer {
	return answer{providers.Refused, &providers.Error{Category: c, Message: "no"}}
}

func refusedFor(c providers.Category, after time.Duration) answer {
	a := refused(c)
	a.err.RetryAfter = after
	return a
}

func local(c providers.Category) answer {
	a := refused(c)
	a.err.Local = true
	return a
}

var unknown = answer{providers.Ambiguous, &providers.Error{Category: providers.NetworkError, Message: "no answer"}}

func says(name string, answers ...answer) *script {
	return &script{name: name, answers: answers, sent: make(map[string]int)}
}

// requests is how often it was asked.
func (s *script) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func (s *script) Name() string                         { return s.name }
func (s *script) Capabilities() providers.Capabilities { return providers.Capabilities{} }

func (s *script) Send(ctx context.Context, m *translate.Message) providers.Outcome {
	s.mu.Lock()
	a := s.answers[min(len(s.asked), len(s.answers)-1)]
	s.asked = append(s.asked, time.Now())
	if a.state != providers.Refused {
		for _, recipient := range m.Envelope.Recipients {
			s.sent[recipient]++
		}
	}
	s.mu.Unlock()
	elapse(context.WithoutCancel(ctx), s.took)
	return providers.Fail(m.Envelope.Recipients, a.state, a.err)
}

// pipeline has settings that a test changes.
func pipeline(t *testing.T, change func(*delivery.Settings), options func(*delivery.Options), ps ...delivery.Provider) (*delivery.Pipeline, *journal) {
	t.Helper()
	j := new(journal)
	s := settings(ps...)
	s.Config.MaxAttempts = 3
	if change != nil {
		change(&s)
	}
	opts := delivery.Options{Recorder: j, Logger: slog.New(slog.NewJSONHandler(j, nil)), Registerer: prometheus.NewRegistry()}
	if options != nil {
		options(&opts)
	}
	return delivery.New(s, opts), j
}

// What follows each answer: the same provider again, another one, or nothing.
func TestDeliverRetriesAndFailsOver(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second []answer
		asked         [2]int
		want          []result
	}{
		{"taken", []answer{taken}, []answer{taken}, [2]int{1, 0}, both(providers.Accepted, "first", "")},
		// A passing failure is tried again, three times in all, then elsewhere.
		{"recovers", []answer{refused(providers.ServiceUnavailable), taken}, []answer{taken}, [2]int{2, 0}, both(providers.Accepted, "first", "")},
		{"stays down", []answer{refused(providers.NetworkError)}, []answer{taken}, [2]int{3, 1}, both(providers.Accepted, "second", "")},
		{"unknown", []answer{refused(providers.Unknown)}, []answer{taken}, [2]int{3, 1}, both(providers.Accepted, "second", "")},
		// What concerns the account is not tried again there.
		{"authentication", []answer{refused(providers.Authentication)}, []answer{taken}, [2]int{1, 1}, both(providers.Accepted, "second", "")},
		{"configuration", []answer{refused(providers.ConfigurationError)}, []answer{taken}, [2]int{1, 1}, both(providers.Accepted, "second", "")},
		{"quota", []answer{refused(providers.QuotaExceeded)}, []answer{taken}, [2]int{1, 1}, both(providers.Accepted, "second", "")},
		{"rate limit, another is free", []answer{refused(providers.RateLimit)}, []answer{taken}, [2]int{1, 1}, both(providers.Accepted, "second", "")},
		// What concerns the message is final, unless it is about one provider's form.
		{"recipient", []answer{refused(providers.InvalidRecipient)}, []answer{taken}, [2]int{1, 0}, both(providers.Refused, "first", providers.InvalidRecipient)},
		{"content", []answer{refused(providers.ContentRejected)}, []answer{taken}, [2]int{1, 0}, both(providers.Refused, "first", providers.ContentRejected)},
		{"content, a rule of form", []answer{local(providers.ContentRejected)}, []answer{taken}, [2]int{1, 1}, both(providers.Accepted, "second", "")},
		{"too large here", []answer{local(providers.TooLarge)}, []answer{taken}, [2]int{1, 1}, both(providers.Accepted, "second", "")},
		// Nothing ambiguous is sent again.
		{"ambiguous", []answer{unknown}, []answer{taken}, [2]int{1, 0}, both(providers.Ambiguous, "first", providers.NetworkError)},
		{"ambiguous at the second", []answer{refused(providers.Authentication)}, []answer{unknown}, [2]int{1, 1}, both(providers.Ambiguous, "second", providers.NetworkError)},
		// The row of the last transient failure, else of the last.
		{"wrong key at the fallback", []answer{refused(providers.ServiceUnavailable)}, []answer{refused(providers.Authentication)}, [2]int{3, 1}, both(providers.Refused, "first", providers.ServiceUnavailable)},
		{"both transient", []answer{refused(providers.ServiceUnavailable)}, []answer{refused(providers.NetworkError)}, [2]int{3, 3}, both(providers.Refused, "second", providers.NetworkError)},
		{"both permanent", []answer{refused(providers.Authentication)}, []answer{refused(providers.ContentRejected)}, [2]int{1, 1}, both(providers.Refused, "second", providers.ContentRejected)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first, second := says("first", tt.first...), says("second", tt.second...)
				p, _ := pipeline(t, nil, nil, first, second)
				outcome := p.Deliver(t.Context(), mail(t))
				closePipeline(t, p)
				if diff := cmp.Diff(tt.want, results(outcome)); diff != "" {
					t.Errorf("outcome (-want +got):\n%s", diff)
				}
				if got := [2]int{first.requests(), second.requests()}; got != tt.asked {
					t.Errorf("asked %v times, want %v", got, tt.asked)
				}
			})
		})
	}
}

func TestDeliverFailsOverWhereAmbiguityIsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := says("first", unknown), says("second", taken)
		p, _ := pipeline(t, func(s *delivery.Settings) { s.Config.OnAmbiguous = "failover" }, nil, first, second)
		outcome := p.Deliver(t.Context(), mail(t))
		if diff := cmp.Diff(both(providers.Accepted, "second", ""), results(outcome)); diff != "" {
			t.Errorf("outcome (-want +got):\n%s", diff)
		}
		if first.requests() != 3 {
			t.Errorf("the first was asked %d times, want 3", first.requests())
		}
		closePipeline(t, p)

		// Who may have it already is not said to be without it.
		p, _ = pipeline(t, func(s *delivery.Settings) { s.Config.OnAmbiguous = "failover" }, nil, says("first", unknown), says("second", refused(providers.ContentRejected)))
		outcome = p.Deliver(t.Context(), mail(t))
		if diff := cmp.Diff(both(providers.Ambiguous, "first", providers.NetworkError), results(outcome)); diff != "" {
			t.Errorf("outcome (-want +got):\n%s", diff)
		}
		closePipeline(t, p)
	})
}

// Backoff doubles with full jitter and never outlasts budget or max_elapsed.
func TestDeliverBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		only := says("first", refused(providers.ServiceUnavailable))
		p, _ := pipeline(t, func(s *delivery.Settings) {
			s.Config.MaxAttempts, s.Config.InitialBackoff = 50, config.Duration(time.Second)
			s.Config.MaxElapsed = config.Duration(20 * time.Second)
			s.Accounts[0].Config.FailureThreshold = 1000
		}, nil, only)
		start := time.Now()
		p.Deliver(t.Context(), mail(t))
		closePipeline(t, p)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("it took %v, want 20s at most", took)
		}
		for i := 1; i < only.requests(); i++ {
			if wait, most := only.asked[i].Sub(only.asked[i-1]), time.Second<<(i-1); wait > most+time.Nanosecond {
				t.Errorf("the wait before attempt %d was %v, want %v at most", i+1, wait, most)
			}
		}
		if only.requests() < 3 {
			t.Errorf("asked %d times, want a few", only.requests())
		}
	})
}

// A Retry-After is waited for where nobody else is free and it fits; the provider
// is left alone as long as it said.
func TestDeliverHonoursRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		first  answer
		second bool
		asked  int
		took   time.Duration
		want   providers.Category
	}{
		{"fits", refusedFor(providers.RateLimit, 10*time.Second), false, 2, 10 * time.Second, ""},
		{"is too long", refusedFor(providers.RateLimit, 55*time.Second), false, 1, 0, providers.RateLimit},
		{"of a server that is down", refusedFor(providers.ServiceUnavailable, 3*time.Second), false, 2, 3 * time.Second, ""},
		{"another is free", refusedFor(providers.RateLimit, 10*time.Second), true, 1, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first, second := says("first", tt.first, taken), says("second", taken)
				ps := []delivery.Provider{first}
				if tt.second {
					ps = append(ps, second)
				}
				p, _ := pipeline(t, nil, nil, ps...)
				start := time.Now()
				outcome := p.Deliver(t.Context(), mail(t))
				if took := time.Since(start); took < tt.took || took > tt.took+time.Second {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if first.requests() != tt.asked || (outcome[0].Err != nil) != (tt.want != "") || outcome[0].Err != nil && outcome[0].Err.Category != tt.want {
					t.Errorf("asked %d times, %v; want %d and %q", first.requests(), outcome[0].Err, tt.asked, tt.want)
				}
				closePipeline(t, p)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		first, second := says("first", refusedFor(providers.RateLimit, time.Minute), taken), says("second", taken)
		p, _ := pipeline(t, nil, nil, first, second)
		for range 3 {
			p.Deliver(t.Context(), mail(t))
		}
		if first.requests() != 1 || second.requests() != 3 {
			t.Errorf("asked %d and %d times, want 1 and 3: the first is left alone", first.requests(), second.requests())
		}
		<-time.After(time.Minute)
		p.Deliver(t.Context(), mail(t))
		if first.requests() != 2 {
			t.Errorf("after a minute the first was asked %d times, want 2", first.requests())
		}
		closePipeline(t, p)
	})
}

// The breaker opens after failures of its health in a row, lets exactly one
// request try after the recovery time, and closes when that is taken.
func TestBreaker(t *testing.T) {
	threshold := func(s *delivery.Settings) {
		s.Config.MaxAttempts = 1
		s.Accounts[0].Config.FailureThreshold, s.Accounts[0].Config.RecoveryTimeout = 3, config.Duration(time.Minute)
	}
	t.Run("opens and closes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			down := refused(providers.ServiceUnavailable)
			first := says("first", down, down, down, down, taken)
			p, _ := pipeline(t, threshold, nil, first, says("second", taken))
			for range 10 {
				if got := p.Deliver(t.Context(), mail(t)).Providers(); got != "second" {
					t.Fatalf("it went to %s, want second", got)
				}
			}
			if first.requests() != 3 || p.Providers(t.Context())[0].Breaker != "open" {
				t.Errorf("asked %d times, breaker %s; want 3 and open", first.requests(), p.Providers(t.Context())[0].Breaker)
			}
			<-time.After(time.Minute + 1)
			p.Deliver(t.Context(), mail(t)) // the probe fails
			p.Deliver(t.Context(), mail(t))
			if first.requests() != 4 {
				t.Errorf("asked %d times, want 4: one probe", first.requests())
			}
			<-time.After(time.Minute + 1)
			if got := p.Deliver(t.Context(), mail(t)).Providers(); got != "first" || p.Providers(t.Context())[0].Breaker != "closed" {
				t.Errorf("the probe went to %s, breaker %s; want first and closed", got, p.Providers(t.Context())[0].Breaker)
			}
			closePipeline(t, p)
		})
	})
	t.Run("one probe at a time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			down := refused(providers.NetworkError)
			first := says("first", down, down, down, taken)
			p, _ := pipeline(t, threshold, nil, first, says("second", taken))
			for range 3 {
				p.Deliver(t.Context(), mail(t))
			}
			<-time.After(time.Minute + 1)
			first.took = 5 * time.Second
			var wg sync.WaitGroup
			for range 20 {
				m := mail(t)
				wg.Go(func() { p.Deliver(t.Context(), m) })
			}
			wg.Wait()
			if first.requests() != 4 {
				t.Errorf("asked %d times, want 4: exactly one probe", first.requests())
			}
			closePipeline(t, p)
		})
	})
	t.Run("never for a message", func(t *testing.T) {
		for _, a := range []answer{
			refused(providers.InvalidRecipient), refused(providers.ContentRejected), refused(providers.RateLimit),
			refused(providers.QuotaExceeded), refused(providers.ConfigurationError), local(providers.Unknown),
		} {
			synctest.Test(t, func(t *testing.T) {
				first := says("first", a)
				p, _ := pipeline(t, threshold, nil, first)
				for range 10 {
					p.Deliver(t.Context(), mail(t))
				}
				if got := p.Providers(t.Context())[0].Breaker; got != "closed" {
					t.Errorf("after ten %s the breaker is %s, want closed", a.err.Category, got)
				}
				closePipeline(t, p)
			})
		}
	})
	t.Run("nobody left", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, j := pipeline(t, threshold, nil, says("first", refused(providers.NetworkError)))
			for range 3 {
				p.Deliver(t.Context(), mail(t))
			}
			outcome := p.Deliver(t.Context(), mail(t))
			if diff := cmp.Diff(both(providers.Refused, "", providers.NoProvider), results(outcome)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if want := "nobody could be asked: first: its circuit breaker is open"; outcome[0].Err.Message != want {
				t.Errorf("the reason is %q, want %q", outcome[0].Err.Message, want)
			}
			if lines := j.lines(t, "provider not asked"); len(lines) != 1 {
				t.Errorf("%d lines say so, want one", len(lines))
			}
			closePipeline(t, p)
		})
	})
}

// What a sandbox simulates touches nothing and is final.
func TestSimulatedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := refusedFor(providers.ServiceUnavailable, time.Second)
		down.err.Simulated = true
		first := says("first", down)
		p, _ := pipeline(t, func(s *delivery.Settings) { s.Config.OnAmbiguous = "failover" }, nil, first, says("second", taken))
		for range 10 {
			outcome := p.Deliver(t.Context(), mail(t))
			if diff := cmp.Diff(both(providers.Refused, "first", providers.ServiceUnavailable), results(outcome)); diff != "" {
				t.Fatalf("outcome (-want +got):\n%s", diff)
			}
		}
		if got := p.Providers(t.Context())[0]; first.requests() != 10 || got.Breaker != "closed" || got.SuccessRate != 1 {
			t.Errorf("asked %d times, status %+v; want 10 and as if nothing were", first.requests(), got)
		}
		closePipeline(t, p)
	})
}

// The limiter waits inside the budget where nobody else is free, else goes on.
func TestLimiter(t *testing.T) {
	limited := func(perMinute, burst int) func(*delivery.Settings) {
		return func(s *delivery.Settings) {
			s.Accounts[0].Config.RateLimit, s.Accounts[0].Config.BurstLimit = perMinute, burst
		}
	}
	t.Run("waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			first := says("first", taken)
			p, _ := pipeline(t, limited(60, 2), nil, first)
			start := time.Now()
			for range 5 {
				if got := p.Deliver(t.Context(), mail(t)).Providers(); got != "first" {
					t.Fatalf("it went to %s, want first", got)
				}
			}
			if took := time.Since(start).Round(time.Millisecond); took != 3*time.Second {
				t.Errorf("5 messages took %v, want 3s: a burst of 2, then one a second", took)
			}
			closePipeline(t, p)
		})
	})
	t.Run("goes on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			first, second := says("first", taken), says("second", taken)
			p, _ := pipeline(t, limited(60, 2), nil, first, second)
			start := time.Now()
			for range 5 {
				p.Deliver(t.Context(), mail(t))
			}
			if first.requests() != 2 || second.requests() != 3 || time.Since(start) > time.Millisecond {
				t.Errorf("asked %d and %d times in %v, want 2 and 3 at once", first.requests(), second.requests(), time.Since(start))
			}
			closePipeline(t, p)
		})
	})
	t.Run("not within the budget", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, _ := pipeline(t, limited(1, 1), nil, says("first", taken))
			p.Deliver(t.Context(), mail(t))
			start := time.Now()
			outcome := p.Deliver(t.Context(), mail(t))
			if diff := cmp.Diff(both(providers.Refused, "", providers.NoProvider), results(outcome)); diff != "" || time.Since(start) != 0 {
				t.Errorf("after %v (-want +got):\n%s", time.Since(start), diff)
			}
			closePipeline(t, p)
		})
	})
	// Over a minute of load the rate is kept within 2 %, the burst apart.
	t.Run("keeps the rate", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			first := says("first", taken)
			p, _ := pipeline(t, limited(600, 10), nil, first)
			start := time.Now()
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					for time.Since(start) < time.Minute {
						p.Deliver(t.Context(), mail(t))
					}
				})
			}
			wg.Wait()
			within := 0
			for _, at := range first.asked {
				if at.Sub(start) <= time.Minute {
					within++
				}
			}
			if within -= 10; within < 588 || within > 612 {
				t.Errorf("%d requests a minute beside the burst, want 600 within 2 %%", within)
			}
			closePipeline(t, p)
		})
	})
}

// Who leads, by strategy.
func TestStrategies(t *testing.T) {
	three := func(change func(*delivery.Settings)) (*delivery.Pipeline, []*script) {
		scripts := []*script{says("a", taken), says("b", taken), says("c", taken)}
		p, _ := pipeline(t, func(s *delivery.Settings) { s.Config.MaxAttempts = 1; change(s) }, nil, scripts[0], scripts[1], scripts[2])
		return p, scripts
	}
	counts := func(scripts []*script) [3]int {
		return [3]int{len(scripts[0].asked), len(scripts[1].asked), len(scripts[2].asked)}
	}
	t.Run("priority", func(t *testing.T) {
		p, scripts := three(func(s *delivery.Settings) {
			s.Config.Strategy = "priority"
			s.Accounts[0].Config.Priority, s.Accounts[1].Config.Priority, s.Accounts[2].Config.Priority = 2, 1, 1
		})
		for range 10 {
			p.Deliver(t.Context(), mail(t))
		}
		closePipeline(t, p)
		if got := counts(scripts); got != [3]int{0, 10, 0} {
			t.Errorf("asked %v times, want the first of the lowest priority", got)
		}
	})
	t.Run("weighted", func(t *testing.T) {
		p, scripts := three(func(s *delivery.Settings) {
			s.Config.Strategy = "weighted"
			s.Accounts[0].Config.Weight, s.Accounts[1].Config.Weight, s.Accounts[2].Config.Weight = 5, 3, 2
		})
		for i := range 100 {
			p.Deliver(t.Context(), mail(t))
			if got := counts(scripts); i%10 == 9 && got != [3]int{(i + 1) / 2, (i + 1) * 3 / 10, (i + 1) / 5} {
				t.Errorf("after %d messages asked %v times, want 5 to 3 to 2", i+1, got)
			}
		}
		closePipeline(t, p)
	})
	t.Run("cost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			scripts := []*script{says("a", taken), says("b", refused(providers.NetworkError)), says("c", taken)}
			p, _ := pipeline(t, func(s *delivery.Settings) {
				s.Config.Strategy, s.Config.MaxAttempts = "cost", 1
				s.Accounts[0].Config.CostPerThousand, s.Accounts[1].Config.CostPerThousand, s.Accounts[2].Config.CostPerThousand = 0.9, 0.1, 0.2
				s.Accounts[1].Config.FailureThreshold = 2
			}, nil, scripts[0], scripts[1], scripts[2])
			for range 5 {
				p.Deliver(t.Context(), mail(t))
			}
			closePipeline(t, p)
			if got := counts(scripts); got != [3]int{0, 2, 5} {
				t.Errorf("asked %v times, want the cheapest until its breaker opens, then the next", got)
			}
		})
	})
	t.Run("score", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			half := []answer{}
			for range 20 {
				half = append(half, refused(providers.ServiceUnavailable), taken)
			}
			scripts := []*script{says("a", half...), says("b", taken), says("c", taken)}
			p, _ := pipeline(t, func(s *delivery.Settings) { s.Config.Strategy, s.Config.MaxAttempts = "score", 1 }, nil, scripts[0], scripts[1], scripts[2])
			for range 10 {
				p.Deliver(t.Context(), mail(t))
			}
			// After five outcomes, two of them good, a's score is below 100.
			if got := counts(scripts); got[0] != 5 || got[2] != 0 {
				t.Errorf("asked %v times, want a five times and then b", got)
			}
			if got := p.Providers(t.Context())[0]; got.SuccessRate != 0.4 || got.Score != 40 {
				t.Errorf("a's rate is %v and its score %v, want 0.4 and 40", got.SuccessRate, got.Score)
			}
			<-time.After(5*time.Minute + time.Second) // the window forgets
			p.Deliver(t.Context(), mail(t))
			if got := counts(scripts); got[0] != 6 {
				t.Errorf("asked %v times, want a once more", got)
			}
			closePipeline(t, p)
		})
	})
}

// Routes: the first that fits; recipients that fit different ones are sent apart,
// each exactly once.
func TestRoutes(t *testing.T) {
	routes := []delivery.RouteConfig{
		{Name: "inside", RecipientDomain: []string{"EXAMPLE.org"}, Providers: []string{"b"}},
		{Name: "bulk", Header: map[string]string{"X-Stream": "bulk"}, Providers: []string{"c", "b"}, Strategy: "priority"},
		{Name: "user", User: []string{"jenkins"}, Providers: []string{"b"}},
		{Name: "news", SenderDomain: []string{"news.example.com"}, Providers: []string{"c"}},
	}
	for _, tt := range []struct {
		name    string
		headers []string
		user    string
		route   string
		to      []string
		want    string // recipients by provider
	}{
		{"none", nil, "", "", []string{"x@example.net"}, "a:x@example.net"},
		{"recipient", nil, "", "", []string{"x@example.net", "y@example.org", "z@Example.ORG"}, "a:x@example.net b:y@example.org,z@Example.ORG"},
		{"header", []string{"X-Stream: bulk"}, "", "", []string{"x@example.net"}, "b:x@example.net"},
		{"another value", []string{"X-Stream: bulky"}, "", "", []string{"x@example.net"}, "a:x@example.net"},
		{"user", nil, "jenkins", "", []string{"x@example.net"}, "b:x@example.net"},
		{"sender", []string{"From: n@news.example.com"}, "", "", []string{"x@example.net"}, "c:x@example.net"},
		{"the user's route", nil, "", "news", []string{"x@example.net", "y@example.org"}, "c:x@example.net,y@example.org"},
		{"the provider named", []string{"X-Bridge-Provider: a"}, "", "", []string{"x@example.net", "y@example.org"}, "a:x@example.net,y@example.org"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			got := map[string][]string{}
			take := func(name string) fake {
				return fake{name, func(_ context.Context, m *translate.Message) providers.Outcome {
					mu.Lock()
					defer mu.Unlock()
					got[name] = append(got[name], m.Envelope.Recipients...)
					return providers.Fail(m.Envelope.Recipients, providers.Accepted, nil)
				}}
			}
			p, _ := pipeline(t, func(s *delivery.Settings) {
				s.Routes = routes
				s.Accounts[1].Config.Priority = -1
			}, nil, take("a"), take("b"), take("c"))
			if tt.name == "none" || tt.name == "recipient" || tt.name == "another value" {
				p.Replace(func() delivery.Settings {
					s := settings(take("a"), take("b"), take("c"))
					s.Routes = routes
					return s
				}())
			}
			m := mail(t, tt.headers...)
			m.Envelope.Recipients, m.Envelope.User, m.Envelope.Route = tt.to, tt.user, tt.route
			outcome := p.Deliver(t.Context(), m)
			closePipeline(t, p)
			var lines []string
			for _, name := range []string{"a", "b", "c"} {
				if len(got[name]) > 0 {
					slices.Sort(got[name]) // parts for one provider may leave in any order
					lines = append(lines, name+":"+strings.Join(got[name], ","))
				}
			}
			if text := strings.Join(lines, " "); text != tt.want {
				t.Errorf("went to %q, want %q", text, tt.want)
			}
			if outcome.Accepted() != len(tt.to) {
				t.Errorf("the outcome is %+v, want all accepted", outcome)
			}
		})
	}
}

// A sandbox stands in for nobody who sends: its 250 would be a mail that is gone.
func TestSandboxStandsInForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sandbox := &simulator{says("sandbox", taken)}
		down := says("sends", refused(providers.Authentication))
		p, _ := pipeline(t, func(s *delivery.Settings) {
			s.Routes = []delivery.RouteConfig{{Name: "try", User: []string{"tester"}, Providers: []string{"sandbox"}}}
		}, nil, sandbox, down)
		outcome := p.Deliver(t.Context(), mail(t))
		if diff := cmp.Diff(both(providers.Refused, "sends", providers.Authentication), results(outcome)); diff != "" {
			t.Errorf("outcome (-want +got):\n%s", diff)
		}
		if got := p.Deliver(t.Context(), mail(t, "X-Bridge-Provider: sandbox")).Providers(); got != "sandbox" {
			t.Errorf("who names it gets %s", got)
		}
		m := mail(t)
		m.Envelope.User = "tester"
		if got := p.Deliver(t.Context(), m).Providers(); got != "sandbox" {
			t.Errorf("its own route leads to %s", got)
		}
		closePipeline(t, p)
	})
}

// simulator is a provider that sends nothing.
type simulator struct{ *script }

func (simulator) Simulates() bool { return true }

// The guard: nobody outside is mailed.
func TestGuard(t *testing.T) {
	guarded := func(redirect ...string) func(*delivery.Settings) {
		return func(s *delivery.Settings) {
			s.Guard = delivery.GuardConfig{AllowRecipients: []string{"b@EXAMPLE.com", "@staff.example"}, RedirectTo: redirect}
		}
	}
	p, _ := pipeline(t, guarded(), nil, says("first", taken))
	for address, allowed := range map[string]bool{
		"B@example.com": true, "x@staff.example": true, "a@example.com": false, "x@sub.staff.example": false, "xb@example.com": false,
	} {
		err := p.Recipient(t.Context(), translate.Envelope{}, address)
		if (err == nil) != allowed || err != nil && err.Category != providers.Guarded {
			t.Errorf("Recipient(%q) = %v, want allowed %v", address, err, allowed)
		}
	}
	closePipeline(t, p)

	var mu sync.Mutex // guards sent: who is redirected leaves beside who is not
	var sent []string
	p, _ = pipeline(t, guarded("qa@staff.example"), nil, fake{"first", func(_ context.Context, m *translate.Message) providers.Outcome {
		mu.Lock()
		defer mu.Unlock()
		original := ""
		for _, h := range m.Headers {
			original += h.Name + "=" + h.Value
		}
		sent = append(sent, fmt.Sprintf("%v %s %s", m.Envelope.Recipients, m.Subject, original))
		return providers.Fail(m.Envelope.Recipients, providers.Accepted, nil)
	}})
	if err := p.Recipient(t.Context(), translate.Envelope{}, "a@example.com"); err != nil {
		t.Errorf("a recipient whose mail is redirected is refused: %v", err)
	}
	outcome := p.Deliver(t.Context(), mail(t))
	closePipeline(t, p)
	slices.Sort(sent)
	want := []string{"[b@example.com] Hello ", "[qa@staff.example] [to: a@example.com] Hello X-Original-Recipient=a@example.com"}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(both(providers.Accepted, "first", ""), results(outcome)); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
}

package delivery_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
	"smtpbridge/translate"
)

// The budget ends the wait, not the request.
func TestBudgetEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, j := newPipeline(nil, accepts("first", budget+10*time.Second))
		m, start := mail(t), time.Now()
		outcome := p.Deliver(t.Context(), m)

		if got := time.Since(start); got != budget {
			t.Errorf("Deliver took %v, want %v", got, budget)
		}
		if diff := cmp.Diff(both(providers.Ambiguous, "first", providers.NetworkError), results(outcome)); diff != "" {
			t.Errorf("outcome (-want +got):\n%s", diff)
		}
		if got, want := outcome[0].Err.Message, "no answer within 50s"; got != want {
			t.Errorf("message %q, want %q", got, want)
		}
		if isClosed(m) {
			t.Error("the message is closed while the request reads it")
		}
		wantSilence := []delivery.Attempt{{Provider: "first", Time: start.UTC(), Seconds: 50, Category: providers.NetworkError}}
		if diff := cmp.Diff(wantSilence, j.last(t).Attempts); diff != "" {
			t.Errorf("attempts at the reply (-want +got):\n%s", diff)
		}

		closePipeline(t, p)
		if got := time.Since(start); got != budget+10*time.Second {
			t.Errorf("the request ended after %v, want %v", got, budget+10*time.Second)
		}
		if !isClosed(m) {
			t.Error("the message is still open")
		}
		wantLate := []delivery.Attempt{{Provider: "first", Time: start.UTC(), Seconds: 60, Category: "ok", Late: true}}
		if diff := cmp.Diff(wantLate, j.last(t).Attempts); diff != "" {
			t.Errorf("attempts at the end (-want +got):\n%s", diff)
		}
		if got := j.last(t).Recipients[0].State; got != providers.Accepted {
			t.Errorf("recorded state %v, want accepted", got)
		}
		lines := j.lines(t, "answer came after the reply")
		if len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["message_id"] != "01J" {
			t.Errorf("late answer logged as %v, want one warning with the message's id", lines)
		}
	})
}

// The time for the reply runs from the final dot: what reading the mail took is
// not there any more.
func TestBudgetCountsFromTheFinalDot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newPipeline(nil, accepts("first", budget))
		m, start := mail(t), time.Now()
		m.Envelope.Complete = start.Add(-20 * time.Second)
		if outcome := p.Deliver(t.Context(), m); outcome[0].State != providers.Ambiguous {
			t.Errorf("state %v, want ambiguous", outcome[0].State)
		}
		if got, want := time.Since(start), budget-20*time.Second; got != want {
			t.Errorf("Deliver took %v, want %v", got, want)
		}
		closePipeline(t, p)
	})
	synctest.Test(t, func(t *testing.T) {
		p, _ := newPipeline(nil, forbidden(t, "first"))
		m := mail(t)
		m.Envelope.Complete = time.Now().Add(-budget)
		if diff := cmp.Diff(both(providers.Refused, "", providers.LocalFailure), results(p.Deliver(t.Context(), m))); diff != "" {
			t.Errorf("outcome after the budget (-want +got):\n%s", diff)
		}
		if !isClosed(m) {
			t.Error("the message is still open")
		}
		closePipeline(t, p)
	})
}

// A client that goes ends the wait, too.
func TestCancelEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, j := newPipeline(nil, accepts("first", 10*time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		outcome := p.Deliver(ctx, mail(t))

		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("Deliver took %v, want 3s", got)
		}
		if diff := cmp.Diff(both(providers.Ambiguous, "first", providers.NetworkError), results(outcome)); diff != "" {
			t.Errorf("outcome (-want +got):\n%s", diff)
		}
		if got := outcome[0].Err; strings.Contains(got.Message, "50s") || !errors.Is(got, context.DeadlineExceeded) {
			t.Errorf("error %q, cause %v: want the session blamed, not the budget", got, got.Cause)
		}
		closePipeline(t, p)
		if got := j.last(t).Recipients[0].State; got != providers.Accepted {
			t.Errorf("recorded state %v, want accepted: the request goes on", got)
		}
	})
}

// A panic loses neither the reply nor the message.
func TestPanicIsAnOutcome(t *testing.T) {
	p, j := newPipeline(nil, fake{"first", func(context.Context, *translate.Message) providers.Outcome { panic("index out of range") }})
	m := mail(t)
	outcome := p.Deliver(t.Context(), m)
	closePipeline(t, p)
	if diff := cmp.Diff(both(providers.Ambiguous, "first", providers.Unknown), results(outcome)); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	if !isClosed(m) {
		t.Error("the message is still open")
	}
	lines := j.lines(t, "provider panicked")
	if len(lines) != 1 || lines[0]["err"] != "index out of range" {
		t.Errorf("panic logged as %v, want once", lines)
	}
}

// Close waits as long as it may, then cancels what is left and waits for that.
func TestCloseCancelsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, j := newPipeline(nil, accepts("first", time.Hour))
		m := mail(t)
		p.Deliver(t.Context(), m)

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close() = %v, want a deadline", err)
		}
		if got := time.Since(start); got != 5*time.Second {
			t.Errorf("Close took %v, want 5s", got)
		}
		if !isClosed(m) {
			t.Error("the message is still open")
		}
		if last := j.last(t); last.Recipients[0].State != providers.Ambiguous || !last.Attempts[0].Late {
			t.Errorf("last record %+v, want late and ambiguous", last)
		}
	})
}

// After Close nothing is sent.
func TestDeliverAfterClose(t *testing.T) {
	p, _ := newPipeline(nil, forbidden(t, "first"))
	closePipeline(t, p)
	m := mail(t)
	outcome := p.Deliver(t.Context(), m)
	if diff := cmp.Diff(both(providers.Refused, "", providers.Busy), results(outcome)); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	if !isClosed(m) {
		t.Error("the message is still open")
	}
}

// Replace changes what comes, not what is on its way; the series of a provider
// that is gone stay gone when its late answer comes.
func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewPedanticRegistry()
		p, j := newPipeline(reg, accepts("old", budget+time.Second), accepts("kept", 0))
		p.Deliver(t.Context(), mail(t, "X-Bridge-Provider: kept"))
		p.Deliver(t.Context(), mail(t)) // silence from old

		next := settings(accepts("kept", time.Hour), accepts("new", 0))
		next.Budget = time.Second
		p.Replace(next)
		if got := p.Deliver(t.Context(), mail(t, "X-Bridge-Provider: new")).Providers(); got != "new" {
			t.Errorf("after Replace the message went to %s, want new", got)
		}
		start := time.Now()
		p.Deliver(t.Context(), mail(t))
		if got := time.Since(start); got != time.Second {
			t.Errorf("after Replace Deliver took %v, want the new budget of 1s", got)
		}
		synctest.Wait() // old answers at this very moment
		if late := j.lines(t, "answer came after the reply"); len(late) != 1 || late[0]["provider"] != "old" {
			t.Errorf("late answers %v, want one of old", late)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = p.Close(ctx)

		metrics := scrape(reg)
		for _, line := range []string{
			`bridge_provider_requests_total{category="ok",provider="kept"} 1`,
			`bridge_provider_requests_total{category="network_error",provider="kept"} 1`,
			`bridge_provider_requests_total{category="auth_failed",provider="new"} 0`,
			`bridge_provider_recipients_total{provider="kept",result="accepted"} 2`,
			`bridge_provider_recipients_total{provider="kept",result="ambiguous"} 2`,
			`bridge_provider_recipients_total{provider="new",result="accepted"} 2`,
			`bridge_provider_recipients_total{provider="new",result="refused"} 0`,
			`bridge_delivery_duration_seconds_count 4`,
			`bridge_provider_request_duration_seconds_count{provider="kept"} 2`,
		} {
			if !strings.Contains(metrics, line+"\n") {
				t.Errorf("metrics lack %s", line)
			}
		}
		if strings.Contains(metrics, `"old"`) {
			t.Errorf("metrics still have the provider that is gone:\n%s", metrics)
		}
	})
}

// scrape is what Prometheus would read.
func scrape(reg *prometheus.Registry) string {
	page := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	return page.Body.String()
}

package delivery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
	"smtpbridge/translate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const budget = 50 * time.Second

// fake is a provider whose answer is a function.
type fake struct {
	name string
	send func(context.Context, *translate.Message) providers.Outcome
}

func (f fake) Name() string { return f.name }

func (f fake) Capabilities() providers.Capabilities { return providers.Capabilities{} }

func (f fake) Send(ctx context.Context, m *translate.Message) providers.Outcome {
	return f.send(ctx, m)
}

// elapse reports false where ctx ended first. It makes no timer for no time:
// where several goroutines of a bubble receive from timers that are due, the
// race detector of go1.26 crashes.
func elapse(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// accepts takes everything, after a while.
func accepts(name string, after time.Duration) fake {
	return fake{name, func(ctx context.Context, m *translate.Message) providers.Outcome {
		if elapse(ctx, after) {
			return providers.Fail(m.Envelope.Recipients, providers.Accepted, nil)
		}
		err := &providers.Error{Category: providers.NetworkError, Message: "cancelled", Cause: context.Cause(ctx)}
		return providers.Fail(m.Envelope.Recipients, providers.Ambiguous, err)
	}}
}

// answers gives this outcome at once.
func answers(outcome ...providers.Result) fake {
	return fake{"first", func(context.Context, *translate.Message) providers.Outcome { return outcome }}
}

// forbidden fails the test when it is asked.
func forbidden(t *testing.T, name string) fake {
	t.Helper()
	return fake{name, func(_ context.Context, m *translate.Message) providers.Outcome {
		t.Errorf("provider %s was asked", name)
		return providers.Fail(m.Envelope.Recipients, providers.Accepted, nil)
	}}
}

// journal is a Recorder and the destination of the log.
type journal struct {
	mu      sync.Mutex // guards both
	records []delivery.Record
	log     bytes.Buffer
}

func (j *journal) Record(r delivery.Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records = append(j.records, r)
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.log.Write(p)
}

// last is the newest record.
func (j *journal) last(t *testing.T) delivery.Record {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.records) == 0 {
		t.Fatal("nothing was recorded")
	}
	return j.records[len(j.records)-1]
}

// lines are the log lines with this message.
func (j *journal) lines(t *testing.T, message string) []map[string]any {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []map[string]any
	for text := range strings.Lines(j.log.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("log line %q: %v", text, err)
		}
		if line["msg"] == message {
			out = append(out, line)
		}
	}
	return out
}

func newPipeline(reg prometheus.Registerer, ps ...delivery.Provider) (*delivery.Pipeline, *journal) {
	j := new(journal)
	return delivery.New(settings(ps...), delivery.Options{
		Recorder:   j,
		Logger:     slog.New(slog.NewJSONHandler(j, nil)),
		Registerer: reg,
	}), j
}

// settings are those by default, but for one attempt at each provider.
func settings(ps ...delivery.Provider) delivery.Settings {
	config := delivery.DefaultConfig()
	config.MaxAttempts, config.Strategy = 1, "priority"
	return delivery.Settings{Accounts: accounts(ps...), Budget: budget, Config: config}
}

// accounts are providers as they are by default.
func accounts(ps ...delivery.Provider) []delivery.Account {
	out := make([]delivery.Account, len(ps))
	for i, p := range ps {
		out[i] = delivery.Account{Provider: p, Config: delivery.DefaultAccountConfig()}
	}
	return out
}

// closePipeline waits for everything that runs.
func closePipeline(t *testing.T, p *delivery.Pipeline) {
	t.Helper()
	if err := p.Close(t.Context()); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

// mail parses a message for a@example.com and b@example.com, with these header
// lines instead of a From.
func mail(t *testing.T, headers ...string) *translate.Message {
	t.Helper()
	if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "From:") }) {
		headers = append(headers, "From: App <app@example.com>")
	}
	text := strings.Join(headers, "\r\n") + "\r\nSubject: Hello\r\n\r\nA text.\r\n"
	spool, err := translate.NewSpool(strings.NewReader(text), translate.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := translate.Parse(spool, translate.Envelope{
		BridgeID: "01J", MailFrom: "bounces@example.com", User: "shop",
		Recipients: []string{"a@example.com", "b@example.com"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// isClosed reports that nobody can read the message any more.
func isClosed(m *translate.Message) bool {
	r, err := m.Raw()
	if err == nil {
		_ = r.Close()
	}
	return errors.Is(err, os.ErrClosed)
}

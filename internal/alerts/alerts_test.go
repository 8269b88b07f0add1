package alerts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"smtpbridge/internal/alerts"
	"smtpbridge/internal/config"
	"smtpbridge/providers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness takes what is posted, and moves the clock.
type harness struct {
	*alerts.Alerts

	now    time.Time
	log    *lockedBuffer
	posts  chan string
	status int
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func start(t *testing.T, status int) *harness {
	t.Helper()
	h := &harness{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), log: new(lockedBuffer), posts: make(chan string, 10), status: status}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.posts <- r.URL.Path + " " + string(body)
		w.WriteHeader(h.status)
	}))
	transport := &http.Transport{DisableKeepAlives: true}
	c := alerts.DefaultConfig()
	c.WebhookURL, c.SlackURL = config.NewSecret(server.URL+"/hook/hunter2"), config.NewSecret(server.URL+"/slack/hunter2")
	registry := prometheus.NewPedanticRegistry()
	h.Alerts = alerts.New(c, alerts.Options{
		Transport: transport, Logger: slog.New(slog.NewJSONHandler(h.log, nil)), Registerer: registry,
		Now: func() time.Time { return h.now },
	})
	h.Replace(c, []string{"mail", "other"})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context())) // it ends in the clean-up
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.Close()
	})
	t.Cleanup(func() {
		if n, err := testutil.GatherAndCount(registry, "bridge_escalations_total"); err != nil || n != 20 {
			t.Errorf("%d series, %v; want one for each of two providers and ten categories, complaints among them", n, err)
		}
	})
	return h
}

func (h *harness) fail(n int, provider string, c providers.Category) {
	for range n {
		h.Failed(provider, &providers.Error{Category: c, Message: "words of the provider"})
	}
}

func (h *harness) none(t *testing.T) {
	t.Helper()
	select {
	case post := <-h.posts:
		t.Errorf("somebody was told: %s", post)
	default:
	}
}

// The threshold is the category's; a success ends the count; one interval has one
// escalation.
func TestEscalation(t *testing.T) {
	h := start(t, http.StatusOK)
	h.fail(2, "mail", providers.ServiceUnavailable)
	h.Succeeded("mail")
	h.fail(2, "mail", providers.ServiceUnavailable)
	h.fail(2, "other", providers.ServiceUnavailable)
	h.fail(9, "mail", providers.NetworkError)
	h.fail(1000, "mail", providers.TooLarge)
	h.none(t)

	h.fail(1, "mail", providers.ServiceUnavailable)
	var got alerts.Escalation
	post := <-h.posts
	path, body, _ := strings.Cut(post, " ")
	if err := json.Unmarshal([]byte(body), &got); err != nil || path != "/hook/hunter2" {
		t.Fatalf("the webhook got %s: %v", post, err)
	}
	want := alerts.Escalation{
		Provider: "mail", Category: providers.ServiceUnavailable, Class: "transient", Failures: 3,
		Since: h.now, Time: h.now, Message: "words of the provider",
	}
	if got != want {
		t.Errorf("the webhook got %+v, want %+v", got, want)
	}
	const slack = `/slack/hunter2 {"text":"smtp-bridge: provider mail: 3 × service_unavailable since 2026-01-02T03:04:05Z: words of the provider"}`
	if post := <-h.posts; post != slack {
		t.Errorf("Slack got %s, want %s", post, slack)
	}
	h.fail(100, "mail", providers.ServiceUnavailable)
	h.now = h.now.Add(time.Hour - 1)
	h.fail(1, "mail", providers.ServiceUnavailable)
	h.none(t)
	h.now = h.now.Add(1)
	h.fail(1, "mail", providers.ServiceUnavailable)
	if post := <-h.posts; !strings.Contains(post, `"failures":105`) {
		t.Errorf("after an hour the webhook got %s", post)
	}
	<-h.posts
	if log := h.log.String(); strings.Contains(log, "hunter2") || strings.Count(log, `"msg":"escalation"`) != 2 {
		t.Errorf("the log:\n%s", log)
	}
}

// Who does not take it is named in the log, the address is not.
func TestEscalationIsNotTaken(t *testing.T) {
	h := start(t, http.StatusInternalServerError)
	h.fail(1, "mail", providers.Authentication)
	<-h.posts
	<-h.posts
	h.Failed("other", &providers.Error{Category: providers.ConfigurationError}) // behind the first in the queue
	<-h.posts
	log := h.log.String()
	if strings.Contains(log, "hunter2") || !strings.Contains(log, `"target":"slack","err":"HTTP 500 Internal Server Error"`) {
		t.Errorf("the log:\n%s", log)
	}
	<-h.posts
}

// Complaints are told of with their number, once in an interval, and no success of
// the provider takes them back.
func TestComplained(t *testing.T) {
	h := start(t, http.StatusOK)
	since := h.now.Add(-24 * time.Hour)
	h.Complained("mail", 2, 1999, since)
	var got alerts.Escalation
	_, body, _ := strings.Cut(<-h.posts, " ")
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := alerts.Escalation{
		Provider: "mail", Category: "complaints", Class: providers.Category("complaints").Class(), Failures: 2,
		Since: since, Time: h.now, Message: "2 complaints for 1999 delivered mails",
	}
	if got != want {
		t.Errorf("the webhook got %+v, want %+v", got, want)
	}
	if post := <-h.posts; !strings.Contains(post, "provider mail: 2 × complaints since 2026-01-01T03:04:05Z: 2 complaints for 1999 delivered mails") {
		t.Errorf("Slack got %s", post)
	}
	h.Succeeded("mail")
	h.Complained("mail", 3, 2000, since)
	h.Complained("other", 2, 0, since)
	for range 2 {
		if post := <-h.posts; !strings.Contains(post, "other") {
			t.Errorf("told of mail twice in an interval: %s", post)
		}
	}
	h.now = h.now.Add(time.Hour)
	h.Complained("mail", 9, 2000, since)
	if post := <-h.posts; !strings.Contains(post, `"failures":9`) {
		t.Errorf("after an hour the webhook got %s", post)
	}
	<-h.posts
}

// Nobody who counts waits for anybody who sends.
func TestFailedDoesNotBlock(t *testing.T) {
	c := alerts.DefaultConfig()
	c.MinInterval = 1
	now := time.Now()
	a := alerts.New(c, alerts.Options{Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { now = now.Add(time.Hour); return now }})
	for range 1000 {
		a.Failed("mail", &providers.Error{Category: providers.Authentication})
	}
}

func TestValidate(t *testing.T) {
	c := alerts.Config{WebhookURL: config.NewSecret("alerts"), SlackURL: config.NewSecret("ftp://example.com")}
	var keys []string
	c.Validate(func(key, problem string) {
		keys = append(keys, key)
		if strings.Contains(problem, "ftp") {
			t.Errorf("%s is shown: %s", key, problem)
		}
	})
	if got := strings.Join(keys, " "); got != "webhook_url slack_url min_interval" {
		t.Errorf("problems of %q", got)
	}
	alerts.DefaultConfig().Validate(func(key, problem string) { t.Errorf("%s: %s", key, problem) })
}

// Package alerts tells somebody of failures that do not end: to the log, to a
// webhook, and to Slack.
//
// Failures are counted per provider and category. Where the count reaches the
// category's threshold an escalation is sent, at most one per min_interval; a
// success of the provider ends the count. Counting never waits for anybody:
// [Alerts.Run] sends.
package alerts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
)

const (
	// waiting is how many escalations may wait to be sent; there is at most one for
	// each provider and category in an interval.
	waiting = 64
	// sendTime bounds one POST.
	sendTime = 10 * time.Second
)

// Config is the [alerts] table. The URLs are secrets: whoever knows one may post.
type Config struct {
	WebhookURL  config.Secret   `toml:"webhook_url"`
	SlackURL    config.Secret   `toml:"slack_url"`
	MinInterval config.Duration `toml:"min_interval"`
}

// DefaultConfig tells the log alone.
func DefaultConfig() Config { return Config{MinInterval: config.Duration(time.Hour)} }

// Validate reports every problem: the key, and what would be right.
func (c Config) Validate(report func(key, problem string)) {
	for _, target := range [...]struct {
		key string
		url config.Secret
	}{{"webhook_url", c.WebhookURL}, {"slack_url", c.SlackURL}} {
		text := target.url.Reveal()
		if parsed, err := url.Parse(text); text != "" && (err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http") {
			report(target.key, `is no URL; write one such as "https://alerts.example.com/bridge"`)
		}
	}
	if c.MinInterval <= 0 {
		report("min_interval", `must be longer than 0, such as "1h"`)
	}
}

// Options are what alerts need besides their configuration. Now may be nil.
type Options struct {
	Transport  http.RoundTripper
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Alerts counts failures. It is safe for concurrent use.
type Alerts struct {
	options Options
	config  atomic.Pointer[Config]
	queue   chan Escalation
	total   *prometheus.CounterVec

	mu     sync.Mutex // guards what follows
	counts map[key]*count
	names  []string
}

type key struct {
	provider string
	category providers.Category
}

type count struct {
	failures int
	since    time.Time
	told     time.Time // when an escalation was sent last
}

// New makes alerts; nothing is sent before Run.
func New(c Config, o Options) *Alerts {
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &Alerts{options: o, queue: make(chan Escalation, waiting), counts: make(map[key]*count)}
	a.total = promauto.With(o.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "bridge_escalations_total",
		Help: "Failures of a provider that did not end and that somebody was told of.",
	}, []string{"provider", "category"})
	a.Replace(c, nil)
	return a
}

// Replace swaps the configuration, and says which providers there are: their
// series begin at 0, and those of others go.
func (a *Alerts) Replace(c Config, names []string) {
	a.config.Store(&c)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, gone := range a.names {
		if !slices.Contains(names, gone) {
			a.total.DeletePartialMatch(prometheus.Labels{"provider": gone})
			maps.DeleteFunc(a.counts, func(k key, _ *count) bool { return k.provider == gone })
		}
	}
	for _, name := range names {
		a.total.WithLabelValues(name, string(complaints))
		for _, category := range providers.Categories() {
			if category.Policy().EscalateAfter > 0 {
				a.total.WithLabelValues(name, string(category))
			}
		}
	}
	a.names = slices.Clone(names)
}

// Escalation is what somebody is told; the JSON of the webhook.
type Escalation struct {
	Provider string             `json:"provider"`
	Category providers.Category `json:"category"`
	Class    string             `json:"class"`
	// Failures in a row, the first at Since.
	Failures int       `json:"failures"`
	Since    time.Time `json:"since"`
	Time     time.Time `json:"timestamp"`
	// Message is the provider's words of the last one.
	Message string `json:"message"`
}

// text is the escalation in a sentence.
func (e Escalation) text() string {
	return fmt.Sprintf("smtp-bridge: provider %s: %d × %s since %s: %s",
		e.Provider, e.Failures, e.Category, e.Since.Format(time.RFC3339), e.Message)
}

// Failed counts a failure, and tells of it where it is one too many.
func (a *Alerts) Failed(provider string, err *providers.Error) {
	threshold := err.Category.Policy().EscalateAfter
	if threshold == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.count(provider, err.Category)
	if c.failures++; c.failures == 1 {
		c.since = a.options.Now()
	}
	if c.failures >= threshold {
		a.escalate(provider, err.Category, c, err.Message)
	}
}

func (a *Alerts) count(provider string, category providers.Category) *count {
	k := key{provider, category}
	c := a.counts[k]
	if c == nil {
		c = &count{}
		a.counts[k] = c
	}
	return c
}

// escalate tells of a count, unless it was told of within the interval.
func (a *Alerts) escalate(provider string, category providers.Category, c *count, message string) {
	now := a.options.Now()
	if !c.told.IsZero() && now.Sub(c.told) < a.config.Load().MinInterval.Std() {
		return
	}
	c.told = now
	a.total.WithLabelValues(provider, string(category)).Inc()
	select {
	case a.queue <- Escalation{
		Provider: provider, Category: category, Class: category.Class(),
		Failures: c.failures, Since: c.since.UTC(), Time: now.UTC(), Message: message,
	}:
	default: // nobody has taken any for long; the metric tells
	}
}

// complaints is the category of a complaint rate above the limit; the provider has
// refused nothing.
const complaints providers.Category = "complaints"

// Complained tells of complaints since a time that are too many for what was
// delivered. A success ends nothing of it.
func (a *Alerts) Complained(provider string, complained, delivered int64, since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.count(provider, complaints)
	c.failures, c.since = int(complained), since
	a.escalate(provider, complaints, c, fmt.Sprintf("%d complaints for %d delivered mails", complained, delivered))
}

// Succeeded ends the counts of a provider.
func (a *Alerts) Succeeded(provider string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, c := range a.counts {
		if k.provider == provider {
			c.failures = 0
		}
	}
}

// Run sends until ctx ends.
func (a *Alerts) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-a.queue:
			a.send(ctx, e)
		}
	}
}

func (a *Alerts) send(ctx context.Context, e Escalation) {
	a.options.Logger.LogAttrs(ctx, slog.LevelError, "escalation",
		slog.String("provider", e.Provider), slog.String("category", string(e.Category)), slog.String("class", e.Class),
		slog.Int("failures", e.Failures), slog.Time("since", e.Since), slog.String("err", e.Message))
	c := a.config.Load()
	a.post(ctx, "webhook", c.WebhookURL, e)
	// Slack, "Sending messages using incoming webhooks".
	a.post(ctx, "slack", c.SlackURL, map[string]string{"text": e.text()})
}

// post never says the URL: it is a secret.
func (a *Alerts) post(ctx context.Context, name string, target config.Secret, content any) {
	if target.Reveal() == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	if reason := a.try(ctx, target.Reveal(), content); reason != "" {
		a.options.Logger.WarnContext(ctx, "escalation was not taken", slog.String("target", name), slog.String("err", reason))
	}
}

func (a *Alerts) try(ctx context.Context, target string, content any) (failure string) {
	body, err := json.Marshal(content)
	if err != nil {
		return "it cannot be written as JSON"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return "the address is no URL"
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.options.Transport.RoundTrip(req)
	if err != nil {
		return "no answer"
	}
	defer resp.Body.Close() //nolint:errcheck // nothing of it is read
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return "HTTP " + resp.Status
	}
	return ""
}

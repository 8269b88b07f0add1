package events

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"smtpbridge/internal/config"
)

// Config is the part of the [events] table that says what events do.
type Config struct {
	// ComplaintRateAlert is complaints for each delivered mail, over ComplaintWindow,
	// which is counted by whole hours.
	ComplaintRateAlert float64         `toml:"complaint_rate_alert"`
	ComplaintWindow    config.Duration `toml:"complaint_window"`
	// SoftBounceLimit is how many soft bounces in a row suppress an address.
	SoftBounceLimit int `toml:"soft_bounce_limit"`
}

// DefaultConfig alerts at one complaint in a thousand, the limit of the large
// mailbox providers.
func DefaultConfig() Config {
	return Config{ComplaintRateAlert: 0.001, ComplaintWindow: config.Duration(24 * time.Hour), SoftBounceLimit: 5}
}

// Validate reports every problem: the key, and what would be right.
func (c Config) Validate(report func(key, problem string)) {
	if c.ComplaintRateAlert <= 0 || c.ComplaintRateAlert > 1 {
		report("complaint_rate_alert", "must be above 0 and at most 1, such as 0.001 for one complaint in a thousand mails")
	}
	if c.ComplaintWindow <= 0 {
		report("complaint_window", `must be longer than 0, such as "24h"`)
	}
	if c.SoftBounceLimit < 1 {
		report("soft_bounce_limit", "must be at least 1, which suppresses at the first")
	}
}

// Added is an event that was not known before.
type Added struct {
	Event

	// Mailed is when its message came; the zero time where that is not known.
	Mailed time.Time
}

// Store keeps events.
type Store interface {
	// Add stores the events of a call with what they do by the rules, all or
	// nothing, and gives those that are new. A used nonce stores nothing.
	Add(ctx context.Context, provider string, b Batch, rules Rules) ([]Added, error)
	// Complaints counts what a provider has told since a time.
	Complaints(ctx context.Context, provider string, since time.Time) (complained, delivered int64, err error)
}

// Learner is told of messages whose outcome an event may settle. An error means
// that it may not be known yet and must be told again.
type Learner interface {
	Learn(ctx context.Context, e Event) error
}

// Alarm hears of a complaint rate above the limit. It must not block.
type Alarm interface {
	Complained(provider string, complained, delivered int64, since time.Time)
}

// IntakeOptions are what an intake works with. All are needed.
type IntakeOptions struct {
	Store      Store
	Learner    Learner
	Alarm      Alarm
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Intake takes in what providers tell of messages: it is stored, acted upon and
// passed on, each event once. It is safe for concurrent use.
type Intake struct {
	options IntakeOptions
	config  atomic.Pointer[Config]
	total   *prometheus.CounterVec
	latency *prometheus.HistogramVec
}

// NewIntake makes an intake.
func NewIntake(c Config, o IntakeOptions) *Intake {
	metrics := promauto.With(o.Registerer)
	i := &Intake{
		options: o,
		total: metrics.NewCounterVec(prometheus.CounterOpts{
			Name: "bridge_events_total", Help: "Events that providers told, each once.",
		}, []string{"provider", "type"}),
		latency: metrics.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bridge_delivered_latency_seconds", Help: "From the mail to its delivered event.",
			Buckets: []float64{1, 2, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600},
		}, []string{"provider"}),
	}
	i.Replace(c, nil, nil)
	return i
}

// Replace swaps the configuration. The series of providers that are there begin at
// 0, and those of others go.
func (i *Intake) Replace(c Config, names, gone []string) {
	i.config.Store(&c)
	for _, name := range gone {
		i.total.DeletePartialMatch(prometheus.Labels{"provider": name})
		i.latency.DeletePartialMatch(prometheus.Labels{"provider": name})
	}
	for _, name := range names {
		i.latency.WithLabelValues(name)
		for _, t := range []Type{Delivered, Bounced, Complained} {
			i.total.WithLabelValues(name, string(t))
		}
	}
}

// Take takes in what a provider, by its configured name, tells. After an error
// nothing is stored, and it must be told again.
func (i *Intake) Take(ctx context.Context, provider string, b Batch) error {
	for at := range b.Events {
		i.complete(provider, &b.Events[at])
	}
	for _, e := range b.Events {
		if e.MessageID == "" || e.Recipient == "" {
			continue
		}
		if err := i.options.Learner.Learn(ctx, e); err != nil {
			return fmt.Errorf("settling message %s: %w", e.MessageID, err)
		}
	}
	c := i.config.Load()
	added, err := i.options.Store.Add(ctx, provider, b, Rules{SoftBounceLimit: c.SoftBounceLimit})
	if err != nil {
		return err //nolint:wrapcheck // it says what it did
	}
	for _, e := range added {
		i.tell(ctx, e)
	}
	return nil
}

// complete gives an event what every event has.
func (i *Intake) complete(provider string, e *Event) {
	if e.Provider == "" {
		e.Provider = provider
	}
	if e.ID == "" {
		e.ID = ID(provider, e.Key)
	}
	if e.Timestamp.IsZero() {
		e.Timestamp = i.options.Now()
	}
	e.Timestamp = e.Timestamp.UTC()
	e.Recipient = Address(e.Recipient)
}

// tell counts and logs an event, and raises the alarm where it is one complaint
// too many.
func (i *Intake) tell(ctx context.Context, e Added) {
	i.total.WithLabelValues(e.Provider, string(e.Type)).Inc()
	if e.Type == Delivered && !e.Mailed.IsZero() {
		i.latency.WithLabelValues(e.Provider).Observe(max(0, e.Timestamp.Sub(e.Mailed).Seconds()))
	}
	attrs := []slog.Attr{
		slog.String("message_id", e.MessageID), slog.String("provider", e.Provider), slog.String("type", string(e.Type)),
		slog.String("event_id", e.ID),
	}
	if e.Bounce != "" {
		attrs = append(attrs, slog.String("bounce", string(e.Bounce)))
	}
	if e.Reason != "" || e.Response != "" {
		attrs = append(attrs, slog.String("reason", e.Reason), slog.String("response", e.Response))
	}
	i.options.Logger.LogAttrs(ctx, slog.LevelInfo, "event", attrs...)
	if e.Type == Complained {
		i.watch(ctx, e.Provider)
	}
}

// minComplaints raise an alarm: one alone is no rate.
const minComplaints = 2

func (i *Intake) watch(ctx context.Context, provider string) {
	c := i.config.Load()
	since := i.options.Now().Add(-c.ComplaintWindow.Std())
	complained, delivered, err := i.options.Store.Complaints(ctx, provider, since)
	if err != nil {
		i.options.Logger.LogAttrs(ctx, slog.LevelError, "complaints cannot be counted", slog.Any("err", err))
		return
	}
	if complained >= minComplaints && float64(complained) > c.ComplaintRateAlert*float64(delivered) {
		i.options.Alarm.Complained(provider, complained, delivered, since)
	}
}

package events

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
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
	Add(ctx context.Context, b Batch, rules Rules) ([]Added, error)
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
	setup   atomic.Pointer[setup]
	total   *prometheus.CounterVec
	latency *prometheus.HistogramVec
}

// setup is what a reload swaps.
type setup struct {
	Config

	meters map[string]meters // by provider
}

// meters are the series of one provider. Others have none: an event may bear any
// name where nobody has signed it.
type meters struct {
	total   map[Type]prometheus.Counter
	latency prometheus.Observer
}

// NewIntake makes an intake.
func NewIntake(c Config, o IntakeOptions) *Intake {
	metrics := promauto.With(o.Registerer)
	i := &Intake{
		options: o,
		total: metrics.NewCounterVec(prometheus.CounterOpts{
			Name: "bridge_events_total", Help: "Events, each once: the bridge's own and those that providers told.",
		}, []string{"provider", "type"}),
		latency: metrics.NewHistogramVec(prometheus.HistogramOpts{
			Name: "bridge_delivered_latency_seconds", Help: "From the mail to its delivered event.",
			Buckets: []float64{1, 2, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600},
		}, []string{"provider"}),
	}
	i.Replace(c, nil)
	return i
}

// Replace swaps the configuration and the names of the providers. The series of
// those that are there begin at 0, and those of others go.
func (i *Intake) Replace(c Config, names []string) {
	next := &setup{Config: c, meters: make(map[string]meters, len(names))}
	for _, name := range names {
		m := meters{total: make(map[Type]prometheus.Counter), latency: i.latency.WithLabelValues(name)}
		for _, t := range Types() {
			if t != SuppressionAdded && t != SuppressionRemoved { // nobody tells those
				m.total[t] = i.total.WithLabelValues(name, string(t))
			}
		}
		next.meters[name] = m
	}
	previous := i.setup.Swap(next)
	if previous == nil {
		return
	}
	for name := range previous.meters {
		if _, kept := next.meters[name]; !kept {
			i.total.DeletePartialMatch(prometheus.Labels{"provider": name})
			i.latency.DeletePartialMatch(prometheus.Labels{"provider": name})
		}
	}
}

// Take takes in what a provider, by its configured name, tells. After an error it
// must be told again.
//
// What an event settles is settled before it is stored, when it can still be told
// again. Only where a nonce guards the call it is the other way round: a used one
// may stand beside words that nobody has signed.
func (i *Intake) Take(ctx context.Context, provider string, b Batch) error {
	for at := range b.Events {
		i.complete(provider, &b.Events[at])
	}
	if b.Nonce == "" {
		for _, e := range b.Events {
			if err := i.settle(ctx, e); err != nil {
				return err
			}
		}
	}
	s := i.setup.Load()
	added, err := i.options.Store.Add(ctx, b, Rules{SoftBounceLimit: s.SoftBounceLimit})
	if err != nil {
		return err //nolint:wrapcheck // it says what it did
	}
	var complained []string
	for _, e := range added {
		if b.Nonce != "" {
			if err := i.settle(ctx, e.Event); err != nil {
				i.options.Logger.LogAttrs(ctx, slog.LevelError, "event settles nothing", slog.Any("err", err))
			}
		}
		s.count(e)
		i.log(ctx, e)
		if e.Type == Complained && !slices.Contains(complained, e.Provider) {
			complained = append(complained, e.Provider)
		}
	}
	for _, name := range complained {
		if _, known := s.meters[name]; known {
			i.watch(ctx, s.Config, name)
		}
	}
	return nil
}

// settle tells the learner of an event that may be of a message of ours.
func (i *Intake) settle(ctx context.Context, e Event) error {
	if e.MessageID == "" || e.Recipient == "" {
		return nil
	}
	if err := i.options.Learner.Learn(ctx, e); err != nil {
		return fmt.Errorf("settling message %s: %w", e.MessageID, err)
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
	if e.Timestamp = e.Timestamp.UTC(); !isMoment(e.Timestamp) {
		e.Timestamp = i.options.Now().UTC()
	}
	e.Recipient, e.Scope = Address(e.Recipient), Scope(e.Scope)
}

// Count counts an event of the bridge itself: what became of a recipient at a
// provider, by its configured name.
func (i *Intake) Count(provider string, t Type) {
	if total, known := i.setup.Load().meters[provider].total[t]; known {
		total.Inc()
	}
}

// count counts an event, and how long its mail was on its way.
func (s *setup) count(e Added) {
	m, known := s.meters[e.Provider]
	if !known {
		return
	}
	if total, told := m.total[e.Type]; told && e.Type != Accepted { // the bridge counts its 250
		total.Inc()
	}
	if e.Type == Delivered && !e.Mailed.IsZero() {
		m.latency.Observe(max(0, e.Timestamp.Sub(e.Mailed).Seconds()))
	}
}

// log has a line for each event. Whom it is about is at its message.
func (i *Intake) log(ctx context.Context, e Added) {
	attrs := []slog.Attr{
		slog.String("message_id", e.MessageID), slog.String("provider", e.Provider), slog.String("type", string(e.Type)),
		slog.String("event_id", e.ID),
	}
	if e.Bounce != "" {
		attrs = append(attrs, slog.String("bounce", string(e.Bounce)))
	}
	if e.Reason != "" || e.Response != "" {
		attrs = append(attrs, slog.String("reason", excerpt(e.Reason)), slog.String("response", excerpt(e.Response)))
	}
	level := slog.LevelInfo
	if e.Type == Rejected { // perhaps the account's fault, not the recipient's
		level = slog.LevelWarn
	}
	i.options.Logger.LogAttrs(ctx, level, "event", attrs...)
}

// maxExcerptBytes is the most of anybody's words in a line of the log.
const maxExcerptBytes = 512

// mailbox finds what may be a mail address in a server's words: none goes to the log.
var mailbox = regexp.MustCompile(`("[^"]*"|[^\s<>"'(),;:]+)@[^\s<>"'(),;:]+`)

func excerpt(words string) string {
	return mailbox.ReplaceAllString(clip(words, maxExcerptBytes), "[address]")
}

// minComplaints raise an alarm: one alone is no rate.
const minComplaints = 2

// watch raises the alarm where there is one complaint too many.
func (i *Intake) watch(ctx context.Context, c Config, provider string) {
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

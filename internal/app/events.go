package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"smtpbridge/events"
	"smtpbridge/events/forward"
	"smtpbridge/internal/store"
	"smtpbridge/providers"
)

// testHook is the name of the hook for normalised events.
const testHook = "test"

// hooks are where the providers call, and the rehearsal's where a sandbox is one
// of them.
func (a *App) hooks(all []Provider) map[string]events.Hook {
	hooks := make(map[string]events.Hook)
	for _, p := range all {
		if p.webhook != nil {
			hooks[p.Name] = events.Hook{Source: p.webhook(a.transport)}
		}
		if p.Type == sandboxType {
			test, another := hooks[testHook]
			if !another {
				test = events.Hook{Source: events.Rehearsal{Provider: p.Name}, Local: true}
			}
			test.Local = test.Local && !p.unverified
			hooks[testHook] = test
		}
	}
	return hooks
}

// warnOfHooks names those who take what nobody has signed.
func (a *App) warnOfHooks(ctx context.Context, all []Provider) {
	for _, p := range all {
		if p.unverified {
			a.logger.WarnContext(ctx, "webhooks are taken without a key: whoever can reach the address can suppress recipients",
				slog.String("provider", p.Name))
		}
	}
}

// newIntake makes the way in for events. It comes before the pipeline: a sandbox
// reports to it.
func (a *App) newIntake(c Config) error {
	a.intake = events.NewIntake(c.Events.Config, events.IntakeOptions{
		Store: a.store.History(), Learner: learner{a}, Alarm: a.alerts, Logger: a.logger, Registerer: a.registry, Now: time.Now,
	})
	a.store.History().CountBy(a.intake.Count)
	a.endpoint = events.NewEndpoint(a.intake, a.logger, a.registry)
	a.rehearsal = newRehearsal(a.intake, a.logger)
	return a.reloadEvents(c)
}

// newForwarder makes the way to the application, and has the history enqueue for it.
func (a *App) newForwarder(c Config) error {
	h := a.store.History()
	if err := forward.Migrate(context.Background(), h.DB(), h.Shared()); err != nil { //nolint:forbidigo // nothing waits for a bridge that is not there yet
		return err //nolint:wrapcheck // New does
	}
	var err error
	a.forwarder, err = forward.New(c.Events.Forward, forward.Options{
		DB: h.DB(), Shared: h.Shared(), Events: h, Retention: c.Store.Retention.Std(),
		Transport: a.transport, Logger: a.logger, Registerer: a.registry,
	})
	if err != nil {
		return err //nolint:wrapcheck // New does
	}
	h.ForwardBy(a.forwarder)
	return nil
}

// reloadEvents swaps what providers may tell.
func (a *App) reloadEvents(c Config) error {
	a.intake.Replace(c.Events.Config, c.names())
	a.endpoint.Replace(a.hooks(c.Providers))
	return a.forwarder.Replace(c.Events.Forward) //nolint:wrapcheck // it names the key
}

// learner settles with the pipeline what an event tells: a provider that tells of
// a message has it.
type learner struct{ app *App }

// Learn implements [events.Learner].
func (l learner) Learn(ctx context.Context, e events.Event) error {
	err := l.app.pipeline.Learn(ctx, e.MessageID, providers.Result{
		Recipient: e.Recipient, State: providers.Accepted, Provider: e.Provider, ProviderID: e.ProviderMessageID,
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil // it is not remembered any more, or is another bridge's
	}
	return err //nolint:wrapcheck // the intake says what it was about
}

// heldCollector is the metric of the suppression list, read when it is asked for.
type heldCollector struct {
	history *store.History
	total   *prometheus.Desc
}

func newHeldCollector(h *store.History) heldCollector {
	return heldCollector{h, prometheus.NewDesc("bridge_suppressions", "Suppressions by reason.", []string{"reason"}, nil)}
}

// Describe implements [prometheus.Collector].
func (c heldCollector) Describe(to chan<- *prometheus.Desc) { to <- c.total }

// Collect implements [prometheus.Collector].
func (c heldCollector) Collect(to chan<- prometheus.Metric) {
	counts, err := c.history.SuppressionCounts(context.Background()) //nolint:forbidigo // a scrape has no context here
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.total, err)
		return
	}
	for _, reason := range events.Reasons() {
		to <- prometheus.MustNewConstMetric(c.total, prometheus.GaugeValue, float64(counts[reason]), string(reason))
	}
}

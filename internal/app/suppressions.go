package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"smtpbridge/events"
	"smtpbridge/events/forward"
	"smtpbridge/internal/store"
	"smtpbridge/providers/httpapi"
)

// batch is how many suppressions are read at once.
const batch = 1000

// Suppressions is the suppression list of a configuration, beside a bridge that
// may be running: what changes is seen by it within a second.
type Suppressions struct {
	history   *store.History
	providers []Provider
	transport *http.Transport
}

// OpenSuppressions opens the list. It must be closed.
func OpenSuppressions(ctx context.Context, c Config) (*Suppressions, error) {
	h, err := store.OpenHistory(ctx, c.Store, store.Options{DataDir: c.DataDir})
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it did
	}
	s := &Suppressions{history: h, providers: c.Providers, transport: httpapi.NewTransport()}
	if err := s.tell(ctx, c); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing what the application is told: %w", err), s.Close(ctx))
	}
	return s, nil
}

// tell has the running bridge pass on what changes.
func (s *Suppressions) tell(ctx context.Context, c Config) error {
	if err := forward.Migrate(ctx, s.history.DB(), s.history.Shared()); err != nil {
		return err //nolint:wrapcheck // OpenSuppressions does
	}
	f, err := forward.New(c.Events.Forward, forward.Options{
		DB: s.history.DB(), Shared: s.history.Shared(), Events: s.history, Retention: c.Store.Retention.Std(), Transport: s.transport,
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		return err //nolint:wrapcheck // OpenSuppressions does
	}
	s.history.ForwardBy(f)
	return nil
}

// Close lets go of the list.
func (s *Suppressions) Close(ctx context.Context) error {
	s.transport.CloseIdleConnections()
	return s.history.Close(ctx) //nolint:wrapcheck // it says what it did
}

// All gives every suppression, by address, those of one reason where it is not
// empty.
func (s *Suppressions) All(ctx context.Context, reason string, each func(events.Suppression)) error {
	q := store.SuppressionQuery{Reason: reason, Limit: batch}
	for {
		page, err := s.history.Suppressions(ctx, q)
		if err != nil {
			return fmt.Errorf("listing suppressions: %w", err)
		}
		for _, one := range page.Suppressions {
			each(one)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return nil
		}
	}
}

// Export writes the list as CSV.
func (s *Suppressions) Export(ctx context.Context, w io.Writer) error {
	out := events.NewCSVWriter(w)
	return errors.Join(s.All(ctx, "", out.Write), out.Flush())
}

// Add puts an address on the list, and reports whether it was not there.
func (s *Suppressions) Add(ctx context.Context, one events.Suppression) (added bool, err error) {
	if err := one.Validate(); err != nil {
		return false, err //nolint:wrapcheck // it names the thing
	}
	n, err := s.history.Suppress(ctx, one)
	return n > 0, err //nolint:wrapcheck // it says what it did
}

// Remove takes an address off the list: its suppression of one scope, or all
// where it is nil.
func (s *Suppressions) Remove(ctx context.Context, address string, scope *string) error {
	err := s.history.Lift(ctx, address, scope)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%s is not on the list", events.Address(address))
	}
	return err //nolint:wrapcheck // it says what it did
}

// Import reads CSV, in the form of the export or addresses alone, and gives the
// number of those that were not there. What stands before an error is added.
func (s *Suppressions) Import(ctx context.Context, r io.Reader) (added int, err error) {
	return events.InBatches(events.ReadCSV(r), func(some []events.Suppression) (int, error) {
		return s.history.Suppress(ctx, some...) //nolint:wrapcheck // it says what it did
	})
}

// Synced is what came of pulling one provider's list.
type Synced struct {
	Provider string
	Added    int
	Err      error
}

// Sync pulls the lists of the providers, or of the one that is named.
func (s *Suppressions) Sync(ctx context.Context, name string) ([]Synced, error) {
	var out []Synced
	for _, p := range s.providers {
		if p.lister != nil && (name == "" || p.Name == name) {
			out = append(out, pull(ctx, s.history, p, s.transport))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no provider %swith a suppression list is configured", quotedOrNone(name))
	}
	return out, nil
}

func quotedOrNone(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("%q ", name)
}

// pull takes over the list of one provider. What was read before an error stays.
func pull(ctx context.Context, h *store.History, p Provider, transport http.RoundTripper) Synced {
	added, err := events.InBatches(p.lister(transport).Suppressions(ctx), func(some []events.Suppression) (int, error) {
		return h.Pull(ctx, some...) //nolint:wrapcheck // it says what it did
	})
	return Synced{p.Name, added, err}
}

// syncSuppressions pulls the lists as often as the configuration says, until ctx
// ends.
func (a *App) syncSuppressions(ctx context.Context) {
	last := time.Now()
	look := time.NewTicker(time.Second) // the interval may change while it is waited for
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			interval := a.current.Load().Events.SuppressionSync.Std()
			if interval == 0 || now.Sub(last) < interval {
				continue
			}
			last = now
			a.pullAll(ctx)
		}
	}
}

func (a *App) pullAll(ctx context.Context) {
	for _, p := range a.current.Load().Providers {
		if p.lister == nil || ctx.Err() != nil {
			continue
		}
		synced := pull(ctx, a.store.History(), p, a.transport)
		attrs := []slog.Attr{slog.String("provider", p.Name), slog.Int("added", synced.Added)}
		level := slog.LevelInfo
		if synced.Err != nil {
			level = slog.LevelError
			attrs = append(attrs, slog.Any("err", synced.Err))
		}
		a.logger.LogAttrs(ctx, level, "suppression list pulled", attrs...)
	}
}

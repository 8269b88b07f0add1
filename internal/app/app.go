// Package app is the whole bridge: it reads the configuration ([Load]), joins
// the packages that do the work ([New]), runs them until they are told to stop
// ([App.Run]), and swaps what may change while they run ([App.Reload]).
//
// It is the only place that lists the provider types. Tests start the real
// bridge with it, on port 0, and ask [App.Addrs] where it listens.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"smtpbridge/events"
	"smtpbridge/events/forward"
	"smtpbridge/internal/admin"
	"smtpbridge/internal/alerts"
	"smtpbridge/internal/store"
	"smtpbridge/providers/delivery"
	"smtpbridge/providers/httpapi"
	"smtpbridge/smtpd"
)

// Options are what a bridge needs besides its configuration.
type Options struct {
	// Log takes the log, line by line.
	Log io.Writer
	// Load reads the configuration again, for Reload; nil where it came from no file.
	Load func() (Config, error)
}

// App is a bridge. New makes one.
type App struct {
	load   func() (Config, error)
	log    logSettings
	logger *slog.Logger

	registry  *prometheus.Registry
	store     *store.Store
	transport *http.Transport
	alerts    *alerts.Alerts
	pipeline  *delivery.Pipeline
	intake    *events.Intake
	endpoint  *events.Endpoint
	rehearsal *rehearsal
	forwarder *forward.Forwarder
	smtp      *smtpd.Server
	web       []*web // admin, webhook

	phase    phase
	reloaded chan struct{} // tells the watcher that the files may be others
	current  atomic.Pointer[Config]
	source   atomic.Pointer[source] // of the last configuration that was read, even in vain

	reloading sync.Mutex // one reload at a time; guards nothing else
}

// Addrs are where a bridge listens.
type Addrs struct {
	SMTP           []net.Addr
	Admin, Webhook net.Addr
}

// New builds a bridge of a valid configuration. It makes the directory for
// spooled mail, but listens and starts nothing.
func New(c Config, o Options) (*App, error) {
	spool, err := prepareSpool(c.DataDir)
	if err != nil {
		return nil, err
	}
	a := &App{
		load:      o.Load,
		registry:  prometheus.NewRegistry(),
		transport: httpapi.NewTransport(),
		reloaded:  make(chan struct{}, 1),
	}
	a.log.apply(c.Log)
	a.logger = a.log.logger(o.Log)
	a.current.Store(&c)
	a.source.Store(&c.source)
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	//nolint:forbidigo // nothing waits for a bridge that is not there yet
	a.store, err = store.Open(context.Background(), c.Store, store.Options{DataDir: c.DataDir, Logger: a.logger})
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it did
	}
	if err := a.newForwarder(c); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing what the application is told: %w", err), a.Close())
	}
	a.alerts = alerts.New(c.Alerts, alerts.Options{Transport: a.transport, Logger: a.logger, Registerer: a.registry})
	a.alerts.Replace(c.Alerts, c.names())
	if err := a.newIntake(c); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	a.registry.MustRegister(newHeldCollector(a.store.History()))
	a.pipeline = delivery.New(c.settings(a.build(c.Providers)), delivery.Options{
		Recorder:     a.store.History(),
		Memory:       a.store,
		Quotas:       a.store,
		Suppressions: a.store.History(),
		Escalator:    a.alerts,
		Logger:       a.logger,
		Registerer:   a.registry,
	})
	a.smtp, err = smtpd.New(c.smtp(), smtpd.Options{
		Delivery:        a.pipeline,
		SpoolDir:        spool,
		ShutdownTimeout: drainTime(c.ShutdownTimeout.Std()),
		Logger:          a.logger,
		Registerer:      a.registry,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("building the SMTP server: %w", err), a.Close())
	}
	a.web = []*web{
		newWeb("http.admin_address", c.HTTP.AdminAddress, a.adminHandler(), a.logger),
		newWeb("http.webhook_address", c.HTTP.WebhookAddress, admin.NewPublic(admin.PublicOptions{Webhooks: a.endpoint, Logger: a.logger, Now: time.Now}), a.logger),
	}
	return a, nil
}

func (a *App) adminHandler() http.Handler {
	return admin.New(admin.Options{
		Messages:  a.store.History(),
		History:   a.store.History(),
		Letters:   a.forwarder,
		Providers: a.providers,
		Ready:     []admin.Check{{Name: "smtp", Run: a.phase.check}, {Name: "store", Run: a.store.Check}},
		Metrics:   a.registry,
		Logger:    a.logger,
		Now:       time.Now,
	})
}

// providers are those of the moment, for the API.
func (a *App) providers(ctx context.Context) []admin.Provider {
	types := make(map[string]string)
	for _, p := range a.current.Load().Providers {
		types[p.Name] = p.Type
	}
	var out []admin.Provider
	for _, status := range a.pipeline.Providers(ctx) {
		out = append(out, admin.Provider{Status: status, Type: types[status.Name]})
	}
	return out
}

func (a *App) build(configured []Provider) []delivery.Account {
	out := make([]delivery.Account, len(configured))
	for i, p := range configured {
		out[i] = delivery.Account{Provider: p.build(parts{
			transport: a.transport, keeper: a.store.History(), reporter: a.rehearsal,
		}), Config: p.account}
	}
	return out
}

// Close lets go of what New has opened, where Run never was; Run does it itself.
func (a *App) Close() error {
	return a.store.Close(context.Background()) //nolint:forbidigo,wrapcheck // what was asked of it is done; it says what it did
}

// Listen binds every address, so that Addrs knows them and clients can connect.
// Run does it where nobody has. After an error nothing is bound.
func (a *App) Listen(ctx context.Context) error {
	for i, w := range a.web {
		if err := w.listen(ctx); err != nil {
			closeAll(a.web[:i])
			return err
		}
	}
	if err := a.smtp.Listen(ctx); err != nil {
		closeAll(a.web)
		return fmt.Errorf("listening for SMTP: %w; stop what listens there, or change smtp.listener", err)
	}
	a.phase.set(listening)
	return nil
}

// Addrs are where the bridge listens, once Listen has succeeded.
func (a *App) Addrs() Addrs {
	return Addrs{SMTP: a.smtp.Addrs(), Admin: a.web[0].addr(), Webhook: a.web[1].addr()}
}

// Run serves until ctx ends or a part fails, then stops what it started, in
// reverse and within shutdown_timeout: clients first, then what their messages
// still wait for, then the pages that told how it went. When it returns nothing
// is left running.
func (a *App) Run(ctx context.Context) error {
	if a.phase.get() == starting {
		if err := a.Listen(ctx); err != nil {
			return errors.Join(err, a.Close())
		}
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	telling, hush := context.WithCancel(context.WithoutCancel(ctx))
	defer hush()
	var clients, pages, tellers errgroup.Group
	tellers.Go(func() error { return a.alerts.Run(telling) })
	tellers.Go(func() error { return a.store.Run(context.WithoutCancel(ctx)) })
	var forwarding errgroup.Group
	forwarding.Go(func() error { return a.forwarder.Run(telling) })
	reported := make(chan struct{})
	go func() { defer close(reported); a.rehearsal.run(telling) }()
	for _, w := range a.web {
		pages.Go(func() error { defer stop(); return w.serve() })
	}
	clients.Go(func() error { defer stop(); return a.smtp.Run(serving) })
	clients.Go(func() error { a.watch(serving); return nil })
	clients.Go(func() error { a.syncSuppressions(serving); return nil })
	a.logger.InfoContext(ctx, "bridge started", a.Addrs().attrs()...)
	a.warnOfSandbox(ctx)
	a.warnOfHooks(ctx, a.current.Load().Providers)

	<-serving.Done()
	a.phase.set(stopping)
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.current.Load().ShutdownTimeout.Std())
	defer cancel()
	err := clients.Wait()
	if err := a.pipeline.Close(rest); err != nil {
		a.logger.WarnContext(ctx, "requests were given up", slog.Any("err", err))
	}
	for _, w := range a.web {
		w.shutdown(rest)
	}
	hush()
	<-reported
	err = errors.Join(err, pages.Wait(), forwarding.Wait(), a.Close(), tellers.Wait())
	a.transport.CloseIdleConnections()
	a.logger.InfoContext(ctx, "bridge stopped")
	return err
}

// attrs are for the log.
func (a Addrs) attrs() []any {
	listeners := make([]string, len(a.SMTP))
	for i, addr := range a.SMTP {
		listeners[i] = addr.String()
	}
	return []any{slog.Any("smtp", listeners), slog.String("admin", a.Admin.String()), slog.String("webhook", a.Webhook.String())}
}

// drainTime is what the SMTP clients get of shutdown_timeout. The last tenth is
// for late answers and the pages.
func drainTime(all time.Duration) time.Duration { return all - all/10 }

// phase is what the bridge is doing, for the probes.
type phase struct{ value atomic.Int32 }

const (
	starting int32 = iota
	listening
	stopping
)

func (p *phase) set(value int32) { p.value.Store(value) }

func (p *phase) get() int32 { return p.value.Load() }

func (p *phase) check(context.Context) error {
	switch p.get() {
	case listening:
		return nil
	case starting:
		return errors.New("not yet listening")
	default:
		return errors.New("shutting down")
	}
}

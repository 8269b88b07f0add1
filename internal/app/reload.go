package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"smtpbridge/internal/config"
)

// Reload reads the configuration again and swaps what may change while the
// bridge runs: providers, their secrets, users, limits, networks, time-outs and
// the log. It is all or nothing: an invalid file, and one that needs a restart,
// change nothing and are logged.
func (a *App) Reload() { a.reload(context.Background()) } //nolint:forbidigo // a reload is not part of any request

func (a *App) reload(ctx context.Context) {
	if a.load == nil {
		a.logger.InfoContext(ctx, "nothing to reload: the bridge runs without a configuration file")
		return
	}
	a.reloading.Lock()
	defer a.reloading.Unlock()
	c, err := a.load()
	a.source.Store(&c.source)
	defer a.wakeWatcher()
	if err != nil {
		a.logInvalid(ctx, err)
		return
	}
	if keys := needRestart(*a.current.Load(), c); len(keys) > 0 {
		a.logger.WarnContext(ctx, "configuration needs a restart, the old one stays", slog.Any("keys", keys))
		return
	}
	if old := a.current.Load().ShutdownTimeout; old != c.ShutdownTimeout {
		a.logger.WarnContext(ctx, "the new shutdown_timeout counts after a restart")
		c.ShutdownTimeout = old
	}
	a.log.apply(c.Log)
	a.smtp.Reload(c.smtp())
	a.pipeline.Replace(c.settings(a.build(c.Providers)))
	a.alerts.Replace(c.Alerts, c.names())
	if err := a.reloadEvents(c); err != nil {
		a.logger.ErrorContext(ctx, "what the application is told goes where it went before", slog.Any("err", err))
	}
	a.current.Store(&c)
	a.logger.InfoContext(ctx, "configuration reloaded", slog.Int("providers", len(c.Providers)))
	a.warnOfSandbox(ctx)
	a.warnOfHooks(ctx, c.Providers)
}

// warnOfSandbox: its 250 looks like any other. Whoever names it, or runs without a
// file, is trying it out.
func (a *App) warnOfSandbox(ctx context.Context) {
	all := a.current.Load().Providers
	if a.load != nil && isAssumed(all) {
		a.logger.WarnContext(ctx, "the sandbox takes all mail and sends none", slog.String("provider", all[0].Name))
	}
}

// logInvalid has a line for each problem.
func (a *App) logInvalid(ctx context.Context, err error) {
	const message = "configuration is invalid, the old one stays"
	problems, ok := errors.AsType[config.InvalidError](err)
	if !ok {
		a.logger.ErrorContext(ctx, message, slog.Any("err", err))
		return
	}
	for _, p := range problems {
		a.logger.ErrorContext(ctx, message, slog.String("file", p.File), slog.Int("line", p.Line),
			slog.String("key", p.Key), slog.String("err", p.Text))
	}
}

// needRestart names the keys that differ and cannot be swapped.
func needRestart(old, c Config) []string {
	var keys []string
	for _, part := range []struct {
		key     string
		changed bool
	}{
		{"data_dir", old.DataDir != c.DataDir},
		{"smtp.listener", !slices.Equal(old.SMTP.Listeners, c.SMTP.Listeners)},
		{"http", old.HTTP != c.HTTP},
		{"store", old.Store != c.Store},
		// A file that was cut off is valid, and the sandbox would answer 250 for
		// mail that nobody sends.
		{"provider", !isAssumed(old.Providers) && isAssumed(c.Providers)},
	} {
		if part.changed {
			keys = append(keys, part.key)
		}
	}
	return keys
}

package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"smtpbridge/internal/app"
)

type serve struct {
	configured
}

// Run serves until ctx ends. SIGHUP reads the configuration again.
func (s serve) Run(ctx context.Context, t terminal) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	tuneMemory(t.env)
	c, err := s.load(t)
	if err != nil {
		return err
	}
	options := app.Options{Log: t.stderr}
	if path := s.path(t); path != "" { // the same file from now on: where it is gone the default must not take its place
		options.Load = func() (app.Config, error) { return app.Load(path, t.env) }
	}
	bridge, err := app.New(c, options)
	if err != nil {
		return err
	}
	if err := bridge.Listen(ctx); err != nil {
		return errors.Join(err, bridge.Close())
	}
	s.greet(t, bridge.Addrs())

	ctx, cancel := context.WithCancel(ctx)
	var reloads sync.WaitGroup
	defer reloads.Wait()
	defer cancel()
	reloads.Go(func() {
		for {
			select {
			case <-hangup:
				bridge.Reload()
			case <-ctx.Done():
				return
			}
		}
	})
	return bridge.Run(ctx)
}

// greet says where the bridge listens, and to those who have just met it what
// to try next. The log goes elsewhere.
func (s serve) greet(t terminal, addrs app.Addrs) {
	t.printf("smtp-bridge %s\n", buildVersion())
	for _, addr := range addrs.SMTP {
		t.printf("  SMTP      %s\n", describe(addr))
	}
	t.printf("  admin     http://%s\n  webhooks  http://%s\n", addrs.Admin, addrs.Webhook)
	if s.path(t) != "" {
		return
	}
	t.printf(`
There is no configuration file: mail goes to the sandbox, which answers as a
provider would and sends nothing. Try:
  bridge send --to you@sandbox.test --subject Hello --text "It works."
  bridge send --to bounce@sandbox.test
      a refusal; also ratelimit@ quota@ auth@ spam@ config@ down@ network@ ambiguous@ slow@
  curl http://%s/api/v1/messages
      what became of them
`, addrs.Admin)
}

func describe(addr net.Addr) string {
	if addr.Network() == "unix" {
		return "unix:" + addr.String()
	}
	return addr.String()
}

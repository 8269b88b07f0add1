package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"smtpbridge/internal/app"
)

// probeTimeout bounds the question to one provider.
const probeTimeout = 15 * time.Second

type check struct {
	configured

	Online bool `help:"Also ask each provider whether it takes the credentials; nothing is sent."`
}

// Run prints every problem, or what the configuration amounts to.
func (c check) Run(ctx context.Context, t terminal) error {
	configuration, err := c.load(t)
	if err != nil {
		t.printf("%v\n", err)
		return errSaid
	}
	t.printf("ok: %s\n%s", c.name(t), summary(configuration))
	if c.Online {
		return probe(ctx, t, configuration.Providers)
	}
	return nil
}

func (c check) name(t terminal) string {
	if path := c.path(t); path != "" {
		return path
	}
	return "the built-in default"
}

func summary(c app.Config) string {
	var out strings.Builder
	for _, l := range c.SMTP.Listeners {
		fmt.Fprintf(&out, "  SMTP      %s\n", l.Address)
	}
	fmt.Fprintf(&out, "  admin     http://%s\n", c.HTTP.AdminAddress)
	for _, p := range c.Providers {
		fmt.Fprintf(&out, "  provider  %s (%s)\n", p.Name, p.Type)
	}
	return out.String()
}

// probe asks all of them, whatever the first one says.
func probe(ctx context.Context, t terminal, providers []app.Provider) error {
	var failed error
	for _, p := range providers {
		if err := probeOne(ctx, p); err != nil {
			t.printf("%s: %v\n", p.Name, err)
			failed = errSaid
			continue
		}
		t.printf("%s: takes the credentials\n", p.Name)
	}
	return failed
}

func probeOne(ctx context.Context, p app.Provider) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return p.Probe(ctx)
}

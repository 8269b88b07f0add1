// Package sandbox is the provider for trying things out: it runs in the
// process, takes every message, sends none, and keeps their content for
// GET /api/v1/messages/{id}.
//
// Recipients at sandbox.test are answered the way the providers' own simulators
// do ([Provider.Send] lists them), so that each reply code can be seen without
// an account.
package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// typeName is what the configuration calls this provider.
const typeName = "sandbox"

// Config is the table of a sandbox provider.
type Config struct {
	Name string `toml:"name"`
	Type string `toml:"type"`
	// WebhookUnverified takes POST /webhooks/test from elsewhere than loopback, too.
	WebhookUnverified bool `toml:"webhook_unverified"`
}

// DefaultConfig is a sandbox named after its type.
func DefaultConfig() Config { return Config{Name: typeName, Type: typeName} }

// Validate reports what is wrong. The form of names is the same for every
// provider and is checked with all of them.
func (c Config) Validate(report func(key, problem string)) {
	if c.Type != typeName {
		report("type", fmt.Sprintf("%q is not this provider's type; write %q", c.Type, typeName))
	}
}

// Keeper keeps the content of messages, as JSON, with their records. It must
// not block.
type Keeper interface {
	Keep(id string, content json.RawMessage)
}

// Provider is the sandbox. It is safe for concurrent use.
type Provider struct {
	name     string
	keep     Keeper
	reporter Reporter
}

// New makes a sandbox that gives the content of its messages to keep, and what
// becomes of them to a reporter.
func New(c Config, keep Keeper, reporter Reporter) *Provider {
	return &Provider{name: c.Name, keep: keep, reporter: reporter}
}

// Name is the configured name.
func (p *Provider) Name() string { return p.name }

// Simulates says that its 250 means that nobody has the mail: beside providers that
// send, it stands in for none of them.
func (p *Provider) Simulates() bool { return true }

// Capabilities are all there are: what a real provider would lose is not for
// the sandbox to guess.
func (p *Provider) Capabilities() providers.Capabilities {
	return providers.Capabilities{
		RawMIME:          true,
		ScheduleHorizon:  math.MaxInt64,
		MaxTags:          math.MaxInt,
		MaxTagRunes:      math.MaxInt,
		MaxMetadataBytes: math.MaxInt,
		Merges:           []string{"sendgrid", "mailgun", "postmark", "ses"},
		TrackOpens:       true,
		TrackClicks:      true,
		MessageID:        true,
		Date:             true,
		Sender:           true,
	}
}

// Send keeps the message and takes it for every recipient but these at
// sandbox.test, with or without a +tag: bounce, ratelimit, quota, auth, spam,
// config, down, network and ambiguous meet the error of that name; slow is
// taken after five seconds. Taken and followed by an event of the name are
// delivered, hardbounce, softbounce, complaint, unsubscribe, open and click.
func (p *Provider) Send(ctx context.Context, m *translate.Message) providers.Outcome {
	recipients := m.Envelope.Recipients
	content, err := render(m)
	if err != nil {
		return providers.Fail(recipients, providers.Refused, &providers.Error{
			Category: providers.LocalFailure, Message: "the sandbox cannot read the message", Cause: err,
		})
	}
	p.keep.Keep(m.Envelope.BridgeID, content)
	return p.answers(ctx, m.Envelope.BridgeID, recipients)
}

// answers waits once where anybody is slow, as one request would.
func (p *Provider) answers(ctx context.Context, id string, recipients []string) providers.Outcome {
	var silence *providers.Error
	if slices.ContainsFunc(recipients, isSlow) {
		silence = linger(ctx)
	}
	outcome := make(providers.Outcome, len(recipients))
	for i, recipient := range recipients {
		result := answer(recipient)
		if silence != nil && isSlow(recipient) {
			result.State, result.Err = providers.Ambiguous, silence
		}
		if result.State == providers.Accepted {
			result.ProviderID = "sandbox-" + id
			p.report(id, result.ProviderID, recipient)
		}
		result.Provider = p.name
		outcome[i] = result
	}
	return outcome
}

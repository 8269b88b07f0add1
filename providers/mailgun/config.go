package mailgun

import (
	"strings"

	"smtpbridge/internal/config"
	"smtpbridge/providers/httpapi"
)

// providerType is the type in the configuration, and the dialect of X-Mailgun-*.
const providerType = "mailgun"

// The regions of a domain.
const (
	regionUS = "us"
	regionEU = "eu"
)

// The formats of a request.
const (
	formatMIME   = "mime"
	formatFields = "fields"
)

// Config is one sending domain of a Mailgun account.
type Config struct {
	httpapi.Config `toml:",squash"`

	// APIKey is a key of the account, or a sending key of the domain, which can
	// do no more than the bridge needs.
	APIKey config.Secret `toml:"api_key"`
	// Domain is the sending domain, in punycode; mails may be from others.
	Domain string `toml:"domain"`
	// Region is "us" or "eu".
	Region string `toml:"region"`
	// Format is "mime" or "fields".
	Format string `toml:"format"`
	// WebhookSigningKey verifies webhooks: the account's HTTP webhook signing key.
	WebhookSigningKey config.Secret `toml:"webhook_signing_key"`
}

// DefaultConfig names the provider by its type and sends MIME in the US.
func DefaultConfig() Config {
	return Config{Config: httpapi.DefaultConfig(providerType), Region: regionUS, Format: formatMIME}
}

// Validate reports every problem: the key, and what would be right.
func (c Config) Validate(report func(key, problem string)) {
	c.Config.Validate(report)
	key := c.APIKey.Reveal()
	switch {
	case key == "":
		report("api_key", `is missing; give a sending key of the domain, or a key of the account, such as "env:MAILGUN_API_KEY"`)
	case strings.ContainsFunc(key, isNotOfKey):
		report("api_key", "holds a blank, a line break or a character that is not ASCII; give the key alone")
	}
	if signing := c.WebhookSigningKey.Reveal(); strings.ContainsFunc(signing, isNotOfKey) {
		report("webhook_signing_key", "holds a blank, a line break or a character that is not ASCII; give the account's HTTP webhook signing key alone")
	}
	switch {
	case c.Domain == "":
		report("domain", `is missing; give the sending domain as Mailgun shows it, such as "mg.example.com"`)
	case strings.ContainsFunc(c.Domain, isNotOfDomain):
		report("domain", `must be the sending domain alone, such as "mg.example.com": no scheme, no path, in punycode where it is not ASCII`)
	}
	if c.Region != regionUS && c.Region != regionEU {
		report("region", `must be "us" or "eu": where the domain was created`)
	}
	if c.Format != formatMIME && c.Format != formatFields {
		report("format", `must be "mime" (mails leave as they are) or "fields" (Mailgun builds them)`)
	}
}

func isNotOfKey(r rune) bool { return r <= ' ' || r >= 0x7f }

// isNotOfDomain: Mailgun takes a "/" in the domain for another path and answers
// 200 as if all were well.
func isNotOfDomain(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

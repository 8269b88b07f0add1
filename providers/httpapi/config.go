package httpapi

import (
	"net/url"
	"time"

	"smtpbridge/internal/config"
)

// Config is what every provider behind an HTTP API is configured by.
type Config struct {
	// Name is unique among the providers; it is in logs, metrics and the webhook's path.
	Name string `toml:"name"`
	Type string `toml:"type"`
	// BaseURL replaces scheme and host of the real endpoint; its paths stay.
	BaseURL string `toml:"base_url"`
	// Timeout bounds one request, from connecting to the end of the answer.
	Timeout config.Duration `toml:"timeout"`
	// WebhookUnverified accepts webhooks without a key to check them with.
	WebhookUnverified bool `toml:"webhook_unverified"`
}

// DefaultConfig is that of a provider named by its type.
func DefaultConfig(providerType string) Config {
	return Config{Name: providerType, Type: providerType, Timeout: config.Duration(30 * time.Second)}
}

// Validate reports every problem: the key, and what would be right. The form of
// names is the same for every provider and is checked with all of them.
func (c Config) Validate(report func(key, problem string)) {
	if c.BaseURL != "" {
		if _, err := parseBase(c.BaseURL); err != nil {
			report("base_url", `must be scheme and host alone, such as "https://api.example.com"; leave it empty for the real endpoint`)
		}
	}
	if c.Timeout <= 0 {
		report("timeout", `must be longer than 0, such as "30s"`)
	}
}

// parseBase reads a base_url: a scheme, a host, nothing else.
func parseBase(raw string) (*url.URL, error) {
	base, err := url.Parse(raw)
	if err != nil {
		return nil, errBaseURL // the parser's own words repeat the URL, and a password in it
	}
	bare := url.URL{Scheme: base.Scheme, Host: base.Host}
	if (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" ||
		(raw != bare.String() && raw != bare.String()+"/") {
		return nil, errBaseURL
	}
	return &bare, nil
}

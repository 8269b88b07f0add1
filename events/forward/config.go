package forward

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"smtpbridge/internal/config"
)

const (
	// secretPrefix begins every signing secret (Standard Webhooks, "Signature scheme").
	secretPrefix = "whsec_"
	// minSecretBytes is the shortest key that nobody guesses. The standard advises 24.
	minSecretBytes = 16
)

var (
	errURL    = errors.New(`is no URL; write one such as "https://app.example.com/mail-events"`)
	errSecret = errors.New(`is no Standard Webhooks secret; write "whsec_" and 24 random bytes or more in base64,` +
		` such as: echo "whsec_$(openssl rand -base64 32)"`)
)

// Config is what the [events] table says of forwarding.
type Config struct {
	// URL is the application's endpoint; empty forwards nothing.
	URL string `toml:"forward_url"`
	// Secret signs what is sent, so that the application can tell it from what
	// others send.
	Secret config.Secret `toml:"forward_secret"`
}

// Validate reports every problem: the key, and what would be right.
func (c Config) Validate(report func(key, problem string)) {
	if _, err := parseURL(c.URL); c.URL != "" && err != nil {
		report("forward_url", err.Error())
	}
	switch _, err := newSigner(c.Secret); {
	case c.Secret.IsZero() && c.URL != "":
		report("forward_secret", "is missing; without it the application cannot tell the bridge from others: set it with forward_url")
	case !c.Secret.IsZero() && err != nil:
		report("forward_secret", err.Error())
	}
}

// target is where events go, and how they are signed.
type target struct {
	config Config
	url    *url.URL // without user and password
	user   *url.Userinfo
	signer *standardwebhooks.Webhook
}

// newTarget gives nil where c names no URL.
func newTarget(c Config) (*target, error) {
	if c.URL == "" {
		return nil, nil
	}
	var problems []error
	c.Validate(func(key, problem string) { problems = append(problems, errors.New(key+": "+problem)) })
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	parsed, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	signer, err := newSigner(c.Secret)
	if err != nil {
		return nil, err
	}
	user := parsed.User
	parsed.User = nil
	return &target{config: c, url: parsed, user: user, signer: signer}, nil
}

// parseURL never repeats the URL: there may be a password in it.
func parseURL(text string) (*url.URL, error) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http" {
		return nil, errURL
	}
	return parsed, nil
}

func newSigner(secret config.Secret) (*standardwebhooks.Webhook, error) {
	encoded, found := strings.CutPrefix(secret.Reveal(), secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !found || err != nil || len(key) < minSecretBytes {
		return nil, errSecret
	}
	return standardwebhooks.NewWebhookRaw(key)
}

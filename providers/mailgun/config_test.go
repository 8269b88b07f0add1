package mailgun_test

import (
	"slices"
	"strings"
	"testing"

	"smtpbridge/internal/config"
	"smtpbridge/providers/mailgun"
)

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*mailgun.Config)
		want   []string
	}{
		{"whole", func(*mailgun.Config) {}, nil},
		{"default", func(c *mailgun.Config) { *c = mailgun.DefaultConfig() }, []string{"api_key", "domain"}},
		{"all at once", func(c *mailgun.Config) { *c = mailgun.Config{} }, []string{"timeout", "api_key", "domain", "region", "format"}},
		{"base", func(c *mailgun.Config) { c.BaseURL = "https://x.example/v3" }, []string{"base_url"}},
		{"key with a line break", func(c *mailgun.Config) { c.APIKey = config.NewSecret("0123-secret\n") }, []string{"api_key"}},
		{"key outside ASCII", func(c *mailgun.Config) { c.APIKey = config.NewSecret("0123-secret-ü") }, []string{"api_key"}},
		{"signing key", func(c *mailgun.Config) { c.WebhookSigningKey = config.NewSecret("0123-secret") }, nil},
		{"signing key with a line break", func(c *mailgun.Config) { c.WebhookSigningKey = config.NewSecret("0123-secret\n") }, []string{"webhook_signing_key"}},
		{"path in the domain", func(c *mailgun.Config) { c.Domain = "mg.example.com/x" }, []string{"domain"}},
		{"encoded path in the domain", func(c *mailgun.Config) { c.Domain = "mg.example.com%2fx" }, []string{"domain"}},
		{"scheme", func(c *mailgun.Config) { c.Domain = "https://mg.example.com" }, []string{"domain"}},
		{"address", func(c *mailgun.Config) { c.Domain = "shop@mg.example.com" }, []string{"domain"}},
		{"domain outside ASCII", func(c *mailgun.Config) { c.Domain = "mg.exämple.com" }, []string{"domain"}},
		{"sandbox", func(c *mailgun.Config) { c.Domain = "sandbox0123.mailgun.org" }, nil},
		{"EU, fields", func(c *mailgun.Config) { c.Region, c.Format = "eu", "fields" }, nil},
		{"other region", func(c *mailgun.Config) { c.Region = "EU" }, []string{"region"}},
		{"other format", func(c *mailgun.Config) { c.Format = "json" }, []string{"format"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := newConfig()
			c.change(&settings)
			var got []string
			settings.Validate(func(name, problem string) {
				got = append(got, name)
				if problem == "" || strings.Contains(problem, "0123-secret") {
					t.Errorf("%s: the problem is %q", name, problem)
				}
			})
			if !slices.Equal(got, c.want) {
				t.Errorf("the problems are of %q, want %q", got, c.want)
			}
		})
	}
	if c := mailgun.DefaultConfig(); c.Name != "mailgun" || c.Type != "mailgun" || c.Region != "us" || c.Format != "mime" {
		t.Errorf("the default is %+v", c)
	}
}

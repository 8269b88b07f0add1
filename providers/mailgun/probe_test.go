package mailgun_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/providers/mailgun"
	"smtpbridge/providers/mailgun/mailguntest"
)

func TestProbed(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   providers.Category // empty: the key can send
	}{
		{200, `{"domain":{"name":"mg.example.com","state":"active","is_disabled":false}}`, ""},
		{200, `{"domain":{"state":"unverified"}}`, providers.ConfigurationError},
		{200, `{"domain":{"state":"disabled"}}`, providers.ConfigurationError},
		{200, `{"domain":{"state":"active","is_disabled":true}}`, providers.ConfigurationError},
		{200, `{"domain":{}}`, providers.ConfigurationError},
		{200, `{"domain":[]}`, providers.ConfigurationError},
		{200, `Mailgun Magnificent API`, providers.ConfigurationError},
		{204, ``, providers.ConfigurationError},
		{401, `Forbidden`, providers.Authentication},
		{403, `{"message":"Account Disabled"}`, providers.Authentication},
		{404, `{"message":"Domain not found: mg.example.com"}`, providers.ConfigurationError},
		{429, `{"message":"Too many requests"}`, providers.RateLimit},
		{500, ``, providers.ServiceUnavailable},
		// The answers to an empty mail.
		{400, `{"message":"from parameter is missing"}`, ""},
		{400, `{"message":"'to' parameter is missing. please check documentation"}`, ""},
		{400, `{"message":"Need at least one of 'text' or 'html' parameters specified"}`, ""},
		{400, `{"message":"Domain mg.example.com is not allowed to send: Free accounts are for test purposes only."}`, providers.ConfigurationError},
		{400, `{"message":"malformed multipart"}`, providers.ConfigurationError},
	} {
		err := newAdapter().Probed(providers.Response{Status: c.status, Body: []byte(c.body)})
		if (err == nil) != (c.want == "") || err != nil && (err.Category != c.want || err.Message == "") {
			t.Errorf("%d %s is %v, want %q", c.status, c.body, err, c.want)
		}
	}
}

// Whatever the key may do, the probe tells a good one from others, and no mail is sent.
func TestProbe(t *testing.T) {
	for _, c := range []struct {
		name    string
		account mailguntest.Account
		change  func(*mailgun.Config)
		want    providers.Category
		says    string
	}{
		{"key of the account", account, func(*mailgun.Config) {}, "", ""},
		{"sending key", mailguntest.Account{Key: key, Domain: domain, SendingKey: true}, func(*mailgun.Config) {}, "", ""},
		{"wrong key", account, func(c *mailgun.Config) { c.APIKey = config.NewSecret("another key") }, providers.Authentication, "401"},
		{"other domain", account, func(c *mailgun.Config) { c.Domain = "other.example.com" }, providers.ConfigurationError, "region"},
		{
			"other domain of a sending key",
			mailguntest.Account{Key: key, Domain: domain, SendingKey: true},
			func(c *mailgun.Config) { c.Domain = "other.example.com" }, providers.ConfigurationError, "region",
		},
		{"unverified", mailguntest.Account{Key: key, Domain: domain, State: "unverified"}, func(*mailgun.Config) {}, providers.ConfigurationError, "unverified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := mailguntest.New(c.account)
			settings := newConfig()
			c.change(&settings)
			err := provider(t, settings, fake).Probe(t.Context())
			var refusal *providers.Error
			if (err == nil) != (c.want == "") || errors.As(err, &refusal) && (refusal.Category != c.want || !strings.Contains(refusal.Message, c.says)) {
				t.Errorf("the probe says %v, want %q", err, c.want)
			}
			if len(fake.Taken()) > 0 {
				t.Errorf("the probe sent %+v", fake.Taken())
			}
		})
	}
}

// provider is what sends to the fake, with a pool of its own.
func provider(t *testing.T, c mailgun.Config, fake *mailguntest.Fake) *httpapi.Provider {
	t.Helper()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c.BaseURL = server.URL
	return httpapi.New(c.Config, mailgun.New(c), transport)
}

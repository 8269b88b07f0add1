package forward_test

import (
	"strings"
	"testing"

	"smtpbridge/events/forward"
	"smtpbridge/internal/config"
)

func TestConfig(t *testing.T) {
	for name, c := range map[string]struct {
		url, secret string
		want        string // keys with a problem
	}{
		"nothing is forwarded":           {"", "", ""},
		"a secret alone":                 {"", secret, ""},
		"both":                           {"https://app.example.com/events?a=b", secret, ""},
		"plain HTTP, user and password":  {"http://u:hunter2@127.0.0.1:3000/", secret, ""},
		"no secret":                      {"https://app.example.com", "", "forward_secret"},
		"no scheme":                      {"app.example.com/hunter2", secret, "forward_url"},
		"another scheme":                 {"ftp://app.example.com/hunter2", secret, "forward_url"},
		"not a URL":                      {"https://app.example.com/%hunter2", secret, "forward_url"},
		"no host":                        {"https:///hunter2", secret, "forward_url"},
		"no prefix":                      {"", strings.TrimPrefix(secret, "whsec_"), "forward_secret"},
		"no base64":                      {"", "whsec_hunter2!", "forward_secret"},
		"15 bytes":                       {"", "whsec_MfKQ9r8GKYqrTwjUPD8I", "forward_secret"},
		"everything is told of at once":  {"hunter2", "hunter2", "forward_url forward_secret"},
		"a URL of no host, and a secret": {"https://", "", "forward_url forward_secret"},
	} {
		t.Run(name, func(t *testing.T) {
			var keys []string
			configured := forward.Config{URL: c.url, Secret: config.NewSecret(c.secret)}
			configured.Validate(func(key, problem string) {
				keys = append(keys, key)
				if strings.Contains(problem, "hunter2") {
					t.Errorf("%s shows what is secret: %s", key, problem)
				}
			})
			if got := strings.Join(keys, " "); got != c.want {
				t.Errorf("problems with %q, want %q", got, c.want)
			}
		})
	}
}

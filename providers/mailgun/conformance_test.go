package mailgun_test

import (
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"

	"smtpbridge/internal/config"
	"smtpbridge/providers/mailgun"
	"smtpbridge/providers/mailgun/mailguntest"
	"smtpbridge/providers/providertest"
)

const (
	key    = "0123456789abcdef0123456789abcdef-01234567-89abcdef"
	domain = "mg.example.com"
)

var account = mailguntest.Account{Key: key, Domain: domain}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newConfig() mailgun.Config {
	c := mailgun.DefaultConfig()
	c.APIKey, c.Domain = config.NewSecret(key), domain
	return c
}

func newAdapter() *mailgun.Adapter { return mailgun.New(newConfig()) }

// newFields is the adapter of the other format.
func newFields() *mailgun.Adapter {
	c := newConfig()
	c.Format = "fields"
	return mailgun.New(c)
}

func TestConformance(t *testing.T) {
	for format, a := range map[string]*mailgun.Adapter{"mime": newAdapter(), "fields": newFields()} {
		t.Run(format, func(t *testing.T) {
			providertest.Run(t, providertest.Suite{
				Adapter: a,
				Secret:  key,
				Read: func(r *http.Request, body []byte) ([]providertest.Copy, error) {
					mail, err := mailguntest.Decode(r.URL.Path, r.Header.Get("Content-Type"), body)
					if err != nil {
						return nil, err
					}
					var copies []providertest.Copy
					for _, c := range mail.Copies() {
						copies = append(copies, providertest.Copy(c))
					}
					return copies, nil
				},
				Accept: mailguntest.New(account).ServeHTTP,
			})
		})
	}
}

func TestGolden(t *testing.T) {
	for format, a := range map[string]*mailgun.Adapter{"mime": newAdapter(), "fields": newFields()} {
		t.Run(format, func(t *testing.T) {
			providertest.GoldenIn(t, filepath.Join("testdata", "golden", format), a, lines)
		})
	}
}

// lines end as those of other texts do; those that are no text are quoted.
func lines(body []byte) string {
	list := strings.Split(string(body), "\r\n")
	for i, line := range list {
		if quoted := strconv.Quote(line); !utf8.ValidString(line) || strings.Contains(quoted, `\x`) || strings.Contains(quoted, `\r`) {
			list[i] = quoted
		}
	}
	return strings.Join(list, "\n")
}

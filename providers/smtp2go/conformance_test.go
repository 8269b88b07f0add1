package smtp2go_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"smtpbridge/internal/config"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/smtp2go"
	"smtpbridge/providers/smtp2go/smtp2gotest"
)

const key = "api-0123456789ABCDEFGHIJKLMNOPQRSTUV"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newAdapter() *smtp2go.Adapter {
	c := smtp2go.DefaultConfig()
	c.APIKey = config.NewSecret(key)
	return smtp2go.New(c)
}

// decode reads a request as the fake does.
func decode(path string, body []byte) (*smtp2gotest.Mail, error) {
	if strings.HasSuffix(path, smtp2gotest.MIMEPath) {
		return smtp2gotest.DecodeMIME(body)
	}
	return smtp2gotest.DecodeSend(body)
}

func TestConformance(t *testing.T) {
	providertest.Run(t, providertest.Suite{
		Adapter: newAdapter(),
		Secret:  key,
		Read: func(r *http.Request, body []byte) ([]providertest.Copy, error) {
			mail, err := decode(r.URL.Path, body)
			if err != nil {
				return nil, err
			}
			return []providertest.Copy{{Recipients: mail.Recipients(), Shown: mail.Shown()}}, nil
		},
		Accept: smtp2gotest.New(key, nil).ServeHTTP,
	})
}

func TestGolden(t *testing.T) { providertest.Golden(t, newAdapter(), readable) }

// readable makes JSON, and the mail inside of it, readable.
func readable(body []byte) string {
	var out bytes.Buffer
	if err := json.Indent(&out, body, "", "  "); err != nil {
		return err.Error()
	}
	var raw struct {
		MIMEEmail []byte `json:"mime_email"`
	}
	if json.Unmarshal(body, &raw) != nil || raw.MIMEEmail == nil {
		return out.String()
	}
	return strings.Replace(out.String(), base64.StdEncoding.EncodeToString(raw.MIMEEmail), "…", 1) +
		"\n\nmime_email:\n" + strings.ReplaceAll(string(raw.MIMEEmail), "\r\n", "\n")
}

package sendgrid_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"go.uber.org/goleak"

	"smtpbridge/internal/config"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/sendgrid"
	"smtpbridge/providers/sendgrid/sendgridtest"
)

const key = "SG.0123456789.abcdefghij"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newAdapter() *sendgrid.Adapter {
	c := sendgrid.DefaultConfig()
	c.APIKey = config.NewSecret(key)
	return sendgrid.New(c)
}

func TestConformance(t *testing.T) {
	providertest.Run(t, providertest.Suite{
		Adapter: newAdapter(),
		Secret:  key,
		Read: func(_ *http.Request, body []byte) ([]providertest.Copy, error) {
			mail, err := sendgridtest.Decode(body)
			if err != nil {
				return nil, err
			}
			var copies []providertest.Copy
			for _, p := range mail.Personalizations {
				copies = append(copies, providertest.Copy{Recipients: p.Recipients(), Shown: p.Shown()})
			}
			return copies, nil
		},
		Accept: sendgridtest.New(key, nil).ServeHTTP,
	})
}

func TestGolden(t *testing.T) { providertest.Golden(t, newAdapter(), indented) }

// indented makes JSON readable.
func indented(body []byte) string {
	var out bytes.Buffer
	if err := json.Indent(&out, body, "", "  "); err != nil {
		return err.Error()
	}
	return out.String()
}

package postmark_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"smtpbridge/providers/postmark/postmarktest"
	"smtpbridge/providers/providertest"
)

func TestConformance(t *testing.T) {
	providertest.Run(t, providertest.Suite{
		Adapter: newAdapter(),
		Secret:  token,
		Read: func(r *http.Request, body []byte) ([]providertest.Copy, error) {
			messages, err := postmarktest.Decode(r.URL.Path, body)
			if err != nil {
				return nil, err
			}
			var copies []providertest.Copy
			for _, m := range messages {
				copies = append(copies, providertest.Copy{Recipients: m.Recipients(), Shown: m.Shown()})
			}
			return copies, nil
		},
		Accept: postmarktest.New(token, nil).ServeHTTP,
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

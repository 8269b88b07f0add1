package ses_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"testing"

	"go.uber.org/goleak"

	"smtpbridge/internal/config"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/ses"
	"smtpbridge/providers/ses/sestest"
)

const (
	region    = "eu-west-1"
	accessKey = "AKIDEXAMPLE"
	secretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	token     = "FwoGZXIvYXdzEXAMPLE/session+token=="
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newConfig() ses.Config {
	c := ses.DefaultConfig()
	c.Region = region
	c.AccessKeyID, c.SecretAccessKey, c.SessionToken = config.NewSecret(accessKey), config.NewSecret(secretKey), config.NewSecret(token)
	return c
}

func newAdapter() *ses.Adapter { return ses.New(newConfig()) }

// account is the one of newAdapter, as AWS knows it.
func account() sestest.Account {
	return sestest.Account{Region: region, AccessKeyID: accessKey, SecretAccessKey: secretKey, SessionToken: token}
}

// The secret key itself never travels: the token is what a provider could repeat.
func TestConformance(t *testing.T) {
	providertest.Run(t, providertest.Suite{
		Adapter: newAdapter(),
		Secret:  token,
		Read: func(_ *http.Request, body []byte) ([]providertest.Copy, error) {
			mail, err := sestest.Decode(body)
			if err != nil {
				return nil, err
			}
			return []providertest.Copy{{Recipients: mail.Recipients(), Shown: mail.MIME.Shown()}}, nil
		},
		Accept: sestest.New(account(), nil).ServeHTTP,
	})
}

func TestGolden(t *testing.T) { providertest.Golden(t, newAdapter(), readable) }

var data = regexp.MustCompile(`"Data": "([^"]*)"`)

// readable indents the JSON and puts the mail itself behind it, as it is.
func readable(body []byte) string {
	var out bytes.Buffer
	if err := json.Indent(&out, body, "", "  "); err != nil {
		return err.Error()
	}
	found := data.FindSubmatch(out.Bytes())
	if found == nil {
		return "no content: " + out.String()
	}
	mail, err := base64.StdEncoding.Strict().DecodeString(string(found[1]))
	if err != nil {
		return err.Error()
	}
	document := data.ReplaceAll(out.Bytes(), []byte(`"Data": "[the mail below]"`))
	return string(document) + "\n\n" + string(bytes.ReplaceAll(mail, []byte("\r\n"), []byte("\n")))
}

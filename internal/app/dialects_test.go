package app_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"smtpbridge/internal/app"
)

const allProviders = `
[[provider]]
type = "sendgrid"
api_key = "SG.key"
[[provider]]
type = "mailgun"
api_key = "key"
domain = "mg.example.com"
[[provider]]
type = "mailgun"
name = "fields"
api_key = "key"
domain = "mg.example.com"
format = "fields"
[[provider]]
type = "ses"
region = "eu-west-1"
access_key_id = "AKIDEXAMPLE"
secret_access_key = "secret"
[[provider]]
type = "postmark"
api_key = "token"
[[provider]]
type = "smtp2go"
api_key = "api-0123456789ABCDEF0123456789ABCDEF"
`

// form is a field of a form.
func form(name, value string) string { return fmt.Sprintf("name=%q\r\n\r\n%s\r\n", name, value) }

// directives are the headers of all dialects, in a mail that leaves raw.
var directives = regexp.MustCompile(`(?im)^(x-bridge-[a-hj-z]|x-smtpapi|x-mailgun-|x-pm-t|x-pm-m|x-ses-)[a-z_-]*:`)

// A directive means the same in every dialect, and arrives on every provider that
// has a place for it; where there is none its loss is named.
func TestDialectsArePortable(t *testing.T) {
	at := time.Now().Add(5 * time.Hour).UTC().Truncate(time.Second)
	unix, rfc := fmt.Sprint(at.Unix()), at.Format(time.RFC1123Z)
	tag := map[string]string{
		"sendgrid": `"categories":["welcome"]`, "mailgun": form("o:tag", "welcome"), "fields": form("o:tag", "welcome"),
		"ses": `{"Name":"tag_1","Value":"welcome"}`, "postmark": `"Tag":"welcome"`, "smtp2go": "loses tags",
	}
	metadata := map[string]string{
		"sendgrid": `"user_id":"12345"`, "mailgun": form("v:user_id", "12345"), "fields": form("v:user_id", "12345"),
		"ses": `{"Name":"user_id","Value":"12345"}`, "postmark": `"user_id":"12345"`, "smtp2go": "loses metadata",
	}
	schedule := map[string]string{
		"sendgrid": `"send_at":` + unix, "mailgun": form("o:deliverytime", rfc), "fields": form("o:deliverytime", rfc),
		"ses": "cannot keep a send time", "postmark": "cannot keep a send time", "smtp2go": `"schedule":"` + at.Format("2006-01-02 15:04:05 -0700"),
	}
	opens := map[string]string{
		"sendgrid": `"open_tracking":{"enable":false}`, "mailgun": form("o:tracking-opens", "no"), "fields": form("o:tracking-opens", "no"),
		"ses": `"OpenTrackingEnabled":"DISABLED"`, "postmark": `"TrackOpens":false`, "smtp2go": "loses open tracking",
	}
	clicks := map[string]string{
		"sendgrid": `"click_tracking":{"enable":true,"enable_text":true}`, "mailgun": form("o:tracking-clicks", "yes"), "fields": form("o:tracking-clicks", "yes"),
		"ses": `"ClickTrackingEnabled":"ENABLED"`, "postmark": `"TrackLinks":"HtmlAndText"`, "smtp2go": "loses click tracking",
	}
	for _, dialect := range []struct {
		name, header string
		want         []map[string]string
	}{
		{"bridge tag", "X-Bridge-Tag: welcome", []map[string]string{tag}},
		{"bridge metadata", "X-Bridge-Metadata: user_id=12345", []map[string]string{metadata}},
		{"bridge schedule", "X-Bridge-Send-At: " + at.Format(time.RFC3339), []map[string]string{schedule}},
		{"bridge tracking", "X-Bridge-Track-Opens: no\nX-Bridge-Track-Clicks: yes", []map[string]string{opens, clicks}},
		{"sendgrid category", `X-SMTPAPI: {"category":"welcome","unique_args":{"user_id":12345}}`, []map[string]string{tag, metadata}},
		{"sendgrid schedule", `X-SMTPAPI: {"send_at":` + unix + `}`, []map[string]string{schedule}},
		{"sendgrid tracking", `X-SMTPAPI: {"filters":{"opentrack":{"settings":{"enable":0}},"clicktrack":{"settings":{"enable":1}}}}`, []map[string]string{opens, clicks}},
		{"mailgun tag", "X-Mailgun-Tag: welcome\nX-Mailgun-Variables: {\"user_id\": \"12345\"}", []map[string]string{tag, metadata}},
		{"mailgun schedule", "X-Mailgun-Deliver-By: " + rfc, []map[string]string{schedule}},
		{"mailgun tracking", "X-Mailgun-Track-Opens: no\nX-Mailgun-Track-Clicks: yes", []map[string]string{opens, clicks}},
		{"postmark tag", "X-PM-Tag: welcome\nX-PM-Metadata-user_id: 12345", []map[string]string{tag, metadata}},
		{"postmark tracking", "X-PM-TrackOpens: false\nX-PM-TrackLinks: HtmlAndText", []map[string]string{opens, clicks}},
		{"ses tags", "X-SES-MESSAGE-TAGS: user_id=12345", []map[string]string{metadata}},
	} {
		t.Run(dialect.name, func(t *testing.T) {
			for provider, got := range explained(t, dialect.header) {
				for _, want := range dialect.want {
					if !strings.Contains(got, want[provider]) {
						t.Errorf("%s: want %q in\n%s", provider, want[provider], got)
					}
				}
				if directive := directives.FindString(got); directive != "" {
					t.Errorf("%s: the directive itself leaves: %s", provider, directive)
				}
			}
		})
	}
}

// explained is what each provider would be given of a mail, and what it would
// lose, by its name.
func explained(t *testing.T, header string) map[string]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(allProviders), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := app.Load(file, environment)
	if err != nil {
		t.Fatal(err)
	}
	mail, err := app.ReadMail(strings.NewReader("From: shop@example.com\nTo: a@example.org\nSubject: s\n"+header+"\n\ntext\n"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer mail.Close()
	explanations, refusal := app.Explain(c, mail)
	if refusal != nil {
		t.Fatal(refusal)
	}
	out := make(map[string]string)
	for _, x := range explanations {
		var text strings.Builder
		if x.Refusal != nil && strings.Contains(x.Refusal.Message, "send time") {
			text.WriteString("cannot keep a send time\n")
		}
		for _, loss := range x.Losses {
			text.WriteString("loses " + loss + "\n")
		}
		for _, r := range x.Requests {
			body, err := r.Body.Open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(&text, body); err != nil {
				t.Fatal(err)
			}
			body.Close()
		}
		out[x.Provider] = text.String()
	}
	names := []string{"fields", "mailgun", "postmark", "sendgrid", "ses", "smtp2go"}
	for _, name := range names {
		if out[name] == "" {
			t.Errorf("%s has nothing to say", name)
		}
	}
	if len(out) != len(names) || !slices.IsSorted(names) {
		t.Errorf("%d providers have something to say, want %d", len(out), len(names))
	}
	return out
}

package smtp2go_test

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/smtp2go/smtp2gotest"
)

// A mail whose answer was lost is found by its header, raw or not; one that never
// came is not, and that counts once SMTP2GO would show it.
func TestFindOverASocket(t *testing.T) {
	for _, tt := range []struct {
		name, mail string
		fault      smtp2gotest.Fault
		may        bool
		ago        time.Duration // when it was over
		want       providers.State
	}{
		{"taken", addressed + "\nHello\n", smtp2gotest.ResetAfter, true, time.Second, providers.Accepted},
		{"taken raw", addressed + invitation, smtp2gotest.ResetAfter, true, time.Second, providers.Accepted},
		{"never came", addressed + "\nHello\n", smtp2gotest.ResetBefore, true, 2 * time.Hour, providers.Refused},
		{"never came, a moment ago", addressed + "\nHello\n", smtp2gotest.ResetBefore, true, time.Minute, providers.Ambiguous},
		{"a key that may not search", addressed + "\nHello\n", smtp2gotest.ResetBefore, false, 2 * time.Hour, providers.Ambiguous},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fake := smtp2gotest.New(key, func(n int) smtp2gotest.Fault {
				if n == 0 {
					return tt.fault
				}
				return smtp2gotest.None
			})
			if tt.may {
				fake.Permit("/email/send", "/email/mime", "/activity/search")
			}
			p := provider(t, fake)
			m := providertest.Message(t, tt.mail, "a@example.org")
			p.Send(t.Context(), m)
			over := time.Now().Add(-tt.ago)
			got := p.Find(t.Context(), providers.Sent{BridgeID: m.Envelope.BridgeID, Recipients: m.Envelope.Recipients, Time: over, Over: over})[0]
			if got.State != tt.want || got.Provider != "smtp2go" {
				t.Errorf("it is %v (%v), want %v", got.State, got.Err, tt.want)
			}
			if taken := fake.Taken(); tt.want == providers.Accepted && got.ProviderID != taken[0].ID {
				t.Errorf("its id is %q, want %q", got.ProviderID, taken[0].ID)
			}
		})
	}
}

// sentLongAgo is a message that SMTP2GO would show, if it had it.
func sentLongAgo(recipients ...string) providers.Sent {
	return providers.Sent{BridgeID: bridgeID, Recipients: recipients, Time: answered.Add(-3 * time.Hour), Over: answered.Add(-2 * time.Hour)}
}

// lookUp asks for such a message.
func lookUp(recipients ...string) providertest.LookUp {
	return providertest.LookUp{Finder: newAdapter(), Sent: sentLongAgo(recipients...), At: answered, Lag: time.Hour, ID: "1u0SwL"}
}

// entry is an event as the search shows it.
func entry(recipient, recipients, headers string) string {
	return fmt.Sprintf(`{"event":"processed","email_id":"1u0SwL","recipient":%q,"recipients":%s,"custom_headers":%s}`, recipient, recipients, headers)
}

const ours = `{"X-Bridge-Id":"` + bridgeID + `"}`

func page(total int, token string, entries ...string) string {
	return fmt.Sprintf(`{"request_id":"x","data":{"events":[%s],"total_events":%d,"continue_token":%s}}`, strings.Join(entries, ","), total, token)
}

func TestFound(t *testing.T) {
	full := slices.Repeat([]string{entry("z@example.org", "[]", ours)}, 500)
	providertest.Found(t, lookUp("a@example.org", "B@bücher.example"), []providertest.Answer{
		{Name: "nothing", Body: page(0, "null"), Want: "refused/refused"},
		{Name: "one", Body: page(1, "null", entry("A@example.org", "null", ours)), Want: "accepted/refused"},
		{Name: "processed for both", Body: page(1, `""`, entry("", `["a@example.org","b@xn--bcher-kva.example"]`, ours)), Want: "accepted/accepted"},
		{Name: "the header in another case", Body: page(1, "null", entry("a@example.org", "[]", `{"x-bridge-id":" `+bridgeID+`"}`)), Want: "accepted/refused"},
		{Name: "with a name", Body: page(1, "null", entry("A <a@example.org>", "[]", ours)), Want: "accepted/refused"},
		{Name: "another mail", Body: page(1, "null", entry("a@example.org", "[]", `{"X-Bridge-Id":"01OTHER"}`)), Want: "refused/refused"},
		{Name: "a mail of somebody else to the same", Body: page(1, "null", entry("a@example.org", "[]", `{}`)), Want: "ambiguous/refused"},
		{Name: "headers that are none", Body: page(1, "null", entry("a@example.org", "[]", `[]`)), Want: "ambiguous/refused"},
		{Name: "recipients that are none", Body: page(1, "null", entry("", `"[a, b]"`, ours)), Want: "ambiguous/ambiguous"},
		{Name: "a next page", Body: page(1, `"t"`, entry("a@example.org", "[]", ours)), Want: "accepted/ambiguous"},
		{Name: "more than the page", Body: page(2, "null", entry("a@example.org", "[]", ours)), Want: "accepted/ambiguous"},
		{Name: "a full page", Body: page(500, "null", full...), Want: "ambiguous/ambiguous"},

		{Name: "a moment ago", Change: func(s *providers.Sent, _ *providers.Response) { s.Over = answered.Add(-59 * time.Minute) }, Body: page(0, "null"), Want: "ambiguous/ambiguous"},
		{Name: "never known to be over", Change: func(s *providers.Sent, _ *providers.Response) { s.Over = time.Time{} }, Body: page(0, "null"), Want: "ambiguous/ambiguous"},
		{Name: "cut off", Change: func(_ *providers.Sent, r *providers.Response) { r.Truncated = true }, Body: page(0, "null"), Want: "ambiguous/ambiguous"},
		{Name: "not allowed", Change: func(_ *providers.Sent, r *providers.Response) { r.Status = 400 }, Body: complaint("ENDPOINT_PERMISSION_DENIED", "no", "", ""), Want: "ambiguous/ambiguous"},
		{Name: "an error in a 200", Body: `{"data":{"error":"x","events":[],"total_events":0,"continue_token":null}}`, Want: "ambiguous/ambiguous"},
		{Name: "another success", Change: func(_ *providers.Sent, r *providers.Response) { r.Status = 202 }, Body: page(0, "null"), Want: "ambiguous/ambiguous"},
		{Name: "no total", Body: `{"data":{"events":[],"continue_token":null}}`, Want: "ambiguous/ambiguous"},
		{Name: "no events", Body: `{"data":{"total_events":0,"continue_token":null}}`, Want: "ambiguous/ambiguous"},
		{Name: "no JSON", Body: `<html>`, Want: "ambiguous/ambiguous"},
	})
}

// The search is narrowed to one recipient only where SMTP2GO cannot write it
// otherwise.
func TestFindAsks(t *testing.T) {
	for _, c := range []struct {
		recipients []string
		narrowed   string
	}{
		{[]string{"a.b+c@example.org"}, "a.b+c@example.org"},
		{[]string{"A@example.org"}, ""},
		{[]string{"a@bücher.example"}, ""},
		{[]string{"a|b@example.org"}, ""},
		{[]string{"a@example.org", "b@example.org"}, ""},
	} {
		r := newAdapter().Find(sentLongAgo(c.recipients...))
		body, err := r.Body.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		var asked map[string]any
		if err := json.Unmarshal(content, &asked); err != nil {
			t.Fatal(err)
		}
		narrowed, _ := asked["search_recipient"].(string)
		if narrowed != c.narrowed || asked["start_date"] != "2026-01-01T23:49:05Z" || asked["limit"] != 500.0 || r.URL != "https://api.smtp2go.com/v3/activity/search" {
			t.Errorf("for %q it asks %s", c.recipients, content)
		}
	}
}

func FuzzFound(f *testing.F) {
	providertest.FuzzFound(f, lookUp("a@example.org", "B@example.org", ""),
		page(0, "null"), page(1, "null", entry("a@example.org", "[]", ours)), page(1, `""`, entry("", `["a@example.org"]`, "null")),
		`{"data":{"events":null,"total_events":0}}`, page(1, "null", "null"), page(1, "7", `{"recipient":[],"recipients":{"a":1},"custom_headers":{"X-Bridge-Id":{}}}`),
		`{"data":[]}`, "", "[]", "\xff",
	)
}

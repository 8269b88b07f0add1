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
	for _, c := range []struct {
		name   string
		change func(*providers.Sent, *providers.Response)
		body   string
		want   string // the states of a@example.org and B@bücher.example
	}{
		{"nothing", nil, page(0, "null"), "refused/refused"},
		{"one", nil, page(1, "null", entry("A@example.org", "null", ours)), "accepted/refused"},
		{"processed for both", nil, page(1, `""`, entry("", `["a@example.org","b@xn--bcher-kva.example"]`, ours)), "accepted/accepted"},
		{"the header in another case", nil, page(1, "null", entry("a@example.org", "[]", `{"x-bridge-id":" `+bridgeID+`"}`)), "accepted/refused"},
		{"with a name", nil, page(1, "null", entry("A <a@example.org>", "[]", ours)), "accepted/refused"},
		{"another mail", nil, page(1, "null", entry("a@example.org", "[]", `{"X-Bridge-Id":"01OTHER"}`)), "refused/refused"},
		{"a mail of somebody else to the same", nil, page(1, "null", entry("a@example.org", "[]", `{}`)), "ambiguous/refused"},
		{"headers that are none", nil, page(1, "null", entry("a@example.org", "[]", `[]`)), "ambiguous/refused"},
		{"recipients that are none", nil, page(1, "null", entry("", `"[a, b]"`, ours)), "ambiguous/ambiguous"},
		{"a next page", nil, page(1, `"t"`, entry("a@example.org", "[]", ours)), "accepted/ambiguous"},
		{"more than the page", nil, page(2, "null", entry("a@example.org", "[]", ours)), "accepted/ambiguous"},
		{"a full page", nil, page(500, "null", full...), "ambiguous/ambiguous"},

		{"a moment ago", func(s *providers.Sent, _ *providers.Response) { s.Over = answered.Add(-59 * time.Minute) }, page(0, "null"), "ambiguous/ambiguous"},
		{"never known to be over", func(s *providers.Sent, _ *providers.Response) { s.Over = time.Time{} }, page(0, "null"), "ambiguous/ambiguous"},
		{"cut off", func(_ *providers.Sent, r *providers.Response) { r.Truncated = true }, page(0, "null"), "ambiguous/ambiguous"},
		{"not allowed", func(_ *providers.Sent, r *providers.Response) { r.Status = 400 }, complaint("ENDPOINT_PERMISSION_DENIED", "no", "", ""), "ambiguous/ambiguous"},
		{"an error in a 200", nil, `{"data":{"error":"x","events":[],"total_events":0,"continue_token":null}}`, "ambiguous/ambiguous"},
		{"another success", func(_ *providers.Sent, r *providers.Response) { r.Status = 202 }, page(0, "null"), "ambiguous/ambiguous"},
		{"no total", nil, `{"data":{"events":[],"continue_token":null}}`, "ambiguous/ambiguous"},
		{"no events", nil, `{"data":{"total_events":0,"continue_token":null}}`, "ambiguous/ambiguous"},
		{"no JSON", nil, `<html>`, "ambiguous/ambiguous"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, resp := sentLongAgo("a@example.org", "B@bücher.example"), providers.Response{Status: 200, Body: []byte(c.body), Time: answered}
			if c.change != nil {
				c.change(&s, &resp)
			}
			results := newAdapter().Found(s, resp)
			if got := results[0].State.String() + "/" + results[1].State.String(); got != c.want {
				t.Errorf("they are %s (%v), want %s", got, results[0].Err, c.want)
			}
			if results[0].State == providers.Accepted && results[0].ProviderID != "1u0SwL" {
				t.Errorf("the id is %q", results[0].ProviderID)
			}
		})
	}
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

// FuzzFound: nobody is refused by an answer that is not whole, and the results are
// one for each recipient.
func FuzzFound(f *testing.F) {
	for _, body := range []string{
		page(0, "null"), page(1, "null", entry("a@example.org", "[]", ours)), page(1, `""`, entry("", `["a@example.org"]`, "null")),
		`{"data":{"events":null,"total_events":0}}`, page(1, "null", "null"), page(1, "7", `{"recipient":[],"recipients":{"a":1},"custom_headers":{"X-Bridge-Id":{}}}`),
		`{"data":[]}`, "", "[]", "\xff",
	} {
		for _, status := range []uint16{200, 400, 401, 429, 500} {
			f.Add(status, body, false, int64(7200))
		}
		f.Add(uint16(200), body, true, int64(-1))
	}
	a := newAdapter()
	f.Fuzz(func(t *testing.T, status uint16, body string, truncated bool, seconds int64) {
		s := sentLongAgo("a@example.org", "B@example.org", "")
		s.Over = answered.Add(-time.Duration(seconds%(24*60*60)) * time.Second)
		resp := providers.Response{Status: int(status), Body: []byte(body), Truncated: truncated, Time: answered}
		providertest.CheckFound(t, s, resp, a.Found(s, resp), time.Hour)
	})
}

package mailgun_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/mailgun"
	"smtpbridge/providers/mailgun/mailguntest"
	"smtpbridge/providers/providertest"
)

// A mail whose answer was lost is found by its Message-ID; one that never came is
// not, and that counts once Mailgun would show it.
func TestFindOverASocket(t *testing.T) {
	for format, change := range map[string]func(*mailgun.Config){"mime": func(*mailgun.Config) {}, "fields": func(c *mailgun.Config) { c.Format = "fields" }} {
		for _, tt := range []struct {
			name      string
			fault     mailguntest.Fault
			messageID string
			ago       time.Duration // when it was over
			want      providers.State
		}{
			{"taken", mailguntest.ResetAfter, "<7@example.com>", time.Second, providers.Accepted},
			{"taken, without Message-ID", mailguntest.ResetAfter, "", time.Second, providers.Accepted},
			{"never came", mailguntest.ResetBefore, "<7@example.com>", 2 * time.Hour, providers.Refused},
			{"never came, a moment ago", mailguntest.ResetBefore, "<7@example.com>", time.Minute, providers.Ambiguous},
			{"never came, without Message-ID", mailguntest.ResetBefore, "", 2 * time.Hour, providers.Ambiguous},
		} {
			t.Run(format+" "+tt.name, func(t *testing.T) {
				fake := mailguntest.New(mailguntest.Account{Key: key, Domain: domain, Fault: func(n int) mailguntest.Fault {
					if n == 0 {
						return tt.fault
					}
					return mailguntest.None
				}})
				c := newConfig()
				change(&c)
				p := provider(t, c, fake)
				mail := addressed
				if tt.messageID != "" {
					mail += "Message-ID: " + tt.messageID + "\n"
				}
				m := providertest.Message(t, mail+"\nHello\n", "A@example.org")
				p.Send(t.Context(), m)
				over := time.Now().Add(-tt.ago)
				got := p.Find(t.Context(), providers.Sent{
					BridgeID: m.Envelope.BridgeID, MessageID: m.MessageID, Recipients: m.Envelope.Recipients, Time: over, Over: over,
				})[0]
				if got.State != tt.want || got.Provider != "mailgun" {
					t.Errorf("it is %v (%v), want %v", got.State, got.Err, tt.want)
				}
				if taken := fake.Taken(); tt.want == providers.Accepted && got.ProviderID != taken[0].ID {
					t.Errorf("its id is %q, want %q", got.ProviderID, taken[0].ID)
				}
			})
		}
	}
}

// A sending key may send and not look: nothing is known, so nothing is refused.
func TestFindWithASendingKey(t *testing.T) {
	sending := mailguntest.Account{Key: key, Domain: domain, SendingKey: true}
	got := provider(t, newConfig(), mailguntest.New(sending)).Find(t.Context(), sentLongAgo("a@example.org"))[0]
	if got.State != providers.Ambiguous || !strings.Contains(got.Err.Message, "authentication") {
		t.Errorf("it is %v (%v), want it ambiguous for want of permission", got.State, got.Err)
	}
}

// sentLongAgo is a message that Mailgun would show, if it had it.
func sentLongAgo(recipients ...string) providers.Sent {
	return providers.Sent{
		BridgeID: bridgeID, MessageID: "<7@example.com>", Recipients: recipients,
		Time: answered.Add(-3 * time.Hour), Over: answered.Add(-2 * time.Hour),
	}
}

// entry is an event as Mailgun shows it.
func entry(recipient, variables string) string {
	return fmt.Sprintf(`{"event":"accepted","timestamp":1767323045.12,"recipient":%q,"message":{"headers":{"message-id":"7@example.com"}},"user-variables":%s}`, recipient, variables)
}

const ours = `{"bridge_id":"` + bridgeID + `"}`

func page(entries ...string) string {
	return `{"items":[` + strings.Join(entries, ",") + `],"paging":{"next":"https://api.mailgun.net/v3/x/events/W3"}}`
}

func TestFound(t *testing.T) {
	full := slices.Repeat([]string{entry("z@example.org", ours)}, 100)
	for _, c := range []struct {
		name   string
		change func(*providers.Sent, *providers.Response)
		body   string
		want   string // the states of a@example.org and B@bücher.example
	}{
		{"nothing", nil, page(), "refused/refused"},
		{"one", nil, page(entry("A@Example.org", ours)), "accepted/refused"},
		{"both, as Mailgun writes them", nil, page(entry("a@example.org", ours), entry("b@xn--bcher-kva.example", ours)), "accepted/accepted"},
		{"another message of the same Message-ID", nil, page(entry("a@example.org", `{"bridge_id":"01OTHER"}`)), "refused/refused"},
		{"whose message cannot be read", nil, page(entry("a@example.org", "[]")), "ambiguous/refused"},
		{"whose message was cut", nil, page(entry("a@example.org", `"{\"bridge_"`)), "ambiguous/refused"},
		{"rejected, of nobody", nil, page(entry("", ours)), "ambiguous/ambiguous"},
		{"a full page", nil, page(full...), "ambiguous/ambiguous"},
		{"a full page with one", nil, page(append(full[1:], entry("a@example.org", ours))...), "accepted/ambiguous"},

		{"a moment ago", func(s *providers.Sent, _ *providers.Response) { s.Over = answered.Add(-59 * time.Minute) }, page(), "ambiguous/ambiguous"},
		{"still under way", func(s *providers.Sent, _ *providers.Response) { s.Over = answered.Add(time.Hour) }, page(), "ambiguous/ambiguous"},
		{"never known to be over", func(s *providers.Sent, _ *providers.Response) { s.Over = time.Time{} }, page(), "ambiguous/ambiguous"},
		{"yesterday", func(s *providers.Sent, _ *providers.Response) { s.Time = answered.Add(-23 * time.Hour) }, page(), "ambiguous/ambiguous"},
		{"no Message-ID", func(s *providers.Sent, _ *providers.Response) { s.MessageID = "" }, page(entry("a@example.org", ours)), "accepted/ambiguous"},
		{"a Message-ID of several words", func(s *providers.Sent, _ *providers.Response) { s.MessageID = "<a OR b@example.com>" }, page(), "ambiguous/ambiguous"},
		{"a Message-ID without brackets", func(s *providers.Sent, _ *providers.Response) { s.MessageID = "7@example.com" }, page(), "ambiguous/ambiguous"},
		{"cut off", func(_ *providers.Sent, r *providers.Response) { r.Truncated = true }, page(), "ambiguous/ambiguous"},
		{"not allowed", func(_ *providers.Sent, r *providers.Response) { r.Status = 401 }, "Forbidden", "ambiguous/ambiguous"},
		{"throttled as if forbidden", func(_ *providers.Sent, r *providers.Response) { r.Status = 403 }, page(), "ambiguous/ambiguous"},
		{"no such domain", func(_ *providers.Sent, r *providers.Response) { r.Status = 404 }, `{"message":"Domain not found: x"}`, "ambiguous/ambiguous"},
		{"another success", func(_ *providers.Sent, r *providers.Response) { r.Status = 202 }, page(), "ambiguous/ambiguous"},
		{"no API", nil, "Mailgun Magnificent API", "ambiguous/ambiguous"},
		{"no items", nil, `{}`, "ambiguous/ambiguous"},
		{"items that are none", nil, `{"items":[7]}`, "ambiguous/ambiguous"},
		{"half an answer", nil, page()[:12], "ambiguous/ambiguous"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, resp := sentLongAgo("a@example.org", "B@bücher.example"), providers.Response{Status: 200, Body: []byte(c.body), Time: answered}
			if c.change != nil {
				c.change(&s, &resp)
			}
			results := newAdapter().Found(s, resp)
			if got := results[0].State.String() + "/" + results[1].State.String(); got != c.want {
				t.Errorf("they are %s, want %s", got, c.want)
			}
			for _, result := range results {
				if (result.State == providers.Accepted) != (result.Err == nil) || (result.ProviderID != "") != (result.State == providers.Accepted) {
					t.Errorf("%+v does not agree with itself", result)
				}
			}
		})
	}
}

func TestFindAsks(t *testing.T) {
	s := sentLongAgo("a@example.org")
	r := newAdapter().Find(s)
	target, err := url.Parse(r.URL)
	if err != nil || r.Method != "GET" || r.Body != nil {
		t.Fatalf("the question is %s %s", r.Method, r.URL)
	}
	query := target.Query()
	if target.Path != "/v3/mg.example.com/events" || query.Get("message-id") != "7@example.com" || query.Has("recipient") || query.Get("limit") != "100" {
		t.Errorf("the question is %s", r.URL)
	}
}

// FuzzFound: nobody is refused by an answer that is not whole, and the results are
// one for each recipient.
func FuzzFound(f *testing.F) {
	for _, body := range []string{
		page(), page(entry("a@example.org", ours)), page(entry("", "[]")), `{"items":null}`, `{"items":{}}`, `{"items":[null]}`, "", "[]", "\xff",
		`{"items":[{"recipient":7,"user-variables":"x","message":[]}]}`, page() + "x",
	} {
		for _, status := range []uint16{200, 401, 403, 404, 429, 500} {
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

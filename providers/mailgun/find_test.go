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

// lookUp asks for such a message.
func lookUp(recipients ...string) providertest.LookUp {
	return providertest.LookUp{Finder: newAdapter(), Sent: sentLongAgo(recipients...), At: answered, Lag: time.Hour, ID: "7@example.com"}
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
	providertest.Found(t, lookUp("a@example.org", "B@bücher.example"), []providertest.Answer{
		{Name: "nothing", Body: page(), Want: "refused/refused"},
		{Name: "one", Body: page(entry("A@Example.org", ours)), Want: "accepted/refused"},
		{Name: "both, as Mailgun writes them", Body: page(entry("a@example.org", ours), entry("b@xn--bcher-kva.example", ours)), Want: "accepted/accepted"},
		{Name: "another message of the same Message-ID", Body: page(entry("a@example.org", `{"bridge_id":"01OTHER"}`)), Want: "refused/refused"},
		{Name: "whose message cannot be read", Body: page(entry("a@example.org", "[]")), Want: "ambiguous/refused"},
		{Name: "whose message was cut", Body: page(entry("a@example.org", `"{\"bridge_"`)), Want: "ambiguous/refused"},
		{Name: "rejected, of nobody", Body: page(entry("", ours)), Want: "ambiguous/ambiguous"},
		{Name: "a full page", Body: page(full...), Want: "ambiguous/ambiguous"},
		{Name: "a full page with one", Body: page(append(full[1:], entry("a@example.org", ours))...), Want: "accepted/ambiguous"},

		{Name: "a moment ago", Change: func(s *providers.Sent, _ *providers.Response) { s.Over = answered.Add(-59 * time.Minute) }, Body: page(), Want: "ambiguous/ambiguous"},
		{Name: "still under way", Change: func(s *providers.Sent, _ *providers.Response) { s.Over = answered.Add(time.Hour) }, Body: page(), Want: "ambiguous/ambiguous"},
		{Name: "never known to be over", Change: func(s *providers.Sent, _ *providers.Response) { s.Over = time.Time{} }, Body: page(), Want: "ambiguous/ambiguous"},
		{Name: "yesterday", Change: func(s *providers.Sent, _ *providers.Response) { s.Time = answered.Add(-23 * time.Hour) }, Body: page(), Want: "ambiguous/ambiguous"},
		{Name: "no Message-ID", Change: func(s *providers.Sent, _ *providers.Response) { s.MessageID = "" }, Body: page(entry("a@example.org", ours)), Want: "accepted/ambiguous"},
		{Name: "a Message-ID of several words", Change: func(s *providers.Sent, _ *providers.Response) { s.MessageID = "<a OR b@example.com>" }, Body: page(), Want: "ambiguous/ambiguous"},
		{Name: "a Message-ID without brackets", Change: func(s *providers.Sent, _ *providers.Response) { s.MessageID = "7@example.com" }, Body: page(), Want: "ambiguous/ambiguous"},
		{Name: "cut off", Change: func(_ *providers.Sent, r *providers.Response) { r.Truncated = true }, Body: page(), Want: "ambiguous/ambiguous"},
		{Name: "not allowed", Change: func(_ *providers.Sent, r *providers.Response) { r.Status = 401 }, Body: "Forbidden", Want: "ambiguous/ambiguous"},
		{Name: "throttled as if forbidden", Change: func(_ *providers.Sent, r *providers.Response) { r.Status = 403 }, Body: page(), Want: "ambiguous/ambiguous"},
		{Name: "no such domain", Change: func(_ *providers.Sent, r *providers.Response) { r.Status = 404 }, Body: `{"message":"Domain not found: x"}`, Want: "ambiguous/ambiguous"},
		{Name: "another success", Change: func(_ *providers.Sent, r *providers.Response) { r.Status = 202 }, Body: page(), Want: "ambiguous/ambiguous"},
		{Name: "no API", Body: "Mailgun Magnificent API", Want: "ambiguous/ambiguous"},
		{Name: "no items", Body: `{}`, Want: "ambiguous/ambiguous"},
		{Name: "items that are none", Body: `{"items":[7]}`, Want: "ambiguous/ambiguous"},
		{Name: "half an answer", Body: page()[:12], Want: "ambiguous/ambiguous"},
	})
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

func FuzzFound(f *testing.F) {
	providertest.FuzzFound(f, lookUp("a@example.org", "B@example.org", ""),
		page(), page(entry("a@example.org", ours)), page(entry("", "[]")), `{"items":null}`, `{"items":{}}`, `{"items":[null]}`, "", "[]", "\xff",
		`{"items":[{"recipient":7,"user-variables":"x","message":[]}]}`, page()+"x",
	)
}

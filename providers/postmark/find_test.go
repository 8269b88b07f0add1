package postmark_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/postmark"
	"smtpbridge/providers/postmark/postmarktest"
	"smtpbridge/providers/providertest"
)

// A message whose answer was lost is found by its metadata in the stream that it
// was sent by; one that never came is not, and that counts once Postmark would
// show it.
func TestFindOverASocket(t *testing.T) {
	for _, tt := range []struct {
		name, stream string // of the message
		fault        postmarktest.Fault
		ago          time.Duration // when it was over
		want         providers.State
	}{
		{"taken", "", postmarktest.ResetAfter, time.Second, providers.Accepted},
		{"taken by another stream", "broadcast", postmarktest.ResetAfter, time.Hour, providers.Accepted},
		{"never came", "", postmarktest.ResetBefore, time.Hour, providers.Refused},
		{"never came, a moment ago", "", postmarktest.ResetBefore, time.Minute, providers.Ambiguous},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fake := postmarktest.New(token, func(n int) postmarktest.Fault {
				if n == 0 {
					return tt.fault
				}
				return postmarktest.None
			})
			provider := connect(t, newAdapter(), fake)
			mail := "From: shop@example.com\nSubject: s\n" // nobody is shown: a batch
			if tt.stream != "" {
				mail += "X-PM-Message-Stream: " + tt.stream + "\n"
			}
			m := providertest.Message(t, mail+"\nHello\n", "A@example.org", "b@example.org")
			provider.Send(t.Context(), m)
			over := time.Now().Add(-tt.ago)
			outcome := provider.Find(t.Context(), providers.Sent{
				BridgeID: m.Envelope.BridgeID, Recipients: m.Envelope.Recipients, Options: m.Directives.Options, Time: over, Over: over,
			})
			for i, got := range outcome {
				if got.State != tt.want || got.Provider != "postmark" {
					t.Errorf("%s is %v (%v), want %v", got.Recipient, got.State, got.Err, tt.want)
				}
				if taken := fake.Taken(); tt.want == providers.Accepted && got.ProviderID != taken[i].ID {
					t.Errorf("the id of %s is %q, want %q", got.Recipient, got.ProviderID, taken[i].ID)
				}
			}
		})
	}
}

// sentLongAgo is a message that Postmark would show, if it had it.
func sentLongAgo(recipients ...string) providers.Sent {
	return providers.Sent{BridgeID: bridgeID, Recipients: recipients, Time: answered.Add(-time.Hour), Over: answered.Add(-time.Hour)}
}

// lookUp asks for such a message.
func lookUp(recipients ...string) providertest.LookUp {
	return providertest.LookUp{Finder: newAdapter(), Sent: sentLongAgo(recipients...), At: answered, Lag: 10 * time.Minute, ID: "m1"}
}

// entry is a message as the search shows it.
func entry(id, metadata string, recipients ...string) string {
	return fmt.Sprintf(`{"MessageID":%q,"To":[],"Cc":[],"Bcc":[],"Recipients":["%s"],"Status":"Sent","Metadata":%s}`, id, strings.Join(recipients, `","`), metadata)
}

const ours = `{"bridge_id":"` + bridgeID + `"}`

func page(total string, entries ...string) string {
	return `{"TotalCount":` + total + `,"Messages":[` + strings.Join(entries, ",") + `]}`
}

func TestFound(t *testing.T) {
	providertest.Found(t, lookUp("a@example.org", "B@bücher.example"), []providertest.Answer{
		{Name: "nothing", Body: page("0"), Want: "refused/refused"},
		{Name: "both in one", Body: page("1", entry("m1", ours, "A@example.org", "b@xn--bcher-kva.example")), Want: "accepted/accepted"},
		{Name: "one of a batch", Body: page("1", entry("m1", ours, "a@example.org")), Want: "accepted/refused"},
		{Name: "the count as text", Body: page(`"1"`, entry("m1", ours, "a@example.org")), Want: "accepted/refused"},
		{Name: "only in To", Body: page("1", `{"MessageID":"m1","To":[{"Email":"a@example.org","Name":"A"}],"Metadata":`+ours+`}`), Want: "accepted/refused"},
		{Name: "with a name", Body: page("1", entry("m1", ours, "A <a@example.org>")), Want: "accepted/refused"},
		{Name: "more than the page", Body: page("2", entry("m1", ours, "a@example.org")), Want: "accepted/ambiguous"},
		{Name: "fewer than the page", Body: page("0", entry("m1", ours, "a@example.org")), Want: "accepted/ambiguous"},
		{Name: "another message", Body: page("1", entry("m1", `{"bridge_id":"01OTHER"}`, "a@example.org")), Want: "refused/refused"},
		{Name: "without metadata", Body: page("1", entry("m1", `{}`, "a@example.org")), Want: "ambiguous/refused"},
		{Name: "to nobody", Body: page("1", entry("m1", ours, "")), Want: "ambiguous/ambiguous"},

		{Name: "a moment ago", Change: func(s *providers.Sent, _ *providers.Response) { s.Over = answered.Add(-9 * time.Minute) }, Body: page("0"), Want: "ambiguous/ambiguous"},
		{Name: "never known to be over", Change: func(s *providers.Sent, _ *providers.Response) { s.Over = time.Time{} }, Body: page("0"), Want: "ambiguous/ambiguous"},
		{Name: "cut off", Change: func(_ *providers.Sent, r *providers.Response) { r.Truncated = true }, Body: page("0"), Want: "ambiguous/ambiguous"},
		{Name: "not allowed", Change: func(_ *providers.Sent, r *providers.Response) { r.Status = 401 }, Body: `{"ErrorCode":10,"Message":"Bad token"}`, Want: "ambiguous/ambiguous"},
		{Name: "an error in a 200", Body: `{"ErrorCode":701,"Message":"x","TotalCount":0,"Messages":[]}`, Want: "ambiguous/ambiguous"},
		{Name: "another success", Change: func(_ *providers.Sent, r *providers.Response) { r.Status = 203 }, Body: page("0"), Want: "ambiguous/ambiguous"},
		{Name: "no count", Body: `{"Messages":[]}`, Want: "ambiguous/ambiguous"},
		{Name: "no messages", Body: `{"TotalCount":0}`, Want: "ambiguous/ambiguous"},
		{Name: "no JSON", Body: `<html>`, Want: "ambiguous/ambiguous"},
	})
}

// The search is of one stream: that of the message, of the configuration, or
// Postmark's default.
func TestFindAsks(t *testing.T) {
	configured := postmark.DefaultConfig()
	configured.APIKey, configured.MessageStream = config.NewSecret(token), "news"
	m := providertest.Message(t, addressed+"X-PM-Message-Stream: broadcast\n\nx\n", "a@example.org")
	chosen := sentLongAgo("a@example.org")
	chosen.Options = m.Directives.Options
	for _, c := range []struct {
		adapter *postmark.Adapter
		sent    providers.Sent
		want    string
	}{
		{newAdapter(), sentLongAgo("a@example.org"), "outbound"},
		{postmark.New(configured), sentLongAgo("a@example.org"), "news"},
		{postmark.New(configured), chosen, "broadcast"},
	} {
		r := c.adapter.Find(c.sent)
		target, err := url.Parse(r.URL)
		if err != nil || r.Method != http.MethodGet {
			t.Fatalf("the question is %s %s", r.Method, r.URL)
		}
		want := url.Values{"count": {"500"}, "offset": {"0"}, "metadata_bridge_id": {bridgeID}, "messagestream": {c.want}}
		if target.Query().Encode() != want.Encode() {
			t.Errorf("it asks for %s, want %s", target.RawQuery, want.Encode())
		}
	}
}

func FuzzFound(f *testing.F) {
	providertest.FuzzFound(f, lookUp("a@example.org", "B@example.org", ""),
		page("0"), page("1", entry("m1", ours, "a@example.org")), page("1", entry("m1", "null", "")), `{"TotalCount":0,"Messages":null}`,
		`{"TotalCount":-1,"Messages":[]}`, `{"TotalCount":"","Messages":[]}`, page("1", "null"), `{"ErrorCode":0,"TotalCount":0,"Messages":[]}`, "", "[]", "\xff",
	)
}

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

// entry is a message as the search shows it.
func entry(id, metadata string, recipients ...string) string {
	return fmt.Sprintf(`{"MessageID":%q,"To":[],"Cc":[],"Bcc":[],"Recipients":["%s"],"Status":"Sent","Metadata":%s}`, id, strings.Join(recipients, `","`), metadata)
}

const ours = `{"bridge_id":"` + bridgeID + `"}`

func page(total string, entries ...string) string {
	return `{"TotalCount":` + total + `,"Messages":[` + strings.Join(entries, ",") + `]}`
}

func TestFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*providers.Sent, *providers.Response)
		body   string
		want   string // the states of a@example.org and B@bücher.example
	}{
		{"nothing", nil, page("0"), "refused/refused"},
		{"both in one", nil, page("1", entry("m1", ours, "A@example.org", "b@xn--bcher-kva.example")), "accepted/accepted"},
		{"one of a batch", nil, page("1", entry("m1", ours, "a@example.org")), "accepted/refused"},
		{"the count as text", nil, page(`"1"`, entry("m1", ours, "a@example.org")), "accepted/refused"},
		{"only in To", nil, page("1", `{"MessageID":"m1","To":[{"Email":"a@example.org","Name":"A"}],"Metadata":`+ours+`}`), "accepted/refused"},
		{"with a name", nil, page("1", entry("m1", ours, "A <a@example.org>")), "accepted/refused"},
		{"more than the page", nil, page("2", entry("m1", ours, "a@example.org")), "accepted/ambiguous"},
		{"fewer than the page", nil, page("0", entry("m1", ours, "a@example.org")), "accepted/ambiguous"},
		{"another message", nil, page("1", entry("m1", `{"bridge_id":"01OTHER"}`, "a@example.org")), "refused/refused"},
		{"without metadata", nil, page("1", entry("m1", `{}`, "a@example.org")), "ambiguous/refused"},
		{"to nobody", nil, page("1", entry("m1", ours, "")), "ambiguous/ambiguous"},

		{"a moment ago", func(s *providers.Sent, _ *providers.Response) { s.Over = answered.Add(-9 * time.Minute) }, page("0"), "ambiguous/ambiguous"},
		{"never known to be over", func(s *providers.Sent, _ *providers.Response) { s.Over = time.Time{} }, page("0"), "ambiguous/ambiguous"},
		{"cut off", func(_ *providers.Sent, r *providers.Response) { r.Truncated = true }, page("0"), "ambiguous/ambiguous"},
		{"not allowed", func(_ *providers.Sent, r *providers.Response) { r.Status = 401 }, `{"ErrorCode":10,"Message":"Bad token"}`, "ambiguous/ambiguous"},
		{"an error in a 200", nil, `{"ErrorCode":701,"Message":"x","TotalCount":0,"Messages":[]}`, "ambiguous/ambiguous"},
		{"another success", func(_ *providers.Sent, r *providers.Response) { r.Status = 203 }, page("0"), "ambiguous/ambiguous"},
		{"no count", nil, `{"Messages":[]}`, "ambiguous/ambiguous"},
		{"no messages", nil, `{"TotalCount":0}`, "ambiguous/ambiguous"},
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
			if results[0].State == providers.Accepted && results[0].ProviderID != "m1" {
				t.Errorf("the id is %q", results[0].ProviderID)
			}
		})
	}
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

// FuzzFound: nobody is refused by an answer that is not whole, and the results are
// one for each recipient.
func FuzzFound(f *testing.F) {
	for _, body := range []string{
		page("0"), page("1", entry("m1", ours, "a@example.org")), page("1", entry("m1", "null", "")), `{"TotalCount":0,"Messages":null}`,
		`{"TotalCount":-1,"Messages":[]}`, `{"TotalCount":"","Messages":[]}`, page("1", "null"), `{"ErrorCode":0,"TotalCount":0,"Messages":[]}`, "", "[]", "\xff",
	} {
		for _, status := range []uint16{200, 401, 422, 429, 500} {
			f.Add(status, body, false, int64(3600))
		}
		f.Add(uint16(200), body, true, int64(-1))
	}
	a := newAdapter()
	f.Fuzz(func(t *testing.T, status uint16, body string, truncated bool, seconds int64) {
		s := sentLongAgo("a@example.org", "B@example.org", "")
		s.Over = answered.Add(-time.Duration(seconds%(24*60*60)) * time.Second)
		resp := providers.Response{Status: int(status), Body: []byte(body), Truncated: truncated, Time: answered}
		providertest.CheckFound(t, s, resp, a.Found(s, resp), 10*time.Minute)
	})
}

package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/events"
	"smtpbridge/providers"
	"smtpbridge/providers/sandbox"
	"smtpbridge/translate"
)

// shelf is a Keeper that keeps the last content.
type shelf struct {
	id      string
	content json.RawMessage
	told    []events.Event
}

func (s *shelf) Report(_ string, e events.Event) { s.told = append(s.told, e) }

func (s *shelf) Keep(id string, content json.RawMessage) { s.id, s.content = id, content }

func parse(t *testing.T, text string, recipients ...string) *translate.Message {
	t.Helper()
	spool, err := translate.NewSpool(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")), translate.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := translate.Parse(spool, translate.Envelope{BridgeID: "01J", Recipients: recipients})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func send(t *testing.T, recipients ...string) providers.Outcome {
	t.Helper()
	p := sandbox.New(sandbox.DefaultConfig(), new(shelf), new(shelf))
	return p.Send(t.Context(), parse(t, "From: app@example.com\nSubject: Hello\n\nA text.\n", recipients...))
}

func TestSendAnswersByRecipient(t *testing.T) {
	tests := []struct {
		recipient string
		state     providers.State
		category  providers.Category
	}{
		{"bounce@sandbox.test", providers.Refused, providers.InvalidRecipient},
		{"ratelimit@sandbox.test", providers.Refused, providers.RateLimit},
		{"quota@sandbox.test", providers.Refused, providers.QuotaExceeded},
		{"auth@sandbox.test", providers.Refused, providers.Authentication},
		{"spam@sandbox.test", providers.Refused, providers.ContentRejected},
		{"config@sandbox.test", providers.Refused, providers.ConfigurationError},
		{"down@sandbox.test", providers.Refused, providers.ServiceUnavailable},
		{"network@sandbox.test", providers.Refused, providers.NetworkError},
		{"ambiguous@sandbox.test", providers.Ambiguous, providers.NetworkError},
		// A tag and the case make no difference.
		{"bounce+order7@sandbox.test", providers.Refused, providers.InvalidRecipient},
		{"Bounce@SANDBOX.test", providers.Refused, providers.InvalidRecipient},
		// Everybody else is accepted.
		{"you@sandbox.test", providers.Accepted, ""},
		{"bouncer@sandbox.test", providers.Accepted, ""},
		{"bounce@example.com", providers.Accepted, ""},
		{"bounce@sub.sandbox.test", providers.Accepted, ""},
		{"postmaster", providers.Accepted, ""},
	}
	var recipients []string
	for _, tt := range tests {
		recipients = append(recipients, tt.recipient)
	}
	outcome := send(t, recipients...) // each has a result of its own, whoever else is there
	if len(outcome) != len(tests) {
		t.Fatalf("%d results, want %d", len(outcome), len(tests))
	}
	for i, tt := range tests {
		got := outcome[i]
		if got.Recipient != tt.recipient || got.State != tt.state || got.Provider != "sandbox" {
			t.Errorf("result %d is %+v, want %s %s by sandbox", i, got, tt.recipient, tt.state)
		}
		if tt.category == "" {
			if got.Err != nil || got.ProviderID != "sandbox-01J" {
				t.Errorf("%s: id %q, error %v, want sandbox-01J and none", tt.recipient, got.ProviderID, got.Err)
			}
			continue
		}
		if got.Err == nil || got.Err.Category != tt.category || !strings.Contains(got.Err.Message, "simulated by the sandbox") {
			t.Errorf("%s: error %v, want a simulated %s", tt.recipient, got.Err, tt.category)
		}
		if got.ProviderID != "" {
			t.Errorf("%s: id %q without being accepted", tt.recipient, got.ProviderID)
		}
	}
}

// All who are slow wait together, as in one request.
func TestSendSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		outcome := send(t, "slow@sandbox.test", "slow+2@sandbox.test", "bounce@sandbox.test")
		if got := time.Since(start); got != 5*time.Second {
			t.Errorf("took %v, want 5s", got)
		}
		want := []providers.State{providers.Accepted, providers.Accepted, providers.Refused}
		if diff := cmp.Diff(want, states(outcome)); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
	})
}

func TestSendSlowCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p := sandbox.New(sandbox.DefaultConfig(), new(shelf), new(shelf))
		start := time.Now()
		outcome := p.Send(ctx, parse(t, "From: app@example.com\n\nA text.\n", "slow@sandbox.test", "you@sandbox.test"))
		if got := time.Since(start); got != time.Second {
			t.Errorf("took %v, want 1s", got)
		}
		if diff := cmp.Diff([]providers.State{providers.Ambiguous, providers.Accepted}, states(outcome)); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		if !errors.Is(outcome[0].Err, context.DeadlineExceeded) {
			t.Errorf("error %v does not have its cause", outcome[0].Err)
		}
	})
}

func states(outcome providers.Outcome) []providers.State {
	out := make([]providers.State, len(outcome))
	for i, result := range outcome {
		out[i] = result.State
	}
	return out
}

const rich = `From: =?utf-8?q?J=C3=BCrgen?= <app@example.com>
To: You <you@sandbox.test>, other@example.com
Cc: third@example.com
Reply-To: help@example.com
Subject: Hello
X-Campaign: spring & <autumn>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=m

--m
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Gr=FC=DFe
--a
Content-Type: text/html

<p>Hello</p>
--a--
--m
Content-Type: application/pdf
Content-Disposition: attachment; filename=bill.pdf
Content-Transfer-Encoding: base64

JVBERi0=
--m--
`

// The content is what the recipient would see.
func TestSendKeepsContent(t *testing.T) {
	kept := new(shelf)
	m := parse(t, rich, "bounce@sandbox.test")
	sandbox.New(sandbox.DefaultConfig(), kept, kept).Send(t.Context(), m)
	if kept.id != "01J" {
		t.Errorf("kept as %q, want 01J", kept.id)
	}
	want := sandbox.Content{
		From:        "Jürgen <app@example.com>",
		To:          []string{"You <you@sandbox.test>", "other@example.com"},
		Cc:          []string{"third@example.com"},
		ReplyTo:     []string{"help@example.com"},
		Headers:     []sandbox.Header{{Name: "X-Campaign", Value: "spring & <autumn>"}},
		Text:        &sandbox.Body{Content: "Grüße", Bytes: 7},
		HTML:        &sandbox.Body{Content: "<p>Hello</p>", Bytes: 12},
		Attachments: []sandbox.Attachment{{Name: "bill.pdf", Type: "application/pdf", Bytes: 5}},
	}
	if diff := cmp.Diff(want, decode(t, kept.content)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	if !strings.Contains(string(kept.content), "<p>Hello</p>") {
		t.Errorf("content is escaped beyond need: %s", kept.content)
	}
}

func decode(t *testing.T, data json.RawMessage) sandbox.Content {
	t.Helper()
	var content sandbox.Content
	if err := json.Unmarshal(data, &content); err != nil {
		t.Fatalf("content %q: %v", data, err)
	}
	return content
}

// A large mail costs the sandbox no more than its bounds, and says so.
func TestSendCutsContent(t *testing.T) {
	const limit = 64 << 10
	tests := []struct {
		name, text string
		want       int // octets kept of the text
	}{
		{"as much as fits", strings.Repeat("x", limit-2), limit - 2},
		{"one rune too many", strings.Repeat("x", limit-2) + "€", limit - 2},
		{"a rune across the limit", "x" + strings.Repeat("é", limit), limit - 1},
		{"a rune at the limit", strings.Repeat("é", limit), limit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			kept := new(shelf)
			m := parse(t, "From: app@example.com\nContent-Type: text/plain; charset=utf-8\n\n"+tt.text, "you@sandbox.test")
			sandbox.New(sandbox.DefaultConfig(), kept, kept).Send(t.Context(), m)
			body := decode(t, kept.content).Text
			if len(body.Content) != tt.want || !utf8.ValidString(body.Content) {
				t.Errorf("kept %d octets (valid %v), want %d", len(body.Content), utf8.ValidString(body.Content), tt.want)
			}
			if want := len(tt.text) > tt.want; body.Truncated != want || body.Bytes != int64(len(tt.text)) {
				t.Errorf("truncated %v of %d octets, want %v of %d", body.Truncated, body.Bytes, want, len(tt.text))
			}
		})
	}
}

func TestSendCutsFields(t *testing.T) {
	var text strings.Builder
	text.WriteString("From: app@example.com\n")
	for i := range 100 {
		fmt.Fprintf(&text, "X-Trace-%d: %s\n", i, strings.Repeat("y", 900))
	}
	kept := new(shelf)
	m := parse(t, text.String()+"\nA text.\n", "you@sandbox.test")
	sandbox.New(sandbox.DefaultConfig(), kept, kept).Send(t.Context(), m)
	content := decode(t, kept.content)
	if len(kept.content) > 80<<10 {
		t.Errorf("content has %d octets, want at most 80 KiB", len(kept.content))
	}
	if n := len(content.Headers); n == 0 || n == 100 || !content.Truncated {
		t.Errorf("kept %d headers, truncated %v, want some and true", n, content.Truncated)
	}
	if content.Text == nil {
		t.Error("the text went with the headers")
	}
}

// What cannot be read is not accepted.
func TestSendUnreadable(t *testing.T) {
	m := parse(t, "From: app@example.com\n\nA text.\n", "you@sandbox.test")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	kept := new(shelf)
	outcome := sandbox.New(sandbox.DefaultConfig(), kept, kept).Send(t.Context(), m)
	if got := outcome[0]; got.State != providers.Refused || got.Err.Category != providers.LocalFailure {
		t.Errorf("result %+v, want refused with local_failure", got)
	}
	if kept.content != nil {
		t.Errorf("kept %s", kept.content)
	}
}

// The sandbox carries what any provider could.
func TestCapabilities(t *testing.T) {
	p := sandbox.New(sandbox.DefaultConfig(), new(shelf), new(shelf))
	m := parse(t, "X-Bridge-Tag: a\nX-Bridge-Metadata: b=c\n"+rich, "you@sandbox.test")
	m.Directives.SendAt = time.Now().AddDate(1, 0, 0)
	m.Opaque = translate.OpaqueSigned
	if losses, refusal := providers.Check(p.Capabilities(), m, time.Now()); losses != nil || refusal != nil {
		t.Errorf("Check() = %v, %v, want everything carried", losses, refusal)
	}
}

func TestConfigValidate(t *testing.T) {
	var problems []string
	report := func(key, problem string) { problems = append(problems, key+": "+problem) }
	sandbox.DefaultConfig().Validate(report)
	if problems != nil {
		t.Errorf("the default has problems: %q", problems)
	}
	sandbox.Config{Name: "x", Type: "sendgrid"}.Validate(report)
	if want := []string{`type: "sendgrid" is not this provider's type; write "sandbox"`}; !cmp.Equal(want, problems) {
		t.Errorf("problems %q, want %q", problems, want)
	}
}

// Who is accepted under the name of an event is told of by it, once; all others are
// not.
func TestSendReports(t *testing.T) {
	told := new(shelf)
	p := sandbox.New(sandbox.Config{Name: "try", Type: "sandbox"}, new(shelf), told)
	recipients := []string{
		"delivered@sandbox.test", "hardbounce@sandbox.test", "SoftBounce+1@Sandbox.test", "complaint@sandbox.test",
		"unsubscribe@sandbox.test", "open@sandbox.test", "click@sandbox.test",
		"you@sandbox.test", "delivered@example.com", "bounce@sandbox.test", "ambiguous@sandbox.test", "delivered2@sandbox.test",
	}
	m := parse(t, "From: app@example.com\nSubject: Hello\n\nA text.\n", recipients...)
	for range 2 {
		p.Send(t.Context(), m)
	}
	want := []string{
		"delivered delivered@sandbox.test", "bounced hard hardbounce@sandbox.test", "bounced soft SoftBounce+1@Sandbox.test",
		"complained complaint@sandbox.test", "unsubscribed unsubscribe@sandbox.test", "opened open@sandbox.test", "clicked click@sandbox.test",
	}
	var got []string
	keys := make(map[string]bool)
	for _, e := range told.told {
		got = append(got, strings.Join(strings.Fields(fmt.Sprint(e.Type, " ", e.Bounce, " ", e.Recipient)), " "))
		keys[e.Key] = true
		if e.MessageID != "01J" || e.ProviderMessageID != "sandbox-01J" || e.Timestamp.IsZero() || !json.Valid(e.Raw) || e.Scope != "" {
			t.Errorf("%+v is not of the message", e)
		}
	}
	if diff := cmp.Diff(append(want, want...), got); diff != "" {
		t.Errorf("told of (-want +got):\n%s", diff)
	}
	if len(keys) != len(want) {
		t.Errorf("%d keys, want %d: what is told again is the same", len(keys), len(want))
	}
}

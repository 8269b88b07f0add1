package delivery_test

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
	"smtpbridge/translate"
)

// result is what a reply is made of.
type result struct {
	Recipient string
	State     providers.State
	Provider  string
	Category  providers.Category
}

func results(outcome providers.Outcome) []result {
	out := make([]result, len(outcome))
	for i, r := range outcome {
		out[i] = result{Recipient: r.Recipient, State: r.State, Provider: r.Provider}
		if r.Err != nil {
			out[i].Category = r.Err.Category
		}
	}
	return out
}

// both is the same result for the two recipients of every test mail.
func both(state providers.State, provider string, category providers.Category) []result {
	return []result{
		{"a@example.com", state, provider, category},
		{"b@example.com", state, provider, category},
	}
}

// What the provider says is what Deliver says, held to one result per recipient.
func TestDeliverAnswers(t *testing.T) {
	var (
		taken   = providers.Result{Recipient: "a@example.com", State: providers.Accepted, ProviderID: "p1"}
		unknown = &providers.Error{Category: providers.InvalidRecipient, Message: "no such user b@example.com"}
		refused = providers.Result{Recipient: "b@example.com", State: providers.Refused, Err: unknown}
	)
	tests := []struct {
		name   string
		answer []providers.Result
		want   []result
	}{
		// Each recipient keeps its own end.
		{"mixed", []providers.Result{taken, refused}, []result{
			{"a@example.com", providers.Accepted, "first", ""},
			{"b@example.com", providers.Refused, "first", providers.InvalidRecipient},
		}},
		// What breaks the provider's contract may have been sent.
		{"nothing", nil, both(providers.Ambiguous, "first", providers.Unknown)},
		{"one left out", []providers.Result{taken}, both(providers.Ambiguous, "first", providers.Unknown)},
		{"another order", []providers.Result{refused, taken}, both(providers.Ambiguous, "first", providers.Unknown)},
		{"refused without a reason", []providers.Result{taken, {Recipient: "b@example.com", State: providers.Refused}}, []result{
			{"a@example.com", providers.Accepted, "first", ""},
			{"b@example.com", providers.Ambiguous, "first", providers.Unknown},
		}},
		{"accepted with an error", []providers.Result{taken, {Recipient: "b@example.com", State: providers.Accepted, Err: unknown}}, []result{
			{"a@example.com", providers.Accepted, "first", ""},
			{"b@example.com", providers.Ambiguous, "first", providers.Unknown},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, j := newPipeline(nil, answers(tt.answer...), forbidden(t, "second"))
			m := mail(t)
			outcome := p.Deliver(t.Context(), m)
			closePipeline(t, p)
			if diff := cmp.Diff(tt.want, results(outcome)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if !isClosed(m) {
				t.Error("the message is still open")
			}
			if lines := j.lines(t, "closing the message"); lines != nil {
				t.Errorf("the message was closed twice: %v", lines)
			}
		})
	}
}

// The record is there before the request leaves, and complete after it.
func TestDeliverRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, j := newPipeline(nil, accepts("first", 2*time.Second))
		start := time.Now().UTC()
		p.Deliver(t.Context(), mail(t, "Message-ID: <1@example.com>", "X-Bridge-Tag: welcome", "X-Bridge-Metadata: order=7"))
		closePipeline(t, p)

		want := delivery.Record{
			ID: "01J", Time: start, MailFrom: "bounces@example.com", From: "app@example.com", Subject: "Hello",
			MessageID: "<1@example.com>", User: "shop", Bytes: j.records[0].Bytes,
			Tags: []string{"welcome"}, Metadata: map[string]string{"order": "7"},
			Recipients: []delivery.Recipient{{Recipient: "a@example.com"}, {Recipient: "b@example.com"}},
			Attempts:   []delivery.Attempt{},
		}
		if diff := cmp.Diff(want, j.records[0]); diff != "" {
			t.Errorf("record in flight (-want +got):\n%s", diff)
		}
		want.Recipients = []delivery.Recipient{
			{Recipient: "a@example.com", State: providers.Accepted, Provider: "first"},
			{Recipient: "b@example.com", State: providers.Accepted, Provider: "first"},
		}
		want.Losses = []string{"tags", "metadata", "message id"}
		want.Attempts = []delivery.Attempt{{Provider: "first", Time: start, Seconds: 2, Category: "ok"}}
		if diff := cmp.Diff(want, j.last(t)); diff != "" {
			t.Errorf("record at the end (-want +got):\n%s", diff)
		}
		if want.Bytes == 0 {
			t.Error("the record has no size")
		}
		if lines := j.lines(t, "provider cannot carry everything"); len(lines) != 1 {
			t.Errorf("losses were logged %d times, want once", len(lines))
		}
	})
}

// A subject is any length; a record is not.
func TestDeliverClipsTheRecord(t *testing.T) {
	p, j := newPipeline(nil, accepts("first", 0))
	// 997 octets, then a rune of two: cut before it.
	p.Deliver(t.Context(), mail(t, "Subject: "+strings.Repeat("x", 997)+"é and more"))
	closePipeline(t, p)
	if got, want := j.last(t).Subject, strings.Repeat("x", 997); got != want {
		t.Errorf("subject has %d octets, want %d", len(got), len(want))
	}
}

// A record lives long after its mail: it shares no memory with it, and a long
// text does not stay whole.
func TestDeliverCopiesForTheRecord(t *testing.T) {
	p, j := newPipeline(nil, accepts("first", 0))
	long := strings.Repeat("x", 20_000)
	m := mail(t, "X-Bridge-Metadata: key="+long, "X-Bridge-Tag: order")
	mailFrom, user, recipients := m.Envelope.MailFrom, m.Envelope.User, m.Envelope.Recipients
	tag := m.Directives.Tags[0]
	p.Deliver(t.Context(), m)
	closePipeline(t, p)
	r := j.last(t)
	if n := len(r.Metadata["key"]); n != 998 {
		t.Errorf("%d octets of a value are kept, want 998", n)
	}
	for _, c := range [][2]string{
		{r.MailFrom, mailFrom}, {r.User, user}, {r.Tags[0], tag}, {r.Recipients[0].Recipient, recipients[0]},
	} {
		if c[0] != c[1] || unsafe.StringData(c[0]) == unsafe.StringData(c[1]) {
			t.Errorf("%q is not a copy of %q", c[0], c[1])
		}
	}
}

func TestDeliverChooses(t *testing.T) {
	tests := []struct {
		name      string
		headers   []string
		providers []string
		want      []result
	}{
		{"the first", nil, []string{"first", "second"}, both(providers.Accepted, "first", "")},
		{"the one named", []string{"X-Bridge-Provider: second"}, []string{"first", "second"}, both(providers.Accepted, "second", "")},
		{"one that does not exist", []string{"X-Bridge-Provider: third"}, []string{"first", "second"}, both(providers.Refused, "", providers.NoSender)},
		{"none", nil, nil, both(providers.Refused, "", providers.NoProvider)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var ps []delivery.Provider
			for _, name := range tt.providers {
				ps = append(ps, accepts(name, 0))
			}
			p, j := newPipeline(nil, ps...)
			m := mail(t, tt.headers...)
			if diff := cmp.Diff(tt.want, results(p.Deliver(t.Context(), m))); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			closePipeline(t, p)
			if !isClosed(m) {
				t.Error("the message is still open")
			}
			if got := j.last(t).Recipients[1].State; got != tt.want[1].State {
				t.Errorf("recorded state %v, want %v", got, tt.want[1].State)
			}
		})
	}
}

// These never reach a provider.
func TestDeliverAsksNobody(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name    string
		ctx     context.Context
		headers []string
		want    []result
	}{
		{"no usable From", t.Context(), []string{"From: undisclosed"}, both(providers.Refused, "", providers.Malformed)},
		{"drop", t.Context(), []string{"X-Mailgun-Drop-Message: yes"}, both(providers.Accepted, "", "")},
		{"drop, though nobody could carry it", t.Context(), []string{"From: x", "X-Mailgun-Drop-Message: yes"}, both(providers.Accepted, "", "")},
		{"session ended", ended, nil, both(providers.Refused, "", providers.Busy)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, j := newPipeline(nil, forbidden(t, "first"))
			m := mail(t, tt.headers...)
			outcome := p.Deliver(tt.ctx, m)
			closePipeline(t, p)
			if diff := cmp.Diff(tt.want, results(outcome)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if got := outcome.Providers(); got != "none" {
				t.Errorf("Providers() = %q, want none", got)
			}
			if !isClosed(m) {
				t.Error("the message is still open")
			}
			if got := j.last(t).Attempts; len(got) != 0 {
				t.Errorf("recorded attempts %v, want none", got)
			}
		})
	}
}

// One line for each end that recipients met, at its category's level, and no
// address in it.
func TestDeliverLogs(t *testing.T) {
	p, j := newPipeline(nil, answers(
		providers.Result{Recipient: "a@example.com", State: providers.Accepted},
		providers.Result{Recipient: "b@example.com", State: providers.Refused, Err: &providers.Error{
			Category: providers.ContentRejected, ProviderCode: "400", Message: `550 <b@example.com>: "b b"@example.com is listed`,
		}},
	))
	m := mail(t)
	p.Deliver(t.Context(), m)
	closePipeline(t, p)

	lines := j.lines(t, "delivery decided")
	for _, line := range lines {
		delete(line, slog.TimeKey)
		delete(line, "dur")
	}
	common := map[string]any{
		"msg": "delivery decided", "message_id": "01J", "provider": "first",
		"recipients": 1.0, "bytes": float64(m.Size),
	}
	want := []map[string]any{
		with(common, map[string]any{"level": "INFO", "status": "accepted"}),
		with(common, map[string]any{
			"level": "ERROR", "status": "refused", "category": "content_rejected", "class": "permanent", "provider_code": "400",
			"err": `content_rejected: 550 <[address]>: [address] is listed`,
		}),
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// Recipients that met the same end share a line.
func TestDeliverLogsGroups(t *testing.T) {
	refused := func(recipient string, category providers.Category) providers.Result {
		return providers.Result{Recipient: recipient, State: providers.Refused, Err: &providers.Error{Category: category}}
	}
	tests := []struct {
		name   string
		second providers.Category
		want   []any // the categories of the lines
	}{
		{"same", providers.RateLimit, []any{"rate_limit"}},
		{"different", providers.InvalidRecipient, []any{"rate_limit", "invalid_recipient"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, j := newPipeline(nil, answers(refused("a@example.com", providers.RateLimit), refused("b@example.com", tt.second)))
			p.Deliver(t.Context(), mail(t))
			closePipeline(t, p)
			var got []any
			for _, line := range j.lines(t, "delivery decided") {
				got = append(got, line["category"])
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("categories (-want +got):\n%s", diff)
			}
		})
	}
}

func with(a, b map[string]any) map[string]any {
	out := map[string]any{}
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}

func TestRecipient(t *testing.T) {
	p, _ := newPipeline(nil, forbidden(t, "first"))
	tests := []struct {
		address string
		refused bool
	}{
		{"user@example.com", false},
		{"user+tag@xn--bcher-kva.example", false},
		{`"a@b"@example.com`, false},
		{"postmaster", false},
		// Only the local part counts: domains come in punycode, but it would not be its fault.
		{"user@bücher.example", false},
		{"jürgen@example.com", true},
		{"\"ü@b\"@example.com", true},
		{"jürgen", true},
	}
	for _, tt := range tests {
		err := p.Recipient(t.Context(), translate.Envelope{BridgeID: "01J"}, tt.address)
		if (err != nil) != tt.refused {
			t.Errorf("Recipient(%q) = %v, want refused %v", tt.address, err, tt.refused)
		}
		if err != nil && err.Category != providers.NonASCII {
			t.Errorf("Recipient(%q) has category %s, want %s", tt.address, err.Category, providers.NonASCII)
		}
	}
}

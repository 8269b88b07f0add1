package delivery_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
	"smtpbridge/translate"
)

// able is a provider with capabilities of its own that takes everything.
type able struct {
	fake

	capabilities providers.Capabilities
}

func (a able) Capabilities() providers.Capabilities { return a.capabilities }

const signed = "Content-Type: multipart/signed; boundary=s; protocol=\"application/pgp-signature\"\r\n\r\n--s\r\n\r\nx\r\n--s--"

// The first in order that can carry the message takes it; one that shows the
// recipient less stands back.
func TestDeliverChoosesWhoCanCarry(t *testing.T) {
	all := providers.Capabilities{RawMIME: true, TrackOpens: true, TrackClicks: true, ScheduleHorizon: time.Hour}
	anew := providers.Capabilities{Calendar: true}
	narrow := providers.Capabilities{MaxSize: 1}
	at := "X-Bridge-Send-At: " + time.Now().Add(30*time.Minute).Format(time.RFC3339)
	invitation := "Content-Type: text/calendar; method=REQUEST"
	for _, tt := range []struct {
		name          string
		headers       []string
		first, second providers.Capabilities
		want          []result
		reason        string
	}{
		{"both", nil, anew, all, both(providers.Accepted, "first", ""), ""},
		{"signed", []string{signed}, anew, all, both(providers.Accepted, "second", ""), ""},
		{"scheduled", []string{at}, anew, all, both(providers.Accepted, "second", ""), ""},
		{"too large for one", nil, narrow, all, both(providers.Accepted, "second", ""), ""},
		{"shown less by one", []string{invitation}, providers.Capabilities{}, anew, both(providers.Accepted, "second", ""), ""},
		{"shown less by both", []string{invitation}, providers.Capabilities{}, providers.Capabilities{}, both(providers.Accepted, "first", ""), ""},
		{"a loss that nobody sees", []string{"X-Bridge-Tag: t"}, anew, all, both(providers.Accepted, "first", ""), ""},

		// Where nobody can, the reason is what they have in common.
		{"too large for all", nil, narrow, narrow, both(providers.Refused, "", providers.TooLarge), "the mail is larger than the provider takes"},
		{
			"nobody",
			[]string{signed},
			anew, anew, both(providers.Refused, "", providers.NotFaithful),
			"a mail that is signed cannot leave unchanged",
		},
		{
			"for different reasons",
			[]string{at},
			anew,
			providers.Capabilities{MaxSize: 1, ScheduleHorizon: time.Hour},
			both(providers.Refused, "", providers.NotFaithful),
			"first: a send time cannot be kept; second: the mail is larger than the provider takes",
		},
		{"the one named cannot", []string{signed, "X-Bridge-Provider: first"}, anew, all, both(providers.Accepted, "second", ""), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "the one named cannot" { // its header must stand before the body
				tt.headers = []string{"X-Bridge-Provider: first", signed}
				tt.want, tt.reason = both(providers.Refused, "", providers.NotFaithful), "a mail that is signed cannot leave unchanged"
			}
			p, _ := newPipeline(nil, able{accepts("first", 0), tt.first}, able{accepts("second", 0), tt.second})
			m := rawMail(t, append([]string{"From: App <app@example.com>"}, tt.headers...)...)
			outcome := p.Deliver(t.Context(), m)
			closePipeline(t, p)
			if diff := cmp.Diff(tt.want, results(outcome)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if outcome[0].Err != nil && outcome[0].Err.Message != tt.reason {
				t.Errorf("the reason is %q, want %q", outcome[0].Err.Message, tt.reason)
			}
		})
	}
}

// rawMail is a message of these lines.
func rawMail(t *testing.T, lines ...string) *translate.Message {
	t.Helper()
	text := strings.Join(lines, "\r\n") + "\r\n\r\nA text.\r\n"
	spool, err := translate.NewSpool(strings.NewReader(text), translate.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := translate.Parse(spool, translate.Envelope{BridgeID: "01J", Recipients: []string{"a@example.com", "b@example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Who sends: an account may only send as itself.
func TestDeliverSetsTheAuthor(t *testing.T) {
	none := delivery.DefaultAccountConfig()
	account := func(rewrite, from string, domains ...string) delivery.AccountConfig {
		c := none
		c.RewriteFrom, c.DefaultFrom, c.SenderDomains = rewrite, from, domains
		return c
	}
	for _, tt := range []struct {
		name, from, replyTo string
		config              delivery.AccountConfig
		want, wantReplyTo   string // the author, empty: refused
		category            providers.Category
	}{
		{"untouched", "app@example.com", "", none, "app@example.com", "", ""},
		{"listed", "app@EXAMPLE.com", "", account("never", "", "example.com"), "app@EXAMPLE.com", "", ""},
		{"listed in punycode", "app@b\u00fccher.example", "", account("never", "", "b\u00fccher.example"), "app@xn--bcher-kva.example", "", ""},
		{"not listed", "app@example.net", "", account("never", "", "example.com"), "", "", providers.NoSender},
		{"a subdomain is another domain", "app@a.example.com", "", account("never", "", "example.com"), "", "", providers.NoSender},
		{"nobody usable", "root (Cron Daemon)", "", account("never", "Shop <shop@example.com>"), "Shop <shop@example.com>", "", ""},
		{"nobody usable, nobody instead", "root (Cron Daemon)", "", none, "", "", providers.Malformed},
		{"unlisted", "app@example.net", "", account("unlisted", "shop@example.com", "example.com"), "shop@example.com", "app@example.net", ""},
		{"unlisted, but listed", "app@example.com", "", account("unlisted", "shop@example.com", "example.com"), "app@example.com", "", ""},
		{"always", "App <app@example.com>", "", account("always", "shop@example.com"), "shop@example.com", "App <app@example.com>", ""},
		{"always, with Reply-To", "app@example.com", "help@example.com", account("always", "shop@example.com"), "shop@example.com", "help@example.com", ""},
		{"always, itself", "Shop <shop@example.com>", "", account("always", "shop@example.com"), "Shop <shop@example.com>", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got, replyTo string
			one := fake{"first", func(_ context.Context, m *translate.Message) providers.Outcome {
				got = m.From.String()
				if len(m.ReplyTo) > 0 {
					replyTo = m.ReplyTo[0].String()
				}
				return providers.Fail(m.Envelope.Recipients, providers.Accepted, nil)
			}}
			p, _ := newPipeline(nil)
			next := settings()
			next.Accounts = []delivery.Account{{Provider: one, Config: tt.config}}
			p.Replace(next)
			headers := []string{"From: " + tt.from}
			if tt.replyTo != "" {
				headers = append(headers, "Reply-To: "+tt.replyTo)
			}
			outcome := p.Deliver(t.Context(), mail(t, headers...))
			closePipeline(t, p)
			if got != tt.want || replyTo != tt.wantReplyTo {
				t.Errorf("it left from %q with replies to %q, want %q and %q", got, replyTo, tt.want, tt.wantReplyTo)
			}
			if tt.want == "" && outcome[0].Err.Category != tt.category {
				t.Errorf("refused with %v, want %s", outcome[0].Err, tt.category)
			}
		})
	}
}

// A message without a sender here may leave by another account.
func TestDeliverLooksForASender(t *testing.T) {
	p, _ := newPipeline(nil)
	other := delivery.DefaultAccountConfig()
	other.SenderDomains = []string{"example.net"}
	next := settings()
	next.Accounts = []delivery.Account{
		{Provider: forbidden(t, "first"), Config: other},
		{Provider: accepts("second", 0), Config: delivery.DefaultAccountConfig()},
	}
	p.Replace(next)
	outcome := p.Deliver(t.Context(), mail(t))
	closePipeline(t, p)
	if got := outcome.Providers(); got != "second" {
		t.Errorf("it left by %s, want second", got)
	}
}

func TestAccountConfigValidate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*delivery.AccountConfig)
		want   []string
	}{
		{"default", func(*delivery.AccountConfig) {}, nil},
		{"all", func(c *delivery.AccountConfig) {
			c.SenderDomains, c.DefaultFrom, c.RewriteFrom = []string{"example.com"}, "Shop <shop@Example.com>", "unlisted"
		}, nil},
		{"domain", func(c *delivery.AccountConfig) { c.SenderDomains = []string{"example.com", "a@example.com"} }, []string{"sender_domains[1]"}},
		{"from", func(c *delivery.AccountConfig) { c.DefaultFrom = "shop" }, []string{"default_from"}},
		{"from of another domain", func(c *delivery.AccountConfig) {
			c.DefaultFrom, c.SenderDomains = "shop@example.net", []string{"example.com"}
		}, []string{"default_from"}},
		{"unknown", func(c *delivery.AccountConfig) { c.RewriteFrom = "sometimes" }, []string{"rewrite_from"}},
		{"nobody instead", func(c *delivery.AccountConfig) { c.RewriteFrom = "always" }, []string{"rewrite_from"}},
		{"nothing listed", func(c *delivery.AccountConfig) { c.RewriteFrom, c.DefaultFrom = "unlisted", "a@example.com" }, []string{"rewrite_from"}},
	} {
		c := delivery.DefaultAccountConfig()
		tt.change(&c)
		var got []string
		c.Validate(func(key, problem string) {
			got = append(got, key)
			if problem == "" {
				t.Errorf("%s: %s is reported without a word", tt.name, key)
			}
		})
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: keys (-want +got):\n%s", tt.name, diff)
		}
	}
}

// picky is an API that refuses a whole request for one bad address: it names the
// address, or does not.
type picky struct {
	mu       sync.Mutex // guards the fields below
	bad      []string
	names    bool
	took     time.Duration
	requests [][]string
	sent     map[string]int
}

func (p *picky) provider() fake {
	p.sent = make(map[string]int)
	return fake{"first", func(ctx context.Context, m *translate.Message) providers.Outcome {
		elapse(context.WithoutCancel(ctx), p.took)
		p.mu.Lock()
		defer p.mu.Unlock()
		recipients := m.Envelope.Recipients
		p.requests = append(p.requests, recipients)
		at := slices.IndexFunc(recipients, func(r string) bool { return slices.Contains(p.bad, r) })
		if at < 0 {
			for _, recipient := range recipients {
				p.sent[recipient]++
			}
			return providers.Fail(recipients, providers.Accepted, nil)
		}
		refusal := &providers.Error{Category: providers.InvalidRecipient, Message: "bad address"}
		return providers.RefuseSome(recipients, refusal, func(recipient string) *providers.Error {
			if p.names && recipient == recipients[at] {
				return refusal
			}
			return nil
		})
	}}
}

// One bad address does not keep the mail from the others, and nobody gets it twice.
func TestDeliverLeavesOutTheBadAddress(t *testing.T) {
	for _, tt := range []struct {
		n        int
		bad      []int
		names    bool
		requests int // at most
	}{
		{2, []int{0}, true, 2},
		{2, []int{0}, false, 3},
		{50, []int{49}, true, 2},
		{50, []int{0, 25, 49}, true, 4},
		{50, []int{7}, false, 13},
		{50, []int{0, 1, 48, 49}, false, 30},
		{3, []int{0, 1, 2}, true, 3},
		{3, []int{0, 1, 2}, false, 5},
	} {
		t.Run(fmt.Sprintf("%d of %d, named %v", len(tt.bad), tt.n, tt.names), func(t *testing.T) {
			api := &picky{names: tt.names}
			m := mail(t)
			m.Envelope.Recipients = nil
			for i := range tt.n {
				m.Envelope.Recipients = append(m.Envelope.Recipients, fmt.Sprintf("r%d@example.com", i))
			}
			for _, i := range tt.bad {
				api.bad = append(api.bad, m.Envelope.Recipients[i])
			}
			p, j := newPipeline(nil, api.provider())
			outcome := p.Deliver(t.Context(), m)
			closePipeline(t, p)
			for i, result := range outcome {
				bad := slices.Contains(tt.bad, i)
				switch {
				case bad && (result.State != providers.Refused || result.Err.Category != providers.InvalidRecipient):
					t.Errorf("%s is %v (%v), want refused as invalid", result.Recipient, result.State, result.Err)
				case !bad && (result.State != providers.Accepted || api.sent[result.Recipient] != 1):
					t.Errorf("%s is %v and was sent to %d times, want accepted, once", result.Recipient, result.State, api.sent[result.Recipient])
				}
			}
			if len(api.requests) > tt.requests {
				t.Errorf("it took %d requests, want %d at most", len(api.requests), tt.requests)
			}
			if got := len(j.last(t).Attempts); got != len(api.requests) {
				t.Errorf("%d attempts are on record, want %d", got, len(api.requests))
			}
		})
	}
}

// Halving stays inside the budget: what was sent counts, and nothing is sent
// after the reply.
func TestDeliverHalvesInsideTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &picky{bad: []string{"r7@example.com"}, took: 20 * time.Second}
		m := mail(t)
		m.Envelope.Recipients = nil
		for i := range 8 {
			m.Envelope.Recipients = append(m.Envelope.Recipients, fmt.Sprintf("r%d@example.com", i))
		}
		p, _ := newPipeline(nil, api.provider())
		start := time.Now()
		outcome := p.Deliver(t.Context(), m) // 0 to 7 at 0 s, 0 to 3 at 20 s, 4 to 7 at 40 s
		if got := time.Since(start); got != budget {
			t.Errorf("Deliver took %v, want %v", got, budget)
		}
		for i, want := range []providers.State{
			providers.Accepted, providers.Accepted, providers.Accepted, providers.Accepted,
			providers.Ambiguous, providers.Ambiguous, providers.Ambiguous, providers.Ambiguous,
		} {
			if outcome[i].State != want {
				t.Errorf("%s is %v, want %v", outcome[i].Recipient, outcome[i].State, want)
			}
		}
		closePipeline(t, p)
		if len(api.requests) != 3 {
			t.Errorf("%d requests were made, want 3: none after the reply", len(api.requests))
		}
	})
}

package smtpd_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"smtpbridge/providers"
	"smtpbridge/smtpd"
	"smtpbridge/translate"
)

// replies is the table of the contract.
var replies = map[providers.Category]string{
	providers.Authentication:     "554 5.7.0",
	providers.RateLimit:          "451 4.4.5",
	providers.QuotaExceeded:      "452 4.3.1",
	providers.InvalidRecipient:   "550 5.1.1",
	providers.ContentRejected:    "554 5.7.1",
	providers.NetworkError:       "451 4.4.1",
	providers.ServiceUnavailable: "451 4.3.0",
	providers.ConfigurationError: "554 5.3.5",
	providers.Unknown:            "451 4.0.0",
	providers.NoProvider:         "451 4.3.2",
	providers.LocalFailure:       "451 4.3.0",
	providers.NotFaithful:        "554 5.6.3",
	providers.Malformed:          "554 5.6.0",
	providers.TooLarge:           "552 5.3.4",
	providers.NoSender:           "554 5.3.5",
	providers.NonASCII:           "553 5.6.7",
	providers.TooManyRecipients:  "452 4.5.3",
	providers.Suppressed:         "550 5.7.1",
	providers.Guarded:            "550 5.7.1",
	providers.RelayDenied:        "554 5.7.1",
	providers.AuthRequired:       "530 5.7.0",
	providers.AuthFailed:         "535 5.7.8",
	providers.Busy:               "421 4.3.2",
}

// Every category has the reply of the contract, after the data, at RCPT and over
// LMTP; where it is to be temporary, 451 with its own enhanced code.
func TestReplyToCategory(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) {
		cfg.Listeners = append(cfg.Listeners, smtpd.Listener{Address: "127.0.0.1:0", Protocol: "lmtp"})
	})
	if len(replies) != len(providers.Categories()) {
		t.Errorf("%d replies for %d categories", len(replies), len(providers.Categories()))
	}
	for _, category := range providers.Categories() {
		t.Run(string(category), func(t *testing.T) {
			s.expectRefusal(t, providers.Error{Category: category, Message: "their words"}, replies[category])
			want := replies[category]
			if category.Permanent() {
				want = "451 4" + strings.TrimPrefix(want[len("550 "):], "5")
			}
			s.expectRefusal(t, providers.Error{Category: category, Message: "their words", Temporary: true}, want)
		})
	}
}

// expectRefusal wants that code and enhanced code wherever a refusal is told,
// and the class of the code in the log.
func (s *server) expectRefusal(t *testing.T, refusal providers.Error, want string) {
	t.Helper()
	class := map[byte]string{'4': "transient", '5': "permanent"}[want[0]]
	expect := func(c *client, prefix string) {
		t.Helper()
		words := fmt.Sprintf("%s %s%s: their words id=", want, prefix, refusal.Category)
		got, err := c.reply()
		id, found := strings.CutPrefix(got, words)
		if err != nil || !found || len(id) != 26 {
			t.Errorf("got %q and %v, want %s and 26 more", got, err, words)
		}
		line := fmt.Sprintf("*message_id=%s *class=%s*", id, class)
		if logs := s.logs.String(); !matches(line, logs[strings.LastIndex(logs, "message_id="):]) {
			t.Errorf("the log does not end with %s:\n%s", line, logs)
		}
	}
	s.outcome = func(_ context.Context, m *translate.Message) providers.Outcome {
		return providers.Fail(m.Envelope.Recipients, providers.Refused, &refusal)
	}
	c := s.dial(t, 0).greet().begin()
	c.send(text + ".\r\n")
	expect(c, "")

	lmtp := s.dial(t, 1)
	lmtp.talk("S: 220 *\nC: LHLO a\nS: 250-*")
	lmtp.begin().send(text + ".\r\n")
	expect(lmtp, "<to@example.com> ")

	s.recipient = func(string) *providers.Error { return &refusal }
	defer func() { s.recipient = nil }()
	c.talk("C: MAIL FROM:<a@example.com>\nS: 250 *\nC: RCPT TO:<b@example.com>")
	expect(c, "")
}

// One reply stands for all recipients, whatever became of each.
func TestReplyToOutcome(t *testing.T) {
	taken := func(provider string) providers.Result {
		return providers.Result{State: providers.Accepted, Provider: provider}
	}
	refused := func(category providers.Category) providers.Result {
		return providers.Result{State: providers.Refused, Err: &providers.Error{Category: category, Message: "no"}}
	}
	temporary := func(category providers.Category) providers.Result {
		result := refused(category)
		result.Err.Temporary = true
		return result
	}
	for _, tt := range []struct {
		name    string
		outcome providers.Outcome
		want    string
	}{
		// One that was taken is a success.
		{"taken", providers.Outcome{taken("a")}, "250 2.0.0 provider=a id=*"},
		{"taken by several", providers.Outcome{taken("a"), taken("b"), taken("a")}, "250 2.0.0 provider=a,b id=*"},
		{"dropped", providers.Outcome{taken("")}, "250 2.0.0 provider=none id=*"},
		{"taken in part", providers.Outcome{refused(providers.NetworkError), taken("a")}, "250 2.0.0 provider=a id=*"},

		// None taken: the first transient one, else the first.
		{"transient first", providers.Outcome{refused(providers.RateLimit), refused(providers.NetworkError)}, "451 4.4.5 rate_limit: no id=*"},
		{"transient later", providers.Outcome{refused(providers.InvalidRecipient), refused(providers.NetworkError)}, "451 4.4.1 network_error: no id=*"},
		{"all permanent", providers.Outcome{refused(providers.InvalidRecipient), refused(providers.ContentRejected)}, "550 5.1.1 invalid_recipient: no id=*"},
		{"all permanent, the other way round", providers.Outcome{refused(providers.ContentRejected), refused(providers.InvalidRecipient)}, "554 5.7.1 content_rejected: no id=*"},
		{"transient between permanent ones", providers.Outcome{refused(providers.InvalidRecipient), refused(providers.QuotaExceeded), refused(providers.ContentRejected)}, "452 4.3.1 quota_exceeded: no id=*"},
		{"temporary later", providers.Outcome{refused(providers.InvalidRecipient), temporary(providers.ContentRejected)}, "451 4.7.1 content_rejected: no id=*"},
		{"temporary before transient", providers.Outcome{temporary(providers.ContentRejected), refused(providers.NetworkError)}, "451 4.7.1 content_rejected: no id=*"},

		// Nobody knows: never a success.
		{"ambiguous", providers.Outcome{{State: providers.Ambiguous, Err: &providers.Error{Category: providers.ServiceUnavailable}}}, "451 4.3.0 service_unavailable: no reason given id=*"},
		{"ambiguous without a word", providers.Outcome{{}}, "451 4.0.0 unknown: no reason given id=*"},
		{"ambiguous without a word after a refusal", providers.Outcome{refused(providers.InvalidRecipient), {}}, "451 4.0.0 unknown: no reason given id=*"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &delivery{outcome: func(context.Context, *translate.Message) providers.Outcome { return tt.outcome }}
			s := build(t, d, nil)
			s.run()
			c := s.dial(t, 0).greet().begin()
			c.send(text + ".\r\n")
			c.expect(tt.want)
		})
	}
}

// Of every category that is permanent and named in temporary_categories the
// reply is 451 with its own enhanced code, whoever refuses: the server, the
// pipeline at RCPT, or a provider.
func TestTemporaryCategories(t *testing.T) {
	d := &delivery{
		recipient: func(address string) *providers.Error {
			if address == "suppressed@example.com" {
				return &providers.Error{Category: providers.Suppressed, Message: "complained"}
			}
			return nil
		},
		outcome: func(_ context.Context, m *translate.Message) providers.Outcome {
			return providers.Fail(m.Envelope.Recipients, providers.Refused, &providers.Error{Category: providers.ContentRejected, Message: "spam"})
		},
	}
	s := build(t, d, func(cfg *smtpd.Config) {
		withTLS(t, cfg)
		withUser(cfg)
		cfg.MaxMessageSize = 1000
		cfg.AllowNetworks = []string{"10.0.0.0/8"}
		cfg.Listeners[0].ProxyProtocol = true
		own := cfg.Listeners[0]
		own.TLS, own.Auth = "starttls", "optional"
		cfg.Listeners = append(cfg.Listeners, own)
		for _, category := range providers.Categories() {
			cfg.TemporaryCategories = append(cfg.TemporaryCategories, string(category))
		}
	})
	s.SetPause(noPause)
	s.run()
	dial := func(listener int, from string) *client {
		c := s.dial(t, listener)
		c.send("PROXY TCP4 " + from + " 10.0.0.1 4711 25\r\n")
		return c.greet()
	}
	inside := dial(0, "10.1.2.3")
	inside.talk(`
		C: MAIL FROM:<a@example.com> SIZE=1001
		S: 451 4.3.4 too_large: * id=*
		C: MAIL FROM:<a@example.com>
		S: 250 *
		C: RCPT TO:<suppressed@example.com>
		S: 451 4.7.1 suppressed: complained id=*
		C: RSET
		S: 250 *
	`)
	for mail, want := range map[string]string{
		strings.Repeat("0123456789\r\n", 100):           "451 4.3.4 too_large: * id=*",
		"X-Bridge-Send-At: whenever\r\n\r\ntext\r\n":    "451 4.6.0 malformed: * id=*",
		"From: a@example.com\r\n\r\nwhatever it is\r\n": "451 4.7.1 content_rejected: spam id=*",
	} {
		inside.begin().send(mail + ".\r\n")
		inside.expect(want)
	}
	dial(0, "203.0.113.9").talk("C: MAIL FROM:<a@example.com>\nS: 451 4.7.1 relay_denied: * id=*")
	outside := dial(1, "203.0.113.9")
	outside.talk("C: MAIL FROM:<a@example.com>\nS: 451 4.7.0 auth_required: * id=*\nC: STARTTLS\nS: 220 *")
	outside.startTLS(s.tlsConfig())
	outside.talk("C: EHLO a\nS: 250-*\nC: AUTH PLAIN AGFsaWNlAHdyb25n\nS: 451 4.7.8 auth_failed: *")
}

// Whatever a provider says, the reply is one line of at most 512 octets that
// ends with the id.
func TestReplyLine(t *testing.T) {
	for _, tt := range []struct{ name, words, want string }{
		{"line breaks", "no\r\n250 yes\nand\tso\x00on", "554 5.7.1 content_rejected: no  250 yes and so on id=*"},
		{"not UTF-8", "caf\xe9", "554 5.7.1 content_rejected: caf? id=*"},
		{"long", strings.Repeat("x", 600), "554 5.7.1 content_rejected: xxx*xxx id=*"},
		{"long and not ASCII", strings.Repeat("é", 600), "554 5.7.1 content_rejected: ééé*ééé id=*"},
		{"long and not ASCII, shifted", "x" + strings.Repeat("é", 600), "554 5.7.1 content_rejected: xéé*ééé id=*"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &delivery{outcome: func(_ context.Context, m *translate.Message) providers.Outcome {
				return providers.Fail(m.Envelope.Recipients, providers.Refused,
					&providers.Error{Category: providers.ContentRejected, Message: tt.words})
			}}
			s := build(t, d, func(cfg *smtpd.Config) {
				cfg.Listeners = append(cfg.Listeners, smtpd.Listener{Address: "127.0.0.1:0", Protocol: "lmtp"})
			})
			s.run()
			c := s.dial(t, 0).greet().begin()
			c.send(text + ".\r\n")
			checkLine(t, c.expect(tt.want), strings.HasPrefix(tt.name, "long"))

			c = s.dial(t, 1)
			c.talk("S: 220 *\nC: LHLO a\nS: 250-*")
			c.begin().send(text + ".\r\n")
			checkLine(t, c.expect(strings.Replace(tt.want, "content", "<to@example.com> content", 1)), strings.HasPrefix(tt.name, "long"))
		})
	}
}

func checkLine(t *testing.T, line string, long bool) {
	t.Helper()
	if octets := len(line + "\r\n"); octets > 512 || long && octets < 511 {
		t.Errorf("%d octets, want at most 512 and no waste: %q", octets, line)
	}
	if !utf8.ValidString(line) || !regexp.MustCompile(` id=[0-9A-Z]{26}$`).MatchString(line) {
		t.Errorf("not whole: %q", line)
	}
}

// Over LMTP each RCPT has a reply of its own, repeated ones too, in order.
func TestLMTP(t *testing.T) {
	d := &delivery{outcome: func(_ context.Context, m *translate.Message) providers.Outcome {
		outcome := take(m.Envelope.Recipients)
		outcome[1] = providers.Result{State: providers.Refused, Err: &providers.Error{Category: providers.InvalidRecipient, Message: "no such user"}}
		return outcome
	}}
	for _, tt := range []struct {
		name string
		send func(*client)
	}{
		{"DATA", func(c *client) { c.talk("C: DATA\nS: 354 *\nC: Subject: a\nC: .") }},
		{"BDAT", func(c *client) { c.send("BDAT 12 LAST\r\nSubject: a\r\n") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := build(t, d, func(cfg *smtpd.Config) { cfg.Listeners[0].Protocol = "lmtp"; cfg.MaxMessageSize = 1000 })
			s.run()
			c := s.dial(t, 0)
			c.talk(`
				S: 220 localhost LMTP*
				C: EHLO client.example
				S: 500 *
				C: LHLO client.example
				S: 250-*
				C: MAIL FROM:<from@example.com>
				S: 250 *
				C: RCPT TO:<A@example.com>
				S: 250 *
				C: RCPT TO:<b@example.com>
				S: 250 *
				C: RCPT TO:<a@EXAMPLE.com>
				S: 250 *
			`)
			tt.send(c)
			c.talk(`
				S: 250 2.0.0 <A@example.com> provider=esp id=*
				S: 550 5.1.1 <b@example.com> invalid_recipient: no such user id=*
				S: 250 2.0.0 <a@EXAMPLE.com> provider=esp id=*
				C: MAIL FROM:<from@example.com>
				S: 250 *
				C: RCPT TO:<a@example.com>
				S: 250 *
				C: RCPT TO:<b@example.com>
				S: 250 *
				C: DATA
				S: 354 *
			`)
			c.send(strings.Repeat("x", 1001) + "\r\n.\r\n")
			c.talk(`
				S: 552 5.3.4 <a@example.com> too_large: * id=*
				S: 552 5.3.4 <b@example.com> too_large: * id=*
				C: QUIT
				S: 221 *
			`)
		})
	}
}

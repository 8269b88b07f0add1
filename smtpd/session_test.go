package smtpd_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/smtpd"
	"smtpbridge/translate"
)

// Addresses reach the envelope once each, in one form, and local parts as
// they came.
func TestAddresses(t *testing.T) {
	s := start(t, nil)
	c := s.dial(t, 0).greet()
	c.talk(`
		C: MAIL FROM:<Bounce+1@Sender.EXAMPLE.> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=abc
		S: 250 *
		C: RCPT TO:<John.Doe@Example.COM> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;john@example.com
		S: 250 *
		C: RCPT TO:<john.doe@example.com>
		S: 250 *
		C: RCPT TO:<info@bücher.example>
		S: 250 *
		C: RCPT TO:<info@xn--bcher-kva.example>
		S: 250 *
		C: RCPT TO:<"John Doe"@example.com>
		S: 250 *
		C: RCPT TO:<"in@quotes"@example.com> ORCPT=rfc822;a@b
		S: 250 *
		C: RCPT TO: "\">@"@example.com
		S: 250 *
		C: RCPT TO:<odd..dots.@docomo.example>
		S: 250 *
		C: RCPT TO:<under@a_b.example>
		S: 250 *
		C: RCPT TO:<literal@[192.0.2.1]>
		S: 250 *
		C: RCPT TO:naked@example.com
		S: 250 *
		C: RCPT TO:<@relay.example:routed@example.com>
		S: 250 *
	`)
	for _, tt := range []struct{ to, want string }{
		{"<a@ex\u200dample.com\xff>", "553 5.1.3 the domain is no domain name id=*"},
		{"<a@b\xfccher.example>", "553 5.1.3 the domain is no domain name id=*"},
		{"<a@.>", "553 5.1.3 the domain is no domain name id=*"},
		{"<a@b,c>", "553 5.1.3 the domain is no domain name id=*"},
		{"<a@(x)>", "553 5.1.3 the domain is no domain name id=*"},
		{"<a@[b,c]>", "553 5.1.3 the domain is no domain name id=*"},
		{"<a@[b>", "553 5.1.3 the domain is no domain name id=*"},
		{"<a@b@c.example>", "553 5.1.3 *second @* id=*"},
		{`<"a"@b@c.example>`, "553 5.1.3 *second @* id=*"},
		{"<@relay.example:a@b@c.example>", "553 5.1.3 *second @* id=*"},
		{"a@b@c.example NOTIFY=NEVER", "553 5.1.3 *second @* id=*"},
		{"<a\x01b@example.com>", "553 5.1.3 *control characters id=*"},
		{"<a\u0085b@example.com>", "553 5.1.3 *control characters id=*"},
		{"<" + strings.Repeat("a", 245) + "@example.com>", "553 5.1.3 *longer than 254 octets id=*"},
		{"<a@" + strings.Repeat("ü.", 80) + "example>", "553 5.1.3 *longer than 254 octets id=*"},
		{"<a@exa" + strings.Repeat("\u00ad", 1000) + "mple.com>", "553 5.1.3 *longer than 254 octets id=*"},
		{"<a@" + strings.Repeat("漢", 1200) + ">", "553 5.1.3 *longer than 254 octets id=*"},
		{"<postmaster>", "501 *"},
	} {
		c.send("RCPT TO:" + tt.to + "\r\n")
		c.expect(tt.want)
	}
	c.talk("C: DATA\nS: 354 *\nC: .\nS: 250 *")
	c.send("MAIL FROM:<a@exa\x02mple.com>\r\n")
	c.expect("553 5.1.7 * id=*")
	c.send("MAIL FROM:<a@" + strings.Repeat("漢", 1200) + ">\r\n")
	c.expect("553 5.1.7 *longer than 254 octets id=*")
	want := translate.Envelope{
		MailFrom: "Bounce+1@sender.example",
		Recipients: []string{
			"John.Doe@example.com", "info@xn--bcher-kva.example", `"John Doe"@example.com`, `"in@quotes"@example.com`, `"\">@"@example.com`, "odd..dots.@docomo.example",
			"under@a_b.example", "literal@[192.0.2.1]", "naked@example.com", "routed@example.com",
		},
		Client: "127.0.0.1",
	}
	got := s.got()[0].Envelope
	got.BridgeID = ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Delivery is asked for each address once, and has the last word.
func TestRecipientRefused(t *testing.T) {
	var asked []string
	d := &delivery{recipient: func(address string) *providers.Error {
		asked = append(asked, address)
		switch {
		case strings.HasPrefix(address, "blocked"):
			return &providers.Error{Category: providers.Suppressed, Message: "on the suppression list"}
		case strings.HasPrefix(address, "gr\u00fc\u00dfe"):
			return &providers.Error{Category: providers.NonASCII, Message: "the local part is not ASCII"}
		}
		return nil
	}}
	s := build(t, d, nil)
	s.run()
	s.dial(t, 0).greet().talk(`
		C: MAIL FROM:<a@example.com>
		S: 250 *
		C: RCPT TO:<blocked@example.com>
		S: 550 5.7.1 suppressed: on the suppression list id=*
		C: RCPT TO:<grüße@example.com>
		S: 553 5.6.7 non_ascii: the local part is not ASCII id=*
		C: DATA
		S: 502 *
		C: RCPT TO:<b@example.com>
		S: 250 *
		C: RCPT TO:<B@example.com>
		S: 250 *
		C: DATA
		S: 354 *
		C: .
		S: 250 *
		C: QUIT
		S: 221 *
	`)
	if got := fmt.Sprint(asked); got != "[blocked@example.com grüße@example.com b@example.com]" {
		t.Errorf("asked for %s", got)
	}
	if got := fmt.Sprint(s.got()[0].Envelope.Recipients); got != "[b@example.com]" {
		t.Errorf("recipients %s, want b alone", got)
	}
}

// Nothing of one mail is there for the next on the same connection.
func TestNothingLeaks(t *testing.T) {
	for _, tt := range []struct{ name, between string }{
		{"RSET", "C: RSET\nS: 250 *"},
		{"EHLO", "C: EHLO client.example\nS: 250-*"},
		{"a mail", "C: DATA\nS: 354 *\nC: Subject: first\nC: .\nS: 250 *"},
		{"chunks", "C: BDAT 4\nC: Su\nS: 250 *\nC: RSET\nS: 250 *"},
		{"a chunk of nothing", "C: BDAT 0\nS: 250 *\nC: RSET\nS: 250 *"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, nil)
			c := s.dial(t, 0).greet()
			c.talk("C: MAIL FROM:<first@example.com>\nS: 250 *\nC: RCPT TO:<one@example.com>\nS: 250 *\nC: RCPT TO:<two@example.com>\nS: 250 *")
			c.talk(tt.between)
			c.talk(`
				C: RCPT TO:<b@example.com>
				S: 502 *
				C: DATA
				S: 502 *
				C: MAIL FROM:<second@example.com>
				S: 250 *
				C: DATA
				S: 502 *
				C: RCPT TO:<three@example.com>
				S: 250 *
				C: DATA
				S: 354 *
				C: Subject: second
				C: .
				S: 250 *
			`)
			mails := s.got()
			last := mails[len(mails)-1]
			want := mail{translate.Envelope{
				BridgeID: last.Envelope.BridgeID, MailFrom: "second@example.com", Recipients: []string{"three@example.com"}, Client: "127.0.0.1",
			}, "Subject: second\r\n"}
			if diff := cmp.Diff(want, last); diff != "" {
				t.Error(diff)
			}
			if len(mails) == 2 && mails[0].Envelope.BridgeID == last.Envelope.BridgeID {
				t.Error("two mails have one id")
			}
		})
	}
}

// A second MAIL does not replace the first (RFC 5321, 4.1.4).
func TestNestedMail(t *testing.T) {
	s := start(t, nil)
	s.dial(t, 0).greet().talk(`
		C: MAIL FROM:<first@example.com>
		S: 250 *
		C: MAIL FROM:<second@example.com>
		S: 503 5.5.1 * id=*
		C: RCPT TO:<b@example.com>
		S: 250 *
		C: DATA
		S: 354 *
		C: .
		S: 250 *
	`)
	if got := s.got()[0].Envelope.MailFrom; got != "first@example.com" {
		t.Errorf("sender %q, want the first", got)
	}
}

// Those over max_recipients are for the next transaction; the others get the mail.
func TestTooManyRecipients(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) { cfg.MaxRecipients = 2 })
	s.dial(t, 0).greet().talk(`
		C: MAIL FROM:<a@example.com>
		S: 250 *
		C: RCPT TO:<one@example.com>
		S: 250 *
		C: RCPT TO:<two@example.com>
		S: 250 *
		C: RCPT TO:<three@example.com>
		S: 452 4.5.3 too_many_recipients: * id=*
		C: DATA
		S: 354 *
		C: .
		S: 250 *
		C: MAIL FROM:<a@example.com>
		S: 250 *
		C: RCPT TO:<three@example.com>
		S: 250 *
	`)
	if got := fmt.Sprint(s.got()[0].Envelope.Recipients); got != "[one@example.com two@example.com]" {
		t.Errorf("recipients %s", got)
	}
}

// A command line has an end, the first one, a later one, and one in an AUTH
// dialogue, which is longer than any other.
func TestEndlessCommand(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) {
		withUser(cfg)
		cfg.Listeners[0].Auth = "optional"
	})
	const command, auth = 4 << 10, 64 << 10
	for _, tt := range []struct {
		begin, want, line string
		limit             int
	}{
		{"", "", "", command},
		{"NOOP\r\n", "250 *", "EHLO ", command},
		{"NOOP\r\n", "250 *", "AUTH PLAIN ", auth},
		{"AUTH LOGIN\r\n", "334 *", "", auth},
	} {
		c := s.dial(t, 0).greet()
		c.send(tt.begin)
		if tt.want != "" {
			c.expect(tt.want)
		}
		// Not an octet more, so that nothing is left unread when the connection ends.
		c.send(tt.line + strings.Repeat("x", tt.limit-len(tt.line)))
		c.expect("500 5.5.2 *")
		c.expectEnd()
	}
	c := s.dial(t, 0).greet()
	c.send("NOOP " + strings.Repeat("x", command-len("NOOP \r\n")) + "\r\n")
	c.expect("250 *")
	c.send("AUTH PLAIN !" + strings.Repeat("x", auth-len("AUTH PLAIN !\r\n")) + "\r\n")
	c.expect("454 *")
	// A whole line that was read with the mail before it.
	c.begin().send(".\r\nNOOP " + strings.Repeat("x", command) + "\r\n")
	c.talk("S: 250 *\nS: 500 5.5.2 *")
	c.expectEnd()
}

// What go-smtp says by itself is one line of at most 512 octets without control
// characters, whatever it quotes.
func TestQuotedCommands(t *testing.T) {
	s := start(t, nil)
	c := s.dial(t, 0)
	c.expect("220 *")
	for _, tt := range []struct{ command, want string }{
		{"HELO " + strings.Repeat("x", 255), "250 2.0.0 Hello xxx*"},
		{"EHLO " + strings.Repeat("x", 256), "501 *"},
		{"helo " + strings.Repeat("x", 4000), "501 *"},
		{"HELO \x00", "250 2.0.0 Hello  "},
		{"EHLO a\x1b[2J\rb", "250-Hello a ?2J b*SIZE 26214400*"},
		{"HELO caf\xe9", "250 2.0.0 Hello caf?"},
		{"\x1b[2J", "500 5.5.2 Syntax errors,  ?2J command unrecognized"},
		{"MAIL FROM:<\xe9@example.com>", "250 *<?@example.com>"},
		{"RCPT TO:<" + strings.Repeat("x", 242) + "@example.com>", "250 *"},
	} {
		c.send(tt.command + "\r\n")
		got := c.expect(tt.want)
		for line := range strings.SplitSeq(got, "\n") {
			if len(line) > 510 || strings.ContainsFunc(line, unicode.IsControl) || !utf8.ValidString(line) {
				t.Errorf("%.40q: %q", tt.command, line)
			}
		}
	}
}

// Commands may come in one packet, and so do their replies.
func TestPipelining(t *testing.T) {
	s := start(t, nil)
	c := s.dial(t, 0).greet()
	for range 3 {
		c.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n")
		c.talk("S: 250 *\nS: 250 *\nS: 501 *\nS: 250 *\nS: 354 *")
		c.send("Subject: a\r\n\r\n.\r\nNOOP\r\nQUI")
		c.talk("S: 250 *\nS: 250 *")
		c.send("T\r\nNOOP\r\n"[3:])
		c.expect("5*")
	}
	if got := len(s.got()); got != 3 {
		t.Errorf("%d mails, want 3", got)
	}
}

// No reply to a mail waits for what the client sent behind it, and no reply at
// all for a delivery (RFC 2920, 3.2).
func TestRepliesDoNotWait(t *testing.T) {
	const one = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n"
	for _, tt := range []struct {
		name, sent    string
		before, after []string
	}{
		{"a delivery", one + "BDAT 2 LAST\r\n\r\n", []string{"250 *", "250 *"}, []string{"250 2.0.0 provider=*"}},
		{
			"the next recipient", one + "BDAT 2 LAST\r\n\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<slow@example.com>\r\n",
			[]string{"250 *", "250 *", "250 2.0.0 provider=*"},
			[]string{"250 *", "250 *"},
		},
		{
			"the next recipient after DATA", one + "DATA\r\n\r\n.\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<slow@example.com>\r\n",
			[]string{"250 *", "250 *", "354 *", "250 2.0.0 provider=*"},
			[]string{"250 *", "250 *"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			heard := make(chan struct{})
			release := sync.OnceFunc(func() { close(heard) })
			d := &delivery{}
			if tt.name == "a delivery" {
				d.outcome = func(_ context.Context, m *translate.Message) providers.Outcome {
					<-heard
					return take(m.Envelope.Recipients)
				}
			}
			d.recipient = func(address string) *providers.Error {
				if strings.HasPrefix(address, "slow") {
					<-heard
				}
				return nil
			}
			s := build(t, d, nil)
			s.run()
			c := s.dial(t, 0).greet()
			t.Cleanup(release) // where the test fails: the server must end
			c.send(tt.sent)
			for _, want := range tt.before {
				c.expect(want)
			}
			release()
			for _, want := range tt.after {
				c.expect(want)
			}
		})
	}
}

// Nothing that follows QUIT in the same packet is done.
func TestQuit(t *testing.T) {
	s := start(t, nil)
	c := s.dial(t, 0).greet()
	c.send("QUIT\r\nEHLO a\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n\r\n.\r\n")
	c.expect("221 *")
	c.expectEnd()
	s.stop()
	if err := s.wait(); err != nil || len(s.got()) > 0 || strings.Contains(s.logs.String(), "panic") {
		t.Errorf("got %v, %d mails and %s", err, len(s.got()), s.logs)
	}
}

// A reload counts from the next transaction on, and a bad one changes nothing.
func TestReload(t *testing.T) {
	cfg := smtpd.DefaultConfig()
	s := start(t, nil)
	c := s.dial(t, 0).greet()
	c.talk("C: MAIL FROM:<a@example.com>\nS: 250 *\nC: RCPT TO:<b@example.com>\nS: 250 *")

	cfg.MaxMessageSize = 1000
	s.Reload(cfg)
	c.talk("C: DATA\nS: 354 *")
	c.send(strings.Repeat("x", 2000) + "\r\n.\r\n")
	c.expect("250 *")
	c.begin().send(strings.Repeat("x", 2000) + "\r\n.\r\n")
	c.expect("552 5.3.4 *")

	cfg.AllowNetworks = []string{"10.0.0.0/8"}
	s.Reload(cfg)
	c.talk("C: MAIL FROM:<a@example.com>\nS: 554 5.7.1 relay_denied: *")

	cfg.AllowNetworks = []string{"127.0.0.1"}
	cfg.TLS = smtpd.TLS{CertFile: "/nowhere", KeyFile: "/nowhere"}
	s.Reload(cfg)
	cfg.AllowNetworks, cfg.TLS = []string{"no network"}, smtpd.TLS{}
	s.Reload(cfg)
	c.talk("C: MAIL FROM:<a@example.com>\nS: 554 5.7.1 relay_denied: *")
	if n := strings.Count(s.logs.String(), "the old one stays"); n != 2 {
		t.Errorf("%d complaints, want 2", n)
	}
}

// Each mail that came whole is counted and has one line, with no address in it.
func TestMetricsAndLog(t *testing.T) {
	category := providers.Category("")
	d := &delivery{outcome: func(_ context.Context, m *translate.Message) providers.Outcome {
		if category == "" {
			return take(m.Envelope.Recipients)
		}
		return providers.Fail(m.Envelope.Recipients, providers.Refused, &providers.Error{Category: category, Message: "to@example.com is unknown"})
	}}
	s := build(t, d, nil)
	s.run()
	for _, label := range []string{"250", "4xx", "5xx"} {
		if got := s.metric("bridge_smtp_messages_total", label); got != 0 {
			t.Errorf("%s: %v before the first mail", label, got)
		}
	}
	c := s.dial(t, 0).greet()
	ids := make(map[providers.Category]string)
	for _, category = range []providers.Category{"", providers.NetworkError, providers.InvalidRecipient, providers.InvalidRecipient} {
		c.begin().send(text + ".\r\n")
		_, ids[category], _ = strings.Cut(c.expect("* id=*"), " id=")
	}
	for label, want := range map[string]float64{"250": 1, "4xx": 1, "5xx": 2} {
		if got := s.metric("bridge_smtp_messages_total", label); got != want {
			t.Errorf("%s: %v, want %v", label, got, want)
		}
	}
	if got := s.metric("bridge_smtp_message_bytes", ""); got != 4 {
		t.Errorf("%v sizes, want 4", got)
	}
	if got := s.metric("bridge_smtp_connections", ""); got != 1 {
		t.Errorf("%v connections, want 1", got)
	}
	logs := s.logs.String()
	for _, want := range []struct {
		category      providers.Category
		level, result string
	}{
		{"", "INFO", "status=250"},
		{providers.NetworkError, "WARN", "category=network_error class=transient status=451"},
		{providers.InvalidRecipient, "INFO", "category=invalid_recipient class=permanent status=550"},
	} {
		pattern := fmt.Sprintf(`*level=%s msg="message answered" message_id=%s recipients=1 bytes=%d dur=* %s*`,
			want.level, ids[want.category], len(text), want.result)
		if !matches(pattern, logs) {
			t.Errorf("no line %s in\n%s", pattern, logs)
		}
	}
	if strings.Contains(logs, "@") {
		t.Errorf("an address in\n%s", logs)
	}
}

// What is refused before there is a mail, and a mail that broke off, has one
// line with the id of its reply, and no mail address in it.
func TestRefusedLog(t *testing.T) {
	const from, to = "MAIL FROM:<a@example.com>\r\n", "RCPT TO:<b@example.com>\r\n"
	suppressed := &providers.Error{Category: providers.Suppressed, Message: "b@example.com is on the suppression list"}
	for _, tt := range []struct {
		name, sent  string
		change      func(*smtpd.Config)
		before      int // replies
		reply, line string
	}{
		{
			"may not send", from, func(cfg *smtpd.Config) { cfg.AllowNetworks = []string{} }, 0,
			"554 5.7.1 relay_denied: *", "level=WARN * status=554 client=127.0.0.1 category=relay_denied class=permanent",
		},
		{
			"announced too large", "MAIL FROM:<a@example.com> SIZE=5000000000\r\n", nil, 0,
			"552 5.3.4 *", "level=ERROR * status=552 client=127.0.0.1 category=too_large class=permanent",
		},
		{
			"no sender address", "MAIL FROM:<a@b,c>\r\n", nil, 0,
			"553 5.1.7 *", `level=INFO * status=553 client=127.0.0.1 err="the domain is no domain name"`,
		},
		{
			"no address", from + "RCPT TO:<a@b,c>\r\n", nil, 1,
			"553 5.1.3 *", `level=INFO * status=553 client=127.0.0.1 err="the domain is no domain name"`,
		},
		{
			"refused by delivery", from + to, nil, 1,
			"550 5.7.1 suppressed: *", "level=INFO * status=550 client=127.0.0.1 category=suppressed class=permanent",
		},
		{
			"too many", from + "RCPT TO:<c@example.com>\r\nRCPT TO:<d@example.com>\r\n", func(cfg *smtpd.Config) { cfg.MaxRecipients = 1 }, 2,
			"452 4.5.3 *", "level=INFO * status=452 client=127.0.0.1 category=too_many_recipients class=transient",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := build(t, &delivery{recipient: func(address string) *providers.Error {
				if address == "b@example.com" {
					return suppressed
				}
				return nil
			}}, tt.change)
			s.run()
			c := s.dial(t, 0).greet()
			c.send(tt.sent)
			for range tt.before {
				c.expect("250 *")
			}
			_, id, _ := strings.Cut(c.expect(tt.reply+" id=*"), " id=")
			s.refusedOnce(id, tt.line)
		})
	}
}

// refusedOnce wants one line of a refusal, with that id.
func (s *server) refusedOnce(id, line string) {
	s.t.Helper()
	logs := s.logs.String()
	pattern := "*" + strings.Replace(line, " * ", ` msg="mail refused" message_id=`+id+" ", 1) + "*"
	if !matches(pattern, logs) || strings.Count(logs, "mail refused") != 1 || strings.Contains(logs, "@") {
		s.t.Errorf("want one line %s in\n%s", pattern, logs)
	}
}

// A panic in delivery ends that connection and no other.
func TestPanic(t *testing.T) {
	for _, protocol := range []string{"smtp", "lmtp"} {
		t.Run(protocol, func(t *testing.T) {
			d := &delivery{outcome: func(context.Context, *translate.Message) providers.Outcome { panic("a bug") }}
			s := build(t, d, func(cfg *smtpd.Config) { cfg.Listeners[0].Protocol = protocol })
			s.run()
			hello := "EHLO"
			if protocol == "lmtp" {
				hello = "LHLO"
			}
			c := s.dial(t, 0)
			c.talk("S: 220 *\nC: " + hello + " a\nS: 250-*")
			c.begin().send(text + ".\r\n")
			c.expect("421 *")
			c.expectEnd()
			s.dial(t, 0).expect("220 *")
			s.stop()
			if err := s.wait(); err != nil {
				t.Error(err)
			}
			if told := s.told(s.got()[0]); len(told) != 1 || told[0] {
				t.Errorf("told %v, want that no reply was given", told)
			}
			if logs := s.logs.String(); !strings.Contains(logs, "smtp session panicked") || !strings.Contains(logs, "a bug") {
				t.Errorf("no word of it in %s", logs)
			}
		})
	}
}

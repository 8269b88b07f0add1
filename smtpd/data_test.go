package smtpd_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/smtpd"
)

// Over the wire every ending means what it means to the block reader: to
// clients that wait for 354, to those that do not, and behind STARTTLS.
func TestEndOfMailOverTheWire(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) {
		withTLS(t, cfg)
		cfg.Listeners[0].TLS = "starttls"
	})
	const envelope = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
	for _, how := range []struct {
		name string
		send func(c *client, mail string)
	}{
		{"waiting", func(c *client, mail string) {
			c.greet().begin()
			c.send(mail)
		}},
		{"impatient", func(c *client, mail string) {
			c.greet().send(envelope + mail)
			c.talk("S: 250 *\nS: 250 *\nS: 354 *")
		}},
		{"over STARTTLS", func(c *client, mail string) {
			c.greet().talk("C: STARTTLS\nS: 220 *")
			c.startTLS(s.tlsConfig())
			c.talk("C: EHLO client.example\nS: 250-*")
			c.begin()
			c.send(mail)
		}},
		{"impatient over STARTTLS", func(c *client, mail string) {
			c.greet().talk("C: STARTTLS\nS: 220 *")
			c.startTLS(s.tlsConfig())
			c.talk("C: EHLO client.example\nS: 250-*")
			c.send(envelope + mail)
			c.talk("S: 250 *\nS: 250 *\nS: 354 *")
		}},
	} {
		for _, tt := range endings {
			if tt.open {
				continue
			}
			t.Run(how.name+"/"+tt.name, func(t *testing.T) {
				before := len(s.got())
				c := s.dial(t, 0)
				// A header keeps every body readable; two ends on a line say that the rest is commands.
				how.send(c, "Subject: a\r\n\r\n"+tt.sent)
				c.expect("250 2.0.0 provider=esp id=*")
				if tt.rest == "" {
					c.send("QUIT\r\n")
				}
				if got, err := c.reply(); err != nil || !matches("221 *", got) && !matches("50? *", got) {
					t.Errorf("after the mail: %q and %v, want the reply to one command", got, err)
				}
				if got := s.got()[before:]; len(got) != 1 || got[0].Raw != "Subject: a\r\n\r\n"+tt.mail {
					t.Errorf("got %q, want the one mail %q", got, tt.mail)
				}
			})
		}
	}
}

// Exactly max_message_size passes, one octet more is read to its end and
// refused, and the connection goes on. Stuffed dots do not count.
func TestSizeLimit(t *testing.T) {
	const limit = 70_000 // more than a block, less than the spool keeps in memory
	head := "Subject: a\r\n\r\n"
	body := func(size int) string {
		return head + strings.Repeat("..\r\n", 100) + strings.Repeat("x", size-len(head)-300-2) + "\r\n"
	}
	lines := func(size int) string { return strings.ReplaceAll(body(size), "..", ".") }
	byData := func(c *client, content string) {
		c.begin()
		c.send(content + ".\r\n")
	}
	byChunks := func(c *client, content string) {
		c.talk("C: MAIL FROM:<a@example.com>\nS: 250 *\nC: RCPT TO:<to@example.com>\nS: 250 *")
		half := len(content) / 2
		c.send(fmt.Sprintf("BDAT %d\r\n%s", half, content[:half]))
		c.expect("250 *")
		c.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content)-half, content[half:]))
	}
	for _, protocol := range []string{"smtp", "lmtp"} {
		for _, tt := range []struct {
			name    string
			send    func(*client, string)
			content func(int) string
		}{
			{"DATA", byData, body},
			{"BDAT", byChunks, lines},
		} {
			t.Run(protocol+" "+tt.name, func(t *testing.T) {
				s := start(t, func(cfg *smtpd.Config) {
					cfg.MaxMessageSize = limit
					cfg.Listeners[0].Protocol = protocol
				})
				rcpt, hello := "", "EHLO"
				if protocol == "lmtp" {
					rcpt, hello = "<to@example.com> ", "LHLO"
				}
				c := s.dial(t, 0)
				c.talk("S: 220 *\nC: " + hello + " a\nS: 250-*250-SIZE 70000*LIMITS RCPTMAX=500*")
				for range 2 {
					tt.send(c, tt.content(limit+1))
					c.expect("552 5.3.4 " + rcpt + "too_large: * id=*")
					tt.send(c, tt.content(limit))
					c.expect("250 2.0.0 " + rcpt + "provider=esp id=*")
				}
				if got := s.got(); len(got) != 2 || got[0].Raw != lines(limit) || got[1].Raw != lines(limit) {
					t.Errorf("%d mails came, want 2 of %d octets", len(got), limit)
				}
				c.talk(`
					C: MAIL FROM:<a@example.com> SIZE=70001
					S: 552 5.3.4 too_large: * id=*
					C: MAIL FROM:<a@example.com> SIZE=5000000000
					S: 552 5.3.4 too_large: * id=*
					C: mail from:<a@example.com> BODY=8BITMIME size=99999999999999999999 SMTPUTF8
					S: 552 5.3.4 too_large: * id=*
					C: MAIL FROM:a@example.com SIZE=4294967296
					S: 552 5.3.4 too_large: * id=*
					C: MAIL FROM:<a@example.com> SIZE=999999999999999999999
					S: 501 *
					C: MAIL FROM:<"a SIZE=5000000000 b"@example.com> SIZE=0000070000
					S: 250 *
				`)
			})
		}
	}
}

// A line may be as long as the mail, and what MIME does not know passes too.
func TestLongLine(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) {
		withTLS(t, cfg)
		cfg.Listeners[0].TLS = "starttls"
	})
	want := "Subject: a\r\n\r\n" + strings.Repeat("0123456789", 1<<20) + "\x00\xff\r\n"
	for _, secure := range []bool{false, true} {
		c := s.dial(t, 0).greet()
		if secure {
			c.talk("C: STARTTLS\nS: 220 *")
			c.startTLS(s.tlsConfig())
			c.talk("C: EHLO client.example\nS: 250-*")
		}
		c.begin().send(want + ".\r\n")
		c.expect("250 *")
	}
	for _, got := range s.got() {
		if got.Raw != want {
			t.Errorf("%d octets came, want the %d that were sent", len(got.Raw), len(want))
		}
	}
}

// Chunks make one mail, whatever is in them, and what is pipelined behind
// them is commands (RFC 3030).
func TestChunks(t *testing.T) {
	const head = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n"
	long := strings.Repeat("line\r\n", 20_000)
	for _, tt := range []struct {
		name, sent string
		replies    []string
		mails      []string
	}{
		{
			"one", head + "BDAT 14 LAST\r\nSubject: a\r\n\r\n",
			[]string{"250 *", "250 *", "250 2.0.0 provider=esp id=*"},
			[]string{"Subject: a\r\n\r\n"},
		},
		{
			"empty last one", head + "BDAT 14\r\nSubject: a\r\n\r\nBDAT 0 LAST\r\n",
			[]string{"250 *", "250 *", "250 *", "250 2.0.0 provider=esp id=*"},
			[]string{"Subject: a\r\n\r\n"},
		},
		{
			"commands and dots are content", head + "BDAT 37 LAST\r\nSubject: a\r\n\r\nSTARTTLS\r\n.\r\nBDAT 3\r\n..",
			[]string{"250 *", "250 *", "250 2.0.0 provider=esp id=*"},
			[]string{"Subject: a\r\n\r\nSTARTTLS\r\n.\r\nBDAT 3\r\n.."},
		},
		{
			"split inside a line", head + "BDAT 3\r\nSubBDAT 11 LAST\r\nject: a\r\n\r\n" + head + "DATA\r\nSubject: b\r\n\r\n.\r\n",
			[]string{"250 *", "250 *", "250 *", "250 2.0.0 *", "250 *", "250 *", "354 *", "250 2.0.0 *"},
			[]string{"Subject: a\r\n\r\n", "Subject: b\r\n\r\n"},
		},
		{
			"long", head + fmt.Sprintf("BDAT %d LAST\r\n", len(long)) + long + "NOOP\r\n",
			[]string{"250 *", "250 *", "250 2.0.0 *", "250 *"},
			[]string{long},
		},
		{
			// What became of a mail that was given up is not told of the next.
			"given up", strings.Repeat(head+"BDAT 4\r\nSubjRSET\r\n", 20) + head + "BDAT 14 LAST\r\nSubject: b\r\n\r\n",
			append(slices.Repeat([]string{"250 *"}, 4*20+2), "250 2.0.0 provider=esp id=*"),
			[]string{"Subject: b\r\n\r\n"},
		},
		{
			"without recipients", "BDAT 14 LAST\r\nSubject: a\r\n\r\n" + head + "BDAT 14 LAST\r\nSubject: b\r\n\r\n",
			[]string{"502 *", "250 *", "250 *", "250 2.0.0 *"},
			[]string{"Subject: b\r\n\r\n"},
		},
		{
			"not understood", head + "BDAT x\r\nBDAT 5 MORE\r\nBDAT 14 LAST\r\nSubject: a\r\n\r\n",
			[]string{"250 *", "250 *", "501 *", "501 *", "250 2.0.0 *"},
			[]string{"Subject: a\r\n\r\n"},
		},
		{
			"mixed with DATA", head + "BDAT 2\r\nSuDATA\r\nRSET\r\n",
			[]string{"250 *", "250 *", "250 *", "502 *", "250 *"},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, nil)
			c := s.dial(t, 0).greet()
			c.send(tt.sent + "QUIT\r\n")
			for _, want := range tt.replies {
				c.expect(want)
			}
			c.expect("221 *")
			c.expectEnd()
			var got []string
			for _, m := range s.got() {
				got = append(got, m.Raw)
			}
			if strings.Join(got, "|") != strings.Join(tt.mails, "|") {
				t.Errorf("got %.200q, want %.200q", got, tt.mails)
			}
		})
	}
}

// A mail that its client did not finish is not sent.
func TestClientGone(t *testing.T) {
	const (
		envelope = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n"
		head     = "EHLO a\r\n" + envelope
	)
	for _, tt := range []struct{ name, sent string }{
		{"before the data", head + "DATA\r\n"},
		{"inside the data", head + "DATA\r\nSubject: a\r\n\r\ntext\r\n"},
		{"inside the end", head + "DATA\r\nSubject: a\r\n\r\ntext\r\n.\r"},
		{"inside a chunk", head + "BDAT 100\r\nSubject: a\r\n\r\n"},
		{"inside the last chunk", head + "BDAT 100 LAST\r\nSubject: a\r\n\r\n"},
		{"between chunks", head + "BDAT 14\r\nSubject: a\r\n\r\n"},
		// go-smtp may not have called Data yet.
		{"after a chunk of nothing", head + "BDAT 0\r\n"},
		{"behind a chunk of nothing", head + "BDAT 0\r\nQUIT\r\n"},
		{"after many of them", head + strings.Repeat("BDAT 0\r\nRSET\r\n"+envelope, 50) + "BDAT 0\r\n"},
		{"inside a command", head + "DAT"},
	} {
		for _, protocol := range []string{"smtp", "lmtp"} {
			t.Run(tt.name+" "+protocol, func(t *testing.T) {
				s := start(t, func(cfg *smtpd.Config) { cfg.Listeners[0].Protocol = protocol })
				c := s.dial(t, 0)
				sent := tt.sent
				if protocol == "lmtp" {
					sent = strings.Replace(sent, "EHLO", "LHLO", 1)
				}
				c.send(sent)
				if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				said, err := io.ReadAll(c.r)
				if err != nil {
					t.Error(err)
				}
				if strings.Contains(string(said), "provider=") {
					t.Errorf("said %q", said)
				}
				s.stop()
				if err := s.wait(); err != nil {
					t.Error(err)
				}
				if got := s.got(); len(got) > 0 {
					t.Errorf("got %q, want nothing", got)
				}
				if strings.Contains(s.logs.String(), "panicked") {
					t.Error("go-smtp panicked")
				}
			})
		}
	}
}

// A client that has said everything and closed its side gets its replies.
func TestHalfClosed(t *testing.T) {
	s := start(t, nil)
	c := s.dial(t, 0)
	c.send("EHLO a\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: a\r\n\r\n.\r\nQUIT\r\n")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.talk("S: 220 *\nS: 250-*\nS: 250 *\nS: 250 *\nS: 354 *\nS: 250 2.0.0 provider=esp id=*\nS: 221 *")
	c.expectEnd()
}

// A mail that cannot be stored is refused for now; nothing is sent.
func TestNoSpool(t *testing.T) {
	s := build(t, new(delivery), nil)
	s.run()
	c := s.dial(t, 0).greet()
	s.breakSpool()
	c.begin().send("Subject: a\r\n\r\n" + strings.Repeat("x", 300<<10) + "\r\n.\r\n")
	c.expect("451 4.3.0 local_failure: * id=*")
	c.begin().send(text + ".\r\n")
	c.expect("250 *")
	if got := s.got(); len(got) != 1 {
		t.Errorf("%d mails, want the small one", len(got))
	}
}

// Mail that is not handed over is told, so that it can be found by its id.
func TestRefusedMailIsTold(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) { cfg.MaxMessageSize = 100 })
	c := s.dial(t, 0).greet()
	for _, text := range []string{strings.Repeat("x", 101) + "\r\n", "X-Bridge-Send-At: whenever\r\n\r\ntext\r\n", "\r\ntext\r\n"} {
		c.talk(`
			C: MAIL FROM:<a@example.com>
			S: 250 *
			C: RCPT TO:<b@example.com>
			S: 250 *
			C: RCPT TO:<c@example.com>
			S: 250 *
			C: DATA
			S: 354 *`)
		c.send(text + ".\r\n")
		c.expect("*id=*")
	}
	want := []string{"b@example.com c@example.com 0 too_large", "b@example.com c@example.com 36 malformed"}
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(want, s.refused); diff != "" {
		t.Errorf("told of mail that was not handed over (-want +got):\n%s", diff)
	}
}

// What nobody could read is the client's fault.
func TestMalformed(t *testing.T) {
	s := start(t, nil)
	c := s.dial(t, 0).greet().begin()
	c.send("Subject: a\r\nX-Bridge-Send-At: whenever\r\n\r\ntext\r\n.\r\n")
	if got := c.expect("554 5.6.0 malformed: * id=*"); !strings.Contains(got, "X-Bridge-Send-At") {
		t.Errorf("%q does not name the header", got)
	}
	if got := s.got(); len(got) > 0 {
		t.Errorf("got %q, want nothing", got)
	}
}

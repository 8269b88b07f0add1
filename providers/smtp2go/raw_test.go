package smtp2go_test

import (
	"bytes"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"smtpbridge/providers"
	"smtpbridge/providers/providertest"
	"smtpbridge/translate"
)

// invitation is what only a raw mail carries.
const invitation = "MIME-Version: 1.0\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\n"

// A raw mail goes to whom its header shows: it must be the envelope, to the
// letter, and nothing else may name anybody.
func TestRawOnlyWhereTheHeaderIsTheEnvelope(t *testing.T) {
	const a, b = "a@example.org", "b@example.org"
	for _, c := range []struct {
		name, header string
		recipients   []string
		raw          bool
	}{
		{"one", "To: a@example.org", []string{a}, true},
		{"To and Cc", "To: A <a@example.org>\nCc: b@example.org", []string{b, a}, true},
		{"two To lines", "To: a@example.org\nTo: b@example.org", []string{a, b}, true},
		{"case of the domain", "To: a@EXAMPLE.org", []string{"a@example.ORG"}, true},
		{"international domain", "To: a@exämple.org", []string{"a@xn--exmple-cua.org"}, true},
		{"a name with an address in it", "To: \"<x@example.net>, y\" <a@example.org>", []string{a}, true},
		{"an encoded name with an address in it", "To: =?utf-8?q?=C3=BC_=3Cx=40example=2Enet=3E=2C?= <a@example.org>", []string{a}, true},
		{"a comment", "To: a@example.org (not x@example.net)", []string{a}, true},
		{"a group that is the envelope", "To: Team: a@example.org, b@example.org;", []string{a, b}, true},
		{"several members and Cc of a group", "To: Team: a@example.org;\nCc: undisclosed-recipients:;", []string{a}, true},
		{"semicolons", "To: a@example.org; b@example.org", []string{a, b}, true},

		{"shown outside the envelope", "To: a@example.org, b@example.org", []string{a}, false},
		{"Cc outside the envelope", "To: a@example.org\nCc: b@example.org", []string{a}, false},
		{"hidden", "To: a@example.org", []string{a, b}, false},
		{"Bcc header", "To: a@example.org\nBcc: b@example.org", []string{a, b}, false},
		{"nobody shown", "X-A: 1", []string{a}, false},
		{"an empty group", "To: undisclosed-recipients:;", []string{a}, false},
		{"only Cc", "Cc: a@example.org", []string{a}, false},
		{"shown twice", "To: a@example.org, a@example.org", []string{a}, false},
		{"shown in To and Cc", "To: a@example.org\nCc: a@example.org", []string{a}, false},
		{"shown twice in place of another", "To: a@example.org, a@example.org", []string{a, b}, false},
		{"case of the local part", "To: A@example.org", []string{a}, false},
		{"twins", "To: a@example.org, A@example.org", []string{a, "A@example.org"}, false},
		{"twins by the domain", "To: a@example.org, a@EXAMPLE.org", []string{a, "a@EXAMPLE.org"}, false},
		{"quoted local part", `To: "a b"@example.org`, []string{`"a b"@example.org`}, false},
		{"a comma in quotes", `To: "a,x@example.net"@example.org`, []string{`"a,x@example.net"@example.org`}, false},
		{"a quoted local part that needs no quotes", `To: "a"@example.org`, []string{a}, false},
		{"odd dots", "To: a..b@example.org", []string{"a..b@example.org"}, false},
		{"literal domain", "To: a@[192.0.2.1]", []string{"a@[192.0.2.1]"}, false},
		{"bare local part", "To: root", []string{"root@example.org"}, false},
		{"local part outside ASCII", "To: ü@example.org, a@example.org", []string{a}, false},
		{"Resent-To", "To: a@example.org\nResent-To: b@example.org", []string{a}, false},
		{"Resent-From", "To: a@example.org\nresent-from: b@example.com", []string{a}, false},
		{"several authors", "To: a@example.org\nFrom: x@example.com, y@example.com", []string{a}, false},
		{"odd author", "To: a@example.org\nFrom: \"x y\"@example.com", []string{a}, false},
		{"apart", "To: a@example.org\nX-SMTPAPI: {\"to\":[\"a@example.org\"]}", []string{a}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := "From: shop@example.com\n"
			if strings.Contains(c.header, "From: x@") || strings.Contains(c.header, "From: \"x") {
				from = ""
			}
			m := providertest.Message(t, from+"Subject: s\n"+c.header+"\n"+invitation, c.recipients...)
			mails, losses := sent(t, m)
			raw := mails[0].Raw != nil
			if raw != c.raw || newAdapter().Capabilities().LeavesRaw(m) != c.raw {
				t.Errorf("it leaves raw: %v, want %v", raw, c.raw)
			}
			if slices.Contains(losses, "calendar as file") == c.raw {
				t.Errorf("the losses are %q", losses)
			}
			var all []string
			for _, mail := range mails {
				all = append(all, mail.Recipients()...)
			}
			if !sameFold(all, c.recipients) {
				t.Errorf("%q get it, want %q", all, c.recipients)
			}
		})
	}
}

// sameFold compares two lists without order and the case of domains.
func sameFold(got, want []string) bool {
	fold := func(list []string) []string {
		folded := slices.Clone(list)
		for i, address := range folded {
			at := strings.LastIndexByte(address, '@')
			folded[i] = address[:at] + strings.ToLower(address[at:])
		}
		slices.Sort(folded)
		return folded
	}
	return slices.Equal(fold(got), fold(want))
}

// Raw serves better where the mail built anew loses what it need not lose.
func TestRawWhereItServesBetter(t *testing.T) {
	long := strings.Repeat("x", 128)
	alternative := func(kind string) string {
		return "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=a\n\n--a\n\ntext\n--a\nContent-Type: text/html\n\n<p>\n--a\nContent-Type: " + kind + "\n\nx\n--a--\n"
	}
	for _, c := range []struct {
		name, mail string
		raw        bool
	}{
		{"plain", "\nx\n", false},
		{"HTML and text", alternative("text/html"), false},
		{"AMP", alternative("text/x-amp-html"), true},
		{"calendar", alternative("text/calendar; method=REQUEST"), true},
		{"another form", alternative("text/enriched"), true},
		{"unknown encoding", "Content-Transfer-Encoding: x-own\n\nx\n", true},
		{"repeated header", "X-A: 1\nX-A: 2\n\nx\n", true},
		{"long header", "List-Unsubscribe: <https://example.com/" + long + ">\n\nx\n", true},
		{"long references", "References: " + strings.Repeat("<0123456789@example.com> ", 9) + "\n\nx\n", true},
		{"long ids", "In-Reply-To: <" + long + ">\n\nx\n", true},
		{"long Message-ID", "Message-ID: <" + long + ">\n\nx\n", true},
		{"long Reply-To", "Reply-To: " + long + " <r@example.com>\n\nx\n", true},
		{"long subject", "Subject: " + strings.Repeat("ab ", 100) + "\n\nx\n", true},
		{"empty file", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: a/b; name=a.bin\n\n--m--\n", true},
		{"nested signature", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: multipart/signed; boundary=s\n\n--s\n\nx\n--s\nContent-Type: application/pgp-signature\n\ny\n--s--\n--m--\n", true},
		// It is not known that a raw mail may have them.
		{"a name that is not taken", "Precedence: bulk\nPrecedence: " + long + "\n\nx\n", false},
		{"a Reply-To that is no address", "Reply-To: root\n\nx\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			head := "From: shop@example.com\nTo: a@example.org\n"
			if !strings.HasPrefix(c.mail, "Subject:") {
				head += "Subject: s\n"
			}
			mails, losses := sent(t, providertest.Message(t, head+c.mail, "a@example.org"))
			if raw := mails[0].Raw != nil; raw != c.raw || raw && len(losses) > 0 {
				t.Errorf("it leaves raw: %v, want %v; the losses are %q", raw, c.raw, losses)
			}
		})
	}
}

// What is signed or encrypted never leaves: tracking would change it.
func TestOpaqueMailIsNotCarried(t *testing.T) {
	for _, kind := range []string{"multipart/signed", "multipart/encrypted"} {
		m := providertest.Message(t, addressed+"MIME-Version: 1.0\nContent-Type: "+kind+"; boundary=s\n\n--s\n\nx\n--s--\n", "a@example.org")
		c := newAdapter().Capabilities()
		if _, refusal := providers.Check(c, m, m.Date); refusal == nil || refusal.Category != providers.NotFaithful || c.LeavesRaw(m) {
			t.Errorf("%s is refused with %v, want not_faithful", kind, refusal)
		}
	}
}

// A mail that would not fit in base64 twice is built anew.
func TestLargeMailIsNotRaw(t *testing.T) {
	m := providertest.Message(t, addressed+invitation, "a@example.org")
	for size, want := range map[int64]bool{27_000_000: true, 27_000_001: false} {
		m.Size = size
		if got := newAdapter().Capabilities().LeavesRaw(m); got != want {
			t.Errorf("of %d octets it leaves raw: %v, want %v", size, got, want)
		}
	}
}

func TestRawMail(t *testing.T) {
	m := providertest.Message(t, "Received: x\nFROM: \"Shop\" <shop@example.com>\nTo: Team: A <a@example.org>,\n =?utf-8?q?J=C3=B6rg=2C?= <j@example.org>;\nBcc: a@example.org\n"+
		"Subject: s\nX-Bridge-Id: forged\nX-Bridge-Tag: t\nX-Mailgun-Tag: t\nX-Smtp2go-Schedule-Id: 1\nDate: Mon, 02 Jan 2026 15:04:05 +0100\n"+invitation, "a@example.org", "j@example.org")
	mails, losses := sent(t, m)
	want := "From: Shop <shop@example.com>\r\nTo: A <a@example.org>, =?utf-8?b?SsO2cmcs?= <j@example.org>\r\nSubject: s\r\n" +
		"Date: Mon, 02 Jan 2026 15:04:05 +0100\r\nMIME-Version: 1.0\r\nContent-Type: text/calendar; method=REQUEST\r\n" +
		"X-Bridge-Id: " + bridgeID + "\r\n\r\nBEGIN:VCALENDAR\r\n"
	if got := string(mails[0].Raw); got != want {
		t.Errorf("it leaves as\n%s\nwant\n%s", got, want)
	}
	if !slices.Equal(losses, []string{"tags", "date"}) {
		t.Errorf("the losses are %q", losses)
	}
	r := newAdapter().Requests(m)[0]
	if !slices.Equal(r.Recipients, m.Envelope.Recipients) || r.URL != "https://api.smtp2go.com/v3/email/mime" {
		t.Errorf("the request is %s for %q", r.URL, r.Recipients)
	}
	// For fewer the header shows somebody whom nobody wants to mail again.
	if less, _ := sent(t, m.For([]string{"j@example.org"})); len(less) != 1 || less[0].Raw != nil || !slices.Equal(less[0].Recipients(), []string{"j@example.org"}) {
		t.Errorf("for one of two the mails are %+v", less)
	}
	// Another author, for accounts that may only send as themselves.
	as, _ := sent(t, m.SentAs(translate.Address{Name: "Gate", Email: "gate@example.com"}))
	parsed, err := mail.ReadMessage(bytes.NewReader(as[0].Raw))
	if err != nil || parsed.Header.Get("From") != "Gate <gate@example.com>" || parsed.Header.Get("Reply-To") != "Shop <shop@example.com>" {
		t.Errorf("as another it leaves as %s (%v)", as[0].Raw, err)
	}
}

package translate_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/translate"
)

// What leaves raw reads as what came, whatever had to be encoded anew.
func TestOutgoingReadsAsWhatCame(t *testing.T) {
	t.Parallel()
	mails, err := filepath.Glob(filepath.Join(corpus, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range mails {
		stem := strings.TrimSuffix(path, ".eml")
		t.Run(filepath.Base(stem), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasSuffix(raw, []byte("\n")) {
				raw = append(raw, "\r\n"...) // as SMTP would
			}
			m, err := parse(t, raw, recipients(t, stem))
			if err != nil {
				t.Skip("nobody could read it")
			}
			defer m.Close()
			out := outgoing(t, m, translate.Edit{})
			checkClean(t, m, out)
			again, err := parse(t, out, m.Envelope.Recipients)
			if err != nil {
				t.Fatalf("what leaves cannot be read: %v\n%s", err, out)
			}
			defer again.Close()
			if diff := cmp.Diff(reading(t, m), reading(t, again)); diff != "" {
				t.Errorf("what leaves reads differently (-came +left):\n%s\n%s", diff, out)
			}
		})
	}
}

// reading is what people see of a mail: line ends are how lines are written.
func reading(t *testing.T, m *translate.Message) map[string]string {
	t.Helper()
	r := map[string]string{
		"from": fmt.Sprint(m.From), "to": shown(m.To), "cc": shown(m.Cc), "reply-to": fmt.Sprint(m.ReplyTo),
		"subject": strings.Join(strings.Fields(m.Subject), " "), "id": m.MessageID, "date": m.Date.String(),
		"opaque": m.Opaque.String(), "encoding": m.UnknownEncoding,
		"text": body(t, m.Text), "html": body(t, m.HTML), "amp": body(t, m.AMP),
	}
	for i := range m.Parts {
		p := &m.Parts[i]
		content := string(readAll(t, p.Open))
		if strings.HasPrefix(p.Type, "text/") || strings.HasPrefix(p.Type, "message/") || m.UnknownEncoding != "" {
			content = lineFeeds(content)
		}
		r[fmt.Sprintf("part %d", i)] = fmt.Sprintf("%s %s %q %q\n%s", p.Role, p.Type, p.Name, p.ContentID, content)
	}
	for _, h := range m.Headers {
		r["header "+h.Name] += strings.Join(strings.Fields(h.Value), " ") + "\n"
	}
	return r
}

// shown leaves out what no header of ASCII can show.
func shown(list []translate.Address) string {
	var texts []string
	for _, a := range list {
		if !strings.ContainsFunc(a.Email, func(r rune) bool { return r >= utf8.RuneSelf }) {
			texts = append(texts, a.String())
		}
	}
	return strings.Join(texts, ", ")
}

func body(t *testing.T, p *translate.Part) string {
	t.Helper()
	if p == nil {
		return ""
	}
	return strings.TrimRight(lineFeeds(string(readAll(t, p.Open))), "\n")
}

func lineFeeds(s string) string {
	for strings.Contains(s, "\r\n") {
		s = strings.ReplaceAll(s, "\r\n", "\n")
	}
	return s
}

// outgoing reads the bytes that leave twice, and as base64.
func outgoing(t *testing.T, m *translate.Message, e translate.Edit) []byte {
	t.Helper()
	o := m.Outgoing(e)
	out := readAll(t, o.Open)
	if int64(len(out)) != o.Len() {
		t.Errorf("%d octets leave, Len says %d", len(out), o.Len())
	}
	if again := readAll(t, m.Outgoing(e).Open); !bytes.Equal(out, again) {
		t.Error("what leaves differs when it is read again")
	}
	if encoded := readAll(t, o.OpenBase64); int64(len(encoded)) != o.Base64Len() {
		t.Errorf("%d octets of base64 leave, Base64Len says %d", len(encoded), o.Base64Len())
	}
	return out
}

// checkClean: lines end in CRLF and nowhere else and have at most 998 octets.
// What is not ASCII is somebody's signature, or nobody's to decode.
func checkClean(t *testing.T, m *translate.Message, out []byte) {
	t.Helper()
	if m.RoughLines && m.Opaque != translate.OpaqueNone {
		return // which leaves by nobody
	}
	if !bytes.HasSuffix(out, []byte("\r\n")) {
		t.Errorf("the last line has no end: %q", out[max(0, len(out)-40):])
	}
	for line := range bytes.SplitSeq(out, []byte("\r\n")) {
		if bytes.ContainsAny(line, "\r\n") || len(line) > 998 && m.UnknownEncoding == "" {
			t.Errorf("a line of %d octets may not leave: %.60q", len(line), line)
		}
	}
	head, _, _ := bytes.Cut(append([]byte("\r\n"), out...), []byte("\r\n\r\n"))
	for _, c := range head {
		if c >= 0x80 || c == 0 {
			t.Errorf("the header has the octet %#x", c)
		}
	}
	for line := range strings.SplitSeq(strings.ToLower(string(head)), "\r\n") {
		for _, gone := range []string{"bcc:", "resent-bcc:", "received:", "return-path:", "x-bridge-", "x-smtpapi:", "x-mailgun-", "x-pm-", "x-ses-"} {
			if strings.HasPrefix(line, gone) {
				t.Errorf("%q leaves", line)
			}
		}
	}
}

func TestOutgoingLeavesWhatIsCleanAlone(t *testing.T) {
	t.Parallel()
	const mail = "Received: by x\r\nFrom:  \"A\"  <a@example.com>\r\nSubject: long\r\n\tfolded =?utf-8?q?=C3=BC?=\r\nBcc: b@example.com\r\n" +
		"X-Bridge-Tag: t\r\nDKIM-Signature: v=1;\r\n b=x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\ntext\r\n--b--\r\nepilogue\r\n"
	const want = "From:  \"A\"  <a@example.com>\r\nSubject: long\r\n\tfolded =?utf-8?q?=C3=BC?=\r\n" +
		"DKIM-Signature: v=1;\r\n b=x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\ntext\r\n--b--\r\nepilogue\r\n"
	if got := leaves(t, mail, translate.Edit{}); got != want {
		t.Errorf("left %q, want %q", got, want)
	}
}

// A signature holds only while not an octet changes.
func TestOutgoingDoesNotTouchWhatIsSigned(t *testing.T) {
	t.Parallel()
	const signed = "--s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\u00fc\u00dfe \r\n" +
		"--s\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--s--\r\n"
	const kind = "Content-Type: multipart/signed; boundary=s; protocol=\"application/pgp-signature\"\r\n\r\n"
	if got := leaves(t, "From: a@example.com\r\n"+kind+signed, translate.Edit{}); !strings.HasSuffix(got, "\r\n\r\n"+signed) {
		t.Errorf("a signed mail left as %q", got)
	}
	nested := "From: a@example.com\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n" + kind + signed +
		"--m\r\nContent-Type: text/plain\r\n\r\nfooter \u00fc\r\n--m--\r\n"
	if got := leaves(t, nested, translate.Edit{}); !strings.Contains(got, kind+signed) || strings.Contains(got, "footer \u00fc") {
		t.Errorf("a signed part left as %q", got)
	}
}

func TestOutgoingEncodesAnew(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1500)
	for _, c := range []struct {
		name, mail string
		want       []string
	}{
		// Text that is mostly ASCII stays readable, and is labelled as it was read.
		{
			"8 bit without a label", "Subject: s\r\n\r\nviele Gr\u00fc\u00dfe aus Wien\r\n",
			[]string{"Content-Transfer-Encoding: quoted-printable\r\n", "Content-Type: text/plain; charset=utf-8\r\n", "MIME-Version: 1.0\r\n", "\r\n\r\nviele Gr=C3=BC=C3=9Fe aus Wien\r\n"},
		},
		{"no UTF-8 without a label", "Subject: s\r\n\r\nviele Gr\xfc\xdfe\r\n", []string{"charset=windows-1252", "Gr=FC=DFe\r\n"}},
		{"a label that is kept", "Content-Type: text/plain; charset=koi8-r\r\n\r\nabc \xc1\xc2\r\n", []string{"charset=koi8-r\r\n", "abc =C1=C2\r\n"}},
		{"mostly not ASCII", "Subject: s\r\n\r\n\u6f22\u5b57\u6f22\u5b57\r\n", []string{"Content-Transfer-Encoding: base64\r\n", "\r\n\r\n5ryi5a2X5ryi5a2XDQo=\r\n"}},
		{"a long line", "Subject: s\r\n\r\n" + long + "\r\n", []string{"quoted-printable\r\n", "x=\r\n"}},
		{"trailing blanks in what is encoded", "Subject: s\r\n\r\n\u00fc \r\n-- \r\nx\r\n", []string{"=C3=BC=20\r\n--=20\r\nx\r\n"}},
		// Line ends alone need no encoding.
		{"bare LF", "Subject: s\r\n\r\na\nb\n", []string{"Subject: s\r\n\r\na\r\nb\r\n"}},
		{"CRCRLF", "Subject: s\r\n\r\na\r\r\nb\r\r\n", []string{"Subject: s\r\n\r\na\r\nb\r\n"}},
		{"no end", "Subject: s\r\n\r\na", []string{"Subject: s\r\n\r\na\r\n"}},
		{
			"octets with bare LF", "Content-Type: application/x-y\r\n\r\na\nb\r\n",
			[]string{"Content-Transfer-Encoding: base64\r\n", "\r\n\r\nYQpiDQo=\r\n"},
		},
		{"base64 in one line", "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + strings.Repeat("QUJD", 400) + "\r\n", []string{"\r\n\r\n" + strings.Repeat("QUJD", 19) + "\r\n"}},
		// Headers.
		{"8 bit subject", "Subject: Gr\u00fc\u00dfe\r\n\r\nx\r\n", []string{"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"}},
		{"8 bit name", "From: J\u00f6 <a@b.example>\r\n\r\nx\r\n", []string{"From: =?utf-8?q?J=C3=B6?= <a@b.example>\r\n"}},
		{"two To", "To: a@b.example\r\nTo: c@b.example\r\n\r\nx\r\n", []string{"To: a@b.example, c@b.example\r\n\r\n"}},
		// Who reads strictly finds no From in "From :" (RFC 5322, 4.5.8: obsolete).
		{"a blank before the colon", "From\t : a@b.example\r\nX-A : 1\r\n  2\r\n\r\nx\r\n", []string{"From: a@b.example\r\nX-A: 1 2\r\n\r\n"}},
		{"long field", "X-Long: " + long + "\r\n\r\nx\r\n", []string{"X-Long: =?utf-8?b?eHh4", "?=\r\n =?utf-8?b?eHh4"}},
		{
			"8 bit file name", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png; name=\"\u00fc.png\"\r\n\r\nx\r\n--b--\r\n",
			[]string{"\r\n--b\r\nContent-Type: image/png; name*=utf-8''%C3%BC.png\r\n\r\nx\r\n--b--\r\n"},
		},
	} {
		got := leaves(t, c.mail, translate.Edit{})
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q lacks %q", c.name, got, want)
			}
		}
	}
}

func TestOutgoingEdits(t *testing.T) {
	t.Parallel()
	const mail = "From: a@example.com\r\nTo: t@example.org\r\nX-One: 1\r\nX-One: 2\r\nSubject: s\r\n\r\nx\r\n"
	edit := translate.Edit{
		Set:  []translate.Header{{Name: "to", Raw: "u@example.org"}, {Name: "Subject"}, {Name: "X-New", Value: "\u00fc"}},
		Once: []string{"x-one"},
	}
	const want = "From: a@example.com\r\nto: u@example.org\r\nX-One: 1\r\nX-New: =?utf-8?q?=C3=BC?=\r\n\r\nx\r\n"
	if got := leaves(t, mail, edit); got != want {
		t.Errorf("left %q, want %q", got, want)
	}
}

func TestSentAs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, mail, want string }{
		{
			"the author is who is answered", "From: J\u00f6 <jo@example.com>\r\nSender: s@example.com\r\nSubject: s\r\n\r\nx\r\n",
			"From: \"Shop, the\" <shop@example.net>\r\nSubject: s\r\nReply-To: =?utf-8?q?J=C3=B6?= <jo@example.com>\r\n\r\nx\r\n",
		},
		{
			"or whom the mail named", "From: jo@example.com\r\nReply-To: r@example.com\r\n\r\nx\r\n",
			"From: \"Shop, the\" <shop@example.net>\r\nReply-To: r@example.com\r\n\r\nx\r\n",
		},
		{"nobody usable", "From: root (Cron)\r\n\r\nx\r\n", "From: \"Shop, the\" <shop@example.net>\r\n\r\nx\r\n"},
	} {
		m, err := parse(t, []byte(c.mail), []string{"to@example.org"})
		if err != nil {
			t.Fatal(err)
		}
		changed := m.SentAs(translate.Address{Name: "Shop, the", Email: "shop@example.net"})
		if got := string(outgoing(t, changed, translate.Edit{})); got != c.want {
			t.Errorf("%s: left %q, want %q", c.name, got, c.want)
		}
		if changed.From.Email != "shop@example.net" || m.From != nil && m.From.Email != "jo@example.com" {
			t.Errorf("%s: the authors are %v and %v", c.name, changed.From, m.From)
		}
		m.Close()
	}
}

func leaves(t *testing.T, mail string, e translate.Edit) string {
	t.Helper()
	m, err := parse(t, []byte(mail), []string{"to@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	return string(outgoing(t, m, e))
}

// FuzzOutgoing: whatever came, what leaves is clean and can be read.
func FuzzOutgoing(f *testing.F) {
	addCorpus(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parse(t, raw, []string{"to@example.org"})
		if err != nil {
			return
		}
		defer m.Close()
		out := outgoing(t, m, translate.Edit{})
		checkClean(t, m, out)
		again, err := parse(t, out, m.Envelope.Recipients)
		if err != nil {
			return // encoding anew can make what was just within a limit exceed it
		}
		again.Close()
	})
}

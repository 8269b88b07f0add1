package smtp2go_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/smtp2go"
	"smtpbridge/providers/smtp2go/smtp2gotest"
	"smtpbridge/translate"
)

const (
	addressed = "From: \"Shop, Inc.\" <shop@example.com>\nTo: A <a@example.org>\nSubject: Order 7\n"
	bridgeID  = "01JGABCDEFGHJKMNPQRSTVWXYZ"
)

// sent gives the mails of a message as the strict fake reads them, and what
// Check says is lost.
func sent(t *testing.T, m *translate.Message) (mails []*smtp2gotest.Mail, losses []string) {
	t.Helper()
	a := newAdapter()
	losses, refusal := providers.Check(a.Capabilities(), m, time.Now())
	if refusal != nil {
		t.Fatalf("the mail is not carried: %v", refusal)
	}
	for _, r := range a.Requests(m) {
		body, err := r.Body.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(body)
		if err != nil || int64(len(content)) != r.Body.Len() {
			t.Fatalf("the body has %d octets, it announces %d (%v)", len(content), r.Body.Len(), err)
		}
		if err := body.Close(); err != nil {
			t.Fatal(err)
		}
		mail, err := decode(r.URL, content)
		if err != nil {
			t.Fatalf("SMTP2GO would refuse: %v\n%.3000s", err, content)
		}
		if got := mail.Recipients(); !slices.Equal(got, r.Recipients) && mail.Raw == nil {
			t.Errorf("the mail goes to %q, the request serves %q", got, r.Recipients)
		}
		mails = append(mails, mail)
	}
	return mails, losses
}

// render gives the only mail of a message.
func render(t *testing.T, mail string, recipients ...string) *smtp2gotest.Mail {
	t.Helper()
	mails, _ := sent(t, providertest.Message(t, mail, recipients...))
	if len(mails) != 1 {
		t.Fatalf("there are %d requests, want 1", len(mails))
	}
	return mails[0]
}

func TestRequestOfAWholeMail(t *testing.T) {
	sendAt := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	got := render(t, addressed+"Cc: b@example.org\nReply-To: help@example.com\n"+
		"Message-ID: <7@example.com>\nIn-Reply-To: <6@example.com>\nReferences: <5@example.com> <6@example.com>\n"+
		"X-Order: 7\nX-Shop: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nList-Unsubscribe: <https://example.com/u>\n"+
		"X-Bridge-Send-At: "+sendAt.Format(time.RFC3339)+"\n"+
		"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n"+
		"--m\nContent-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain\n\nHi\n"+
		"--a\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n<img src=\"cid:logo.png\">\n"+
		"--r\nContent-Type: image/png\nContent-ID: <logo.png>\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--r--\n"+
		"--a--\n"+
		"--m\nContent-Type: application/pdf; name=\"bill, March;.pdf\"\nContent-Disposition: attachment\n\nPDF\n--m--\n",
		"a@example.org", "b@example.org", "audit@example.net")
	no := false
	want := &smtp2gotest.Mail{
		Sender:   `"Shop, Inc." <shop@example.com>`,
		To:       []string{"A <a@example.org>"},
		Cc:       []string{"b@example.org"},
		Bcc:      []string{"audit@example.net"},
		Subject:  "Order 7",
		TextBody: "Hi",
		HTMLBody: `<img src="cid:logo.png">`,
		CustomHeaders: []smtp2gotest.Header{
			{Name: "X-Bridge-Id", Value: bridgeID},
			{Name: "Reply-To", Value: "help@example.com"},
			{Name: "Message-ID", Value: "<7@example.com>"},
			{Name: "In-Reply-To", Value: "<6@example.com>"},
			{Name: "References", Value: "<5@example.com> <6@example.com>"},
			{Name: "X-Order", Value: "7"},
			{Name: "X-Shop", Value: "=?utf-8?q?Gr=C3=BC=C3=9Fe?="},
			{Name: "List-Unsubscribe", Value: "<https://example.com/u>"},
		},
		Inlines:     []smtp2gotest.File{{Filename: "logo.png", Fileblob: "iVBORw0KGgo=", Mimetype: "image/png"}},
		Attachments: []smtp2gotest.File{{Filename: "bill, March;.pdf", Fileblob: base64.StdEncoding.EncodeToString([]byte("PDF")), Mimetype: "application/pdf"}},
		Schedule:    sendAt.Format("2006-01-02 15:04:05 +0000"),
		FastAccept:  &no,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// hidden makes an envelope that the header does not show: such a mail never
// leaves raw.
var hidden = []string{"a@example.org", "h@example.org"}

func TestRequestDetails(t *testing.T) {
	long := strings.Repeat("x", 120)
	part := func(header, body string) string { return "--m\n" + header + "\n\n" + body + "\n" }
	mixed := addressed + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n"
	headers := func(m *smtp2gotest.Mail) any { return m.CustomHeaders[1:] }
	for _, c := range []struct {
		name, mail string
		got        func(*smtp2gotest.Mail) any
		want       any
		losses     []string
	}{
		{"no subject", "From: a@example.com\n\nx\n", func(m *smtp2gotest.Mail) any { return m.Subject }, "(no subject)", nil},
		{"blank subject", "From: a@example.com\nSubject: =?utf-8?q?_=09?=\n\nx\n", func(m *smtp2gotest.Mail) any { return m.Subject }, "(no subject)", nil},
		{
			"long subject", "From: a@example.com\nSubject: " + strings.Repeat("ab ", 100) + "\n\nx\n",
			func(m *smtp2gotest.Mail) any { return len(m.Subject) }, 255,
			[]string{"end of the subject"},
		},
		{"no body", addressed + "\n", func(m *smtp2gotest.Mail) any { return m.TextBody + m.HTMLBody }, " ", nil},
		{"HTML only", addressed + "Content-Type: text/html\n\n<p>", func(m *smtp2gotest.Mail) any { return []string{m.TextBody, m.HTMLBody} }, []string{"", "<p>"}, nil},
		{
			"sender of a name in quotes", "From: =?utf-8?q?M=C3=BCller=2C_J=22?= <j@example.com>\n\nx\n",
			func(m *smtp2gotest.Mail) any { return m.Sender }, `"Müller, J\"" <j@example.com>`, nil,
		},
		{
			"several Reply-To", addressed + "Reply-To: x@example.com, =?utf-8?q?J=C3=B6rg?= <y@example.com>, X@example.com, root\n\nx\n",
			headers,
			[]smtp2gotest.Header{{Name: "Reply-To", Value: "x@example.com, =?utf-8?q?J=C3=B6rg?= <y@example.com>"}},
			[]string{"reply-to address"},
		},
		{
			"a header twice", addressed + "X-A: 1\nX-B: 2\nx-a: 3\n\nx\n", headers,
			[]smtp2gotest.Header{{Name: "X-A", Value: "1, 3"}, {Name: "X-B", Value: "2"}},
			[]string{"repeated header x-a"},
		},
		{
			"a header twice, too long together", addressed + "X-A: " + long + "\nx-a: 12345678\n\nx\n", headers,
			[]smtp2gotest.Header{{Name: "X-A", Value: long}},
			[]string{"repeated header x-a"},
		},
		{
			"headers that it does not take", addressed + "Precedence: bulk\nX-Long: " + long + long + "\nX-Empty:\nX-Smtp2go-Id: 1\nX-" + long + long + ": 1\nAuto-Submitted: no\n\nx\n", headers,
			[]smtp2gotest.Header{{Name: "Auto-Submitted", Value: "no"}},
			[]string{"header Precedence", "header X-Long", "header X-Empty", "header X-" + long + long},
		},
		{
			"a raw value", addressed + "X-A: Gr\xc3\xbc\xc3\x9fe\nX-B:   \tb  \n\nx\n", headers,
			[]smtp2gotest.Header{{Name: "X-A", Value: "=?utf-8?q?Gr=C3=BC=C3=9Fe?="}, {Name: "X-B", Value: "b"}},
			nil,
		},
		{
			"long references", addressed + "References: " + strings.Repeat("<0123456789@example.com> ", 9) + "<last@example.com>\n\nx\n", headers,
			[]smtp2gotest.Header{{Name: "References", Value: strings.Repeat("<0123456789@example.com> ", 4) + "<last@example.com>"}},
			[]string{"references"},
		},
		{
			"long ids", addressed + "Message-ID: <" + long + "@example.com>\nIn-Reply-To: <" + long + "@example.com>\n\nx\n", headers,
			[]smtp2gotest.Header{},
			[]string{"in-reply-to", "message id"},
		},
		{
			"tags and metadata", addressed + "X-Bridge-Tag: a\nX-Bridge-Metadata: k=v\nX-Bridge-Track-Opens: no\n\nx\n", headers,
			[]smtp2gotest.Header{},
			[]string{"tags", "metadata", "open tracking"},
		},
		{
			"an invitation", addressed + "Content-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\n",
			func(m *smtp2gotest.Mail) any { return m.Attachments },
			[]smtp2gotest.File{{Filename: "invite.ics", Fileblob: base64.StdEncoding.EncodeToString([]byte("BEGIN:VCALENDAR\r\n")), Mimetype: "text/calendar"}},
			[]string{"calendar as file"},
		},
		{
			"files", mixed + part("Content-Type: application/pdf; name=a.pdf", "") + part("Content-Type: x/\"y z\"; name=b.bin\nContent-Disposition: attachment", "b") +
				part("Content-Type: application/pdf", "c") + "--m--\n",
			func(m *smtp2gotest.Mail) any { return m.Attachments },
			[]smtp2gotest.File{{Filename: "b.bin", Fileblob: "Yg==", Mimetype: "text/plain"}, {Filename: "attachment", Fileblob: "Yw==", Mimetype: "application/pdf"}},
			[]string{"empty file"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			mails, losses := sent(t, providertest.Message(t, c.mail, hidden...))
			if diff := cmp.Diff(c.want, c.got(mails[0])); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.losses, losses); diff != "" {
				t.Errorf("losses (-want +got):\n%s", diff)
			}
		})
	}
}

// related is a mail with images of these Content-IDs and names.
func related(images ...[2]string) string {
	html, parts := "", ""
	for _, image := range images {
		html += "<img src=\"cid:" + image[0] + "\">"
		parts += "--r\nContent-Type: image/png; name=\"" + image[1] + "\"\nContent-ID: <" + image[0] + ">\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n"
	}
	return addressed + "MIME-Version: 1.0\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n" + html + "\n" + parts + "--r--\n"
}

// The name of an inline image is its Content-ID. What cannot have that name is
// a file, and named as lost; or the mail leaves raw, where it may.
func TestRequestOfInlineImages(t *testing.T) {
	for _, c := range []struct {
		name           string
		images         [][2]string
		inlines, files []string
	}{
		{"one", [][2]string{{"logo", "logo.png"}}, []string{"logo"}, nil},
		{"as Outlook writes them", [][2]string{{"image001.png@01D5C0A1.5A2B3C40", "image001.png"}}, []string{"image001.png@01D5C0A1.5A2B3C40"}, nil},
		{"as Thunderbird writes them", [][2]string{{"part1.06090408@example.org", "a.png"}}, []string{"part1.06090408@example.org"}, nil},
		{"a name of programs", [][2]string{{"part1.06090408@example.com", "a.png"}}, nil, []string{"a.png"}},
		{"two of one id", [][2]string{{"i", "a.png"}, {"i", "b.png"}}, []string{"i"}, []string{"b.png"}},
		{"two that differ in case", [][2]string{{"i", "a.png"}, {"I", "b.png"}}, []string{"i"}, []string{"b.png"}},
		{"a path", [][2]string{{"a/b", "a.png"}}, nil, []string{"a.png"}},
		{"quoting", [][2]string{{"a%b", "a.png"}, {"a&b", "b.png"}, {"ü", "c.png"}, {".a", "d.png"}, {strings.Repeat("x", 128), "e.png"}}, nil, []string{"a.png", "b.png", "c.png", "d.png", "e.png"}},
		{"files of one name", [][2]string{{"a/1", "image.png"}, {"a/2", "image.png"}, {"a/3", "IMAGE.png"}, {"a/4", ""}, {"a/5", ""}}, nil, []string{"image.png", "image-2.png", "IMAGE-3.png", "attachment", "attachment-2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mails, losses := sent(t, providertest.Message(t, related(c.images...), hidden...))
			if got := names(mails[0].Inlines); !slices.Equal(got, c.inlines) {
				t.Errorf("inline are %q, want %q", got, c.inlines)
			}
			if got := names(mails[0].Attachments); !slices.Equal(got, c.files) {
				t.Errorf("files are %q, want %q", got, c.files)
			}
			if named := slices.Contains(losses, "inline image as file"); named != (len(c.files) > 0) {
				t.Errorf("the losses are %q", losses)
			}
			mails, losses = sent(t, providertest.Message(t, related(c.images...), "a@example.org"))
			if raw := mails[0].Raw != nil; raw != (len(c.files) > 0) || len(losses) > 0 {
				t.Errorf("to whom it shows it leaves raw: %v, with the losses %q", raw, losses)
			}
		})
	}
}

func names(files []smtp2gotest.File) []string {
	var list []string
	for _, f := range files {
		list = append(list, f.Filename)
	}
	return list
}

// A file keeps its name whatever stands before it.
func TestRequestKeepsFileNames(t *testing.T) {
	mail := strings.Replace(related([2]string{"a/1", "image.png"}), "--r--", "--r\nContent-Type: image/png; name=image.png\n\nx\n--r\nContent-Type: image/png; name=image.png\n\nx\n--r--", 1)
	mails, _ := sent(t, providertest.Message(t, mail, hidden...))
	if got := names(mails[0].Attachments); !slices.Equal(got, []string{"image-2.png", "image.png", "image.png"}) {
		t.Errorf("the files are %q", got)
	}
}

// A time that passes while the mail is handed over is now: the API takes none
// but of the future.
func TestRequestSendTime(t *testing.T) {
	complete := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		at   time.Duration
		want string
	}{
		{-time.Hour, ""},
		{0, ""},
		{time.Minute, ""},
		{time.Minute + time.Second, "2026-01-02 03:05:06 +0000"},
		{72 * time.Hour, "2026-01-05 03:04:05 +0000"},
	} {
		m := providertest.Message(t, addressed+"\nx\n", hidden...)
		m.Envelope.Complete, m.Directives.SendAt = complete, complete.Add(c.at).In(time.FixedZone("", 3600))
		body := contentOf(t, newAdapter().Requests(m)[0])
		if got := strings.Contains(body, `"schedule"`); got != (c.want != "") || !strings.Contains(body, c.want) {
			t.Errorf("%v after it came the mail is asked to leave at %q, want %q", c.at, body, c.want)
		}
	}
}

func contentOf(t *testing.T, r providers.Request) string {
	t.Helper()
	body, err := r.Body.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Each list of a mail has room for 100; those who must not see each other get a
// mail of their own.
func TestRequestsOfManyRecipients(t *testing.T) {
	for _, c := range []struct {
		n               int
		shown, isHidden int // requests where all are shown, and where none is
	}{{1, 1, 1}, {50, 1, 50}, {51, 1, 51}, {100, 1, 100}, {101, 2, 101}, {1000, 10, 1000}, {1001, 11, 1001}} {
		list := make([]string, c.n)
		for i := range list {
			list[i] = fmt.Sprintf("r%d@example.org", i)
		}
		for to, want := range map[string]int{strings.Join(list, ", "): c.shown, "other@example.net": c.isHidden} {
			m := providertest.Message(t, "From: shop@example.com\nSubject: s\nTo: "+to+"\n\nx\n", list...)
			mails, _ := sent(t, m)
			var all []string
			for _, mail := range mails {
				all = append(all, mail.Recipients()...)
			}
			if !slices.Equal(all, list) || len(mails) != want {
				t.Errorf("%d recipients are %d in %d requests, want %d requests", c.n, len(all), len(mails), want)
			}
		}
	}
}

// X-SMTPAPI to: every recipient sees only itself.
func TestRequestsApart(t *testing.T) {
	m := providertest.Message(t, addressed+"Cc: b@example.org\nX-SMTPAPI: {\"to\":[\"b@example.org\",\"a@example.org\"]}\n\nx\n", "a@example.org", "b@example.org")
	mails, _ := sent(t, m)
	if len(mails) != 2 || !slices.Equal(mails[0].Recipients(), []string{"a@example.org"}) || !slices.Equal(mails[1].Recipients(), []string{"b@example.org"}) {
		t.Errorf("the mails are %+v", mails)
	}
}

// The bodies of several copies are read again, and at once, as any other.
func TestRequestsOfSeveralCopiesReplay(t *testing.T) {
	mail := addressed + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\n\"text\"\n--m\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n" +
		strings.Repeat(strings.Repeat("QUJD", 18)+"\n", 3000) + "--m--\n"
	m := providertest.Message(t, mail, "h1@example.org", "h2@example.org", "h3@example.org")
	requests := newAdapter().Requests(m)
	var wg sync.WaitGroup
	for i, r := range requests {
		for range 3 {
			wg.Go(func() {
				content := contentOf(t, r)
				parsed, err := smtp2gotest.DecodeSend([]byte(content))
				if err != nil || int64(len(content)) != r.Body.Len() || !slices.Equal(parsed.To, m.Envelope.Recipients[i:i+1]) || len(parsed.Attachments) != 1 {
					t.Errorf("request %d has %d octets, it announces %d (%v)", i, len(content), r.Body.Len(), err)
				}
			})
		}
	}
	wg.Wait()
}

// Every field takes every character, in the form that is known to arrive.
func TestUnicodeInEveryField(t *testing.T) {
	const word = "Grüße 漢字 🎉"
	encoded := "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(word)) + "?="
	got := render(t, "From: "+encoded+" <f@bücher.example>\nTo: "+encoded+" <a@example.org>\nCc: "+encoded+" <c@bücher.example>\nReply-To: "+encoded+" <r@bücher.example>\n"+
		"Subject: "+encoded+"\nX-A: "+encoded+"\nX-B: "+word+"\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n"+
		"--m\nContent-Type: text/plain; charset=utf-8\n\n"+word+"\n--m\nContent-Type: text/html; charset=utf-8\n\n<p>"+word+"\n"+
		"--m\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=\""+encoded+"\"\n\nx\n--m--\n",
		"a@example.org", "c@xn--bcher-kva.example", "hidden@example.org")
	want := &smtp2gotest.Mail{
		Sender: word + " <f@xn--bcher-kva.example>", To: []string{word + " <a@example.org>"}, Cc: []string{word + " <c@xn--bcher-kva.example>"}, Bcc: []string{"hidden@example.org"},
		Subject: word, TextBody: word, HTMLBody: word + "<br><p>" + word,
		CustomHeaders: []smtp2gotest.Header{
			{Name: "X-Bridge-Id", Value: bridgeID},
			{Name: "Reply-To", Value: "=?utf-8?q?Gr=C3=BC=C3=9Fe_=E6=BC=A2=E5=AD=97_=F0=9F=8E=89?= <r@xn--bcher-kva.example>"},
			{Name: "X-A", Value: encoded},
			{Name: "X-B", Value: "=?utf-8?q?Gr=C3=BC=C3=9Fe_=E6=BC=A2=E5=AD=97_=F0=9F=8E=89?="},
		},
		Attachments: []smtp2gotest.File{{Filename: word, Fileblob: "eA==", Mimetype: "application/pdf"}}, FastAccept: new(bool),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is too large or too far ahead for SMTP2GO another provider may take.
func TestLimitsAreCheckedBefore(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		change func(*translate.Message)
		want   providers.Category
	}{
		"size":      {func(m *translate.Message) { m.Text.Size = 49_900_000 }, ""},
		"one more":  {func(m *translate.Message) { m.Text.Size = 49_900_001 }, providers.TooLarge},
		"in 3 days": {func(m *translate.Message) { m.Directives.SendAt = now.Add(72 * time.Hour) }, ""},
		"later":     {func(m *translate.Message) { m.Directives.SendAt = now.Add(72*time.Hour + 1) }, providers.NotFaithful},
	} {
		m := providertest.Message(t, addressed+"\nx\n", hidden...)
		c.change(m)
		_, refusal := providers.Check(newAdapter().Capabilities(), m, now)
		if (refusal == nil) != (c.want == "") || refusal != nil && (refusal.Category != c.want || !refusal.Local) {
			t.Errorf("%s: refused with %v, want %q", name, refusal, c.want)
		}
	}
	if limit := newAdapter().Capabilities().MaxRequestBytes; limit != 50_000_000 {
		t.Errorf("a request may have %d octets", limit)
	}
}

// What many copies share is held once.
func TestRequestsShareTheMail(t *testing.T) {
	list := make([]string, 500)
	for i := range list {
		list[i] = fmt.Sprintf("r%d@example.org", i)
	}
	m := providertest.Message(t, "From: shop@example.com\nSubject: s\n\n"+strings.Repeat("Sixty octets of text that is held in memory with the mail.\n", 1000), list...)
	a := newAdapter()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	requests := a.Requests(m)
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	if len(requests) != len(list) {
		t.Errorf("there are %d requests, want one for each", len(requests))
	}
	if allocated > 4<<20 {
		t.Errorf("500 requests of a mail of 60 KB take %d octets, want far less than 500 times as much", allocated)
	}
}

func TestConfigValidate(t *testing.T) {
	for value, want := range map[string][]string{
		key: nil, "": {"api_key"}, key + "\n": {"api_key"}, "api-ü": {"api_key"}, "0123456789": {"api_key"}, "api-": {"api_key"},
	} {
		c := smtp2go.DefaultConfig()
		c.APIKey = config.NewSecret(value)
		var got []string
		c.Validate(func(name, problem string) {
			got = append(got, name)
			if len(value) > len("api-") && strings.Contains(problem, value) {
				t.Errorf("the problem repeats the key: %s", problem)
			}
		})
		if !slices.Equal(got, want) {
			t.Errorf("%q: the problems are of %q, want %q", value, got, want)
		}
	}
	c := smtp2go.DefaultConfig()
	c.APIKey, c.BaseURL, c.Timeout = config.NewSecret(key), "https://eu-api.smtp2go.com/v3", 0
	var got []string
	c.Validate(func(name, _ string) { got = append(got, name) })
	if !slices.Equal(got, []string{"base_url", "timeout"}) || c.Type != "smtp2go" || c.Name != "smtp2go" {
		t.Errorf("the problems of %+v are of %q", c, got)
	}
}

package mailgun_test

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/providers/mailgun"
	"smtpbridge/providers/mailgun/mailguntest"
	"smtpbridge/providers/providertest"
	"smtpbridge/translate"
)

const (
	bridgeID  = "01JGABCDEFGHJKMNPQRSTVWXYZ"
	addressed = "From: \"Shop, Inc.\" <shop@example.com>\nTo: A <a@example.org>\nSubject: Order 7\n"
	// batch is how Mailgun wants the header of a mail for many.
	batch = "From: shop@example.com\nTo: %recipient%\nSubject: Order 7\n"
)

// requests gives what is sent, as the strict fake reads it.
func requests(t *testing.T, a *mailgun.Adapter, m *translate.Message) []*mailguntest.Mail {
	t.Helper()
	if _, refusal := providers.Check(a.Capabilities(), m, time.Now()); refusal != nil {
		t.Fatalf("the mail is not carried: %v", refusal)
	}
	var list []*mailguntest.Mail
	for _, r := range a.Requests(m) {
		list = append(list, decode(t, r))
	}
	return list
}

func decode(t *testing.T, r providers.Request) *mailguntest.Mail {
	t.Helper()
	body, err := r.Body.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	if err != nil || int64(len(content)) != r.Body.Len() {
		t.Fatalf("the body has %d octets (%v), it announces %d", len(content), err, r.Body.Len())
	}
	parsed, err := mailguntest.Decode(r.URL, r.Header.Get("Content-Type"), content)
	if err != nil {
		t.Fatalf("Mailgun would refuse: %v\n%.4000s", err, content)
	}
	return parsed
}

// render gives the only request of a mail.
func render(t *testing.T, a *mailgun.Adapter, mail string, recipients ...string) *mailguntest.Mail {
	t.Helper()
	list := requests(t, a, providertest.Message(t, mail, recipients...))
	if len(list) != 1 {
		t.Fatalf("there are %d requests, want 1", len(list))
	}
	return list[0]
}

// whole is a mail with something of everything.
func whole(sendAt time.Time) string {
	return addressed + "Cc: =?utf-8?q?B=C3=A9_=28x=29?= <b@example.org>\nReply-To: help@example.com, =?utf-8?q?J=C3=B6rg?= <j@example.com>\n" +
		"Message-ID: <7@example.com>\nIn-Reply-To: <6@example.com>\nReferences: <5@example.com> <6@example.com>\n" +
		"X-Order: 7\nX-Shop: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nBcc: audit@example.net\nReceived: from somewhere\n" +
		"X-Bridge-Tag: order\nX-Bridge-Metadata: user_id=12345\nX-Bridge-Metadata: name=Gr\xc3\xbc\xc3\x9fe\n" +
		"X-Bridge-Send-At: " + sendAt.Format(time.RFC3339) + "\nX-Bridge-Track-Opens: no\nX-Bridge-Track-Clicks: yes\n" +
		"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n" +
		"--m\nContent-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain; charset=utf-8\n\nGr\xc3\xbc\xc3\x9fe\n" +
		"--a\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n<img src=\"cid:logo@x\">\n" +
		"--r\nContent-Type: image/png; name=logo.png\nContent-ID: <logo@x>\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--r--\n" +
		"--a--\n--m\nContent-Type: text/csv; charset=iso-8859-1; name=\"=?utf-8?q?=C3=9Cbersicht,_M=C3=A4rz=3B.csv?=\"\n" +
		"Content-Disposition: attachment\nContent-Transfer-Encoding: base64\n\n/A==\n--m--\n"
}

// By fields the parts of the mail are what the API wants; what is not part of
// the mail is the same either way.
func TestRequestOfAWholeMail(t *testing.T) {
	sendAt := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	recipients := []string{"a@example.org", "b@example.org", "audit@example.net"}
	directives := map[string][]string{
		"o:tag": {"order"}, "v:user_id": {"12345"}, "v:name": {"Grüße"}, "v:bridge_id": {bridgeID},
		"o:deliverytime": {sendAt.Format(time.RFC1123Z)}, "o:tracking-clicks": {"yes"}, "o:tracking-opens": {"no"},
		"o:suppress-headers": {"X-Mailgun-Variables"},
	}
	fields := map[string][]string{
		"from": {`"Shop, Inc." <shop@example.com>`}, "to": {"A <a@example.org>"},
		"cc": {"=?utf-8?b?QsOpICh4KQ==?= <b@example.org>"}, "bcc": {"audit@example.net"}, "subject": {"Order 7"},
		"h:Reply-To":   {"help@example.com, =?utf-8?q?J=C3=B6rg?= <j@example.com>"},
		"h:Message-Id": {"<7@example.com>"}, "h:In-Reply-To": {"<6@example.com>"}, "h:References": {"<5@example.com> <6@example.com>"},
		"h:X-Order": {"7"}, "h:X-Shop": {"=?utf-8?q?Gr=C3=BC=C3=9Fe?="}, "text": {"Grüße"}, "html": {`<img src="cid:logo@x">`},
	}
	raw := map[string][]string{"to": recipients}
	for name, values := range directives {
		fields[name], raw[name] = values, values
	}
	got := render(t, newFields(), whole(sendAt), recipients...)
	if diff := cmp.Diff(fields, got.Fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]mailguntest.File{
		{Field: "inline", Name: "logo@x", Type: "image/png", Content: []byte("\x89PNG\r\n\x1a\n")},
		{Field: "attachment", Name: "Übersicht, März;.csv", Type: "text/csv; charset=iso-8859-1", Content: []byte("\xfc")},
	}, got.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}

	got = render(t, newAdapter(), whole(sendAt), recipients...)
	if diff := cmp.Diff(raw, got.Fields); diff != "" {
		t.Errorf("raw (-want +got):\n%s", diff)
	}
	text := string(got.Message)
	for _, want := range []string{
		"To: A <a@example.org>\r\n", "Cc: =?utf-8?q?B=C3=A9_=28x=29?= <b@example.org>\r\n", "Message-ID: <7@example.com>\r\n",
		"X-Order: 7\r\n", "Content-ID: <logo@x>\r\n", "iVBORw0KGgo=",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the mail lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "audit@example.net") || strings.Contains(text, "X-Bridge") || strings.Contains(text, "Received") {
		t.Errorf("the mail shows what it must not:\n%s", text)
	}
}

// What fields cannot carry as it is leaves raw, and without a loss.
func TestFieldsLeaveRaw(t *testing.T) {
	mixed := "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\ntext\n--m\n"
	related := "MIME-Version: 1.0\nContent-Type: multipart/related; boundary=m\n\n--m\nContent-Type: text/html\n\n<img src=cid:x><img src='cid:a/b'>\n--m\nContent-Type: image/png\n"
	for _, c := range []struct {
		name, mail string
		raw        bool
	}{
		{"plain", addressed + "\nx\n", false},
		{"sender as From", addressed + "Sender: SHOP@example.com\n\nx\n", false},
		{"file", addressed + mixed + "Content-Type: application/pdf; name=a.pdf\n\nPDF\n--m--\n", false},
		{"image", addressed + related + "Content-ID: <x>\n\nPNG\n--m--\n", false},

		{"no subject", "From: a@example.com\nTo: a@example.org\n\nx\n", true},
		{"blank subject", "From: a@example.com\nTo: a@example.org\nSubject: =?utf-8?q?_?=\n\nx\n", true},
		{"subject of two lines", "From: a@example.com\nTo: a@example.org\nSubject: =?utf-8?q?a=0D=0ABcc:_b?=\n\nx\n", false},
		{"no body", addressed + "\n", true},
		{"only a file", addressed + "Content-Type: application/pdf; name=a.pdf\n\nPDF\n", true},
		{"calendar", addressed + "Content-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\n", true},
		{"other alternative", addressed + "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=m\n\n--m\n\ntext\n--m\nContent-Type: text/enriched\n\nx\n--m--\n", true},
		{"AMP without HTML", addressed + "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=m\n\n--m\n\ntext\n--m\nContent-Type: text/x-amp-html\n\nx\n--m--\n", true},
		{"signed", addressed + "MIME-Version: 1.0\nContent-Type: multipart/signed; boundary=m\n\n--m\n\ntext\n--m\nContent-Type: application/pgp-signature\n\nx\n--m--\n", true},
		{"signed below", addressed + mixed + "Content-Type: multipart/signed; boundary=s\n\n--s\n\ntext\n--s\nContent-Type: application/pgp-signature\n\nx\n--s--\n--m--\n", true},
		{"unknown encoding", addressed + "Content-Transfer-Encoding: x-own\n\nx\n", true},
		{"two Subjects", addressed + "Subject: again\n\nx\n", true},
		{"two authors", "From: a@example.com, b@example.com\nTo: a@example.org\nSubject: s\n\nx\n", true},
		{"sender", addressed + "Sender: bot@example.com\n\nx\n", true},
		{"odd Reply-To", addressed + "Reply-To: root\n\nx\n", true},
		{"a header twice", addressed + "X-A: 1\nX-A: 2\n\nx\n", true},
		{"a signature of the old mail", addressed + "DKIM-Signature: v=1\n\nx\n", true},
		{"quotes in a name", addressed + "X-\"A\": 1\n\nx\n", true},
		{"a long header", addressed + "X-A: " + strings.Repeat("x", 1000) + "\n\nx\n", true},
		{"many headers", addressed + numbered("X-%d: "+strings.Repeat("x", 900)+"\n", 7) + "\nx\n", true},
		{"many references", addressed + "References: " + strings.Repeat("<0123456789@example.com> ", 100) + "\n\nx\n", true},
		{"a long line", addressed + "\n" + strings.Repeat("x", 1000) + "\n", true},
		{"nameless file", addressed + mixed + "Content-Type: application/pdf\n\nPDF\n--m--\n", true},
		{"quotes in a file name", addressed + mixed + "Content-Type: application/pdf; name=\"a\\\"b.pdf\"\n\nPDF\n--m--\n", true},
		{"empty file", addressed + mixed + "Content-Type: application/pdf; name=a.pdf\n\n--m--\n", true},
		{"attached mail", addressed + mixed + "Content-Type: message/rfc822\n\nSubject: x\n\ny\n--m--\n", true},
		{"odd Content-ID", addressed + related + "Content-ID: <a/b>\n\nPNG\n--m--\n", true},
		{"Content-ID twice", addressed + related + "Content-ID: <x>\n\nPNG\n--m\nContent-Type: image/png\nContent-ID: <x>\n\nPNG\n--m--\n", true},

		{"nobody shown", "From: shop@example.com\nSubject: s\n\nx\n", true},
		{"shown outside the envelope", "From: shop@example.com\nTo: a@example.org, z@example.org\nSubject: s\n\nx\n", true},
		{"only Cc", "From: shop@example.com\nCc: a@example.org\nSubject: s\n\nx\n", true},
		{"shown twice", "From: shop@example.com\nTo: a@example.org\nCc: a@example.org\nSubject: s\n\nx\n", true},
		{"shown apart", addressed + `X-SMTPAPI: {"to":["a@example.org"]}` + "\n\nx\n", false},
		{"batch", batch + `X-Mailgun-Recipient-Variables: {"a@example.org":{"n":1}}` + "\n\n%recipient.n%\n", false},
		{"batch shown together", addressed + `X-Mailgun-Recipient-Variables: {"a@example.org":{"n":1}}` + "\n\n%recipient.n%\n", true},
		{"batch with Cc", batch + "Cc: z@example.org\n" + `X-Mailgun-Recipient-Variables: {"a@example.org":{"n":1}}` + "\n\n%recipient.n%\n", true},
		{"variables in a part", addressed + "MIME-Version: 1.0\nContent-Type: multipart/mailgun-variables; boundary=m\n\n--m\nContent-Type: application/json\n\n{}\n--m\nContent-Type: message/rfc822\n\nSubject: x\n\ny\n--m--\n", true},
		{"template", addressed + "X-Mailgun-Template-Name: welcome\n\nx\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := providertest.Message(t, c.mail, "a@example.org")
			losses, refusal := providers.Check(newFields().Capabilities(), m, time.Now())
			if refusal != nil || !slices.Equal(losses, m.RawFlaws) {
				t.Errorf("the losses are %q (%v), want those of raw MIME alone, %q", losses, refusal, m.RawFlaws)
			}
			if got := render(t, newFields(), c.mail, "a@example.org"); got.MIME != c.raw || got.MIME != newFields().Capabilities().LeavesRaw(m) {
				t.Errorf("it leaves raw: %v, want %v", got.MIME, c.raw)
			}
			if !render(t, newAdapter(), c.mail, "a@example.org").MIME {
				t.Error(`with format = "mime" it leaves by fields`)
			}
		})
	}
}

func numbered(format string, n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, format, i)
	}
	return out.String()
}

// Mailgun dates what it builds: another Date is kept by leaving raw.
func TestFieldsKeepTheDate(t *testing.T) {
	came := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for minutes, raw := range map[int]bool{0: false, 4: false, -4: false, 6: true, -60: true} {
		offset := time.Duration(minutes) * time.Minute
		m := providertest.Message(t, addressed+"Date: "+came.Add(offset).Format(time.RFC1123Z)+"\n\nx\n", "a@example.org")
		m.Envelope.Complete = came
		if got := requests(t, newFields(), m)[0]; got.MIME != raw {
			t.Errorf("a Date %v from now leaves raw: %v, want %v", offset, got.MIME, raw)
		}
	}
}

// A time that has passed is now.
func TestRequestOfAPastSendTime(t *testing.T) {
	m := providertest.Message(t, addressed+"X-Bridge-Send-At: 2026-01-02T03:04:05Z\n\nx\n", "a@example.org")
	for late, want := range map[int][]string{-1: {"Fri, 02 Jan 2026 03:04:05 +0000"}, 0: nil, 3600: nil} {
		m.Envelope.Complete = time.Date(2026, 1, 2, 3, 4, 5+late, 0, time.UTC)
		if got := requests(t, newAdapter(), m)[0]; !slices.Equal(got.Fields["o:deliverytime"], want) {
			t.Errorf("%d s after its time the mail is scheduled for %q, want %q", late, got.Fields["o:deliverytime"], want)
		}
	}
}

// What is signed or encrypted leaves untouched, and is not tracked.
func TestRequestOfOpaqueMail(t *testing.T) {
	body := "MIME-Version: 1.0\nContent-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=s\n\n" +
		"--s\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGr\xc3\xbc\xc3\x9fe  \n" +
		"--s\nContent-Type: application/pgp-signature\n\nx\n--s--\n"
	for _, a := range []*mailgun.Adapter{newAdapter(), newFields()} {
		got := render(t, a, addressed+"X-Bridge-Track-Opens: yes\nX-Mailgun-Track-Clicks: yes\n"+body, "a@example.org")
		for _, name := range []string{"o:tracking", "o:tracking-clicks", "o:tracking-opens"} {
			if !slices.Equal(got.Fields[name], []string{"no"}) {
				t.Errorf("%s is %q, want no", name, got.Fields[name])
			}
		}
		if want := strings.ReplaceAll(body, "\n", "\r\n"); !strings.HasSuffix(string(got.Message), want) {
			t.Errorf("the mail is changed:\n%q\nwant its end to be\n%q", got.Message, want)
		}
	}
}

// Where the application says so, every recipient sees only itself.
func TestRequestsApart(t *testing.T) {
	mail := "From: shop@example.com\nTo: Ann <a@example.org>, z@example.org\nCc: =?utf-8?q?B=C3=B6?= <b@example.org>\nSubject: x\n" +
		`X-SMTPAPI: {"to":["a@example.org","b@example.org","h@example.org"]}` + "\n\nx\n"
	m := providertest.Message(t, mail, "a@example.org", "b@example.org", "h@example.org")
	for format, a := range map[string]*mailgun.Adapter{"mime": newAdapter(), "fields": newFields()} {
		list := requests(t, a, m)
		if len(list) != 3 {
			t.Fatalf("%s: there are %d requests, want one for each", format, len(list))
		}
		for i, want := range []string{"Ann <a@example.org>", "=?utf-8?q?B=C3=B6?= <b@example.org>", "h@example.org"} {
			one := list[i].Copies()[0]
			if !slices.Equal(one.Recipients, one.Shown) || len(one.Recipients) != 1 {
				t.Errorf("%s: %q are shown to %q", format, one.Shown, one.Recipients)
			}
			shown := list[i].Header.Get("To") + list[i].Header.Get("Cc")
			if !list[i].MIME {
				shown = strings.Join(append(list[i].Fields["to"], list[i].Fields["cc"]...), "")
			}
			if shown != want {
				t.Errorf("%s: the header shows %q, want %q", format, shown, want)
			}
		}
	}
}

// Five hundred requests of one mail do not hold it five hundred times.
func TestRequestsApartShareTheMail(t *testing.T) {
	const n = 500
	to := make([]string, n)
	for i := range to {
		to[i] = fmt.Sprintf("r%d@example.org", i)
	}
	mail := addressed + `X-SMTPAPI: {"to":["` + strings.Join(to, `","`) + `"]}` + "\n\n" + strings.Repeat("0123456789\n", 5000)
	m := providertest.Message(t, mail, to...)
	for format, a := range map[string]*mailgun.Adapter{"mime": newAdapter(), "fields": newFields()} {
		before := heap()
		list := a.Requests(m)
		if grown := heap() - before; len(list) != n || grown > 8<<20 {
			t.Errorf("%s: %d requests for a mail of %d octets hold %d of memory", format, len(list), m.Size, grown)
		}
		runtime.KeepAlive(list)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The texts of each recipient go with its request; everybody has a copy of its own.
func TestRequestsOfABatch(t *testing.T) {
	mail := batch + `X-Mailgun-Recipient-Variables: {"A@example.org":{"n":"A & <B>"}, "b@example.org": {"n": 2}, "stranger@example.org":{"n":3}}` + "\n\n%recipient.n%\n"
	for format, a := range map[string]*mailgun.Adapter{"mime": newAdapter(), "fields": newFields()} {
		got := render(t, a, mail, "a@example.org", "b@example.org", "c@example.org")
		want := `{"a@example.org":{"n":"A \u0026 \u003cB\u003e"},"b@example.org":{"n":2},"c@example.org":{}}`
		if !slices.Equal(got.Fields["recipient-variables"], []string{want}) || got.MIME != (format == "mime") {
			t.Errorf("%s: the variables are %q, want %s", format, got.Fields["recipient-variables"], want)
		}
		if to := got.Fields["to"]; !slices.Equal(to, []string{"a@example.org", "b@example.org", "c@example.org"}) || len(got.Fields["cc"])+len(got.Fields["bcc"]) > 0 {
			t.Errorf("%s: the recipients are %q, %q, %q", format, to, got.Fields["cc"], got.Fields["bcc"])
		}
	}
	apart := strings.Replace(mail, "\n\n", "\n"+`X-SMTPAPI: {"to":["a@example.org","b@example.org"]}`+"\n\n", 1)
	for i, got := range requests(t, newAdapter(), providertest.Message(t, apart, "a@example.org", "b@example.org")) {
		want := []string{`{"a@example.org":{"n":"A \u0026 \u003cB\u003e"}}`, `{"b@example.org":{"n":2}}`}[i]
		if !slices.Equal(got.Fields["recipient-variables"], []string{want}) {
			t.Errorf("apart: the variables are %q, want %s", got.Fields["recipient-variables"], want)
		}
	}
}

// A request takes a thousand, and drops one of two that differ in case only.
func TestRequestsSplit(t *testing.T) {
	for _, c := range []struct {
		recipients, want []int
	}{
		{[]int{1}, []int{1}},
		{[]int{50}, []int{50}},
		{[]int{51}, []int{51}},
		{[]int{1000}, []int{1000}},
		{[]int{1001}, []int{1000, 1}},
		{[]int{2, 2}, []int{2, 2}},
		{[]int{1500, 3}, []int{1000, 500, 3}},
	} {
		var recipients []string
		for again, n := range c.recipients {
			for i := range n {
				recipients = append(recipients, fmt.Sprintf("%s%d@example.org", []string{"r", "R"}[again], i))
			}
		}
		for format, a := range map[string]*mailgun.Adapter{"mime": newAdapter(), "fields": newFields()} {
			for _, mail := range []string{"From: shop@example.com\nTo: all:;\nSubject: s\n\nx\n", batch + "X-Mailgun-Recipient-Variables: {}\n\nx\n"} {
				var got []int
				asked := make(map[string]int)
				m := providertest.Message(t, mail, recipients...)
				list := requests(t, a, m)
				for i, r := range a.Requests(m) {
					got = append(got, len(r.Recipients))
					if sent := list[i].Recipients(); !slices.Equal(r.Recipients, sent) {
						t.Errorf("%s: a request for %d sends to %d", format, len(r.Recipients), len(sent))
					}
					for _, recipient := range r.Recipients {
						asked[recipient]++
					}
				}
				if !slices.Equal(got, c.want) || len(asked) != len(recipients) {
					t.Errorf("%s: %v recipients are %d in requests of %v, want %v", format, c.recipients, len(asked), got, c.want)
				}
			}
		}
	}
}

// Events cut variables beyond 4 kB: our own id must be among what is left.
func TestRequestBoundsWhatComesBack(t *testing.T) {
	mail := addressed + numbered("X-Bridge-Tag: tag %d\n", 5) + "X-Bridge-Tag: \xc3\xbc\nX-Bridge-Tag: " + strings.Repeat("x", 129) + "\n" +
		numbered("X-Bridge-Metadata: key%02d="+strings.Repeat("v", 90)+"\n", 60) + "X-Bridge-Metadata: bridge_id=forged\n" +
		"X-Mailgun-Variables: {\"\": \"nameless\"}\n\nx\n"
	for _, a := range []*mailgun.Adapter{newAdapter(), newFields()} {
		losses, _ := providers.Check(a.Capabilities(), providertest.Message(t, mail, "a@example.org"), time.Now())
		if !slices.Equal(losses, []string{"tags", "metadata"}) {
			t.Errorf("the losses are %q", losses)
		}
		got := render(t, a, mail, "a@example.org")
		size := 0
		for name, values := range got.Fields {
			if strings.HasPrefix(name, "v:") {
				size += len(name) + len(values[0]) + len(`"":"",`) - len("v:")
			}
		}
		if !slices.Equal(got.Fields["v:bridge_id"], []string{bridgeID}) || size > 4000 || size < 3800 {
			t.Errorf("the variables have %d octets, bridge_id is %q", size, got.Fields["v:bridge_id"])
		}
		if !slices.Equal(got.Fields["o:tag"], []string{"tag 0", "tag 1", "tag 2"}) {
			t.Errorf("the tags are %q", got.Fields["o:tag"])
		}
	}
}

// Even all there can be has room in 16 kB.
func TestRequestHasRoomForAll(t *testing.T) {
	mail := addressed + numbered("X-Bridge-Tag: "+strings.Repeat("t", 126)+"%d\n", 3) + numbered("X-%d: "+strings.Repeat("h", 950)+"\n", 6) +
		numbered("X-Bridge-Metadata: key%04d=vvvv\n", 500) + numbered("X-Mailgun-Suppress-Headers: X-Mailgun-Header-%04d\n", 400) +
		"X-Bridge-Track-Opens: yes\nX-Bridge-Track-Clicks: yes\nX-Bridge-Send-At: " + time.Now().Add(time.Hour).Format(time.RFC3339) + "\n\nx\n"
	for _, a := range []*mailgun.Adapter{newAdapter(), newFields()} {
		if got := render(t, a, mail, "a@example.org"); len(got.Fields["o:suppress-headers"][0]) < 2000 {
			t.Errorf("the hidden headers are %q", got.Fields["o:suppress-headers"])
		}
	}
	if render(t, newFields(), mail, "a@example.org").MIME {
		t.Error("the headers leave raw, want them to be as many as fields hold")
	}
}

func TestRequestEndpoints(t *testing.T) {
	m := providertest.Message(t, addressed+"\nx\n", "a@example.org")
	for _, c := range []struct{ region, format, want string }{
		{"us", "mime", "https://api.mailgun.net/v3/mg.example.com/messages.mime"},
		{"eu", "mime", "https://api.eu.mailgun.net/v3/mg.example.com/messages.mime"},
		{"us", "fields", "https://api.mailgun.net/v3/mg.example.com/messages"},
		{"eu", "fields", "https://api.eu.mailgun.net/v3/mg.example.com/messages"},
	} {
		config := newConfig()
		config.Region, config.Format = c.region, c.format
		if got := mailgun.New(config).Requests(m)[0]; got.URL != c.want || got.Method != "POST" {
			t.Errorf("%s, %s: %s %s, want %s", c.region, c.format, got.Method, got.URL, c.want)
		}
	}
}

// A mail near the limit is carried, one beyond it is refused before it is sent.
func TestRequestOfLargeMail(t *testing.T) {
	line := strings.Repeat("QUJD", 18) + "\n"
	head := addressed + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\ntext\n--m\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\n"
	for size, carried := range map[int]bool{24_900_000: true, 25_100_000: false} {
		m := providertest.Message(t, head+strings.Repeat(line, size/(len(line)+1))+"--m--\n", "a@example.org")
		for _, a := range []*mailgun.Adapter{newAdapter(), newFields()} {
			_, refusal := providers.Check(a.Capabilities(), m, time.Now())
			if (refusal == nil) != carried || refusal != nil && (refusal.Category != providers.TooLarge || !refusal.Local) {
				t.Errorf("%d octets are refused with %v", m.Size, refusal)
			}
			if carried && !requests(t, a, m)[0].MIME {
				t.Error("what comes near the limit is built by Mailgun, which counts in its own way")
			}
		}
	}
}

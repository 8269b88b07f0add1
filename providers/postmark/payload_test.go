package postmark_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/postmark"
	"smtpbridge/providers/postmark/postmarktest"
	"smtpbridge/providers/providertest"
)

const (
	addressed = "From: \"Shop, Inc.\" <shop@example.com>\nTo: A <a@example.org>\nSubject: Order 7\n"
	bridgeID  = "01JGABCDEFGHJKMNPQRSTVWXYZ"
)

// renderAll gives the messages of each request, as the strict fake reads them,
// and what is lost.
func renderAll(t *testing.T, a *postmark.Adapter, mail string, recipients ...string) (requests [][]postmarktest.Message, losses []string) {
	t.Helper()
	m := providertest.Message(t, mail, recipients...)
	losses, refusal := providers.Check(a.Capabilities(), m, time.Now())
	if refusal != nil {
		t.Fatalf("the mail is not carried: %v", refusal)
	}
	for _, r := range a.Requests(m) {
		requests = append(requests, decode(t, r))
	}
	return requests, losses
}

func decode(t *testing.T, r providers.Request) []postmarktest.Message {
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
	messages, err := postmarktest.Decode(strings.TrimPrefix(r.URL, "https://api.postmarkapp.com"), content)
	if err != nil {
		t.Fatalf("Postmark would refuse: %v\n%.4000s", err, content)
	}
	return messages
}

// render gives the only message of a mail.
func render(t *testing.T, a *postmark.Adapter, mail string, recipients ...string) postmarktest.Message {
	t.Helper()
	requests, _ := renderAll(t, a, mail, recipients...)
	if len(requests) != 1 || len(requests[0]) != 1 {
		t.Fatalf("there are the requests %v, want one of one message", requests)
	}
	return requests[0][0]
}

func TestRequestOfAWholeMail(t *testing.T) {
	got := render(t, newAdapter(), addressed+"Cc: =?utf-8?q?J=C3=B6rg?= <b@example.org>\n"+
		"Reply-To: help@example.com, \"Boss, the\" <boss@example.com>\n"+
		"Message-ID: <7@example.com>\nIn-Reply-To: <6@example.com>\nReferences: <5@example.com> <6@example.com>\n"+
		"X-Order: 7\nX-Shop: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nX-Bridge-Tag: order\nX-Bridge-Metadata: user_id=12345\n"+
		"X-Bridge-Track-Opens: yes\nX-Bridge-Track-Clicks: no\n"+
		"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n"+
		"--m\nContent-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain\n\nHi\n"+
		"--a\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n<img src=\"cid:logo.png\">\n"+
		"--r\nContent-Type: image/png; name=logo.png\nContent-ID: <logo.png>\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--r--\n"+
		"--a\nContent-Type: text/calendar; method=request; charset=iso-8859-1\n\nBEGIN:VCALENDAR\n--a--\n"+
		"--m\nContent-Type: application/pdf; name=\"bill, March;.pdf\"\nContent-Disposition: attachment\n\nPDF\n--m--\n",
		"a@example.org", "b@example.org", "audit@example.net")
	base := base64.StdEncoding.EncodeToString
	want := postmarktest.Message{
		From:     `"Shop, Inc." <shop@example.com>`,
		To:       "A <a@example.org>",
		Cc:       "Jörg <b@example.org>",
		Bcc:      "audit@example.net",
		ReplyTo:  `help@example.com, "Boss, the" <boss@example.com>`,
		Subject:  new("Order 7"),
		TextBody: new("Hi"),
		HTMLBody: new(`<img src="cid:logo.png">`),
		Attachments: []postmarktest.Attachment{
			{Name: "logo.png", ContentType: "image/png", ContentID: new("cid:logo.png"), Content: "iVBORw0KGgo="},
			{Name: "invite.ics", ContentType: "text/calendar; charset=utf-8; method=request", Content: base([]byte("BEGIN:VCALENDAR"))},
			{Name: "bill, March;.pdf", ContentType: "application/pdf", Content: base([]byte("PDF"))},
		},
		Headers: []postmarktest.Header{
			{Name: "X-Order", Value: "7"},
			{Name: "X-Shop", Value: "=?utf-8?q?Gr=C3=BC=C3=9Fe?="},
			{Name: "Message-ID", Value: "<7@example.com>"},
			{Name: "In-Reply-To", Value: "<6@example.com>"},
			{Name: "References", Value: "<5@example.com> <6@example.com>"},
			{Name: "X-PM-KeepID", Value: "true"},
		},
		Tag:        "order",
		Metadata:   postmarktest.Strings{"user_id": "12345", "bridge_id": bridgeID},
		TrackOpens: new(true),
		TrackLinks: new("None"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func multipart(part string) string {
	return addressed + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\ntext\n--m\n" + part + "\n--m--\n"
}

func TestRequestDetails(t *testing.T) {
	const emoji = "\U0001F600"
	for _, c := range []struct {
		name, mail string
		got        func(postmarktest.Message) any
		want       any
	}{
		{"no subject", "From: a@example.com\n\nx\n", func(m postmarktest.Message) any { return *m.Subject }, ""},
		{"subject of two lines", "From: a@example.com\nSubject: =?utf-8?q?a=0D=0ABcc:_b?=\n\nx\n", func(m postmarktest.Message) any { return *m.Subject }, "a  Bcc: b"},
		{"no body", addressed + "\n", func(m postmarktest.Message) any { return *m.TextBody }, "\r\n"},
		{"no Message-ID", addressed + "\nx\n", func(m postmarktest.Message) any { return len(m.Headers) }, 0},
		{"nothing said of tracking", addressed + "\nx\n", func(m postmarktest.Message) any { return []any{m.TrackOpens, m.TrackLinks, m.MessageStream} }, []any{(*bool)(nil), (*string)(nil), ""}},
		{
			"tracking the other way", addressed + "X-PM-TrackOpens: false\nX-PM-TrackLinks: HtmlAndText\n\nx\n",
			func(m postmarktest.Message) any { return []any{*m.TrackOpens, *m.TrackLinks} },
			[]any{false, "HtmlAndText"},
		},
		{"links of HTML", addressed + "X-PM-TrackLinks: htmlonly\n\nx\n", func(m postmarktest.Message) any { return *m.TrackLinks }, "HtmlOnly"},
		{"links of the text", addressed + "X-PM-Track-Links: TextOnly\n\nx\n", func(m postmarktest.Message) any { return *m.TrackLinks }, "TextOnly"},
		{"links of nothing", addressed + "X-PM-TrackLinks: TextOnly\nX-Bridge-Track-Clicks: no\n\nx\n", func(m postmarktest.Message) any { return *m.TrackLinks }, "None"},
		{"stream", addressed + "X-PM-Message-Stream: broadcast\n\nx\n", func(m postmarktest.Message) any { return m.MessageStream }, "broadcast"},
		{"blank stream", addressed + "X-PM-Message-Stream:\n\nx\n", func(m postmarktest.Message) any { return m.MessageStream }, ""},
		{"two tags", addressed + "X-Bridge-Tag: one\nX-Bridge-Tag: two\n\nx\n", func(m postmarktest.Message) any { return m.Tag }, "one"},
		{
			"a tag that is too long before one that fits", addressed + "X-Bridge-Tag: " + strings.Repeat(emoji, 501) + "\nX-Bridge-Tag: two\n\nx\n",
			func(m postmarktest.Message) any { return m.Tag },
			"two",
		},
		{
			"metadata of the relay", addressed + "X-PM-Metadata-Color: blue\nX-PM-Metadata-color: red\nX-PM-Metadata-Bridge_ID: forged\nX-PM-Metadata-id: " + emoji + "\n\nx\n",
			func(m postmarktest.Message) any { return m.Metadata },
			postmarktest.Strings{"Color": "blue", "id": emoji, "bridge_id": bridgeID},
		},
		{
			"a header twice", addressed + "X-A: 1\nX-B: 2\nx-a: 3\n\nx\n", func(m postmarktest.Message) any { return m.Headers },
			[]postmarktest.Header{{Name: "X-A", Value: "1, 3"}, {Name: "X-B", Value: "2"}},
		},
		{
			"encoded and raw headers", addressed + "Disposition-Notification-To: =?utf-8?q?J=C3=B6rg?= <j@example.com>\nX-Raw: Gr\xc3\xbc\xc3\x9fe\n\nx\n",
			func(m postmarktest.Message) any { return m.Headers },
			[]postmarktest.Header{
				{Name: "Disposition-Notification-To", Value: "=?utf-8?q?J=C3=B6rg?= <j@example.com>"},
				{Name: "X-Raw", Value: "=?utf-8?q?Gr=C3=BC=C3=9Fe?="},
			},
		},
		{"forbidden headers", addressed + "DKIM-Signature: v=1\nTag: 7\nMessage-Stream: s\n\nx\n", func(m postmarktest.Message) any { return len(m.Headers) }, 0},
		{"an endless name", "From: " + strings.Repeat("n", 300) + " <a@example.com>\n\nx\n", func(m postmarktest.Message) any { return len(m.From) }, 253},
		{"a quote in a name", "From: \"a \\\" b\" <a@example.com>\n\nx\n", func(m postmarktest.Message) any { return m.From }, `"a \" b" <a@example.com>`},
		{"an empty file", multipart("Content-Type: application/pdf; name=a.pdf\n"), func(m postmarktest.Message) any { return len(m.Attachments) }, 0},
		{
			"a file without a name", multipart("Content-Type: image/jpeg\n\nx"),
			func(m postmarktest.Message) any { return m.Attachments[0].Name },
			"attachment.jpg",
		},
		{
			"a text without a name", multipart("Content-Type: text/x-odd\nContent-Disposition: attachment\n\nx"),
			func(m postmarktest.Message) any { return m.Attachments[0].Name },
			"attachment.txt",
		},
		{
			"octets without a name", multipart("Content-Type: application/octet-stream\n\nx"),
			func(m postmarktest.Message) any { return m.Attachments[0].Name },
			"attachment.dat",
		},
		{
			"a file in its charset", multipart("Content-Type: text/csv; charset=iso-8859-1; name=a.csv\nContent-Disposition: attachment\n\nx"),
			func(m postmarktest.Message) any { return m.Attachments[0].ContentType },
			"text/csv; charset=iso-8859-1",
		},
		{
			"odd parameters", multipart("Content-Type: text/csv; charset=\"a;b\"; name=a.csv; x=y\nContent-Disposition: attachment\n\nx"),
			func(m postmarktest.Message) any { return m.Attachments[0].ContentType },
			"text/csv",
		},
		{
			"an odd method", addressed + "MIME-Version: 1.0\nContent-Type: text/calendar; method=\"a;b\"; name=\"our meeting.ics\"\n\nBEGIN:VCALENDAR\n",
			func(m postmarktest.Message) any { return m.Attachments[0].ContentType + " " + m.Attachments[0].Name },
			"text/calendar; charset=utf-8 our meeting.ics",
		},
		{
			"a Content-ID that nothing shows", multipart("Content-Type: image/png\nContent-ID: <x>\n\nx"),
			func(m postmarktest.Message) any { return m.Attachments[0].ContentID },
			(*string)(nil),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.got(render(t, newAdapter(), c.mail, "a@example.org"))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Unicode in every field arrives as it was.
func TestRequestInUnicode(t *testing.T) {
	const text = "Grüße, 漢字 🎉"
	mail := fmt.Sprintf("From: \"%[1]s\" <a@example.com>\nTo: \"%[1]s\" <a@example.org>\nCc: \"%[1]s\" <b@bücher.example>\nReply-To: \"%[1]s\" <r@example.com>\n"+
		"Subject: %[1]s\nX-Bridge-Tag: %[1]s\nX-Bridge-Metadata: %[1]s=%[1]s\nX-A: %[1]s\nContent-Type: multipart/mixed; boundary=m\n\n--m\n"+
		"Content-Type: text/plain; charset=utf-8\n\n%[1]s\n--m\nContent-Type: text/html; charset=utf-8\n\n<p>%[1]s\n--m\n"+
		"Content-Type: application/pdf\nContent-Disposition: attachment; filename=\"%[1]s.pdf\"\n\n%[1]s\n--m--\n", text)
	m := render(t, newAdapter(), mail, "a@example.org", "b@xn--bcher-kva.example")
	quoted := `"` + text + `"`
	got := []string{m.From, m.To, m.Cc, m.ReplyTo, *m.Subject, m.Tag, m.Metadata[text], *m.TextBody, m.Attachments[0].Name}
	want := []string{
		quoted + " <a@example.com>", quoted + " <a@example.org>", quoted + " <b@xn--bcher-kva.example>", quoted + " <r@example.com>",
		text, text, text, text, text + ".pdf",
	}
	if diff := cmp.Diff(want, got); diff != "" || !strings.HasSuffix(*m.HTMLBody, text) {
		t.Errorf("the HTML is %q (-want +got):\n%s", *m.HTMLBody, diff)
	}
	if value := m.Headers[0].Value; !strings.HasPrefix(value, "=?utf-8?") {
		t.Errorf("the header is %q, want encoded words", value)
	}
}

// The relay takes ten pairs; the bridge's own id is one of them.
func TestMetadataLimits(t *testing.T) {
	header := ""
	for i := range 10 {
		header += fmt.Sprintf("X-Bridge-Metadata: k%d=v\n", i)
	}
	for _, c := range []struct {
		header string
		pairs  int
		lost   bool
	}{
		{strings.Join(strings.SplitAfter(header, "\n")[:9], ""), 10, false},
		{header, 10, true},
		{"X-Bridge-Metadata: " + strings.Repeat("k", 20) + "=" + strings.Repeat("v", 80) + "\n", 2, false},
		{"X-Bridge-Metadata: " + strings.Repeat("k", 21) + "=v\n", 1, true},
		{"X-Bridge-Metadata: k=" + strings.Repeat("\U0001F600", 41) + "\n", 1, true},
		{"X-Bridge-Metadata: k=1\nX-Bridge-Metadata: K=2\n", 2, true},
		{`X-SMTPAPI: {"unique_args":{"":"x"}}` + "\n", 1, true},
	} {
		requests, losses := renderAll(t, newAdapter(), addressed+c.header+"\nx\n", "a@example.org")
		if got := len(requests[0][0].Metadata); got != c.pairs || slices.Contains(losses, "metadata") != c.lost {
			t.Errorf("%s: %d pairs with the losses %q, want %d, lost %v", c.header, got, losses, c.pairs, c.lost)
		}
	}
}

func TestLosses(t *testing.T) {
	const html = "Content-Type: text/html\n\n<p>x\n"
	testAddress := []string{"a@bounce-testing.postmarkapp.com", "B@Bounce-Testing.postmarkapp.com"}
	for _, c := range []struct {
		mail       string
		recipients []string
		want       []string
	}{
		{"X-PM-Message-Stream: broadcast\nX-PM-KeepID: true\n\nx\n", nil, nil},
		{"X-PM-Message-Stream: 1st\n\nx\n", nil, []string{"option postmark:X-PM-Message-Stream"}},
		{"X-PM-Message-Stream: " + strings.Repeat("s", 31) + "\n\nx\n", nil, []string{"option postmark:X-PM-Message-Stream"}},
		{"X-PM-Message-Stream: two words\n\nx\n", nil, []string{"option postmark:X-PM-Message-Stream"}},
		{"X-PM-Template: 7\n\nx\n", nil, []string{"option postmark:X-PM-Template"}},
		{"X-Mailgun-Dkim: yes\nX-SES-CONFIGURATION-SET: s\n\nx\n", nil, []string{"option mailgun:X-Mailgun-Dkim", "option ses:X-SES-CONFIGURATION-SET"}},
		{"x-pm-bounce-type: HardBounce\n\nx\n", nil, []string{"option postmark:x-pm-bounce-type"}},
		{"X-PM-Bounce-Type: hard_bounce\n\nx\n", testAddress, nil},
		{"X-PM-Bounce-Type: hard_bounce\n\nx\n", append(testAddress, "a@example.org"), []string{"option postmark:X-PM-Bounce-Type"}},
		{"X-PM-Bounce-Type: a b\n\nx\n", testAddress, []string{"option postmark:X-PM-Bounce-Type"}},
		// The server may track all the same; a text cannot be tracked.
		{"X-PM-TrackOpens: false\n" + html, nil, []string{"open tracking off"}},
		{"X-PM-TrackOpens: false\n\nx\n", nil, nil},
		{"X-PM-TrackOpens: true\n" + html, nil, nil},
		{"X-PM-TrackLinks: None\n" + html, nil, nil},
		{"X-A: 1\nDate: Fri, 02 Jan 2015 15:04:05 +0000\nSender: bot@example.com\n\nx\n", nil, []string{"date", "sender"}},
		{"Tag: x\nX-Bridge-Tag: 1\nX-Bridge-Tag: 2\n\nx\n", nil, []string{"tags", "header Tag"}},
	} {
		recipients := c.recipients
		if recipients == nil {
			recipients = []string{"a@example.org"}
		}
		if _, losses := renderAll(t, newAdapter(), addressed+c.mail, recipients...); !slices.Equal(losses, c.want) {
			t.Errorf("%s: the losses are %q, want %q", c.mail, losses, c.want)
		}
	}
}

// A bounce type goes to test addresses alone.
func TestBounceType(t *testing.T) {
	const mail = "From: a@example.com\nX-PM-Bounce-Type: SoftBounce\n\nx\n"
	want := []postmarktest.Header{{Name: "X-PM-Bounce-Type", Value: "SoftBounce"}}
	if got := render(t, newAdapter(), mail, "x@bounce-testing.postmarkapp.com").Headers; !cmp.Equal(want, got) {
		t.Errorf("the headers are %v, want %v", got, want)
	}
	requests, _ := renderAll(t, newAdapter(), mail, "x@bounce-testing.postmarkapp.com", "a@example.org")
	for _, m := range requests[0] {
		if len(m.Headers) != 0 {
			t.Errorf("%s is sent the headers %v, want none", m.To, m.Headers)
		}
	}
}

func TestMessageStream(t *testing.T) {
	c := postmark.DefaultConfig()
	c.APIKey, c.MessageStream = config.NewSecret(token), "broadcast"
	for header, want := range map[string]string{
		"": "broadcast", "X-PM-Message-Stream: outbound\n": "outbound", "X-PM-Message-Stream:\n": "broadcast", "X-PM-Message-Stream: 7\n": "broadcast",
	} {
		if got := render(t, postmark.New(c), addressed+header+"\nx\n", "a@example.org").MessageStream; got != want {
			t.Errorf("with %q the stream is %q, want %q", header, got, want)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct {
		key, stream string
		want        []string
	}{
		{token, "", nil},
		{token, "broadcast-2_b", nil},
		{"POSTMARK_API_TEST", "", nil},
		{"", "", []string{"api_key"}},
		{token + "\n", "", []string{"api_key"}},
		{"tökèn", "", []string{"api_key"}},
		{token, "1st", []string{"message_stream"}},
		{token, "two words", []string{"message_stream"}},
		{"", strings.Repeat("s", 31), []string{"api_key", "message_stream"}},
	} {
		config := postmark.Config{Config: postmark.DefaultConfig().Config, APIKey: config.NewSecret(c.key), MessageStream: c.stream}
		var got []string
		config.Validate(func(name, problem string) {
			got = append(got, name)
			if c.key != "" && strings.Contains(problem, c.key) {
				t.Errorf("the problem repeats the key: %s", problem)
			}
		})
		if !slices.Equal(got, c.want) {
			t.Errorf("%q, %q: the problems are of %q, want %q", c.key, c.stream, got, c.want)
		}
	}
}

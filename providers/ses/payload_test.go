package ses_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/ses"
	"smtpbridge/providers/ses/sestest"
	"smtpbridge/translate"
)

const addressed = "From: \"Shop, Inc.\" <shop@example.com>\nTo: A <a@example.org>\nSubject: Order 7\n"

// renderAll gives the requests of a mail, as the strict fake reads them.
func renderAll(t *testing.T, a *ses.Adapter, m *translate.Message) []*sestest.Mail {
	t.Helper()
	if _, refusal := providers.Check(a.Capabilities(), m, time.Now()); refusal != nil {
		t.Fatalf("the mail is not carried: %v", refusal)
	}
	var mails []*sestest.Mail
	for _, r := range a.Requests(m) {
		content := readBody(t, r.Body)
		mail, err := sestest.Decode(content)
		if err != nil {
			t.Fatalf("SES would refuse: %v\n%.2000s", err, content)
		}
		if !slices.Equal(mail.Recipients(), r.Recipients) {
			t.Errorf("the request mails %q and serves %q", mail.Recipients(), r.Recipients)
		}
		mails = append(mails, mail)
	}
	return mails
}

func readBody(t *testing.T, body providers.Body) []byte {
	t.Helper()
	r, err := body.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil || int64(len(content)) != body.Len() {
		t.Fatalf("the body has %d octets (%v), it announces %d", len(content), err, body.Len())
	}
	return content
}

// render gives the only request of a mail.
func render(t *testing.T, mail string, recipients ...string) *sestest.Mail {
	t.Helper()
	mails := renderAll(t, newAdapter(), providertest.Message(t, mail, recipients...))
	if len(mails) != 1 {
		t.Fatalf("there are %d requests, want 1", len(mails))
	}
	return mails[0]
}

func TestRequestOfAWholeMail(t *testing.T) {
	const mime = "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=a\n\n--a\n\nHi\n--a\nContent-Type: text/html\n\n<p>Hi</p>\n--a--\n"
	got := render(t, addressed+"Cc: b@example.org\nBcc: audit@example.net\nX-Order: 7\nX-Bridge-Tag: order\nX-Bridge-Tag: eu\n"+
		"X-Bridge-Metadata: user_id=12345\nX-Bridge-Track-Opens: no\nX-Bridge-Track-Clicks: yes\nX-SES-CONFIGURATION-SET: news\n"+
		"X-SES-MESSAGE-TAGS: campaign=spring, kind=a-b_C9\nX-SES-TENANT: shop-1\nReturn-Path: <bounce@example.com>\n"+mime,
		"a@example.org", "b@example.org", "audit@example.net")
	const want = addressed + "Cc: b@example.org\nX-Order: 7\n" + mime
	if diff := cmp.Diff(strings.ReplaceAll(want, "\n", "\r\n"), string(got.MIME.Raw)); diff != "" {
		t.Errorf("the mail (-want +got):\n%s", diff)
	}
	got.Content, got.MIME = sestest.Content{}, sestest.Message{}
	if diff := cmp.Diff(&sestest.Mail{
		Destination:          sestest.Destination{ToAddresses: []string{"a@example.org", "b@example.org", "audit@example.net"}},
		ConfigurationSetName: "news",
		EmailTags: []sestest.Tag{
			{Name: "bridge_id", Value: "01JGABCDEFGHJKMNPQRSTVWXYZ"},
			{Name: "campaign", Value: "spring"},
			{Name: "kind", Value: "a-b_C9"},
			{Name: "user_id", Value: "12345"},
			{Name: "tag_1", Value: "order"},
			{Name: "tag_2", Value: "eu"},
		},
		ConfigurationOverrides: &sestest.Overrides{Tracking: &sestest.Tracking{Opens: "DISABLED", Clicks: "ENABLED"}},
		TenantName:             "shop-1",
	}, got); diff != "" {
		t.Errorf("around the mail (-want +got):\n%s", diff)
	}
}

func TestRequestOptions(t *testing.T) {
	const arn = "arn:aws:ses:eu-west-1:111122223333:identity/example.com"
	for _, c := range []struct {
		name, header string
		got          func(*sestest.Mail) any
		want         any
		losses       []string
	}{
		{"none", "", func(m *sestest.Mail) any { return m.ConfigurationSetName }, "main", nil},
		{"set", "X-SES-CONFIGURATION-SET: a_B-9", func(m *sestest.Mail) any { return m.ConfigurationSetName }, "a_B-9", nil},
		{"first of two", "X-SES-CONFIGURATION-SET: a\nx-ses-configuration-set: b", func(m *sestest.Mail) any { return m.ConfigurationSetName }, "a", nil},
		{"no name", "X-SES-CONFIGURATION-SET: a b", func(m *sestest.Mail) any { return m.ConfigurationSetName }, "main", []string{"option ses:X-SES-CONFIGURATION-SET"}},
		{"long name", "X-SES-CONFIGURATION-SET: " + strings.Repeat("a", 65), func(m *sestest.Mail) any { return m.ConfigurationSetName }, "main", []string{"option ses:X-SES-CONFIGURATION-SET"}},
		{"identity", "X-SES-SOURCE-ARN: " + arn, func(m *sestest.Mail) any { return m.FromIdentity }, arn, nil},
		{"identity of From", "X-SES-FROM-ARN: " + arn, func(m *sestest.Mail) any { return m.FromIdentity }, arn, nil},
		{"the same twice", "X-SES-FROM-ARN: " + arn + "\nX-SES-SOURCE-ARN: " + arn, func(m *sestest.Mail) any { return m.FromIdentity }, arn, nil},
		{"two identities", "X-SES-FROM-ARN: " + arn + "\nX-SES-SOURCE-ARN: " + arn + "x", func(m *sestest.Mail) any { return m.FromIdentity }, arn, []string{"option ses:X-SES-SOURCE-ARN"}},
		{"no ARN", "X-SES-FROM-ARN: example.com", func(m *sestest.Mail) any { return m.FromIdentity }, "", []string{"option ses:X-SES-FROM-ARN"}},
		{"return path", "X-SES-RETURN-PATH-ARN: " + arn, func(m *sestest.Mail) any { return m.FeedbackIdentity }, arn, nil},
		{"list", "X-SES-LIST-MANAGEMENT-OPTIONS: news", func(m *sestest.Mail) any { return *m.ListManagementOptions }, sestest.ListOptions{ContactListName: "news"}, nil},
		{"list and topic", "X-SES-LIST-MANAGEMENT-OPTIONS: {news}; topic=sport", func(m *sestest.Mail) any { return *m.ListManagementOptions }, sestest.ListOptions{ContactListName: "news", TopicName: "sport"}, nil},
		{"as frameworks", "X-SES-LIST-MANAGEMENT-OPTIONS: contactListName=news;topicName=sport", func(m *sestest.Mail) any { return *m.ListManagementOptions }, sestest.ListOptions{ContactListName: "news", TopicName: "sport"}, nil},
		{"spaces", "X-SES-LIST-MANAGEMENT-OPTIONS: contactListName = news ; topicName = sport ", func(m *sestest.Mail) any { return *m.ListManagementOptions }, sestest.ListOptions{ContactListName: "news", TopicName: "sport"}, nil},
		{"no topic", "X-SES-LIST-MANAGEMENT-OPTIONS: news;", func(m *sestest.Mail) any { return *m.ListManagementOptions }, sestest.ListOptions{ContactListName: "news"}, nil},
		{"another key", "X-SES-LIST-MANAGEMENT-OPTIONS: news; colour=red", func(m *sestest.Mail) any { return m.ListManagementOptions == nil }, true, []string{"option ses:X-SES-LIST-MANAGEMENT-OPTIONS"}},
		{"a word behind", "X-SES-LIST-MANAGEMENT-OPTIONS: news; sport", func(m *sestest.Mail) any { return m.ListManagementOptions == nil }, true, []string{"option ses:X-SES-LIST-MANAGEMENT-OPTIONS"}},
		{"no list", "X-SES-LIST-MANAGEMENT-OPTIONS: topic=sport", func(m *sestest.Mail) any { return m.ListManagementOptions == nil }, true, []string{"option ses:X-SES-LIST-MANAGEMENT-OPTIONS"}},
		{"tenant", "X-SES-TENANT-NAME: shop", func(m *sestest.Mail) any { return m.TenantName }, "shop", nil},
		{"unknown", "X-SES-COLOUR: red", func(m *sestest.Mail) any { return m.TenantName }, "", []string{"option ses:X-SES-COLOUR"}},
		{"of another dialect", "X-PM-Message-Stream: red", func(m *sestest.Mail) any { return m.TenantName }, "", []string{"option postmark:X-PM-Message-Stream"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := newConfig()
			config.ConfigurationSet = "main"
			a, header := ses.New(config), c.header
			if header != "" {
				header += "\n"
			}
			m := providertest.Message(t, addressed+header+"\nx\n", "a@example.org")
			if losses, _ := providers.Check(a.Capabilities(), m, time.Now()); !slices.Equal(losses, c.losses) {
				t.Errorf("the losses are %q, want %q", losses, c.losses)
			}
			if diff := cmp.Diff(c.want, c.got(renderAll(t, a, m)[0])); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What comes back in events are letters, digits, _ and -: the rest is lost by name.
func TestRequestTags(t *testing.T) {
	var header strings.Builder
	for i := range 60 {
		fmt.Fprintf(&header, "X-Bridge-Tag: t%d\nX-Bridge-Metadata: k%02d=v\n", i, i)
	}
	for _, pair := range []string{"ü=x", "a=ü", "b=with blank", "c=", "bridge_id=forged", "tag_3=x", "d=" + strings.Repeat("v", 256)} {
		header.WriteString("X-Bridge-Metadata: " + pair + "\n")
	}
	m := providertest.Message(t, addressed+"X-Bridge-Tag: Grüße\nX-Bridge-Tag: a b\n"+header.String()+"\nx\n", "a@example.org")
	losses, _ := providers.Check(newAdapter().Capabilities(), m, time.Now())
	if !slices.Equal(losses, []string{"tags", "metadata"}) {
		t.Errorf("the losses are %q", losses)
	}
	tags := renderAll(t, newAdapter(), m)[0].Tags()
	if len(tags) != 50 || tags["bridge_id"] != "01JGABCDEFGHJKMNPQRSTVWXYZ" || tags["tag_1"] != "t0" || tags["tag_10"] != "t9" || tags["k38"] != "v" || tags["k39"] != "" {
		t.Errorf("the %d tags are %q, want our id, 10 tags, 39 pairs", len(tags), tags)
	}
}

func TestRequestOfOpaqueMail(t *testing.T) {
	const signed = "MIME-Version: 1.0\nContent-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=s\n\n" +
		"--s\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße\n--s\nContent-Type: application/pgp-signature\n\nx\n--s--\n"
	got := render(t, addressed+"X-Bridge-Track-Opens: yes\n"+signed, "a@example.org")
	if diff := cmp.Diff(&sestest.Tracking{Opens: "DISABLED", Clicks: "DISABLED"}, got.ConfigurationOverrides.Tracking); diff != "" {
		t.Errorf("tracking (-want +got):\n%s", diff)
	}
	if want := strings.ReplaceAll(addressed+signed, "\n", "\r\n"); string(got.MIME.Raw) != want {
		t.Errorf("what is signed leaves as\n%s", got.MIME.Raw)
	}
}

// SES refuses a second one of these, and the whole mail for it.
func TestRequestDropsRepeatedHeaders(t *testing.T) {
	mail := addressed + "DKIM-Signature: v=1; a\nX-A: 1\nList-Id: <a>\ndkim-signature: v=1; b\nX-A: 2\nlist-id: <b>\n\nx\n"
	m := providertest.Message(t, mail, "a@example.org")
	losses, _ := providers.Check(newAdapter().Capabilities(), m, time.Now())
	if want := []string{"repeated header dkim-signature", "repeated header list-id"}; !slices.Equal(losses, want) {
		t.Errorf("the losses are %q, want %q", losses, want)
	}
	want := addressed + "DKIM-Signature: v=1; a\nX-A: 1\nList-Id: <a>\nX-A: 2\n\nx\n"
	if got := render(t, mail, "a@example.org"); string(got.MIME.Raw) != strings.ReplaceAll(want, "\n", "\r\n") {
		t.Errorf("the mail leaves as\n%s", got.MIME.Raw)
	}
}

// SES parses the addresses of the header and refuses the whole mail for one.
func TestRequestShowsOnlyAddresses(t *testing.T) {
	long := strings.Repeat("名", 60)
	for _, c := range []struct{ name, header, want, loss string }{
		{"good", "To: A <a@example.org>, \"b c\"@example.org, d@[192.0.2.1]", "", ""},
		{"group", "To: Friends: a@example.org, b@example.org;", "", ""},
		{"nobody", "To: undisclosed-recipients:;", "", ""},
		{"comment", "To: a@example.org (Ann)", "", ""},
		{"without a domain", "To: root, A <a@example.org>", "To: A <a@example.org>", "shown address"},
		{"only without a domain", "To: root", "", "shown address"},
		{"two dots", "Cc: a..b@example.org, c@example.org", "Cc: c@example.org", "shown address"},
		{"dot before the @", "Reply-To: a.@example.org", "", "shown address"},
		{"host name", "To: a@web_1.example.org, b@example.org", "To: b@example.org", "shown address"},
		{"endless name", "To: " + strings.Repeat("x", 320) + " <a@example.org>", "To: a@example.org", "shown address"},
		{"long name in UTF-8", "To: " + long + " <a@example.org>", "To: a@example.org", "shown address"},
		{"no quote", "To: Doe, John john@example.org", "To: John <john@example.org>", "shown address"},
		{"semicolon", "To: a@example.org; b@example.org", "To: a@example.org, b@example.org", ""},
		{"no bracket", "To: A <a@example.org", "To: A <a@example.org>", ""},
		{"route", "To: <@relay.example:a@example.org>", "To: a@example.org", ""},
		{"sender", "Sender: root", "", "shown address"},
		{"junk as sender", "Sender: <>", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			mail := "From: shop@example.com\n" + c.header + "\nSubject: s\n\nx\n"
			m := providertest.Message(t, mail, "a@example.org")
			losses, _ := providers.Check(newAdapter().Capabilities(), m, time.Now())
			if strings.Join(losses, ",") != c.loss {
				t.Errorf("the losses are %q, want %q", losses, c.loss)
			}
			want := "From: shop@example.com\n" + c.header + "\nSubject: s\n\nx\n"
			if c.want != "" || c.loss != "" || strings.Contains(c.header, "<>") {
				want = "From: shop@example.com\n" + strings.TrimPrefix(c.want+"\n", "\n") + "Subject: s\n\nx\n"
			}
			if got := render(t, mail, "a@example.org"); string(got.MIME.Raw) != strings.ReplaceAll(want, "\n", "\r\n") {
				t.Errorf("the mail leaves as\n%swant\n%s", got.MIME.Raw, want)
			}
		})
	}
}

func TestRequestFrom(t *testing.T) {
	a := newAdapter()
	for _, c := range []struct {
		from, want string // empty: refused
	}{
		{"Shop <shop@example.com>", "Shop <shop@example.com>"},
		{"Shop <shop@example.com", "Shop <shop@example.com>"},
		{"a@example.com, root", "a@example.com"},
		{strings.Repeat("x", 330) + " <shop@example.com>", "shop@example.com"},
		{"shop.@example.com", ""},
		{"shop@exam_ple.com", ""},
	} {
		m := providertest.Message(t, "From: "+c.from+"\nTo: a@example.org\n\nx\n", "a@example.org")
		_, refusal := providers.Check(a.Capabilities(), m, time.Now())
		if (refusal == nil) != (c.want != "") || refusal != nil && (refusal.Category != providers.NotFaithful || !refusal.Local) {
			t.Errorf("From %.40s is refused with %v", c.from, refusal)
		}
		if c.want == "" {
			continue
		}
		if got := renderAll(t, a, m)[0].MIME.Get("From"); got != c.want {
			t.Errorf("From %.40s leaves as %s, want %s", c.from, got, c.want)
		}
	}
}

// Where X-SMTPAPI lists them, each recipient sees only itself.
func TestRequestsApart(t *testing.T) {
	m := providertest.Message(t, "From: shop@example.com\nTo: Ann <A@example.org>, b@example.org\nCc: c@example.org\n"+
		`X-SMTPAPI: {"to":["a@example.org","b@example.org","h@example.org"]}`+"\nSubject: s\n\nx\n",
		"a@example.org", "b@example.org", "h@example.org")
	var got []string
	for _, mail := range renderAll(t, newAdapter(), m) {
		got = append(got, strings.Join(mail.Recipients(), ",")+" sees "+mail.MIME.Get("To")+" and "+mail.MIME.Get("Cc"))
	}
	want := []string{
		"a@example.org sees Ann <a@example.org> and ", "b@example.org sees b@example.org and ", "h@example.org sees h@example.org and ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// SES writes its link to unsubscribe for a single recipient only.
func TestRequestsOfAList(t *testing.T) {
	mails := renderAll(t, newAdapter(), providertest.Message(t, addressed+"X-SES-LIST-MANAGEMENT-OPTIONS: news\n\nx\n", "a@example.org", "b@example.org"))
	if len(mails) != 2 || !bytes.Equal(mails[0].MIME.Raw, mails[1].MIME.Raw) {
		t.Errorf("%d requests for two subscribers, want the same mail for each", len(mails))
	}
}

func TestRequestsAreDivided(t *testing.T) {
	for n, want := range map[int]int{1: 1, 50: 1, 51: 2, 1000: 20, 1001: 21} {
		all := recipients(n)
		count := make(map[string]int)
		mails := renderAll(t, newAdapter(), providertest.Message(t, addressed+"\nx\n", all...))
		for _, mail := range mails {
			for _, recipient := range mail.Recipients() {
				count[recipient]++
			}
		}
		if len(mails) != want || len(count) != n || slices.Max(slices.Collect(maps.Values(count))) != 1 {
			t.Errorf("%d recipients are in %d requests, %d of them: %v; want %d", n, len(mails), len(count), count, want)
		}
	}
}

// A thousand requests for one mail do not hold it a thousand times.
func TestRequestsShareTheMail(t *testing.T) {
	m := providertest.Message(t, addressed+"X-SMTPAPI: {\"to\":[\""+strings.Join(recipients(1000), `","`)+"\"]}\n\n"+strings.Repeat("text\n", 10_000), recipients(1000)...)
	before := heap()
	requests := newAdapter().Requests(m)
	if grown := heap() - before; grown > 8<<20 || len(requests) != 1000 {
		t.Errorf("%d requests hold %d octets of memory, want 1000 in less than 8 MiB", len(requests), grown)
	}
	runtime.KeepAlive(requests)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What is checked before anything is sent.
func TestCheckLimits(t *testing.T) {
	c := newAdapter().Capabilities()
	for _, mail := range []struct {
		name   string
		change func(*translate.Message)
		want   providers.Category // empty: carried
	}{
		{"largest", func(m *translate.Message) { m.Size = 39_900_000 }, ""},
		{"too large", func(m *translate.Message) { m.Size = 39_900_001 }, providers.TooLarge},
		{"program", func(m *translate.Message) { m.Parts = []translate.Part{{Name: "setup.EXE"}} }, providers.ContentRejected},
		{"script", func(m *translate.Message) { m.Parts = []translate.Part{{Name: "a.b.js"}} }, providers.ContentRejected},
		{"document", func(m *translate.Message) { m.Parts = []translate.Part{{Name: "exe.pdf"}} }, ""},
		{"later", func(m *translate.Message) { m.Directives.SendAt = time.Now().Add(time.Hour) }, providers.NotFaithful},
		{"merges", func(m *translate.Message) { m.Directives.Merges = []translate.Merge{{Dialect: "mailgun"}} }, providers.Malformed},
	} {
		m := providertest.Message(t, addressed+"\nx\n", "a@example.org")
		mail.change(m)
		_, refusal := providers.Check(c, m, time.Now())
		if (refusal == nil) != (mail.want == "") || refusal != nil && (refusal.Category != mail.want || !refusal.Local) {
			t.Errorf("%s: refused with %v, want %q, local", mail.name, refusal, mail.want)
		}
	}
}

// What grows beyond the limit when it is encoded anew is refused before it is sent.
func TestRequestBytesAreLimited(t *testing.T) {
	m := providertest.Message(t, addressed+"Content-Type: text/plain; charset=utf-8\n\n"+strings.Repeat(strings.Repeat("ü", 30)+"\n", 600_000), "a@example.org")
	c := newAdapter().Capabilities()
	if _, refusal := providers.Check(c, m, time.Now()); refusal != nil {
		t.Fatalf("a mail of %d octets is refused: %v", m.Size, refusal)
	}
	if got := newAdapter().Requests(m)[0].Body.Len(); got <= c.MaxRequestBytes {
		t.Errorf("the request has %d octets, want more than the %d that are sent", got, c.MaxRequestBytes)
	}
}

func TestEndpoints(t *testing.T) {
	for region, want := range map[string]string{
		"eu-west-1": "https://email.eu-west-1.amazonaws.com", "us-gov-west-1": "https://email.us-gov-west-1.amazonaws.com",
		"cn-north-1": "https://email.cn-north-1.amazonaws.com.cn", "eusc-de-east-1": "https://email.eusc-de-east-1.amazonaws.eu",
	} {
		c := newConfig()
		c.Region = region
		if got := ses.New(c).Probe(); got.URL != want+"/v2/email/account" || got.Method != "GET" || got.Body != nil {
			t.Errorf("%s is probed by %s %s", region, got.Method, got.URL)
		}
		m := providertest.Message(t, addressed+"\nx\n", "a@example.org")
		if got := ses.New(c).Requests(m)[0]; got.URL != want+"/v2/email/outbound-emails" || got.Method != "POST" {
			t.Errorf("%s is sent to by %s %s", region, got.Method, got.URL)
		}
	}
}

package sendgrid_test

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/sendgrid/sendgridtest"
	"smtpbridge/translate"
)

// fuzzSeeds are named after what they show.
var fuzzSeeds = map[string]string{
	"plain":                addressed + "\nHello\n",
	"no headers":           "just a body",
	"decoded line breaks":  "From: =?utf-8?q?a=0D=0Ab?= <a@example.com>\nSubject: =?utf-8?q?a=0D=0ABcc:_x?=\nX-A: =?utf-8?q?1=0A2?=\n\nx",
	"invalid UTF-8":        addressed + "Content-Type: text/html; charset=utf-8\n\n\xff\xfe<p>\xc3",
	"hostile file":         addressed + "Content-Type: a/b; name*=utf-8''%0D%0A;,x\nContent-Disposition: attachment\nContent-Transfer-Encoding: base64\n\nQUI",
	"inline without image": addressed + "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n<img src=cid:x>\n--b\nContent-ID: <x>\n\n\n--b--",
	"odd header names":     addressed + "X(A: 1\nÜ: 2\nx-a: 3\nX-A: 4\nContent-Foo: 5\nTo : b@example.org\n\nx",
	"odd addresses":        "From: a@b\nTo: \"x y\"@example.org, root, (c) d@example.org\nReply-To: ü@example.org\n\nx",
	"tags and metadata":    addressed + strings.Repeat("X-Bridge-Tag: t\xc3\xbc\nX-Bridge-Metadata: k=\"v\n", 12) + "\nx",
	"directives":           addressed + `X-SMTPAPI: {"category":["a",""],"unique_args":{"":"x","bridge_id":"y"},"asm_groups_to_display":[1]}` + "\n\nx",
	"substitutions":        addressed + `X-SMTPAPI: {"sub":{"-n-":["\u0000"]}}` + "\n\n-n-",
	"calendar method":      addressed + "Content-Type: text/calendar; method=\"R;x=y\"\n\nBEGIN:VCALENDAR",
	"long references":      addressed + "References: " + strings.Repeat("<0123456789@example.com> ", 100) + "\n\nx",
}

// FuzzRequests: whatever the mail is, the requests are valid JSON that SendGrid
// takes, of the announced length, and every envelope recipient is in them
// exactly once.
func FuzzRequests(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(fuzzSeeds)) {
		f.Add(strings.ReplaceAll(fuzzSeeds[name], "\n", "\r\n"), uint16(1))
		f.Add(strings.ReplaceAll(fuzzSeeds[name], "\n", "\r\n"), uint16(3))
	}
	f.Add(addressed+"\nmore recipients than a request takes\n", uint16(1001))
	a := newAdapter()
	f.Fuzz(func(t *testing.T, mail string, extra uint16) {
		m := parse(t, mail, recipients(int(extra)%2500+1))
		if m == nil {
			return
		}
		defer m.Close()
		if _, refusal := providers.Check(a.Capabilities(), m, time.Now()); refusal != nil {
			return
		}
		count := make(map[string]int)
		for _, r := range a.Requests(m) {
			for _, recipient := range readRequest(t, m, r) {
				count[recipient]++
			}
		}
		for _, recipient := range m.Envelope.Recipients {
			if count[recipient] != 1 {
				t.Errorf("%s gets %d copies", recipient, count[recipient])
			}
		}
		if len(count) != len(m.Envelope.Recipients) {
			t.Errorf("%d addresses get a copy, want %d", len(count), len(m.Envelope.Recipients))
		}
	})
}

// recipients are n addresses, two of which differ in case only.
func recipients(n int) []string {
	list := []string{"a@example.org", "A@example.org", "b@example.org"}
	for i := len(list); i < n; i++ {
		list = append(list, fmt.Sprintf("r%d@example.net", i))
	}
	return list[:n]
}

// parse gives nil for what nobody can read.
func parse(t *testing.T, mail string, to []string) *translate.Message {
	t.Helper()
	spool, err := translate.NewSpool(strings.NewReader(mail), translate.Limits{SpoolDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m, err := translate.Parse(spool, translate.Envelope{BridgeID: "01JGABCDEFGHJKMNPQRSTVWXYZ", Recipients: to})
	if err != nil {
		spool.Close()
		return nil
	}
	return m
}

// readRequest gives the recipients of a request that the strict fake takes.
func readRequest(t *testing.T, m *translate.Message, r providers.Request) []string {
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
	parsed, err := sendgridtest.Decode(content)
	// What an application substitutes is limited by SendGrid alone.
	substituted := len(m.Directives.Merges) > 0 && err != nil && strings.Contains(err.Error(), "substitutions")
	if err != nil && !substituted {
		t.Fatalf("SendGrid would refuse: %v\n%.4000s", err, content)
	}
	if err != nil {
		return r.Recipients
	}
	var all []string
	for _, p := range parsed.Personalizations {
		all = append(all, p.Recipients()...)
	}
	return all
}

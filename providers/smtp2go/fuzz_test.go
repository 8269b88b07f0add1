package smtp2go_test

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers"
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
	"inline":               related([2]string{"i", "a.png"}, [2]string{"I", "b.png"}, [2]string{"a/b", "c.png"}),
	"odd header names":     addressed + "X(A: 1\nÜ: 2\nx-a: 3\nX-A: 4\nContent-Foo: 5\nTo : b@example.org\n\nx",
	"odd addresses":        "From: a@b\nTo: \"x y\"@example.org, root, (c) d@example.org\nReply-To: ü@example.org\n\nx",
	"long fields":          addressed + "X-A: " + strings.Repeat("a", 128) + "\nList-Unsubscribe: <" + strings.Repeat("b", 127) + ">\nReply-To: " + strings.Repeat("c@example.com, ", 20) + "d@example.com\n\nx",
	"long ids":             addressed + "References: " + strings.Repeat("<0123456789@example.com> ", 100) + "\nMessage-ID: <" + strings.Repeat("x", 128) + ">\nIn-Reply-To: <ü@x>\n\nx",
	"invitation":           "From: shop@example.com\nTo: a@example.org\nSubject: s\n" + invitation,
	"invitation to names":  "From: =?utf-8?q?=22=3Cx=40y=3E=2C?= <shop@example.com>\nTo: =?utf-8?q?=C3=BC=2C_=3Cx=40example.net=3E?= <a@example.org>,\n \"b, <c@d>\" <b@example.org>\nSubject: s\n" + invitation,
	"invitation to a few":  "From: shop@example.com\nTo: a@example.org; Team: b@example.org, c@example.org;\nResent-To: x@example.net\nBcc: y@example.net\nSubject: s\n" + invitation,
	"AMP":                  "From: shop@example.com\nTo: a@example.org\nContent-Type: multipart/alternative; boundary=b\n\n--b\n\nt\n--b\nContent-Type: text/x-amp-html\n\n\xff\n--b\nContent-Type: text/html\n\nh\n--b--",
	"unknown encoding":     "From: shop@example.com\nTo: a@example.org\nContent-Transfer-Encoding: x-own\nX-Odd Name: 1\n\n\x00\xff\r x",
	"send time":            addressed + "X-Bridge-Send-At: 1\n\nx",
}

// FuzzRequests: whatever the mail is, the requests are valid JSON that SMTP2GO
// takes, of the announced length, and every envelope recipient is in them
// exactly once, nobody else ever. envelope says who they are: some of those that
// the header shows (0), or others.
func FuzzRequests(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(fuzzSeeds)) {
		for _, envelope := range []uint16{0, 1, 3} {
			f.Add(strings.ReplaceAll(fuzzSeeds[name], "\n", "\r\n"), envelope)
		}
	}
	f.Add(addressed+"\nmore recipients than a request takes\n", uint16(301))
	a, spools := newAdapter(), f.TempDir()
	f.Fuzz(func(t *testing.T, mail string, envelope uint16) {
		m := parse(t, spools, mail, int(envelope))
		if m == nil {
			return
		}
		defer m.Close()
		if _, refusal := providers.Check(a.Capabilities(), m, time.Now()); refusal != nil {
			return
		}
		count := make(map[string]int)
		for _, r := range a.Requests(m) {
			for _, recipient := range readRequest(t, r) {
				count[foldDomain(recipient)]++
			}
		}
		for _, recipient := range m.Envelope.Recipients {
			if count[foldDomain(recipient)] != 1 {
				t.Errorf("%s gets %d copies", recipient, count[foldDomain(recipient)])
			}
		}
		if len(count) != len(m.Envelope.Recipients) {
			t.Errorf("%d addresses get a copy, want %d: %v", len(count), len(m.Envelope.Recipients), count)
		}
	})
}

func foldDomain(address string) string {
	at := strings.LastIndexByte(address, '@')
	return address[:at+1] + strings.ToLower(address[at+1:])
}

// others are up to 350 addresses, mostly few, of which two differ in case only.
func others(n int) []string {
	if n > 350 {
		n %= 10
	}
	n = max(n, 1)
	list := []string{"a@example.org", "A@example.org", "b@example.org"}
	for i := len(list); i < n; i++ {
		list = append(list, fmt.Sprintf("r%d@example.net", i))
	}
	return list[:n]
}

// parse gives nil for what nobody can read.
func parse(t *testing.T, spools, mail string, envelope int) *translate.Message {
	t.Helper()
	spool, err := translate.NewSpool(strings.NewReader(mail), translate.Limits{SpoolDir: spools})
	if err != nil {
		t.Fatal(err)
	}
	m, err := translate.Parse(spool, translate.Envelope{BridgeID: bridgeID, Recipients: others(envelope), Complete: time.Now()})
	if err != nil {
		spool.Close()
		return nil
	}
	if shown := shownOnce(m); envelope == 0 && len(shown) > 0 {
		m.Envelope.Recipients = shown
	}
	return m
}

// shownOnce are the addresses of the header that an envelope can have.
func shownOnce(m *translate.Message) []string {
	var list []string
	seen := make(map[string]bool)
	for _, a := range slices.Concat(m.To, m.Cc) {
		key := foldDomain(a.Email)
		odd := strings.ContainsFunc(a.Email, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"<>()[]\,;:`, r) })
		if !seen[key] && !odd && strings.Count(a.Email, "@") == 1 && !strings.HasPrefix(a.Email, "@") {
			seen[key] = true
			list = append(list, a.Email)
		}
	}
	return list
}

// readRequest gives the recipients of a request that the strict fake takes.
func readRequest(t *testing.T, r providers.Request) []string {
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
	mail, err := decode(r.URL, content)
	if err != nil {
		t.Fatalf("SMTP2GO would refuse: %v\n%.4000s", err, content)
	}
	if !slices.Equal(mail.Recipients(), r.Recipients) && mail.Raw == nil {
		t.Errorf("the mail goes to %q, the request serves %q", mail.Recipients(), r.Recipients)
	}
	return mail.Recipients()
}

// FuzzResults: whatever the answer is, each recipient has one result, with a
// known category unless it is accepted, and no 4xx or 3xx is a success.
func FuzzResults(f *testing.F) {
	for _, body := range []string{
		`{"request_id":"aa253464","data":{"succeeded":1,"failed":0,"failures":[],"email_id":"1u0SwL-B9zBpi9ffUq-JAB2"}}`,
		`{"request_id":"aa253464","data":{"schedule_id":"188262b6"}}`,
		`{"data":{"succeeded":0,"failed":1,"failures":["unable to verify sender address","550 <jo@example.org> user unknown"]}}`,
		complaint("NON_VALIDATING_IN_PAYLOAD", "x", "to", "The field 'to' was expecting a valid RFC-822 formatted email field but found 'jo@example.org', Please correct"),
		complaint("NON_VALIDATING_IN_PAYLOAD", "x", "custom_headers", "long"),
		complaint("API_EXCEPTION", "An API User matching the passed 'api_key' was not found", "", ""),
		`{"error":{"a":1},"error_code":7,"field_validation_errors":[{"field":"to","message":["x"]},{"cc":{"y":1}},null,"z"]}`,
		`{"data":[{"email_id":"1"}]}`, `{}`, `[]`, `null`, `<html>`, "\xff\x00", "",
	} {
		for _, status := range []int{200, 202, 302, 400, 402, 429, 500, 502} {
			f.Add(status, []byte(body))
		}
	}
	a := newAdapter()
	recipients := []string{"a@example.org", "jo@example.org", `"x y"@example.org`}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		resp := providers.Response{Status: status, Body: body}
		for _, list := range [][]string{recipients, recipients[1:2]} {
			results := a.Results(providers.Request{Recipients: list}, resp)
			if len(results) != len(list) {
				t.Fatalf("%d results for %d recipients", len(results), len(list))
			}
			for i, result := range results {
				switch {
				case result.Recipient != list[i]:
					t.Errorf("result %d is of %s", i, result.Recipient)
				case (result.State == providers.Accepted) != (result.Err == nil), result.State == providers.Accepted && status != 200:
					t.Errorf("%d %q is %v with %v", status, body, result.State, result.Err)
				case result.Err != nil && (!slices.Contains(providers.Categories(), result.Err.Category) || result.Err.Message == "" || result.Err.ProviderCode == ""):
					t.Errorf("%d %q is %+v", status, body, result.Err)
				}
			}
		}
		a.Probed(resp)
	})
}

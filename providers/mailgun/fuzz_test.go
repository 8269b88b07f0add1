package mailgun_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/mailgun"
	"smtpbridge/providers/mailgun/mailguntest"
	"smtpbridge/translate"
)

// fuzzSeeds are named after what they show.
var fuzzSeeds = map[string]string{
	"plain":               addressed + "\nHello\n",
	"no headers":          "just a body",
	"decoded line breaks": "From: =?utf-8?q?a=0D=0Ab?= <a@example.com>\nTo: a@example.org\nSubject: =?utf-8?q?a=0D=0ABcc:_x?=\nX-A: =?utf-8?q?1=0A2?=\n\nx",
	"invalid UTF-8":       addressed + "Content-Type: text/html; charset=utf-8\n\n\xff\xfe<p>\xc3",
	"hostile file":        addressed + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\nx\n--m\nContent-Type: a/b; name*=utf-8''%0D%0A;,x\nContent-Disposition: attachment\nContent-Transfer-Encoding: base64\n\nQUI\n--m--",
	"image":               addressed + "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n<img src=cid:x>\n--b\nContent-ID: <x>\nContent-Type: image/png\n\nPNG\n--b--",
	"odd header names":    addressed + "X(A: 1\nX\"B\\: 2\nx-a: 3\nX-A: 4\nContent-Foo: 5\nTo : b@example.org\n\nx",
	"odd addresses":       "From: a@b\nTo: \"x y\"@example.org, root, (c) d@example.org\nSubject: x\nReply-To: \xc3\xbc@example.org\n\nx",
	"odd names":           "From: =?utf-8?q?=C3=BC_=28,=22?= <a@b>\nTo: \"=?x?= \\\"q\\\"\" <a@example.org>\nSubject: x\n\nx",
	"tags and metadata":   addressed + strings.Repeat("X-Bridge-Tag: t\xc3\xbc\nX-Bridge-Metadata: k\"=\"v\n", 12) + "\nx",
	"variables":           addressed + `X-Mailgun-Variables: {"":"x","a\r\nb":"c\r\nd","bridge_id":"y","e":{"f":[1]}}` + "\n\nx",
	"batch":               batch + `X-Mailgun-Recipient-Variables: {"a@example.org":{"n":"\u0000"},"A@EXAMPLE.ORG":7}` + "\n\n%recipient.n%",
	"apart":               addressed + `X-SMTPAPI: {"to":["a@example.org"],"category":["a",""]}` + "\n\nx",
	"container":           addressed + "Content-Type: multipart/mailgun-variables; boundary=m\n\n--m\nContent-Type: application/json\n\n{}\n--m\nContent-Type: message/rfc822\n\nSubject: x\n\ny\n--m--",
	"options":             addressed + "X-Mailgun-Deliver-Within: 1h30m\nX-Mailgun-Secondary-DKIM: a,b\nX-Mailgun-Suppress-Headers: all\nX-Mailgun-Template-Name: \xc3\xbc\nX-Mailgun-Template-Variables: {\"a\":1}\n\nx",
	"signed":              addressed + "Content-Type: multipart/signed; boundary=s\n\n--s\n\n\xc3\xbc\n--s\nContent-Type: application/pgp-signature\n\nx\n--s--\n",
	"calendar":            addressed + "Content-Type: text/calendar; method=\"R;x=y\"\n\nBEGIN:VCALENDAR",
	"long references":     addressed + "References: " + strings.Repeat("<0123456789@example.com> ", 100) + "\n\nx",
	"long lines":          addressed + "X-A: " + strings.Repeat("x", 1200) + "\n\n" + strings.Repeat("y", 1200) + "\r\r\nx",
}

// manyRecipients stands for more recipients than a request takes.
const manyRecipients = 65_500

// FuzzRequests: whatever the mail is, the requests are forms that Mailgun takes,
// of the announced length, and every envelope recipient is in them exactly once.
func FuzzRequests(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(fuzzSeeds)) {
		for _, extra := range []uint16{0, 2} {
			f.Add(strings.ReplaceAll(fuzzSeeds[name], "\n", "\r\n"), extra)
		}
	}
	f.Add(addressed+"\nmore recipients than a request takes\n", uint16(manyRecipients))
	formats := []*mailgun.Adapter{newAdapter(), newFields()}
	f.Fuzz(func(t *testing.T, mail string, extra uint16) {
		n := int(extra)%8 + 1
		if extra >= manyRecipients { // seldom: it costs a thousand times as much
			n = int(extra) - manyRecipients + 1001
		}
		m := parse(t, mail, recipients(n))
		if m == nil {
			return
		}
		defer m.Close()
		for _, a := range formats {
			if _, refusal := providers.Check(a.Capabilities(), m, time.Now()); refusal != nil {
				continue
			}
			count := make(map[string]int)
			for _, r := range a.Requests(m) {
				for _, recipient := range readRequest(t, a, r) {
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
	m, err := translate.Parse(spool, translate.Envelope{BridgeID: bridgeID, Recipients: to})
	if err != nil {
		spool.Close()
		return nil
	}
	return m
}

// readRequest gives the recipients of a request that the strict fake takes.
func readRequest(t *testing.T, a *mailgun.Adapter, r providers.Request) []string {
	t.Helper()
	body, err := r.Body.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	if err != nil || int64(len(content)) != r.Body.Len() || r.Body.Len() > a.Capabilities().MaxRequestBytes {
		t.Fatalf("the body has %d octets (%v), it announces %d", len(content), err, r.Body.Len())
	}
	parsed, err := mailguntest.Decode(r.URL, r.Header.Get("Content-Type"), content)
	if err != nil {
		t.Fatalf("Mailgun would refuse: %v\n%.4000s", err, content)
	}
	if sent := parsed.Recipients(); !slices.Equal(sent, r.Recipients) {
		t.Fatalf("the request sends to %q, it says %q", sent, r.Recipients)
	}
	if !slices.Equal(parsed.Fields["v:bridge_id"], []string{bridgeID}) {
		t.Fatalf("bridge_id is %q", parsed.Fields["v:bridge_id"])
	}
	return parsed.Recipients()
}

// FuzzResults: whatever is answered, every recipient has one result, with an
// error of a known category unless it was accepted, and only the API's own
// success is one.
func FuzzResults(f *testing.F) {
	for _, body := range []string{
		"", "Forbidden", "Mailgun Magnificent API", "<html>", "\xff\x00", "[]", "null", `{"message":7,"id":{}}`,
		`{"id":"<1@mg.example.com>","message":"Queued. Thank you."}`, `{"id":"<1@mg.example.com>","message":"no"}`,
		`{"message":"'to' parameter is not a valid address: a@example.org, B@example.org"}`,
		`{"message":"Domain x is not allowed to send: request limit exceeded, try again after Mon, 20 Dec 2021 20:33:21 UTC"}`,
		`{"message":"IP 1 can't be used, 'from' parameter is missing"}`, `{"domain":{"state":"active"}}`,
	} {
		for _, status := range []uint16{200, 202, 302, 400, 401, 402, 403, 404, 413, 420, 429, 500, 502, 503} {
			f.Add(status, body, "1640032401.5", uint8(2))
		}
	}
	a := newAdapter()
	f.Fuzz(func(t *testing.T, status uint16, body, reset string, n uint8) {
		resp := providers.Response{
			Status: int(status), Body: []byte(body), Time: answered,
			Header: http.Header{"X-Ratelimit-Reset": {reset}, "Retry-After": {reset}},
		}
		r := providers.Request{Recipients: recipients(int(n)%5 + 1)}
		results := a.Results(r, resp)
		if len(results) != len(r.Recipients) {
			t.Fatalf("there are %d results, want %d", len(results), len(r.Recipients))
		}
		for i, result := range results {
			switch {
			case result.Recipient != r.Recipients[i]:
				t.Errorf("the result of %s is that of %s", r.Recipients[i], result.Recipient)
			case (result.State == providers.Accepted) != (result.Err == nil):
				t.Errorf("it is %v with the error %v", result.State, result.Err)
			case result.State == providers.Accepted && (status != 200 || !isQueued(body)):
				t.Errorf("%d %q is taken for a success", status, body)
			case result.Err != nil && (!slices.Contains(providers.Categories(), result.Err.Category) || result.Err.RetryAfter < 0 || len(result.Err.Message) > 512):
				t.Errorf("the error is %+v", result.Err)
			}
		}
		if err := a.Probed(resp); err != nil && !slices.Contains(providers.Categories(), err.Category) {
			t.Errorf("the probe says %+v", err)
		}
	})
}

// isQueued reads an answer in another way than the adapter.
func isQueued(body string) bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(body), &fields) != nil {
		return false
	}
	return strings.Contains(body, "Queued") && len(fields) >= 2
}

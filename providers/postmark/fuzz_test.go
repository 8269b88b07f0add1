package postmark_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/providertest"
	"smtpbridge/translate"
)

// fuzzSeeds are named after what they show.
var fuzzSeeds = map[string]string{
	"plain":                addressed + "\nHello\n",
	"no headers":           "just a body",
	"no body":              addressed + "\n",
	"nobody shown":         "From: a@example.com\n\nx",
	"decoded line breaks":  "From: =?utf-8?q?a=0D=0Ab?= <a@example.com>\nSubject: =?utf-8?q?a=0D=0ABcc:_x?=\nX-A: =?utf-8?q?1=0A2?=\n\nx",
	"invalid UTF-8":        addressed + "Content-Type: text/html; charset=utf-8\n\n\xff\xfe<p>\xc3",
	"hostile file":         addressed + "Content-Type: a/b; name*=utf-8''%0D%0A;,x\nContent-Disposition: attachment\nContent-Transfer-Encoding: base64\n\nQUI",
	"file of no type":      addressed + "Content-Type: a; name=x\nContent-Disposition: attachment\n\nx",
	"inline without image": addressed + "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n<img src=cid:x>\n--b\nContent-ID: <x>\n\n\n--b--",
	"inline":               addressed + "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\n<img src=cid:x>\n--b\nContent-Type: image/png\nContent-ID: <x>\n\nx\n--b--",
	"odd header names":     addressed + "X(A: 1\nÜ: 2\nx-a: 3\nX-A: 4\nTag: 5\nTo : b@example.org\n\nx",
	"odd addresses":        "From: \"a \\\" b\" <\"x y\"@b>\nTo: \"x, y\"@example.org, root, (c) A@example.org\nReply-To: ü@example.org, \"q\"\"@example.org\n\nx",
	"odd names":            "From: \"a,\\\\\" <a@b>\nTo: \"\\\"<x@y>, \" <a@example.org>\nCc: b;c <b@example.org>\n\nx",
	"long author":          "From: " + strings.Repeat("\"\\\"\" ü", 90) + " <a@example.com>\n\nx",
	"tags and metadata":    addressed + strings.Repeat("X-Bridge-Tag: t\xc3\xbc\nX-Bridge-Metadata: k=\"v\nX-PM-Metadata-K: w\n", 12) + "\nx",
	"directives":           addressed + `X-SMTPAPI: {"category":["a",""],"unique_args":{"":"x","bridge_id":"y","Bridge_Id":"z"},"to":["a@example.org"]}` + "\n\nx",
	"options":              addressed + "X-PM-Message-Stream: ü\nX-PM-TrackLinks: HtmlOnly\nX-PM-TrackOpens: no\nX-PM-Bounce-Type: x\n\nx",
	"calendar method":      addressed + "Content-Type: text/calendar; method=\"R;x=y\"\n\nBEGIN:VCALENDAR",
	"long references":      addressed + "Message-ID: <ü>\nIn-Reply-To: <a> <b>\nReferences: " + strings.Repeat("<0123456789@example.com> ", 100) + "\n\nx",
	"long subject":         "From: a@example.com\nSubject: " + strings.Repeat("\U0001F600", 1001) + "\n\nx",
}

// many is more recipients than a batch takes.
const many = 501

// FuzzRequests: whatever the mail is, the requests are JSON that Postmark takes,
// of the announced length, and every envelope recipient is in them exactly once.
func FuzzRequests(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(fuzzSeeds)) {
		f.Add(strings.ReplaceAll(fuzzSeeds[name], "\n", "\r\n"), uint16(1))
		f.Add(strings.ReplaceAll(fuzzSeeds[name], "\n", "\r\n"), uint16(3))
	}
	f.Add(addressed+"\nmore recipients than a message takes\n", uint16(51))
	f.Add("From: a@example.com\n\nmore recipients than a batch takes\n", uint16(many))
	a := newAdapter()
	f.Fuzz(func(t *testing.T, mail string, recipients uint16) {
		n := int(recipients)%60 + 1
		if recipients == many {
			n = many
		}
		m := parse(t, mail, fuzzRecipients(n))
		if m == nil {
			return
		}
		defer m.Close()
		if _, refusal := providers.Check(a.Capabilities(), m, time.Now()); refusal != nil {
			return
		}
		count := make(map[string]int)
		for _, r := range a.Requests(m) {
			var sent []string
			for _, message := range decode(t, r) {
				sent = append(sent, message.Recipients()...)
				if message.Metadata["bridge_id"] != bridgeID {
					t.Errorf("the bridge id is %q", message.Metadata["bridge_id"])
				}
			}
			if !slices.Equal(sent, r.Recipients) {
				t.Errorf("the request sends to %q, and says %q", sent, r.Recipients)
			}
			for _, recipient := range sent {
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

// fuzzRecipients are n addresses, two of which differ in case only.
func fuzzRecipients(n int) []string {
	list := []string{"a@example.org", "A@example.org", `"x, y"@example.org`}
	return append(list, addressList(n)...)[:n]
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

// FuzzResults: whatever the answer is, each recipient has one result that fits.
func FuzzResults(f *testing.F) {
	const inactive = "Found inactive addresses: a@example.org, \"x, y\"@example.org. Inactive recipients are ones"
	for _, body := range []string{
		"", "{}", "[]", "null", "[{}]", "<html>", "\xff\x00", `{"ErrorCode":0,"MessageID":7}`, taken("OK"),
		"[" + taken("OK") + "]", "[" + taken("OK") + "," + refused(300, "Invalid 'To' address: 'A <a@example.org>'.") + "," + refused(101, "x") + "]",
		taken("Message OK, but will not deliver to these inactive addresses: a@example.org, <b@x>."),
		refused(406, inactive), refused(300, "Error parsing 'To': Illegal email mailbox 'o'brien' in address 'o'brien@example.org'."),
		refused(300, "Zero recipients specified"), refused(-1, "spam 550"), `{"ErrorCode":1e999}`,
		`{"ErrorCode":406,"Message":"inactive addresses: ` + strings.Repeat("a@example.org,", 50) + `"}`,
	} {
		for _, status := range []uint16{200, 202, 401, 413, 422, 429, 500, 503} {
			f.Add(status, body, uint8(1), false)
			f.Add(status, body, uint8(3), true)
		}
	}
	a := newAdapter()
	known := providers.Categories()
	f.Fuzz(func(t *testing.T, status uint16, body string, n uint8, apart bool) {
		list := fuzzRecipients(int(n)%60 + 1)
		mail := "From: a@example.com\nTo: A@example.org\n\nx"
		if apart {
			mail = "From: a@example.com\n\nx"
		}
		m := providertest.Message(t, mail, list...)
		for _, r := range a.Requests(m) {
			results := a.Results(r, providers.Response{Status: int(status), Header: http.Header{}, Body: []byte(body), Time: answered})
			if len(results) != len(r.Recipients) {
				t.Fatalf("%d results for %d recipients", len(results), len(r.Recipients))
			}
			for i, result := range results {
				switch {
				case result.Recipient != r.Recipients[i]:
					t.Errorf("result %d is of %s, want %s", i, result.Recipient, r.Recipients[i])
				case (result.State == providers.Accepted) != (result.Err == nil):
					t.Errorf("%s is %v with the error %v", result.Recipient, result.State, result.Err)
				case result.State == providers.Accepted && (status != http.StatusOK || result.ProviderID == ""):
					t.Errorf("%d with the id %q is a success", status, result.ProviderID)
				case result.Err != nil && !slices.Contains(known, result.Err.Category):
					t.Errorf("the category %q is none", result.Err.Category)
				}
			}
		}
	})
}

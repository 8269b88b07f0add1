package ses_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/ses/sestest"
	"smtpbridge/translate"
)

// recipients are n addresses, two of which differ in case only.
func recipients(n int) []string {
	list := []string{"a@example.org", "A@example.org", "b@example.org"}
	for i := len(list); i < n; i++ {
		list = append(list, fmt.Sprintf("r%d@example.net", i))
	}
	return list[:n]
}

// fuzzSeeds are named after what they show.
var fuzzSeeds = map[string]string{
	"plain":               addressed + "\nHello\n",
	"no headers":          "just a body",
	"decoded line breaks": "From: =?utf-8?q?a=0D=0Ab?= <a@example.com>\nSubject: =?utf-8?q?a=0D=0ABcc:_x?=\n\nx",
	"invalid UTF-8":       addressed + "X-A: \xff\xfe\nContent-Type: text/html; charset=utf-8\n\n\xff\xfe<p>\xc3",
	"odd header names":    addressed + "X(A: 1\nÜ: 2\nx-a: 3\nX-A: 4\nTo : b@example.org\n\nx",
	"odd addresses":       "From: a@b\nTo: \"x y\"@example.org, root, (c) d@example.org\nCc: a..b@x, \"\nReply-To: ü@example.org\nSender: <\n\nx",
	"two authors":         "From: a@example.com, root, b..c@example.com\n\nx",
	"names in UTF-8":      "From: Grüße <a@example.com>\nTo: " + strings.Repeat("漢字", 40) + " <b@example.org>\n\nx",
	"repeated headers":    addressed + "List-Id: a\nList-Id: b\nComments: a\nComments: b\nContent-ID: x\nContent-ID: y\n\nx",
	"tags and metadata":   addressed + strings.Repeat("X-Bridge-Tag: t\xc3\xbc\nX-Bridge-Metadata: tag_1=v\n", 12) + "\nx",
	"tags of SES":         addressed + "X-SES-MESSAGE-TAGS: a=b, c=d, bridge_id=x\nX-SES-TENANT: a b\nX-SES-LIST-MANAGEMENT-OPTIONS: l;topic=t\n\nx",
	"apart":               addressed + `X-SMTPAPI: {"to":["a@example.org"],"category":["x"]}` + "\nCc: c@example.org\n\nx",
	"signed":              addressed + "Content-Type: multipart/signed; protocol=x; boundary=b\n\n--b\n\nü\n--b\n\nsig\n--b--\n",
	"bare LF in a part":   addressed + "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\na\n--b\nContent-Transfer-Encoding: base64\n\nQUI\n--b--",
	"long line":           addressed + "\n" + strings.Repeat("x", 3000),
	"forbidden file":      addressed + "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: a/b; name*=utf-8''a%2Eexe\n\nx\n--b--",
}

// FuzzRequests: whatever the mail is, SES takes the requests, they have the
// announced length, and every envelope recipient is in them exactly once.
func FuzzRequests(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(fuzzSeeds)) {
		f.Add(strings.ReplaceAll(fuzzSeeds[name], "\n", "\r\n"), uint16(1))
		f.Add(strings.ReplaceAll(fuzzSeeds[name], "\n", "\r\n"), uint16(3))
	}
	f.Add(addressed+"\nmore recipients than a request takes\n", uint16(1001))
	a := newAdapter()
	f.Fuzz(func(t *testing.T, mail string, extra uint16) {
		m := parse(t, mail, recipients(int(extra)%300+1))
		if m == nil {
			return
		}
		defer m.Close()
		if _, refusal := providers.Check(a.Capabilities(), m, time.Now()); refusal != nil {
			return
		}
		count := make(map[string]int)
		for _, r := range a.Requests(m) {
			content := readBody(t, r.Body)
			sent, err := sestest.Decode(content)
			if err != nil {
				t.Fatalf("SES would refuse: %v\n%s", err, mime(content))
			}
			for _, recipient := range sent.Recipients() {
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

// mime is the mail in a request, for people.
func mime(body []byte) string {
	var mail sestest.Mail
	if json.Unmarshal(body, &mail) != nil || mail.Content.Raw == nil {
		return string(body)
	}
	raw, err := base64.StdEncoding.DecodeString(mail.Content.Raw.Data)
	return fmt.Sprintf("%q %v", raw, err)
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

// FuzzResults: whatever is answered, every recipient has exactly one result, with
// an error unless it was accepted, of a known category.
func FuzzResults(f *testing.F) {
	for _, c := range errorRows {
		f.Add(c.status, c.name, fmt.Sprintf(`{"message":%q}`, c.message), uint8(3))
	}
	for _, body := range []string{
		`{"MessageId":"x"}`, `{"MessageId":7}`, `{"messageid":""}`, `[]`, `null`, ``, `<html>`, `{"code":{},"__type":"a#b:c","Message":null}`,
		`{"message":"Illegal address 'a@example.org' <A@example.org> \"` + strings.Repeat("'(", 3000) + `"}`,
	} {
		f.Add(200, "", body, uint8(2))
		f.Add(400, "BadRequestException", body, uint8(1))
		f.Add(500, "#:", body, uint8(60))
	}
	known := providers.Categories()
	f.Fuzz(func(t *testing.T, status int, name, body string, n uint8) {
		r := providers.Request{Recipients: recipients(int(n)%60 + 1)}
		resp := providers.Response{Status: status, Header: http.Header{"X-Amzn-Errortype": {name}}, Body: []byte(body), Time: signedAt}
		results := newAdapter().Results(r, resp)
		if len(results) != len(r.Recipients) {
			t.Fatalf("there are %d results for %d recipients", len(results), len(r.Recipients))
		}
		for i, result := range results {
			switch {
			case result.Recipient != r.Recipients[i]:
				t.Errorf("result %d is of %s, want %s", i, result.Recipient, r.Recipients[i])
			case (result.State == providers.Accepted) != (result.Err == nil):
				t.Errorf("%v with the error %v", result.State, result.Err)
			case result.State == providers.Accepted && (status != http.StatusOK || result.ProviderID == ""):
				t.Errorf("%d %q is accepted", status, body)
			case result.Err != nil && !slices.Contains(known, result.Err.Category):
				t.Errorf("the category is %q", result.Err.Category)
			case result.Err != nil && (len(result.Err.Message) > 512 || len(result.Err.ProviderCode) > 512):
				t.Errorf("the error has %d octets", len(result.Err.Message))
			case result.Err != nil && errors.Is(result.Err, providers.ErrAnotherRecipient) && len(r.Recipients) == 1:
				t.Error("a single recipient is refused for another one")
			}
		}
		newAdapter().Probed(resp)
	})
}

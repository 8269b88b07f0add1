package smtp2gotest_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers/smtp2go/smtp2gotest"
)

const key = "api-0123456789"

// good is a request that is taken.
func good() map[string]any {
	return map[string]any{
		"sender": "Shop <shop@example.com>", "to": []any{"a@example.org"}, "subject": "s", "text_body": "x",
		"custom_headers": []any{}, "fastaccept": false,
	}
}

const goodMIME = "From: shop@example.com\r\nTo: a@example.org\r\nSubject: s\r\n\r\nx\r\n"

// answerTo is the status and the body of the answer to one request.
func answerTo(t *testing.T, f *smtp2gotest.Fake, path string, change func(*http.Request), body any) (int, string) {
	t.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(content)))
	r.Header.Set("X-Smtp2go-Api-Key", key)
	r.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestFakeTakes(t *testing.T) {
	f := smtp2gotest.New(key, nil)
	mail := good()
	mail["cc"], mail["bcc"] = []any{`"Doe, Jo" <b@example.org>`}, []any{"c@example.org"}
	mail["html_body"], mail["inlines"] = "<img src=cid:i>", []any{map[string]string{"filename": "i", "fileblob": "YQ==", "mimetype": "image/png"}}
	mail["custom_headers"] = []any{map[string]string{"header": "X-Bridge-Id", "value": "01J"}}
	if status, body := answerTo(t, f, smtp2gotest.SendPath, nil, mail); status != 200 || !strings.Contains(body, "email_id") {
		t.Errorf("a mail is answered %d %s", status, body)
	}
	mail = good()
	mail["schedule"] = time.Now().Add(time.Hour).UTC().Format("2006-01-02 15:04:05 +0000")
	if status, body := answerTo(t, f, smtp2gotest.SendPath, nil, mail); status != 200 || !strings.Contains(body, "schedule_id") {
		t.Errorf("a mail for later is answered %d %s", status, body)
	}
	raw := map[string]any{"mime_email": []byte(goodMIME), "fastaccept": false}
	if status, body := answerTo(t, f, smtp2gotest.MIMEPath, nil, raw); status != 200 || !strings.Contains(body, `"succeeded":1`) {
		t.Errorf("a raw mail is answered %d %s", status, body)
	}
	if status, body := answerTo(t, f, smtp2gotest.PermissionsPath, nil, map[string]any{}); status != 200 || !strings.Contains(body, `["/email/send","/email/mime"]`) {
		t.Errorf("the permissions are answered %d %s", status, body)
	}
	taken := f.Taken()
	if len(taken) != 3 || f.Requests() != 4 || f.Count()["01J b@example.org"] != 1 || taken[2].Recipients()[0] != "a@example.org" || string(taken[2].Raw) != goodMIME {
		t.Errorf("of %d requests %+v is taken", f.Requests(), taken)
	}
}

func TestFakeRefusesTheRequest(t *testing.T) {
	f := smtp2gotest.New(key, nil)
	f.Permit("/email/mime")
	for name, c := range map[string]struct {
		path   string
		change func(*http.Request)
		status int
		says   string
	}{
		"no key":               {smtp2gotest.SendPath, func(r *http.Request) { r.Header.Del("X-Smtp2go-Api-Key") }, 401, "API key"},
		"another path":         {"/v3/email/other", nil, 404, "not found"},
		"GET":                  {smtp2gotest.MIMEPath, func(r *http.Request) { r.Method = http.MethodGet }, 405, "POST"},
		"no JSON":              {smtp2gotest.MIMEPath, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 400, "NON_VALIDATING"},
		"no length":            {smtp2gotest.MIMEPath, func(r *http.Request) { r.ContentLength = -1 }, 411, "length"},
		"no permission":        {smtp2gotest.SendPath, nil, 400, "ENDPOINT_PERMISSION_DENIED"},
		"a probe of something": {smtp2gotest.PermissionsPath, nil, 400, "NON_VALIDATING"},
	} {
		if status, body := answerTo(t, f, c.path, c.change, good()); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s is answered %d %s, want %d with %q", name, status, body, c.status, c.says)
		}
	}
	if status, _ := answerTo(t, f, smtp2gotest.SendPath, nil, strings.Repeat("x", 50_000_000)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("50 MB and more are answered %d", status)
	}
	if len(f.Taken()) != 0 {
		t.Errorf("%+v is taken", f.Taken())
	}
}

func TestFakeRefusesTheMail(t *testing.T) {
	header := func(name, value string) []any {
		return []any{map[string]string{"header": name, "value": value}}
	}
	file := func(name, blob, kind string) map[string]string {
		return map[string]string{"filename": name, "fileblob": blob, "mimetype": kind}
	}
	inline := file("i", "YQ==", "image/png")
	many := make([]any, 101)
	for i := range many {
		many[i] = strings.Repeat("a", i+1) + "@example.org"
	}
	for _, c := range []struct {
		field string // that is wrong
		value any    // nil: missing
		says  string
	}{
		{"sender", nil, "sender"},
		{"sender", "shop", "sender"},
		{"sender", "Shop, Inc. <shop@example.com>", "sender"},
		{"to", nil, "to"},
		{"to", []any{}, "to"},
		{"to", []any{"a"}, "found 'a'"},
		{"to", []any{"a@example.org\r\n"}, "to"},
		{"to", []any{"ü@example.org"}, "to"},
		{"to", []any{"a b@example.org"}, "to"},
		{"to", many, "at most 100"},
		{"to", []any{"a@b", "A@b"}, "twice"},
		{"cc", []any{"A@example.org"}, "twice"},
		{"bcc", []any{"x"}, "bcc"},
		{"to", "a@example.org", "NON_VALIDATING"},
		{"subject", nil, "subject"},
		{"subject", " ", "subject"},
		{"subject", strings.Repeat("ü", 256), "subject"},
		{"subject", "a\nb", "subject"},
		{"text_body", nil, "text_body"},
		{"unknown", 1, "NON_VALIDATING"},
		{"fastaccept", true, "fastaccept"},
		{"fastaccept", nil, "fastaccept"},
		{"custom_headers", nil, "custom_headers"},
		{"custom_headers", header("Content-Type", "x"), "not allowed"},
		{"custom_headers", header("Bcc", "x@y"), "of its own"},
		{"custom_headers", header("X-Smtp2go-Id", "x"), "internally"},
		{"custom_headers", header("Precedence", "bulk"), "X-"},
		{"custom_headers", header("X-A", ""), "127"},
		{"custom_headers", header("X-A", strings.Repeat("x", 128)), "127"},
		{"custom_headers", header("X-A", " x"), "127"},
		{"custom_headers", header("X-A", "x\ny"), "127"},
		{"custom_headers", header("X-"+strings.Repeat("a", 126), "x"), "127"},
		{"custom_headers", header("X A", "x"), "127"},
		{"custom_headers", header("X-Bridge-Tag", "x"), "directive"},
		{"custom_headers", append(header("X-A", "1"), header("x-a", "2")...), "twice"},
		{"attachments", []any{file("", "YQ==", "a/b")}, "filename"},
		{"attachments", []any{file("a/b", "YQ==", "a/b")}, "filename"},
		{"attachments", []any{file("a", "", "a/b")}, "base64"},
		{"attachments", []any{file("a", "YQ", "a/b")}, "base64"},
		{"attachments", []any{file("a", "YQ=\n=", "a/b")}, "base64"},
		{"attachments", []any{file("a", "YQ==", "a")}, "mimetype"},
		{"attachments", []any{file("a", "YQ==", "a/b; c=d")}, "mimetype"},
		{"inlines", []any{inline}, "refers"},
		{"inlines", []any{inline, file("I", "YQ==", "a/b")}, "one name"},
		{"inlines", []any{file("a b", "YQ==", "a/b")}, "Content-ID"},
		{"schedule", "tomorrow", "3 days"},
		{"schedule", "2006-01-02 15:04:05 +0000", "3 days"},
		{"schedule", time.Now().Add(73 * time.Hour).UTC().Format("2006-01-02 15:04:05 +0000"), "3 days"},
	} {
		mail := good()
		if mail[c.field] = c.value; c.value == nil {
			delete(mail, c.field)
		}
		if c.field == "inlines" && c.says != "refers" {
			mail["html_body"] = "<img src=cid:i>"
		}
		f := smtp2gotest.New(key, nil)
		if status, body := answerTo(t, f, smtp2gotest.SendPath, nil, mail); status != 400 || !strings.Contains(body, c.says) || len(f.Taken()) > 0 {
			t.Errorf("%s %v is answered %d %s, want 400 with %q", c.field, c.value, status, body, c.says)
		}
	}
}

func TestFakeRefusesTheRawMail(t *testing.T) {
	for mail, says := range map[string]string{
		"": "base64", "x": "does not end",
		strings.Replace(goodMIME, "\r\nT", "\nT", 1):                               "no line",
		goodMIME + strings.Repeat("x", 999) + "\r\n":                               "no line",
		"X-A: ü\r\n" + goodMIME:                                                    "the header is not",
		"Bcc: b@example.org\r\n" + goodMIME:                                        "Bcc",
		"Resent-To: b@example.org\r\n" + goodMIME:                                  "Resent-To",
		"To: b@example.org\r\n" + goodMIME:                                         "twice",
		"Cc: A@example.org\r\n" + goodMIME:                                         "twice",
		"X-Bridge-Tag: x\r\n" + goodMIME:                                           "left",
		"X-Smtp2go-Id: x\r\n" + goodMIME:                                           "left",
		"X-Bridge-Id: x\r\nX-Bridge-Id: y\r\n" + goodMIME:                          "twice",
		strings.Replace(goodMIME, "shop@example.com", "a@b, c@d", 1):               "one From",
		strings.Replace(goodMIME, "shop@example.com", "shop", 1):                   "one From",
		strings.Replace(goodMIME, "To: a@example.org", "To: undisclosed:;", 1):     "nobody",
		strings.Replace(goodMIME, "a@example.org", "=?utf-8?q?=C3=BC,?= <a@b>", 1): "list of addresses",
	} {
		f := smtp2gotest.New(key, nil)
		body := map[string]any{"mime_email": base64.StdEncoding.EncodeToString([]byte(mail)), "fastaccept": false}
		if status, body := answerTo(t, f, smtp2gotest.MIMEPath, nil, body); status != 400 || !strings.Contains(body, says) || len(f.Taken()) > 0 {
			t.Errorf("%q is answered %d %s, want 400 with %q", mail, status, body, says)
		}
	}
	for _, body := range []map[string]any{{"mime_email": "YQ=\n="}, {"mime_email": []byte(goodMIME), "fastaccept": false, "schedule": "x"}, {"mime_email": []byte(goodMIME), "to": "x"}} {
		if status, _ := answerTo(t, smtp2gotest.New(key, nil), smtp2gotest.MIMEPath, nil, body); status != 400 {
			t.Errorf("%v is answered %d", body, status)
		}
	}
}

func TestFakeFails(t *testing.T) {
	for fault, want := range map[smtp2gotest.Fault]struct {
		status, taken int
		says          string
	}{
		smtp2gotest.None: {200, 1, "email_id"}, smtp2gotest.Throttled: {429, 0, "REQ_LIMIT_EXCEEDED"}, smtp2gotest.Unverified: {200, 0, "unable to verify"},
		smtp2gotest.Failed: {500, 1, "API_EXCEPTION"}, smtp2gotest.Gateway: {502, 1, "<html>"}, smtp2gotest.Unavailable: {503, 0, "<html>"},
		smtp2gotest.ResetBefore: {200, 0, ""}, smtp2gotest.ResetAfter: {200, 1, ""}, // nothing is answered
	} {
		f := smtp2gotest.New(key, func(int) smtp2gotest.Fault { return fault })
		status, body := answerTo(t, f, smtp2gotest.SendPath, nil, good())
		if status != want.status || len(f.Taken()) != want.taken || !strings.Contains(body, want.says) || want.says == "" && body != "" {
			t.Errorf("fault %d is answered %d %s, and %d mails are taken; want %+v", fault, status, body, len(f.Taken()), want)
		}
	}
}

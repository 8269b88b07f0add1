package mailguntest_test

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"smtpbridge/providers/mailgun/mailguntest"
)

const (
	key    = "0123456789abcdef"
	domain = "mg.example.com"
)

var account = mailguntest.Account{Key: key, Domain: domain}

// part is one of a form: a field, or a file where it has a name.
type part struct{ field, file, content string }

func form(parts ...part) (contentType string, body []byte) {
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	for _, p := range parts {
		disposition := fmt.Sprintf("form-data; name=%q", p.field)
		if p.file != "" {
			disposition += fmt.Sprintf("; filename=%q", p.file)
		}
		section, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {"text/plain"}})
		if err != nil {
			panic(err)
		}
		section.Write([]byte(p.content))
	}
	w.Close()
	return w.FormDataContentType(), out.Bytes()
}

var (
	mail   = "From: a@example.com\r\nTo: a@example.org\r\nSubject: x\r\n\r\nHello\r\n"
	raw    = []part{{"to", "", "a@example.org"}, {"message", "message.mime", mail}}
	fields = []part{{"from", "", "Shop <a@example.com>"}, {"to", "", "a@example.org"}, {"subject", "", "x"}, {"text", "", "Hello"}}
)

// with adds parts to a form that is taken, in place of those of the same name.
func with(parts []part, more ...part) []part {
	kept := slices.DeleteFunc(slices.Clone(parts), func(p part) bool {
		return slices.ContainsFunc(more, func(m part) bool { return m.field == p.field })
	})
	return append(kept, slices.DeleteFunc(slices.Clone(more), func(p part) bool { return p == part{field: p.field} })...)
}

func TestFakeRefuses(t *testing.T) {
	many := make([]part, 1001)
	for i := range many {
		many[i] = part{"to", "", fmt.Sprintf("r%d@example.org", i)}
	}
	message := func(text string) []part { return with(raw, part{"message", "message.mime", text}) }
	for _, c := range []struct {
		name  string
		path  string
		parts []part
		want  string // in the answer; empty: taken
	}{
		{"raw", "messages.mime", raw, ""},
		{"fields", "messages", fields, ""},

		{"no recipient", "messages.mime", with(raw, part{field: "to"}), "'to' parameter is missing"},
		{"only Bcc", "messages", with(fields, part{field: "to"}, part{"bcc", "", "a@example.org"}), "'to' parameter is missing"},
		{"bad recipient", "messages.mime", with(raw, part{"to", "", "root"}), "'to' parameter is not a valid address"},
		{"bad Cc", "messages", with(fields, part{"cc", "", "a@"}), "'cc' parameter is not a valid address"},
		{"recipient outside ASCII", "messages", with(fields, part{"to", "", "ü@example.org"}), "'to' parameter is not a valid address"},
		{"too many recipients", "messages.mime", with(raw, many...), "Too many recipients"},
		{"Cc of raw", "messages.mime", with(raw, part{"cc", "", "a@example.org"}), "reads no field cc"},
		{"no From", "messages", with(fields, part{field: "from"}), "'from' parameter is missing"},
		{"bad From", "messages", with(fields, part{"from", "", "Shop"}), "'from' parameter is not a valid address"},
		{"no body", "messages", with(fields, part{field: "text"}), "Need at least one of"},
		{"no subject", "messages", with(fields, part{field: "subject"}), "subject"},
		{"two subjects", "messages", with(fields, part{"subject", "", "a"}, part{"subject", "", "b"}), "Only one parameters"},

		{"message as a field", "messages.mime", with(raw, part{"message", "", mail}), "'message' parameter is not a file"},
		{"no message", "messages.mime", with(raw, part{field: "message"}), "'message' parameter is missing"},
		{"two messages", "messages.mime", append(slices.Clone(raw), raw[1]), "Only one parameters"},
		{"message by fields", "messages", with(fields, raw[1]), "reads no field message"},
		{"file of raw", "messages.mime", with(raw, part{"attachment", "a.txt", "x"}), "reads no files"},
		{"large message", "messages.mime", message(mail + strings.Repeat("0123456789\r\n", 2_100_000)), "25MB"},
		{"message without From", "messages.mime", message("To: a@example.org\r\n\r\nx\r\n"), "'from' parameter"},
		{"message with Bcc", "messages.mime", message("Bcc: b@example.org\r\n" + mail), "Bcc"},
		{"message with a directive of ours", "messages.mime", message("X-Bridge-Tag: x\r\n" + mail), "X-Bridge-Tag"},
		{"message with a directive of Mailgun's", "messages.mime", message("X-Mailgun-Tag: x\r\n" + mail), "X-Mailgun-Tag"},
		{"bare line end", "messages.mime", message(mail + "x\ny\r\n"), "lines"},
		{"long line", "messages.mime", message(mail + strings.Repeat("x", 999) + "\r\n"), "lines"},
		{"8 bit in the header", "messages.mime", message("X-A: ü\r\n" + mail), "ASCII"},
		{"no mail", "messages.mime", message("x"), "cannot be read"},

		{"nameless file", "messages", with(fields, part{"attachment", "", "x"}), "not a file"},
		{"text as a file", "messages", with(fields, part{"text", "a.txt", "x"}), "is a file"},
		{"path of an image", "messages", with(fields, part{"inline", "a/b", "x"}), "Content-ID"},
		{"image twice", "messages", with(fields, part{"inline", "a", "x"}, part{"inline", "A", "x"}), "Content-ID"},
		{"large file", "messages", with(fields, part{"attachment", "a", strings.Repeat("x", 19_000_000)}), "25MB"},

		{"unknown field", "messages", with(fields, part{"o:unknown", "", "x"}), "no field"},
		{"header outside ASCII", "messages", with(fields, part{"h:Ü", "", "x"}), "pure ASCII"},
		{"header twice", "messages", with(fields, part{"h:X-A", "", "x"}, part{"h:x-a", "", "y"}), "twice"},
		{"header of two lines", "messages", with(fields, part{"h:X-A", "", "x\r\nBcc: y"}), "line"},
		{"our header", "messages", with(fields, part{"h:X-Bridge-Tag", "", "x"}), "not ours to give"},
		{"variable without a name", "messages", with(fields, part{"v:", "", "x"}), "names nothing"},
		{"variable twice", "messages", with(fields, part{"v:a", "", "x"}, part{"v:a", "", "y"}), "2 times"},
		{"many options", "messages", with(fields, part{"v:a", "", strings.Repeat("x", 16_000)}), "16 kB"},
		{"four tags", "messages", with(fields, part{"o:tag", "", "1"}, part{"o:tag", "", "2"}, part{"o:tag", "", "3"}, part{"o:tag", "", "4"}), "fourth tag"},
		{"long tag", "messages", with(fields, part{"o:tag", "", strings.Repeat("x", 129)}), "o:tag"},
		{"tag outside ASCII", "messages", with(fields, part{"o:tag", "", "ü"}), "o:tag"},
		{"date of another form", "messages", with(fields, part{"o:deliverytime", "", "2026-01-02T03:04:05Z"}), "RFC-2822"},
		{"far ahead", "messages", with(fields, part{"o:deliverytime", "", "Fri, 02 Jan 2099 03:04:05 +0000"}), "three days"},
		{"short window", "messages", with(fields, part{"o:deliver-within", "", "4m"}), "delivery time"},
		{"odd switch", "messages", with(fields, part{"o:tracking", "", "perhaps"}), "o:tracking"},
		{"switch twice", "messages", with(fields, part{"o:dkim", "", "yes"}, part{"o:dkim", "", "no"}), "Only one parameters"},
		{"variables that are no JSON", "messages.mime", with(raw, part{"recipient-variables", "", "x"}), "not a valid JSON"},
		{"variables of others", "messages.mime", with(raw, part{"recipient-variables", "", `{"b@example.org":{}}`}), "not those of the recipients"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := mailguntest.New(account)
			contentType, body := form(c.parts...)
			status, answer := ask(fake, http.MethodPost, "/v3/"+domain+"/"+c.path, key, contentType, body)
			taken := status == http.StatusOK && strings.Contains(answer, "Queued")
			if taken != (c.want == "") || !strings.Contains(answer, c.want) || (len(fake.Taken()) == 1) != taken {
				t.Errorf("the answer is %d %s; want %q", status, answer, c.want)
			}
		})
	}
}

func ask(fake *mailguntest.Fake, method, path, password, contentType string, body []byte) (status int, answer string) {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.SetBasicAuth("api", password)
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	fake.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestFakeKnowsItsAccount(t *testing.T) {
	contentType, body := form(raw...)
	sending := account
	sending.SendingKey = true
	for _, c := range []struct {
		name           string
		account        mailguntest.Account
		method, path   string
		password, kind string
		status         int
		answer         string
	}{
		{"wrong key", account, "POST", "/v3/" + domain + "/messages.mime", "x", contentType, 401, "Forbidden"},
		{"other domain", account, "POST", "/v3/other.example.com/messages.mime", key, contentType, 404, "Domain not found: other.example.com"},
		{"other path", account, "POST", "/v3/" + domain + "/x/messages", key, contentType, 200, "Mailgun Magnificent API"},
		{"other method", account, "PUT", "/v3/" + domain + "/messages.mime", key, contentType, 200, "Mailgun Magnificent API"},
		{"no form", account, "POST", "/v3/" + domain + "/messages.mime", key, "application/json", 400, "Invalid request content type"},
		{"broken form", account, "POST", "/v3/" + domain + "/messages.mime", key, "multipart/form-data; boundary=x", 400, "malformed multipart"},
		{"domain", account, "GET", "/v4/domains/" + domain, key, "", 200, `"state":"active"`},
		{"domain that is not there", account, "GET", "/v4/domains/other.example.com", key, "", 404, "Domain not found"},
		{"domain with a sending key", sending, "GET", "/v4/domains/" + domain, key, "", 401, "Forbidden"},
		{"send with a sending key", sending, "POST", "/v3/" + domain + "/messages.mime", key, contentType, 200, "Queued"},
	} {
		status, answer := ask(mailguntest.New(c.account), c.method, c.path, c.password, c.kind, body)
		if status != c.status || !strings.Contains(answer, c.answer) {
			t.Errorf("%s: the answer is %d %s, want %d %s", c.name, status, answer, c.status, c.answer)
		}
	}
}

// Who is mailed, and whom each sees.
func TestFakeReadsCopies(t *testing.T) {
	shown := "From: a@example.com\r\nTo: A <a@example.org>\r\nCc: z@example.org\r\n\r\nx\r\n"
	for _, c := range []struct {
		path  string
		parts []part
		want  []mailguntest.Copy
	}{
		{
			"messages.mime",
			[]part{{"to", "", "a@example.org"}, {"to", "", "h@example.org"}, {"to", "", "A@example.org"}, {"message", "m", shown}},
			[]mailguntest.Copy{{Recipients: []string{"a@example.org", "h@example.org"}, Shown: []string{"a@example.org", "z@example.org"}}},
		},
		{
			"messages", append(slices.Clone(fields), part{"cc", "", "c@example.org"}, part{"bcc", "", "h@example.org"}),
			[]mailguntest.Copy{{Recipients: []string{"a@example.org", "c@example.org", "h@example.org"}, Shown: []string{"a@example.org", "c@example.org"}}},
		},
		{
			"messages", append(slices.Clone(fields), part{"to", "", "b@example.org"}, part{"recipient-variables", "", `{"a@example.org":{},"b@example.org":{}}`}),
			[]mailguntest.Copy{
				{Recipients: []string{"a@example.org"}, Shown: []string{"a@example.org"}}, {Recipients: []string{"b@example.org"}, Shown: []string{"b@example.org"}},
			},
		},
	} {
		contentType, body := form(c.parts...)
		got, err := mailguntest.Decode("/v3/"+domain+"/"+c.path, contentType, body)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got.Copies()) != fmt.Sprint(c.want) {
			t.Errorf("%s: the copies are %v, want %v", c.path, got.Copies(), c.want)
		}
	}
}

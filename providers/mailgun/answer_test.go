package mailgun_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
)

var answered = time.Date(2021, 12, 20, 20, 30, 21, 0, time.UTC)

// said is an answer in Mailgun's form.
func said(status int, message string) providers.Response {
	body, err := json.Marshal(map[string]string{"message": message})
	if err != nil {
		panic(err)
	}
	return providers.Response{Status: status, Header: http.Header{}, Time: answered, Body: body}
}

// one is a request with one recipient.
var one = providers.Request{Recipients: []string{"a@example.org"}}

// The table of errors; the words as they were seen, of old and new answers.
func TestResultsOfErrors(t *testing.T) {
	const local = true
	for _, c := range []struct {
		status  int
		message string
		want    providers.Category
		local   bool
		retry   time.Duration
	}{
		{400, "'to' parameter is not a valid address. please check documentation", providers.InvalidRecipient, false, 0},
		{400, "to parameter is not a valid address. please check documentation", providers.InvalidRecipient, false, 0},
		{400, "'cc' parameter is not a valid address", providers.InvalidRecipient, false, 0},
		{400, "bcc parameter is not a valid address", providers.InvalidRecipient, false, 0},
		{400, "'to' parameter is missing. please check documentation", providers.ConfigurationError, false, 0},
		{400, "from parameter is missing", providers.ContentRejected, false, 0},
		{400, "'from' parameter is not a valid address. please check documentation", providers.ContentRejected, false, 0},
		{400, "Need at least one of 'text' or 'html' parameters specified", providers.ContentRejected, local, 0},
		{400, "Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified", providers.ContentRejected, local, 0},
		{400, "Send options (parameters starting with o:, h:, or v:) are limited to 16 kB in total", providers.ContentRejected, local, 0},
		{400, "Header name must be pure ASCII", providers.ContentRejected, local, 0},
		{400, "'recipient-variables' parameter is not a valid JSON", providers.ContentRejected, local, 0},
		{400, "invalid 24 hour time: 25:00", providers.ContentRejected, local, 0},
		{400, "tag is too long", providers.ContentRejected, local, 0},
		{400, "'o:deliverytime' is not an RFC-2822 compliant date", providers.ContentRejected, local, 0},
		{400, "invalid delivery time format", providers.ContentRejected, local, 0},
		{400, "Too many recipients, max is 1000", providers.ConfigurationError, false, 0},
		{400, "malformed multipart", providers.ConfigurationError, false, 0},
		{400, "malformed multipart: unexpected EOF", providers.NetworkError, false, 0},
		{400, "unable to parse request", providers.ConfigurationError, false, 0},
		{400, "Invalid request content type", providers.ConfigurationError, false, 0},
		{400, "'message' parameter is not a file", providers.ConfigurationError, false, 0},
		{400, "message parameter is missing", providers.ConfigurationError, false, 0},
		{400, "Only one parameters 'from' is allowed", providers.ConfigurationError, false, 0},
		{400, "message size exceeds 25MB", providers.TooLarge, local, 0},
		{400, "the message is too large", providers.TooLarge, local, 0},

		// "is not allowed to send" means four things.
		{403, "Domain mg.example.com is not allowed to send: Sandbox subdomains are for test purposes only. Please add your own domain or add the address to authorized recipients in Account Settings.", providers.ConfigurationError, false, 0},
		{400, "Sandbox subdomains are for test purposes only.", providers.ConfigurationError, false, 0},
		{403, "Domain mg.example.com is not allowed to send: Free accounts are for test purposes only.", providers.ConfigurationError, false, 0},
		{400, "Domain mg.example.com is not allowed to send: The domain is unverified and requires DNS configuration.", providers.ConfigurationError, false, 0},
		{403, "Please activate your Mailgun account. Check your inbox or log in to your control panel to resend the activation email.", providers.ConfigurationError, false, 0},
		{429, "Domain mg.example.com is not allowed to send: request limit exceeded, try again after Mon, 20 Dec 2021 20:33:21 UTC", providers.RateLimit, false, 3 * time.Minute},
		{420, "Domain mg.example.com is not allowed to send: recipient limit exceeded, try again after Mon, 20 Dec 2021 20:33:21 UTC", providers.RateLimit, false, 3 * time.Minute},
		{403, "Domain mg.example.com is not allowed to send: bytes limit exceeded, try again after Mon, 20 Dec 2021 20:33:21 UTC", providers.RateLimit, false, 3 * time.Minute},
		{400, "Domain mg.example.com is not allowed to send: recipient limit exceeded, try again after Mon, 20 Dec 2021 20:33:21 UTC", providers.RateLimit, false, 3 * time.Minute},
		{400, "Domain mg.example.com is not allowed to send: recipient limit exceeded", providers.QuotaExceeded, false, 0},
		{400, "You are sending too fast. Your account is on probation.", providers.QuotaExceeded, false, 0},
		{403, "Domain mg.example.com is not allowed to send: Account Disabled", providers.Authentication, false, 0},
		{403, "Account Inactivity", providers.Authentication, false, 0},
		{403, "domain disabled", providers.Authentication, false, 0},
		{403, "You are not allowed to send large batches yet", providers.ConfigurationError, false, 0},
		{403, "IP 192.0.2.1 can't be used", providers.ConfigurationError, false, 0},
		{403, "no", providers.Authentication, false, 0},

		{401, "Forbidden", providers.Authentication, false, 0},
		{401, "Invalid private key", providers.Authentication, false, 0},
		{402, "Request Failed", providers.Unknown, false, 0},
		{402, "quota exceeded", providers.QuotaExceeded, false, 0},
		{404, "Domain not found: mg.example.com", providers.ConfigurationError, false, 0},
		{405, "method not allowed", providers.ConfigurationError, false, 0},
		{408, "timeout", providers.NetworkError, false, 0},
		{413, "request size exceeds 52.4MiB limit", providers.TooLarge, local, 0},
		{420, "no words", providers.RateLimit, false, 0},
		{425, "too early", providers.NetworkError, false, 0},
		{429, "Too many requests", providers.RateLimit, false, 0},
		{503, "Service Unavailable", providers.ServiceUnavailable, false, 0},
		{400, "no words", providers.Unknown, false, 0},
		{418, "no words", providers.Unknown, false, 0},
	} {
		got := newAdapter().Results(one, said(c.status, c.message))[0]
		if got.State != providers.Refused || got.Err.Category != c.want || got.Err.Local != c.local || got.Err.RetryAfter != c.retry {
			t.Errorf("%d %q is %v, %+v; want refused, %s, local %v, after %v", c.status, c.message, got.State, got.Err, c.want, c.local, c.retry)
		}
		if !strings.Contains(got.Err.Message, c.message) || got.Err.ProviderCode != strconv.Itoa(c.status) {
			t.Errorf("%d %q says %q with the code %q", c.status, c.message, got.Err.Message, got.Err.ProviderCode)
		}
	}
}

// Words that were sent and come back say nothing: neither addresses nor values.
func TestResultsAreNotFooled(t *testing.T) {
	for _, c := range []struct {
		status  int
		message string
		want    providers.Category
	}{
		{400, `'to' parameter is not a valid address: "from parameter is missing"@example.org`, providers.InvalidRecipient},
		{400, "'to' parameter is not a valid address: spam@example.org, forbidden@example.org", providers.InvalidRecipient},
		{400, "h:Reply-To parameter is not a valid address", providers.Unknown},
		{400, "'h:reply-to' parameter is not a valid address", providers.Unknown},
		{400, "the header 'too many recipients' is odd", providers.Unknown},
		{400, `the subject "account disabled, tag is too long" is odd`, providers.Unknown},
		{400, "the value `sending too fast` is odd", providers.Unknown},
		{400, "see https://example.com/too-many-recipients or <recipient limit exceeded>", providers.Unknown},
		{400, "id 550.401.spam@mg.example.com is odd", providers.Unknown},
		{403, `the From "domain disabled, limit exceeded, try again after Mon, 20 Dec 2021 20:33:21 UTC" is barred`, providers.Authentication},
		{400, "the message of 'a b' sandbox-subdomains is odd", providers.Unknown},
	} {
		if got := newAdapter().Results(one, said(c.status, c.message))[0]; got.Err.Category != c.want {
			t.Errorf("%d %q is %s, want %s", c.status, c.message, got.Err.Category, c.want)
		}
	}
	// The words of one status are not those of another.
	for _, status := range []int{401, 404, 413, 500, 503} {
		got := newAdapter().Results(one, said(status, "'to' parameter is not a valid address, tag is too long, limit exceeded, try again after Mon, 20 Dec 2021 20:33:21 UTC"))[0]
		if got.Err.Category != providers.Classify(status, "") {
			t.Errorf("%d is %s by its words", status, got.Err.Category)
		}
	}
}

// An answer that is not in Mailgun's form: its status speaks.
func TestResultsWithoutWords(t *testing.T) {
	for _, c := range []struct {
		status     int
		body, want string
		category   providers.Category
	}{
		{401, "Forbidden", "HTTP 401 Unauthorized", providers.Authentication},
		{401, `{"message":7}`, "HTTP 401 Unauthorized", providers.Authentication},
		{404, "<html>", "HTTP 404 Not Found; are domain, region and base_url right?", providers.ConfigurationError},
		{400, "too many recipients", "HTTP 400 Bad Request", providers.Unknown},
		{302, "", "HTTP 302 Found: a redirect, which is not followed; is base_url right?", providers.ConfigurationError},
	} {
		got := newAdapter().Results(one, providers.Response{Status: c.status, Body: []byte(c.body)})[0]
		if got.Err.Message != c.want || got.Err.Category != c.category || got.State != providers.Refused {
			t.Errorf("%d %q is %v %s %q, want %s %q", c.status, c.body, got.State, got.Err.Category, got.Err.Message, c.category, c.want)
		}
	}
}

// 200 alone is no success, nor is a refusal what only may be one.
func TestResultsOfSuccess(t *testing.T) {
	const id = "20260102030405.0123456789abcdef@mg.example.com"
	for _, c := range []struct {
		status   int
		body     string
		state    providers.State
		category providers.Category
	}{
		{200, `{"id":"<` + id + `>","message":"Queued. Thank you."}`, providers.Accepted, ""},
		{200, `{"message":"Queued. Thank you.","id":"` + id + `"}`, providers.Accepted, ""},
		{200, `{"id":"<` + id + `>","message":"Test mode"}`, providers.Ambiguous, providers.ServiceUnavailable},
		{200, `{"id":"<` + id + `>"}`, providers.Ambiguous, providers.ServiceUnavailable},
		{200, `{"message":"Queued. Thank you."}`, providers.Ambiguous, providers.ServiceUnavailable},
		{200, `{"id":"<>","message":"Queued. Thank you."}`, providers.Ambiguous, providers.ServiceUnavailable},
		{200, `{"id":7,"message":"Queued. Thank you."}`, providers.Ambiguous, providers.ServiceUnavailable},
		{200, `{"id":"<` + id + `>","message":"Queu`, providers.Ambiguous, providers.ServiceUnavailable},
		{200, ``, providers.Ambiguous, providers.ServiceUnavailable},
		{200, `<html>Queued</html>`, providers.Ambiguous, providers.ServiceUnavailable},
		{202, `{"id":"<` + id + `>","message":"Queued. Thank you."}`, providers.Ambiguous, providers.ServiceUnavailable},
		// Nobody has seen the mail.
		{200, `Mailgun Magnificent API`, providers.Refused, providers.ConfigurationError},
		{200, "\"Mailgun Magnificent API\"\n", providers.Refused, providers.ConfigurationError},
		{202, `Mailgun Magnificent API`, providers.Ambiguous, providers.ServiceUnavailable},
	} {
		got := newAdapter().Results(one, providers.Response{Status: c.status, Body: []byte(c.body)})[0]
		if got.State != c.state || (got.Err == nil) != (c.category == "") || got.Err != nil && got.Err.Category != c.category {
			t.Errorf("%d %q is %v, %v; want %v, %s", c.status, c.body, got.State, got.Err, c.state, c.category)
		}
		if got.State == providers.Accepted && got.ProviderID != id {
			t.Errorf("the id is %q, want it as events have it: %q", got.ProviderID, id)
		}
	}
	want := []providers.Result{
		{Recipient: "a@example.org", State: providers.Accepted, ProviderID: "x"},
		{Recipient: "b@example.org", State: providers.Accepted, ProviderID: "x"},
	}
	r := providers.Request{Recipients: []string{"a@example.org", "b@example.org"}}
	if diff := cmp.Diff(want, newAdapter().Results(r, providers.Response{Status: 200, Body: []byte(`{"id":"<x>","message":"Queued."}`)})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestResultsOfAmbiguousAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   providers.State
	}{
		{500, `{"message":"Internal Server Error"}`, providers.Ambiguous},
		{500, "", providers.Ambiguous},
		{502, "<html>", providers.Ambiguous},
		{502, `{"message":"Bad Gateway"}`, providers.Ambiguous},
		{503, `{"message":"Service Unavailable"}`, providers.Refused},
		{503, "<html>", providers.Refused},
		{504, "", providers.Ambiguous},
		{520, "", providers.Ambiguous},
	} {
		got := newAdapter().Results(one, providers.Response{Status: c.status, Body: []byte(c.body)})[0]
		if got.State != c.want || got.Err.Category != providers.ServiceUnavailable {
			t.Errorf("%d %q is %v, %v; want %v", c.status, c.body, got.State, got.Err, c.want)
		}
	}
}

// One bad address refuses the whole request: the ones that the answer names are
// bad, the others may be sent without them.
func TestResultsNameRecipients(t *testing.T) {
	r := providers.Request{Recipients: []string{"a@example.org", "O'Brien@Example.org", "b.c@example.org"}}
	for words, want := range map[string][]string{
		"'to' parameter is not a valid address. please check documentation":                    nil,
		"'to' parameter is not a valid address: a@example.org":                                 {"a@example.org"},
		"'to' parameter is not a valid address: 'o'brien@example.org', <B.C@example.org>.":     {"O'Brien@Example.org", "b.c@example.org"},
		"'to' parameter is not a valid address: \"a@example.org\"; xa@example.org":             {"a@example.org"},
		"'to' parameter is not a valid address: other@example.org, aa@example.org.example.com": nil,
	} {
		named := make(map[string]bool)
		for _, recipient := range want {
			named[recipient] = true
		}
		for _, got := range newAdapter().Results(r, said(400, words)) {
			switch {
			case got.State != providers.Refused:
				t.Errorf("%q: %s is %v", words, got.Recipient, got.State)
			case named[got.Recipient] != (got.Err.Category == providers.InvalidRecipient):
				t.Errorf("%q: %s is %v", words, got.Recipient, got.Err)
			case !named[got.Recipient] && !errors.Is(got.Err, providers.ErrAnotherRecipient):
				t.Errorf("%q: %s is refused for %v, want for another's sake", words, got.Recipient, got.Err)
			}
		}
	}
	got := newAdapter().Results(one, said(400, "'to' parameter is not a valid address"))[0]
	if got.Err.Category != providers.InvalidRecipient {
		t.Errorf("the only recipient is %v, want invalid_recipient", got.Err)
	}
}

func TestResultsRetryAfter(t *testing.T) {
	in := func(d time.Duration) string { return strconv.FormatInt(answered.Add(d).Unix(), 10) }
	for _, c := range []struct {
		status  int
		header  http.Header
		message string
		want    time.Duration
	}{
		{429, http.Header{"X-Ratelimit-Reset": {in(90 * time.Second)}}, "", 90 * time.Second},
		{429, http.Header{"X-Ratelimit-Reset": {in(90*time.Second) + ".5"}}, "", 90*time.Second + 500*time.Millisecond},
		{420, http.Header{"X-Ratelimit-Reset": {in(time.Minute)}}, "limit exceeded, try again after Mon, 20 Dec 2021 20:33:21 UTC", time.Minute},
		{429, http.Header{"X-Ratelimit-Reset": {in(-time.Minute)}}, "", 0},
		{429, http.Header{"X-Ratelimit-Reset": {"1e300"}, "Retry-After": {"7"}}, "", 7 * time.Second},
		{429, http.Header{"X-Ratelimit-Reset": {"NaN"}}, "", 0},
		{429, http.Header{"Retry-After": {"7"}}, "", 7 * time.Second},
		{429, http.Header{}, "limit exceeded, try again after Mon, 20 Dec 2021 21:30:21 GMT", time.Hour},
		{429, http.Header{}, "limit exceeded, Try Again After Mon, 20 Dec 2021 22:30:21 +0100", time.Hour},
		{429, http.Header{}, "limit exceeded, try again after Mon, 20 Dec 2020 20:33:21 UTC", 0},
		{429, http.Header{}, "limit exceeded, try again after Mon, 99 Dec 2021 20:33:21 UTC", 0},
		{429, http.Header{}, "limit exceeded, try again after a while", 0},
		{429, http.Header{}, "limit exceeded, try again after Mon, 20 Dec 9999 20:33:21 UTC", time.Duration(1<<63 - 1)},
		{503, http.Header{"Retry-After": {"60"}}, "", time.Minute},
		{503, http.Header{"X-Ratelimit-Reset": {in(time.Minute)}}, "", 0},
	} {
		resp := said(c.status, c.message)
		resp.Header = c.header
		if got := newAdapter().Results(one, resp)[0].Err.RetryAfter; got != c.want {
			t.Errorf("%d %v %q is to be tried after %v, want %v", c.status, c.header, c.message, got, c.want)
		}
	}
}

// An answer of 1 MiB costs no more than it has octets.
func TestResultsOfLongAnswers(t *testing.T) {
	recipients := make([]string, 1000)
	for i := range recipients {
		recipients[i] = fmt.Sprintf("r%d@example.org", i)
	}
	r := providers.Request{Recipients: recipients}
	for _, words := range []string{"a@", "'a'", "'", "to parameter ", "ip ", "<", "limit exceeded "} {
		body := `{"message":"'to' parameter is not a valid address ` + strings.Repeat(words, (1<<20)/len(words)-20) + `"}`
		start := time.Now()
		newAdapter().Results(r, providers.Response{Status: 400, Body: []byte(body)})
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("1 MiB of %q takes %v", words, took)
		}
	}
}

package postmark_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/providers/providertest"
)

const id = "b7bc2f4a-e38e-4336-af7d-e6c392c2f817"

var answered = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// refused writes an answer in Postmark's form.
func refused(code int, message string) string {
	return fmt.Sprintf(`{"ErrorCode":%d,"Message":%s}`, code, strconv.Quote(message))
}

func taken(message string) string {
	return fmt.Sprintf(`{"To":"a@example.org","SubmittedAt":"2026-01-02T03:04:05.1234567-05:00","MessageID":%q,"ErrorCode":0,"Message":%q}`, id, message)
}

func answer(status int, body string) providers.Response {
	return providers.Response{Status: status, Header: http.Header{}, Time: answered, Body: []byte(body)}
}

// to is a request for one message to these recipients.
func to(recipients ...string) providers.Request { return providers.Request{Recipients: recipients} }

// batch is a request for a message to each of these recipients.
func batch(t *testing.T, recipients ...string) providers.Request {
	t.Helper()
	return newAdapter().Requests(providertest.Message(t, "From: a@example.com\n\nx\n", recipients...))[0]
}

// brief writes results in words: "a accepted", "b refused invalid_recipient".
func brief(results []providers.Result) []string {
	var words []string
	for _, r := range results {
		text := strings.TrimSuffix(r.Recipient, "@example.org") + " " + r.State.String()
		if r.Err != nil {
			text += " " + string(r.Err.Category)
		}
		if r.State == providers.Accepted && r.ProviderID != id {
			text += " without its id"
		}
		words = append(words, text)
	}
	return words
}

// Every row of the manual's table of errors, and those of older tables.
func TestResultsOfErrors(t *testing.T) {
	const local = true
	for _, c := range []struct {
		status, code int
		message      string
		want         providers.Category
		local        bool
		state        providers.State
	}{
		{401, 10, "Request does not contain a valid Server token.", providers.Authentication, false, providers.Refused},
		{503, 100, "The API is offline for maintenance.", providers.ServiceUnavailable, false, providers.Refused},
		{500, 101, "An unexpected error occurred. Error ID: 550.", providers.ServiceUnavailable, false, providers.Ambiguous},
		{422, 11, "Multiple errors occurred. Inspect the Errors property for more information.", providers.Unknown, false, providers.Refused},
		{404, 12, "Bulk request not found.", providers.ConfigurationError, false, providers.Refused},
		{422, 13, "Malformed pagination key.", providers.ConfigurationError, false, providers.Refused},
		{422, 14, "This endpoint requires approval to access.", providers.ConfigurationError, false, providers.Refused},

		// 300: the field at the beginning says what.
		{422, 300, "Invalid 'To' address: 'a@example.org'.", providers.InvalidRecipient, false, providers.Refused},
		{422, 300, "Invalid 'Cc' address: 'x'.", providers.InvalidRecipient, false, providers.Refused},
		{422, 300, "Error parsing 'Bcc': Illegal email domain 'example.org.' in address 'a@example.org.'.", providers.InvalidRecipient, false, providers.Refused},
		{422, 300, "Error parsing 'To': Illegal email address 'World'. It must contain the '@' symbol.", providers.InvalidRecipient, false, providers.Refused},
		{422, 300, "Error parsing 'To': Unclosed quoted string: \"A <a@example.org>", providers.InvalidRecipient, false, providers.Refused},
		{422, 300, "Invalid 'From' address: 'test'.", providers.ContentRejected, false, providers.Refused},
		{422, 300, "Invalid 'From' value.", providers.ContentRejected, false, providers.Refused},
		{422, 300, "Error parsing 'From': Illegal email address ']'. It must contain the '@' symbol.", providers.ContentRejected, false, providers.Refused},
		{422, 300, "Error parsing 'Reply-To': Illegal email address 'x'.", providers.ContentRejected, false, providers.Refused},
		{422, 300, "Invalid 'ReplyTo' address: 'nope'.", providers.ContentRejected, false, providers.Refused},
		{422, 300, "Zero recipients specified", providers.ConfigurationError, false, providers.Refused},
		{422, 300, "Exceeded the maximum of 50 recipients per message.", providers.ConfigurationError, false, providers.Refused},
		{422, 300, "Provide either email TextBody or HtmlBody or both.", providers.ContentRejected, local, providers.Refused},
		{422, 300, "Invalid metadata content.", providers.ContentRejected, local, providers.Refused},
		{422, 300, "Zero-sized attachments not allowed.", providers.ContentRejected, local, providers.Refused},
		{422, 300, "", providers.ContentRejected, local, providers.Refused},

		{422, 400, "The 'From' address you supplied (a@example.com) is not a Sender Signature on your account.", providers.ConfigurationError, local, providers.Refused},
		{422, 401, "The Sender Signature has not been confirmed.", providers.ConfigurationError, local, providers.Refused},
		{422, 402, "Invalid JSON.", providers.ConfigurationError, false, providers.Refused},
		{422, 403, "Invalid request field(s): 'From'.", providers.ConfigurationError, false, providers.Refused},
		{422, 405, "Not allowed to send: you ran out of credits.", providers.QuotaExceeded, local, providers.Refused},
		{422, 406, "You tried to send to recipient(s) that have been marked as inactive. Found inactive addresses: a@example.org. Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression.", providers.InvalidRecipient, false, providers.Refused},
		{422, 409, "JSON required.", providers.ConfigurationError, false, providers.Refused},
		{415, 409, "Unsupported media type.", providers.ConfigurationError, false, providers.Refused},
		{422, 410, "You may only send up to 500 messages in a single batched request.", providers.ConfigurationError, false, providers.Refused},
		{422, 411, "Attachment file type not allowed.", providers.ContentRejected, local, providers.Refused},
		{422, 412, "While your account is pending approval, all recipient addresses must share the same domain as the From address.", providers.ConfigurationError, local, providers.Refused},
		{422, 413, "This account is not approved to send email.", providers.Authentication, false, providers.Refused},
		{413, 413, "Payload too large.", providers.TooLarge, local, providers.Refused},
		{422, 422, "Invalid Server or Account.", providers.Authentication, false, providers.Refused},
		{422, 429, "Rate limit exceeded.", providers.RateLimit, false, providers.Refused},
		{429, 429, "Rate limit exceeded.", providers.RateLimit, false, providers.Refused},
		{429, 0, "", providers.RateLimit, false, providers.Refused},
		{422, 1101, "The template was not found.", providers.ConfigurationError, false, providers.Refused},
		{422, 1109, "No template data.", providers.ConfigurationError, false, providers.Refused},
		{422, 1120, "Missing template model.", providers.ConfigurationError, false, providers.Refused},
		{422, 1121, "A template field.", providers.ConfigurationError, false, providers.Refused},
		{422, 1122, "A template field.", providers.ConfigurationError, false, providers.Refused},
		{422, 1123, "A template field.", providers.ConfigurationError, false, providers.Refused},
		{422, 1226, "The stream was not found.", providers.ConfigurationError, false, providers.Refused},
		{422, 1235, "The stream provided: 'unknown-stream' does not exist on this server.", providers.ConfigurationError, local, providers.Refused},
		{422, 1236, "Sending is not supported for this stream type.", providers.ConfigurationError, local, providers.Refused},
		{422, 1480, "You are not authorized to send emails from your current IP address: '192.0.2.1'.", providers.ConfigurationError, local, providers.Refused},

		// The other APIs' codes.
		{422, 500, "x", providers.ConfigurationError, false, providers.Refused},
		{422, 701, "x", providers.ConfigurationError, false, providers.Refused},
		{422, 810, "x", providers.ConfigurationError, false, providers.Refused},
		{422, 1003, "x", providers.ConfigurationError, false, providers.Refused},
		{422, 1406, "x", providers.ConfigurationError, false, providers.Refused},
		{500, 503, "x", providers.ServiceUnavailable, false, providers.Refused},

		// No code that anybody knows: the status, then the words.
		{422, 9999, "no words", providers.Unknown, false, providers.Refused},
		{422, 9999, "the monthly limit is reached", providers.QuotaExceeded, false, providers.Refused},
		{401, 9999, "no", providers.Authentication, false, providers.Refused},
		{503, 9999, "no", providers.ServiceUnavailable, false, providers.Refused},
		{401, 0, "Bad or missing server or user API token.", providers.Authentication, false, providers.Refused},

		// The status says success, the code says no.
		{200, 300, "Invalid 'To' address: 'x'.", providers.InvalidRecipient, false, providers.Refused},
		{200, 9999, "no words", providers.Unknown, false, providers.Refused},
		{202, 405, "", providers.QuotaExceeded, local, providers.Refused},
	} {
		got := newAdapter().Results(to("a@example.org"), answer(c.status, refused(c.code, c.message)))[0]
		if got.State != c.state || got.Err.Category != c.want || got.Err.Local != c.local {
			t.Errorf("%d/%d %q is %v, %+v; want %v, %s, local %v", c.status, c.code, c.message, got.State, got.Err, c.state, c.want, c.local)
		}
		code := strconv.Itoa(c.code)
		if c.code == 0 {
			code = strconv.Itoa(c.status)
		}
		if got.Err.ProviderCode != code || got.Err.Message == "" || !strings.Contains(got.Err.Message, c.message) {
			t.Errorf("%d/%d %q says %q with the code %q", c.status, c.code, c.message, got.Err.Message, got.Err.ProviderCode)
		}
	}
}

// What is echoed steers nothing: ids, addresses, subjects.
func TestResultsOfTraps(t *testing.T) {
	for _, c := range []struct {
		status  int
		body    string
		want    providers.Category
		message string
	}{
		{422, refused(9999, "The subject 'spam: user unknown 550' is not right, id 550-5.1.1."), providers.Unknown, ""},
		{422, refused(9999, "spam@example.org, quota exceeded@x, <maintenance>"), providers.Unknown, ""},
		{422, refused(300, "The value 'Invalid 'To' address: 'a@example.org'' is too long."), providers.ContentRejected, ""},
		{422, refused(300, "The tag \"zero recipients\" is too long: 'no recipients'."), providers.ContentRejected, ""},
		{422, refused(300, "Invalid 'From' address: 'Error parsing 'To' <spam@example.org>'."), providers.ContentRejected, ""},
		{422, refused(411, "The file 'unauthorized 401 rate limit.exe' is not allowed."), providers.ContentRejected, ""},
		{422, refused(1235, "The stream provided: 'spam' does not exist on this server."), providers.ConfigurationError, ""},
		{413, "<html>401 Unauthorized spam", providers.TooLarge, "HTTP 413 Request Entity Too Large"},
		{404, "<html>550", providers.ConfigurationError, "HTTP 404 Not Found"},
		{302, "", providers.ConfigurationError, "HTTP 302 Found: a redirect, which is not followed; is base_url right?"},
		{422, `{"ErrorCode":300}`, providers.ContentRejected, "ErrorCode 300"},
		{422, `{"ErrorCode":"300","Message":"spam"}`, providers.Unknown, "HTTP 422 Unprocessable Entity"},
		{422, `{"ErrorCode":300.5,"Message":"spam"}`, providers.Unknown, "HTTP 422 Unprocessable Entity"},
	} {
		got := newAdapter().Results(to("a@example.org"), answer(c.status, c.body))[0]
		if got.State != providers.Refused || got.Err.Category != c.want || c.message != "" && got.Err.Message != c.message {
			t.Errorf("%d %s is %v, %+v; want %s, %q", c.status, c.body, got.State, got.Err, c.want, c.message)
		}
	}
}

func TestResultsOfAmbiguousAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   providers.State
	}{
		// No answer of Postmark's: a gateway may have passed the request on.
		{500, "", providers.Ambiguous},
		{500, `{"ErrorCode":10`, providers.Ambiguous},
		{502, "<html>", providers.Ambiguous},
		{502, `{"ErrorCode":9999,"Message":"x"}`, providers.Ambiguous},
		{503, "<html>", providers.Ambiguous},
		{503, `{"message":"x"}`, providers.Ambiguous},
		{504, "", providers.Ambiguous},
		{521, "", providers.Ambiguous},
		{500, refused(101, "x"), providers.Ambiguous},
		{200, refused(101, "x"), providers.Ambiguous},
		{503, refused(100, "x"), providers.Refused},

		// No success of Postmark's.
		{200, "", providers.Ambiguous},
		{200, "{}", providers.Ambiguous},
		{200, "<html>", providers.Ambiguous},
		{200, `{"ErrorCode":0,"Message":"OK"}`, providers.Ambiguous},
		{200, `{"ErrorCode":0,"Message":"OK","MessageID":""}`, providers.Ambiguous},
		{200, `{"ErrorCode":0,"Message":"OK","MessageID":"00000000-0000-0000-0000-000000000000"}`, providers.Ambiguous},
		{200, `{"ErrorCode":null,"MessageID":7}`, providers.Ambiguous},
		{200, "[" + taken("OK") + "]", providers.Ambiguous},
		{201, taken("OK"), providers.Ambiguous},
		{202, taken("OK"), providers.Ambiguous},
		{204, "", providers.Ambiguous},
	} {
		got := newAdapter().Results(to("a@example.org"), answer(c.status, c.body))[0]
		if got.State != c.want || got.Err.Category != providers.ServiceUnavailable {
			t.Errorf("%d %q is %v, %v; want %v", c.status, c.body, got.State, got.Err, c.want)
		}
	}
}

// Of a message some recipients may be left out: the words name them, in lower
// case, and without names.
func TestResultsOfOneMessage(t *testing.T) {
	const (
		some = "Message OK, but will not deliver to these inactive addresses: "
		all  = "You tried to send to recipient(s) that have been marked as inactive. Found inactive addresses: "
		tail = ". Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression. "
	)
	three := []string{"a@example.org", "B@example.org", `"c, d"@example.org`}
	for _, c := range []struct {
		name       string
		recipients []string
		status     int
		body       string
		want       []string
	}{
		{"taken", three, 200, taken("OK"), []string{"a accepted", "B accepted", `"c, d" accepted`}},
		{"checked only", three[:1], 200, taken("Test job accepted"), []string{"a accepted"}},
		{"delayed", three[:1], 200, fmt.Sprintf(`{"MessageID":%q,"Message":"Message accepted, but delivery may be delayed."}`, id), []string{"a accepted"}},

		{"some inactive", three, 200, taken(some + "b@example.org."), []string{"a accepted", "B refused invalid_recipient", `"c, d" accepted`}},
		{"some inactive, without a dot", three, 200, taken(some + "b@example.org"), []string{"a accepted", "B refused invalid_recipient", `"c, d" accepted`}},
		{"some inactive, with a sentence", three, 200, taken(some + "a@example.org,\"c, d\"@example.org" + tail), []string{"a refused invalid_recipient", "B accepted", `"c, d" refused invalid_recipient`}},
		{"all inactive", three[:2], 200, taken(some + "b@example.org, a@example.org."), []string{"a refused invalid_recipient", "B refused invalid_recipient"}},
		{"somebody inactive", three[:2], 200, taken(some + "b@example.org, x@example.org."), []string{"a ambiguous unknown", "B refused invalid_recipient"}},
		{"nobody inactive", three[:2], 200, taken(some + "."), []string{"a accepted", "B accepted"}},

		// 406: the documented refusal of all, and what some report.
		{"406 of all", three[:2], 422, refused(406, all+"a@example.org, b@example.org"+tail), []string{"a refused invalid_recipient", "B refused invalid_recipient"}},
		{"406 in lines", three[:2], 422, refused(406, "You tried to send to a recipient that has been marked as inactive.\nFound inactive addresses: a@example.org, b@example.org.\nInactive recipients are ones"), []string{"a refused invalid_recipient", "B refused invalid_recipient"}},
		{"406 of one", three, 422, refused(406, all+"b@example.org"+tail), []string{"a ambiguous unknown", "B refused invalid_recipient", `"c, d" ambiguous unknown`}},
		{"406 of nobody", three[:2], 422, refused(406, all+tail), []string{"a ambiguous unknown", "B ambiguous unknown"}},
		{"406 alone", three[:1], 422, refused(406, "inactive"), []string{"a refused invalid_recipient"}},

		// 300: one bad address, and nobody was sent.
		{"300 of one", three, 422, refused(300, "Invalid 'To' address: 'b@example.org'."), []string{"a refused unknown", "B refused invalid_recipient", `"c, d" refused unknown`}},
		{"300 of one with its name", three[:2], 422, refused(300, "Invalid 'To' address: 'Bo's <B@example.org>'."), []string{"a refused unknown", "B refused invalid_recipient"}},
		{"300 of a part of one", three[:2], 422, refused(300, "Error parsing 'To': Illegal email mailbox 'b' in address 'b@example.org'."), []string{"a refused unknown", "B refused invalid_recipient"}},
		{"300 of a list", three[:2], 422, refused(300, "Invalid 'To' address: 'nope, A <a@example.org>'."), []string{"a refused unknown", "B refused unknown"}},
		{"300 of nobody", three[:2], 422, refused(300, "Error parsing 'To': Unclosed quoted string."), []string{"a refused unknown", "B refused unknown"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			results := newAdapter().Results(to(c.recipients...), answer(c.status, c.body))
			got := brief(results)
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], "@example.org", "")
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, r := range results {
				if r.State == providers.Ambiguous && !r.Err.Local {
					t.Errorf("%s is ambiguous for %+v, which counts against Postmark", r.Recipient, r.Err)
				}
				if r.Err != nil && r.State == providers.Refused && r.Err.Category == providers.Unknown && !errors.Is(r.Err, providers.ErrAnotherRecipient) {
					t.Errorf("%s is refused for %v, want for another recipient's sake", r.Recipient, r.Err)
				}
			}
		})
	}
}

// An apostrophe is part of an address.
func TestResultsQuoteApostrophes(t *testing.T) {
	results := newAdapter().Results(to("o'brien@example.org", "a@example.org"), answer(422, refused(300, "Invalid 'To' address: 'o'brien@example.org'.")))
	if got := brief(results); !cmp.Equal(got, []string{"o'brien refused invalid_recipient", "a refused unknown"}) {
		t.Errorf("the results are %q", got)
	}
}

// The answer to a batch is a list, in the order of the request.
func TestResultsOfABatch(t *testing.T) {
	const inactive = "You tried to send to a recipient that has been marked as inactive. Found inactive addresses: b@example.org. Inactive recipients are ones"
	all := func(text string) []string { return []string{"a " + text, "b " + text, "c " + text} }
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   []string
	}{
		{"taken", 200, "[" + taken("OK") + "," + taken("OK") + "," + taken("OK") + "]", all("accepted")},
		{
			"one inactive, one invalid", 200, "[" + taken("OK") + "," + refused(406, inactive) + "," + refused(300, "Invalid 'To' address: 'x'.") + "]",
			[]string{"a accepted", "b refused invalid_recipient", "c refused invalid_recipient"},
		},
		{
			"throttled on its way", 200, "[" + taken("OK") + "," + refused(429, "Rate limit exceeded.") + "," + refused(429, "Rate limit exceeded.") + "]",
			[]string{"a accepted", "b refused rate_limit", "c refused rate_limit"},
		},
		{
			"lost on its way", 200, "[" + refused(101, "x") + "," + refused(405, "x") + "," + taken("OK") + "]",
			[]string{"a ambiguous service_unavailable", "b refused quota_exceeded", "c accepted"},
		},
		{
			"an item that says nothing", 200, "[{}," + taken("OK") + ",null]",
			[]string{"a ambiguous service_unavailable", "b accepted", "c ambiguous service_unavailable"},
		},
		{
			"an id of zeros", 200, `[{"ErrorCode":411,"MessageID":"00000000-0000-0000-0000-000000000000","Message":"no"},` + taken("OK") + "," + taken("OK") + "]",
			[]string{"a refused content_rejected", "b accepted", "c accepted"},
		},

		// What does not answer each message answers none.
		{"too few", 200, "[" + taken("OK") + "]", all("ambiguous service_unavailable")},
		{"too many", 200, "[" + strings.Repeat(taken("OK")+",", 3) + taken("OK") + "]", all("ambiguous service_unavailable")},
		{"cut", 200, "[" + taken("OK") + "," + taken("OK") + "," + taken("O")[:30], all("ambiguous service_unavailable")},
		{"one for all", 200, taken("OK"), all("ambiguous service_unavailable")},
		{"another status", 202, "[" + strings.Repeat(taken("OK")+",", 2) + taken("OK") + "]", all("ambiguous service_unavailable")},

		// Refused as a whole.
		{"bad token", 401, refused(10, "x"), all("refused authentication")},
		{"bad JSON", 422, refused(402, "x"), all("refused configuration_error")},
		{"too many messages", 422, refused(410, "x"), all("refused configuration_error")},
		{"not approved", 422, refused(413, "x"), all("refused authentication")},
		{"too large", 413, "<html>", all("refused too_large")},
		{"too large in a list", 413, "[1,2,3]", all("refused too_large")},
		{"throttled", 429, "", all("refused rate_limit")},
		{"gateway", 502, "<html>", all("ambiguous service_unavailable")},
		{"refused in a 200", 200, refused(405, "x"), all("refused quota_exceeded")},
		{
			"one address for all", 422, refused(300, "Invalid 'To' address: 'b@example.org'."),
			[]string{"a refused unknown", "b refused invalid_recipient", "c refused unknown"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := batch(t, "a@example.org", "b@example.org", "c@example.org")
			if diff := cmp.Diff(c.want, brief(newAdapter().Results(r, answer(c.status, c.body)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// In a batch an item may be a message to several.
func TestResultsOfABatchOfGroups(t *testing.T) {
	list := addressList(52)
	m := providertest.Message(t, "From: a@example.com\nTo: "+strings.Join(list, ", ")+"\n\nx\n", list...)
	r := newAdapter().Requests(m)[0]
	body := "[" + taken("Message OK, but will not deliver to these inactive addresses: r1@example.org, r51@example.org.") + "," + taken("OK") + "]"
	for i, result := range newAdapter().Results(r, answer(200, body)) {
		// r51 is none of the first message: whom else it leaves out is open.
		want := providers.Ambiguous
		switch {
		case i == 1:
			want = providers.Refused
		case i >= 50:
			want = providers.Accepted
		}
		if result.Recipient != list[i] || result.State != want {
			t.Errorf("%s is %v (%v), want %s %v", result.Recipient, result.State, result.Err, list[i], want)
		}
	}
}

func TestResultsRetryAfter(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		header http.Header
		want   time.Duration
	}{
		{429, "", http.Header{"Retry-After": {"7"}}, 7 * time.Second},
		{429, refused(429, "x"), http.Header{"Retry-After": {answered.Add(time.Minute).Format(http.TimeFormat)}}, time.Minute},
		{503, refused(100, "x"), http.Header{"Retry-After": {"60"}}, time.Minute},
		{429, "", http.Header{}, 0},
	} {
		resp := answer(c.status, c.body)
		resp.Header = c.header
		if got := newAdapter().Results(to("a@example.org"), resp)[0].Err.RetryAfter; got != c.want {
			t.Errorf("%d %v is to be tried after %v, want %v", c.status, c.header, got, c.want)
		}
	}
}

func TestProbed(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   providers.Category // empty: the token can send
	}{
		{200, `{"ID":1,"Name":"Production","ApiTokens":["x"],"SmtpApiActivated":true,"DeliveryType":"Live"}`, ""},
		{200, `{"ID":1,"Name":"x","SmtpApiActivated":false}`, ""},
		{200, `{"id":1,"name":"another service"}`, providers.ConfigurationError},
		{200, `{}`, providers.ConfigurationError},
		{200, `[]`, providers.ConfigurationError},
		{200, `<html>`, providers.ConfigurationError},
		{200, refused(10, "no"), providers.Authentication},
		{401, refused(10, "Request does not contain a valid Server token."), providers.Authentication},
		{401, ``, providers.Authentication},
		{404, ``, providers.ConfigurationError},
		{503, refused(100, "maintenance"), providers.ServiceUnavailable},
	} {
		err := newAdapter().Probed(answer(c.status, c.body))
		if (err == nil) != (c.want == "") || (err != nil && err.Category != c.want) {
			t.Errorf("%d %s is %v, want %q", c.status, c.body, err, c.want)
		}
	}
}

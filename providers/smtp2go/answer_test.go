package smtp2go_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
)

var answered = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func answer(status int, body string) providers.Response {
	return providers.Response{Status: status, Header: http.Header{}, Time: answered, Body: []byte(body)}
}

// complaint is an error as the description of the API has it; field and message
// are of field_validation_errors, which may be missing.
func complaint(code, text, field, message string) string {
	data := map[string]any{"error": text}
	if code != "" {
		data["error_code"] = "E_ApiResponseCodes." + code
	}
	if field != "" {
		data["field_validation_errors"] = map[string]string{"fieldname": field, "message": message}
	}
	body, err := json.Marshal(map[string]any{"request_id": "22e5acba-43bf-11e6-ae42-550550550550", "data": data})
	if err != nil {
		panic(err)
	}
	return string(body)
}

// one is a request with one recipient.
var one = providers.Request{Recipients: []string{"a@example.org"}}

func TestResultsOfErrors(t *testing.T) {
	const (
		local     = true
		notLocal  = false
		processed = "An error occurred processing the json data you sent with the request, please make sure the data conforms to the specification for this call (see the documentation here: https://apidoc.smtp2go.com/documentation/#/README) and try again. Don't forget to set Content-Type to 'application/json'."
		invalid   = "NON_VALIDATING_IN_PAYLOAD"
		rfc822    = "The field 'to' was expecting a valid RFC-822 formatted email field but found 'a@example.org', Please correct your JSON payload and try again."
		minute    = time.Minute
	)
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   providers.Category
		local  bool
		state  providers.State
		after  time.Duration
	}{
		{"permission", 400, complaint("ENDPOINT_PERMISSION_DENIED", "You do not have permission to access this API endpoint", "", ""), providers.Authentication, notLocal, providers.Refused, 0},
		{"permission as 403", 403, complaint("ENDPOINT_PERMISSION_DENIED", "no", "", ""), providers.Authentication, notLocal, providers.Refused, 0},
		{"permission without the prefix", 400, `{"error_code":"endpoint_permission_denied","error":"no"}`, providers.Authentication, notLocal, providers.Refused, 0},
		{"no key", 401, "", providers.Authentication, notLocal, providers.Refused, 0},
		{"bad key", 401, complaint("", "Invalid API key.", "", ""), providers.Authentication, notLocal, providers.Refused, 0},
		{"bad key by its code", 400, complaint("API_KEY_INVALID", "API key is invalid", "", ""), providers.Authentication, notLocal, providers.Refused, 0},
		{"unknown key, as it was met", 500, complaint("API_EXCEPTION", "An API User matching the passed 'api_key' was not found", "", ""), providers.Authentication, notLocal, providers.Refused, 0},
		{"forbidden", 403, "", providers.Authentication, notLocal, providers.Refused, 0},
		{"sender by its code", 400, complaint("SENDER_NOT_VERIFIED", "only testing mails until a sender domain is verified", "", ""), providers.ConfigurationError, local, providers.Refused, 0},
		{"sender by its code, 403", 403, complaint("SENDER_NOT_VERIFIED", "no", "", ""), providers.ConfigurationError, local, providers.Refused, 0},
		{"sender in a 200", 200, `{"request_id":"r","data":{"succeeded":0,"failed":1,"failures":["unable to verify sender address spam@example.com"]}}`, providers.ConfigurationError, local, providers.Refused, 0},
		{"sender in a 200, with an id", 200, `{"data":{"succeeded":0,"failed":1,"failures":["unable to verify sender address"],"email_id":"1u0SwL-B9zBpi9ffUq-JAB2"}}`, providers.ConfigurationError, local, providers.Refused, 0},
		{"sender as the relay says it", 200, `{"data":{"succeeded":0,"failed":1,"failures":["550 From header sender domain not verified"]}}`, providers.ConfigurationError, local, providers.Refused, 0},
		{"sender as an error of a 200", 200, `{"data":{"error":"Sender not verified","error_code":"E_ApiResponseCodes.NON_VALIDATING_IN_PAYLOAD","field_validation_errors":{"field":"sender"}}}`, providers.ContentRejected, notLocal, providers.Refused, 0},
		{"sender field not verified", 400, complaint(invalid, processed, "sender", "the sender is not verified"), providers.ConfigurationError, local, providers.Refused, 0},
		{"sender without a field", 400, complaint(invalid, "sender sys@example.com not verified", "", ""), providers.ConfigurationError, local, providers.Refused, 0},
		{"address in to", 400, complaint(invalid, processed, "to", rfc822), providers.InvalidRecipient, notLocal, providers.Refused, 0},
		{"address in cc", 400, complaint(invalid, processed, "cc", rfc822), providers.InvalidRecipient, notLocal, providers.Refused, 0},
		{"address in bcc[3]", 400, complaint(invalid, processed, "bcc[3]", rfc822), providers.InvalidRecipient, notLocal, providers.Refused, 0},
		{"address in a 200", 200, complaint(invalid, processed, "to", rfc822), providers.InvalidRecipient, notLocal, providers.Refused, 0},
		{"address of the sender", 400, complaint(invalid, processed, "sender", "The field 'sender' was expecting a valid RFC-822 formatted email field but found 'robs_invalid.com', Please correct your JSON payload and try again."), providers.ContentRejected, notLocal, providers.Refused, 0},
		{"too many", 400, complaint(invalid, processed, "bcc", "too many items, at most 100"), providers.ConfigurationError, notLocal, providers.Refused, 0},
		{"header", 400, complaint(invalid, processed, "custom_headers", "not allowed"), providers.ContentRejected, local, providers.Refused, 0},
		{"schedule", 400, complaint(invalid, processed, "schedule", "must be in the future"), providers.ContentRejected, local, providers.Refused, 0},
		{"subject", 400, complaint(invalid, processed, "subject", "required"), providers.ContentRejected, local, providers.Refused, 0},
		{"text", 400, complaint(invalid, processed, "text_body", "required"), providers.ContentRejected, local, providers.Refused, 0},
		{"html", 400, complaint(invalid, processed, "html_body", "required"), providers.ContentRejected, local, providers.Refused, 0},
		{"key in the body", 400, complaint(invalid, processed, "api_key", "does not match"), providers.Authentication, notLocal, providers.Refused, 0},
		{"another field", 400, complaint(invalid, processed, "attachments", "filename"), providers.ConfigurationError, notLocal, providers.Refused, 0},
		{"raw mail", 400, complaint(invalid, processed, "mime_email", "not base64"), providers.ConfigurationError, notLocal, providers.Refused, 0},
		{"unreadable JSON", 400, complaint(invalid, processed, "", ""), providers.ConfigurationError, notLocal, providers.Refused, 0},
		{"generic", 400, complaint("API_EXCEPTION", "An error occurred", "", ""), providers.Unknown, notLocal, providers.Refused, 0},
		{"generic by its words", 400, complaint("API_EXCEPTION", "message rejected", "", ""), providers.ContentRejected, notLocal, providers.Refused, 0},
		{"generic as the manual shows it", 400, `{"error":"Failed to remove the single sender email - An error occurred deleting sender email asdfa@asdf.com or it doesn't exist","error_code":"E_ApiResponseCodes.API_EXCEPTION"}`, providers.Unknown, notLocal, providers.Refused, 0},
		{"unknown code", 400, complaint("SOMETHING_NEW", "no words", "", ""), providers.Unknown, notLocal, providers.Refused, 0},
		{"payment", 402, complaint("", "the request failed", "", ""), providers.QuotaExceeded, local, providers.Refused, 0},
		{"payment, of the sender", 402, complaint("", "sender domain not verified", "", ""), providers.ConfigurationError, local, providers.Refused, 0},
		{"quota", 400, complaint("API_EXCEPTION", "You have exceeded your monthly allowance", "", ""), providers.QuotaExceeded, local, providers.Refused, 0},
		{"quota in a 200", 200, `{"data":{"succeeded":0,"failed":1,"failures":["daily limit reached"]}}`, providers.QuotaExceeded, local, providers.Refused, 0},
		{"not found", 404, complaint("", "not found", "", ""), providers.ConfigurationError, notLocal, providers.Refused, 0},
		{"too large", 413, "<html>", providers.TooLarge, local, providers.Refused, 0},
		{"throttled", 429, "", providers.RateLimit, notLocal, providers.Refused, minute},
		{"throttled by its code", 429, complaint("REQ_LIMIT_EXCEEDED", "This endpoint is rate limited to 1 request every 60 seconds", "", ""), providers.RateLimit, notLocal, providers.Refused, minute},
		{"throttled in a 200", 200, complaint("RATE_LIMIT_EXCEEDED", "no", "", ""), providers.RateLimit, notLocal, providers.Refused, minute},
		{"limit of the key", 400, complaint("", "API key ratelimit exceeded", "", ""), providers.RateLimit, notLocal, providers.Refused, minute},
		{"allowed recipients", 400, complaint("API_EXCEPTION", "the recipient is not in your Allowed Recipients", "", ""), providers.ConfigurationError, local, providers.Refused, 0},
		{"allowed senders", 400, complaint("API_EXCEPTION", "sender restricted", "", ""), providers.ConfigurationError, local, providers.Refused, 0},
		{"their fault", 500, complaint("", "internal error", "", ""), providers.ServiceUnavailable, notLocal, providers.Ambiguous, 0},
		{"their fault by the generic code", 500, complaint("API_EXCEPTION", "falló", "", ""), providers.ServiceUnavailable, notLocal, providers.Ambiguous, 0},
		{"their fault without words", 500, "", providers.ServiceUnavailable, notLocal, providers.Ambiguous, 0},
		{"gateway", 502, "<html>", providers.ServiceUnavailable, notLocal, providers.Ambiguous, 0},
		{"gateway with a code", 504, complaint("ENDPOINT_PERMISSION_DENIED", "no", "", ""), providers.ServiceUnavailable, notLocal, providers.Ambiguous, 0},
		{"delivery network", 522, "", providers.ServiceUnavailable, notLocal, providers.Ambiguous, 0},
		{"down", 503, "<html>", providers.ServiceUnavailable, notLocal, providers.Refused, 0},
		{"down in its form", 503, complaint("", "down", "", ""), providers.ServiceUnavailable, notLocal, providers.Refused, 0},
		{"redirect", 302, "", providers.ConfigurationError, notLocal, providers.Refused, 0},
		{"nobody was taken", 200, `{"data":{"succeeded":0,"failed":0,"failures":[]}}`, providers.Unknown, notLocal, providers.Refused, 0},
		{"recipient in a failure", 200, `{"data":{"succeeded":0,"failed":1,"failures":["550 5.1.1 <a@example.org>: user unknown"]}}`, providers.InvalidRecipient, notLocal, providers.Refused, 0},

		// What is cited says nothing of the cause, nor does an id.
		{"an address that reads like spam", 400, complaint(invalid, processed, "to", "The field 'to' was expecting a valid RFC-822 formatted email field but found 'spam@ daily limit', Please correct your JSON payload and try again."), providers.InvalidRecipient, notLocal, providers.Refused, 0},
		{"an address that reads like a code", 400, complaint("API_EXCEPTION", "cannot send for 550@quota.example or <429@example.org>", "", ""), providers.Unknown, notLocal, providers.Refused, 0},
		{"a subject", 400, complaint("API_EXCEPTION", `cannot send "monthly limit reached: spam, 550"`, "", ""), providers.Unknown, notLocal, providers.Refused, 0},
		{"a subject in single quotes", 400, complaint("API_EXCEPTION", `cannot send 'unable to verify sender', quoted`, "", ""), providers.Unknown, notLocal, providers.Refused, 0},
		{"an id", 400, complaint("API_EXCEPTION", "request 1u550L-550-401 broke", "", ""), providers.Unknown, notLocal, providers.Refused, 0},
		{"try again", 400, complaint("API_EXCEPTION", "Please correct your JSON payload and try again.", "", ""), providers.Unknown, notLocal, providers.Refused, 0},
		{"a code decides before words", 400, complaint("ENDPOINT_PERMISSION_DENIED", "daily limit, spam, user unknown", "", ""), providers.Authentication, notLocal, providers.Refused, 0},
		{"the status decides before words", 401, complaint("", "spam, user unknown", "", ""), providers.Authentication, notLocal, providers.Refused, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := newAdapter().Results(one, answer(c.status, c.body))[0]
			if got.State != c.state || got.Err == nil || got.Err.Category != c.want || got.Err.Local != c.local || got.Err.RetryAfter != c.after {
				t.Errorf("%d %s is %v, %+v; want %v, %s, local %v, after %v", c.status, c.body, got.State, got.Err, c.state, c.want, c.local, c.after)
			}
			if got.Err != nil && (got.Err.Message == "" || got.Err.ProviderCode == "") {
				t.Errorf("%d says %q with the code %q", c.status, got.Err.Message, got.Err.ProviderCode)
			}
		})
	}
}

// The errors come in forms that are not documented; none may break the others.
func TestResultsOfOddForms(t *testing.T) {
	for body, want := range map[string]struct {
		category      providers.Category
		code, message string
	}{
		`{"data":{"error_code":"E_ApiResponseCodes.NON_VALIDATING_IN_PAYLOAD","error":"x","field_validation_errors":null}}`:                                                                       {providers.ConfigurationError, "E_ApiResponseCodes.NON_VALIDATING_IN_PAYLOAD", "x"},
		`{"data":{"error_code":"NON_VALIDATING_IN_PAYLOAD","error":"x","field_validation_errors":[]}}`:                                                                                            {providers.ConfigurationError, "NON_VALIDATING_IN_PAYLOAD", "x"},
		`{"data":{"error_code":"NON_VALIDATING_IN_PAYLOAD","field_validation_errors":[{"fieldname":"subject","message":"m"}]}}`:                                                                   {providers.ContentRejected, "NON_VALIDATING_IN_PAYLOAD", "subject: m"},
		`{"data":{"error_code":"NON_VALIDATING_IN_PAYLOAD","field_validation_errors":[{"fieldname":"to","message":"m"},{"fieldname":"subject","message":"n"},{"fieldname":"cc","message":"o"}]}}`: {providers.ContentRejected, "NON_VALIDATING_IN_PAYLOAD", "subject: n"},
		`{"data":{"error_code":"NON_VALIDATING_IN_PAYLOAD","field_validation_errors":{"to":["m","n"],"api_key":"k"}}}`:                                                                            {providers.Authentication, "NON_VALIDATING_IN_PAYLOAD", "api_key: k"},
		`{"data":{"error_code":"NON_VALIDATING_IN_PAYLOAD","field_validation_errors":"of some kind"}}`:                                                                                            {providers.ConfigurationError, "NON_VALIDATING_IN_PAYLOAD", "of some kind"},
		`{"data":{"error_code":"NON_VALIDATING_IN_PAYLOAD","field_validation_errors":{"message":"m"}}}`:                                                                                           {providers.ConfigurationError, "NON_VALIDATING_IN_PAYLOAD", "m"},
		`{"data":{"error_code":"NON_VALIDATING_IN_PAYLOAD","field_validation_errors":{"fieldname":7,"message":["m"]}}}`:                                                                           {providers.ConfigurationError, "NON_VALIDATING_IN_PAYLOAD", `7: ["m"]`},
		`{"data":null,"error":{"reason":"nested"},"error_code":42}`:                                                                                                                               {providers.Unknown, "42", `{"reason":"nested"}`},
		`{"data":[{"email_id":"1"}],"error":"x"}`:                       {providers.Unknown, "400", "x"},
		`{"data":{"error":""},"error":"at the root"}`:                   {providers.Unknown, "400", "HTTP 400 Bad Request"},
		`{"data":{"failures":"user unknown"}}`:                          {providers.InvalidRecipient, "400", "user unknown"},
		`{"data":{"failures":[{"email":"b@example.org","error":"x"}]}}`: {providers.Unknown, "400", `{"email":"b@example.org","error":"x"}`},
		`[]`:                {providers.Unknown, "400", "HTTP 400 Bad Request"},
		`"E_ApiResponse"`:   {providers.Unknown, "400", "HTTP 400 Bad Request"},
		`{"data":{"error":`: {providers.Unknown, "400", "HTTP 400 Bad Request"},
		"\xff\x00":          {providers.Unknown, "400", "HTTP 400 Bad Request"},
	} {
		got := newAdapter().Results(one, answer(400, body))[0]
		if got.State != providers.Refused || got.Err.Category != want.category || got.Err.ProviderCode != want.code || got.Err.Message != want.message {
			t.Errorf("%s is %v, %+v; want %v", body, got.State, got.Err, want)
		}
	}
}

func TestResultsAccepted(t *testing.T) {
	r := providers.Request{Recipients: []string{"a@example.org", "b@example.org"}}
	for body, id := range map[string]string{
		`{"request_id":"r","data":{"succeeded":1,"failed":0,"failures":[],"email_id":"1u0SwL-B9zBpi9ffUq-JAB2"}}`:                                                   "1u0SwL-B9zBpi9ffUq-JAB2",
		`{"request_id":"r","data":{"email_id":"1u0SwL"}}`:                                                                                                           "1u0SwL",
		`{"request_id":"r","data":{"succeeded":0,"failed":0,"email_id":"1u0SwL"}}`:                                                                                  "1u0SwL",
		`{"request_id":"r","data":{"succeeded":1,"failed":0,"failures":null,"error":null,"error_code":"","field_validation_errors":null,"schedule_id":"188262b6"}}`: "188262b6",
		`{"request_id":"aa253464","data":{"succeeded":1,"failed":0,"failures":[]}}`:                                                                                 "aa253464",
		`{"data":{"succeeded":1}}`: "",
	} {
		want := []providers.Result{
			{Recipient: "a@example.org", State: providers.Accepted, ProviderID: id},
			{Recipient: "b@example.org", State: providers.Accepted, ProviderID: id},
		}
		if diff := cmp.Diff(want, newAdapter().Results(r, answer(200, body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
}

// A 2xx that is not a success of the API's own, or contradicts itself, leaves
// open what became of the mail.
func TestResultsOfAmbiguousAnswers(t *testing.T) {
	const good = `{"request_id":"r","data":{"succeeded":1,"failed":0,"failures":[],"email_id":"1u0SwL"}}`
	for _, c := range []struct {
		status int
		body   string
	}{
		{200, ""},
		{200, "OK"},
		{200, "<html>"},
		{200, "{}"},
		{200, "null"},
		{200, `{"request_id":"r"}`},
		{200, `{"data":{}}`},
		{200, `{"data":"1u0SwL"}`},
		{200, `{"email_id":"1u0SwL","succeeded":1}`},
		{200, `{"data":[{"email_id":"1"}]}`},
		{200, `{"data":{"email_id":7}}`},
		{200, `{"data":{"email_id":" "}}`},
		{200, `{"data":{"succeeded":"many"}}`},
		{200, `{"data":{"succeeded":-1}}`},
		{200, good[:len(good)-1]},
		{200, `{"data":{"succeeded":1,"failed":1,"failures":["x"],"email_id":"1"}}`},
		{200, `{"data":{"succeeded":1,"failures":["x"]}}`},
		{200, `{"data":{"failed":1,"schedule_id":"1"}}`},
		{200, `{"data":{"succeeded":1,"error_code":"X"}}`},
		{200, `{"data":{"email_id":"1","error":"x"}}`},
		{200, `{"data":{"succeeded":1,"failed":"some"}}`},
		{201, good},
		{202, good},
		{204, ""},
		{202, complaint("ENDPOINT_PERMISSION_DENIED", "no", "", "")},
	} {
		got := newAdapter().Results(one, answer(c.status, c.body))[0]
		if got.State != providers.Ambiguous || got.Err.Category != providers.ServiceUnavailable || got.ProviderID != "" {
			t.Errorf("%d %s is %+v (%v), want ambiguous", c.status, c.body, got, got.Err)
		}
	}
}

// One address refuses the whole request. Where the answer says which, the
// others may be sent to without it.
func TestResultsNameRecipients(t *testing.T) {
	const found = "The field 'to' was expecting a valid RFC-822 formatted email field but found '%', Please correct your JSON payload and try again."
	r := providers.Request{Recipients: []string{"a@example.org", "jo@example.org", `"x y"@example.org`, "spam@Example.org", "o'b@example.org"}}
	for _, c := range []struct{ message, cited, want string }{
		{found, "jo@example.org", "jo@example.org"},
		{found, "JO@Example.ORG", "jo@example.org"},
		{found, "Jo <jo@example.org>", "jo@example.org"},
		{found, `"a@example.org" <jo@example.org>`, "jo@example.org"},
		{found, `"x y"@example.org`, `"x y"@example.org`},
		{found, "spam@example.org", "spam@Example.org"},
		{found, "o'b@example.org", "o'b@example.org"},
		{found, "Jo's <jo@example.org>", "jo@example.org"},
		{found, "ajo@example.org", ""},
		{found, "jo@example.org.example", ""},
		{found, "jo_at_example.org", ""},
		{"field 'to': expecting a valid RFC-822 formatted email, found '%'", "jo@example.org", "jo@example.org"},
		{"% is not an address.", "jo@example.org", "jo@example.org"},
		{"not an address: %.", "jo@example.org", "jo@example.org"},
		{"not an address: \"%\"", "jo@example.org", "jo@example.org"},
		{"not an address: <%>", "jo@example.org", "jo@example.org"},
		{"invalid", "", ""},
		// The request said back names nobody.
		{"one of %", `a@example.org, jo@example.org`, ""},
	} {
		message := strings.ReplaceAll(c.message, "%", c.cited)
		results := newAdapter().Results(r, answer(400, complaint("NON_VALIDATING_IN_PAYLOAD", "x a@example.org", "to", message)))
		for _, result := range results {
			category := providers.Unknown
			if result.Recipient == c.want {
				category = providers.InvalidRecipient
			}
			if result.State != providers.Refused || result.Err.Category != category || !result.Err.Local == (category == providers.Unknown) {
				t.Errorf("%s: %s is %v, %v; want refused with %s", message, result.Recipient, result.State, result.Err, category)
			}
		}
	}
	several := `{"data":{"error_code":"NON_VALIDATING_IN_PAYLOAD","field_validation_errors":[{"fieldname":"to","message":"found 'jo@example.org'"},{"fieldname":"cc","message":"found 'a@example.org'"}]}}`
	var refused []string
	for _, result := range newAdapter().Results(r, answer(400, several)) {
		if result.Err.Category == providers.InvalidRecipient {
			refused = append(refused, result.Recipient)
		}
	}
	if !slices.Equal(refused, []string{"a@example.org", "jo@example.org"}) {
		t.Errorf("%q are refused, want the two that are named", refused)
	}
}

func TestResultsRetryAfter(t *testing.T) {
	for _, c := range []struct {
		status int
		header http.Header
		want   time.Duration
	}{
		{429, http.Header{"X-Ratelimit-Reset": {"90"}}, 90 * time.Second},
		{429, http.Header{"X-Rate-Limit-Reset": {"91"}}, 91 * time.Second},
		{429, http.Header{"X-Ratelimit-Reset": {"30"}}, time.Minute},
		{429, http.Header{"X-Ratelimit-Reset": {"-30"}}, time.Minute},
		{429, http.Header{"X-Ratelimit-Reset": {"soon"}}, time.Minute},
		{429, http.Header{"X-Ratelimit-Reset": {"1767323045"}}, 24 * time.Hour},
		{429, http.Header{"Retry-After": {"7"}}, time.Minute},
		{429, http.Header{"Retry-After": {"700"}}, 700 * time.Second},
		{429, nil, time.Minute},
		{503, http.Header{"X-Ratelimit-Reset": {"90"}}, 0},
		{503, http.Header{"Retry-After": {"30"}}, 30 * time.Second},
	} {
		resp := answer(c.status, "")
		resp.Header = c.header
		if got := newAdapter().Results(one, resp)[0].Err.RetryAfter; got != c.want {
			t.Errorf("%d %v is to be tried after %v, want %v", c.status, c.header, got, c.want)
		}
	}
}

// An answer of 1 MiB of whatever is read to its end, each octet a few times at most:
// else the test would not end.
func TestResultsOfHostileAnswers(t *testing.T) {
	list := make([]string, 100)
	for i := range list {
		list[i] = strings.Repeat("r", 50) + string(rune('a'+i%26)) + string(rune('a'+i/26)) + "@example.org"
	}
	fill := func(element string) string { return strings.Repeat(element, (1<<20-200)/len(element)) }
	for _, body := range []string{
		`{"data":{"failures":[` + fill(`"x",`) + `"x"]}}`,
		`{"data":{"error_code":"NON_VALIDATING_IN_PAYLOAD","field_validation_errors":[` + fill(`{"fieldname":"to","message":"'a' <b@c> \"d\""},`) + `1]}}`,
		`{"data":{"error_code":"NON_VALIDATING_IN_PAYLOAD","field_validation_errors":{"to":"` + fill(`'a@b' `) + `"}}}`,
		`{"data":{"error_code":"NON_VALIDATING_IN_PAYLOAD","field_validation_errors":{"to":"` + fill(`<'found '`) + `"}}}`,
		`{"data":{"error":"` + fill(`'`) + `"}}`,
		`{"data":` + strings.Repeat(`{"data":`, 9000) + `1` + strings.Repeat(`}`, 9001),
		fill(`[`),
	} {
		for _, status := range []int{200, 400, 500} {
			newAdapter().Results(providers.Request{Recipients: list}, answer(status, body))
		}
	}
}

func TestProbed(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   providers.Category // empty: the key can send
	}{
		{200, `{"request_id":"r","data":["/stats/email_cycle","/email/send","/email/mime"]}`, ""},
		{200, `{"data":["/email/send"]}`, providers.Authentication},
		{200, `{"data":["/email/mime"]}`, providers.Authentication},
		{200, `{"data":[]}`, providers.Authentication},
		{200, `{"data":null}`, providers.ConfigurationError},
		{200, `{"data":{"email_id":"1"}}`, providers.ConfigurationError},
		{200, `{}`, providers.ConfigurationError},
		{200, `<html>`, providers.ConfigurationError},
		{200, complaint("API_EXCEPTION", "An API User matching the passed 'api_key' was not found", "", ""), providers.Authentication},
		{401, ``, providers.Authentication},
		{400, complaint("ENDPOINT_PERMISSION_DENIED", "no", "", ""), providers.Authentication},
		{404, ``, providers.ConfigurationError},
		{429, ``, providers.RateLimit},
		{503, ``, providers.ServiceUnavailable},
	} {
		err := newAdapter().Probed(answer(c.status, c.body))
		if (err == nil) != (c.want == "") || (err != nil && err.Category != c.want) {
			t.Errorf("%d %s is %v, want %q", c.status, c.body, err, c.want)
		}
	}
}

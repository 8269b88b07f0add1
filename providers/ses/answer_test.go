package ses_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
)

// one is a request with one recipient.
var one = providers.Request{Recipients: []string{"ann@x.test"}}

func answer(status int, name, message string) providers.Response {
	return providers.Response{
		Status: status, Time: signedAt,
		Header: http.Header{"X-Amzn-Errortype": {name + ":http://internal.amazon.com/coral/com.amazonaws.sesv2/"}},
		Body:   fmt.Appendf(nil, `{"message":%q}`, message),
	}
}

// errorRows are the table of errors, and what is made to be mistaken for another row.
var errorRows = []struct {
	status        int
	name, message string
	want          providers.Category
	local         bool
	state         providers.State
}{
	{429, "TooManyRequestsException", "Maximum sending rate exceeded.", providers.RateLimit, false, providers.Refused},
	{429, "TooManyRequestsException", "Too many requests", providers.RateLimit, false, providers.Refused},
	{429, "TooManyRequestsException", "", providers.RateLimit, false, providers.Refused},
	{429, "TooManyRequestsException", "Daily message quota exceeded.", providers.QuotaExceeded, false, providers.Refused},
	{429, "TooManyRequestsException", "Limit of the 24-hour period reached", providers.QuotaExceeded, false, providers.Refused},
	{400, "LimitExceededException", "Daily sending limit", providers.QuotaExceeded, false, providers.Refused},
	{400, "LimitExceededException", "", providers.QuotaExceeded, false, providers.Refused},
	{400, "LimitExceededException", "Maximum sending rate exceeded", providers.RateLimit, false, providers.Refused},
	{400, "ThrottlingException", "Rate exceeded", providers.RateLimit, false, providers.Refused},
	{400, "Throttling", "Daily message quota exceeded.", providers.QuotaExceeded, false, providers.Refused},
	{400, "Throttling", "Maximum sending rate exceeded.", providers.RateLimit, false, providers.Refused},
	{400, "ThrottledException", "slower", providers.RateLimit, false, providers.Refused},
	{503, "RequestThrottled", "slower", providers.RateLimit, false, providers.Refused},
	{503, "RequestThrottledException", "slower", providers.RateLimit, false, providers.Refused},
	{503, "RequestLimitExceeded", "Request limit exceeded.", providers.RateLimit, false, providers.Refused},
	{503, "BandwidthLimitExceeded", "", providers.RateLimit, false, providers.Refused},
	{503, "SlowDown", "", providers.RateLimit, false, providers.Refused},
	{400, "PriorRequestNotComplete", "", providers.RateLimit, false, providers.Refused},

	{400, "MessageRejected", "Email address is not verified. The following identities failed the check in region EU-WEST-1: shop@x.test", providers.ConfigurationError, false, providers.Refused},
	{400, "MessageRejected", "Email address is not verified. The following identities failed the check in region US-EAST-1: spam@x.test, ann@x.test", providers.ConfigurationError, false, providers.Refused},
	{400, "MessageRejected", "Address blacklisted.", providers.InvalidRecipient, false, providers.Refused},
	{400, "MessageRejected", "Message content contains a virus", providers.ContentRejected, false, providers.Refused},
	{400, "MessageRejected", "Sending suspended for this account", providers.ContentRejected, false, providers.Refused},
	{400, "MessageRejected", "", providers.ContentRejected, false, providers.Refused},
	{400, "MailFromDomainNotVerifiedException", "mail from", providers.ConfigurationError, false, providers.Refused},
	{400, "AccountSuspendedException", "permanently restricted", providers.Authentication, false, providers.Refused},
	{400, "SendingPausedException", "Account sending is disabled.", providers.ServiceUnavailable, false, providers.Refused},

	{400, "BadRequestException", "Illegal address", providers.InvalidRecipient, false, providers.Refused},
	{400, "BadRequestException", "Invalid email address<ann@x.test>.", providers.InvalidRecipient, false, providers.Refused},
	{400, "BadRequestException", "Missing final '@domain'", providers.InvalidRecipient, false, providers.Refused},
	{400, "BadRequestException", "Missing domain", providers.InvalidRecipient, false, providers.Refused},
	{400, "BadRequestException", "Missing local name", providers.InvalidRecipient, false, providers.Refused},
	{400, "BadRequestException", "Local address contains control or whitespace", providers.InvalidRecipient, false, providers.Refused},
	{400, "BadRequestException", "Domain contains illegal character", providers.InvalidRecipient, false, providers.Refused},
	{400, "BadRequestException", "Extra route-addr", providers.InvalidRecipient, false, providers.Refused},
	{400, "BadRequestException", "Duplicate header 'DKIM-Signature'.", providers.ContentRejected, true, providers.Refused},
	{400, "BadRequestException", "Missing required header 'From'.", providers.ContentRejected, true, providers.Refused},
	{400, "BadRequestException", "Header section too long.", providers.ContentRejected, true, providers.Refused},
	{400, "BadRequestException", "Invalid MIME structure", providers.ContentRejected, true, providers.Refused},
	{400, "BadRequestException", "A line is longer than 1000 characters", providers.ContentRejected, true, providers.Refused},
	{400, "BadRequestException", "Expected Content-Type", providers.ContentRejected, true, providers.Refused},
	{400, "BadRequestException", "Invalid tag value <quota daily>: only alphanumeric ASCII characters, '_', and '-' are allowed.", providers.ContentRejected, true, providers.Refused},
	{400, "BadRequestException", "Address length is more than 320 characters long: 'Ann <ann@x.test>'.", providers.ContentRejected, true, providers.Refused},
	{400, "BadRequestException", "Message length is more than 41943040 bytes long: '55055055'.", providers.TooLarge, true, providers.Refused},
	{400, "BadRequestException", "Recipient count exceeds 50.", providers.ConfigurationError, false, providers.Refused},
	{400, "BadRequestException", "At least one destination address is required.", providers.ConfigurationError, false, providers.Refused},
	{400, "BadRequestException", "Configuration set <main> does not exist.", providers.ConfigurationError, false, providers.Refused},
	{400, "BadRequestException", "Tenant <t> does not exist.", providers.ConfigurationError, false, providers.Refused},
	{404, "NotFoundException", "Contact list <news> does not exist.", providers.ConfigurationError, false, providers.Refused},
	{400, "BadRequestException", "Something else", providers.ContentRejected, false, providers.Refused},
	{400, "BadRequestException", "", providers.ContentRejected, false, providers.Refused},

	{403, "UnrecognizedClientException", "The security token included in the request is invalid.", providers.Authentication, false, providers.Refused},
	{403, "InvalidClientTokenId", "no", providers.Authentication, false, providers.Refused},
	{403, "InvalidSignatureException", "The request signature we calculated does not match", providers.Authentication, false, providers.Refused},
	{403, "InvalidSignatureException", "Signature expired: 20260102T030405Z is now earlier than 20260102T034905Z", providers.Authentication, false, providers.Refused},
	{403, "SignatureDoesNotMatch", "Signature not yet current", providers.Authentication, false, providers.Refused},
	{400, "IncompleteSignature", "no", providers.Authentication, false, providers.Refused},
	{403, "IncompleteSignatureException", "no", providers.Authentication, false, providers.Refused},
	{403, "MissingAuthenticationToken", "no", providers.Authentication, false, providers.Refused},
	{403, "MissingAuthenticationTokenException", "no", providers.Authentication, false, providers.Refused},
	{400, "RequestExpired", "no", providers.Authentication, false, providers.Refused},
	{403, "RequestTimeTooSkewed", "no", providers.Authentication, false, providers.Refused},
	{400, "ExpiredToken", "no", providers.Authentication, false, providers.Refused},
	{403, "ExpiredTokenException", "The security token included in the request is expired", providers.Authentication, false, providers.Refused},
	{403, "AccessDeniedException", "User `arn:aws:iam::1:user/quota' is not authorized to perform `ses:SendRawEmail' on resource `x'", providers.Authentication, false, providers.Refused},
	{400, "AccessDenied", "no", providers.Authentication, false, providers.Refused},
	{400, "NotAuthorized", "no", providers.Authentication, false, providers.Refused},
	{403, "OptInRequired", "no", providers.Authentication, false, providers.Refused},
	{403, "SubscriptionRequiredException", "no", providers.Authentication, false, providers.Refused},
	{400, "ValidationException", "no", providers.ConfigurationError, false, providers.Refused},
	{400, "SerializationException", "no", providers.ConfigurationError, false, providers.Refused},
	{404, "UnknownOperationException", "no", providers.ConfigurationError, false, providers.Refused},
	{400, "InvalidAction", "no", providers.ConfigurationError, false, providers.Refused},
	{400, "MalformedHttpRequestException", "no", providers.ConfigurationError, false, providers.Refused},
	{413, "RequestEntityTooLargeException", "no", providers.TooLarge, true, providers.Refused},
	{413, "", "no", providers.TooLarge, true, providers.Refused},

	{400, "RequestTimeout", "no", providers.NetworkError, false, providers.Refused},
	{408, "RequestTimeoutException", "no", providers.NetworkError, false, providers.Refused},
	{400, "RequestAbortedException", "no", providers.NetworkError, false, providers.Refused},
	{503, "ServiceUnavailable", "no", providers.ServiceUnavailable, false, providers.Refused},
	{503, "ServiceUnavailableException", "no", providers.ServiceUnavailable, false, providers.Refused},
	{500, "InternalServiceErrorException", "no", providers.ServiceUnavailable, false, providers.Ambiguous},
	{500, "InternalFailure", "no", providers.ServiceUnavailable, false, providers.Ambiguous},
	{500, "InternalServerError", "no", providers.ServiceUnavailable, false, providers.Ambiguous},
	{500, "ConcurrentModificationException", "no", providers.ServiceUnavailable, false, providers.Refused},
	{500, "", "no", providers.ServiceUnavailable, false, providers.Ambiguous},
	{500, "NobodyKnowsThisException", "no", providers.ServiceUnavailable, false, providers.Ambiguous},
	{502, "", "no", providers.ServiceUnavailable, false, providers.Ambiguous},
	{504, "", "no", providers.ServiceUnavailable, false, providers.Ambiguous},
	{503, "", "no", providers.ServiceUnavailable, false, providers.Refused},
	{400, "AlreadyExistsException", "no", providers.Unknown, false, providers.Refused},
	{409, "ConflictException", "no", providers.Unknown, false, providers.Refused},
	{409, "", "no", providers.Unknown, false, providers.Refused},
	{400, "InvalidNextTokenException", "no", providers.Unknown, false, providers.Refused},
	{302, "", "no", providers.ConfigurationError, false, providers.Refused},

	// The name decides, not the status, and no text against it.
	{200 + 300, "MessageRejected", "internal failure", providers.ContentRejected, false, providers.Refused},
	{400, "MessageRejected", `550 spam "Email address is not verified" quota`, providers.ContentRejected, false, providers.Refused},
	{429, "TooManyRequestsException", "user unknown: <daily@quota.test>", providers.RateLimit, false, providers.Refused},
	{400, "BadRequestException", "Invalid content 'Illegal address' of <Missing domain>", providers.ContentRejected, false, providers.Refused},
	{400, "BadRequestException", "Duplicate header 'Illegal address'.", providers.ContentRejected, true, providers.Refused},
	{400, "SendingPausedException", "spam@x.test 550", providers.ServiceUnavailable, false, providers.Refused},
	// Without a name it is the status, then the text without what it cites.
	{403, "", "spam", providers.Authentication, false, providers.Refused},
	{418, "", "the id 550e8400 of spam@x.test", providers.Unknown, false, providers.Refused},
	{400, "NobodyKnowsThisException", "quota exceeded", providers.QuotaExceeded, false, providers.Refused},
}

func TestResultsOfErrors(t *testing.T) {
	for _, c := range errorRows {
		got := newAdapter().Results(one, answer(c.status, c.name, c.message))[0]
		if got.State != c.state || got.Err.Category != c.want || got.Err.Local != c.local {
			t.Errorf("%d %s %q is %v, %+v; want %v, %s, local %v", c.status, c.name, c.message, got.State, got.Err, c.state, c.want, c.local)
		}
		if !strings.Contains(got.Err.Message, c.message) || got.Err.Message == "" {
			t.Errorf("%d %s %q says %q", c.status, c.name, c.message, got.Err.Message)
		}
		if want := c.name; want != "" && got.Err.ProviderCode != want {
			t.Errorf("%d %s has the code %q", c.status, c.name, got.Err.ProviderCode)
		}
	}
}

func TestResultsSayWhatToDo(t *testing.T) {
	for name, want := range map[string]string{"RequestTimeTooSkewed": "clock", "RequestExpired": "clock", "ExpiredTokenException": "session token"} {
		if got := newAdapter().Results(one, answer(403, name, "no"))[0].Err.Message; !strings.Contains(got, want) {
			t.Errorf("%s says %q, which is nothing of the %s", name, got, want)
		}
	}
}

// By how much the clock is wrong is known where the answer tells the time.
func TestResultsSayHowWrongTheClockIs(t *testing.T) {
	const there = "Fri, 02 Jan 2026 03:04:05 GMT"
	here := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		name, words, date string
		time              time.Time
		want              string
	}{
		{"RequestTimeTooSkewed", "no", there, here.Add(time.Hour), "no (the clock of this host is 1h0m0s ahead: set it, best by NTP)"},
		{"RequestExpired", "no", there, here.Add(-45 * time.Minute), "no (the clock of this host is 45m0s behind: set it, best by NTP)"},
		{"InvalidSignatureException", "Signature expired", there, here.Add(-time.Hour), "Signature expired (the clock of this host is 1h0m0s behind: set it, best by NTP)"},
		{"RequestTimeTooSkewed", "no", "today", here, "no (is the clock of this host right?)"},
		{"RequestTimeTooSkewed", "no", there, time.Time{}, "no (is the clock of this host right?)"},
		{"ExpiredTokenException", "no", there, here.Add(time.Hour), "no (the session token has expired)"},
	} {
		resp := answer(403, c.name, c.words)
		resp.Header.Set("Date", c.date)
		resp.Time = c.time
		got := newAdapter().Results(one, resp)[0].Err
		if got.Message != c.want || got.Category != providers.Authentication {
			t.Errorf("%s at %q says %s: %q, want %q", c.name, c.date, got.Category, got.Message, c.want)
		}
	}
}

// The name stands in the header, else in the body, in three ways.
func TestResultsFindTheName(t *testing.T) {
	for _, c := range []struct{ header, body, want string }{
		{"SendingPausedException", `{"code":"MessageRejected","message":"m"}`, "SendingPausedException"},
		{"com.amazonaws.sesv2#SendingPausedException:http://x#y", `{}`, "SendingPausedException"},
		{"", `{"code":"SendingPausedException","__type":"MessageRejected"}`, "SendingPausedException"},
		{"", `{"__type":"com.amazonaws.sesv2#SendingPausedException","Message":"m"}`, "SendingPausedException"},
		{"", `{"code":7,"__type":"SendingPausedException:x","message":{}}`, "SendingPausedException"},
		{"a name with blanks", `{"__type":"SendingPausedException"}`, "SendingPausedException"},
		{strings.Repeat("x", 65), `{"__type":"SendingPausedException"}`, "SendingPausedException"},
		{"SendingPausedException", `<html>`, "SendingPausedException"},
		{"", `<html>`, "400"},
		{"", `{"__type":["SendingPausedException"]}`, "400"},
	} {
		resp := providers.Response{Status: 400, Header: http.Header{"X-Amzn-Errortype": {c.header}}, Body: []byte(c.body)}
		if got := newAdapter().Results(one, resp)[0].Err.ProviderCode; got != c.want {
			t.Errorf("%q %s has the name %q, want %q", c.header, c.body, got, c.want)
		}
	}
}

func TestResultsAccepted(t *testing.T) {
	r := providers.Request{Recipients: []string{"a@example.org", "b@example.org"}}
	resp := providers.Response{Status: 200, Body: []byte(`{"MessageId":"0100-x-000000"}`)}
	want := []providers.Result{
		{Recipient: "a@example.org", State: providers.Accepted, ProviderID: "0100-x-000000"},
		{Recipient: "b@example.org", State: providers.Accepted, ProviderID: "0100-x-000000"},
	}
	if diff := cmp.Diff(want, newAdapter().Results(r, resp)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, resp := range []providers.Response{
		{Status: 200, Body: []byte(`{}`)},
		{Status: 200, Body: []byte(`{"MessageId":""}`)},
		{Status: 200, Body: []byte(`{"MessageId":7}`)},
		{Status: 200, Body: []byte(`{"MessageId":"0100`), Truncated: true},
		{Status: 200, Body: []byte(`<html>`)},
		{Status: 200},
		{Status: 202, Body: []byte(`{"MessageId":"x"}`)},
		{Status: 204},
	} {
		for _, got := range newAdapter().Results(r, resp) {
			if got.State != providers.Ambiguous || got.Err.Category != providers.ServiceUnavailable {
				t.Errorf("%d %s is %+v, want ambiguous", resp.Status, resp.Body, got)
			}
		}
	}
}

// SES names nobody: those whom it cites are refused, those whose address is none,
// else the request is to be divided.
func TestResultsOfSeveralRecipients(t *testing.T) {
	for _, c := range []struct {
		message    string
		recipients []string
		refused    []string
	}{
		{"Illegal address", []string{"a@example.org", "b@example.org"}, nil},
		{"Invalid email address<B@example.org>.", []string{"a@example.org", "b@example.org"}, []string{"b@example.org"}},
		{"Invalid email address b@example.org.", []string{"a@example.org", "b@example.org"}, []string{"b@example.org"}},
		{"Illegal address 'xb@example.org'", []string{"a@example.org", "b@example.org"}, nil},
		{"Local address contains dot-dot", []string{"a@example.org", "b..c@example.org", "d.@example.org"}, []string{"b..c@example.org", "d.@example.org"}},
		{"Domain contains illegal character", []string{"a@example.org", "b@web_1.example"}, []string{"b@web_1.example"}},
	} {
		results := newAdapter().Results(providers.Request{Recipients: c.recipients}, answer(400, "BadRequestException", c.message))
		for _, result := range results {
			named := slices.Contains(c.refused, result.Recipient)
			if result.State != providers.Refused || (result.Err.Category == providers.InvalidRecipient) != named ||
				errors.Is(result.Err, providers.ErrAnotherRecipient) == named {
				t.Errorf("%q: %s is %v, %v; want it named: %v", c.message, result.Recipient, result.State, result.Err, named)
			}
		}
	}
	// What is no address refuses nobody where SES says something else.
	for _, result := range newAdapter().Results(providers.Request{Recipients: []string{"a", "b"}}, answer(400, "MessageRejected", "no")) {
		if result.Err.Category != providers.ContentRejected {
			t.Errorf("%s is %v, want content_rejected", result.Recipient, result.Err)
		}
	}
}

func TestResultsRetryAfter(t *testing.T) {
	resp := answer(429, "TooManyRequestsException", "Maximum sending rate exceeded.")
	if got := newAdapter().Results(one, resp)[0].Err.RetryAfter; got != 0 {
		t.Errorf("SES says nothing of when to try again, and %v is read", got)
	}
	resp.Header.Set("Retry-After", "7") // of a gateway
	if got := newAdapter().Results(one, resp)[0].Err.RetryAfter; got != 7*time.Second {
		t.Errorf("it is to be tried after %v, want 7 s", got)
	}
}

// An answer of 1 MiB is read in no time, whatever it holds: with its square it
// would be hours.
func TestResultsOfLongAnswers(t *testing.T) {
	for _, text := range []string{"'", `\"`, "<", "@", "a@b ", " '", "Illegal address "} {
		body := `{"__type":"BadRequestException","message":"` + strings.Repeat(text, (1<<20-100)/len(text)) + `"}`
		start := time.Now()
		newAdapter().Results(providers.Request{Recipients: recipients(50)}, providers.Response{Status: 400, Body: []byte(body)})
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%q again and again takes %v", text, took)
		}
	}
}

func TestProbed(t *testing.T) {
	const good = `{"SendingEnabled":true,"ProductionAccessEnabled":true,"EnforcementStatus":"HEALTHY"}`
	for _, c := range []struct {
		resp providers.Response
		want providers.Category // empty: the keys are good
	}{
		{providers.Response{Status: 200, Body: []byte(good)}, ""},
		{providers.Response{Status: 200, Body: []byte(strings.Replace(good, "HEALTHY", "PROBATION", 1))}, ""},
		{providers.Response{Status: 200, Body: []byte(strings.Replace(good, `AccessEnabled":true`, `AccessEnabled":false`, 1))}, ""},
		{providers.Response{Status: 200, Body: []byte(strings.Replace(good, "HEALTHY", "SHUTDOWN", 1))}, providers.Authentication},
		{providers.Response{Status: 200, Body: []byte(strings.Replace(good, `Enabled":true`, `Enabled":false`, 1))}, providers.ServiceUnavailable},
		{providers.Response{Status: 200, Body: []byte(`{}`)}, providers.ConfigurationError},
		{providers.Response{Status: 200, Body: []byte(`<html>`)}, providers.ConfigurationError},
		{providers.Response{Status: 204}, providers.ConfigurationError},
		{answer(403, "AccessDeniedException", "User: x is not authorized to perform: ses:GetAccount"), ""},
		{answer(403, "UnrecognizedClientException", "no"), providers.Authentication},
		{answer(403, "", "no"), providers.Authentication},
		{answer(429, "TooManyRequestsException", "no"), providers.RateLimit},
		{answer(500, "", ""), providers.ServiceUnavailable},
	} {
		err := newAdapter().Probed(c.resp)
		if (err == nil) != (c.want == "") || err != nil && (err.Category != c.want || err.Message == "") {
			t.Errorf("%d %s is %v, want %q", c.resp.Status, c.resp.Body, err, c.want)
		}
	}
}

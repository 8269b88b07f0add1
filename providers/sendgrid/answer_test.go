package sendgrid_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/providers/providertest"
)

type rawJSON = json.RawMessage

var answered = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fault writes one entry of the list of errors; an empty field is null.
func fault(field, message string) string {
	name := "null"
	if field != "" {
		name = strconv.Quote(field)
	}
	return fmt.Sprintf(`{"message":%q,"field":%s,"help":{}}`, message, name)
}

func answer(status int, faults ...string) providers.Response {
	return providers.Response{
		Status: status, Header: http.Header{}, Time: answered,
		Body: []byte(`{"errors":[` + strings.Join(faults, ",") + `]}`),
	}
}

// one is a request with one recipient.
var one = providers.Request{Recipients: []string{"a@example.org"}}

func TestResultsOfErrors(t *testing.T) {
	const local = true
	for _, c := range []struct {
		status         int
		field, message string
		want           providers.Category
		local          bool
	}{
		{400, "personalizations.0.to.0.email", "Does not contain a valid address.", providers.InvalidRecipient, false},
		{400, "personalizations.0.cc.3.email", "Each email object must have an email", providers.InvalidRecipient, false},
		{400, "personalizations.12.bcc.0.email", "Does not contain a valid address.", providers.InvalidRecipient, false},
		{400, "personalizations.0.to.1.name", "must be a string", providers.ContentRejected, local},
		{400, "personalizations.0.bcc.0.name", "too long", providers.ContentRejected, local},
		{400, "personalizations.0", "Each email address in the personalization block should be unique between to, cc, and bcc.", providers.ConfigurationError, false},
		{400, "personalizations", "There is a limit of 1000 total recipients", providers.ConfigurationError, false},
		{400, "personalizations.0.from", "must match the domain", providers.ConfigurationError, false},
		{400, "personalizations.0.custom_args", "too large", providers.ContentRejected, local},
		{400, "personalizations.0.substitutions", "too large", providers.ContentRejected, local},
		{400, "from.email", "The from email does not contain a valid address.", providers.ContentRejected, false},
		{400, "subject", "The subject is required.", providers.ContentRejected, local},
		{400, "content.0.value", "at least one character", providers.ContentRejected, local},
		{400, "attachments.0.content", "must be base64 encoded", providers.ContentRejected, local},
		{400, "headers.X-A", "must be a string", providers.ContentRejected, local},
		{400, "reply_to", "invalid", providers.ContentRejected, local},
		{400, "reply_to_list", "not with reply_to", providers.ContentRejected, local},
		{400, "custom_args.user", "must be a string", providers.ContentRejected, local},
		{400, "categories", "more than 10", providers.ContentRejected, local},
		{400, "send_at", "more than 72 hours", providers.ContentRejected, local},
		{400, "asm.group_id", "does not belong to you", providers.ConfigurationError, false},
		{400, "ip_pool_name", "not a valid pool", providers.ConfigurationError, false},
		{400, "template_id", "not valid", providers.ConfigurationError, false},
		{400, "batch_id", "invalid", providers.ConfigurationError, false},
		{400, "mail_settings.sandbox_mode", "wrong type", providers.ConfigurationError, false},
		{400, "tracking_settings.open_tracking", "wrong type", providers.ConfigurationError, false},
		{400, "", "Invalid UTF8 in request", providers.ContentRejected, local},
		{400, "", "Bad Request", providers.ContentRejected, local},
		{400, "null", "Bad Request", providers.ContentRejected, local},
		{400, "nobody_knows", "no words", providers.Unknown, false},
		{401, "", "The provided authorization grant is invalid, expired, or revoked", providers.Authentication, false},
		{401, "", "Authenticated user is not authorized to send mail", providers.Authentication, false},
		{401, "", "Maximum credits exceeded", providers.QuotaExceeded, false},
		{403, "from", "The from address does not match a verified Sender Identity.", providers.ConfigurationError, false},
		{403, "", "access forbidden", providers.Authentication, false},
		{403, "", "The requestor's IP Address is not whitelisted", providers.ConfigurationError, false},
		{403, "", "too many bad requests, temporary block", providers.RateLimit, false},
		{404, "", "not found", providers.ConfigurationError, false},
		{405, "", "method not allowed", providers.ConfigurationError, false},
		{406, "", "not acceptable", providers.ConfigurationError, false},
		{413, "", "payload too large", providers.TooLarge, local},
		{415, "", "unsupported", providers.ConfigurationError, false},
		{429, "", "too many requests", providers.RateLimit, false},
		{500, "", "internal server error", providers.ServiceUnavailable, false},
		{503, "", "not available", providers.ServiceUnavailable, false},
		{418, "", "no words", providers.Unknown, false},
	} {
		got := newAdapter().Results(one, answer(c.status, fault(c.field, c.message)))[0]
		if got.State != providers.Refused || got.Err.Category != c.want || got.Err.Local != c.local {
			t.Errorf("%d %s %q is %v, %+v; want refused, %s, local %v", c.status, c.field, c.message, got.State, got.Err, c.want, c.local)
		}
		if !strings.Contains(got.Err.Message, c.message) || got.Err.ProviderCode != strconv.Itoa(c.status) {
			t.Errorf("%d %q says %q with the code %q", c.status, c.message, got.Err.Message, got.Err.ProviderCode)
		}
	}
}

// A wrong key or address shows as an answer that is not SendGrid's: the reply
// and the log name at least its status.
func TestResultsWithoutWords(t *testing.T) {
	for _, c := range []struct {
		status     int
		body, want string
	}{
		{401, "<html>no</html>", "HTTP 401 Unauthorized"},
		{404, "", "HTTP 404 Not Found"},
		{400, `{"errors":[{"field":"subject"}]}`, "subject: HTTP 400 Bad Request"},
		{302, "", "HTTP 302 Found: a redirect, which is not followed; is base_url right?"},
	} {
		got := newAdapter().Results(one, providers.Response{Status: c.status, Body: []byte(c.body)})[0]
		if got.Err.Message != c.want {
			t.Errorf("%d %q says %q, want %q", c.status, c.body, got.Err.Message, c.want)
		}
	}
}

// An answer of 1 MiB can hold a hundred thousand errors; a thousand count.
func TestResultsOfManyErrors(t *testing.T) {
	faults := slices.Repeat([]string{fault("subject", "required")}, 1000)
	for _, c := range []struct {
		last int
		want providers.Category
	}{{999, providers.QuotaExceeded}, {1000, providers.ContentRejected}} {
		list := append(slices.Clone(faults[:c.last]), fault("", "Maximum credits exceeded"))
		if got := newAdapter().Results(one, answer(400, list...))[0].Err.Category; got != c.want {
			t.Errorf("%d errors, the last about credits: %s, want %s", len(list), got, c.want)
		}
	}
}

func TestResultsOfAmbiguousAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   providers.State
	}{
		{500, `{"errors":[{"message":"internal server error"}]}`, providers.Refused},
		{500, "", providers.Ambiguous},
		{500, `{"errors":[{"message":"inter`, providers.Ambiguous},
		{502, "<html>", providers.Ambiguous},
		{502, `{"errors":[{"message":"bad gateway"}]}`, providers.Ambiguous},
		{503, "<html>", providers.Refused},
		{504, "", providers.Ambiguous},
	} {
		got := newAdapter().Results(one, providers.Response{Status: c.status, Body: []byte(c.body)})[0]
		if got.State != c.want || got.Err.Category != providers.ServiceUnavailable {
			t.Errorf("%d %q is %v, %v; want %v", c.status, c.body, got.State, got.Err, c.want)
		}
	}
}

// Of several errors the one that concerns the account most is the reason.
func TestResultsOfSeveralErrors(t *testing.T) {
	faults := []struct {
		text string
		want providers.Category
	}{
		{fault("personalizations.0.to.0.email", "invalid"), providers.InvalidRecipient},
		{fault("subject", "required"), providers.ContentRejected},
		{fault("ip_pool_name", "not a valid pool"), providers.ConfigurationError},
		{fault("", "Maximum credits exceeded"), providers.QuotaExceeded},
	}
	for i, worse := range faults {
		for _, other := range faults[:i] {
			for _, resp := range []providers.Response{answer(400, worse.text, other.text), answer(400, other.text, worse.text)} {
				if got := newAdapter().Results(one, resp)[0].Err.Category; got != worse.want {
					t.Errorf("%s is %s, want %s", resp.Body, got, worse.want)
				}
			}
		}
	}
}

// Errors that name recipients refuse those; the others were not sent either,
// and may be sent without them.
func TestResultsNameRecipients(t *testing.T) {
	m := providertest.Message(t, "From: s@example.com\nTo: a@example.org, b@example.org\nCc: c@example.org\n\nx\n",
		"a@example.org", "b@example.org", "c@example.org", "d@example.org")
	r := newAdapter().Requests(m)[0]
	for field, want := range map[string]string{
		"personalizations.0.to.1.email": "b@example.org", "personalizations.0.cc.0.email": "c@example.org",
		"personalizations.0.bcc.0.email": "d@example.org", "personalizations.0.to.7.email": "",
		"personalizations.3.to.0.email": "", "personalizations.0.to": "",
	} {
		for _, result := range newAdapter().Results(r, answer(400, fault(field, "Does not contain a valid address."))) {
			category := providers.Unknown
			if result.Recipient == want {
				category = providers.InvalidRecipient
			}
			if result.State != providers.Refused || result.Err.Category != category {
				t.Errorf("%s: %s is %v, %v; want refused with %s", field, result.Recipient, result.State, result.Err, category)
			}
		}
	}
}

func TestResultsAccepted(t *testing.T) {
	r := providers.Request{Recipients: []string{"a@example.org", "b@example.org"}}
	for id, header := range map[string]http.Header{"14c5d75ce93": {"X-Message-Id": {"14c5d75ce93"}}, "": {}} {
		want := []providers.Result{
			{Recipient: "a@example.org", State: providers.Accepted, ProviderID: id},
			{Recipient: "b@example.org", State: providers.Accepted, ProviderID: id},
		}
		if diff := cmp.Diff(want, newAdapter().Results(r, providers.Response{Status: http.StatusAccepted, Header: header})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestResultsRetryAfter(t *testing.T) {
	for _, c := range []struct {
		status int
		header http.Header
		want   time.Duration
	}{
		{429, http.Header{"X-Ratelimit-Reset": {strconv.FormatInt(answered.Unix()+90, 10)}}, 90 * time.Second},
		{429, http.Header{"X-Ratelimit-Reset": {strconv.FormatInt(answered.Unix()-90, 10)}}, 0},
		{429, http.Header{"Retry-After": {"7"}}, 7 * time.Second},
		{429, http.Header{}, 0},
		// Every answer carries the reset; only of a rate limit is it the wait.
		{503, http.Header{"X-Ratelimit-Reset": {strconv.FormatInt(answered.Unix()+90, 10)}}, 0},
		{503, http.Header{"Retry-After": {"60"}}, time.Minute},
	} {
		resp := answer(c.status, fault("", "no"))
		resp.Header = c.header
		if got := newAdapter().Results(one, resp)[0].Err.RetryAfter; got != c.want {
			t.Errorf("%d %v is to be tried after %v, want %v", c.status, c.header, got, c.want)
		}
	}
}

func TestProbed(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   providers.Category // empty: the key can send
	}{
		{200, `{"scopes":["mail.send","x"]}`, ""},
		{200, `{"scopes":["user.read"]}`, providers.Authentication},
		{200, `<html>`, providers.ConfigurationError},
		{200, `{}`, providers.ConfigurationError},
		{401, `{"errors":[{"message":"authorization required"}]}`, providers.Authentication},
		{401, `{"errors":[{"message":"Maximum credits exceeded"}]}`, providers.QuotaExceeded},
		{404, ``, providers.ConfigurationError},
	} {
		err := newAdapter().Probed(providers.Response{Status: c.status, Body: []byte(c.body)})
		if (err == nil) != (c.want == "") || (err != nil && err.Category != c.want) {
			t.Errorf("%d %s is %v, want %q", c.status, c.body, err, c.want)
		}
	}
}

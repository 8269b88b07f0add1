package smtp2go

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"smtpbridge/providers"
)

const (
	// minWait: "no less than 1 minute" (manual, "Rate Limiting").
	minWait = time.Minute
	// maxWait bounds what a header may ask for.
	maxWait = 24 * time.Hour
)

// Results reads the answer: a mail is taken whole or not at all. Its counts are
// of mails, not of recipients, and a 200 may say that the mail failed.
func (a *Adapter) Results(r providers.Request, resp providers.Response) []providers.Result {
	said := readAnswer(resp.Body)
	switch {
	case resp.Status == http.StatusOK && said.accepts():
		outcome := providers.Fail(r.Recipients, providers.Accepted, nil)
		for i := range outcome {
			outcome[i].ProviderID = said.id()
		}
		return outcome
	case resp.Status == http.StatusOK && said.refuses(): // as any other refusal
	case resp.Status < 300:
		return providers.Fail(r.Recipients, providers.Ambiguous, &providers.Error{
			Category:     providers.ServiceUnavailable,
			ProviderCode: strconv.Itoa(resp.Status),
			Message:      "the answer is not SMTP2GO's, or contradicts itself; is base_url right?",
		})
	}
	refusal, state := said.refusal(resp)
	if refusal.Category != providers.InvalidRecipient {
		return providers.Fail(r.Recipients, state, refusal)
	}
	named := said.named(r.Recipients)
	return providers.RefuseSome(r.Recipients, refusal, func(recipient string) *providers.Error {
		if named[recipient] {
			return refusal
		}
		return nil
	})
}

// accepts: the mail has an id or is counted, and nothing is said against it.
func (s answer) accepts() bool { return (s.hasID() || s.succeeded > 0) && !s.complains() }

// refuses: it is said that the mail failed, and nothing that it was taken. A
// mail that failed may have an id all the same.
func (s answer) refuses() bool {
	switch {
	case s.succeeded > 0 || s.scheduleID != "":
		return false
	case s.blames():
		return s.emailID == ""
	case s.fails():
		return true
	}
	return s.countsNone && !s.hasID()
}

func (s answer) hasID() bool { return s.emailID != "" || s.scheduleID != "" }

func (s answer) complains() bool { return s.blames() || s.fails() }

// blames: the request as such was in error.
func (s answer) blames() bool { return s.code != "" || s.text != "" || len(s.faults) > 0 }

// fails: the request was good, its mail was not.
func (s answer) fails() bool { return s.failed || len(s.failures) > 0 }

// id is what the events carry; the id of the request stands in for it where
// /email/mime gives none.
func (s answer) id() string { return cmp.Or(s.emailID, s.scheduleID, s.requestID) }

// refusal is what a refused request means, whoever its recipients are: by the
// API's code, by the words that only it uses, by the status and its words.
// Whether a mail went on in spite of an error of the server is not known.
func (s answer) refusal(resp providers.Response) (*providers.Error, providers.State) {
	state, status := providers.Refused, strconv.Itoa(resp.Status)
	err := cmp.Or(s.byCode(), s.byWords())
	switch {
	case err == nil && providers.AmbiguousStatus(resp.Status, false), providers.AmbiguousStatus(resp.Status, true):
		err, state = providers.Refusal(resp.Status, s.words()), providers.Ambiguous
	case err == nil:
		err = providers.Refusal(resp.Status, s.words())
	}
	if err.Category == providers.QuotaExceeded {
		err.Local = true // the account's own credits
	}
	err.ProviderCode = cmp.Or(providers.Words(s.code), status)
	err.Message = cmp.Or(err.Message, providers.Refusal(resp.Status, "").Message)
	err.RetryAfter = wait(resp, err.Category)
	return err, state
}

// words are those that say most.
func (s answer) words() string {
	if len(s.failures) > 0 {
		return s.failures[0]
	}
	return s.text
}

// wait is how long the API wants to be left alone. It documents no field for it
// any more; 2017 had two spellings of one, in seconds.
func wait(resp providers.Response, category providers.Category) time.Duration {
	after := providers.RetryAfter(resp)
	if category != providers.RateLimit {
		return after
	}
	for _, name := range [...]string{"X-RateLimit-Reset", "X-Rate-Limit-Reset"} {
		if seconds, err := strconv.ParseInt(resp.Header.Get(name), 10, 32); err == nil {
			after = max(after, time.Duration(seconds)*time.Second)
		}
	}
	return min(max(after, minWait), maxWait)
}

// byCode is nil where the code says nothing: API_EXCEPTION is every failure's.
func (s answer) byCode() *providers.Error {
	refuse := func(category providers.Category, local bool) *providers.Error {
		return &providers.Error{Category: category, Local: local, Message: providers.Words(s.words())}
	}
	switch code := strings.ToUpper(s.code); strings.TrimPrefix(code, "E_APIRESPONSECODES.") {
	case "ENDPOINT_PERMISSION_DENIED", "API_KEY_INVALID":
		return refuse(providers.Authentication, false)
	case "SENDER_NOT_VERIFIED":
		return refuse(providers.ConfigurationError, true)
	case "REQ_LIMIT_EXCEEDED", "RATE_LIMIT_EXCEEDED":
		return refuse(providers.RateLimit, false)
	case "NON_VALIDATING_IN_PAYLOAD":
		return s.byFields(refuse(providers.ConfigurationError, false))
	}
	return nil
}

// byFields is the fault that concerns the account most: the others would stay
// after a cure of the mail. Without a field it is ours, or said in the words.
func (s answer) byFields(unknown *providers.Error) *providers.Error {
	var worst *providers.Error
	for _, f := range s.faults {
		if next := f.refusal(); worst == nil || reach(next.Category) < reach(worst.Category) {
			worst = next
		}
	}
	return cmp.Or(worst, s.byWords(), unknown)
}

// reach orders categories by how much of the account they concern.
func reach(c providers.Category) int {
	return slices.Index([]providers.Category{
		providers.Authentication, providers.ConfigurationError, providers.ContentRejected, providers.InvalidRecipient,
	}, c)
}

// refusal classifies one fault. Local are rules of form of this API: another
// provider may take the mail.
func (f fault) refusal() *providers.Error {
	err := &providers.Error{Category: providers.ConfigurationError, Message: providers.Words(f.message)}
	words := unquoted(f.message)
	switch f.field {
	case "to", "cc", "bcc":
		if !tooMany.MatchString(words) {
			err.Category = providers.InvalidRecipient
		}
	case "sender":
		if err.Local = unverified.MatchString(words); !err.Local {
			err.Category = providers.ContentRejected
		}
	case "custom_headers", "schedule", "subject", "text_body", "html_body":
		err.Category, err.Local = providers.ContentRejected, true
	case "api_key":
		err.Category = providers.Authentication
	}
	if f.field != "" {
		err.Message = providers.Words(f.field + ": " + f.message)
	}
	return err
}

var (
	tooMany = regexp.MustCompile(`(?i)\btoo many\b|\b(?:no )?more than\b|\bat most\b|\bmaximum\b`)
	// The sender's domain or address must be verified in the account.
	unverified = regexp.MustCompile(`(?i)\bverify sender\b|\bnot (?:been |yet )?verified\b|\bunverified\b|\buntil a sender domain is verified\b`)
)

// wordRules are the words that only this API uses (manual, "Rate Limiting";
// support, "Common Sending Errors"; what integrators have met), in the order in
// which they are tried.
var wordRules = []struct {
	words    *regexp.Regexp
	category providers.Category
	local    bool
}{
	// "API key ratelimit exceeded": the account's own limit for the key.
	{regexp.MustCompile(`(?i)\brate ?limit(?:ed)?\b`), providers.RateLimit, false},
	// "An API User matching the passed 'api_key' was not found", as a 500.
	{regexp.MustCompile(`(?i)\bapi user matching\b`), providers.Authentication, false},
	{unverified, providers.ConfigurationError, true},
	{regexp.MustCompile(`(?i)\ballowed[ _](?:recipients|senders)\b|\bsender (?:is )?restricted\b|\brestricted sender`), providers.ConfigurationError, true},
	{regexp.MustCompile(`(?i)\bquota\b|\ballowance\b|\b(?:monthly|daily) limit\b`), providers.QuotaExceeded, true},
}

// byWords is nil where no rule matches.
func (s answer) byWords() *providers.Error {
	for _, words := range append(slices.Clone(s.failures), s.text) {
		bare := unquoted(words)
		for _, rule := range wordRules {
			if rule.words.MatchString(bare) {
				return &providers.Error{Category: rule.category, Local: rule.local, Message: providers.Words(words)}
			}
		}
	}
	return nil
}

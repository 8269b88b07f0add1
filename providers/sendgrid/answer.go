package sendgrid

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"smtpbridge/providers"
)

// Results reads the answer: a request is taken whole or not at all (202), or
// checked only (200, sandbox mode). The id is one for all recipients.
func (a *Adapter) Results(r providers.Request, resp providers.Response) []providers.Result {
	if resp.Status == http.StatusAccepted || (resp.Status == http.StatusOK && a.config.SandboxMode) {
		outcome := providers.Fail(r.Recipients, providers.Accepted, nil)
		for i := range outcome {
			outcome[i].ProviderID = resp.Header.Get("X-Message-Id")
		}
		return outcome
	}
	if resp.Status < 300 {
		return providers.Fail(r.Recipients, providers.Ambiguous, &providers.Error{
			Category:     providers.ServiceUnavailable,
			ProviderCode: strconv.Itoa(resp.Status),
			Message:      "the answer is not SendGrid's; is base_url right?",
		})
	}
	faults := readFaults(resp.Body)
	worst := worstOf(resp, faults)
	if worst.Category == providers.InvalidRecipient {
		return refuseRecipients(r, resp, faults, worst)
	}
	state := providers.Refused
	if providers.AmbiguousStatus(resp.Status, len(faults) > 0) {
		state = providers.Ambiguous
	}
	return providers.Fail(r.Recipients, state, worst)
}

// refuseRecipients: the errors name recipients, and nobody was sent.
func refuseRecipients(r providers.Request, resp providers.Response, faults []fault, worst *providers.Error) []providers.Result {
	named := make(map[string]*providers.Error, len(faults))
	for _, f := range faults {
		if r.Locate == nil {
			break
		}
		if recipient, ok := r.Locate(string(f.Field)); ok {
			named[recipient] = f.refusal(resp)
		}
	}
	return providers.RefuseSome(r.Recipients, worst, func(recipient string) *providers.Error { return named[recipient] })
}

// refusal is what a refused request means, whoever its recipients are.
func refusal(resp providers.Response) *providers.Error { return worstOf(resp, readFaults(resp.Body)) }

// fault is one entry of the API's list of errors.
type fault struct {
	Message string    `json:"message"`
	Field   fieldName `json:"field"`
}

// fieldName is the path of a field; the API writes null and "null" for none.
type fieldName string

// UnmarshalJSON never fails: what is no string names no field.
func (f *fieldName) UnmarshalJSON(raw []byte) error {
	var name string
	if json.Unmarshal(raw, &name) == nil && name != "null" {
		*f = fieldName(name)
	}
	return nil
}

// maxFaults is how many errors of one answer count: as many as recipients.
const maxFaults = maxRecipients

// readFaults gives nothing where the body is not in SendGrid's form.
func readFaults(body []byte) []fault {
	var answer struct {
		Errors []fault `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil
	}
	return answer.Errors[:min(len(answer.Errors), maxFaults)]
}

// worstOf is the error that concerns the account most: the others would stay
// after a cure of the mail.
func worstOf(resp providers.Response, faults []fault) *providers.Error {
	if len(faults) == 0 {
		return withRetry(providers.Refusal(resp.Status, ""), resp)
	}
	worst := faults[0].refusal(resp)
	for _, f := range faults[1:] {
		if next := f.refusal(resp); reach(next.Category) < reach(worst.Category) {
			worst = next
		}
	}
	return worst
}

// reach orders categories by how much of the account they concern.
func reach(c providers.Category) int {
	order := []providers.Category{
		providers.Authentication, providers.QuotaExceeded, providers.ConfigurationError,
		providers.ContentRejected, providers.InvalidRecipient,
	}
	if at := slices.Index(order, c); at >= 0 {
		return at
	}
	return len(order)
}

// refusal classifies one fault: the API has no codes, the status, the field
// and the words say what it means.
func (f fault) refusal(resp providers.Response) *providers.Error {
	err := f.byRule(resp.Status)
	if err == nil {
		err = providers.Refusal(resp.Status, f.Message)
	}
	if f.Field != "" {
		err.Message = providers.Words(string(f.Field) + ": " + err.Message)
	}
	return withRetry(err, resp)
}

// byRule is nil where no rule matches.
func (f fault) byRule(status int) *providers.Error {
	field, words := withoutIndexes(string(f.Field)), strings.ToLower(f.Message)
	for _, rule := range rules {
		if rule.matches(status, field, words) {
			err := providers.Refusal(status, "")
			err.Category, err.Local = rule.category, rule.local
			err.Message = cmp.Or(providers.Words(f.Message), err.Message)
			return err
		}
	}
	return nil
}

// withRetry adds how long to wait: X-RateLimit-Reset is in seconds of the Unix
// epoch (manual, "Rate Limits").
func withRetry(err *providers.Error, resp providers.Response) *providers.Error {
	err.RetryAfter = providers.RetryAfter(resp)
	if err.Category != providers.RateLimit {
		return err
	}
	if reset, bad := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64); bad == nil {
		err.RetryAfter = max(0, time.Unix(reset, 0).Sub(resp.Time))
	}
	return err
}

// rule is one row of the table of errors. Its field is a prefix, in which N
// stands for any index; what is empty or 0 fits all.
type rule struct {
	status       int
	field, words string
	category     providers.Category
	local        bool
}

func (r rule) matches(status int, field, words string) bool {
	return (r.status == 0 || r.status == status) && strings.Contains(words, r.words) &&
		(r.field == "" || field == r.field || strings.HasPrefix(field, r.field+"."))
}

// rules in the order in which they are tried (manual, "Errors" of Mail Send and
// of the v3 API). Local are rules of form of this API: another provider may
// take the mail.
var rules = []rule{
	// The plan is used up: a 401, but no fault of the key.
	{words: "maximum credits exceeded", category: providers.QuotaExceeded},

	{status: 400, field: "personalizations", words: "unique", category: providers.ConfigurationError},
	{status: 400, field: "personalizations.N.to.N.name", category: providers.ContentRejected, local: true},
	{status: 400, field: "personalizations.N.cc.N.name", category: providers.ContentRejected, local: true},
	{status: 400, field: "personalizations.N.bcc.N.name", category: providers.ContentRejected, local: true},
	{status: 400, field: "personalizations.N.to", category: providers.InvalidRecipient},
	{status: 400, field: "personalizations.N.cc", category: providers.InvalidRecipient},
	{status: 400, field: "personalizations.N.bcc", category: providers.InvalidRecipient},
	{status: 400, field: "personalizations.N.subject", category: providers.ContentRejected, local: true},
	{status: 400, field: "personalizations.N.headers", category: providers.ContentRejected, local: true},
	{status: 400, field: "personalizations.N.custom_args", category: providers.ContentRejected, local: true},
	{status: 400, field: "personalizations.N.substitutions", category: providers.ContentRejected, local: true},
	{status: 400, field: "personalizations.N.send_at", category: providers.ContentRejected, local: true},
	{status: 400, field: "personalizations", category: providers.ConfigurationError},
	{status: 400, field: "from", category: providers.ContentRejected},
	{status: 400, field: "subject", category: providers.ContentRejected, local: true},
	{status: 400, field: "content", category: providers.ContentRejected, local: true},
	{status: 400, field: "attachments", category: providers.ContentRejected, local: true},
	{status: 400, field: "headers", category: providers.ContentRejected, local: true},
	{status: 400, field: "reply_to", category: providers.ContentRejected, local: true},
	{status: 400, field: "reply_to_list", category: providers.ContentRejected, local: true},
	{status: 400, field: "custom_args", category: providers.ContentRejected, local: true},
	{status: 400, field: "categories", category: providers.ContentRejected, local: true},
	{status: 400, field: "send_at", category: providers.ContentRejected, local: true},
	{status: 400, field: "asm", category: providers.ConfigurationError},
	{status: 400, field: "ip_pool_name", category: providers.ConfigurationError},
	{status: 400, field: "template_id", category: providers.ConfigurationError},
	{status: 400, field: "batch_id", category: providers.ConfigurationError},
	{status: 400, field: "mail_settings", category: providers.ConfigurationError},
	{status: 400, field: "tracking_settings", category: providers.ConfigurationError},
	{status: 400, words: "invalid utf8", category: providers.ContentRejected, local: true},
	// A value of a wrong type somewhere: the field is null then.
	{status: 400, words: "bad request", category: providers.ContentRejected, local: true},

	{status: 403, field: "from", category: providers.ConfigurationError},
	{status: 403, words: "verified sender", category: providers.ConfigurationError},
	{status: 403, words: "too many bad requests", category: providers.RateLimit},
	{status: 403, words: "access list", category: providers.ConfigurationError},
	{status: 403, words: "whitelist", category: providers.ConfigurationError},
	{status: 403, words: "ip address", category: providers.ConfigurationError},
}

// withoutIndexes puts N in the place of each number: personalizations.N.to.
func withoutIndexes(field string) string {
	steps := strings.Split(field, ".")
	for i, step := range steps {
		if _, err := strconv.Atoi(step); err == nil {
			steps[i] = "N"
		}
	}
	return strings.Join(steps, ".")
}

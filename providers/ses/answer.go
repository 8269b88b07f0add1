package ses

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"smtpbridge/providers"
)

// Results reads the answer: a request is taken whole, with one id for all
// recipients, or not at all.
func (a *Adapter) Results(r providers.Request, resp providers.Response) []providers.Result {
	if resp.Status < 300 {
		return accepted(r, resp)
	}
	failure := readFailure(resp)
	err, state := failure.refusal(resp)
	if err.Category == providers.InvalidRecipient {
		return failure.refuseRecipients(r.Recipients, err)
	}
	return providers.Fail(r.Recipients, state, err)
}

// accepted: only 200 with an id says that SES has the mail.
func accepted(r providers.Request, resp providers.Response) []providers.Result {
	var answer struct {
		MessageID string `json:"MessageId"`
	}
	if resp.Status != http.StatusOK || json.Unmarshal(resp.Body, &answer) != nil || answer.MessageID == "" {
		return providers.Fail(r.Recipients, providers.Ambiguous, &providers.Error{
			Category:     providers.ServiceUnavailable,
			ProviderCode: strconv.Itoa(resp.Status),
			Message:      "the answer is not that of SES; is base_url right?",
		})
	}
	outcome := providers.Fail(r.Recipients, providers.Accepted, nil)
	for i := range outcome {
		outcome[i].ProviderID = answer.MessageID
	}
	return outcome
}

// failure is an error in the form of restJson1, the protocol of the API.
type failure struct {
	// name of the exception, empty where the answer is not in that form.
	name string
	// words of the message, as they came.
	words string
}

// readFailure looks for the name in the header, else in the body.
func readFailure(resp providers.Response) failure {
	var answer struct {
		Code    text `json:"code"`
		Type    text `json:"__type"`
		Message text `json:"message"` // or Message: encoding/json does not mind case
	}
	if json.Unmarshal(resp.Body, &answer) != nil {
		answer.Code, answer.Type, answer.Message = "", "", ""
	}
	for _, name := range []string{resp.Header.Get("X-Amzn-Errortype"), string(answer.Code), string(answer.Type)} {
		// "com.amazonaws.sesv2#MessageRejected:http://…"
		name, _, _ = strings.Cut(name, ":")
		name = strings.TrimSpace(name[strings.LastIndexByte(name, '#')+1:])
		if isName(name) {
			return failure{name, string(answer.Message)}
		}
	}
	return failure{"", string(answer.Message)}
}

// text is a string of JSON; anything else counts as none.
type text string

// UnmarshalJSON never fails.
func (t *text) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) == nil && s != "" {
		*t = text(s)
	}
	return nil
}

// bareName: some names come with and without "Exception".
func (f failure) bareName() string { return strings.TrimSuffix(f.name, "Exception") }

// refusal classifies: the name decides, the words where it has several meanings,
// the status where it has none.
func (f failure) refusal(resp providers.Response) (*providers.Error, providers.State) {
	err, state := providers.Refusal(resp.Status, f.words), providers.Refused
	if rule, found := f.rule(); found {
		err.Category, err.Local = rule.category, rule.local
		if hint := hintOf(rule, resp); hint != "" {
			err.Message = providers.Words(err.Message + " (" + hint + ")")
		}
		if rule.ambiguous {
			state = providers.Ambiguous
		}
	} else if providers.AmbiguousStatus(resp.Status, false) {
		state = providers.Ambiguous
	}
	err.ProviderCode = cmp.Or(f.name, err.ProviderCode)
	err.RetryAfter = providers.RetryAfter(resp)
	return err, state
}

// hintOf a refusal. Of a clock it says by how much it is wrong, where the answer
// tells the time.
func hintOf(r rule, resp providers.Response) string {
	there, err := http.ParseTime(resp.Header.Get("Date"))
	if r.hint != clockHint || err != nil || resp.Time.IsZero() {
		return r.hint
	}
	off, way := resp.Time.Sub(there).Round(time.Second), "ahead"
	if off < 0 {
		off, way = -off, "behind"
	}
	return fmt.Sprintf("the clock of this host is %s %s: set it, best by NTP", off, way)
}

func (f failure) rule() (rule, bool) {
	name, words := f.bareName(), unquoted(f.words)
	for _, rule := range rules {
		if slices.Contains(rule.names, name) && rule.fits(words) {
			return rule, true
		}
	}
	return rule{}, false
}

// maxRead is how much of a message is looked at, in octets.
const maxRead = 4 << 10

// quoted is what a message cites: header names, addresses, names of what does not
// exist. They say nothing about the cause.
var quoted = regexp.MustCompile(`"[^"]*"|(?:^|[\s(:=])'[^']*'|<[^<>]*>|[^\s<>]+@[^\s<>]+`)

func unquoted(words string) string {
	return strings.ToLower(quoted.ReplaceAllString(head(words), " "))
}

func head(words string) string { return words[:min(len(words), maxRead)] }

// refuseRecipients: SES does not say whom it means. It is those whom it cites, and
// those whose address is none; where nobody is, the request must be divided.
func (f failure) refuseRecipients(recipients []string, err *providers.Error) []providers.Result {
	cited := make(map[string]bool)
	for _, word := range strings.FieldsFunc(head(f.words), isAround) {
		cited[strings.ToLower(strings.Trim(word, ".:"))] = true
	}
	return providers.RefuseSome(recipients, err, func(recipient string) *providers.Error {
		if cited[strings.ToLower(recipient)] || !isAddress(recipient) {
			return err
		}
		return nil
	})
}

func isAround(r rune) bool { return r <= ' ' || strings.ContainsRune("<>()'\"`,;", r) }

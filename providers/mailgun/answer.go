package mailgun

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"smtpbridge/providers"
)

const (
	// queued begins the message of the only success.
	queued = "Queued"
	// magnificent is what Mailgun answers, with 200, where it has no such path.
	magnificent = "Mailgun Magnificent API"
)

// Results reads the answer: a request is taken whole or not at all, and the id is
// one for all recipients.
func (a *Adapter) Results(r providers.Request, resp providers.Response) []providers.Result {
	said := readAnswer(resp.Body)
	id := strings.Trim(string(said.ID), "<>") // as events have it
	switch {
	case resp.Status == http.StatusOK && id != "" && strings.HasPrefix(string(said.Message), queued):
		outcome := providers.Fail(r.Recipients, providers.Accepted, nil)
		for i := range outcome {
			outcome[i].ProviderID = id
		}
		return outcome
	case resp.Status == http.StatusOK && isMagnificent(resp.Body):
		return providers.Fail(r.Recipients, providers.Refused, notMailgun(providers.ConfigurationError, resp))
	case resp.Status < 300:
		return providers.Fail(r.Recipients, providers.Ambiguous, notMailgun(providers.ServiceUnavailable, resp))
	}
	err := refusal(resp)
	switch {
	case err.Category == providers.InvalidRecipient:
		named := namedIn(string(said.Message))
		return providers.RefuseSome(r.Recipients, err, func(recipient string) *providers.Error {
			if named[strings.ToLower(recipient)] {
				return err
			}
			return nil
		})
	// Even in Mailgun's own words a 500 does not say that nothing was queued.
	case providers.AmbiguousStatus(resp.Status, false):
		return providers.Fail(r.Recipients, providers.Ambiguous, err)
	}
	return providers.Fail(r.Recipients, providers.Refused, err)
}

// answer is what Mailgun says.
type answer struct {
	ID      lenient `json:"id"`
	Message lenient `json:"message"`
}

// lenient is a string; what is none says nothing.
type lenient string

// UnmarshalJSON never fails.
func (l *lenient) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		*l = lenient(s)
	}
	return nil
}

// readAnswer gives nothing where the body is not in Mailgun's form: a 401 may be
// the bare word Forbidden.
func readAnswer(body []byte) answer {
	var said answer
	if json.Unmarshal(body, &said) != nil {
		return answer{}
	}
	return said
}

func isMagnificent(body []byte) bool {
	return bytes.HasPrefix(bytes.Trim(body, "\" \t\r\n"), []byte(magnificent))
}

// notMailgun is the error of a success that is not the API's.
func notMailgun(category providers.Category, resp providers.Response) *providers.Error {
	return &providers.Error{
		Category:     category,
		ProviderCode: strconv.Itoa(resp.Status),
		Message:      "the answer is not that of Mailgun's Messages API; are base_url and domain right?",
	}
}

// namedIn are the addresses that stand in words, lower-cased.
func namedIn(words string) map[string]bool {
	named := make(map[string]bool)
	for word := range strings.FieldsFuncSeq(strings.ToLower(words), isBetweenAddresses) {
		if word = strings.Trim(word, "'`.:!?"); strings.Contains(word, "@") {
			named[word] = true
		}
	}
	return named
}

func isBetweenAddresses(r rune) bool { return r <= ' ' || strings.ContainsRune(`,;<>"()[]{}`, r) }

// refusal is what a refused request means, whoever its recipients are: the status
// and the words decide, for the API has no codes.
func refusal(resp providers.Response) *providers.Error {
	words := string(readAnswer(resp.Body).Message)
	err := providers.Refusal(resp.Status, words)
	err.Category, err.Local = classify(resp.Status, words, err)
	if err.Category == providers.ConfigurationError && resp.Status == http.StatusNotFound {
		err.Message = providers.Words(err.Message + "; are domain, region and base_url right?")
	}
	err.RetryAfter = retryAfter(resp, err.Category, words)
	return err
}

// classify asks the rules first; by is what the status says.
func classify(status int, words string, by *providers.Error) (category providers.Category, local bool) {
	said := readable(words)
	for _, rule := range rules {
		if rule.matches(status, said) {
			return rule.category, rule.local
		}
	}
	switch status {
	case statusThrottled:
		return providers.RateLimit, false
	case http.StatusPaymentRequired: // said to stand for any failure
		return providers.Classify(http.StatusBadRequest, words), false
	}
	return by.Category, by.Local
}

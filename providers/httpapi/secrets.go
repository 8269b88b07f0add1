package httpapi

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"smtpbridge/providers"
)

const (
	// minSecret is the shortest word that is hidden, in octets: "Bearer" is none.
	minSecret = 8
	// maxProviderID is the most of a provider's id that is kept, in octets.
	maxProviderID = 255

	redacted = "[redacted]"
)

// secrets are what authorising added to a request, longest first. A provider
// that repeats them must not bring them into replies, logs and the API.
type secrets []string

// secretsIn compares a request with what its header was made of before it was
// authorised: the values that came, as a whole and word by word.
func secretsIn(req *http.Request, plain ...http.Header) secrets {
	var found secrets
	for name, values := range req.Header {
		if slices.ContainsFunc(plain, func(h http.Header) bool { return h[name] != nil }) {
			continue
		}
		for _, value := range values {
			found = slices.AppendSeq(append(found, value), strings.FieldsSeq(value))
		}
	}
	if _, password, ok := req.BasicAuth(); ok {
		found = append(found, password)
	}
	found = slices.DeleteFunc(found, func(s string) bool { return len(s) < minSecret })
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return found
}

// clean hides the secrets in what leaves of the results.
func (s secrets) clean(outcome providers.Outcome) {
	for i := range outcome {
		id := s.hide(outcome[i].ProviderID)
		outcome[i].ProviderID = strings.Clone(id[:min(len(id), maxProviderID)])
		if outcome[i].Err != nil {
			outcome[i].Err = s.cleanError(outcome[i].Err)
		}
	}
}

// cleanError is a copy: results may share an error.
func (s secrets) cleanError(err *providers.Error) *providers.Error {
	clean := *err
	clean.Message, clean.ProviderCode = s.hide(err.Message), s.hide(err.ProviderCode)
	return &clean
}

// hide works on decoded text: an escape in JSON would hide a secret from it.
func (s secrets) hide(text string) string {
	for _, secret := range s {
		text = strings.ReplaceAll(text, secret, redacted)
		text = hideTail(text, secret)
	}
	return text
}

// hideTail hides the beginning of a secret that was cut where the text ends.
func hideTail(text, secret string) string {
	for n := min(len(secret), len(text)); n >= minSecret; n-- {
		if strings.HasSuffix(text, secret[:n]) {
			return text[:len(text)-n] + redacted
		}
	}
	return text
}

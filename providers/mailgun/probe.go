package mailgun

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
)

// stateActive is the state of a domain that may send.
const stateActive = "active"

// Probe reads the domain: whether the key is good, the region right, and the
// domain verified.
func (a *Adapter) Probe() providers.Request {
	return providers.Request{
		Method: http.MethodGet,
		URL:    a.url("/v4/domains/", ""),
		Header: http.Header{"Accept": {"application/json"}},
	}
}

// ProbeAgain is for a sending key, which may not read the domain and is refused
// as a wrong key would be. It may send: a mail without sender, recipients and
// body, which nobody can be sent, is refused for what it lacks, a wrong key and
// an unknown domain before that.
func (a *Adapter) ProbeAgain(first providers.Response) (providers.Request, bool) {
	form := httpapi.NewForm()
	form.Field("o:tracking", "no")
	return providers.Request{
		Method: http.MethodPost,
		URL:    a.url("/v3/", "/messages"),
		Header: http.Header{"Content-Type": {form.ContentType()}, "Accept": {"application/json"}},
		Body:   form.Body(),
	}, first.Status == http.StatusUnauthorized || first.Status == http.StatusForbidden
}

// Probed gives nil where the key may send.
func (a *Adapter) Probed(resp providers.Response) *providers.Error {
	if resp.Status == http.StatusBadRequest && isParameterMissing(string(readAnswer(resp.Body).Message)) {
		return nil
	}
	if resp.Status != http.StatusOK {
		if resp.Status < 300 {
			return notMailgun(providers.ConfigurationError, resp)
		}
		return refusal(resp)
	}
	var said struct {
		Domain struct {
			State    lenient `json:"state"`
			Disabled bool    `json:"is_disabled"`
		} `json:"domain"`
	}
	switch err := json.Unmarshal(resp.Body, &said); {
	case err != nil || said.Domain.State == "":
		return notMailgun(providers.ConfigurationError, resp)
	case said.Domain.State != stateActive || said.Domain.Disabled:
		state := string(said.Domain.State)
		if said.Domain.Disabled {
			state = "disabled"
		}
		return &providers.Error{
			Category: providers.ConfigurationError,
			Message:  providers.Words("Mailgun says that the domain is " + state + "; it must be active to send"),
		}
	}
	return nil
}

// isParameterMissing: the answer to the empty mail.
func isParameterMissing(words string) bool {
	said := readable(words)
	return slices.ContainsFunc([]string{"from parameter is missing", "to parameter is missing"}, func(phrase string) bool {
		return indexWord(said, phrase) >= 0
	}) || strings.HasPrefix(said, "need at least one of")
}

package ses

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
)

const (
	suppressionPath = "/v2/email/suppression/addresses"
	// maxEntries of a page (reference, ListSuppressedDestinations, PageSize).
	maxEntries = 1000
	// betweenPages: one request a second (guide, "Service quotas").
	betweenPages = 1100 * time.Millisecond
)

// errNoList says that an answer is no page.
var errNoList = errors.New("the answer is not that of SES; is base_url right?")

// Lister reads the suppression list of one account in one region. Unsubscribes are
// on contact lists, which suppress nothing by themselves.
type Lister struct {
	config Config
	base   string
	api    *httpapi.Provider
	pause  time.Duration
}

// NewLister makes the lister of one account.
func NewLister(c Config, transport http.RoundTripper) *Lister {
	a := New(c)
	return &Lister{config: c, base: a.base, api: httpapi.New(c.Config, a, transport), pause: betweenPages}
}

// Suppressions gives the list.
func (l *Lister) Suppressions(ctx context.Context) iter.Seq2[events.Suppression, error] {
	return httpapi.Entries(ctx, l.api, httpapi.List[events.Suppression]{
		Name:       "the suppression list of SES in " + l.config.Region,
		Permission: "ses:ListSuppressedDestinations",
		Request:    l.page,
		Refusal: func(resp providers.Response) *providers.Error {
			if resp.Status == http.StatusOK {
				return nil
			}
			refusal, _ := readFailure(resp).refusal(resp)
			return refusal
		},
		Read:  l.read,
		Pause: l.pause,
	})
}

func (l *Lister) page(token string) providers.Request {
	query := url.Values{"PageSize": {strconv.Itoa(maxEntries)}}
	if token != "" {
		query.Set("NextToken", token)
	}
	return providers.Request{Method: http.MethodGet, URL: l.base + suppressionPath + "?" + query.Encode()}
}

func (l *Lister) read(_ string, resp providers.Response) ([]events.Suppression, string, error) {
	var page struct {
		Summaries []struct {
			EmailAddress   events.Text `json:"EmailAddress"`
			Reason         events.Text `json:"Reason"`
			LastUpdateTime events.Text `json:"LastUpdateTime"`
		} `json:"SuppressedDestinationSummaries"`
		NextToken string `json:"NextToken"`
	}
	if json.Unmarshal(resp.Body, &page) != nil || page.Summaries == nil {
		return nil, "", errNoList
	}
	found := make([]events.Suppression, 0, len(page.Summaries))
	for _, summary := range page.Summaries {
		s := events.Suppression{
			Address: events.Address(string(summary.EmailAddress)), Reason: suppressedFor(string(summary.Reason)), Provider: l.config.Name,
			Detail: providers.Words(string(summary.Reason)), Since: events.UnixTime(string(summary.LastUpdateTime)),
		}
		if s.Validate() == nil { // else nobody can be mailed there
			found = append(found, s)
		}
	}
	return found, page.NextToken, nil
}

// suppressedFor: there are two reasons; for which ever, SES does not mail the address.
func suppressedFor(word string) events.Reason {
	switch word {
	case "BOUNCE":
		return events.HardBounce
	case "COMPLAINT":
		return events.Complaint
	}
	return events.Manual
}

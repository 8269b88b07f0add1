package ses

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
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
			EmailAddress   string      `json:"EmailAddress"`
			Reason         string      `json:"Reason"`
			LastUpdateTime epochSecond `json:"LastUpdateTime"`
		} `json:"SuppressedDestinationSummaries"`
		NextToken string `json:"NextToken"`
	}
	if json.Unmarshal(resp.Body, &page) != nil || page.Summaries == nil {
		return nil, "", errNoList
	}
	found := make([]events.Suppression, 0, len(page.Summaries))
	for _, summary := range page.Summaries {
		if !strings.Contains(summary.EmailAddress, "@") {
			continue // nobody can be mailed there
		}
		found = append(found, events.Suppression{
			Address: events.Address(summary.EmailAddress), Reason: suppressedFor(summary.Reason), Provider: l.config.Name,
			Detail: providers.Words(summary.Reason), Since: time.Time(summary.LastUpdateTime),
		})
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

// epochSecond is Unix time in seconds, with or without a fraction; zero where it is
// none.
type epochSecond time.Time

// UnmarshalJSON never fails: an address is suppressed whenever that was.
func (e *epochSecond) UnmarshalJSON(raw []byte) error {
	if seconds, err := strconv.ParseFloat(string(raw), 64); err == nil && seconds > 0 && seconds < math.MaxInt32*4 {
		*e = epochSecond(time.UnixMilli(int64(seconds * 1000)).UTC())
	}
	return nil
}

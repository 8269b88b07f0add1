package smtp2go

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
)

const (
	suppressionPath = "/suppression/view"
	// firstDay is long before anything was suppressed: without a date the list is
	// that of the last 30 days (manual, "View suppressions").
	firstDay = "2000-01-01T00:00:00Z"
)

// errNoList says that an answer is no page.
var errNoList = errors.New("the answer is not SMTP2GO's; is base_url right?")

// Lister reads the suppression list of one account. Whole domains on it are left
// out: they are no addresses.
type Lister struct {
	name string
	api  *httpapi.Provider
}

// NewLister makes the lister of one account.
func NewLister(c Config, transport http.RoundTripper) *Lister {
	return &Lister{name: c.Name, api: httpapi.New(c.Config, New(c), transport)}
}

// Suppressions gives the list.
func (l *Lister) Suppressions(ctx context.Context) iter.Seq2[events.Suppression, error] {
	end := time.Now().UTC().AddDate(0, 0, 1).Format(time.RFC3339)
	return httpapi.Entries(ctx, l.api, httpapi.List[events.Suppression]{
		Name:       "SMTP2GO's suppression list",
		Permission: "the permission " + suppressionPath,
		Request:    func(token string) providers.Request { return page(token, end) },
		Refusal: func(resp providers.Response) *providers.Error {
			said := readAnswer(resp.Body)
			if resp.Status == http.StatusOK && !said.complains() {
				return nil
			}
			refusal, _ := said.refusal(resp)
			return refusal
		},
		Read: l.read,
	})
}

// page asks for the same list each time: its end does not move.
func page(token, end string) providers.Request {
	var question httpapi.JSON
	question.Object(func() {
		for _, field := range [...][2]string{{"start_date", firstDay}, {"end_date", end}, {"sort", "asc"}, {"continue_token", token}} {
			if field[1] != "" {
				question.Key(field[0])
				question.String(field[1])
			}
		}
	})
	return request(suppressionPath, question.Body(), nil)
}

// entry is one of the list.
type entry struct {
	EmailAddress string `json:"email_address"`
	Reason       string `json:"reason"`
	Description  string `json:"block_description"`
	Complaint    string `json:"complaint"`
	Timestamp    string `json:"timestamp"`
}

func (l *Lister) read(_ string, resp providers.Response) ([]events.Suppression, string, error) {
	var list struct {
		Data struct {
			Results []entry         `json:"results"`
			Next    json.RawMessage `json:"continue_token"`
		} `json:"data"`
	}
	var next string // null where there is none
	if json.Unmarshal(resp.Body, &list) != nil || list.Data.Results == nil || given(list.Data.Next) && json.Unmarshal(list.Data.Next, &next) != nil {
		return nil, "", errNoList
	}
	found := make([]events.Suppression, 0, len(list.Data.Results))
	for _, e := range list.Data.Results {
		if !strings.Contains(e.EmailAddress, "@") {
			continue
		}
		found = append(found, events.Suppression{
			Address: events.Address(e.EmailAddress), Reason: reasonOf(e.Reason), Provider: l.name,
			Detail: providers.Words(cmp.Or(e.Description, e.Complaint)), Since: readTime(e.Timestamp),
		})
	}
	return found, next, nil
}

// reasonOf: compliance is the provider's own decision; what it calls otherwise it
// does not mail either.
func reasonOf(word string) events.Reason {
	switch strings.ToLower(word) {
	case "bounce":
		return events.HardBounce
	case "spam":
		return events.Complaint
	case "unsubscribe":
		return events.Unsubscribe
	}
	return events.Manual
}

// readTime reads both forms of the API, in UTC; zero where it is neither: the
// address is suppressed all the same.
func readTime(text string) time.Time {
	for _, layout := range [...]string{time.DateTime, "2006-01-02 15:04:05.999999999Z07:00", time.RFC3339Nano} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC()
		}
	}
	return time.Time{}
}

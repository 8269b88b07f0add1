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
	EmailAddress events.Text `json:"email_address"`
	Reason       events.Text `json:"reason"`
	Description  events.Text `json:"block_description"`
	Complaint    events.Text `json:"complaint"`
	Timestamp    events.Text `json:"timestamp"`
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
		s := events.Suppression{
			Address: events.Address(string(e.EmailAddress)), Reason: reasonOf(string(e.Reason)), Provider: l.name,
			Detail: providers.Words(string(cmp.Or(e.Description, e.Complaint))), Since: events.Time(string(e.Timestamp)),
		}
		if s.Validate() == nil { // else nobody can be mailed there
			found = append(found, s)
		}
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

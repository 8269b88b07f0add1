package sendgrid

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strconv"

	"smtpbridge/events"
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
)

const (
	listsURL = "https://api.sendgrid.com/v3"
	// maxEntries of a page (manual, "Suppressions", limit).
	maxEntries = 500
)

// errNoList says that an answer is no page.
var errNoList = errors.New("the answer is not SendGrid's; is base_url right?")

// Lister reads the suppression lists of one account. What is on the list of blocks
// is mailed again, so it is no suppression.
type Lister struct {
	name string
	api  *httpapi.Provider
}

// NewLister makes the lister of one account.
func NewLister(c Config, transport http.RoundTripper) *Lister {
	return &Lister{name: c.Name, api: httpapi.New(c.Config, New(c), transport)}
}

// Suppressions gives all lists, one after another.
func (l *Lister) Suppressions(ctx context.Context) iter.Seq2[events.Suppression, error] {
	return httpapi.Entries(ctx, l.api,
		l.list("bounces", "suppression.bounces.read", "/suppression/bounces", events.HardBounce),
		l.list("invalid addresses", "suppression.invalid_emails.read", "/suppression/invalid_emails", events.HardBounce),
		l.list("spam reports", "suppression.spam_reports.read", "/suppression/spam_reports", events.Complaint),
		l.list("global unsubscribes", "suppression.unsubscribes.read", "/suppression/unsubscribes", events.Unsubscribe),
		l.groups(),
	)
}

// list is one that has pages, of which the last is not full.
func (l *Lister) list(name, scope, path string, reason events.Reason) httpapi.List[events.Suppression] {
	return httpapi.List[events.Suppression]{
		Name: "SendGrid's list of " + name, Permission: "the scope " + scope, Refusal: listRefusal,
		Request: func(cursor string) providers.Request {
			return get(listsURL + path + "?limit=" + strconv.Itoa(maxEntries) + "&offset=" + strconv.Itoa(offset(cursor)))
		},
		Read: func(cursor string, resp providers.Response) (found []events.Suppression, next string, err error) {
			entries, err := readEntries(resp)
			if len(entries) == maxEntries {
				next = strconv.Itoa(offset(cursor) + maxEntries)
			}
			return l.suppressions(entries, reason), next, err
		},
	}
}

// groups is the list of all unsubscribe groups, which has no pages (manual,
// "Retrieve all suppressions").
func (l *Lister) groups() httpapi.List[events.Suppression] {
	return httpapi.List[events.Suppression]{
		Name: "SendGrid's list of group unsubscribes", Permission: "the scope asm.groups.suppressions.read", Refusal: listRefusal,
		Request: func(string) providers.Request { return get(listsURL + "/asm/suppressions") },
		Read: func(_ string, resp providers.Response) ([]events.Suppression, string, error) {
			entries, err := readEntries(resp)
			return l.suppressions(entries, events.Unsubscribe), "", err
		},
	}
}

func get(url string) providers.Request {
	return providers.Request{Method: http.MethodGet, URL: url, Header: http.Header{"Accept": {"application/json"}}}
}

func listRefusal(resp providers.Response) *providers.Error {
	if resp.Status == http.StatusOK {
		return nil
	}
	return refusal(resp)
}

// offset of a cursor is of our own making.
func offset(cursor string) int {
	n, err := strconv.Atoi(cursor)
	if err != nil {
		return 0 // the first page
	}
	return n
}

// entry is one of any list; those of groups have the last three.
type entry struct {
	Created   events.Text `json:"created"`
	Email     events.Text `json:"email"`
	Reason    events.Text `json:"reason"`
	Status    events.Text `json:"status"`
	CreatedAt events.Text `json:"created_at"`
	GroupID   events.Text `json:"group_id"`
	GroupName events.Text `json:"group_name"`
}

func readEntries(resp providers.Response) ([]entry, error) {
	var entries []entry
	if json.Unmarshal(resp.Body, &entries) != nil || entries == nil {
		return nil, errNoList
	}
	return entries, nil
}

func (l *Lister) suppressions(entries []entry, reason events.Reason) []events.Suppression {
	found := make([]events.Suppression, 0, len(entries))
	for _, e := range entries {
		s := events.Suppression{
			Address: events.Address(string(e.Email)), Reason: reason, Provider: l.name,
			Detail: providers.Words(string(e.Status + " " + e.Reason)), Since: events.UnixTime(string(e.Created)),
		}
		if e.GroupID != "" {
			s.Scope, s.Detail, s.Since = "group:"+string(e.GroupID), providers.Words(string(e.GroupName)), events.UnixTime(string(e.CreatedAt))
		}
		if s.Validate() == nil { // else nobody can be mailed there
			found = append(found, s)
		}
	}
	return found
}

package mailgun

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/mail"
	"net/url"
	"strconv"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
)

const (
	// maxEntries of a page (manual, "Suppressions", limit).
	maxEntries = 1000
	// wholeDomain is the tag of who left every list of the domain.
	wholeDomain = "*"
)

var (
	errNoList = errors.New("the answer is not Mailgun's; are base_url and domain right?")
	errAway   = errors.New("its next page is not at Mailgun")
)

// Lister reads the suppression lists of one domain.
type Lister struct {
	config  Config
	adapter *Adapter
	api     *httpapi.Provider
}

// NewLister makes the lister of one domain. A sending key may not read its lists.
func NewLister(c Config, transport http.RoundTripper) *Lister {
	a := New(c)
	return &Lister{config: c, adapter: a, api: httpapi.New(c.Config, a, transport)}
}

// Suppressions gives all lists, one after another.
func (l *Lister) Suppressions(ctx context.Context) iter.Seq2[events.Suppression, error] {
	return httpapi.Entries(ctx, l.api,
		l.list("bounces", events.HardBounce), l.list("complaints", events.Complaint), l.list("unsubscribes", events.Unsubscribe))
}

// list gives the URL of its next page as long as a page is not empty.
func (l *Lister) list(name string, reason events.Reason) httpapi.List[events.Suppression] {
	first := l.adapter.url("/v3/", "/"+name) + "?limit=" + strconv.Itoa(maxEntries)
	return httpapi.List[events.Suppression]{
		Name: "Mailgun's list of " + name, Permission: "to be a key of the account, not a sending key",
		Request: func(cursor string) providers.Request {
			return providers.Request{Method: http.MethodGet, URL: cmp.Or(cursor, first), Header: http.Header{"Accept": {"application/json"}}}
		},
		Refusal: func(resp providers.Response) *providers.Error {
			if resp.Status == http.StatusOK {
				return nil
			}
			return refusal(resp)
		},
		Read: func(_ string, resp providers.Response) ([]events.Suppression, string, error) {
			var page struct {
				Items  []entry `json:"items"`
				Paging struct {
					Next string `json:"next"`
				} `json:"paging"`
			}
			switch {
			case json.Unmarshal(resp.Body, &page) != nil || page.Items == nil:
				return nil, "", errNoList
			case len(page.Items) == 0 || page.Paging.Next == "":
				return l.suppressions(page.Items, reason), "", nil
			case !l.isOwn(page.Paging.Next):
				return nil, "", errAway
			}
			return l.suppressions(page.Items, reason), page.Paging.Next, nil
		},
	}
}

// isOwn: the key goes nowhere but to Mailgun, or to what stands in its place.
func (l *Lister) isOwn(page string) bool {
	target, err := url.Parse(page)
	if err != nil || target.User != nil {
		return false
	}
	endpoint := target.Scheme + "://" + target.Host
	return strings.HasPrefix(l.adapter.url("/", ""), endpoint+"/") || endpoint == strings.TrimSuffix(l.config.BaseURL, "/")
}

// entry is one of any list; an unsubscribe has tags, in older answers one.
type entry struct {
	Address events.Text   `json:"address"`
	Code    events.Text   `json:"code"`
	Error   events.Text   `json:"error"`
	Tags    []events.Text `json:"tags"`
	Tag     events.Text   `json:"tag"`
	Created events.Text   `json:"created_at"`
}

// suppressions: an address that left several tags is suppressed for each.
func (l *Lister) suppressions(entries []entry, reason events.Reason) []events.Suppression {
	found := make([]events.Suppression, 0, len(entries))
	for _, e := range entries {
		for _, scope := range e.scopes(reason) {
			s := events.Suppression{
				Address: events.Address(string(e.Address)), Scope: scope, Reason: reason, Provider: l.config.Name,
				Detail: providers.Words(string(e.Code + " " + e.Error)), Since: e.since(),
			}
			if s.Validate() == nil { // else nobody can be mailed there
				found = append(found, s)
			}
		}
	}
	return found
}

// scopes are empty for all mail, which is so too where no tag is said.
func (e entry) scopes(reason events.Reason) []string {
	tags := e.Tags
	if len(tags) == 0 {
		tags = []events.Text{cmp.Or(e.Tag, wholeDomain)}
	}
	var scopes []string
	for _, tag := range tags {
		if reason != events.Unsubscribe || tag == wholeDomain || tag == "" {
			return []string{""}
		}
		scopes = append(scopes, "tag:"+string(tag))
	}
	return scopes
}

// since is zero where it cannot be read: the address is suppressed all the same.
func (e entry) since() time.Time {
	at, err := mail.ParseDate(string(e.Created))
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

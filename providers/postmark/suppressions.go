package postmark

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
)

const (
	streamsURL = "https://api.postmarkapp.com/message-streams"
	// maxStreams of a server are ten (manual, "Message streams API"); archived ones
	// count on.
	maxStreams = 100
	// firstDay is before Postmark was.
	firstDay = "2008-01-01"
)

var (
	errNoList  = errors.New("the answer is not Postmark's; is base_url right?")
	errStreams = errors.New("the server has more than 100 message streams")
	errOneDay  = errors.New("that of a single day is longer than 8 MiB, or breaks off")
)

// Lister reads the suppression lists of one server: each of its message streams
// has one.
type Lister struct {
	name string
	api  *httpapi.Provider
}

// NewLister makes the lister of one server.
func NewLister(c Config, transport http.RoundTripper) *Lister {
	return &Lister{name: c.Name, api: httpapi.New(c.Config, New(c), transport)}
}

// Suppressions gives the lists of all streams, one after another.
func (l *Lister) Suppressions(ctx context.Context) iter.Seq2[events.Suppression, error] {
	return func(yield func(events.Suppression, error) bool) {
		var lists []httpapi.List[events.Suppression]
		for stream, err := range httpapi.Entries(ctx, l.api, streams()) {
			if err != nil {
				yield(events.Suppression{}, err)
				return
			}
			lists = append(lists, l.dump(stream, time.Now()))
		}
		httpapi.Entries(ctx, l.api, lists...)(yield)
	}
}

func get(url string) providers.Request {
	return providers.Request{Method: http.MethodGet, URL: url, Header: http.Header{"Accept": {"application/json"}}}
}

func listRefusal(resp providers.Response) *providers.Error {
	if resp.Status != http.StatusOK {
		return readAnswer(resp.Body).refusal(resp)
	}
	return nil
}

// permission: an account's token reads no streams.
const permission = "the API token of the server"

// streams are those that send.
func streams() httpapi.List[string] {
	return httpapi.List[string]{
		Name: "Postmark's message streams", Permission: permission, Refusal: listRefusal,
		Request: func(string) providers.Request { return get(streamsURL + "?MessageStreamType=All") },
		Read: func(_ string, resp providers.Response) (ids []string, next string, err error) {
			var page struct {
				MessageStreams []struct {
					ID   string `json:"ID"`
					Type string `json:"MessageStreamType"`
				} `json:"MessageStreams"`
			}
			if json.Unmarshal(resp.Body, &page) != nil || page.MessageStreams == nil {
				return nil, "", errNoList
			}
			for _, stream := range page.MessageStreams {
				if isStream(stream.ID) && !strings.EqualFold(stream.Type, "inbound") {
					ids = append(ids, stream.ID)
				}
			}
			if len(ids) > maxStreams {
				return nil, "", errStreams
			}
			return ids, "", nil
		},
	}
}

// dump is the list of one stream. It has no pages: what is too long is asked for
// again in two halves of its time.
func (l *Lister) dump(stream string, now time.Time) httpapi.List[events.Suppression] {
	return httpapi.List[events.Suppression]{
		Name: "Postmark's suppression list of the stream " + stream, Permission: permission, Refusal: listRefusal, Divides: true,
		Request: func(cursor string) providers.Request {
			query := url.Values{}
			if first, _, found := cutSpan(cursor); found {
				query.Set("fromdate", first.from.Format(time.DateOnly))
				query.Set("todate", first.to.Format(time.DateOnly))
			}
			return get(streamsURL + "/" + url.PathEscape(stream) + "/suppressions/dump?" + query.Encode())
		},
		Read: func(cursor string, resp providers.Response) ([]events.Suppression, string, error) {
			first, rest, found := cutSpan(cursor)
			if !found {
				first = everything(now)
			}
			if resp.Truncated {
				halves, err := first.halves()
				return nil, strings.TrimSpace(halves + " " + rest), err
			}
			suppressions, err := l.read(stream, resp)
			return suppressions, rest, err
		},
	}
}

func (l *Lister) read(stream string, resp providers.Response) ([]events.Suppression, error) {
	var page struct {
		Suppressions []entry `json:"Suppressions"`
	}
	if json.Unmarshal(resp.Body, &page) != nil || page.Suppressions == nil {
		return nil, errNoList
	}
	found := make([]events.Suppression, 0, len(page.Suppressions))
	for _, e := range page.Suppressions {
		if s := e.suppression(l.name, stream); s.Validate() == nil { // else nobody can be mailed there
			found = append(found, s)
		}
	}
	return found, nil
}

// entry is one of a list.
type entry struct {
	EmailAddress      events.Text `json:"EmailAddress"`
	SuppressionReason events.Text `json:"SuppressionReason"`
	Origin            events.Text `json:"Origin"`
	CreatedAt         events.Text `json:"CreatedAt"`
}

// suppression: who bounces or complains is mailed by no stream; who left one may
// want another.
func (e entry) suppression(provider, stream string) events.Suppression {
	s := events.Suppression{
		Address: events.Address(string(e.EmailAddress)), Scope: scopeOfStream + stream, Reason: events.Manual, Provider: provider,
		Detail: providers.Words(string(e.SuppressionReason + " by " + e.Origin)), Since: events.Time(string(e.CreatedAt)),
	}
	switch {
	case e.SuppressionReason == "HardBounce":
		s.Reason, s.Scope = events.HardBounce, ""
	case e.SuppressionReason == "SpamComplaint":
		s.Reason, s.Scope = events.Complaint, ""
	case e.Origin == "Recipient":
		s.Reason = events.Unsubscribe
	}
	return s
}

// span is a time of whole days, both of which count. A cursor is the spans that are
// left, "2008-01-01/2017-06-30 2017-07-01/2026-12-31".
type span struct{ from, to time.Time }

// everything ends when it is tomorrow everywhere.
func everything(now time.Time) span {
	from, _ := time.Parse(time.DateOnly, firstDay)
	return span{from, now.UTC().AddDate(0, 0, 1).Truncate(24 * time.Hour)}
}

func cutSpan(cursor string) (first span, rest string, found bool) {
	text, rest, _ := strings.Cut(cursor, " ")
	from, to, _ := strings.Cut(text, "/")
	var err, bad error
	first.from, err = time.Parse(time.DateOnly, from)
	first.to, bad = time.Parse(time.DateOnly, to)
	return first, rest, err == nil && bad == nil
}

func (s span) halves() (string, error) {
	days := int(s.to.Sub(s.from).Hours() / 24)
	if days < 1 {
		return "", errOneDay
	}
	middle := s.from.AddDate(0, 0, days/2)
	return s.from.Format(time.DateOnly) + "/" + middle.Format(time.DateOnly) + " " +
		middle.AddDate(0, 0, 1).Format(time.DateOnly) + "/" + s.to.Format(time.DateOnly), nil
}

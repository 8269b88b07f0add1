package mailgun

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"smtpbridge/providers"
)

const (
	// eventsLag: the manual calls a page of events trustworthy whose latest one is
	// older than half an hour ("Events", polling); twice that.
	eventsLag = time.Hour
	// eventsKept: on the smallest plan events are gone after a day, and then nothing
	// is proven by their absence.
	eventsKept = 23 * time.Hour
	// maxEvents of a page: the limit was 100 once and is 300 now; who was given
	// fewer than asked for must know that there are no more.
	maxEvents = 100
	// eventsBefore is how far the clocks of Mailgun and the bridge may differ.
	eventsBefore = time.Hour
	// takenEvents are those of a message that was taken; those of its readers would
	// fill the page.
	takenEvents = "accepted OR rejected OR delivered OR failed"
)

// Find asks for the events of the Message-ID that the mail kept when it was sent.
// Of a mail without one, to which Mailgun gave its own, events may be found by
// the recipient.
func (a *Adapter) Find(s providers.Sent) providers.Request {
	query := url.Values{
		"event":     {takenEvents},
		"begin":     {strconv.FormatInt(s.Time.Add(-eventsBefore).Unix(), 10)},
		"ascending": {"yes"},
		"limit":     {strconv.Itoa(maxEvents)},
	}
	if id := searchable(s.MessageID); id != "" {
		query.Set("message-id", id)
	} else if len(s.Recipients) == 1 {
		query.Set("recipient", s.Recipients[0])
	}
	return providers.Request{
		Method: http.MethodGet,
		URL:    a.url("/v3/", "/events") + "?" + query.Encode(),
		Header: http.Header{"Accept": {"application/json"}},
	}
}

// Found reads the events. A sending key may not read them, as it is told by 401 or
// 403: then nothing is known. Every page names a next one, so that a page is the
// last only if it is not full.
func (a *Adapter) Found(s providers.Sent, resp providers.Response) []providers.Result {
	var page struct {
		Items []logEntry `json:"items"`
	}
	if resp.Status != http.StatusOK || resp.Truncated {
		return s.Unknown("Mailgun does not say what became of it: " + refusal(resp).Error())
	}
	if json.Unmarshal(resp.Body, &page) != nil || page.Items == nil {
		return s.Unknown(notMailgun(providers.ConfigurationError, resp).Message)
	}
	traces := make([]providers.Trace, len(page.Items))
	for i, e := range page.Items {
		traces[i] = e.trace()
	}
	complete := searchable(s.MessageID) != "" && len(page.Items) < maxEvents &&
		s.Settled(resp, eventsLag) && resp.Time.Sub(s.Time) < eventsKept
	return s.Traced(traces, complete)
}

// logEntry is one of the log (manual, "Events", Event Structure).
type logEntry struct {
	Recipient lenient         `json:"recipient"`
	Variables loggedVariables `json:"user-variables"`
	Message   struct {
		Headers struct {
			MessageID lenient `json:"message-id"`
		} `json:"headers"`
	} `json:"message"`
}

// trace of one that is rejected names no recipient.
func (e logEntry) trace() providers.Trace {
	t := providers.Trace{BridgeID: string(e.Variables[providers.BridgeIDKey]), ProviderID: string(e.Message.Headers.MessageID)}
	if e.Recipient != "" {
		t.Recipients = []string{string(e.Recipient)}
	}
	return t
}

// loggedVariables are an object; where there are none an empty array, and where they
// were cut a string.
type loggedVariables map[string]lenient

// UnmarshalJSON never fails.
func (v *loggedVariables) UnmarshalJSON(raw []byte) error {
	var object map[string]lenient
	if json.Unmarshal(raw, &object) == nil {
		*v = object
	}
	return nil
}

// searchable is a Message-ID as events have it, without brackets; empty where a
// search might read it as an expression, or Mailgun have written another.
func searchable(messageID string) string {
	id, opened := strings.CutPrefix(messageID, "<")
	id, closed := strings.CutSuffix(id, ">")
	local, domain, found := strings.Cut(id, "@")
	if !opened || !closed || !found || !isWord(local) || !isWord(domain) {
		return ""
	}
	return id
}

// isWord: the atoms of an id (RFC 5322, 3.6.4) that mean nothing in a filter.
func isWord(s string) bool {
	return s != "" && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.+=$", r)
	})
}

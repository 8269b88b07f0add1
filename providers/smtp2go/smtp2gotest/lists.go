package smtp2gotest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The endpoints that only read.
const (
	SearchPath      = "/v3/activity/search"
	SuppressionPath = "/v3/suppression/view"
)

// maxOther is the limit of a request to other paths than /v3/email*, in octets.
const maxOther = 1_000_000

// Suppression is an entry of the list.
type Suppression struct {
	EmailAddress     string  `json:"email_address"`
	Reason           string  `json:"reason"`
	BlockDescription string  `json:"block_description"`
	Complaint        string  `json:"complaint"`
	Subject          *string `json:"subject"`
	Timestamp        string  `json:"timestamp"`
}

// Suppress puts entries on the list; a page has so many of them.
func (f *Fake) Suppress(pageSize int, entries ...Suppression) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pageSize, f.suppressed = pageSize, append(f.suppressed, entries...)
}

// Stick makes every page of the list the first one.
func (f *Fake) Stick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stuck = true
}

// read answers a search; not ok where the path is none.
func (f *Fake) read(path string, body []byte) (data any, wrong *complaint, ok bool) {
	var err error
	switch {
	case path != SearchPath && path != SuppressionPath:
		return nil, nil, false
	case len(body) > maxOther:
		return nil, &complaint{text: "the payload is too large"}, true
	case path == SearchPath:
		data, err = f.search(body)
	default:
		data, err = f.view(body)
	}
	if err != nil {
		return nil, &complaint{code: "NON_VALIDATING_IN_PAYLOAD", text: err.Error()}, true
	}
	return data, nil, true
}

// search finds what became of mails (manual, "Search activity").
func (f *Fake) search(body []byte) (any, error) {
	var asked struct {
		StartDate string   `json:"start_date"`
		Recipient string   `json:"search_recipient"`
		Types     []string `json:"event_types"`
		Headers   []string `json:"custom_headers"`
		Limit     int      `json:"limit"`
	}
	if err := decode(body, &asked); err != nil {
		return nil, err
	}
	c := &checks{}
	since, err := time.Parse(time.RFC3339, asked.StartDate)
	c.when(err != nil, "start_date", "no date")
	c.when(asked.Limit < 1 || asked.Limit > 1000, "limit", "1 to 1000")
	for _, name := range asked.Types {
		known := []string{"processed", "soft-bounced", "hard-bounced", "rejected", "spam", "delivered", "unsubscribed", "resubscribed", "opened", "clicked"}
		c.when(!slices.Contains(known, name), "event_types", name)
	}
	if err := c.first(); err != nil {
		return nil, err
	}
	events := []any{}
	for _, mail := range f.Taken() {
		for _, recipient := range mail.Recipients() {
			if mail.Schedule == "" && !mail.Time.Before(since) && strings.Contains(recipient, asked.Recipient) {
				events = append(events, eventOf(mail, recipient, asked.Headers))
			}
		}
	}
	total := len(events)
	page := map[string]any{"events": events[:min(total, asked.Limit)], "total_events": total, "continue_token": nil}
	if total > asked.Limit {
		page["continue_token"] = "more"
	}
	return page, nil
}

func eventOf(mail Mail, recipient string, headers []string) map[string]any {
	custom := make(map[string]string)
	for _, name := range headers {
		if value := mail.Header(name); value != "" {
			custom[name] = value
		}
	}
	return map[string]any{
		"event": "processed", "email_id": mail.ID, "date": mail.Time.UTC().Format(time.RFC3339), "recipient": recipient,
		"recipients": mail.Recipients(), "custom_headers": custom, "subject": mail.Subject,
	}
}

// view gives a page of the suppression list; without dates the last 30 days.
func (f *Fake) view(body []byte) (any, error) {
	var asked struct {
		Start string `json:"start_date"`
		End   string `json:"end_date"`
		Token string `json:"continue_token"`
		Sort  string `json:"sort"`
	}
	if err := decode(body, &asked); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	entries := slices.DeleteFunc(slices.Clone(f.suppressed), func(s Suppression) bool {
		return dated(s.Timestamp) && (s.Timestamp < asked.Start || s.Timestamp > asked.End)
	})
	from, err := strconv.Atoi(asked.Token)
	if err != nil || f.stuck {
		from = 0
	}
	size := f.pageSize
	if size == 0 {
		size = len(entries)
	}
	end := min(from+size, len(entries))
	page := map[string]any{"results": append([]Suppression{}, entries[min(from, end):end]...), "total_results": len(entries), "continue_token": nil}
	if end < len(entries) {
		page["continue_token"] = strconv.Itoa(end)
	}
	return page, nil
}

func dated(timestamp string) bool { return strings.HasPrefix(timestamp, "20") }

// isRead: the paths whose answers are made of what the fake keeps.
func isRead(r *http.Request) bool { return r.URL.Path == SearchPath || r.URL.Path == SuppressionPath }

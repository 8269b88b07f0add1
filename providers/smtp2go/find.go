package smtp2go

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
)

const (
	searchPath = "/activity/search"
	// searchLag: "up to two minutes" behind (manual, "Search activity"); but a new
	// account's mails wait for its hourly allowance before anything is seen of them.
	searchLag = time.Hour
	// searchBefore is how far the clocks of SMTP2GO and the bridge may differ.
	searchBefore = 15 * time.Minute
	// maxActivity: 1,000 are allowed; as many as fit an answer of 1 MiB.
	maxActivity = 500
)

// takenActivity are the events of a mail that was taken; those of its readers
// would fill the page.
var takenActivity = [...]string{"processed", "delivered", "rejected", "soft-bounced", "hard-bounced"}

// Find asks for what was done since the message came, with the header that has
// the bridge id. The search itself does not read headers, so all of it comes, but
// for a single recipient.
func (a *Adapter) Find(s providers.Sent) providers.Request {
	var question httpapi.JSON
	question.Object(func() {
		question.Key("start_date")
		question.String(s.Time.Add(-searchBefore).UTC().Format(time.RFC3339))
		if len(s.Recipients) == 1 && isSearchable(s.Recipients[0]) {
			question.Key("search_recipient")
			question.String(s.Recipients[0])
		}
		question.Key("event_types")
		question.Array(func() {
			for _, name := range takenActivity {
				question.String(name)
			}
		})
		question.Key("custom_headers")
		question.Array(func() { question.String(bridgeHeader) })
		question.Key("limit")
		question.Int(maxActivity)
	})
	return request(searchPath, question.Body(), nil)
}

// isSearchable: in whatever form SMTP2GO keeps and compares addresses, it has this one.
func isSearchable(address string) bool {
	return !strings.ContainsFunc(address, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("@.-_+", r)
	})
}

// Found looks for the bridge id among the events. A key without permission to
// search is told so by 400: then nothing is known.
func (a *Adapter) Found(s providers.Sent, resp providers.Response) []providers.Result {
	if said := readAnswer(resp.Body); resp.Status != http.StatusOK || resp.Truncated || said.complains() {
		refusal, _ := said.refusal(resp)
		return s.Unknown("SMTP2GO does not say what became of it: " + refusal.Error())
	}
	var page struct {
		Data struct {
			Events []activity      `json:"events"`
			Total  *int            `json:"total_events"`
			Next   json.RawMessage `json:"continue_token"`
		} `json:"data"`
	}
	if json.Unmarshal(resp.Body, &page) != nil || page.Data.Events == nil || page.Data.Total == nil {
		return s.Unknown("the answer is not SMTP2GO's; is base_url right?")
	}
	events := page.Data.Events
	traces := make([]providers.Trace, len(events))
	for i, e := range events {
		traces[i] = e.trace()
	}
	more := given(page.Data.Next) && string(page.Data.Next) != `""`
	return s.Traced(traces, !more && *page.Data.Total == len(events) && len(events) < maxActivity && s.Settled(resp, searchLag))
}

// activity is an event of the search, as it came.
type activity struct {
	EmailID    json.RawMessage `json:"email_id"`
	Recipient  json.RawMessage `json:"recipient"`
	Recipients json.RawMessage `json:"recipients"`
	Headers    json.RawMessage `json:"custom_headers"`
}

// trace of a mail that was only processed has all recipients. In what case the
// name of the header comes back is not documented.
func (e activity) trace() providers.Trace {
	t := providers.Trace{ProviderID: readID(e.EmailID)}
	var headers map[string]json.RawMessage
	if json.Unmarshal(e.Headers, &headers) == nil {
		for name, value := range headers {
			if strings.EqualFold(name, bridgeHeader) {
				t.BridgeID = readID(value)
			}
		}
	}
	for _, recipient := range append(readTexts(e.Recipients, maxRecipients), readTexts(e.Recipient, 1)...) {
		t.Recipients = append(t.Recipients, bare(recipient))
	}
	return t
}

package postmark

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"smtpbridge/providers"
)

const (
	searchURL = "https://api.postmarkapp.com/messages/outbound"
	// maxFound messages of one page (manual, "Messages API", count).
	maxFound = 500
	// searchLag: what was sent is found within a minute; ten times that.
	searchLag = 10 * time.Minute
	// defaultStream is the one of a mail that names none.
	defaultStream = "outbound"
)

// Find searches by the bridge id in the metadata. Without a stream the search is
// that of the default stream.
func (a *Adapter) Find(s providers.Sent) providers.Request {
	query := url.Values{
		"count":                             {strconv.Itoa(maxFound)},
		"offset":                            {"0"},
		"messagestream":                     {a.streamOf(s)},
		"metadata_" + providers.BridgeIDKey: {s.BridgeID},
	}
	return providers.Request{
		Method: http.MethodGet,
		URL:    searchURL + "?" + query.Encode(),
		Header: http.Header{"Accept": {"application/json"}},
	}
}

func (a *Adapter) streamOf(s providers.Sent) string {
	chosen, _ := readOptions(s.Options)
	return cmp.Or(chosen.stream, a.config.MessageStream, defaultStream)
}

// Found reads the messages of the search: those of a batch have one each.
func (a *Adapter) Found(s providers.Sent, resp providers.Response) []providers.Result {
	if said := readAnswer(resp.Body); resp.Status != http.StatusOK || resp.Truncated || said.code != 0 {
		return s.Unknown("Postmark does not say what became of it: " + said.refusal(resp).Error())
	}
	var page struct {
		// TotalCount is a number; Postmark's own libraries expect a string.
		TotalCount json.RawMessage `json:"TotalCount"`
		Messages   []outbound      `json:"Messages"`
	}
	err := json.Unmarshal(resp.Body, &page)
	total, bad := strconv.Atoi(string(bytes.Trim(page.TotalCount, `"`)))
	if err != nil || bad != nil || page.Messages == nil {
		return s.Unknown("the answer is not Postmark's; is base_url right?")
	}
	traces := make([]providers.Trace, len(page.Messages))
	for i, message := range page.Messages {
		traces[i] = message.trace()
	}
	return s.Traced(traces, total == len(page.Messages) && s.Settled(resp, searchLag))
}

// outbound is a message as the search has it.
type outbound struct {
	MessageID  string            `json:"MessageID"`
	To         []mailbox         `json:"To"`
	Cc         []mailbox         `json:"Cc"`
	Bcc        []mailbox         `json:"Bcc"`
	Recipients []string          `json:"Recipients"`
	Metadata   map[string]string `json:"Metadata"`
}

type mailbox struct {
	Email string `json:"Email"`
}

// trace names everybody whom any of the lists has.
func (o outbound) trace() providers.Trace {
	t := providers.Trace{BridgeID: o.Metadata[providers.BridgeIDKey], ProviderID: o.MessageID}
	for _, recipient := range o.Recipients {
		t.Recipients = append(t.Recipients, bare(recipient))
	}
	for _, list := range [...][]mailbox{o.To, o.Cc, o.Bcc} {
		for _, one := range list {
			t.Recipients = append(t.Recipients, one.Email)
		}
	}
	return t
}

package postmarktest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Suppression is an entry of a stream's list.
type Suppression struct {
	EmailAddress      string `json:"EmailAddress"`
	SuppressionReason string `json:"SuppressionReason"`
	Origin            string `json:"Origin"`
	CreatedAt         string `json:"CreatedAt"`
}

// Stream puts entries on the list of a stream, which the server has from now on.
func (f *Fake) Stream(stream string, entries ...Suppression) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.streams, stream) {
		f.streams = append(f.streams, stream)
	}
	if f.suppressed == nil {
		f.suppressed = make(map[string][]Suppression)
	}
	f.suppressed[stream] = append(f.suppressed[stream], entries...)
}

// inbound is the stream that every server has for what it receives.
const inbound = "inbound"

// list answers what is only read; not ok where there is no such path.
func (f *Fake) list(path string, query url.Values) (body any, refusal *complaint, ok bool) {
	stream, isDump := strings.CutSuffix(strings.TrimPrefix(path, "/message-streams/"), "/suppressions/dump")
	switch {
	case path == "/messages/outbound":
		body, refusal = f.search(query)
		return body, refusal, true
	case path == "/message-streams":
		return f.describeStreams(query), nil, true
	case isDump:
		body, refusal = f.dump(stream, query)
		return body, refusal, true
	}
	return nil, nil, false
}

// search finds messages by their metadata (manual, "Messages API"): those of the
// stream outbound where none is named.
func (f *Fake) search(query url.Values) (any, *complaint) {
	count, bad := strconv.Atoi(query.Get("count"))
	offset, wrong := strconv.Atoi(query.Get("offset"))
	if bad != nil || wrong != nil || count < 1 || count > 500 || offset < 0 {
		return nil, &complaint{700, "count and offset are required, count is 500 at most."}
	}
	for name := range query {
		if name != "count" && name != "offset" && name != "messagestream" && !strings.HasPrefix(name, "metadata_") {
			return nil, &complaint{700, "There is no parameter " + name + "."}
		}
	}
	found := []any{}
	for _, message := range f.Taken() {
		if streamOf(message.MessageStream) == streamOf(query.Get("messagestream")) && hasMetadata(message, query) {
			found = append(found, outbound(message))
		}
	}
	total := len(found)
	found = found[min(offset, total):min(offset+count, total)]
	return map[string]any{"TotalCount": total, "Messages": found}, nil
}

func streamOf(stream string) string {
	if stream == "" {
		return "outbound"
	}
	return stream
}

func hasMetadata(message Message, query url.Values) bool {
	for name, values := range query {
		if key, ok := strings.CutPrefix(name, "metadata_"); ok && message.Metadata[key] != values[0] {
			return false
		}
	}
	return true
}

func outbound(m Message) map[string]any {
	lists := make(map[string][]map[string]string)
	for name, list := range map[string]string{"To": m.To, "Cc": m.Cc, "Bcc": m.Bcc} {
		lists[name] = []map[string]string{}
		for _, address := range emails(list) {
			lists[name] = append(lists[name], map[string]string{"Email": fold(address), "Name": ""})
		}
	}
	return map[string]any{
		"MessageID": m.ID, "To": lists["To"], "Cc": lists["Cc"], "Bcc": lists["Bcc"], "Recipients": m.Delivered,
		"Status": "Sent", "MessageStream": streamOf(m.MessageStream), "Metadata": m.Metadata,
	}
}

func (f *Fake) describeStreams(query url.Values) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := []map[string]string{}
	if kind := query.Get("MessageStreamType"); kind == "" || strings.EqualFold(kind, "All") {
		list = append(list, map[string]string{"ID": inbound, "MessageStreamType": "Inbound"})
	}
	for _, stream := range f.streams {
		kind := "Broadcasts"
		if stream == "outbound" {
			kind = "Transactional"
		}
		list = append(list, map[string]string{"ID": stream, "MessageStreamType": kind})
	}
	return map[string]any{"MessageStreams": list, "TotalCount": len(list)}
}

// dump gives the whole list of a stream, between two days of the east coast.
func (f *Fake) dump(stream string, query url.Values) (any, *complaint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.streams, stream) {
		return nil, &complaint{1226, "The stream was not found."}
	}
	entries := []Suppression{}
	for _, entry := range f.suppressed[stream] {
		reason := query.Get("SuppressionReason")
		if (reason == "" || reason == entry.SuppressionReason) && between(day(entry.CreatedAt), query.Get("fromdate"), query.Get("todate")) {
			entries = append(entries, entry)
		}
	}
	return map[string]any{"Suppressions": entries}, nil
}

// day is that of a date on the east coast, where it is none the text itself.
func day(date string) string {
	at, err := time.Parse(time.RFC3339Nano, date)
	if err != nil {
		return "2020-01-01"
	}
	return at.In(time.FixedZone("EST", -5*60*60)).Format(time.DateOnly)
}

func between(day, from, to string) bool {
	return (from == "" || day >= from) && (to == "" || day <= to)
}

// isList: the paths that are only read.
func isList(r *http.Request) bool {
	return r.Method == http.MethodGet && (r.URL.Path == "/messages/outbound" || strings.HasPrefix(r.URL.Path, "/message-streams"))
}

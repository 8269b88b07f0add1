package mailguntest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The suppression lists of a domain.
const (
	Bounces      = "bounces"
	Unsubscribes = "unsubscribes"
	Complaints   = "complaints"
)

// endpoint is where the real API is: paging URLs name it.
const endpoint = "https://api.mailgun.net"

// Suppress puts items on a list, as the API shows them, in order of address.
func (f *Fake) Suppress(list string, items ...map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lists == nil {
		f.lists = make(map[string][]map[string]any)
	}
	f.lists[list] = append(f.lists[list], items...)
}

// read answers what only an account's key may read.
func (f *Fake) read(w http.ResponseWriter, r *http.Request) {
	path, ours := strings.CutPrefix(r.URL.EscapedPath(), "/v3/"+f.account.Domain+"/")
	switch {
	case r.URL.EscapedPath() == "/v4/domains/"+f.account.Domain:
		f.describe(w)
	case ours && path == "events":
		f.events(w, r.URL.Query())
	case ours && slices.Contains([]string{Bounces, Unsubscribes, Complaints}, path):
		f.list(w, path, r.URL.Query())
	case strings.HasPrefix(r.URL.Path, "/v4/domains/"), strings.HasPrefix(r.URL.Path, "/v3/"):
		say(w, http.StatusNotFound, "Domain not found: "+strings.Split(r.URL.Path+"///", "/")[2])
	default:
		w.Write([]byte("Mailgun Magnificent API"))
	}
}

// events finds what was accepted (manual, "Events"). A page is never longer than
// 100 here, as it was once, and always names the next.
func (f *Fake) events(w http.ResponseWriter, query url.Values) {
	begin, bad := strconv.ParseInt(query.Get("begin"), 10, 64)
	limit, wrong := strconv.Atoi(query.Get("limit"))
	if bad != nil || wrong != nil || limit < 1 || limit > 300 || query.Get("ascending") != "yes" {
		say(w, http.StatusBadRequest, "the range of the events is none")
		return
	}
	for name := range query {
		if !slices.Contains([]string{"begin", "ascending", "limit", "event", "message-id", "recipient"}, name) {
			say(w, http.StatusBadRequest, "there is no field "+name)
			return
		}
	}
	items := []any{}
	for _, mail := range f.Taken() {
		for _, recipient := range mail.Recipients() {
			fits := strings.Contains(query.Get("event"), "accepted") && mail.Time.Unix() >= begin &&
				(!query.Has("message-id") || query.Get("message-id") == mail.ID) &&
				(!query.Has("recipient") || strings.EqualFold(query.Get("recipient"), recipient))
			if fits && len(items) < min(limit, 100) {
				items = append(items, eventOf(mail, recipient))
			}
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items, "paging": map[string]string{"next": endpoint + "/v3/" + f.account.Domain + "/events/W3siYiI"}})
}

func eventOf(mail Mail, recipient string) map[string]any {
	variables := any([]string{})
	if id := mail.Fields["v:bridge_id"]; len(id) > 0 {
		variables = map[string]string{"bridge_id": id[0]}
	}
	return map[string]any{
		"event": "accepted", "id": "ev", "timestamp": float64(mail.Time.Unix()), "recipient": strings.ToLower(recipient),
		"message": map[string]any{"headers": map[string]string{"message-id": mail.ID}}, "user-variables": variables,
	}
}

// list gives a page of a suppression list, and the URL of the next, also behind
// the last.
func (f *Fake) list(w http.ResponseWriter, name string, query url.Values) {
	f.mu.Lock()
	items := slices.Clone(f.lists[name])
	f.mu.Unlock()
	limit, err := strconv.Atoi(query.Get("limit"))
	if err != nil || limit < 1 || limit > 1000 {
		say(w, http.StatusBadRequest, "limit is none")
		return
	}
	if f.account.PageSize > 0 {
		limit = min(limit, f.account.PageSize)
	}
	from, _ := strconv.Atoi(query.Get("pivot"))
	page := items[min(from, len(items)):min(from+limit, len(items))]
	next := endpoint + "/v3/" + f.account.Domain + "/" + name + "?" + url.Values{
		"page": {"next"}, "pivot": {strconv.Itoa(from + len(page))}, "limit": {query.Get("limit")},
	}.Encode()
	if f.account.Next != nil {
		next = f.account.Next(next)
	}
	text, err := json.Marshal(map[string]any{"items": append([]map[string]any{}, page...), "paging": map[string]string{"next": next, "first": next}})
	if err != nil {
		say(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(text)
}

package sendgridtest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The suppression lists.
const (
	Bounces      = "/v3/suppression/bounces"
	Blocks       = "/v3/suppression/blocks"
	Invalid      = "/v3/suppression/invalid_emails"
	SpamReports  = "/v3/suppression/spam_reports"
	Unsubscribes = "/v3/suppression/unsubscribes"
	Groups       = "/v3/asm/suppressions"
)

// Suppress puts entries on a list, as the API shows them.
func (f *Fake) Suppress(list string, entries ...map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lists == nil {
		f.lists = make(map[string][]map[string]any)
	}
	f.lists[list] = append(f.lists[list], entries...)
}

// Forbid takes the scope for a list from the key.
func (f *Fake) Forbid(list string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forbidden = append(f.forbidden, list)
}

// Stick makes every page of a list the first one.
func (f *Fake) Stick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stuck = true
}

func isList(r *http.Request) bool {
	return r.Method == http.MethodGet && (strings.HasPrefix(r.URL.Path, "/v3/suppression/") || r.URL.Path == Groups)
}

// list gives a page; that of the groups is the whole list.
func (f *Fake) list(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.forbidden, r.URL.Path) {
		refuse(w, http.StatusForbidden, []fieldFault{{Message: "access forbidden"}})
		return
	}
	entries := f.lists[r.URL.Path]
	if r.URL.Path != Groups {
		limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
		offset, bad := strconv.Atoi(r.URL.Query().Get("offset"))
		if err != nil || bad != nil || limit < 1 || limit > 500 || offset%limit != 0 {
			refuse(w, http.StatusBadRequest, []fieldFault{{Message: "limit or offset is none"}})
			return
		}
		if f.stuck {
			offset = 0
		}
		entries = entries[min(offset, len(entries)):min(offset+limit, len(entries))]
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(append([]map[string]any{}, entries...)) //nolint:errcheck // the client may have gone
}

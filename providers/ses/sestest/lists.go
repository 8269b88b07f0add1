package sestest

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Suppression is an entry of the account's list.
type Suppression struct {
	EmailAddress   string `json:"EmailAddress"`
	Reason         string `json:"Reason"`
	LastUpdateTime any    `json:"LastUpdateTime"`
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

// list answers ListSuppressedDestinations.
func (f *Fake) list(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.Atoi(r.URL.Query().Get("PageSize"))
	switch {
	case f.account.MayNotRead:
		answer(w, forbidden("AccessDeniedException", "User: arn:aws:iam::111122223333:user/bridge is not authorized to perform: ses:ListSuppressedDestinations"))
		return
	case err != nil || size < 1 || size > 1000:
		answer(w, bad("PageSize is none"))
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	from := 0
	if token := r.URL.Query().Get("NextToken"); token != "" {
		if from, err = strconv.Atoi(token[:max(0, len(token)-len(tokenEnd))]); err != nil || token[len(token)-len(tokenEnd):] != tokenEnd {
			answer(w, &refusal{http.StatusBadRequest, "InvalidNextTokenException", "the token is none"})
			return
		}
	}
	if f.stuck {
		from = 0
	}
	if f.pageSize > 0 {
		size = min(size, f.pageSize)
	}
	end := min(from+size, len(f.suppressed))
	page := map[string]any{"SuppressedDestinationSummaries": append([]Suppression{}, f.suppressed[min(from, end):end]...)}
	if end < len(f.suppressed) {
		page["NextToken"] = strconv.Itoa(end) + tokenEnd
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(page) //nolint:errcheck // the client may have gone
}

// tokenEnd has what an URL must encode.
const tokenEnd = "+/=& "

package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
)

// words is a list whose entries are the words of its pages; the last word of a
// page with a "+" before it is the next cursor.
func words() httpapi.List[string] {
	return httpapi.List[string]{
		Name: "a list of words", Permission: "the scope words.read",
		Request: func(cursor string) providers.Request {
			return providers.Request{Method: http.MethodGet, URL: "https://api.example.com/v1/words?page=" + cursor}
		},
		Refusal: func(resp providers.Response) *providers.Error {
			if resp.Status == http.StatusOK {
				return nil
			}
			return providers.Refusal(resp.Status, string(resp.Body))
		},
		Read: func(_ string, resp providers.Response) ([]string, string, error) {
			entries := strings.Fields(string(resp.Body))
			if last := len(entries) - 1; last >= 0 && entries[last][0] == '+' {
				return entries[:last], entries[last][1:], nil
			}
			return entries, "", nil
		},
	}
}

// all gives what is listed before the first error.
func all(t *testing.T, p *httpapi.Provider, lists ...httpapi.List[string]) (entries []string, failed error) {
	t.Helper()
	for entry, err := range httpapi.Entries(t.Context(), p, lists...) {
		switch {
		case failed != nil:
			t.Error("it goes on after an error")
		case err != nil:
			failed = err
		default:
			entries = append(entries, entry)
		}
	}
	return entries, failed
}

func TestEntries(t *testing.T) {
	for _, c := range []struct {
		name  string
		pages map[string]string // by cursor
		want  []string
		says  string
	}{
		{"one page", map[string]string{"": "a b"}, []string{"a", "b"}, ""},
		{"nothing", map[string]string{"": ""}, nil, ""},
		{"three pages, one empty", map[string]string{"": "a +2", "2": "+3", "3": "b"}, []string{"a", "b"}, ""},
		{"a circle", map[string]string{"": "a +2", "2": "b +3", "3": "c +2"}, []string{"a", "b", "c"}, "a list of words: the provider gives the same page again"},
		{"itself", map[string]string{"": "a +2", "2": "a +2"}, []string{"a"}, "the same page again"},
		{"an empty circle", map[string]string{"": "+2", "2": "+2"}, nil, "the same page again"},
		{"too long", map[string]string{"": strings.Repeat("a", 8<<20+1)}, nil, "a page is longer than 8 MiB"},
		{"not there", map[string]string{"": "a +2"}, []string{"a"}, "reading a list of words: configuration_error"},
		{"not allowed", map[string]string{"": "403 secret-password is not allowed"}, nil, "reading a list of words, for which the credentials need the scope words.read: authentication: [redacted] is not allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := server(t, adapter{}, func(w http.ResponseWriter, r *http.Request) {
				page, found := c.pages[r.URL.Query().Get("page")]
				if user, _, _ := r.BasicAuth(); !found || user != "api" {
					w.WriteHeader(http.StatusNotFound)
				}
				if says, refused := strings.CutPrefix(page, "403 "); refused {
					w.WriteHeader(http.StatusForbidden)
					page = says
				}
				io.WriteString(w, page)
			})
			entries, err := all(t, p, words())
			if !slices.Equal(entries, c.want) || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q, then %v; want %q and %q", entries, err, c.want, c.says)
			}
		})
	}
}

// Lists come one after another, up to the first that fails.
func TestEntriesOfSeveral(t *testing.T) {
	asked := 0
	p := server(t, adapter{}, func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked == 3 {
			w.WriteHeader(http.StatusTooManyRequests)
		}
		fmt.Fprintf(w, "word%d", asked)
	})
	entries, err := all(t, p, words(), words(), words(), words())
	if !slices.Equal(entries, []string{"word1", "word2"}) || asked != 3 {
		t.Errorf("%q after %d requests", entries, asked)
	}
	if refusal, ok := errors.AsType[*providers.Error](err); !ok || refusal.Category != providers.RateLimit {
		t.Errorf("it fails with %v", err)
	}
}

// A list without an end is given up.
func TestEntriesWithoutEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("ten thousand requests")
	}
	p := server(t, adapter{}, func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("page"))
		fmt.Fprintf(w, "word%d +%d", n, n+1)
	})
	entries, err := all(t, p, words())
	if len(entries) != 10_000 || err == nil || !strings.Contains(err.Error(), "more than 10000 pages") {
		t.Errorf("%d entries, then %v", len(entries), err)
	}
}

// Between two pages there is a pause, which ends with the caller's patience.
func TestEntriesPause(t *testing.T) {
	asked := 0
	p := server(t, adapter{}, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		fmt.Fprintf(w, "word +%d", asked)
	})
	list := words()
	list.Pause = 24 * time.Hour
	ctx, stop := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	defer stop(nil)
	var last error
	for _, err := range httpapi.Entries(ctx, p, list) {
		stop(enough)
		last = err
	}
	if !errors.Is(last, enough) || asked != 1 {
		t.Errorf("it ends with %v after %d pages, want 1 page", last, asked)
	}
}

package admin_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/events"
	"smtpbridge/internal/admin"
	"smtpbridge/internal/store"
)

// send is a request with a body.
func send(t *testing.T, h http.Handler, method, target, body string, header ...string) answer {
	t.Helper()
	page := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	h.ServeHTTP(page, r)
	return answer{page.Code, page.Header(), strings.TrimSpace(page.Body.String())}
}

// fill has the history know of a click, a hard bounce and an unsubscription.
func (b *bridge) fill(t *testing.T) {
	t.Helper()
	_, err := b.history.Add(t.Context(), events.Batch{Events: []events.Event{
		{ID: "1", Provider: "try", Type: events.Clicked, MessageID: "01A", Recipient: "a@example.com", Timestamp: now, URL: "https://example.com/?a&b"},
		{ID: "2", Provider: "try", Type: events.Bounced, Bounce: events.Hard, Recipient: "b@example.com", Timestamp: now, Response: "550"},
		{ID: "3", Provider: "other", Type: events.Unsubscribed, Scope: "tag:news", Recipient: "b@example.com", Timestamp: now},
	}}, events.Rules{SoftBounceLimit: 5})
	if err != nil {
		t.Fatal(err)
	}
}

// ids are those of the items of a list, and its cursor.
func ids(t *testing.T, page answer) (all []string, next string) {
	t.Helper()
	var list struct {
		Items []struct{ ID, Email string }
		Next  string `json:"next_cursor"`
	}
	if err := json.Unmarshal([]byte(page.body), &list); err != nil {
		t.Fatalf("%d %s: %v", page.status, page.body, err)
	}
	for _, item := range list.Items {
		all = append(all, item.ID+item.Email)
	}
	return all, list.Next
}

// Each filter of the events reaches the store; pages follow each other.
func TestEvents(t *testing.T) {
	b := newBridge(t)
	b.fill(t)
	h := b.handler()
	for target, want := range map[string]string{
		"?provider=other&type=unsubscribed":          "3",
		"?type=clicked":                              "1",
		"?type=bounced&provider=try":                 "2",
		"?message_id=01A&limit=1":                    "1",
		"?recipient=B@EXAMPLE.com&type=unsubscribed": "3",
		"?type=opened":                               "",
	} {
		all, _ := ids(t, request(t, h, http.MethodGet, "/api/v1/events"+target))
		if got := strings.Join(all, " "); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	for _, order := range []struct{ parameters, want string }{
		{"limit=2", "3 2 1"}, {"limit=2&after=0", "1 2 3"},
	} {
		var walked []string
		for next, first := "", true; first || next != ""; first = false {
			target := "/api/v1/events?" + order.parameters
			if next != "" {
				target += "&cursor=" + next
			}
			var some []string
			some, next = ids(t, request(t, h, http.MethodGet, target))
			for _, id := range some {
				if len(id) == 1 { // the others are the bridge's own
					walked = append(walked, id)
				}
			}
		}
		if got := strings.Join(walked, " "); got != order.want {
			t.Errorf("%s: %s, want %s", order.parameters, got, order.want)
		}
	}
	if body := request(t, h, http.MethodGet, "/api/v1/events?type=clicked").body; !strings.Contains(body, `"url":"https://example.com/?a&b"`) {
		t.Errorf("the URL is escaped: %s", body)
	}
}

// What is refused says the thing and the remedy.
func TestEventProblems(t *testing.T) {
	big := `{"detail":"` + strings.Repeat("x", 64<<10) + `"}`
	const csv = "text/csv"
	tests := []struct {
		method, target, body, kind string
		status                     int
		detail                     string
	}{
		{"GET", "/api/v1/events?type=exploded", "", "", 400, `type="exploded": one of accepted, bounced, clicked`},
		{"GET", "/api/v1/events?recipient=%20", "", "", 400, `recipient=" ": an address`},
		{"GET", "/api/v1/events?after=-1", "", "", 400, `after="-1": a sequence`},
		{"GET", "/api/v1/events?after=x", "", "", 400, "a sequence"},
		{"GET", "/api/v1/events?cursor=x", "", "", 400, "give the next_cursor"},
		{"GET", "/api/v1/events?limit=501", "", "", 400, "a number from 1 to 500"},
		{"GET", "/api/v1/events?state=refused", "", "", 400, "the parameters are limit, cursor, type"},
		{"POST", "/api/v1/events", "", "", 405, "use GET"},
		{"GET", "/api/v1/events/replay", "", "", 405, "use POST"},
		{"POST", "/api/v1/events/replay", "", "", 400, `{"from":`},
		{"POST", "/api/v1/events/replay", `{"from":"2026-01-02T00:00:00Z"}`, "", 400, `{"from":`},
		{"POST", "/api/v1/events/replay", `{"from":"2026-01-02T00:00:00Z","to":"2026-01-02T00:00:00Z"}`, "", 400, `{"from":`},
		{"POST", "/api/v1/events/replay", `{"from":"yesterday","to":"today"}`, "", 400, "as JSON"},
		{"POST", "/api/v1/events/replay", `{"since":"2026-01-02T00:00:00Z"}`, "", 400, `unknown field "since"`},
		{"POST", "/api/v1/events/replay?from=x", `{}`, "", 400, "nothing here takes parameters"},
		{"GET", "/api/v1/stats?by=month", "", "", 400, `by="month": one of campaign, provider, tag`},
		{"GET", "/api/v1/stats?from=yesterday", "", "", 400, "a time such as"},
		{"GET", "/api/v1/stats?to=2026", "", "", 400, "a time such as"},
		{"GET", "/api/v1/stats?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "", "", 400, "a time before 2026-01-01T00:00:00Z"},
		{"GET", "/api/v1/stats?tag=x", "", "", 400, "the parameters are by, name, from, to"},
		{"GET", "/api/v1/recipients/", "", "", 404, "nothing at"},
		{"GET", "/api/v1/recipients/z@example.com", "", "", 404, `nothing is known of "z@example.com"`},
		{"GET", "/api/v1/recipients/%20", "", "", 404, "nothing is known of"},
		{"GET", "/api/v1/recipients/a@example.com?x=1", "", "", 400, "nothing here takes parameters"},
		{"PUT", "/api/v1/recipients/a@example.com", "{}", "", 405, "use GET"},
		{"GET", "/api/v1/suppressions?reason=because", "", "", 400, `one of complaint, hard_bounce, manual`},
		{"GET", "/api/v1/suppressions?email=%3C%3E", "", "", 400, "an address"},
		{"GET", "/api/v1/suppressions?cursor=x", "", "", 400, "give the next_cursor"},
		{"GET", "/api/v1/suppressions?format=csv&cursor=x", "", "", 400, "give the next_cursor"},
		{"GET", "/api/v1/suppressions?format=xml", "", "", 400, "one of csv, json"},
		{"GET", "/api/v1/suppressions?scope=x", "", "", 400, "the parameters are limit, cursor, email"},
		{"DELETE", "/api/v1/suppressions", "", "", 405, "use GET, POST"},
		{"POST", "/api/v1/suppressions/a@example.com", "", "", 405, "use GET, PUT, DELETE"},
		{"GET", "/api/v1/suppressions/a@example.com", "", "", 404, `"a@example.com" is not on the suppression list`},
		{"GET", "/api/v1/suppressions/%20", "", "", 404, "not on the suppression list"}, // although others are
		{"DELETE", "/api/v1/suppressions/a@example.com", "", "", 404, "not on the suppression list"},
		{"DELETE", "/api/v1/suppressions/%20", "", "", 404, "not on the suppression list"},
		{"DELETE", "/api/v1/suppressions/b@example.com?scope=tag:other", "", "", 404, "not on the suppression list"},
		{"DELETE", "/api/v1/suppressions/b@example.com?reason=x", "", "", 400, "the parameters are scope"},
		{"PUT", "/api/v1/suppressions/nobody", "", "", 400, `"nobody" is no address`},
		{"PUT", "/api/v1/suppressions/a%20b@example.com", "", "", 400, "is no address"},
		{"PUT", "/api/v1/suppressions/a%0A@example.com", "", "", 400, "is no address"},
		{"PUT", "/api/v1/suppressions/%FF@example.com", "", "", 400, "is no address"},
		{"PUT", "/api/v1/suppressions/a@example.com", `{"reason":"because"}`, "", 400, `"because" is no reason`},
		{"PUT", "/api/v1/suppressions/a@example.com", `{"scope":"a\nb"}`, "", 400, "is no scope"},
		{"PUT", "/api/v1/suppressions/a@example.com", `{"since":"2026-01-02T00:00:00Z"}`, "", 400, "unknown field"},
		{"PUT", "/api/v1/suppressions/a@example.com", `{} {}`, "", 400, "something follows it"},
		{"PUT", "/api/v1/suppressions/a@example.com", `{}}`, "", 400, "something follows it"},
		{"PUT", "/api/v1/suppressions/a@example.com", `[]`, "", 400, "as JSON"},
		{"PUT", "/api/v1/suppressions/a@example.com?scope=x", `{}`, "", 400, "nothing here takes parameters"},
		{"PUT", "/api/v1/suppressions/a@example.com", big, "", 413, "longer than 65536 octets"},
		{"POST", "/api/v1/suppressions", "a@example.com", "", 415, "text/csv"},
		{"POST", "/api/v1/suppressions", "a@example.com", "text/plain", 415, "text/csv"},
		{"POST", "/api/v1/suppressions?x=1", "a@example.com", csv, 400, "nothing here takes parameters"},
		{"POST", "/api/v1/suppressions", "email;scope\n", csv, 400, "line 1: "},
		{"POST", "/api/v1/suppressions", "c@example.com\nd@example.com\nnobody\n", csv, 400, "line 3: \"nobody\" is no address; 2 were added before"},
	}
	b := newBridge(t)
	b.fill(t)
	h := b.handler()
	for _, tt := range tests {
		page := send(t, h, tt.method, tt.target, tt.body, "Content-Type", tt.kind)
		if page.status != tt.status {
			t.Errorf("%s %s: %d %s, want %d", tt.method, tt.target, page.status, page.body, tt.status)
			continue
		}
		t.Run(tt.method+" "+tt.target, func(t *testing.T) { checkProblem(t, page, tt.status, tt.detail) })
	}
	if got, _ := ids(t, request(t, h, http.MethodGet, "/api/v1/suppressions")); strings.Join(got, " ") != strings.Repeat("b@example.com ", 2)+"c@example.com d@example.com" {
		t.Errorf("the list is %v", got)
	}
	if log := b.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("the clients' mistakes are logged as ours:\n%s", log)
	}
}

// An address is added, shown, and taken off again.
func TestSuppression(t *testing.T) {
	h := newBridge(t).handler()
	const page = "/api/v1/suppressions/A@Example.com"
	const manual = `{"email":"a@example.com","scope":"","reason":"manual","detail":"asked by phone","since":"2026-01-02T03:04:05Z"`
	const news = `{"email":"a@example.com","scope":"tag:news","reason":"unsubscribe","since":"2026-01-02T03:04:05Z"}`
	steps := []struct {
		method, target, body string
		status               int
		want                 string
	}{
		{"PUT", page, `{"scope":"tag:news","reason":"unsubscribe"}`, 200, news},
		{"PUT", page, `{"detail":"asked by phone"}`, 200, manual + `,"others":[` + news + `]}`},
		{"PUT", page, `{"detail":"asked again"}`, 200, manual + `,"others":[` + news + `]}`},
		{"GET", page, "", 200, manual + `,"others":[` + news + `]}`},
		{"HEAD", page, "", 200, ""},
		{"DELETE", page + "?scope=tag:NEWS", "", 204, ""},
		{"GET", page, "", 200, manual + "}"},
		{"PUT", page, `{"scope":"tag:news","reason":"unsubscribe"}`, 200, manual + `,"others":[` + news + `]}`},
		{"DELETE", page + "?scope=", "", 204, ""},
		{"GET", page, "", 200, news},
		{"PUT", page, "", 200, `{"email":"a@example.com","scope":"","reason":"manual","since":"2026-01-02T03:04:05Z","others":[` + news + `]}`},
		{"DELETE", page, "", 204, ""},
		{"GET", page, "", 404, ""},
	}
	for _, step := range steps {
		got := send(t, h, step.method, step.target, step.body)
		if got.status != step.status || step.want != "" && step.method != "HEAD" && got.body != step.want {
			t.Errorf("%s %s %s: %d\n got %s\nwant %s", step.method, step.target, step.body, got.status, got.body, step.want)
		}
	}
}

// Addresses stand in a path as they are, escaped where they must be.
func TestSuppressionOfOddAddresses(t *testing.T) {
	server := httptest.NewServer(newBridge(t).handler())
	defer server.Close()
	for path, want := range map[string]string{
		"a+b@example.com":                 "a+b@example.com",
		"a%2Bc@example.com":               "a+c@example.com",
		"a%2Fb@example.com":               "a/b@example.com",
		"50%25@example.com":               "50%@example.com",
		"%22a%20b%22@example.com":         `"a b"@example.com`,
		"j%C3%BCrgen@b%C3%BCcher.example": "jürgen@xn--bcher-kva.example",
		"jürgen2@bücher.example":          "jürgen2@xn--bcher-kva.example",
		"a%3Fb@example.com":               "a?b@example.com",
		"..%2F..%2Fmessages@example.com":  "../../messages@example.com",
		"o'neil@example.com":              "o'neil@example.com",
	} {
		for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodDelete} {
			r, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/api/v1/suppressions/"+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ Email string }
			switch {
			case method == http.MethodDelete && response.StatusCode != http.StatusNoContent:
				t.Errorf("%s %s: %d %s", method, path, response.StatusCode, body)
			case method != http.MethodDelete && (json.Unmarshal(body, &got) != nil || got.Email != want):
				t.Errorf("%s %s: %d %s, want %s", method, path, response.StatusCode, body, want)
			}
		}
	}
}

// The list goes out as CSV whole, and comes in again.
func TestSuppressionsAsCSV(t *testing.T) {
	const n = 1203 // more than a page
	var in strings.Builder
	for i := range n {
		fmt.Fprintf(&in, "u%04d@example.com\r\n", i)
	}
	h := newBridge(t).handler()
	for _, want := range []string{`{"added":1203}`, `{"added":0}`} {
		if page := send(t, h, http.MethodPost, "/api/v1/suppressions", in.String(), "Content-Type", "text/csv; charset=utf-8"); page.body != want || page.status != http.StatusOK {
			t.Errorf("import: %d %s, want %s", page.status, page.body, want)
		}
	}
	send(t, h, http.MethodPut, "/api/v1/suppressions/=1+1@example.com", `{"reason":"complaint","detail":"a, \"b\""}`)
	out := request(t, h, http.MethodGet, "/api/v1/suppressions?format=csv&limit=1")
	if out.header.Get("Content-Type") != "text/csv; charset=utf-8" || strings.Count(out.body, "\n") != n+1 {
		t.Fatalf("export: %v, %d lines", out.header, strings.Count(out.body, "\n")+1)
	}
	other := newBridge(t).handler()
	if page := send(t, other, http.MethodPost, "/api/v1/suppressions", "\ufeff"+out.body, "Content-Type", "Text/CSV"); page.body != `{"added":1204}` {
		t.Errorf("import of the export: %d %s", page.status, page.body)
	}
	if diff := cmp.Diff(out.body, request(t, other, http.MethodGet, "/api/v1/suppressions?format=csv").body); diff != "" {
		t.Errorf("-first +second export:\n%s", diff)
	}
	only := request(t, other, http.MethodGet, "/api/v1/suppressions?format=csv&reason=complaint").body
	if want := "email,scope,reason,provider,detail,since\n" + `'=1+1@example.com,,complaint,,"a, ""b""",2026-01-02T03:04:05Z`; only != want {
		t.Errorf("one reason: %s", only)
	}
	if page := request(t, other, http.MethodGet, "/api/v1/suppressions?format=csv&email=z@example.com").body; page != "email,scope,reason,provider,detail,since" {
		t.Errorf("nobody: %q", page)
	}
	if page := send(t, other, http.MethodHead, "/api/v1/suppressions?format=csv", ""); page.status != http.StatusOK {
		t.Errorf("HEAD: %d", page.status)
	}
}

// unhurried is a page that notes until when it may be read and written.
type unhurried struct {
	*httptest.ResponseRecorder

	read, write []time.Time
}

func (u *unhurried) SetReadDeadline(until time.Time) error {
	u.read = append(u.read, until)
	return nil
}

func (u *unhurried) SetWriteDeadline(until time.Time) error {
	u.write = append(u.write, until)
	return nil
}

// However long a list is, it is not cut off while it gets on.
func TestLongListsTakeTheirTime(t *testing.T) {
	h := newBridge(t).handler()
	list := strings.Join(slices.Collect(addresses(2100)), "\n")
	for _, tt := range []struct {
		method, query, body string
		parts               int
	}{
		{http.MethodPost, "", list, 3},
		{http.MethodGet, "?format=csv", "", 5},
	} {
		synctest.Test(t, func(t *testing.T) { // whose clock stands
			page := &unhurried{ResponseRecorder: httptest.NewRecorder()}
			r := httptest.NewRequestWithContext(t.Context(), tt.method, "/api/v1/suppressions"+tt.query, strings.NewReader(tt.body))
			r.Header.Set("Content-Type", "text/csv")
			h.ServeHTTP(page, r)
			want := slices.Repeat([]time.Time{time.Now().Add(30 * time.Second)}, tt.parts)
			if page.Code != http.StatusOK || !slices.Equal(page.read, want) || !slices.Equal(page.write, want) {
				t.Errorf("%s: %d, read until %v, written until %v, want %v", tt.method, page.Code, page.read, page.write, want)
			}
		})
	}
}

func addresses(n int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range n {
			if !yield(fmt.Sprintf("u%d@example.com", i)) {
				return
			}
		}
	}
}

// A list that is too long, or ends early, is the client's.
func TestImportThatDoesNotComeWhole(t *testing.T) {
	b := newBridge(t)
	h := b.handler()
	post := func(body io.Reader) answer {
		t.Helper()
		page := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/suppressions", body)
		r.Header.Set("Content-Type", "text/csv")
		h.ServeHTTP(page, r)
		return answer{page.Code, page.Header(), page.Body.String()}
	}
	checkProblem(t, post(io.MultiReader(strings.NewReader("a@example.com\nb@exam"), failing{})), http.StatusBadRequest, "ended early; 1 were added before")
	wide := "c@example.com," + strings.Repeat("x", 60<<10) + "\n"
	long := strings.NewReader("email,else\n" + strings.Repeat(wide, (64<<20)/len(wide)+1))
	checkProblem(t, post(long), http.StatusRequestEntityTooLarge, "longer than 67108864 octets; 1 were added before")
	if log := b.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("logged as ours:\n%s", log)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Pages of other sites may change nothing, wherever they send it from.
func TestOtherSitesChangeNothing(t *testing.T) {
	b := newBridge(t)
	b.fill(t)
	h := b.handler()
	for _, tt := range []struct{ method, target, body string }{
		{"PUT", "/api/v1/suppressions/c@example.com", ""},
		{"DELETE", "/api/v1/suppressions/b@example.com", ""},
		{"POST", "/api/v1/suppressions", "c@example.com"},
		{"POST", "/api/v1/events/replay", `{"from":"2026-01-02T00:00:00Z","to":"2026-01-03T00:00:00Z"}`},
	} {
		for _, header := range [][]string{
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
		} {
			page := send(t, h, tt.method, tt.target, tt.body, append(header, "Content-Type", "text/csv")...)
			checkProblem(t, page, http.StatusForbidden, "a page of another site")
		}
		if page := send(t, h, tt.method, tt.target, tt.body, "Sec-Fetch-Site", "same-origin", "Content-Type", "text/csv"); page.status >= 300 {
			t.Errorf("%s %s from its own page: %d %s", tt.method, tt.target, page.status, page.body)
		}
	}
}

// What happened is counted, by the dimension that is asked for.
func TestStats(t *testing.T) {
	b := newBridge(t)
	b.fill(t)
	h := b.handler()
	for target, want := range map[string]string{
		"?by=provider":            "try other",
		"?by=provider&name=other": "other",
		"?by=tag":                 "",
		"?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z": "",
		"?from=2026-01-02T03:00:00%2B00:00":                  "try other",
		"?to=2026-01-02T03:59:59Z":                           "try other",
	} {
		page := request(t, h, http.MethodGet, "/api/v1/stats"+target)
		var list struct{ Items []map[string]any }
		if err := json.Unmarshal([]byte(page.body), &list); err != nil || page.status != http.StatusOK {
			t.Errorf("%s: %d %s", target, page.status, page.body)
		}
		names := make(map[string]bool)
		for _, item := range list.Items {
			names[item["provider"].(string)] = true
		}
		for name := range strings.FieldsSeq(want) {
			if !names[name] {
				t.Errorf("%s: %s, want %s", target, page.body, name)
			}
		}
		if len(names) != len(strings.Fields(want)) {
			t.Errorf("%s: %s, want %q", target, page.body, want)
		}
	}
}

// broken is a history of which something fails.
type broken struct {
	admin.History

	pages int // that come before it fails
	err   error
}

var errDisk = errors.New("disk is full")

func (b *broken) Events(context.Context, store.EventQuery) (store.EventPage, error) {
	return store.EventPage{}, b.err
}

func (b *broken) Replay(context.Context, time.Time, time.Time) (int, error) { return 0, b.err }

func (b *broken) Suppressions(context.Context, store.SuppressionQuery) (store.SuppressionPage, error) {
	if b.pages--; b.pages < 0 {
		return store.SuppressionPage{}, b.err
	}
	return store.SuppressionPage{Suppressions: []events.Suppression{{Address: "a@example.com"}}, Next: "more"}, nil
}

func (b *broken) Suppress(context.Context, ...events.Suppression) (int, error) { return 0, b.err }

func (b *broken) Lift(context.Context, string, *string) error { return b.err }

func (b *broken) Recipient(context.Context, string) (store.Recipient, error) {
	return store.Recipient{}, b.err
}

func (b *broken) Counts(context.Context, store.CountQuery) ([]store.Counts, error) {
	return nil, b.err
}

// historyCalls ask the history.
var historyCalls = []struct{ method, target, body string }{
	{"GET", "/api/v1/events", ""},
	{"POST", "/api/v1/events/replay", `{"from":"2026-01-02T00:00:00Z","to":"2026-01-03T00:00:00Z"}`},
	{"GET", "/api/v1/stats", ""},
	{"GET", "/api/v1/recipients/a@example.com", ""},
	{"GET", "/api/v1/suppressions", ""},
	{"GET", "/api/v1/suppressions?format=csv", ""},
	{"POST", "/api/v1/suppressions", "a@example.com"},
	{"GET", "/api/v1/suppressions/a@example.com", ""},
	{"PUT", "/api/v1/suppressions/a@example.com", ""},
	{"DELETE", "/api/v1/suppressions/a@example.com", ""},
}

// What is our fault goes to the log, not to the client, and without the address.
func TestEventFailures(t *testing.T) {
	b := newBridge(t)
	h := b.handlerOf(&broken{err: errDisk})
	for _, tt := range historyCalls {
		b.log.Reset()
		page := send(t, h, tt.method, tt.target, tt.body, "Content-Type", "text/csv")
		checkProblem(t, page, http.StatusInternalServerError, "its log says why")
		if log := b.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "disk is full") || strings.Contains(log, "a@example.com") {
			t.Errorf("%s %s: log %q, want the error alone", tt.method, tt.target, log)
		}
	}
}

// A database that somebody has locked is no mistake of ours: who asks may ask again.
func TestStoreThatCannotBeUsed(t *testing.T) {
	b := newBridge(t)
	locked := errLocked(t)
	b.messages, b.letters.err = &spy{err: locked}, locked
	h := b.handlerOf(&broken{err: locked})
	for _, tt := range append(historyCalls, []struct{ method, target, body string }{
		{"GET", "/api/v1/messages", ""},
		{"GET", "/api/v1/messages/01A", ""},
		{"GET", "/api/v1/forward/dead", ""},
		{"POST", "/api/v1/forward/dead/retry", ""},
		{"POST", "/api/v1/forward/dead/7/retry", ""},
	}...) {
		b.log.Reset()
		page := send(t, h, tt.method, tt.target, tt.body, "Content-Type", "text/csv")
		checkProblem(t, page, http.StatusServiceUnavailable, "another process uses the file; then try again")
		if log := b.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "database is locked") {
			t.Errorf("%s %s: log %q, want the error", tt.method, tt.target, log)
		}
	}
}

// errLocked is what SQLite says of a file that another connection has locked.
func errLocked(t *testing.T) error {
	t.Helper()
	name := "file:" + filepath.Join(t.TempDir(), "bridge.db") + "?_txlock=immediate"
	begin := func() error {
		db, err := sql.Open("sqlite", name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		_, err = db.BeginTx(t.Context(), nil)
		return err
	}
	if err := begin(); err != nil {
		t.Fatal(err)
	}
	return fmt.Errorf("beginning: %w", begin())
}

// An export that fails in the middle does not look whole.
func TestExportThatIsCutOff(t *testing.T) {
	b := newBridge(t)
	server := httptest.NewServer(b.handlerOf(&broken{pages: 1000, err: errDisk}))
	defer server.Close()
	response, err := server.Client().Get(server.URL + "/api/v1/suppressions?format=csv")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("%d octets came as if they were all", len(body))
	}
	server.Close()
	if log := b.log.String(); !strings.Contains(log, "disk is full") {
		t.Errorf("log:\n%s", log)
	}
}

// What goes on for longer than the server gives a request is answered all the same.
func TestLongRequests(t *testing.T) {
	b := newBridge(t)
	b.fill(t)
	server := httptest.NewUnstartedServer(b.handler())
	server.Config.WriteTimeout = time.Nanosecond
	server.Start()
	defer server.Close()
	for path, body := range map[string]string{
		"/api/v1/events/replay":      `{"from":"2026-01-02T00:00:00Z","to":"2026-01-03T00:00:00Z"}`,
		"/api/v1/forward/dead/retry": "",
	} {
		answer, err := server.Client().Post(server.URL+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %v", path, answer.Status, err)
		}
	}
}

// Times that no event can have are brought to where they can.
func TestReplay(t *testing.T) {
	b := newBridge(t)
	b.fill(t)
	h := b.handler()
	for body, want := range map[string]string{
		`{"from":"2026-01-02T00:00:00Z","to":"2026-01-03T00:00:00Z"}`: `{"events":6}`,
		`{"from":"0001-01-02T00:00:00Z","to":"9999-12-31T00:00:00Z"}`: `{"events":6}`,
		`{"from":"2026-01-02T03:04:06Z","to":"9999-12-31T00:00:00Z"}`: `{"events":0}`,
		`{"FROM":"2026-01-01T00:00:00Z","To":"2026-01-02T03:04:05Z"}`: `{"events":0}`,
	} {
		if page := send(t, h, http.MethodPost, "/api/v1/events/replay", body); page.body != want {
			t.Errorf("%s: %d %s, want %s", body, page.status, page.body, want)
		}
	}
}

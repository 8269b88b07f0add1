package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"smtpbridge/events"
	"smtpbridge/internal/admin"
	"smtpbridge/internal/store"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// bridge is what the pages of the tests show.
type bridge struct {
	history   *store.History
	providers []admin.Provider
	problems  map[string]error // by name of the check
	messages  admin.Messages   // in place of history
	letters   *post
	log       bytes.Buffer
}

func newBridge(t *testing.T) *bridge {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: "memory:"}, store.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	b := &bridge{history: s.History(), providers: []admin.Provider{{Status: delivery.Status{Name: "try", Breaker: "closed", SuccessRate: 1, Score: 100}, Type: "sandbox"}}}
	b.messages, b.letters = b.history, &post{forwards: true}
	b.history.Record(delivery.Record{
		ID: "01A", Time: now, MailFrom: "bounces@example.com", From: "shop@example.com", Subject: "<Hello>", Bytes: 99,
		Recipients: []delivery.Recipient{{Recipient: "a@example.com", State: providers.Accepted, Provider: "try"}},
		Attempts:   []delivery.Attempt{{Provider: "try", Time: now, Seconds: 0.5, Category: "ok"}},
	})
	b.history.Keep("01A", json.RawMessage(`{"from":"<shop@example.com>"}`))
	b.history.Record(delivery.Record{
		ID: "01B", Time: now, Tags: []string{"welcome"},
		Recipients: []delivery.Recipient{{Recipient: "b@example.com", State: providers.Refused, Category: providers.NoProvider}},
		Attempts:   []delivery.Attempt{},
	})
	return b
}

func (b *bridge) handler() http.Handler { return b.handlerOf(b.history) }

func (b *bridge) handlerOf(history admin.History) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "bridge_smtp_connections", Help: "Connections."}))
	check := func(name string) admin.Check {
		return admin.Check{Name: name, Run: func(context.Context) error { return b.problems[name] }}
	}
	return admin.New(admin.Options{
		Messages:  b.messages,
		History:   history,
		Letters:   b.letters,
		Providers: func(context.Context) []admin.Provider { return b.providers },
		Ready:     []admin.Check{check("smtp"), check("store")},
		Metrics:   registry,
		Logger:    b.logger(),
		Now:       func() time.Time { return now },
	})
}

func (b *bridge) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// answer is what a client sees.
type answer struct {
	status int
	header http.Header
	body   string
}

func request(t *testing.T, h http.Handler, method, target string) answer {
	t.Helper()
	page := httptest.NewRecorder()
	h.ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), method, target, nil))
	return answer{page.Code, page.Header(), strings.TrimSpace(page.Body.String())}
}

// checkProblem holds a refusal to RFC 9457 and to naming the thing.
func checkProblem(t *testing.T, page answer, status int, detail string) {
	t.Helper()
	var got struct {
		Type, Title, Detail string
		Status              int
	}
	if err := json.Unmarshal([]byte(page.body), &got); err != nil {
		t.Fatalf("answer %d %q: %v", page.status, page.body, err)
	}
	if page.status != status || got.Status != status || got.Title != http.StatusText(status) || got.Type != "about:blank" {
		t.Errorf("answer %d with %+v, want status %d", page.status, got, status)
	}
	if contentType := page.header.Get("Content-Type"); contentType != "application/problem+json" {
		t.Errorf("Content-Type %q, want application/problem+json", contentType)
	}
	if !strings.Contains(got.Detail, detail) {
		t.Errorf("detail %q, want it to say %q", got.Detail, detail)
	}
}

const (
	recordA = `{"id":"01A","timestamp":"2026-01-02T03:04:05Z","mail_from":"bounces@example.com","from":"shop@example.com",` +
		`"subject":"<Hello>","bytes":99,"recipients":[{"recipient":"a@example.com","state":"accepted","provider":"try"}],` +
		`"attempts":[{"provider":"try","timestamp":"2026-01-02T03:04:05Z","duration_seconds":0.5,"category":"ok"}]`
	acceptedA = `{"id":"evt_01a_fa776191d3069fed","provider":"try","type":"accepted","message_id":"01A","provider_message_id":"",` +
		`"recipient":"a@example.com","timestamp":"2026-01-02T03:04:05.5Z","sequence":1,"tags":[],"metadata":{}}`
	recordB = `{"id":"01B","timestamp":"2026-01-02T03:04:05Z","mail_from":"","from":"","subject":"","bytes":0,"tags":["welcome"],` +
		`"recipients":[{"recipient":"b@example.com","state":"refused","category":"no_provider"}],"attempts":[]`
)

func TestPages(t *testing.T) {
	tests := []struct {
		target, want string
	}{
		{"/healthz", `{"status":"alive"}`},
		{"/readyz", `{"status":"ready"}`},
		{"/health", `{"status":"healthy","timestamp":"2026-01-02T03:04:05Z"}`},
		{"/api/v1/providers", `{"items":[{"name":"try","breaker":"closed","tokens":null,"success_rate":1,"score":100,"quota":{"day_remaining":null,"month_remaining":null},"type":"sandbox"}],"next_cursor":""}`},
		{"/api/v1/messages", `{"items":[` + recordB + `},` + recordA + `}],"next_cursor":""}`},
		{"/api/v1/messages?limit=1", `{"items":[` + recordB + `}],"next_cursor":"01B"}`},
		{"/api/v1/messages?limit=1&cursor=01B", `{"items":[` + recordA + `}],"next_cursor":""}`},
		{"/api/v1/messages/01A", recordA + `,"events":[` + acceptedA + `],"content":{"from":"<shop@example.com>"}}`},
		{"/api/v1/messages/01B", recordB + `,"events":[]}`},
		{"/api/v1/events?recipient=a@example.com", `{"items":[` + acceptedA + `],"next_cursor":""}`},
		{"/api/v1/stats", `{"items":[{"accepted":1,"bounced":0,"clicked":0,"complained":0,"deferred":0,"delivered":0,"opened":0,"provider":"try","rejected":0,"resubscribed":0,"unique_clicked":0,"unique_opened":0,"unknown":0,"unsubscribed":0}],"next_cursor":""}`},
		{"/api/v1/recipients/A@EXAMPLE.com", `{"email":"a@example.com","status":"active","soft_bounces":0,"last_accepted":"2026-01-02T03:04:05.5Z",` +
			`"last_delivered":null,"last_bounced":null,"last_opened":null,"last_clicked":null,"suppressions":[]}`},
		{"/api/v1/suppressions", `{"items":[],"next_cursor":""}`},
		// Each filter reaches the store.
		{"/api/v1/messages?recipient=a@example.com", `{"items":[` + recordA + `}],"next_cursor":""}`},
		{"/api/v1/messages?provider=try", `{"items":[` + recordA + `}],"next_cursor":""}`},
		{"/api/v1/messages?state=refused", `{"items":[` + recordB + `}],"next_cursor":""}`},
		{"/api/v1/messages?category=no_provider", `{"items":[` + recordB + `}],"next_cursor":""}`},
		{"/api/v1/messages?tag=welcome", `{"items":[` + recordB + `}],"next_cursor":""}`},
		{"/api/v1/messages?from=shop@example.com", `{"items":[` + recordA + `}],"next_cursor":""}`},
		{"/api/v1/messages?mail_from=bounces@example.com", `{"items":[` + recordA + `}],"next_cursor":""}`},
		{"/api/v1/messages?tag=none", `{"items":[],"next_cursor":""}`},
	}
	h := newBridge(t).handler()
	for _, tt := range tests {
		page := request(t, h, http.MethodGet, tt.target)
		if diff := cmp.Diff(tt.want, page.body); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.target, diff)
		}
		if page.status != http.StatusOK || page.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s, want 200 application/json", tt.target, page.status, page.header.Get("Content-Type"))
		}
		if page.header.Get("X-Content-Type-Options") != "nosniff" || page.header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
			t.Errorf("%s: headers %v let other pages use it", tt.target, page.header)
		}
	}
}

// Every refusal is a problem document that names the thing and the remedy.
func TestProblems(t *testing.T) {
	tests := []struct {
		method, target string
		status         int
		detail         string
	}{
		{"GET", "/", 404, "nothing at /"},
		{"GET", "/nowhere", 404, "/nowhere"},
		{"POST", "/nowhere", 404, "/nowhere"},
		{"GET", "/healthz/", 404, "/healthz/"},
		{"GET", "/api/v1/messages/", 404, "/api/v1/messages/"},
		{"GET", "/api/v1/messages/01C", 404, `no message "01C"`},
		{"POST", "/healthz", 405, "POST is not possible here; use GET"},
		{"DELETE", "/api/v1/messages/01A", 405, "DELETE is not possible here; use GET"},
		{"PUT", "/metrics", 405, "PUT is not possible here; use GET"},
		{"GET", "/api/v1/messages?limit=0", 400, `limit="0": a number from 1 to 500`},
		{"GET", "/api/v1/messages?limit=501", 400, `limit="501": a number from 1 to 500`},
		{"GET", "/api/v1/messages?limit=many", 400, `limit="many": a number from 1 to 500`},
		{"GET", "/api/v1/messages?limit=", 400, `limit="": a number from 1 to 500`},
		{"GET", "/api/v1/messages?limit=1&limit=2", 400, `limit="1": give it once`},
		{"GET", "/api/v1/messages?cursor=x", 400, `cursor="x": give the next_cursor`},
		{"GET", "/api/v1/messages?recipient=a%zz", 400, `the parameters cannot be read: invalid URL escape "%zz"; write name=value&…, escaped by %XX`},
		{"GET", "/api/v1/messages?state=refused;x=1", 400, `the parameters cannot be read: invalid semicolon separator in query; write name=value&…, escaped by %XX`},
		{"GET", "/api/v1/providers?a=%", 400, `the parameters cannot be read: invalid URL escape "%"; write name=value&…, escaped by %XX`},
		{"GET", "/api/v1/messages?state=done", 400, `state="done": one of accepted, refused, ambiguous`},
		{"GET", "/api/v1/messages?recipent=a", 400, `recipent="a": the parameters are limit, cursor, recipient`},
		{"GET", "/api/v1/messages/01A?tag=x", 400, `tag="x": nothing here takes parameters`},
		{"GET", "/api/v1/providers?limit=1", 400, `limit="1": nothing here takes parameters`},
	}
	b := newBridge(t)
	h := b.handler()
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			page := request(t, h, tt.method, tt.target)
			checkProblem(t, page, tt.status, tt.detail)
			if allow := page.header.Get("Allow"); (tt.status == 405) != (allow == "GET, HEAD") {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
	if log := b.log.String(); !strings.Contains(log, "level=DEBUG") || strings.Contains(log, "level=ERROR") {
		t.Errorf("the clients' mistakes are logged as ours:\n%s", log)
	}
}

func TestLimits(t *testing.T) {
	b := newBridge(t)
	asked := new(spy)
	b.messages = asked
	for target, want := range map[string]int{"": 50, "?limit=1": 1, "?limit=500": 500} {
		request(t, b.handler(), http.MethodGet, "/api/v1/messages"+target)
		if asked.query.Limit != want {
			t.Errorf("%q asks for %d, want %d", target, asked.query.Limit, want)
		}
	}
}

// spy remembers the query, and fails where it is told to.
type spy struct {
	query store.Query
	err   error
}

func (s *spy) Message(context.Context, string) (store.Message, error) { return store.Message{}, s.err }

func (s *spy) Messages(_ context.Context, q store.Query) (store.Page, error) {
	s.query = q
	return store.Page{}, s.err
}

// What is our fault goes to the log, not to the client.
func TestFailure(t *testing.T) {
	b := newBridge(t)
	b.messages = &spy{err: errors.New("disk is full")}
	for _, target := range []string{"/api/v1/messages", "/api/v1/messages/01A"} {
		b.log.Reset()
		page := request(t, b.handler(), http.MethodGet, target)
		checkProblem(t, page, http.StatusInternalServerError, "its log says why")
		if log := b.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "disk is full") {
			t.Errorf("%s: log %q, want the error", target, log)
		}
	}
}

func TestReady(t *testing.T) {
	b := newBridge(t)
	b.problems = map[string]error{"smtp": errors.New("not listening"), "store": errors.New("shut")}
	checkProblem(t, request(t, b.handler(), http.MethodGet, "/readyz"), http.StatusServiceUnavailable,
		"smtp: not listening; store: shut")
	if page := request(t, b.handler(), http.MethodGet, "/healthz"); page.status != http.StatusOK {
		t.Errorf("/healthz answers %d: what is not ready is alive all the same", page.status)
	}

	// No provider is no reason to take the application out of service.
	b.problems, b.providers = nil, nil
	page := request(t, b.handler(), http.MethodGet, "/readyz")
	if text := page.body; page.status != http.StatusOK || !strings.Contains(text, "no provider is usable") {
		t.Errorf("/readyz answers %d %s, want 200 and a warning", page.status, text)
	}
	if got := request(t, b.handler(), http.MethodGet, "/api/v1/providers").body; got != `{"items":[],"next_cursor":""}` {
		t.Errorf("/api/v1/providers without providers: %s", got)
	}
}

func TestMetrics(t *testing.T) {
	page := request(t, newBridge(t).handler(), http.MethodGet, "/metrics")
	if text := page.body; page.status != http.StatusOK || !strings.Contains(text, "bridge_smtp_connections 0") {
		t.Errorf("/metrics answers %d:\n%s", page.status, text)
	}
}

// In public there is /health and nothing else.
func TestPublic(t *testing.T) {
	b := newBridge(t)
	h := admin.NewPublic(admin.PublicOptions{Webhooks: hooks{}, Logger: b.logger(), Now: func() time.Time { return now }})
	if got, want := request(t, h, http.MethodGet, "/health").body, `{"status":"healthy","timestamp":"2026-01-02T03:04:05Z"}`; got != want {
		t.Errorf("/health: %s, want %s", got, want)
	}
	for _, target := range []string{"/", "/healthz", "/readyz", "/metrics", "/api/v1/messages", "/api/v1/messages/01A", "/webhooks/"} {
		checkProblem(t, request(t, h, http.MethodGet, target), http.StatusNotFound, "nothing at "+target)
	}
	checkProblem(t, request(t, h, http.MethodPost, "/health"), http.StatusMethodNotAllowed, "use GET")
}

// A page in a developer's browser must not read mail by a name of its own for
// 127.0.0.1. The server is a real one: only there a request knows its address.
func TestLocalNamesOnly(t *testing.T) {
	server := httptest.NewServer(newBridge(t).handler())
	defer server.Close()
	for host, allowed := range map[string]bool{
		"localhost:9090": true, "LOCALHOST": true, "127.0.0.1:9090": true, "[::1]:9090": true, "[::1]": true,
		"bridge": true, "localhost.": true,
		"evil.example": false, "evil.example:9090": false, "127.0.0.1.evil.example": false, "evil.example.": false,
	} {
		page := fetch(t, server, host)
		if allowed && page.status != http.StatusOK {
			t.Errorf("Host %s: %d, want 200", host, page.status)
		}
		if !allowed {
			checkProblem(t, page, http.StatusMisdirectedRequest, "localhost")
		}
	}
	// Elsewhere the names are the operator's.
	if page := request(t, newBridge(t).handler(), http.MethodGet, "http://bridge.example/health"); page.status != http.StatusOK {
		t.Errorf("behind another address: %d, want 200", page.status)
	}
}

// fetch gets the messages under the name of host.
func fetch(t *testing.T, server *httptest.Server, host string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// hooks answer by the name that is called.
type hooks struct{}

func (hooks) Answer(r *http.Request) error {
	switch r.PathValue("name") {
	case "taken":
		return nil
	case "busy":
		return &events.Rejection{Status: http.StatusServiceUnavailable, Reason: "busy", Cause: errors.New("the disk is full")}
	case "secret":
		return &events.Rejection{Status: http.StatusUnauthorized, Reason: "unauthenticated", Cause: errors.New("user name or password is wrong")}
	}
	return &events.Rejection{Status: http.StatusNotFound, Reason: "unknown", Cause: errors.New("there is no such provider")}
}

package events_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/events"
	"smtpbridge/internal/admin"
)

// source is a [events.Source] by a function.
type source func(h http.Header, body []byte) (events.Batch, error)

func (s source) Receive(_ context.Context, h http.Header, body []byte) (events.Batch, error) {
	return s(h, body)
}

// lines takes each line of a body for the key of an event. Some say what is wrong.
func lines(_ http.Header, body []byte) (events.Batch, error) {
	switch string(body) {
	case "who":
		return events.Batch{}, fmt.Errorf("%w: the signature is wrong", events.ErrUnauthenticated)
	case "what":
		return events.Batch{}, fmt.Errorf("%w: the body is no JSON", events.ErrMalformed)
	case "certificate":
		return events.Batch{}, errors.New("10.0.0.7 does not answer")
	}
	var b events.Batch
	for line := range strings.FieldsSeq(string(body)) {
		b.Events = append(b.Events, told(events.Opened, 0, keyed(line)))
	}
	return b, nil
}

// edge is webhook_address, with what is behind it.
type edge struct {
	*intake

	endpoint *events.Endpoint
	server   *httptest.Server
	log      *lockedBuffer
}

type lockedBuffer struct {
	mu     sync.Mutex // guards buffer
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func newEdge(t *testing.T, hooks map[string]events.Hook) *edge {
	t.Helper()
	e := &edge{intake: newIntake(), log: new(lockedBuffer)}
	logger := slog.New(slog.NewJSONHandler(e.log, nil))
	e.endpoint = events.NewEndpoint(e.Intake, logger, e.registry)
	e.endpoint.Replace(hooks)
	public := admin.NewPublic(admin.PublicOptions{Webhooks: e.endpoint, Logger: logger, Now: time.Now})
	e.server = httptest.NewServer(public)
	t.Cleanup(e.server.Close)
	return e
}

// reply is what a caller sees besides the body.
type reply struct {
	StatusCode int
	Header     http.Header
}

// do sends a request, which a test may have changed.
func (e *edge) do(t *testing.T, method, path string, body io.Reader, change ...func(*http.Request)) (reply, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, e.server.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(r)
	}
	response, err := e.server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header}, string(answer)
}

func (e *edge) post(t *testing.T, path, body string, change ...func(*http.Request)) (reply, string) {
	t.Helper()
	return e.do(t, http.MethodPost, path, strings.NewReader(body), change...)
}

// rejected gives what the metric has counted.
func (e *edge) rejected(t *testing.T) map[string]float64 {
	t.Helper()
	return e.series(t, "bridge_webhook_rejected_total")
}

// What a provider is told, and what the operator sees of it.
func TestEndpointAnswers(t *testing.T) {
	e := newEdge(t, map[string]events.Hook{"mail": {Source: source(lines)}})
	tests := []struct {
		name, method, path, body string
		status                   int
		detail                   string
	}{
		{"events", "POST", "/webhooks/mail", "1 2", 200, ""},
		{"the same again", "POST", "/webhooks/mail", "1 2", 200, ""},
		{"a provider's test", "POST", "/webhooks/mail", "", 200, ""},
		{"unauthenticated", "POST", "/webhooks/mail", "who", 401, "the signature is wrong"},
		{"malformed", "POST", "/webhooks/mail", "what", 400, "the body is no JSON"},
		{"ours", "POST", "/webhooks/mail", "certificate", 503, "the call could not be stored; try again"},
		{"another name", "POST", "/webhooks/other", "1", 404, `there is no provider "other" with webhooks`},
		{"an odd name", "POST", "/webhooks/a%2Fb%00", "1", 404, "with webhooks"},
		{"no name", "POST", "/webhooks/", "1", 404, "nothing at /webhooks/"},
		{"more than a name", "POST", "/webhooks/mail/1", "1", 404, "nothing at /webhooks/mail/1"},
		{"a browser", "GET", "/webhooks/mail", "", 405, "GET is not possible here; use POST"},
		{"a head", "HEAD", "/webhooks/mail", "", 405, ""},
		{"another method", "PUT", "/webhooks/mail", "1", 405, "use POST"},
	}
	for _, tt := range tests {
		response, body := e.do(t, tt.method, tt.path, strings.NewReader(tt.body))
		if response.StatusCode != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.name, response.StatusCode, body, tt.status)
		}
		var p struct{ Detail string }
		if tt.detail != "" && (json.Unmarshal([]byte(body), &p) != nil || !strings.Contains(p.Detail, tt.detail) ||
			response.Header.Get("Content-Type") != "application/problem+json") {
			t.Errorf("%s: %s, want a problem that says %s", tt.name, body, tt.detail)
		}
		// RFC 9110: 401 names a scheme, 405 the methods, 503 when to come again. SNS
		// sends a password only to who asks for one.
		for header, status := range map[string]int{"WWW-Authenticate": 401, "Allow": 405, "Retry-After": 503} {
			if got := response.Header.Get(header); (got != "") != (tt.status == status) {
				t.Errorf("%s: %s: %q", tt.name, header, got)
			}
		}
	}
	if len(e.stored) != 2 {
		t.Errorf("stored %v, want two", e.stored)
	}
	if diff := cmp.Diff(map[string]float64{"mail unauthenticated": 1, "mail malformed": 1, "mail failure": 1}, e.rejected(t)); diff != "" {
		t.Errorf("-want +counted:\n%s", diff)
	}
	log := e.log.String()
	for _, want := range []string{
		`"level":"WARN","msg":"webhook call rejected","provider":"mail","reason":"unauthenticated","status":401`,
		`"level":"ERROR","msg":"webhook call rejected","provider":"mail","reason":"failure","status":503`, "10.0.0.7 does not answer",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("not logged: %s\n%s", want, log)
		}
	}
}

// A store that fails has the provider come again; why is not the public's business.
func TestEndpointWhenTheStoreFails(t *testing.T) {
	e := newEdge(t, map[string]events.Hook{"mail": {Source: source(lines)}})
	e.storeFails = errors.New("/data/bridge.db: disk is full")
	response, body := e.post(t, "/webhooks/mail", "1")
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || strings.Contains(body, "disk") {
		t.Errorf("%d %s", response.StatusCode, body)
	}
	if !strings.Contains(e.log.String(), "disk is full") {
		t.Errorf("log:\n%s", e.log)
	}
	e.storeFails = nil
	if response, body := e.post(t, "/webhooks/mail", "1"); response.StatusCode != http.StatusOK || len(e.stored) != 1 {
		t.Errorf("when it comes again: %d %s, stored %v", response.StatusCode, body, e.stored)
	}
}

const limit = 10 << 20

// 10 MiB are taken, one octet more is not, whether the length is told or not.
func TestEndpointLimit(t *testing.T) {
	got := make(chan int, 1)
	e := newEdge(t, map[string]events.Hook{"mail": {Source: source(func(_ http.Header, body []byte) (events.Batch, error) {
		got <- len(body)
		return events.Batch{}, nil
	})}})
	for _, told := range []bool{true, false} {
		for length, status := range map[int]int{limit: http.StatusOK, limit + 1: http.StatusRequestEntityTooLarge} {
			var body io.Reader = bytes.NewReader(make([]byte, length))
			if !told {
				body = io.MultiReader(body) // of which nobody knows the length
			}
			response, text := e.do(t, http.MethodPost, "/webhooks/mail", body)
			if response.StatusCode != status {
				t.Errorf("%d octets: %d %s, want %d", length, response.StatusCode, text, status)
			}
			if status == http.StatusOK {
				if n := <-got; n != length {
					t.Errorf("the source got %d octets of %d", n, length)
				}
			} else if !strings.Contains(text, "longer than 10 MiB") {
				t.Errorf("got %s", text)
			}
		}
	}
	if n := e.rejected(t)["mail too_large"]; n != 2 {
		t.Errorf("counted %v, want 2", n)
	}
}

// raw sends octets as they are, and gives the status.
func (e *edge) raw(t *testing.T, request string) (net.Conn, func() string) {
	t.Helper()
	conn, err := net.Dial("tcp", e.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn, func() string {
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(line)
	}
}

// A body that ends early, or never comes, stores nothing.
func TestEndpointOfTruncatedBodies(t *testing.T) {
	e := newEdge(t, map[string]events.Hook{"mail": {Source: source(lines)}})
	const head = "POST /webhooks/mail HTTP/1.1\r\nHost: localhost\r\n"
	for _, request := range []string{
		head + "Content-Length: 100\r\n\r\n1 2 3",
		head + "Transfer-Encoding: chunked\r\n\r\n5\r\n1 2 3\r\n",
		head + "Transfer-Encoding: chunked\r\n\r\n5\r\n1 2",
		head + "Transfer-Encoding: chunked\r\n\r\nno length\r\n",
	} {
		conn, status := e.raw(t, request)
		if half, ok := conn.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
		if got := status(); got != "HTTP/1.1 400 Bad Request" {
			t.Errorf("%q: %s", request, got)
		}
	}
	if len(e.stored) > 0 {
		t.Errorf("stored %v", e.stored)
	}
	if n := e.rejected(t)["mail malformed"]; n != 4 {
		t.Errorf("counted %v, want 4", n)
	}
}

// Who announces much and sends nothing keeps nobody out.
func TestEndpointBesideSlowBodies(t *testing.T) {
	e := newEdge(t, map[string]events.Hook{"mail": {Source: source(lines)}})
	for n := range 64 {
		length := "Content-Length: 10485760"
		if n%2 == 0 {
			length = "Transfer-Encoding: chunked"
		}
		// It answers 100 once it reads.
		_, status := e.raw(t, "POST /webhooks/mail HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"+length+"\r\n\r\n")
		if got := status(); got != "HTTP/1.1 100 Continue" {
			t.Fatal(got)
		}
	}
	if response, body := e.post(t, "/webhooks/mail", strings.Repeat("x", limit)); response.StatusCode != http.StatusOK {
		t.Errorf("%d %s", response.StatusCode, body)
	}
}

// What is there at once is bounded: whoever comes above that comes again.
func TestEndpointWhenTooManyCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arrived, release := make(chan struct{}), make(chan struct{})
		i := newIntake()
		endpoint := events.NewEndpoint(i.Intake, slog.New(slog.DiscardHandler), i.registry)
		endpoint.Replace(map[string]events.Hook{
			"slow": {Source: source(func(http.Header, []byte) (events.Batch, error) {
				close(arrived)
				<-release
				return events.Batch{}, nil
			})},
			"mail": {Source: source(lines)},
		})
		public := admin.NewPublic(admin.PublicOptions{Webhooks: endpoint, Logger: slog.New(slog.DiscardHandler), Now: time.Now})
		post := func(path string, octets int) *httptest.ResponseRecorder {
			page := httptest.NewRecorder()
			body := strings.NewReader(strings.Repeat("x", octets))
			public.ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, body))
			return page
		}
		var calls sync.WaitGroup
		calls.Go(func() {
			if page := post("/webhooks/slow", limit); page.Code != http.StatusOK {
				t.Errorf("the first: %d %s", page.Code, page.Body)
			}
		})
		<-arrived
		// Another of that size finds no room, and is told after a while.
		if page := post("/webhooks/mail", limit); page.Code != http.StatusServiceUnavailable || page.Header().Get("Retry-After") == "" {
			t.Errorf("the second: %d %s", page.Code, page.Body)
		}
		if n := i.series(t, "bridge_webhook_rejected_total")["mail busy"]; n != 1 {
			t.Errorf("counted %v, want 1", n)
		}
		// A small one does, and so does a large one that is patient while the first goes.
		if page := post("/webhooks/mail", 1000); page.Code != http.StatusOK {
			t.Errorf("a small one: %d %s", page.Code, page.Body)
		}
		time.AfterFunc(time.Second, func() { close(release) })
		if page := post("/webhooks/mail", limit); page.Code != http.StatusOK {
			t.Errorf("the third: %d %s", page.Code, page.Body)
		}
		calls.Wait()
	})
}

// A reload while a provider calls: the call ends as it began, and what it counts is
// nowhere to be seen once its provider is gone.
func TestEndpointReplaceDuringACall(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan error)
	waits := source(func(http.Header, []byte) (events.Batch, error) {
		arrived <- struct{}{}
		return batch(told(events.Opened, 0, keyed("1"))), <-release
	})
	e := newEdge(t, map[string]events.Hook{"mail": {Source: waits}, "other": {Source: source(lines)}})
	for _, fate := range []error{nil, events.ErrMalformed} {
		e.endpoint.Replace(map[string]events.Hook{"mail": {Source: waits}, "other": {Source: source(lines)}})
		status := make(chan int, 1)
		go func() {
			response, err := e.server.Client().Post(e.server.URL+"/webhooks/mail", "text/plain", strings.NewReader("x"))
			if err != nil {
				t.Error(err)
				status <- 0
				return
			}
			_ = response.Body.Close()
			status <- response.StatusCode
		}()
		<-arrived
		e.endpoint.Replace(map[string]events.Hook{"other": {Source: source(lines)}})
		if response, _ := e.post(t, "/webhooks/mail", "2"); response.StatusCode != http.StatusNotFound {
			t.Errorf("the next call: %d, want 404", response.StatusCode)
		}
		release <- fate
		want := http.StatusOK
		if fate != nil {
			want = http.StatusBadRequest
		}
		if got := <-status; got != want {
			t.Errorf("the call under way: %d, want %d", got, want)
		}
	}
	if len(e.stored) != 1 || len(e.rejected(t)) > 0 {
		t.Errorf("stored %v, counted %v", e.stored, e.rejected(t))
	}
	families, err := e.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "bridge_webhook_rejected_total" && len(family.GetMetric()) != 5 {
			t.Errorf("%d series, want one for each reason at the one that is left", len(family.GetMetric()))
		}
	}
}

// Calls and reloads at once: the race detector looks on.
func TestEndpointAtOnce(t *testing.T) {
	hooks := map[string]events.Hook{"mail": {Source: source(lines)}}
	e := newEdge(t, hooks)
	var calls sync.WaitGroup
	for n := range 4 {
		calls.Go(func() {
			for k := range 25 {
				if response, body := e.post(t, "/webhooks/mail", fmt.Sprintf("%d-%d", n, k)); response.StatusCode != http.StatusOK {
					t.Errorf("%d %s", response.StatusCode, body)
				}
			}
		})
	}
	for range 50 {
		e.endpoint.Replace(hooks)
	}
	calls.Wait()
	if len(e.stored) != 100 {
		t.Errorf("%d stored, want 100", len(e.stored))
	}
}

// A call of this machine is one that comes from here, to here, under a name of
// here, and for nobody else.
func TestEndpointHearsThisMachineOnly(t *testing.T) {
	e := newEdge(t, map[string]events.Hook{
		"test": {Source: source(lines), Local: true},
		"open": {Source: source(lines)},
	})
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = []string{value} }
	}
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	tests := []struct {
		name   string
		change func(*http.Request)
		here   bool
	}{
		{"as it is", host(""), true},
		{"localhost", host("localhost:8080"), true},
		{"another name without a dot", host("bridge"), true},
		{"an address", host("[::1]:8080"), true},
		{"a proxy", header("X-Forwarded-For", "192.0.2.1"), false},
		{"a proxy that hides its client", header("X-Forwarded-For", ""), false},
		{"a proxy by the standard", header("Forwarded", "for=192.0.2.1"), false},
		{"nginx", header("X-Real-Ip", "192.0.2.1"), false},
		{"a cache", header("Via", "1.1 cache"), false},
		{"a page of a name that has become 127.0.0.1", host("evil.example"), false},
		{"with a port", host("evil.example.:8080"), false},
		{"a page of another site", header("Sec-Fetch-Site", "cross-site"), false},
		{"of an older browser", header("Origin", "https://evil.example"), false},
	}
	for _, tt := range tests {
		response, body := e.post(t, "/webhooks/test", "1", tt.change)
		if (response.StatusCode == http.StatusOK) != tt.here {
			t.Errorf("%s: %d %s", tt.name, response.StatusCode, body)
		}
		if response.StatusCode == http.StatusUnauthorized && !strings.Contains(body, "webhook_unverified") {
			t.Errorf("%s: %s, want the remedy", tt.name, body)
		}
	}
	// What carries a key is heard from everywhere.
	if response, body := e.post(t, "/webhooks/open", "1", header("X-Forwarded-For", "192.0.2.1")); response.StatusCode != http.StatusOK {
		t.Errorf("not local: %d %s", response.StatusCode, body)
	}
}

// Both ends must be loopback: a listener on all addresses has calls of both kinds.
func TestEndpointLooksAtBothAddresses(t *testing.T) {
	e := newEdge(t, map[string]events.Hook{"test": {Source: source(lines), Local: true}})
	tcp := func(address string) net.Addr {
		a, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	tests := []struct {
		remote string
		local  net.Addr
		here   bool
	}{
		{"127.0.0.1:5000", tcp("127.0.0.1:8080"), true},
		{"[::1]:5000", tcp("[::1]:8080"), true},
		{"[::ffff:127.0.0.1]:5000", tcp("127.0.0.9:8080"), true},
		{"192.0.2.1:5000", tcp("127.0.0.1:8080"), false},
		{"127.0.0.1:5000", tcp("192.0.2.2:8080"), false},
		{"192.0.2.2:5000", tcp("192.0.2.2:8080"), false},
		{"@", tcp("127.0.0.1:8080"), false},
		{"127.0.0.1:5000", nil, false},
	}
	for _, tt := range tests {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/webhooks/test", strings.NewReader("1"))
		r.SetPathValue("name", "test")
		r.RemoteAddr = tt.remote
		if tt.local != nil {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, tt.local))
		}
		err := e.endpoint.Answer(r)
		if (err == nil) != tt.here {
			t.Errorf("from %s to %v: %v", tt.remote, tt.local, err)
		}
		if rejection, ok := errors.AsType[*events.Rejection](err); err != nil && (!ok || rejection.Status != http.StatusUnauthorized) {
			t.Errorf("from %s to %v: %v, want 401", tt.remote, tt.local, err)
		}
	}
}

// rehearse makes the endpoint of a sandbox.
func rehearse(t *testing.T) *edge {
	t.Helper()
	return newEdge(t, map[string]events.Hook{"test": {Source: events.Rehearsal{Provider: "mail"}, Local: true}})
}

func TestRehearsal(t *testing.T) {
	e := rehearse(t)
	const full = `{"id":"evt_mine","provider":"sendgrid","type":"bounced","message_id":"01A","provider_message_id":"p1","recipient":"Ann@Example.com",` +
		`"timestamp":"2026-01-02T03:04:05Z","reason":"r","response":"550 5.1.1","attempt":2,"bounce":"hard","sequence":4711,"tags":["welcome"],` +
		`"metadata":{"user_id":"12345"},"raw":{"a":1},"scope":"tag:x","url":"https://example.com/","machine":true,"later":"unknown"}`
	if response, body := e.post(t, "/webhooks/test", full); response.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", response.StatusCode, body)
	}
	want := events.Event{
		ID: "evt_mine", Provider: "sendgrid", Type: events.Bounced, MessageID: "01A", ProviderMessageID: "p1", Recipient: ann,
		Timestamp: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Reason: "r", Response: "550 5.1.1", Attempt: 2, Bounce: events.Hard,
		Scope: "tag:x", URL: "https://example.com/", Machine: true, Tags: []string{"welcome"},
		Metadata: map[string]string{"user_id": "12345"}, Raw: json.RawMessage(`{"a":1}`),
	}
	if diff := cmp.Diff(want, e.stored["evt_mine"]); diff != "" {
		t.Errorf("-want +stored:\n%s", diff)
	}
	// The same id is the same event; without one each is another.
	for _, body := range []string{full, `{"type":"opened"}`, `{"type":"opened"}`, `{"type":"clicked","id":"a"}`, `{"type":"clicked","id":"a"}`} {
		if response, answer := e.post(t, "/webhooks/test", body); response.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", body, response.StatusCode, answer)
		}
	}
	if len(e.stored) != 4 {
		t.Errorf("%d stored, want 4", len(e.stored))
	}
	if diff := cmp.Diff(map[string]float64{"mail opened": 2, "mail clicked": 1}, e.series(t, "bridge_events_total")); diff != "" {
		t.Errorf("-want +counted:\n%s", diff)
	}
	for _, stored := range e.stored {
		if stored.Type == events.Opened && (stored.Provider != "mail" || string(stored.Raw) != `{"type":"opened"}` || !stored.Timestamp.Equal(noon)) {
			t.Errorf("without provider, time and raw: %+v", stored)
		}
	}
}

func TestRehearsalOfEachType(t *testing.T) {
	e := rehearse(t)
	for _, kind := range events.Types() {
		body := fmt.Sprintf(`{"type":%q,"id":%q}`, kind, kind)
		if kind == events.Bounced {
			body = `{"type":"bounced","bounce":"soft","id":"bounced"}`
		}
		if response, answer := e.post(t, "/webhooks/test", body); response.StatusCode != http.StatusOK || e.stored[string(kind)].Type != kind {
			t.Errorf("%s: %d %s", kind, response.StatusCode, answer)
		}
	}
}

func TestRehearsalRefuses(t *testing.T) {
	e := rehearse(t)
	for body, want := range map[string]string{
		``:                                      "not one event as JSON",
		`null`:                                  `type "" is unknown`,
		`{}`:                                    `type "" is unknown; it is one of [accepted delivered`,
		`{"type":"exploded"}`:                   `type "exploded" is unknown`,
		`{"type":"Bounced","bounce":"hard"}`:    `type "Bounced" is unknown`,
		`[{"type":"opened"}]`:                   "not one event as JSON",
		`{"type":"opened"}{"type":"opened"}`:    "not one event as JSON",
		`{"type":"opened","timestamp":"today"}`: "not one event as JSON",
		`{"type":"opened","metadata":{"a":1}}`:  "not one event as JSON",
		`{"type":"bounced"}`:                    `bounce "" is unknown; it is hard or soft`,
		`{"type":"bounced","bounce":"rubber"}`:  `bounce "rubber" is unknown`,
		`{"type":"opened","bounce":"hard"}`:     "bounce is for type bounced only",
		`{"type":"opened","id":"` + strings.Repeat("x", 129) + `"}`: "id has more than 128 octets",
	} {
		response, answer := e.post(t, "/webhooks/test", body)
		var p struct{ Detail string }
		if err := json.Unmarshal([]byte(answer), &p); err != nil || response.StatusCode != http.StatusBadRequest || !strings.Contains(p.Detail, want) {
			t.Errorf("%.60s: %d %s, want 400 with %s", body, response.StatusCode, answer, want)
		}
	}
	if len(e.stored) > 0 {
		t.Errorf("stored %v", e.stored)
	}
}

// Whatever comes: it is one valid event, or malformed.
func FuzzRehearsal(f *testing.F) {
	for _, seed := range []string{`{"type":"opened"}`, `{"type":"bounced","bounce":"soft","id":"x","raw":[1]}`, `{"type":"exploded"}`, `[]`, `{"type":"opened","timestamp":"9999-12-31T23:59:59Z"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := events.Rehearsal{Provider: "mail"}.Receive(t.Context(), nil, body)
		if err != nil {
			if !errors.Is(err, events.ErrMalformed) {
				t.Fatalf("%v is not the caller's", err)
			}
			return
		}
		if len(b.Events) != 1 || !b.Events[0].Type.Known() || b.Events[0].ID == "" && b.Events[0].Key == "" || !json.Valid(b.Events[0].Raw) {
			t.Fatalf("%+v", b)
		}
		i := newIntake()
		if err := i.Take(t.Context(), "test", b); err != nil {
			t.Fatal(err)
		}
		for _, e := range i.stored {
			if _, err := json.Marshal(e); err != nil {
				t.Fatalf("%+v cannot be stored: %v", e, err)
			}
		}
	})
}

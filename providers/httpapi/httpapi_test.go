package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text is a request body.
type text string

func (s text) Len() int64                   { return int64(len(s)) }
func (s text) Open() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(s))), nil }

// adapter is a provider of ten lines: every group of recipients is a request,
// and the status alone decides.
type adapter struct {
	limit     int64
	groups    [][]string
	body      providers.Body
	results   func(providers.Request, providers.Response) []providers.Result
	authorize error
}

func (a adapter) Capabilities() providers.Capabilities {
	return providers.Capabilities{MaxSize: 7, MaxRequestBytes: a.limit}
}

func (a adapter) Requests(*translate.Message) []providers.Request {
	var list []providers.Request
	for _, group := range a.groups {
		list = append(list, providers.Request{
			Method: http.MethodPost, URL: "https://api.example.com/v1/send?x=1",
			Header: http.Header{"Content-Type": {"text/plain"}}, Body: a.body, Recipients: group,
		})
	}
	return list
}

func (a adapter) Results(r providers.Request, resp providers.Response) []providers.Result {
	if a.results != nil {
		return a.results(r, resp)
	}
	if resp.Status == http.StatusOK {
		return providers.Fail(r.Recipients, providers.Accepted, nil)
	}
	return providers.Fail(r.Recipients, providers.Refused, providers.Refusal(resp.Status, string(resp.Body)))
}

func (a adapter) Authorize(_ context.Context, r *http.Request) error {
	r.SetBasicAuth("api", "secret-password")
	return a.authorize
}

func (a adapter) Probe() providers.Request {
	return providers.Request{Method: http.MethodGet, URL: "https://api.example.com/v1/me"}
}

// server answers by handler; the provider that comes with it has a pool of its own.
func server(t *testing.T, a providers.Adapter, handler http.HandlerFunc) *httpapi.Provider {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c := httpapi.DefaultConfig("esp")
	c.BaseURL = s.URL
	return httpapi.New(c, a, transport)
}

func to(recipients ...string) *translate.Message {
	return &translate.Message{Envelope: translate.Envelope{Recipients: recipients}}
}

func states(outcome providers.Outcome) []string {
	var list []string
	for _, r := range outcome {
		word := r.Recipient + " " + r.State.String()
		if r.Err != nil {
			word += " " + string(r.Err.Category)
		}
		list = append(list, word)
	}
	return list
}

func TestSendKeepsPathAndQuery(t *testing.T) {
	var got []string
	p := server(t, adapter{groups: [][]string{{"a"}}, body: text("hello")}, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		got = []string{
			r.Method, r.URL.String(), r.Header.Get("Content-Type"), r.Header.Get("Accept-Encoding"), string(body), user, password,
		}
	})
	outcome := p.Send(t.Context(), to("a"))
	if diff := cmp.Diff([]string{"POST", "/v1/send?x=1", "text/plain", "identity", "hello", "api", "secret-password"}, got); diff != "" {
		t.Errorf("the request (-want +got):\n%s", diff)
	}
	if outcome.Accepted() != 1 || outcome[0].Provider != "esp" || p.Name() != "esp" || p.Capabilities().MaxSize != 7 {
		t.Errorf("the outcome is %+v of %s, want it accepted by esp", outcome, p.Name())
	}
}

func TestSendCombinesInEnvelopeOrder(t *testing.T) {
	n := 0
	p := server(t, adapter{groups: [][]string{{"c", "b"}, {"a"}}, body: text("x")}, func(w http.ResponseWriter, _ *http.Request) {
		if n++; n == 2 {
			w.WriteHeader(http.StatusBadRequest)
			w.Write([]byte("user unknown"))
		}
	})
	got := states(p.Send(t.Context(), to("a", "b", "c", "forgotten")))
	want := []string{"a refused invalid_recipient", "b accepted", "c accepted", "forgotten refused local_failure"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What the next request would meet as well is not asked again.
func TestSendStopsWhereTheAccountIsRefused(t *testing.T) {
	for status, want := range map[int]int{429: 1, 401: 1, 503: 1, 400: 3, 413: 3} {
		n := 0
		p := server(t, adapter{groups: [][]string{{"a"}, {"b"}, {"c"}}, body: text("x")}, func(w http.ResponseWriter, _ *http.Request) {
			n++
			w.WriteHeader(status)
		})
		outcome := p.Send(t.Context(), to("a", "b", "c"))
		if n != want {
			t.Errorf("after %d there were %d requests, want %d", status, n, want)
		}
		for _, r := range outcome {
			if r.State != providers.Refused || r.Err.ProviderCode == "" {
				t.Errorf("after %d %s is %v (%+v)", status, r.Recipient, r.State, r.Err)
			}
		}
	}
}

// An adapter that leaves something open leaves it ambiguous.
func TestSendCompletesResults(t *testing.T) {
	refusal := &providers.Error{Category: providers.ContentRejected}
	p := server(t, adapter{
		groups: [][]string{{"a", "b", "c", "d"}}, body: text("x"),
		results: func(providers.Request, providers.Response) []providers.Result {
			return []providers.Result{
				{Recipient: "d", State: providers.Refused, Err: refusal},
				{Recipient: "b", State: providers.Refused},                // without a reason
				{Recipient: "c", State: providers.Accepted, Err: refusal}, // contradicts itself
				{Recipient: "stranger", State: providers.Accepted},
			}
		},
	}, func(http.ResponseWriter, *http.Request) {})
	want := []string{
		"a ambiguous service_unavailable", "b ambiguous service_unavailable", "c ambiguous service_unavailable",
		"d refused content_rejected",
	}
	if diff := cmp.Diff(want, states(p.Send(t.Context(), to("a", "b", "c", "d")))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSendHidesCredentials(t *testing.T) {
	p := server(t, adapter{groups: [][]string{{"a"}}, body: text("x")}, func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte("you said " + password + " and " + r.Header.Get("Authorization")))
	})
	message := p.Send(t.Context(), to("a"))[0].Err.Message
	if message != "you said [redacted] and [redacted]" {
		t.Errorf("the error says %q", message)
	}
}

// broken is a body that promises more than it has, or cannot be read.
type broken struct{ err error }

func (b broken) Len() int64 { return 1 << 20 }
func (b broken) Open() (io.ReadCloser, error) {
	if b.err != nil {
		return nil, b.err
	}
	return text("short").Open()
}

func TestSendWithoutAReadableBody(t *testing.T) {
	gone := errors.New("the spool is gone")
	for name, body := range map[string]providers.Body{"opening": broken{gone}, "short": broken{}} {
		p := server(t, adapter{groups: [][]string{{"a"}}, body: body}, func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
		})
		outcome := p.Send(t.Context(), to("a"))
		if outcome[0].State != providers.Refused || outcome[0].Err.Category != providers.LocalFailure {
			t.Errorf("%s: %v, %v; want a local_failure", name, outcome[0].State, outcome[0].Err)
		}
	}
}

func TestSendWithoutAuthorisation(t *testing.T) {
	n := 0
	p := server(t, adapter{groups: [][]string{{"a"}}, body: text("x"), authorize: errors.New("no credentials")},
		func(http.ResponseWriter, *http.Request) { n++ })
	if got := states(p.Send(t.Context(), to("a"))); n != 0 || got[0] != "a refused authentication" {
		t.Errorf("%d requests, %s; want none, authentication", n, got)
	}
}

// An answer that comes before the body is read counts: nothing is ambiguous.
func TestSendTakesAnEarlyAnswer(t *testing.T) {
	p := server(t, adapter{groups: [][]string{{"a"}}, body: text(strings.Repeat("x", 64<<10))}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})
	outcome := p.Send(t.Context(), to("a"))
	if outcome[0].State != providers.Refused || outcome[0].Err.Category != providers.TooLarge || !outcome[0].Err.Local {
		t.Errorf("%v, %+v; want too_large, local", outcome[0].State, outcome[0].Err)
	}
}

// Escapes and what stands around the mail count: the limit is the request's.
func TestSendWithinTheLimit(t *testing.T) {
	for length, want := range map[int]string{10: "a accepted", 11: "a refused too_large"} {
		n := 0
		p := server(t, adapter{groups: [][]string{{"a"}}, body: text(strings.Repeat("x", length)), limit: 10},
			func(http.ResponseWriter, *http.Request) { n++ })
		outcome := p.Send(t.Context(), to("a"))
		if got := states(outcome)[0]; got != want || n != 11-length || (n == 0 && !outcome[0].Err.Local) {
			t.Errorf("%d octets: %s after %d requests, want %s", length, got, n, want)
		}
	}
}

// roundTrip is a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// stalled is the body of an answer that never comes.
type stalled struct{ ctx context.Context }

func (s stalled) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func (stalled) Close() error { return nil }

// The header of an answer has said what counts: nobody waits long for a body
// that does not come.
func TestSendWithoutTheBodyOfTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got providers.Response
		a := adapter{groups: [][]string{{"a"}}, results: func(r providers.Request, resp providers.Response) []providers.Result {
			got = resp
			return providers.Fail(r.Recipients, providers.Accepted, nil)
		}}
		p := httpapi.New(httpapi.DefaultConfig("esp"), a, roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusAccepted, Body: stalled{r.Context()}}, nil
		}))
		start := time.Now()
		outcome := p.Send(t.Context(), to("a"))
		if took := time.Since(start); outcome.Accepted() != 1 || !got.Truncated || took != 5*time.Second {
			t.Errorf("after %v the outcome is %v (truncated %v), want it accepted after 5 s", took, states(outcome), got.Truncated)
		}
	})
}

// Why there is no answer is for a reply: without addresses of this host.
func TestSendSaysWhyThereIsNoAnswer(t *testing.T) {
	gone, stop := context.WithCancelCause(t.Context())
	stop(errors.New("the bridge is shutting down"))
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}
	write := &net.OpError{Op: "write", Net: "tcp", Source: local, Err: os.NewSyscallError("write", syscall.EPIPE)}
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want string
	}{
		{gone, context.Cause(gone), "no answer before the request was given up"},
		{t.Context(), &net.OpError{Op: "readfrom", Net: "tcp", Source: local, Err: write}, "write: " + os.NewSyscallError("write", syscall.EPIPE).Error()},
		{t.Context(), errors.New("127.0.0.1:4711 broke"), "no answer in HTTP"},
	} {
		p := httpapi.New(httpapi.DefaultConfig("esp"), adapter{groups: [][]string{{"a"}}, body: text("x")},
			roundTrip(func(*http.Request) (*http.Response, error) { return nil, c.err }))
		if got := p.Send(c.ctx, to("a"))[0].Err.Message; got != c.want {
			t.Errorf("%v is told as %q, want %q", c.err, got, c.want)
		}
	}
}

func TestSendClipsTheID(t *testing.T) {
	p := server(t, adapter{
		groups: [][]string{{"a"}}, body: text("x"),
		results: func(r providers.Request, resp providers.Response) []providers.Result {
			return []providers.Result{{Recipient: "a", State: providers.Accepted, ProviderID: string(resp.Body)}}
		},
	}, func(w http.ResponseWriter, _ *http.Request) { w.Write(bytes.Repeat([]byte("x"), 300)) })
	if id := p.Send(t.Context(), to("a"))[0].ProviderID; len(id) != 255 {
		t.Errorf("the id has %d octets, want 255", len(id))
	}
}

func TestSendCapsTheAnswer(t *testing.T) {
	for size, truncated := range map[int]bool{1 << 20: false, 1<<20 + 1: true} {
		var got providers.Response
		p := server(t, adapter{
			groups: [][]string{{"a"}}, body: text("x"),
			results: func(r providers.Request, resp providers.Response) []providers.Result {
				got = resp
				return providers.Fail(r.Recipients, providers.Accepted, nil)
			},
		}, func(w http.ResponseWriter, _ *http.Request) { w.Write(bytes.Repeat([]byte("x"), size)) })
		p.Send(t.Context(), to("a"))
		if len(got.Body) != 1<<20 || got.Truncated != truncated || got.Time.IsZero() {
			t.Errorf("of %d octets %d are read, truncated %v, at %v", size, len(got.Body), got.Truncated, got.Time)
		}
	}
}

func TestProbe(t *testing.T) {
	for status, want := range map[int]providers.Category{200: "", 204: "", 401: providers.Authentication, 302: providers.ConfigurationError} {
		p := server(t, adapter{}, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/me" || r.Method != http.MethodGet || r.Header.Get("Authorization") == "" {
				t.Errorf("the probe is %s %s", r.Method, r.URL)
			}
			w.WriteHeader(status)
		})
		err := p.Probe(t.Context())
		var refusal *providers.Error
		switch {
		case want == "" && err != nil:
			t.Errorf("%d: %v, want no error", status, err)
		case want != "" && (!errors.As(err, &refusal) || refusal.Category != want):
			t.Errorf("%d: %v, want %s", status, err, want)
		}
	}
}

// asker asks again what its credentials may not ask.
type asker struct{ adapter }

func (asker) ProbeAgain(first providers.Response) (providers.Request, bool) {
	return providers.Request{Method: http.MethodPost, URL: "https://api.example.com/v1/other", Body: text("x")},
		first.Status == http.StatusUnauthorized
}

// The second answer counts where the first leaves it open.
func TestProbeAgain(t *testing.T) {
	for _, c := range []struct {
		first, second int
		asked         int
		want          providers.Category
	}{
		{200, 500, 1, ""},
		{404, 200, 1, providers.ConfigurationError},
		{401, 200, 2, ""},
		{401, 403, 2, providers.Authentication},
	} {
		asked := 0
		p := server(t, asker{}, func(w http.ResponseWriter, r *http.Request) {
			asked++
			if r.Header.Get("Authorization") == "" {
				t.Errorf("%s is not authorised", r.URL)
			}
			if r.URL.Path == "/v1/other" {
				w.WriteHeader(c.second)
				return
			}
			w.WriteHeader(c.first)
		})
		err := p.Probe(t.Context())
		var refusal *providers.Error
		if asked != c.asked || (err == nil) != (c.want == "") || errors.As(err, &refusal) && refusal.Category != c.want {
			t.Errorf("%d, then %d: %v after %d questions, want %q after %d", c.first, c.second, err, asked, c.want, c.asked)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*httpapi.Config)
		want   []string
	}{
		{"default", func(*httpapi.Config) {}, nil},
		{"all at once", func(c *httpapi.Config) { *c = httpapi.Config{BaseURL: "x"} }, []string{"base_url", "timeout"}},
		{"base", func(c *httpapi.Config) { c.BaseURL = "https://api.eu.sendgrid.com/" }, nil},
		{"base with port", func(c *httpapi.Config) { c.BaseURL = "http://127.0.0.1:8080" }, nil},
		{"base with path", func(c *httpapi.Config) { c.BaseURL = "https://a.example/v3" }, []string{"base_url"}},
		{"base with user", func(c *httpapi.Config) { c.BaseURL = "https://u:p@a.example" }, []string{"base_url"}},
		{"base with query", func(c *httpapi.Config) { c.BaseURL = "https://a.example?x" }, []string{"base_url"}},
		{"base without scheme", func(c *httpapi.Config) { c.BaseURL = "a.example" }, []string{"base_url"}},
		{"other scheme", func(c *httpapi.Config) { c.BaseURL = "ftp://a.example" }, []string{"base_url"}},
		{"no timeout", func(c *httpapi.Config) { c.Timeout = 0 }, []string{"timeout"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := httpapi.DefaultConfig("esp")
			c.change(&settings)
			var got []string
			settings.Validate(func(key, problem string) {
				got = append(got, key)
				if problem == "" || strings.Contains(problem, "u:p") {
					t.Errorf("%s: the problem is %q", key, problem)
				}
			})
			if !slices.Equal(got, c.want) {
				t.Errorf("the problems are of %q, want %q", got, c.want)
			}
		})
	}
	if c := httpapi.DefaultConfig("esp"); c.Timeout != config.Duration(30*time.Second) || c.Name != "esp" || c.Type != "esp" {
		t.Errorf("the default is %+v", c)
	}
}

package providertest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"smtpbridge/providers"
)

const patience = 30 * time.Second // nothing is meant to take that long

var two = []string{"a@example.org", "b@example.org"}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func (s Suite) testAccepted(t *testing.T) {
	var agent, length string
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		agent, length = r.UserAgent(), r.Header.Get("Content-Length")
		for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			if r.Header.Get(name) != "" {
				t.Errorf("the request has a %s, with which net/http would repeat it", name)
			}
		}
		if r.ContentLength < 0 {
			t.Error("the request announces no length")
		}
		s.Accept(w, r)
	})
	m := Message(t, small, two...)
	outcome := s.provider(t, base, patience).Send(t.Context(), m)
	checkOutcome(t, outcome, two)
	if outcome.Accepted() != len(two) {
		t.Errorf("the outcome is %+v, want all accepted", outcome)
	}
	if !strings.HasPrefix(agent, "smtp-bridge/") {
		t.Errorf("the User-Agent is %q (%s octets), want smtp-bridge/<version>", agent, length)
	}
}

// testStatuses: whatever is answered, every recipient has a result that fits.
func (s Suite) testStatuses(t *testing.T) {
	bodies := []string{"", "{}", "[]", "null", `{"errors":[]}`, `{"errors":[{}]}`, `{"message":7}`, "<html>error</html>", "\xff\x00"}
	var status atomic.Int64
	var body atomic.Pointer[string]
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		w.Write([]byte(*body.Load()))
	})
	provider := s.provider(t, base, patience)
	m := Message(t, small, two...)
	for code := 200; code < 600; code++ {
		for i := range bodies {
			if i > 0 && (code == http.StatusNoContent || code == http.StatusNotModified || code%100 > 30) {
				continue // no body may follow, or no provider gives the status a meaning
			}
			status.Store(int64(code))
			body.Store(&bodies[i])
			outcome := provider.Send(t.Context(), m)
			checkOutcome(t, outcome, two)
			checkStatus(t, code, bodies[i], outcome)
		}
	}
}

// checkStatus holds what is true of every provider.
func checkStatus(t *testing.T, code int, body string, outcome providers.Outcome) {
	t.Helper()
	for _, result := range outcome {
		switch {
		case code >= 300 && result.State == providers.Accepted:
			t.Errorf("%d %q is taken for a success", code, body)
		case code < 300 && result.State == providers.Refused:
			t.Errorf("%d %q is taken for a refusal", code, body)
		case (code == 502 || code == 504) && result.State != providers.Ambiguous:
			t.Errorf("%d %q is %v, want ambiguous", code, body, result.State)
		case code == 500 && body == "" && result.State != providers.Ambiguous:
			t.Errorf("500 without a body is %v, want ambiguous", result.State)
		case result.State == providers.Ambiguous && result.Err.Category != providers.NetworkError &&
			result.Err.Category != providers.ServiceUnavailable:
			t.Errorf("%d %q is ambiguous with the category %s", code, body, result.Err.Category)
		}
	}
}

// testSecret: a provider that repeats the credentials, written in any way, does
// not bring them into an outcome.
func (s Suite) testSecret(t *testing.T) {
	escaped := fmt.Sprintf(`\u%04x%s`, s.Secret[0], s.Secret[1:])
	words := func(secret string) string {
		return fmt.Sprintf(`{"errors":[{"message":"%s"}],"message":"%[1]s","data":{"error":"%[1]s"}}`, secret)
	}
	id := fmt.Sprintf(`{"id":%q,"message_id":%[1]q,"MessageID":%[1]q,"MessageId":%[1]q,"data":{"email_id":%[1]q}}`, s.Secret)
	for _, c := range []struct {
		name   string
		status int
		body   string
	}{
		{"plain", 400, words("bad request with " + s.Secret)},
		{"escaped", 400, words("bad request with " + escaped)},
		{"cut", 400, words(strings.Repeat("x", 495) + " " + s.Secret)},
		{"not authorised", 401, words("bad key " + escaped)},
		{"id", 202, id},
		{"id", 200, id},
	} {
		base := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Message-Id", s.Secret)
			w.WriteHeader(c.status)
			io.WriteString(w, c.body) //nolint:errcheck // the client tells
		})
		s.checkSecret(t, c.name, base)
	}
	s.checkSecret(t, "refused connection", Refusing(t))
}

// checkSecret: no 12 octets of the secret leave.
func (s Suite) checkSecret(t *testing.T, name, base string) {
	t.Helper()
	provider := s.provider(t, base, patience)
	texts := []string{fmt.Sprint(provider.Probe(t.Context()))}
	for _, result := range provider.Send(t.Context(), Message(t, small, two...)) {
		texts = append(texts, fmt.Sprintf("%+v", result))
		if result.Err != nil {
			texts = append(texts, fmt.Sprintf("%+v", *result.Err))
		}
	}
	if text := strings.Join(texts, "\n"); strings.Contains(text, s.Secret[:min(len(s.Secret), 12)]) {
		t.Errorf("%s: the outcome carries the secret:\n%s", name, text)
	}
}

// testRedirect: credentials and mail go to no other place.
func (s Suite) testRedirect(t *testing.T) {
	var followed atomic.Int64
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		followed.Add(1)
		s.Accept(w, r)
	})
	for _, code := range []int{301, 302, 303, 307, 308} {
		base := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", other+r.URL.Path)
			w.WriteHeader(code)
		})
		outcome := s.provider(t, base, patience).Send(t.Context(), Message(t, small, two...))
		for _, result := range outcome {
			if result.State != providers.Refused || result.Err.Category != providers.ConfigurationError {
				t.Errorf("%d is %v, %v; want a configuration_error", code, result.State, result.Err)
			}
		}
	}
	if n := followed.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// testLongAnswer: an answer without an end costs 1 MiB.
func (s Suite) testLongAnswer(t *testing.T) {
	const limit = 64 << 20
	written := make(chan int, 1)
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		block, n := make([]byte, 64<<10), 0
		for n < limit {
			if _, err := w.Write(block); err != nil {
				break
			}
			n += len(block)
		}
		written <- n
	})
	outcome := s.provider(t, base, patience).Send(t.Context(), Message(t, small, two...))
	checkOutcome(t, outcome, two)
	if n := <-written; n >= limit {
		t.Errorf("%d octets of an answer were read, want no more than 1 MiB and what buffers hold", n)
	}
}

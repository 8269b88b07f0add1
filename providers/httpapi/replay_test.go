package httpapi_test

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"smtpbridge/providers"
)

// A request that was read on a connection that then dies is not sent again,
// although its body could be: net/http would do so by itself with an
// Idempotency-Key (its isReplayable).
func TestSendIsNotReplayedOnADeadConnection(t *testing.T) {
	var (
		mu                  sync.Mutex // guards what follows: the second request ends without an answer
		bodies, connections []string
	)
	p := server(t, adapter{groups: [][]string{{"a"}}, body: text("mail")}, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		bodies, connections = append(bodies, string(body)), append(connections, r.RemoteAddr)
		if len(bodies) == 2 {
			panic(http.ErrAbortHandler) // the connection is closed without an answer
		}
	})
	if first := p.Send(t.Context(), to("a")); first.Accepted() != 1 {
		t.Fatalf("the first mail is %+v", first)
	}
	second := p.Send(t.Context(), to("a"))
	mu.Lock()
	defer mu.Unlock()
	if len(bodies) != 2 || connections[0] != connections[1] {
		t.Fatalf("the server saw %q on %q, want two mails on one connection", bodies, connections)
	}
	if second[0].State != providers.Ambiguous || second[0].Err.Category != providers.NetworkError {
		t.Errorf("the second mail is %v (%v), want ambiguous", second[0].State, second[0].Err)
	}
}

package load_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// newSink is a provider that reads everything and takes it, in these words. It reads no
// body before together requests have come, so that so many mails are in flight
// at once.
func newSink(tb testing.TB, together, status int, answer string) string {
	tb.Helper()
	var come atomic.Int64
	all := make(chan struct{})
	if together == 0 {
		close(all)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if come.Add(1) == int64(together) {
			close(all)
		}
		select {
		case <-all:
		case <-tb.Context().Done():
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.Header().Set("X-Message-Id", "XmSgId22chars_________")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	tb.Cleanup(server.Close)
	return server.URL
}

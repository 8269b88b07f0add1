package load_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// newSink is a provider that reads everything and takes it, in these words. It reads no body
// before together requests have come, so that so many mails are in flight at
// once.
func newSink(tb testing.TB, together, status int, answer string) string {
	tb.Helper()
	var waiting sync.WaitGroup
	waiting.Add(together)
	var come sync.Mutex // guards missing
	missing := together
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		come.Lock()
		if missing > 0 {
			missing--
			waiting.Done()
		}
		come.Unlock()
		waiting.Wait()
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

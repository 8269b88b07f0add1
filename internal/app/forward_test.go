package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const forwardSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// forwarded is an event as the application gets it.
type forwarded struct {
	header http.Header
	seen
	ID       string
	Sequence int64
}

// application takes events that are signed, and gives them to the test.
func application(t *testing.T) (url string, events <-chan forwarded) {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(forwardSecret)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan forwarded, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = verifier.Verify(body, r.Header)
		}
		e := forwarded{header: r.Header}
		if err == nil {
			err = json.Unmarshal(body, &e)
		}
		if err != nil {
			t.Errorf("an event that cannot be taken: %v", err)
		}
		got <- e
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

// The application hears of the 250, of the bounce that follows, and of the
// suppression that comes of it, in the signed form of the contract; and again
// when it asks for a replay.
func TestForward(t *testing.T) {
	url, events := application(t)
	b := start(t, onPortZero+fmt.Sprintf("[events]\nforward_url = %q\nforward_secret = %q\n", url, forwardSecret))
	id := idOf(b.send(t, "hardbounce@sandbox.test"))
	first := make(map[string]forwarded)
	for len(first) < 3 {
		e := <-events
		first[e.Type] = e
		if e.Recipient != "hardbounce@sandbox.test" || e.MessageID != id || e.Provider != "sandbox" {
			t.Errorf("forwarded %+v, want it to be about hardbounce@sandbox.test and message %s", e.seen, id)
		}
		if e.header.Get("Webhook-Id") != e.ID || e.header.Get("X-Webhook-Source") != "smtp-bridge" ||
			e.header.Get("X-Webhook-Timestamp") == "" || e.header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v of event %s", e.header, e.ID)
		}
	}
	for _, want := range []string{"accepted", "bounced", "suppression_added"} {
		if first[want].Sequence == 0 {
			t.Errorf("%s was not forwarded with a sequence: %+v", want, first[want])
		}
	}
	status, body := call(t, http.MethodPost, b.Addrs().Admin, "/api/v1/events/replay",
		`{"from":"2020-01-01T00:00:00Z","to":"2100-01-01T00:00:00Z"}`)
	if status != http.StatusOK || body != `{"events":3}`+"\n" {
		t.Errorf("replay: %d %s, want 3 events", status, body)
	}
	for range 3 {
		e := <-events
		if again := first[e.Type]; again.ID != e.ID || again.Sequence != e.Sequence {
			t.Errorf("replayed %s as %d, it was %s, %d", e.ID, e.Sequence, again.ID, again.Sequence)
		}
	}
}

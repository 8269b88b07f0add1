package load_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// web is the client of the webhooks and the API.
var web = &http.Client{}

const forwardSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// application is the endpoint that events are forwarded to. It refuses every
// twentieth call.
type application struct {
	*httptest.Server

	mu    sync.Mutex // guards what follows
	calls int
	seen  map[string]int // by webhook-id
	more  chan struct{}
}

func newApplication(t *testing.T) *application {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(forwardSecret)
	if err != nil {
		t.Fatal(err)
	}
	a := &application{seen: make(map[string]int), more: make(chan struct{}, 1)}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // a bridge that was killed
		}
		if err := verifier.Verify(body, r.Header); err != nil {
			t.Errorf("an event whose signature does not hold: %v", err)
		}
		if !a.take(r.Header.Get("Webhook-Id")) {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *application) take(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls++; a.calls%20 == 0 {
		return false
	}
	a.seen[id]++
	select {
	case a.more <- struct{}{}:
	default:
	}
	return true
}

// await returns once the application has taken every event, or ctx ends.
func (a *application) await(ctx context.Context, ids []string) error {
	for {
		a.mu.Lock()
		missing := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return a.seen[id] > 0 })
		a.mu.Unlock()
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-a.more:
		case <-ctx.Done():
			return fmt.Errorf("the application never saw %d of %d events, such as %s", len(missing), len(ids), missing[0])
		}
	}
}

// storm posts events to a bridge until it does not answer, and gives the ids of
// those that were answered 200, and of those that were not.
type storm struct {
	url  string
	name string

	kill func() // once enough were taken; nobody's storm goes on meanwhile

	mu          sync.Mutex // guards what follows
	taken, left []string
}

func (s *storm) blow(t *testing.T, workers, each, enough int) {
	t.Helper()
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%s-%d-%d", s.name, w, i)
				s.note(id, post(t.Context(), s.url, id), enough)
			}
		})
	}
	all.Wait()
}

func (s *storm) note(id string, err error, enough int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.left = append(s.left, id)
		return
	}
	if s.taken = append(s.taken, id); len(s.taken) == enough {
		s.kill()
	}
}

// post sends one event; nil is 200.
func post(ctx context.Context, url, id string) error {
	body := fmt.Sprintf(`{"id":%q,"type":"delivered","recipient":"%s@example.com","timestamp":"2026-01-02T03:04:05Z"}`, id, id)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/webhooks/test", bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// A kill in a storm of webhooks loses no event that was answered 200 and doubles
// none, and the application hears of each at least once, by an id that lets it
// drop repeats.
func TestKillInAStormOfWebhooks(t *testing.T) {
	t.Parallel()
	app := newApplication(t)
	binary, smtp, admin, webhooks := buildBridge(t), freeAddress(t), freeAddress(t), freeAddress(t)
	config := filepath.Join(t.TempDir(), "config.toml")
	text := fmt.Sprintf("[[smtp.listener]]\naddress = %q\n[http]\nadmin_address = %q\nwebhook_address = %q\n"+
		"[[provider]]\ntype = \"sandbox\"\n[events]\nforward_url = %q\nforward_secret = %q\n", smtp, admin, webhooks, app.URL, forwardSecret)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	first := serve(t, binary, config, smtp)
	s := &storm{url: "http://" + webhooks, name: "w", kill: func() {
		if err := first.Process.Kill(); err != nil {
			t.Error(err)
		}
	}}
	s.blow(t, 8, 100, 300)
	_ = first.Wait()
	if len(s.left) == 0 {
		t.Fatal("the storm was over before the kill")
	}

	serve(t, binary, config, smtp)
	for _, id := range s.left { // as a provider does
		if err := post(t.Context(), s.url, id); err != nil {
			t.Fatal(err)
		}
	}
	ids := slices.Concat(s.taken, s.left)
	counts := storedEvents(t, "http://"+admin)
	for _, id := range ids {
		if counts[id] != 1 {
			t.Errorf("event %s is there %d times, want once", id, counts[id])
		}
	}
	if len(counts) != len(ids) {
		t.Errorf("%d events are stored, want %d", len(counts), len(ids))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := app.await(ctx, ids); err != nil {
		t.Error(err)
	}
}

// eventsPage is what a test reads of a page of events.
type eventsPage struct {
	Items []struct {
		ID, Recipient string
		Sequence      int64
	}
	Next string `json:"next_cursor"`
}

// readEvents reads a page at the address of its query.
func readEvents(t *testing.T, address string) (page eventsPage) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil {
		t.Fatal(err)
	}
	return page
}

// storedEvents counts the events of a bridge by id, page by page.
func storedEvents(t *testing.T, admin string) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	for cursor := ""; ; {
		page := readEvents(t, admin+"/api/v1/events?limit=100&type=delivered&cursor="+cursor)
		for _, item := range page.Items {
			counts[item.ID]++
		}
		if cursor = page.Next; cursor == "" {
			return counts
		}
	}
}

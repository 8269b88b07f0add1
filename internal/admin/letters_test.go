package admin_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"smtpbridge/events/forward"
)

// post is what the application has not taken.
type post struct {
	forwards bool
	dead     []forward.Letter
	next     string
	asked    string // limit and cursor
	retried  []int64
	err      error
}

func (p *post) Forwards() bool { return p.forwards }

func (p *post) Dead(_ context.Context, limit int, cursor string) ([]forward.Letter, string, error) {
	p.asked = strings.Repeat("x", limit) + cursor
	return p.dead, p.next, p.err
}

func (p *post) Retry(_ context.Context, id int64) error {
	if id != 7 && p.err == nil {
		return forward.ErrNoLetter
	}
	p.retried = append(p.retried, id)
	return p.err
}

func (p *post) RetryAll(context.Context) (int, error) {
	p.retried = append(p.retried, 0)
	return len(p.dead), p.err
}

// Dead letters are listed and sent again.
func TestLetters(t *testing.T) {
	b := newBridge(t)
	h := b.handler()
	if got, want := request(t, h, http.MethodGet, "/api/v1/forward/dead").body, `{"items":[],"next_cursor":""}`; got != want {
		t.Errorf("none: %s, want %s", got, want)
	}
	b.letters.dead = []forward.Letter{{ID: 7, Sequence: 4711, Attempts: 210, Error: "HTTP 500", Time: now}}
	b.letters.next = "c"
	want := `{"items":[{"id":7,"sequence":4711,"attempts":210,"error":"HTTP 500","timestamp":"2026-01-02T03:04:05Z"}],"next_cursor":"c"}`
	if got := request(t, h, http.MethodGet, "/api/v1/forward/dead?limit=2&cursor=b").body; got != want || b.letters.asked != "xxb" {
		t.Errorf("%s after being asked for %q, want %s", got, b.letters.asked, want)
	}
	if page := request(t, h, http.MethodPost, "/api/v1/forward/dead/7/retry"); page.status != http.StatusNoContent {
		t.Errorf("retrying one: %d %s", page.status, page.body)
	}
	if page := request(t, h, http.MethodPost, "/api/v1/forward/dead/retry"); page.body != `{"events":1}` {
		t.Errorf("retrying all: %d %s", page.status, page.body)
	}
	if len(b.letters.retried) != 2 {
		t.Errorf("retried %v, want one and all", b.letters.retried)
	}
	for _, id := range []string{"8", "x", "99999999999999999999"} {
		checkProblem(t, request(t, h, http.MethodPost, "/api/v1/forward/dead/"+id+"/retry"), http.StatusNotFound, "no dead letter \""+id)
	}
	checkProblem(t, request(t, h, http.MethodGet, "/api/v1/forward/dead/retry"), http.StatusMethodNotAllowed, "use POST")
	b.letters.err = forward.ErrCursor
	checkProblem(t, request(t, h, http.MethodGet, "/api/v1/forward/dead?cursor=x"), http.StatusBadRequest, "give the next_cursor")
	b.letters.err = errors.New("the disk is full")
	for method, target := range map[string]string{
		http.MethodGet: "/api/v1/forward/dead", http.MethodPost: "/api/v1/forward/dead/7/retry",
	} {
		checkProblem(t, request(t, h, method, target), http.StatusInternalServerError, "its log says why")
	}
}

// Replaying to nobody would look like success.
func TestReplayToNobody(t *testing.T) {
	b := newBridge(t)
	b.letters.forwards = false
	page := send(t, b.handler(), http.MethodPost, "/api/v1/events/replay", `{"from":"2026-01-02T00:00:00Z","to":"2026-01-03T00:00:00Z"}`)
	checkProblem(t, page, http.StatusConflict, "forward_url")
}

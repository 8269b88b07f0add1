package load_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"smtpbridge/internal/store/postgrestest"
)

// While the database is away a mail is answered 451 and not sent, and a webhook
// 503; both go on by themselves once it is back. What one bridge learns of an
// address holds at another within a second.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	if !server.Owned() {
		t.Skip("the server is not ours to stop")
	}
	tables := fmt.Sprintf("[store]\nurl = %q\n[[provider]]\ntype = \"sandbox\"\nwebhook_unverified = true\n", server.Database(t))
	one, other := startTables(t, tables), startTables(t, tables)
	for range 2 {
		expectReply(t, one.smtp, "a@sandbox.test", "250 ")
		expectStatus(t, http.MethodPost, "http://"+one.webhook+"/webhooks/test", told("delivered", "a@sandbox.test"), http.StatusOK)
		server.Stop(t)
		expectReply(t, one.smtp, "b@sandbox.test", "451 4.3.0 local_failure")
		expectStatus(t, http.MethodPost, "http://"+one.webhook+"/webhooks/test", told("opened", "a@sandbox.test"), http.StatusServiceUnavailable)
		expectStatus(t, http.MethodGet, "http://"+one.admin+"/readyz", "", http.StatusServiceUnavailable)
		server.Restart(t)
		expectReply(t, one.smtp, "b@sandbox.test", "250 ")
		expectStatus(t, http.MethodPost, "http://"+one.webhook+"/webhooks/test", told("opened", "a@sandbox.test"), http.StatusOK)
		expectStatus(t, http.MethodGet, "http://"+one.admin+"/readyz", "", http.StatusOK)
	}
	expectReply(t, other.smtp, "gone@sandbox.test", "250 ")
	expectStatus(t, http.MethodPost, "http://"+one.webhook+"/webhooks/test", told("complained", "gone@sandbox.test"), http.StatusOK)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // a second, on a machine that is busy
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		reply := sendPlain(t, other.smtp, "gone@sandbox.test")
		if strings.Contains(reply, "5.7.1 suppressed") {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the other bridge still answers %q", reply)
		}
	}
}

func told(event, recipient string) string {
	return fmt.Sprintf(`{"id":"%s-%d","type":%q,"recipient":%q,"timestamp":%q}`,
		event, time.Now().UnixNano(), event, recipient, time.Now().UTC().Format(time.RFC3339))
}

// sendPlain gives the reply to a mail, the first that is none of success.
func sendPlain(t *testing.T, address, recipient string) string {
	t.Helper()
	c, err := dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	mail := fmt.Sprintf("From: app@example.com\r\nTo: %s\r\nSubject: s\r\nMessage-ID: <%d@example.com>\r\n\r\ntext\r\n.\r\n",
		recipient, time.Now().UnixNano())
	code, text, err := c.send("app@example.com", recipient, []byte(mail))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", code, text)
}

func expectReply(t *testing.T, address, recipient, prefix string) {
	t.Helper()
	if reply := sendPlain(t, address, recipient); !strings.Contains(reply, prefix) {
		t.Errorf("the reply is %q, want %q", reply, prefix)
	}
}

func expectStatus(t *testing.T, method, url, body string, want int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	words, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Errorf("%s %s: %s %s %v, want %d", method, url, resp.Status, words, err, want)
	}
}

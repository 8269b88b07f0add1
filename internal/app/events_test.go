package app_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// call sends a request and gives status and body.
func call(t *testing.T, method string, address net.Addr, path, body string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+address.String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// page decodes a page of the API.
func page[T any](t *testing.T, b *bridge, path string) T {
	t.Helper()
	status, body := get(t, b.Addrs().Admin, path)
	if status != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, status, body)
	}
	return decode[T](t, body)
}

// seen is an event of a list.
type seen struct {
	Type, Bounce, Recipient, Provider string
	MessageID                         string `json:"message_id"`
}

func (b *bridge) events(t *testing.T, filter string) []seen {
	t.Helper()
	return page[struct{ Items []seen }](t, b, "/api/v1/events?limit=500&"+filter).Items
}

// awaitEvent waits for n events that a filter leaves.
func (b *bridge) awaitEvent(t *testing.T, n int, filter string) []seen {
	t.Helper()
	var got []seen
	until(t, fmt.Sprintf("%d events of %s", n, filter), func() bool {
		got = b.events(t, filter)
		return len(got) >= n
	})
	return got
}

// idOf is the bridge's id in a reply.
func idOf(reply string) string {
	_, id, _ := strings.Cut(reply, "id=")
	return id
}

const suppressedReply = "550 5.7.1 suppressed: "

// The whole life of a recipient, without an account: the mail, its event, what is
// told of it, and what follows.
func TestRehearsal(t *testing.T) {
	// In memory, for the event comes a moment after the provider has answered: on a
	// disk that is busy it could be there before the mail is.
	b := start(t, onPortZero+"[store]\nurl = \"memory:\"\n")
	tests := []struct{ local, event, status string }{
		{"delivered", "delivered", "active"},
		{"hardbounce", "bounced", "bounced"},
		{"softbounce", "bounced", "active"},
		{"complaint", "complained", "complained"},
		{"unsubscribe", "unsubscribed", "unsubscribed"},
		{"open", "opened", "active"},
		{"click", "clicked", "active"},
	}
	for _, tt := range tests {
		address := tt.local + "@sandbox.test"
		reply := b.send(t, address)
		if !strings.HasPrefix(reply, "250 2.0.0 provider=sandbox ") {
			t.Errorf("%s: %s", address, reply)
		}
		id := idOf(reply)
		got := b.awaitEvent(t, 1, "type="+tt.event+"&recipient="+address)[0]
		if got.MessageID != id || got.Provider != "sandbox" {
			t.Errorf("%s: event %+v, want one of message %s", address, got, id)
		}
		timeline := page[struct{ Events []seen }](t, b, "/api/v1/messages/"+id).Events
		if len(timeline) < 2 || timeline[0].Type != "accepted" || timeline[1].Type != tt.event {
			t.Errorf("%s: timeline %+v", address, timeline)
		}
		recipient := page[struct {
			Email, Status string
			SoftBounces   int     `json:"soft_bounces"`
			LastAccepted  *string `json:"last_accepted"`
		}](t, b, "/api/v1/recipients/"+address)
		if recipient.Email != address || recipient.Status != tt.status || recipient.LastAccepted == nil || (recipient.SoftBounces == 1) != (tt.local == "softbounce") {
			t.Errorf("%s: recipient %+v", address, recipient)
		}
		if refused := strings.HasPrefix(b.send(t, address), suppressedReply); refused != (tt.status != "active") {
			t.Errorf("%s: the next mail is refused: %v", address, refused)
		}
	}
	counts := page[struct{ Items []map[string]any }](t, b, "/api/v1/stats").Items
	if len(counts) != 1 || counts[0]["provider"] != "sandbox" || counts[0]["complained"] != 1.0 || counts[0]["unique_clicked"] != 1.0 || counts[0]["accepted"].(float64) < 7 {
		t.Errorf("counts %v", counts)
	}
	if _, metrics := get(t, b.Addrs().Admin, "/metrics"); !strings.Contains(metrics, `bridge_events_total{provider="sandbox",type="complained"} 1`) ||
		!strings.Contains(metrics, `bridge_suppressions{reason="hard_bounce"} 1`) {
		t.Error("the metrics do not tell of it")
	}
	if _, metrics := get(t, b.Addrs().Admin, "/metrics"); strings.Contains(metrics, `bridge_events_total{provider="sandbox",type="accepted"} 0`) {
		t.Error("the metrics do not count the 250")
	}
}

// Five soft bounces in a row are one too many; what a reload says counts from then on.
func TestSoftBounceLimit(t *testing.T) {
	b := start(t, onPortZero)
	const address = "softbounce@sandbox.test"
	for n := range 5 {
		if reply := b.send(t, address); !strings.HasPrefix(reply, "250 ") {
			t.Fatalf("mail %d: %s", n, reply)
		}
		b.awaitEvent(t, n+1, "type=bounced&recipient="+address)
	}
	if reply := b.send(t, address); !strings.HasPrefix(reply, suppressedReply) {
		t.Errorf("the sixth: %s", reply)
	}
	write(t, b.file, "[events]\nsoft_bounce_limit = 1\n"+onPortZero)
	b.Reload()
	b.log.await(reloaded)
	const other = "softbounce+other@sandbox.test"
	b.send(t, other)
	b.awaitEvent(t, 1, "type=bounced&recipient="+url.QueryEscape(other))
	if reply := b.send(t, other); !strings.HasPrefix(reply, suppressedReply) {
		t.Errorf("with a limit of one, the second: %s", reply)
	}
}

// A suppression is lifted by hand; a reload changes what it does; a restart keeps it.
func TestSuppressionsLast(t *testing.T) {
	configuration := func(suppressed string) string {
		return "[delivery]\nsuppressed = \"" + suppressed + "\"\n" + onPortZero
	}
	b := start(t, configuration("reject"))
	const address = "hardbounce@sandbox.test"
	b.send(t, address)
	b.awaitEvent(t, 1, "type=suppression_added&recipient="+address)
	if reply := b.send(t, address); !strings.HasPrefix(reply, suppressedReply) {
		t.Errorf("reject: %s", reply)
	}
	for suppressed, want := range map[string]string{"discard": "250 2.0.0 provider=none ", "ignore": "250 2.0.0 provider=sandbox "} {
		write(t, b.file, configuration(suppressed))
		b.Reload()
		b.log.await(reloaded)
		if reply := b.send(t, address); !strings.HasPrefix(reply, want) {
			t.Errorf("%s: %s", suppressed, reply)
		}
	}
	b.awaitEvent(t, 2, "type=bounced&recipient="+address) // of the one that was sent all the same
	before := len(b.events(t, ""))
	b.shutdown(t)
	write(t, b.file, configuration("reject"))
	b = startFile(t, b.file)
	if reply := b.send(t, address); !strings.HasPrefix(reply, suppressedReply) {
		t.Errorf("after a restart: %s", reply)
	}
	if after := len(b.events(t, "")); after != before {
		t.Errorf("%d events after the restart, %d before", after, before)
	}
	if status, body := call(t, http.MethodDelete, b.Addrs().Admin, "/api/v1/suppressions/"+address, ""); status != http.StatusNoContent {
		t.Errorf("DELETE: %d %s", status, body)
	}
	if reply := b.send(t, address); !strings.HasPrefix(reply, "250 2.0.0 provider=sandbox ") {
		t.Errorf("once it is lifted: %s", reply)
	}
}

// Who has left a group is refused once the mail is known; over LMTP each recipient
// has a reply of its own.
func TestSuppressedOverLMTP(t *testing.T) {
	b := start(t, strings.Replace(onPortZero, "[[smtp.listener]]", "[[smtp.listener]]\nprotocol = \"lmtp\"", 1))
	if status, body := call(t, http.MethodPut, b.Addrs().Admin, "/api/v1/suppressions/left@sandbox.test", `{"scope":"tag:News","reason":"unsubscribe"}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	conn, err := net.Dial("tcp", b.Addrs().SMTP[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "LHLO app\r\nMAIL FROM:<app@example.com>\r\nRCPT TO:<you@sandbox.test>\r\nRCPT TO:<left@sandbox.test>\r\nDATA\r\n"+
		"X-Bridge-Tag: news\r\n"+mail+".\r\nQUIT\r\n")
	if err != nil {
		t.Fatal(err)
	}
	var replies []string
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		replies = append(replies, lines.Text())
	}
	if n := len(replies); n < 3 || !strings.HasPrefix(replies[n-3], "250 2.0.0 <you@sandbox.test> provider=sandbox ") ||
		!strings.HasPrefix(replies[n-2], "550 5.7.1 <left@sandbox.test> suppressed: ") {
		t.Errorf("the replies:\n%s", strings.Join(replies, "\n"))
	}
	b.awaitEvent(t, 1, "type=rejected&recipient=left@sandbox.test")
}

// POST /webhooks/test is there where a sandbox is.
func TestWebhooksTest(t *testing.T) {
	b := start(t, onPortZero)
	address := b.Addrs().Webhook
	const event = `{"id":"evt_1","type":"bounced","bounce":"hard","recipient":"You@Sandbox.test","metadata":{"campaign":"may"},"tags":["welcome"]}`
	for range 2 {
		if status, body := call(t, http.MethodPost, address, "/webhooks/test", event); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
	}
	if got := b.events(t, "type=bounced"); len(got) != 1 || got[0] != (seen{Type: "bounced", Bounce: "hard", Recipient: "you@sandbox.test", Provider: "sandbox"}) {
		t.Errorf("events %+v", got)
	}
	if reply := b.send(t, "you@sandbox.test"); !strings.HasPrefix(reply, suppressedReply) {
		t.Errorf("the next mail: %s", reply)
	}
	if status, _ := call(t, http.MethodPost, address, "/webhooks/test", `{"type":"exploded"}`); status != http.StatusBadRequest {
		t.Errorf("an unknown type: %d", status)
	}
	if status, _ := call(t, http.MethodPost, address, "/webhooks/test", event, "X-Forwarded-For", "192.0.2.1"); status != http.StatusUnauthorized {
		t.Errorf("from elsewhere: %d", status)
	}
	for by, name := range map[string]string{"tag": "welcome", "campaign": "may"} {
		if got := page[struct{ Items []map[string]any }](t, b, "/api/v1/stats?by="+by).Items; len(got) != 1 || got[0][by] != name || got[0]["bounced"] != 1.0 {
			t.Errorf("counts by %s: %v", by, got)
		}
	}
	if log := b.log.String(); strings.Contains(log, "sandbox.test") {
		t.Errorf("the log shows an address:\n%s", log)
	}

	// Open to all where the sandbox says so, which the log warns of; gone with it.
	write(t, b.file, onPortZero+sandboxNamed("one")+"webhook_unverified = true\n")
	b.Reload()
	b.log.await("webhooks are taken without a key")
	if status, body := call(t, http.MethodPost, address, "/webhooks/test", event, "X-Forwarded-For", "192.0.2.1"); status != http.StatusOK {
		t.Errorf("from elsewhere, where that is allowed: %d %s", status, body)
	}
	write(t, b.file, onPortZero+sendgridAt("mail", "http://127.0.0.1:1", "SG.x"))
	b.Reload()
	b.log.await(reloaded)
	if status, _ := call(t, http.MethodPost, address, "/webhooks/test", event); status != http.StatusNotFound {
		t.Errorf("without a sandbox: %d", status)
	}
}

// signer signs as SendGrid does.
type signer struct{ key *ecdsa.PrivateKey }

func newSigner(t *testing.T) (s signer, public string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key}, base64.StdEncoding.EncodeToString(der)
}

func (s signer) headers(t *testing.T, body string) []string {
	t.Helper()
	const timestamp = "1767323045"
	digest := sha256.Sum256([]byte(timestamp + body))
	signature, err := ecdsa.SignASN1(rand.Reader, s.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"X-Twilio-Email-Event-Webhook-Signature", base64.StdEncoding.EncodeToString(signature),
		"X-Twilio-Email-Event-Webhook-Timestamp", timestamp,
	}
}

// A provider that never answered tells by its webhook that it has the mail: the
// repeat is answered from that, and not sent again.
func TestWebhookSettlesAMessage(t *testing.T) {
	var requests atomic.Int32
	silent := make(chan struct{})
	fake := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-silent:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(silent) })
	sign, public := newSigner(t)
	// In memory nothing else takes of the budget: a disk that is busy could take all.
	b := start(t, "shutdown_timeout = \"1s\"\n[smtp]\ndelivery_timeout = \"1s\"\n"+onPortZero+"[store]\nurl = \"memory:\"\n"+
		sendgridAt("mail", fake, "SG.x")+"timeout = \"1100ms\"\nwebhook_public_key = \""+public+"\"\n")
	submit := func() string {
		t.Helper()
		reply, err := sendMail(b.Addrs().SMTP[0].String(), "Message-ID: <7@example.com>\r\n"+mail, "You@example.com")
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	first := submit()
	if !strings.HasPrefix(first, "451 4.4.1 network_error: ") {
		t.Fatalf("without an answer: %s", first)
	}
	told, err := json.Marshal([]map[string]any{{
		"email": "you@example.com", "timestamp": time.Now().Unix(), "event": "delivered", "sg_event_id": "ZGVs",
		"sg_message_id": "abc.recvd-1-2-3.0", "response": "250 OK", "bridge_id": idOf(first),
	}})
	if err != nil {
		t.Fatal(err)
	}
	body := string(told)
	if status, answer := call(t, http.MethodPost, b.Addrs().Webhook, "/webhooks/mail", body+" ", sign.headers(t, body)...); status != http.StatusUnauthorized {
		t.Errorf("a body that was not signed: %d %s", status, answer)
	}
	if second := submit(); !strings.HasPrefix(second, "451 ") {
		t.Errorf("the repeat before anybody knows: %s", second)
	}
	for range 2 {
		if status, answer := call(t, http.MethodPost, b.Addrs().Webhook, "/webhooks/mail", body, sign.headers(t, body)...); status != http.StatusOK {
			t.Fatalf("the webhook: %d %s", status, answer)
		}
	}
	if third := submit(); !strings.HasPrefix(third, "250 2.0.0 provider=mail ") {
		t.Errorf("the repeat once it is known: %s", third)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("it was sent %d times, want once", n)
	}
	if got := b.awaitEvent(t, 1, "type=delivered&message_id="+idOf(first)); len(got) != 1 {
		t.Errorf("events %+v, want one", got)
	}
}

// What is told between the mail and the end of the bridge is kept.
func TestShutdownKeepsReports(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	write(t, file, onPortZero)
	b := startFile(t, file)
	for range 20 {
		b.send(t, "click@sandbox.test")
	}
	b.shutdown(t)
	b = startFile(t, file)
	if got := b.events(t, "type=clicked"); len(got) != 20 {
		t.Errorf("%d clicks are there, want 20", len(got))
	}
}

// Calls, mail and reloads at once.
func TestReloadDuringWebhooks(t *testing.T) {
	b := start(t, onPortZero+sandboxNamed("one"))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		n := 0
		defer func() { done <- n }()
		for ; ctx.Err() == nil; n++ {
			if status, body := call(t, http.MethodPost, b.Addrs().Webhook, "/webhooks/test", `{"type":"opened","recipient":"you@sandbox.test"}`); status != http.StatusOK {
				t.Errorf("%d %s", status, body)
			}
		}
	}()
	for n := range 10 {
		write(t, b.file, onPortZero+sandboxNamed([]string{"two", "one"}[n%2]))
		b.Reload()
		b.log.await(reloaded)
	}
	stop()
	n := <-done
	if got := len(b.events(t, "type=opened")); got != min(n, 500) {
		t.Errorf("%d events of %d calls", got, n)
	}
}

package app_test

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/internal/app"
)

// Whoever sends to the sandbox sees each reply of the contract's table.
func TestReplies(t *testing.T) {
	b := start(t, onPortZero)
	tests := []struct{ to, want string }{
		{"you@sandbox.test", `250 2\.0\.0 provider=sandbox id=ID`},
		{"you@example.com", `250 2\.0\.0 provider=sandbox id=ID`},
		{"bounce@sandbox.test", `550 5\.1\.1 invalid_recipient: .+ id=ID`},
		{"bounce+tag@sandbox.test", `550 5\.1\.1 invalid_recipient: .+ id=ID`},
		{"ratelimit@sandbox.test", `451 4\.4\.5 rate_limit: .+ id=ID`},
		{"quota@sandbox.test", `452 4\.3\.1 quota_exceeded: .+ id=ID`},
		{"auth@sandbox.test", `554 5\.7\.0 authentication: .+ id=ID`},
		{"spam@sandbox.test", `554 5\.7\.1 content_rejected: .+ id=ID`},
		{"config@sandbox.test", `554 5\.3\.5 configuration_error: .+ id=ID`},
		{"down@sandbox.test", `451 4\.3\.0 service_unavailable: .+ id=ID`},
		{"network@sandbox.test", `451 4\.4\.1 network_error: .+ id=ID`},
		{"ambiguous@sandbox.test", `451 4\.4\.1 network_error: .+ id=ID`},
		{"jürgen@sandbox.test", `553 5\.6\.7 non_ascii: .+ id=ID`},
	}
	for _, test := range tests {
		got := b.send(t, test.to)
		want := regexp.MustCompile("^" + strings.ReplaceAll(test.want, "ID", "[0-9A-Z]{26}") + "$")
		if !want.MatchString(got) {
			t.Errorf("%s:\n got %s\nwant %s", test.to, got, want)
		}
	}
	// One recipient that is taken makes it a 250; of refusals a transient one counts.
	if got := b.send(t, "bounce@sandbox.test", "you@sandbox.test"); !strings.HasPrefix(got, "250 2.0.0 provider=sandbox") {
		t.Errorf("one of two is taken: got %s", got)
	}
	if got := b.send(t, "bounce@sandbox.test", "down@sandbox.test"); !strings.HasPrefix(got, "451 4.3.0") {
		t.Errorf("none is taken: got %s", got)
	}
}

// The budget of [smtp] is delivery's: an answer after five seconds is too late.
func TestBudget(t *testing.T) {
	// In memory nothing else takes of the budget: a disk that is busy could take all.
	b := start(t, "shutdown_timeout = \"1s\"\n[smtp]\ndelivery_timeout = \"1s\"\n"+onPortZero+"[store]\nurl = \"memory:\"\n")
	if got := b.send(t, "slow@sandbox.test"); !strings.HasPrefix(got, "451 4.4.1 network_error: ") {
		t.Errorf("got %s, want 451", got)
	}
	b.shutdown(t) // although the answer is still waited for
	b.log.await("requests were given up")
}

// What was sent is at /api/v1/messages, with its content.
func TestMessages(t *testing.T) {
	b := start(t, onPortZero)
	reply := b.send(t, "you@sandbox.test")
	_, id, _ := strings.Cut(reply, "id=")

	_, page := get(t, b.Addrs().Admin, "/api/v1/messages")
	list := decode[struct {
		Items []struct{ ID, Subject string }
	}](t, page)
	if len(list.Items) != 1 || list.Items[0].ID != id || list.Items[0].Subject != "Hello" {
		t.Errorf("got %s, want the message %s", page, id)
	}
	status, message := get(t, b.Addrs().Admin, "/api/v1/messages/"+id)
	if status != http.StatusOK || !strings.Contains(message, "It works.") {
		t.Errorf("got %d %s, want the text of the message", status, message)
	}
}

func TestPages(t *testing.T) {
	b := start(t, onPortZero)
	b.send(t, "you@sandbox.test")
	addrs := b.Addrs()
	tests := []struct {
		address net.Addr
		path    string
		status  int
		want    string
	}{
		{addrs.Admin, "/healthz", http.StatusOK, "alive"},
		{addrs.Admin, "/readyz", http.StatusOK, "ready"},
		{addrs.Admin, "/health", http.StatusOK, `"status":"healthy"`},
		{addrs.Admin, "/api/v1/providers", http.StatusOK, `"name":"sandbox","breaker":"closed"`},
		{addrs.Webhook, "/health", http.StatusOK, `"status":"healthy"`},
		{addrs.Webhook, "/metrics", http.StatusNotFound, "/metrics"},
		{addrs.Webhook, "/api/v1/messages", http.StatusNotFound, "/api/v1/messages"},
		// One metric of each package, and the collectors of Go and the process.
		{addrs.Admin, "/metrics", http.StatusOK, `bridge_smtp_messages_total{reply="250"} 1`},
		{addrs.Admin, "/metrics", http.StatusOK, `bridge_provider_requests_total{category="ok",provider="sandbox"} 1`},
		{addrs.Admin, "/metrics", http.StatusOK, "go_goroutines "},
		{addrs.Admin, "/metrics", http.StatusOK, "process_open_fds "},
	}
	for _, test := range tests {
		status, body := get(t, test.address, test.path)
		if status != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%s%s: got %d %.200s, want %d with %s", test.address, test.path, status, body, test.status, test.want)
		}
	}
}

// Every line of a message carries its id, none an address.
func TestLog(t *testing.T) {
	b := start(t, onPortZero)
	reply := b.send(t, "bounce@sandbox.test")
	_, id, _ := strings.Cut(reply, "id=")
	b.shutdown(t)
	lines := 0
	for line := range strings.Lines(b.log.String()) {
		fields := decode[map[string]any](t, line)
		if fields["message_id"] == id {
			lines++
		}
		if strings.Contains(line, "bounce@") || strings.Contains(line, "app@example.com") {
			t.Errorf("shows an address: %s", line)
		}
	}
	if lines == 0 {
		t.Errorf("no line carries message_id %s:\n%s", id, b.log)
	}
}

// A message in flight gets its reply, a new client is told to come back.
func TestShutdown(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	fake := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		<-release
		w.WriteHeader(http.StatusAccepted)
	})
	b := start(t, onPortZero+sendgridAt("mail", fake, "SG.x"))
	address := b.Addrs().SMTP[0].String()
	reply := make(chan string, 1)
	go func() {
		got, err := sendTo(address, "you@example.com")
		reply <- fmt.Sprint(got, err)
	}()
	<-arrived
	b.stop()

	until(t, "new clients are told 421", func() bool { return strings.HasPrefix(greeting(t, address), "421 4.3.2 ") })
	until(t, "/readyz is 503", func() bool {
		status, body := get(t, b.Addrs().Admin, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "shutting down")
	})
	close(release)
	if got := <-reply; !strings.HasPrefix(got, "250 2.0.0 provider=mail ") {
		t.Errorf("in flight: got %s, want 250", got)
	}
	b.shutdown(t)
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("still listens after Run")
	}
}

// greeting is the first line that a client gets.
func greeting(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// until asks again and again, each time over a socket.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// What cannot listen says where, and leaves nothing bound.
func TestListenFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free := freeAddress(t)
	c := app.Default()
	c.DataDir = t.TempDir()
	c.HTTP = app.HTTP{AdminAddress: free, WebhookAddress: "127.0.0.1:0"}
	c.SMTP.Listeners[0].Address = taken.Addr().String()
	a, err := app.New(c, app.Options{Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("got %v, want an error that names %s", err, taken.Addr())
	}
	again, err := net.Listen("tcp", free)
	if err != nil {
		t.Errorf("admin_address is still bound: %v", err)
	} else {
		_ = again.Close()
	}
}

// freeAddress has an IP address of its own, where the system knows all of
// 127.0.0.0/8: a port of 127.0.0.1 may be somebody else's in a moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	own := make([]byte, 3)
	_, _ = rand.Read(own) // it never fails
	free, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+own[0]%254, own[1], 1+own[2]%254))
	if err != nil {
		free, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().String()
}

func TestDataDir(t *testing.T) {
	dir := t.TempDir()
	c := app.Default()
	c.DataDir = filepath.Join(dir, "data")
	a, err := app.New(c, app.Options{Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(filepath.Join(dir, "data", "spool"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v, want a directory for the owner alone", info, err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "data", "spool"))
	if err != nil || len(entries) != 0 {
		t.Errorf("the trial left %v behind, %v", entries, err)
	}

	write(t, filepath.Join(dir, "file"), "")
	c.DataDir = filepath.Join(dir, "file")
	if _, err := app.New(c, app.Options{Log: io.Discard}); err == nil || !strings.Contains(err.Error(), "data_dir") {
		t.Errorf("a file for a directory: got %v, want an error that names data_dir", err)
	}
}

// Only a provider with credentials has something to prove.
func TestProbe(t *testing.T) {
	var keys []string
	fake := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("Authorization"))
		if r.Header.Get("Authorization") != "Bearer SG.right" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string][]string{"scopes": {"mail.send"}})
	})
	file := filepath.Join(t.TempDir(), "config.toml")
	write(t, file, sendgridAt("right", fake, "SG.right")+sendgridAt("wrong", fake, "SG.wrong")+"[[provider]]\ntype = \"sandbox\"\n")
	c, err := app.Load(file, environment)
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	for _, p := range c.Providers {
		if err := p.Probe(t.Context()); err != nil {
			failed = append(failed, p.Name)
		}
	}
	if diff := cmp.Diff([]string{"wrong"}, failed); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Bearer SG.right", "Bearer SG.wrong"}, keys); diff != "" {
		t.Errorf("the fake saw -want +got:\n%s", diff)
	}
}

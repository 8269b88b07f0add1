package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"net/textproto"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"smtpbridge/internal/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what happens in milliseconds on a machine that has time.
const patience = 30 * time.Second

// onPortZero is the beginning of a configuration that collides with nothing.
const onPortZero = `
[http]
webhook_address = "127.0.0.1:0"
admin_address = "127.0.0.1:0"
[[smtp.listener]]
address = "127.0.0.1:0"
`

// bridge is a running bridge with its configuration in a directory of its own.
type bridge struct {
	*app.App

	file  string
	log   *journal
	stop  context.CancelFunc
	ended chan error
}

// start runs a bridge until the test ends.
func start(t *testing.T, configuration string) *bridge {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	write(t, file, configuration)
	return startFile(t, file)
}

func startFile(t *testing.T, file string) *bridge {
	t.Helper()
	return startWith(t, file, environment)
}

func startWith(t *testing.T, file string, env func(string) (string, bool)) *bridge {
	t.Helper()
	load := func() (app.Config, error) { return app.Load(file, env) }
	c, err := load()
	if err != nil {
		t.Fatal(err)
	}
	b := &bridge{file: file, log: &journal{test: t, news: make(chan struct{})}, ended: make(chan error, 1)}
	if b.App, err = app.New(c, app.Options{Log: b.log, Load: load}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	b.stop = stop
	if err := b.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	go func() { b.ended <- b.Run(ctx) }()
	t.Cleanup(func() { b.shutdown(t) })
	return b
}

// shutdown is what SIGTERM does. Only the first one does anything.
func (b *bridge) shutdown(t *testing.T) {
	t.Helper()
	if b.ended == nil {
		return
	}
	b.stop()
	select {
	case err := <-b.ended:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		t.Error("Run does not end")
	}
	b.ended = nil
}

// send gives the reply to a small mail: to RCPT where that refuses, else to the data.
func (b *bridge) send(t *testing.T, to ...string) string {
	t.Helper()
	reply, err := sendTo(b.Addrs().SMTP[0].String(), to...)
	if err != nil {
		t.Fatalf("sending: %v", err)
	}
	return reply
}

const mail = "From: App <app@example.com>\r\nTo: you@sandbox.test\r\nSubject: Hello\r\n\r\nIt works.\r\n"

// sendTo speaks SMTP as net/smtp does, and keeps the text of the last reply.
func sendTo(address string, to ...string) (string, error) { return sendMail(address, mail, to...) }

func sendMail(address, text string, to ...string) (string, error) {
	client, err := smtp.Dial(address)
	if err != nil {
		return refusal(err)
	}
	defer client.Close()
	if err := client.Mail("app@example.com"); err != nil {
		return refusal(err)
	}
	for _, recipient := range to {
		if err := client.Rcpt(recipient); err != nil {
			return refusal(err)
		}
	}
	// net/smtp throws the text of the last reply away.
	if err := client.Text.PrintfLine("DATA"); err != nil {
		return "", err
	}
	if _, _, err := client.Text.ReadResponse(354); err != nil {
		return refusal(err)
	}
	data := client.Text.DotWriter()
	if _, err := io.WriteString(data, text); err != nil {
		return "", err
	}
	if err := data.Close(); err != nil {
		return "", err
	}
	return client.Text.ReadLine()
}

// refusal gives the reply that an error is.
func refusal(err error) (string, error) {
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		return fmt.Sprintf("%d %s", reply.Code, reply.Msg), nil
	}
	return "", err
}

// get gives status and body of a page.
func get(t *testing.T, address net.Addr, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Get("http://" + address.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// journal is a log that can be waited for.
type journal struct {
	test *testing.T

	mu    sync.Mutex // guards what follows
	lines []string
	seen  int
	news  chan struct{} // closed with the next line
}

// Write takes a line.
func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(bytes.TrimSpace(line)))
	close(j.news)
	j.news = make(chan struct{})
	return len(line), nil
}

// await gives the next line that holds text.
func (j *journal) await(text string) string {
	j.test.Helper()
	deadline := time.After(patience)
	for {
		line, news := j.next(text)
		if line != "" {
			return line
		}
		select {
		case <-news:
		case <-deadline:
			j.test.Fatalf("never logged: %s\n%s", text, j)
		}
	}
}

func (j *journal) next(text string) (string, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for ; j.seen < len(j.lines); j.seen++ {
		if line := j.lines[j.seen]; strings.Contains(line, text) {
			j.seen++
			return line, nil
		}
	}
	return "", j.news
}

// String is everything so far.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var out T
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

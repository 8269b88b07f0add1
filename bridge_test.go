package smtpbridge_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"smtpbridge/internal/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bridge is the real thing, running in the process.
type bridge struct {
	smtp  []string // by listener
	admin string   // the URL
}

// start runs a bridge until the test ends. All but the ports is as configured.
func start(t *testing.T, config string) bridge {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	write(t, file, `data_dir = "data"
[http]
admin_address = "127.0.0.1:0"
webhook_address = "127.0.0.1:0"
`+config)
	c, err := app.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	a, err := app.New(c, app.Options{Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Errorf("the bridge ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the bridge's log:\n%s", log.String())
		}
	})
	b := bridge{admin: "http://" + a.Addrs().Admin.String()}
	for _, addr := range a.Addrs().SMTP {
		b.smtp = append(b.smtp, addr.String())
	}
	return b
}

// get is the body of an admin page, whatever its status.
func (b bridge) get(t *testing.T, page string) []byte {
	t.Helper()
	return b.do(t, http.MethodGet, page, "")
}

// do is the body of the answer to a request, whatever its status.
func (b bridge) do(t *testing.T, method, page, body string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.admin+page, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, page, err)
	}
	return answer
}

// decode reads an admin page into v.
func (b bridge) decode(t *testing.T, page string, v any) {
	t.Helper()
	if err := json.Unmarshal(b.get(t, page), v); err != nil {
		t.Fatalf("GET %s: %v", page, err)
	}
}

// lockedBuffer takes the log while it is read.
type lockedBuffer struct {
	mu     sync.Mutex // guards buffer
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

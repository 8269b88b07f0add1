package load_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// A kill in the middle of a request forgets nothing: the mail that is sent again
// afterwards may have been taken, so it is not sent a second time, and the
// application hears that nobody knows.
func TestKillMakesWhatIsInFlightAmbiguous(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	come, end := make(chan struct{}, 10), make(chan struct{})
	provider := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		requests.Add(1)
		come <- struct{}{}
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(provider.Close)
	t.Cleanup(func() { close(end) })
	binary, address := buildBridge(t), freeAddress(t)
	config := configure(t, heavyProviders[0].table, provider.URL, address, freeAddress(t), freeAddress(t))

	first := serve(t, binary, config, address)
	gone := make(chan error, 1)
	go func() { gone <- sendTo(t, address, nil) }()
	<-come
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; err == nil {
		t.Error("the client got a reply from a bridge that was killed")
	}
	_ = first.Wait()

	serve(t, binary, config, address)
	var reply string
	if err := sendTo(t, address, &reply); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(reply, "451 4.4.1 network_error: ") {
		t.Errorf("the reply to the repeat is %q, want 451 4.4.1", reply)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("the provider saw %d requests, want 1", n)
	}
}

// serve runs a bridge until it is killed or the test ends.
func serve(t *testing.T, binary, config, address string) *exec.Cmd {
	t.Helper()
	output, err := os.OpenFile(config+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { output.Close() })
	cmd := exec.CommandContext(t.Context(), binary, "serve", "--config", config)
	cmd.Stdout, cmd.Stderr = output, output
	start(t, cmd)
	if err := await(t.Context(), address); err != nil {
		words, _ := os.ReadFile(output.Name())
		t.Fatalf("the bridge does not listen: %v\n%s", err, words)
	}
	return cmd
}

// sendTo sends one mail, always the same.
func sendTo(t *testing.T, address string, reply *string) error {
	t.Helper()
	c, err := dial(t.Context(), address)
	if err != nil {
		return err
	}
	defer c.close()
	code, text, err := c.send("app@example.com", recipient(1), wire(numbered(1)))
	if err == nil && reply != nil {
		*reply = fmt.Sprintf("%d %s", code, text)
	}
	return err
}

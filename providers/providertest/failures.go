package providertest

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"smtpbridge/providers"
)

// The provider's timeout where a test waits for it: brief where nothing can be
// handed over, ample where it must be before, also on a machine that is busy.
const (
	brief = 700 * time.Millisecond
	ample = 2 * time.Second
)

// failures are connections that fail, and what is known afterwards.
var failures = []struct {
	name    string
	large   bool // a mail that cannot have been handed over as a whole
	timeout time.Duration
	serve   func(ctx context.Context, conn *net.TCPConn)
	want    providers.State
	token   providers.Category
}{
	{"reset before reading", true, patience, resetConn, providers.Refused, providers.NetworkError},
	{"stall before reading", true, brief, stall, providers.Refused, providers.NetworkError},
	// Nobody can have taken a mail that was never handed over as a whole.
	{"early success", true, patience, early("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"), providers.Refused, providers.NetworkError},
	{"close after the body", false, patience, afterBody(""), providers.Ambiguous, providers.NetworkError},
	{"close after a large body", true, patience, afterBody(""), providers.Ambiguous, providers.NetworkError},
	{"reset after the body", false, patience, resetAfterBody, providers.Ambiguous, providers.NetworkError},
	{"stall after the body", false, ample, stallAfterBody, providers.Ambiguous, providers.NetworkError},
	{"trickle", false, ample, trickle, providers.Ambiguous, providers.NetworkError},
	{"half a status line", false, patience, afterBody("HTTP/1.1 20"), providers.Ambiguous, providers.NetworkError},
	{"no HTTP", false, patience, afterBody("220 smtp.example.com ESMTP\r\n"), providers.Ambiguous, providers.NetworkError},
	{
		"half an answer", false, patience, afterBody("HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\n{\"err"),
		providers.Ambiguous, providers.ServiceUnavailable,
	},
}

func (s Suite) testFailures(t *testing.T) {
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			mail := small
			if f.large {
				mail = large()
			}
			m := Message(t, mail, two...)
			outcome := s.provider(t, listen(t, f.serve), f.timeout).Send(t.Context(), m)
			checkOutcome(t, outcome, two)
			checkAll(t, outcome, f.want, f.token)
		})
	}
	t.Run("early refusal", s.testEarlyRefusal)
	t.Run("refused connection", func(t *testing.T) {
		outcome := s.provider(t, Refusing(t), patience).Send(t.Context(), Message(t, small, two...))
		checkAll(t, outcome, providers.Refused, providers.NetworkError)
	})
	t.Run("no TLS", func(t *testing.T) {
		base := "https" + listen(t, afterBody("HTTP/1.1 200 OK\r\n\r\n"))[len("http"):]
		outcome := s.provider(t, base, patience).Send(t.Context(), Message(t, small, two...))
		checkAll(t, outcome, providers.Refused, providers.NetworkError)
	})
	t.Run("given up before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		outcome := s.provider(t, listen(t, stall), patience).Send(ctx, Message(t, small, two...))
		checkAll(t, outcome, providers.Refused, providers.NetworkError)
	})
}

// testEarlyRefusal: a refusal that comes before the body was read, with a
// connection that is closed at once, is heard each time. The connection is reset
// then, for octets of the body lie unread.
func (s Suite) testEarlyRefusal(t *testing.T) {
	m := Message(t, large(), two...)
	for _, header := range []string{"Content-Length: 2\r\n\r\n{}", "Content-Length: 0\r\n\r\n", "Connection: close\r\n\r\n{}"} {
		base := listen(t, func(_ context.Context, conn *net.TCPConn) {
			if beginRequest(conn) {
				io.WriteString(conn, "HTTP/1.1 413 Too Large\r\n"+header) //nolint:errcheck // the client tells
			}
		})
		provider := s.provider(t, base, patience)
		for range 10 {
			checkAll(t, provider.Send(t.Context(), m), providers.Refused, providers.TooLarge)
		}
	}
}

func checkAll(t *testing.T, outcome providers.Outcome, want providers.State, token providers.Category) {
	t.Helper()
	for _, result := range outcome {
		if result.State != want || result.Err == nil || result.Err.Category != token {
			t.Errorf("%s is %v (%v), want %v with %s", result.Recipient, result.State, result.Err, want, token)
		}
	}
}

// listen serves each connection in its own way until the test ends, and gives
// the base URL.
func listen(t *testing.T, serve func(context.Context, *net.TCPConn)) string {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatalf("listening: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			conn.SetReadBuffer(receiveBytes) //nolint:errcheck // the tests with a large mail tell
			wg.Go(func() {
				defer conn.Close() //nolint:errcheck // it is meant to be broken
				serve(ctx, conn)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		listener.Close() //nolint:errcheck // the goroutines below tell
		wg.Wait()
	})
	return "http://" + listener.Addr().String()
}

// Refusing is the base URL of a port where nobody listens, nor can until the test
// ends, for it is that of a connection.
func Refusing(t *testing.T) string {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatalf("listening: %v", err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	t.Cleanup(func() {
		conn.Close()     //nolint:errcheck // it served its purpose
		listener.Close() //nolint:errcheck // it too
	})
	return "http://" + conn.LocalAddr().String()
}

func resetConn(_ context.Context, conn *net.TCPConn) {
	conn.SetLinger(0) //nolint:errcheck // closing resets then
}

func stall(ctx context.Context, _ *net.TCPConn) { <-ctx.Done() }

// readRequest takes the whole request in.
func readRequest(conn *net.TCPConn) bool {
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return false
	}
	defer r.Body.Close() //nolint:errcheck // the connection is closed anyway
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil
}

func afterBody(answer string) func(context.Context, *net.TCPConn) {
	return func(_ context.Context, conn *net.TCPConn) {
		if readRequest(conn) {
			io.WriteString(conn, answer) //nolint:errcheck // the client may have gone
		}
	}
}

// early answers when it has read the first octets of the body, and reads no more.
func early(answer string) func(context.Context, *net.TCPConn) {
	return func(ctx context.Context, conn *net.TCPConn) {
		if beginRequest(conn) {
			io.WriteString(conn, answer) //nolint:errcheck // the client may have gone
			<-ctx.Done()
		}
	}
}

// beginRequest reads the header and the first 64 KiB of the body.
func beginRequest(conn *net.TCPConn) bool {
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return false
	}
	_, err = io.CopyN(io.Discard, r.Body, 64<<10)
	return err == nil
}

func resetAfterBody(ctx context.Context, conn *net.TCPConn) {
	readRequest(conn)
	resetConn(ctx, conn)
}

func stallAfterBody(ctx context.Context, conn *net.TCPConn) {
	readRequest(conn)
	<-ctx.Done()
}

// trickle answers one octet now and then, and never comes to an end in time.
func trickle(ctx context.Context, conn *net.TCPConn) {
	readRequest(conn)
	ticker := time.NewTicker(ample / 4)
	defer ticker.Stop()
	for _, octet := range []byte("HTTP/1.1 202 Accepted\r\n\r\n") {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if _, err := conn.Write([]byte{octet}); err != nil {
			return
		}
	}
}

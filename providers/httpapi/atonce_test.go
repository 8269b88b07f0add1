package httpapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
)

// document is a request body in memory.
func document(text string) providers.Body {
	var j httpapi.JSON
	j.Object(func() {
		j.Key("text")
		j.Text(int64(len(text)), opener(text, whole))
	})
	return j.Body()
}

// countedConn counts the writes.
type countedConn struct {
	net.Conn

	writes *atomic.Int32
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// A body that fits the write buffer leaves with its header, in one packet of the
// network and one record of TLS.
func TestSendWritesASmallRequestAtOnce(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = string(body)
	}))
	t.Cleanup(s.Close)
	var writes atomic.Int32
	transport := httpapi.NewTransport()
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return countedConn{conn, &writes}, err
	}
	t.Cleanup(transport.CloseIdleConnections)
	c := httpapi.DefaultConfig("esp")
	c.BaseURL = s.URL

	text := strings.Repeat("x", 48<<10)
	outcome := httpapi.New(c, adapter{groups: [][]string{{"a"}}, body: document(text)}, transport).Send(t.Context(), to("a"))
	if outcome.Accepted() != 1 || got != `{"text":"`+text+`"}` {
		t.Errorf("the outcome is %v, the server saw %d octets", states(outcome), len(got))
	}
	if n := writes.Load(); n != 1 {
		t.Errorf("the request took %d writes, want 1", n)
	}
}

// What leaves in one write may have been read as soon as it had a connection. A
// transport that looks for another one had written nothing.
func TestSendAtOnceWithoutAnAnswer(t *testing.T) {
	getConn := func(trace *httptrace.ClientTrace) { trace.GetConn("api.example.com:443") }
	gotConn := func(trace *httptrace.ClientTrace) { trace.GotConn(httptrace.GotConnInfo{}) }
	for name, c := range map[string]struct {
		steps []func(*httptrace.ClientTrace)
		want  string
	}{
		"no attempt":             {nil, "a refused network_error"},
		"no connection":          {[]func(*httptrace.ClientTrace){getConn}, "a refused network_error"},
		"a connection":           {[]func(*httptrace.ClientTrace){getConn, gotConn}, "a ambiguous network_error"},
		"a dead one and no more": {[]func(*httptrace.ClientTrace){getConn, gotConn, getConn}, "a refused network_error"},
	} {
		p := httpapi.New(httpapi.DefaultConfig("esp"), adapter{groups: [][]string{{"a"}}, body: document("mail")},
			roundTrip(func(r *http.Request) (*http.Response, error) {
				for _, step := range c.steps {
					step(httptrace.ContextClientTrace(r.Context()))
				}
				return nil, errors.New("it broke")
			}))
		if got := states(p.Send(t.Context(), to("a")))[0]; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

package smtpd_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"smtpbridge/providers"
	"smtpbridge/smtpd"
	"smtpbridge/translate"
)

// bubble runs a server where time is not real: minutes pass at once when
// nobody has anything to do.
func bubble(t *testing.T, d *delivery, change func(*smtpd.Config), test func(s *server, dial func() *client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := build(t, d, change)
		socket := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		s.UseSocket(socket)
		s.serve()
		test(s, func() *client {
			ours, theirs := net.Pipe()
			socket.conns <- pipeEnd{theirs}
			c := newClient(t, ours)
			ours.SetDeadline(time.Time{})
			return c
		})
	})
}

// pipes is a listener whose connections stay inside the process.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Addr() net.Addr { return nil }

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// pipeEnd comes from loopback.
type pipeEnd struct{ net.Conn }

func (pipeEnd) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:4711"))
}

// A client that is silent for read_timeout is told so and hung up on, wherever
// it stopped.
func TestSilence(t *testing.T) {
	const (
		envelope = "EHLO a\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n"
		timedOut = `level=INFO * status=421 client=127.0.0.1 err="*timeout"`
	)
	for _, tt := range []struct {
		name, sent string
		replies    int
		last, line string
	}{
		{"at once", "", 1, "421 4.4.2 timeout: the rest did not come", ""},
		{"between commands", "EHLO a\r\n", 2, "421 4.4.2 timeout: the rest did not come", ""},
		{"inside a command", "EHL", 1, "421 4.4.2 timeout: the rest did not come", ""},
		{"after a transaction", envelope + "RSET\r\n", 5, "421 4.4.2 timeout: the rest did not come", ""},
		{"in a transaction", envelope, 4, "421 4.4.2 timeout: * id=*", timedOut},
		{"in the data", envelope + "DATA\r\nSubject: a\r\n", 5, "421 4.4.2 timeout: * id=*", timedOut},
		{"in a chunk", envelope + "BDAT 100 LAST\r\nSubject: a\r\n", 4, "421 4.4.2 timeout: * id=*", timedOut},
		{"between chunks", envelope + "BDAT 12\r\nSubject: a\r\n", 5, "421 4.4.2 timeout: * id=*", timedOut},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, new(delivery), nil, func(s *server, dial func() *client) {
				c := dial()
				go func() { _, _ = io.WriteString(c.Conn, tt.sent) }()
				for range tt.replies {
					c.expect("2*", "354 *")
				}
				since := time.Now()
				_, id, _ := strings.Cut(c.expect(tt.last), " id=")
				if silence := time.Since(since); silence != 5*time.Minute {
					s.t.Errorf("after %v, want read_timeout", silence)
				}
				c.expectEnd()
				if got := s.got(); len(got) > 0 {
					s.t.Errorf("got %q, want nothing", got)
				}
				if tt.line != "" {
					s.refusedOnce(id, tt.line)
				}
			})
		})
	}
}

// Silence counts from the last octet, whenever the deadline was set.
func TestSilenceAfterAPause(t *testing.T) {
	bubble(t, new(delivery), nil, func(s *server, dial func() *client) {
		c := dial().greet()
		for _, pause := range []time.Duration{2 * time.Minute, time.Second, 4 * time.Minute} {
			<-time.After(pause)
			c.send("NOOP\r\n")
			c.expect("250 *")
		}
		since := time.Now()
		c.expect("421 4.4.2 timeout: *")
		if silence := time.Since(since); silence != 5*time.Minute {
			s.t.Errorf("after %v, want read_timeout", silence)
		}
	})
}

// A slow upload lives, however long it takes in all.
func TestSlowUpload(t *testing.T) {
	bubble(t, new(delivery), nil, func(s *server, dial func() *client) {
		c := dial().greet().begin()
		since := time.Now()
		for i := range text {
			<-time.After(4 * time.Minute)
			c.send(text[i : i+1])
		}
		c.send(".\r\n")
		c.expect("250 *")
		if took := time.Since(since); took < time.Hour {
			s.t.Errorf("it took only %v", took)
		}
		if got := s.got(); len(got) != 1 || got[0].Raw != text {
			s.t.Errorf("got %q, want %q", got, text)
		}
	})
}

// A client that takes no replies is hung up on after write_timeout.
func TestDeafClient(t *testing.T) {
	bubble(t, new(delivery), nil, func(s *server, dial func() *client) {
		dial()
		open := func(after time.Duration) float64 {
			<-time.After(after)
			synctest.Wait()
			return s.metric("bridge_smtp_connections", "")
		}
		if got := open(59 * time.Second); got != 1 {
			s.t.Errorf("%v connections before write_timeout, want 1", got)
		}
		if got := open(2 * time.Second); got != 0 {
			s.t.Errorf("%v connections after write_timeout, want none", got)
		}
	})
}

// Once Run's context ends, an idle client is told and closed at once, a new one
// too, and one in a transaction may finish it first.
func TestDrain(t *testing.T) {
	const goodbye = "421 4.3.2 busy: shutting down"
	bubble(t, new(delivery), nil, func(s *server, dial func() *client) {
		fresh, idle, typing := dial(), dial().greet(), dial().greet()
		fresh.expect("220 *")
		typing.send("NOO")
		sender := dial().greet().begin()
		asking := dial().greet()
		asking.talk("C: MAIL FROM:<a@example.com>\nS: 250 *")
		synctest.Wait()
		since := time.Now()
		s.stop()
		synctest.Wait()
		for _, c := range []*client{fresh, idle, typing, dial()} {
			c.expect(goodbye)
			c.expectEnd()
		}
		<-time.After(time.Second)
		sender.send(text + ".\r\n")
		sender.expect("250 *")
		sender.expect(goodbye)
		sender.expectEnd()
		asking.talk("C: RSET\nS: 250 *")
		asking.expect(goodbye)
		asking.expectEnd()
		if err := s.wait(); err != nil {
			s.t.Error(err)
		}
		if took := time.Since(since); took != time.Second {
			s.t.Errorf("took %v, want the second that the sender took", took)
		}
	})
}

// What is not finished within shutdown_timeout is cut off: deliveries are told
// to give up and still answered, uploads are refused for now.
func TestShutdownTimeout(t *testing.T) {
	d := &delivery{outcome: func(ctx context.Context, m *translate.Message) providers.Outcome {
		<-ctx.Done()
		return providers.Fail(m.Envelope.Recipients, providers.Ambiguous,
			&providers.Error{Category: providers.NetworkError, Message: context.Cause(ctx).Error()})
	}}
	bubble(t, d, nil, func(s *server, dial func() *client) {
		delivering := dial().greet().begin()
		delivering.send(text + ".\r\n")
		synctest.Wait()
		unheard := dial().greet().begin() // does not take its reply
		unheard.send(text + ".\r\n")
		uploading := dial().greet().begin()
		uploading.send(text)
		waiting := dial().greet()
		waiting.talk("C: MAIL FROM:<a@example.com>\nS: 250 *")
		deaf := dial() // takes no reply: it must not hold the server up
		synctest.Wait()
		since := time.Now()
		s.stop()
		delivering.expect("451 4.4.1 network_error: shutting down id=*")
		delivering.expect("421 4.3.2 busy: shutting down")
		uploading.expect("421 4.3.2 busy: shutting down id=*")
		waiting.expect("421 4.3.2 busy: shutting down id=*")
		if err := s.wait(); err != nil {
			s.t.Error(err)
		}
		if took := time.Since(since); took < patience || took > patience+2*time.Second {
			s.t.Errorf("took %v, want shutdown_timeout", took)
		}
		const line = `level=WARN msg="mail refused" message_id=* status=421 client=127.0.0.1 category=busy class=transient`
		if logs := s.logs.String(); !matches("*"+line+"*"+line+"*", logs) || strings.Count(logs, "mail refused") != 2 {
			s.t.Errorf("want two lines of mails that broke off in\n%s", logs)
		}
		for i, given := range []bool{true, false} {
			if told := s.told(s.got()[i]); len(told) != 1 || told[0] != given {
				s.t.Errorf("of reply %d was told %v, want %v", i+1, told, given)
			}
		}
		for _, c := range []*client{delivering, unheard, uploading, waiting, deaf} {
			c.Close()
		}
	})
}

// Shutting down over real sockets leaves nothing running, TLS or not.
func TestDrainOverTheWire(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) {
		withTLS(t, cfg)
		cfg.Listeners[0].TLS = "starttls"
		cfg.Listeners = append(cfg.Listeners, smtpd.Listener{Address: "127.0.0.1:0", TLS: "implicit"})
	})
	bare := s.dial(t, 0).greet()
	upgraded := s.dial(t, 0).greet()
	upgraded.talk("C: STARTTLS\nS: 220 *")
	upgraded.startTLS(s.tlsConfig())
	upgraded.talk("C: EHLO client.example\nS: 250-*") // only now the server, too, has ended the handshake
	implicit := s.dial(t, 1)
	implicit.startTLS(s.tlsConfig())
	implicit.greet().begin()
	handshaking := s.dial(t, 1)
	s.eventually(func() bool { return s.metric("bridge_smtp_connections", "") == 4 })
	s.stop()
	for _, c := range []*client{bare, upgraded} {
		c.expect("421 4.3.2 busy: shutting down")
		c.expectEnd()
	}
	handshaking.expectEnd()
	implicit.send(strings.Repeat("x", 100_000) + "\r\n.\r\n")
	implicit.expect("250 *")
	implicit.expect("421 4.3.2 busy: shutting down")
	implicit.expectEnd()
	if err := s.wait(); err != nil {
		t.Error(err)
	}
}

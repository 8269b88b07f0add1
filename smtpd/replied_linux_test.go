package smtpd_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/smtpd"
	"smtpbridge/translate"
)

// caller is a client whose connection can be ended beneath TLS.
type caller struct {
	*client
	socket net.Conn
}

// way is how a client comes to the server: the listener, and what happens until
// it may send.
type way struct {
	name     string
	listener smtpd.Listener
	arrive   func(s *server, c *client)
}

var ways = []way{
	{"TCP", smtpd.Listener{}, func(_ *server, c *client) { c.greet() }},
	{"unix", smtpd.Listener{}, func(_ *server, c *client) { c.greet() }},
	{"STARTTLS", smtpd.Listener{TLS: "starttls"}, startTLS},
	{"implicit TLS", smtpd.Listener{TLS: "implicit"}, func(s *server, c *client) {
		c.startTLS(s.tlsConfig())
		c.greet()
	}},
	{"PROXY", smtpd.Listener{ProxyProtocol: true}, func(_ *server, c *client) {
		c.send("PROXY TCP4 127.0.0.1 127.0.0.1 4711 25\r\n")
		c.greet()
	}},
	{"PROXY and STARTTLS", smtpd.Listener{ProxyProtocol: true, TLS: "starttls"}, func(s *server, c *client) {
		c.send("PROXY TCP4 127.0.0.1 127.0.0.1 4711 25\r\n")
		startTLS(s, c)
	}},
	{"LMTP", smtpd.Listener{Protocol: "lmtp"}, func(_ *server, c *client) {
		c.talk("S: 220 *\nC: LHLO a\nS: 250-*")
	}},
}

// configure gives a configuration this listener.
func (w way) configure(t *testing.T) func(*smtpd.Config) {
	t.Helper()
	return func(cfg *smtpd.Config) {
		withTLS(t, cfg)
		cfg.Listeners[0] = w.listener
		cfg.Listeners[0].Address = "127.0.0.1:0"
		if w.name == "unix" {
			cfg.Listeners[0].Address = "unix:" + filepath.Join(t.TempDir(), "socket")
		}
	}
}

func startTLS(s *server, c *client) {
	c.greet().talk("C: STARTTLS\nS: 220 *")
	c.startTLS(s.tlsConfig())
	c.talk("C: EHLO a\nS: 250-*")
}

// bodies are the ways to send a mail; what comes behind it goes out with it.
var bodies = map[string]func(c *client, behind string){
	"DATA": func(c *client, behind string) {
		c.talk("C: DATA\nS: 354 *")
		c.send(text + ".\r\n" + behind)
	},
	"BDAT": func(c *client, behind string) {
		c.send(fmt.Sprintf("BDAT %d LAST\r\n%s%s", len(text), text, behind))
	},
}

// Whatever a client does while its mail is delivered, and once it has its reply:
// it was given the reply unless it is gone and has not read it. It is told at
// once, to wait or to go on makes no difference.
func TestReplied(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			d, entered, release := holding()
			s := build(t, d, way.configure(t))
			s.run()
			replies := 1
			if way.listener.Protocol == "lmtp" {
				replies = 2
			}
			for _, tt := range []struct {
				name string
				// behind goes out with the mail, meanwhile is done while it is delivered,
				// and then once the reply was written.
				behind          string
				meanwhile, then func(c caller)
				given           bool
			}{
				// It reads the reply.
				{"goes on", "", nil, func(c caller) { c.hear(replies).talk("C: NOOP\nS: 250 *") }, true},
				{"waits", "", nil, func(c caller) { c.hear(replies) }, true},
				{"leaves", "", nil, func(c caller) { c.hear(replies).Close() }, true},
				{"has gone on", "NOOP\r\n", nil, func(c caller) { c.hear(replies).expect("250 *") }, true},
				{"goes on before", "", func(c caller) { c.send("NOOP\r\n") }, func(c caller) { c.hear(replies).expect("250 *") }, true},
				{"half-closed", "", caller.halfClose, func(c caller) { c.hear(replies).expectEnd() }, true},
				{"half-closed behind QUIT", "QUIT\r\n", caller.halfClose, func(c caller) {
					c.hear(replies).expect("221 *")
					c.expectEnd()
				}, true},

				// It has gone.
				{"closed", "", func(c caller) { c.Close() }, func(caller) {}, false},
				{"closed behind QUIT", "QUIT\r\n", func(c caller) { c.Close() }, func(caller) {}, false},
				{"closed and said QUIT", "", func(c caller) { c.send("QUIT\r\n"); c.Close() }, func(caller) {}, false},
				{"reset", "", caller.reset, func(caller) {}, false},
				{"reset behind QUIT", "QUIT\r\n", caller.reset, func(caller) {}, false},
			} {
				for body, send := range bodies {
					t.Run(tt.name+" after "+body, func(t *testing.T) {
						c := s.call(t, way.arrive)
						c.talk("C: MAIL FROM:<a@example.com>\nS: 250 *")
						for range replies {
							c.talk("C: RCPT TO:<b@example.com>\nS: 250 *")
						}
						send(c.client, tt.behind)
						<-entered
						if tt.meanwhile != nil {
							tt.meanwhile(c)
						}
						release <- struct{}{}
						tt.then(c)
						if got := s.given(len(s.got()) - 1); got != tt.given {
							t.Errorf("told %v, want %v", got, tt.given)
						}
					})
				}
			}
		})
	}
}

// holding is a delivery that says when it has a mail and holds it until it may
// release it, or has to.
func holding() (d *delivery, entered, release chan struct{}) {
	entered, release = make(chan struct{}), make(chan struct{})
	return &delivery{outcome: func(ctx context.Context, m *translate.Message) providers.Outcome {
		entered <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return take(m.Envelope.Recipients)
	}}, entered, release
}

// call connects to the first listener.
func (s *server) call(t *testing.T, arrive func(*server, *client)) caller {
	t.Helper()
	c := s.dial(t, 0)
	socket := c.Conn
	arrive(s, c)
	return caller{c, socket}
}

// given waits for what is told of the reply to the mail of that index.
func (s *server) given(index int) bool {
	s.t.Helper()
	m := s.got()[index]
	s.eventually(func() bool { return s.told(m) != nil })
	return s.told(m)[0]
}

// hear takes the replies to a mail.
func (c caller) hear(replies int) *client {
	c.t.Helper()
	for range replies {
		c.expect("250 2.0.0 *provider=esp id=*")
	}
	return c.client
}

func (c caller) halfClose() {
	c.t.Helper()
	half, ok := c.socket.(interface{ CloseWrite() error })
	if !ok {
		c.t.Fatalf("%T has no half to close", c.socket)
	}
	if err := half.CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

func (c caller) reset() {
	c.t.Helper()
	if tcp, ok := c.socket.(*net.TCPConn); ok {
		if err := tcp.SetLinger(0); err != nil {
			c.t.Fatal(err)
		}
	}
	c.socket.Close()
}

// A second look holds nobody up: a half-closed client hears all it has asked for
// while the looks are still to come, and another mail is delivered. Only the end
// of the connection waits.
func TestSecondLookHoldsNobodyUp(t *testing.T) {
	d, entered, release := holding()
	s := build(t, d, nil)
	looks := s.holdLooks()
	s.run()
	c := s.call(t, ways[0].arrive)
	const mail = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nBDAT 2 LAST\r\n\r\n"
	c.send(mail + mail + "QUIT\r\n")
	<-entered
	c.halfClose()
	release <- struct{}{}
	<-looks.begun
	<-entered
	release <- struct{}{}
	<-looks.begun
	c.talk("S: 250 *\nS: 250 *\nS: 250 2.0.0 provider=esp id=*\nS: 250 *\nS: 250 *\nS: 250 2.0.0 provider=esp id=*\nS: 221 *")
	for _, m := range s.got() {
		if told := s.told(m); told != nil {
			t.Errorf("told %v before the second look", told)
		}
	}
	close(looks.end)
	c.expectEnd()
	for _, m := range s.got() {
		if told := s.told(m); !slices.Equal(told, []bool{true}) {
			t.Errorf("told %v, want that it was given", told)
		}
	}
}

// looks are second looks that wait for the test.
type looks struct{ begun, end chan struct{} }

// holdLooks has each second look say when its wait begins and wait until end.
func (s *server) holdLooks() looks {
	l := looks{make(chan struct{}, 10), make(chan struct{})}
	s.SetPause(func(ctx context.Context, d time.Duration) {
		if d != 50*time.Millisecond {
			s.t.Errorf("waits %v, want 50ms", d)
		}
		l.begun <- struct{}{}
		select {
		case <-l.end:
		case <-ctx.Done():
		}
	})
	return l
}

// A client that had closed one direction and leaves without its reply before the
// second look was not given it, even if a later write has met the reset by then.
func TestSecondLookSeesReset(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			d, entered, release := holding()
			s := build(t, d, way.configure(t))
			looks := s.holdLooks()
			s.run()
			c := s.call(t, way.arrive)
			c.talk("C: MAIL FROM:<a@example.com>\nS: 250 *\nC: RCPT TO:<b@example.com>\nS: 250 *")
			bodies["DATA"](c.client, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nBDAT 2 LAST\r\n\r\n")
			<-entered
			c.halfClose()
			release <- struct{}{}
			<-looks.begun
			<-entered
			c.reset()
			release <- struct{}{}
			s.eventually(func() bool { return s.told(s.got()[1]) != nil || len(looks.begun) > 0 })
			close(looks.end)
			for i := range 2 {
				if s.given(i) {
					t.Errorf("told that reply %d was given", i+1)
				}
			}
		})
	}
}

// One that reads its reply and leaves before the second look was given it.
func TestSecondLookSeesReader(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			d, entered, release := holding()
			s := build(t, d, way.configure(t))
			looks := s.holdLooks()
			s.run()
			c := s.call(t, way.arrive)
			c.talk("C: MAIL FROM:<a@example.com>\nS: 250 *\nC: RCPT TO:<b@example.com>\nS: 250 *")
			bodies["DATA"](c.client, "")
			<-entered
			c.halfClose()
			release <- struct{}{}
			<-looks.begun
			c.hear(1).Close()
			close(looks.end)
			if !s.given(0) {
				t.Error("told that the reply was not given")
			}
		})
	}
}

// A mail that Delivery never had is none of its business.
func TestNotReplied(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) { cfg.MaxMessageSize = 10 })
	for _, leave := range []func(c caller){
		func(c caller) { c.Close() },
		caller.reset,
		caller.halfClose,
		func(c caller) { c.send("\r\n.\r\n"); c.reset() }, // too large
	} {
		c := s.call(t, ways[0].arrive)
		c.begin().send(text)
		leave(c)
	}
	s.stop()
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	if len(s.got()) > 0 {
		t.Errorf("got %d mails, want none", len(s.got()))
	}
}

// A server that shuts down has told of each reply before it is gone: when the
// delivery ends in time and when it is cut off, and when a second look is due.
func TestRepliedAtShutdown(t *testing.T) {
	for _, tt := range []struct {
		name      string
		timeout   time.Duration
		meanwhile func(c caller)
		given     bool
	}{
		{"in time", patience, nil, true},
		{"in time, half-closed", patience, caller.halfClose, true},
		{"in time, gone", patience, caller.reset, false},
		{"cut off", 0, nil, true},
		{"cut off, half-closed", 0, caller.halfClose, true},
		{"cut off, gone", 0, caller.reset, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, entered, release := holding()
			s := build(t, d, nil)
			s.SetShutdownTimeout(tt.timeout)
			if tt.timeout == 0 {
				s.holdLooks() // nothing but the cut-off ends one
			}
			s.run()
			c := s.call(t, ways[0].arrive)
			c.begin().send(text + ".\r\n")
			<-entered
			if tt.meanwhile != nil {
				tt.meanwhile(c)
			}
			s.stop()
			if tt.timeout > 0 {
				release <- struct{}{}
			}
			if err := s.wait(); err != nil {
				t.Error(err)
			}
			if told := s.told(s.got()[0]); !slices.Equal(told, []bool{tt.given}) {
				t.Errorf("told %v, want %v", told, tt.given)
			}
			if tt.given {
				c.hear(1)
			}
		})
	}
}

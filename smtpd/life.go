package smtpd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/emersion/go-smtp"
)

// live serves one client: once, or twice where STARTTLS begins a second life
// in which nothing of the first is known.
func (l *listener) live(ctx, work context.Context, socket net.Conn, who peer) {
	secure := l.TLS == tlsImplicit
	c := l.newConn(socket)
	c.starttls = l.TLS == tlsStartTLS
	l.converse(work, c, who, secure)
	if !c.upgrade {
		return
	}
	_ = socket.SetWriteDeadline(time.Now().Add(c.timeouts.write))
	if _, err := socket.Write([]byte("220 2.0.0 go ahead with TLS\r\n")); err != nil {
		return
	}
	tls, err := l.handshake(ctx, socket)
	if err != nil {
		return
	}
	c = l.newConn(tls)
	c.muted = true
	l.converse(work, c, who, true)
}

func (l *listener) newConn(socket net.Conn) *conn {
	return newConn(socket, l.server.settings.Load().timeouts, &l.server.blocks)
}

// converse lets go-smtp speak with one client until either ends it.
func (l *listener) converse(work context.Context, c *conn, who peer, secure bool) {
	ctx, cancel := context.WithCancel(work)
	defer cancel()
	l.server.track(c)
	defer l.server.untrack(c)
	server := l.protocol()
	server.AllowInsecureAuth = secure || who.isLocal()
	server.Backend = smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &session{
			ctx: ctx, cancel: cancel, server: l.server, listener: l, conn: c, peer: who, secure: secure,
		}, nil
	})
	// go-smtp shows its limits, the session enforces ours: go-smtp would refuse a
	// mail of exactly the limit, and read the rest of a larger one as commands.
	c.hello = func(is bool) {
		server.MaxMessageBytes, server.MaxRecipients = 0, 0
		if set := l.server.settings.Load(); is {
			server.MaxMessageBytes, server.MaxRecipients = set.limits.Size, set.maxRecipients
		}
	}
	if c.starttls {
		server.TLSConfig = l.server.certificate.config() // has EHLO show it; conn begins TLS
	}
	_ = server.Serve(&single{conn: c})
	_ = server.Shutdown(context.WithoutCancel(ctx))
	c.noMoreData()
}

// protocol is a go-smtp server for one connection.
func (l *listener) protocol() *smtp.Server {
	server := smtp.NewServer(nil)
	server.LMTP = l.Protocol == protocolLMTP
	server.Domain = l.server.settings.Load().hostname
	server.MaxLineLength = 0         // a mail's lines have no limit; conn limits those of commands
	server.ReadTimeout = time.Minute // makes go-smtp call conn.SetReadDeadline before each command; the value has no effect
	server.EnableSMTPUTF8 = true
	server.EnableDSN = true
	server.ErrorLog = panicLog{l.server.options.Logger}
	return server
}

// track makes a connection part of drains.
func (s *Server) track(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	if s.draining {
		c.drain()
	}
}

func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// single is a listener of one connection. Its second Accept waits for that to end.
type single struct {
	conn *conn
	done bool
}

// Accept implements [net.Listener].
func (l *single) Accept() (net.Conn, error) {
	if l.done {
		<-l.conn.closed
		return nil, net.ErrClosed
	}
	l.done = true
	return l.conn, nil
}

// Close implements [net.Listener].
func (l *single) Close() error { return nil }

// Addr implements [net.Listener].
func (l *single) Addr() net.Addr { return l.conn.LocalAddr() }

// panicLog takes what go-smtp logs by itself: panics, and nothing else, since
// conn tells it of no network error.
type panicLog struct{ logger *slog.Logger }

// Printf implements [smtp.Logger].
func (p panicLog) Printf(format string, v ...any) {
	p.logger.Error("smtp session panicked", "err", fmt.Sprintf(format, v...))
}

// Println implements [smtp.Logger].
func (p panicLog) Println(v ...any) { p.Printf("%s", fmt.Sprintln(v...)) }

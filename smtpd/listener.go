package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"

	"smtpbridge/providers"
)

const (
	// acceptPause is how long accept waits after an error, such as too many open files.
	acceptPause = 100 * time.Millisecond
	// headerTimeout is how long a proxy has for its header.
	headerTimeout = 10 * time.Second
)

// listener is one configured address and the socket bound to it.
type listener struct {
	Listener

	server *Server
	socket net.Listener
}

// open binds the address. A socket file whose owner is dead is replaced.
func (l *listener) open(ctx context.Context) error {
	network, address := "tcp", l.Address
	if path, ok := strings.CutPrefix(l.Address, unixPrefix); ok {
		network, address = "unix", path
	}
	var config net.ListenConfig
	socket, err := config.Listen(ctx, network, address)
	if network == "unix" && errors.Is(err, syscall.EADDRINUSE) {
		if err := removeDead(ctx, address); err != nil {
			return err
		}
		socket, err = config.Listen(ctx, network, address)
	}
	if err != nil {
		return err
	}
	l.socket = socket
	return nil
}

// removeDead removes a socket file that nobody listens on.
func removeDead(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is no socket; remove it or choose another path", path)
	}
	var dialer net.Dialer
	peer, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(fmt.Errorf("another process listens on %s; stop it or choose another path", path), peer.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("asking who listens on %s: %w", path, err)
	}
	return os.Remove(path)
}

// accept serves connections until the socket is closed. Once ctx has ended it
// turns them away; work is the context of those that are served.
func (l *listener) accept(ctx, work context.Context) {
	for {
		socket, err := l.socket.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			l.server.options.Logger.ErrorContext(ctx, "accepting a connection", "err", err)
			pause(work, acceptPause)
		default:
			if refusal := l.server.admit(); refusal != nil {
				l.refuse(socket, refusal)
				continue
			}
			go func() {
				defer l.server.release()
				l.serve(ctx, work, socket)
			}()
		}
	}
}

// refuse says why and hangs up. To a client that expects TLS nothing can be
// said without a handshake, which is the very work that is to be spared.
func (l *listener) refuse(socket net.Conn, refusal *providers.Error) {
	if l.TLS != tlsImplicit {
		// A fresh socket takes one line without waiting.
		_ = socket.SetWriteDeadline(time.Now().Add(lastWords))
		_, _ = socket.Write([]byte(replyError(refusal, "").line()))
	}
	_ = socket.Close()
	l.server.options.Logger.Warn("connection refused", "err", refusal)
}

// admit counts a connection in, or says why it cannot be.
func (s *Server) admit() *providers.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return shuttingDown()
	}
	if s.open >= s.settings.Load().maxConnections {
		return &providers.Error{Category: providers.Busy, Message: "too many connections"}
	}
	s.open++
	s.handlers.Add(1)
	s.metrics.connections.Inc()
	return nil
}

func (s *Server) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	s.handlers.Done()
	s.metrics.connections.Dec()
}

// admitIP does the same for one client; one without an address is not counted.
func (s *Server) admitIP(ip netip.Addr) *providers.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ip.IsValid() && s.perIP[ip] >= s.settings.Load().maxConnectionsPerIP {
		return &providers.Error{Category: providers.Busy, Message: "too many connections from your address"}
	}
	s.perIP[ip]++
	return nil
}

func (s *Server) releaseIP(ip netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perIP[ip]--; s.perIP[ip] == 0 {
		delete(s.perIP, ip)
	}
}

// serve takes one connection from its PROXY header to its end.
func (l *listener) serve(ctx, work context.Context, socket net.Conn) {
	defer func() { _ = socket.Close() }()
	client, err := l.unproxy(ctx, socket)
	if err != nil {
		l.server.options.Logger.WarnContext(ctx, "connection without a PROXY header closed", "err", err)
		return
	}
	peer := l.peer(client)
	if refusal := l.server.admitIP(peer.ip); refusal != nil {
		l.refuse(client, refusal)
		return
	}
	defer l.server.releaseIP(peer.ip)
	if l.TLS == tlsImplicit {
		if client, err = l.handshake(ctx, client); err != nil {
			return
		}
	}
	l.live(ctx, work, client, peer)
}

// unproxy reads the PROXY header; from then on the connection has the address in it.
func (l *listener) unproxy(ctx context.Context, socket net.Conn) (net.Conn, error) {
	if !l.ProxyProtocol {
		return socket, nil
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer stop()
	proxied := proxyproto.NewConn(socket, proxyproto.WithPolicy(proxyproto.REQUIRE),
		proxyproto.SetReadHeaderTimeout(headerTimeout))
	if proxied.ProxyHeader() == nil {
		_, err := proxied.Read(nil)
		return nil, err
	}
	return proxied, nil
}

// handshake begins TLS; when ctx ends it gives up.
func (l *listener) handshake(ctx context.Context, socket net.Conn) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.server.settings.Load().timeouts.read)
	defer cancel()
	secure := tls.Server(socket, l.server.certificate.config())
	if err := secure.HandshakeContext(ctx); err != nil {
		l.server.options.Logger.DebugContext(ctx, "tls handshake", "err", err)
		return nil, err
	}
	return secure, nil
}

// peer is who is at the other end.
type peer struct {
	ip   netip.Addr // the zero value where a socket or a proxy gave none
	unix bool
}

func (l *listener) peer(socket net.Conn) peer {
	if l.isUnix() {
		return peer{unix: true}
	}
	if proxied, ok := socket.(*proxyproto.Conn); ok && proxied.ProxyHeader().Command.IsLocal() {
		return peer{} // the address would be the proxy's own
	}
	if address, ok := socket.RemoteAddr().(*net.TCPAddr); ok {
		return peer{ip: address.AddrPort().Addr().Unmap().WithZone("")}
	}
	return peer{} // a proxy may say that its client came over something else
}

// isLocal: nobody on the way can listen.
func (p peer) isLocal() bool { return p.unix || p.ip.IsLoopback() }

// String is for the log and the envelope.
func (p peer) String() string {
	switch {
	case p.unix:
		return "unix"
	case !p.ip.IsValid():
		return "unknown"
	default:
		return p.ip.String()
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

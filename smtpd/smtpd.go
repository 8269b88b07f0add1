// Package smtpd is the side of the bridge that applications see: SMTP and LMTP
// over TCP and unix sockets (RFC 5321, RFC 2033), with STARTTLS (RFC 3207), AUTH
// (RFC 4954), SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531),
// PIPELINING (RFC 2920), CHUNKING (RFC 3030), ENHANCEDSTATUSCODES (RFC 2034) and
// DSN parameters, which are taken and have no effect (RFC 3461).
//
// go-smtp speaks the protocol. Each connection has a go-smtp server of its own,
// because its settings differ per connection and change on the way, over a
// net.Conn of ours, [conn], which reads the mails themselves.
//
// A mail goes from the socket to a spool, is parsed, handed to [Delivery], and
// answered with what became of it. Only this package knows reply codes.
package smtpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// Delivery is what becomes of mail.
type Delivery interface {
	// Recipient is asked at RCPT, before the address is in the envelope. Nil
	// means that it may receive.
	Recipient(ctx context.Context, envelope translate.Envelope, address string) *providers.Error
	// Deliver takes the message over, and closes it. It returns when the outcome
	// is known or ctx ends, with one result per envelope recipient, in order; the
	// outcome is the caller's own.
	Deliver(ctx context.Context, m *translate.Message) providers.Outcome
}

// WitnessDelivery is a [Delivery] that is also told of replies, so that it can
// tell a repeat from a second mail, and of the mail that it never sees. It is
// found by assertion.
type WitnessDelivery interface {
	Delivery
	// Replied is told once for each message that was handed to Deliver, after its
	// reply was written or could not be, and before Run returns. Given means that
	// the client was there to read it: it had not closed its side before, or, where
	// it had, the connection shows no reset 50 ms after. Over LMTP the reply is all
	// replies to the message. Where the system is not Linux, given means that the
	// reply was written.
	//
	// It must not block, and may be called while other methods are.
	Replied(id string, given bool)
	// Refused is told of each mail that came to its end and was not handed to Deliver,
	// of which only the envelope is known: it cannot be read, is too large, or finds
	// no room. Bytes is 0 where it was not kept. It must not block.
	Refused(envelope translate.Envelope, bytes int64, refusal *providers.Error)
}

// Options are what a Server needs besides its configuration.
type Options struct {
	Delivery Delivery
	// SpoolDir is where mails beyond 256 KiB lie; it must exist.
	SpoolDir string
	// ShutdownTimeout is how long open transactions may go on once Run's context ends.
	ShutdownTimeout time.Duration
	Logger          *slog.Logger
	Registerer      prometheus.Registerer
}

// Server serves all listeners of a configuration.
type Server struct {
	options     Options
	witness     WitnessDelivery                      // nil where Delivery is none
	pause       func(context.Context, time.Duration) // how a failed login waits, and a second look
	listeners   []*listener
	settings    atomic.Pointer[settings]
	certificate certificate
	throttle    *throttle
	metrics     metrics
	blocks      sync.Pool // of *[blockSize]byte

	mu       sync.Mutex // guards the fields below
	draining bool
	open     int
	perIP    map[netip.Addr]int
	conns    map[*conn]struct{}
	handlers sync.WaitGroup
}

// New takes a configuration that has passed Validate. It fails where a
// certificate cannot be read; it opens nothing else.
func New(c Config, o Options) (*Server, error) {
	s := &Server{
		options:  o,
		pause:    pause,
		throttle: newThrottle(),
		metrics:  newMetrics(o.Registerer),
		blocks:   sync.Pool{New: func() any { return new([blockSize]byte) }},
		perIP:    make(map[netip.Addr]int),
		conns:    make(map[*conn]struct{}),
	}
	s.witness, _ = o.Delivery.(WitnessDelivery)
	set, err := newSettings(c)
	if err != nil {
		return nil, err
	}
	s.settings.Store(set)
	s.certificate.logger = o.Logger
	if err := s.certificate.use(c.TLS); err != nil {
		return nil, err
	}
	for _, l := range c.Listeners {
		s.listeners = append(s.listeners, &listener{Listener: l, server: s})
	}
	return s, nil
}

// Reload takes over everything but the listeners. A transaction that is open
// ends under the limits it began with. Where the configuration cannot be used
// the old one stays.
func (s *Server) Reload(c Config) {
	set, err := newSettings(c)
	if err == nil {
		err = s.certificate.use(c.TLS)
	}
	if err != nil {
		s.options.Logger.Error("smtp configuration cannot be used, the old one stays", "err", err)
		return
	}
	s.settings.Store(set)
}

// Listen binds all listeners, or none.
func (s *Server) Listen(ctx context.Context) error {
	for _, l := range s.listeners {
		if err := l.open(ctx); err != nil {
			return errors.Join(fmt.Errorf("listening on %s: %w", l.Address, err), s.closeListeners())
		}
	}
	return nil
}

// Addrs are the addresses that Listen has bound, in the order of the configuration.
func (s *Server) Addrs() []net.Addr {
	var addrs []net.Addr
	for _, l := range s.listeners {
		if l.socket != nil {
			addrs = append(addrs, l.socket.Addr())
		}
	}
	return addrs
}

// Run serves until ctx ends. Then new connections are turned away, idle ones
// are told so and closed, and those in a transaction may finish within
// ShutdownTimeout. It returns when all goroutines are gone.
func (s *Server) Run(ctx context.Context) error {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	var accepting sync.WaitGroup
	for _, l := range s.listeners {
		accepting.Go(func() { l.accept(ctx, work) })
	}
	<-ctx.Done()
	s.drain()
	gone := s.gone()
	select {
	case <-gone:
	case <-time.After(s.options.ShutdownTimeout):
		cancel(errShutdown)
		s.cutOff()
		<-gone
	}
	err := s.closeListeners()
	accepting.Wait()
	return err
}

func (s *Server) closeListeners() error {
	var errs []error
	for _, l := range s.listeners {
		if l.socket != nil {
			errs = append(errs, l.socket.Close())
		}
	}
	return errors.Join(errs...)
}

func (s *Server) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for c := range s.conns {
		c.drain()
	}
}

func (s *Server) cutOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.cutOff()
	}
}

// gone is closed when the last connection is. Only after drain: no connection
// may come meanwhile.
func (s *Server) gone() <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		s.handlers.Wait()
		close(gone)
	}()
	return gone
}

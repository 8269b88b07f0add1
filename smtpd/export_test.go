package smtpd

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// ReadMail is readMail, for the table and the fuzz target.
var ReadMail = readMail

// UseSocket has the first listener accept from socket, so that a test can run
// the whole server in a bubble where time is not real.
func (s *Server) UseSocket(socket net.Listener) { s.listeners[0].socket = socket }

// SetPause replaces how a failed login and a second look wait.
func (s *Server) SetPause(pause func(context.Context, time.Duration)) { s.pause = pause }

// SetShutdownTimeout replaces how long open transactions may go on.
func (s *Server) SetShutdownTimeout(d time.Duration) { s.options.ShutdownTimeout = d }

// Throttle counts failed logins.
type Throttle struct{ *throttle }

// NewThrottle makes one with a clock of the test's.
func NewThrottle(now func() time.Time) Throttle {
	t := newThrottle()
	t.now = now
	return Throttle{t}
}

// Fail counts a failure and says how long its answer waits.
func (t Throttle) Fail(ip netip.Addr) time.Duration { return t.fail(ip) }

// Len is how many clients are remembered.
func (t Throttle) Len() int { return len(t.failing) }

// MaxFailing bounds them.
const MaxFailing = maxFailing

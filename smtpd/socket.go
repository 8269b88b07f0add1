package smtpd

import (
	"crypto/tls"
	"net"
	"syscall"

	"github.com/pires/go-proxyproto"
)

// socket is what lies beneath TLS and the PROXY protocol: it knows what the
// client did while nobody reads.
type socket struct {
	raw  syscall.RawConn // nil where there is none
	unix bool
}

func socketOf(conn net.Conn) socket {
	switch c := conn.(type) {
	case *tls.Conn:
		return socketOf(c.NetConn())
	case *proxyproto.Conn:
		return socketOf(c.Raw())
	case syscall.Conn:
		if raw, err := c.SyscallConn(); err == nil {
			_, unix := c.(*net.UnixConn)
			return socket{raw, unix}
		}
	}
	return socket{}
}

// ending is how far the client has ended a connection.
type ending uint8

const (
	// stillOpen: nothing is known of an end, or nothing can be seen.
	stillOpen ending = iota
	// halfClosed: the client sends no more. It may be there to read.
	halfClosed
	// wasReset: the client has gone, with something unread that was sent to it.
	wasReset
)

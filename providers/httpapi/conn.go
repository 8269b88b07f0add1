package httpapi

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// patientConn lets an answer be heard that came before the whole request was
// written. A server that refuses a large mail answers, closes, and resets what
// still comes; net/http would take the failed write for the end of the
// exchange, although the answer lies in the receive buffer. So a write that the
// other side has cut off fails only when reading has come to its end as well.
type patientConn struct {
	net.Conn

	ended chan struct{} // reading has ended, or the connection is closed
	end   func()
}

// dialPatiently dials as d does.
func dialPatiently(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err //nolint:wrapcheck // it stands for the dialer
		}
		ended := make(chan struct{})
		return &patientConn{conn, ended, sync.OnceFunc(func() { close(ended) })}, nil
	}
}

// Read notes the end: net/http reads whatever it writes.
func (c *patientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.end()
	}
	return n, err //nolint:wrapcheck // it stands for the connection
}

// Write waits no longer than an answer may take: in a TLS handshake nobody reads
// beside it.
func (c *patientConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		select {
		case <-c.ended:
		case <-time.After(maxAnswerTime):
		}
	}
	return n, err //nolint:wrapcheck // it stands for the connection
}

// Close releases a write that waits.
func (c *patientConn) Close() error {
	c.end()
	return c.Conn.Close() //nolint:wrapcheck // it stands for the connection
}

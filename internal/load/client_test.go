package load_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/textproto"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// concurrency is how many clients flood has sending at once.
	concurrency = 20
	// patience bounds one transaction of a client.
	patience = 2 * time.Minute
)

// client is one SMTP connection. It costs as little as it can: a mail is
// rendered before and goes out in one write.
type client struct {
	conn net.Conn
	text *textproto.Conn
}

// dial connects and says EHLO.
func dial(ctx context.Context, address string) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, text: textproto.NewConn(conn)}
	if _, _, err := c.text.ReadResponse(220); err != nil {
		c.close()
		return nil, fmt.Errorf("reading the greeting: %w", err)
	}
	if err := c.command(250, "EHLO client.example"); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// send hands over one mail as wire rendered it and returns the reply to it.
func (c *client) send(from, to string, mail ...[]byte) (code int, text string, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, "", err
	}
	if err := c.command(250, "MAIL FROM:<%s>", from); err != nil {
		return 0, "", err
	}
	if err := c.command(250, "RCPT TO:<%s>", to); err != nil {
		return 0, "", err
	}
	if err := c.command(354, "DATA"); err != nil {
		return 0, "", err
	}
	if _, err := (*net.Buffers)(&mail).WriteTo(c.conn); err != nil {
		return 0, "", fmt.Errorf("writing the mail: %w", err)
	}
	return c.text.ReadResponse(0)
}

// close says QUIT, so that nothing of the session is left in the bridge.
func (c *client) close() {
	_ = c.command(221, "QUIT")
	_ = c.text.Close()
}

func (c *client) command(want int, format string, args ...any) error {
	if err := c.text.PrintfLine(format, args...); err != nil {
		return fmt.Errorf("writing %q: %w", format, err)
	}
	if _, _, err := c.text.ReadResponse(want); err != nil {
		return fmt.Errorf("reading the reply to %q: %w", format, err)
	}
	return nil
}

// wire stuffs the dots of a mail and ends it (RFC 5321, 4.5.2).
func wire(mail []byte) []byte {
	stuffed := bytes.ReplaceAll(mail, []byte("\r\n."), []byte("\r\n.."))
	return append(stuffed, ".\r\n"...)
}

// job is what flood sends: count times the same mail, over connections that
// stay or, if dialled is set, one connection for each mail.
type job struct {
	mail    []byte
	count   int
	dialled bool
}

// flood sends a job's mails with concurrency clients. Every reply must be 250.
func flood(ctx context.Context, address string, j job) error {
	group, ctx := errgroup.WithContext(ctx)
	var sent atomic.Int64
	for range concurrency {
		group.Go(func() error {
			var c *client
			defer func() {
				if c != nil {
					c.close()
				}
			}()
			for n := sent.Add(1); n <= int64(j.count); n = sent.Add(1) {
				if c != nil && j.dialled {
					c.close()
					c = nil
				}
				if c == nil {
					var err error
					if c, err = dial(ctx, address); err != nil {
						return err
					}
				}
				if err := sendOne(c, n, j.mail); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// sendOne sends a mail under a Message-ID of its own: with that of one in flight
// it would be a repeat, which costs nearly nothing.
func sendOne(c *client, n int64, mail []byte) error {
	id := fmt.Appendf(nil, "Message-ID: <%d@app.example.com>\r\n", n)
	code, text, err := c.send("app@example.com", "user@example.net", id, mail)
	if err != nil {
		return err
	}
	if code != 250 {
		return fmt.Errorf("the reply is %d %s", code, text)
	}
	return nil
}

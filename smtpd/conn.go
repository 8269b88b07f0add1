package smtpd

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"smtpbridge/providers"
)

const (
	// lineRoom is how much is read at once between mails, in octets.
	lineRoom = 4 << 10
	// A longer command line ends the connection, in octets with its CRLF. RFC
	// 5321, 4.5.3.1.4 wants 512 and room for parameters; RFC 4954, 4.3 wants
	// 12,288 for AUTH and what follows it.
	maxCommandLine, maxAuthLine = lineRoom, 64 << 10
	// maxHello is how long a client's own name may be (RFC 5321, 4.5.3.1.2).
	maxHello = 255
	// maxReplies is how many octets of replies wait for each other.
	maxReplies = 4 << 10
	// lastWords is how long a client has for a reply once all time is up.
	lastWords = time.Second
)

var (
	errShutdown = errors.New("shutting down")
	errEndless  = errors.New("the line is too long")
)

// conn is the net.Conn under one go-smtp connection. It gives go-smtp at most
// one command line at a time, so that go-smtp's own buffer is empty whenever it
// handles a command. On this stands all else:
//
//   - When go-smtp has said 354, the mail is all here and can be read in blocks
//     ([conn.readMail]), however impatiently the client sent it; go-smtp then
//     sees only the final dot.
//   - STARTTLS ends go-smtp's life on this connection before the command reaches
//     it. What was pipelined behind it is dropped, and a new life begins over
//     TLS with nothing remembered (RFC 3207, 4.2).
//   - A command line has a limit although the lines of a mail have none, and
//     go-smtp sees it as it can read it ([legible]).
//
// It also bounds the silence and not the mail, so that a slow upload lives and a
// stalled one ends; gathers replies until the client must be waited for (RFC
// 2920, 3.2); and says goodbye when the server shuts down.
//
// go-smtp's goroutine owns it, and while that waits for the session's Data, Data does.
type conn struct {
	net.Conn

	socket   socket // beneath it
	timeouts timeouts
	blocks   *sync.Pool // of *[blockSize]byte
	starttls bool       // STARTTLS is offered
	hello    func(bool) // told before each command whether it is EHLO or LHLO
	muted    bool       // go-smtp's greeting is not sent: STARTTLS has been answered already

	in     []byte // read and not yet handed up
	room   []byte // where in lies, between mails
	out    []byte // replies not yet sent
	failed error  // why no more replies can be sent
	ended  bool   // nothing more is read
	done   bool   // go-smtp has closed it

	// What go-smtp waits for: a command line, of which some octets are handed
	// up, or a chunk of BDAT, of which some octets are to come.
	awaitsLine bool
	line       int
	chunk      int64
	bdat       bool   // a BDAT command was handed up and not refused
	challenged bool   // the next line answers a 334: it is no command
	command    []byte // the last command line, until the next read
	upgrade    bool   // STARTTLS has ended this life

	goAhead atomic.Bool   // 354 was said and the mail not yet read
	entered chan struct{} // the transaction's Data has begun
	closed  chan struct{} // go-smtp has closed it
	id      string        // the open transaction's, empty without one
	lost    error         // why the rest of a transaction did not come

	mu       sync.Mutex // guards the fields below
	busy     bool       // a transaction is open
	draining bool       // end when idle
	cut      bool       // end now
	over     bool       // no Data may begin
	readBy   time.Time  // the deadlines as they are set
	writeBy  time.Time
	data     sync.WaitGroup
}

// timeouts are the longest silence and the longest wait for a reply to be taken.
type timeouts struct {
	read, write time.Duration
}

func newConn(socket net.Conn, t timeouts, blocks *sync.Pool) *conn {
	return &conn{Conn: socket, socket: socketOf(socket), timeouts: t, blocks: blocks, closed: make(chan struct{})}
}

// SetReadDeadline is go-smtp's sign that it now waits for a command line. It
// sets no deadline; [conn.wait] does.
func (c *conn) SetReadDeadline(time.Time) error {
	c.awaitData()
	c.awaitsLine, c.line, c.chunk = true, 0, 0
	switch {
	case c.ended:
		return io.EOF // go-smtp ends at this without a word
	case c.leaving():
		return c.end(errShutdown)
	}
	return nil
}

// Read gives go-smtp the next line, or the next piece of a chunk.
func (c *conn) Read(p []byte) (int, error) {
	if c.chunk > 0 {
		c.awaitData()
	}
	if c.ended {
		return 0, io.EOF
	}
	for len(c.in) == 0 || c.awaitsLine && len(c.in) < lineRoom && bytes.IndexByte(c.in, '\n') < 0 {
		if err := c.fill(); err != nil {
			return 0, c.end(err)
		}
	}
	if c.awaitsLine && c.endless() {
		return 0, c.end(errEndless)
	}
	if c.chunk > 0 {
		n := copy(p[:min(int64(len(p)), c.chunk)], c.in)
		c.in, c.chunk = c.in[n:], c.chunk-int64(n)
		return n, nil
	}
	return c.readLine(p)
}

// endless reports a line beyond its limit.
func (c *conn) endless() bool {
	n := bytes.IndexByte(c.in, '\n')
	if n < 0 {
		n = len(c.in)
	}
	if c.challenged || c.line > 0 || begins(c.in, "AUTH") {
		return c.line+n >= maxAuthLine
	}
	return n >= maxCommandLine
}

// readLine hands up a line, or as much of it as p and the buffer hold. A
// command other than AUTH is always whole.
func (c *conn) readLine(p []byte) (int, error) {
	line, rest := c.in, []byte(nil)
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line, rest = line[:i+1], line[i+1:]
	}
	command := c.awaitsLine && c.line == 0 && !c.challenged
	if command {
		if c.starttls && isSTARTTLS(line) {
			c.in, c.ended, c.upgrade = nil, true, true
			return 0, io.EOF
		}
		c.hello(begins(line, "EHLO") || begins(line, "LHLO"))
		if seen := legible(line); !bytes.Equal(seen, line) {
			line, c.in = seen, slices.Concat(seen, rest)
		}
		c.command = line
	}
	n := copy(p, line)
	c.in = c.in[n:]
	c.line += n
	if p[n-1] == '\n' {
		c.awaitsLine = false
		if command {
			c.chunk, c.bdat = chunkSize(line)
		}
	}
	return n, nil
}

// isSTARTTLS knows the command exactly as go-smtp does, so that go-smtp never
// begins TLS itself.
func isSTARTTLS(line []byte) bool {
	return strings.HasPrefix(strings.ToUpper(string(line)), "STARTTLS")
}

// hugeSize finds a SIZE= that may be more than go-smtp reads, behind the path of
// a MAIL command: RFC 1870, 5 allows 20 digits.
var hugeSize = regexp.MustCompile(`(?i)^(MAIL .*[> \t]SIZE=)([0-9]{10,20})([ \t\r\n][^>]*)$`)

// hugeDigits is how many digits such a size has at least.
const hugeDigits = 10

// legible writes a command so that go-smtp gives the right answer to it: a name
// that is too long is left out, which is 501, and a size beyond 32 bits is the
// largest that go-smtp reads.
func legible(line []byte) []byte {
	for _, hello := range []string{"HELO ", "EHLO ", "LHLO "} {
		if begins(line, hello) && len(bytes.TrimSpace(line)) > len(hello)+maxHello {
			return []byte(hello + "\r\n")
		}
	}
	if !hasNumber(line, hugeDigits) {
		return line
	}
	if m := hugeSize.FindSubmatch(line); m != nil {
		if _, err := strconv.ParseUint(string(m[2]), 10, 32); err != nil {
			return slices.Concat(m[1], strconv.AppendUint(nil, math.MaxUint32, 10), m[3])
		}
	}
	return line
}

// hasNumber looks for so many digits in a row, at a fraction of what the regular
// expression costs, which no usual command needs.
func hasNumber(line []byte, digits int) bool {
	run := 0
	for _, c := range line {
		if run++; c < '0' || c > '9' {
			run = 0
		}
		if run == digits {
			return true
		}
	}
	return false
}

// chunkSize is what follows a BDAT command (RFC 3030, 2). A chunk that is missed
// only reads slower; one that go-smtp refuses to read ends with the next command.
func chunkSize(line []byte) (size int64, bdat bool) {
	if !begins(line, "BDAT ") {
		return 0, false
	}
	words := bytes.Fields(line)
	if len(words) < 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(words[1]), 10, 32)
	return int64(n), err == nil
}

func begins(line []byte, verb string) bool {
	return len(line) >= len(verb) && strings.EqualFold(string(line[:len(verb)]), verb)
}

// end gives go-smtp the error that makes it do what the end of the connection
// asks for: between commands be silent after our goodbye or say its own, inside
// a chunk answer it. io.EOF would make it take half a chunk for a whole one.
func (c *conn) end(err error) error {
	c.ended = true
	switch {
	case !c.awaitsLine:
		c.lost = err
		return replyLost(err, c.id).smtp(0)
	case errors.Is(err, errEndless):
		c.say(reply{status: lineTooLong, words: err.Error()})
	case errors.Is(err, errShutdown), errors.Is(err, os.ErrDeadlineExceeded):
		c.lost = err
		c.say(replyLost(err, c.id))
	}
	return io.EOF
}

// replyLost answers a mail or command of which the rest did not come.
func replyLost(err error, id string) reply {
	if errors.Is(err, errShutdown) {
		return replyError(shuttingDown(), id)
	}
	return reply{silent, "timeout: the rest did not come", id}
}

func shuttingDown() *providers.Error {
	return &providers.Error{Category: providers.Busy, Message: errShutdown.Error()}
}

// Write gathers replies, and holds to what every reply must be.
func (c *conn) Write(p []byte) (int, error) {
	if c.muted {
		c.muted = false
		return len(p), nil
	}
	c.challenged = bytes.HasPrefix(p, []byte("334 "))
	c.bdat = c.bdat && bytes.HasPrefix(p, []byte("250 "))
	if bytes.HasPrefix(p, []byte("354 ")) {
		c.goAhead.Store(true)
	}
	c.out = appendTidy(c.out, p)
	if len(c.out) > maxReplies {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Close sends what is still to be said. The socket stays open where TLS begins on it.
func (c *conn) Close() error {
	if c.done {
		return net.ErrClosed
	}
	c.done = true
	err := c.flush()
	c.ended = true
	close(c.closed)
	if c.upgrade {
		return err
	}
	return errors.Join(err, c.Conn.Close())
}

// readMail reads the mail that follows 354 into dst and leaves go-smtp the
// final dot.
func (c *conn) readMail(dst io.Writer) error {
	block, _ := c.blocks.Get().(*[blockSize]byte)
	defer c.blocks.Put(block)
	rest, err := readMail(dst, clientReader{c}, block[:], copy(block[:], c.in))
	if err != nil {
		c.in, c.ended, c.lost = nil, true, err
		return err
	}
	c.in = append([]byte(".\r\n"), rest...)
	return nil
}

// takesMail reports, once, that go-smtp has said 354.
func (c *conn) takesMail() bool { return c.goAhead.Swap(false) }

// clientReader reads from the socket, with all that waiting for the client means.
type clientReader struct{ *conn }

func (r clientReader) Read(p []byte) (int, error) { return r.wait(p) }

// fill reads more behind what is in; less than lineRoom is.
func (c *conn) fill() error {
	if c.room == nil {
		c.room = make([]byte, lineRoom)
	}
	n := copy(c.room, c.in)
	more, err := c.wait(c.room[n:])
	c.in = c.room[:n+more]
	return err
}

// wait reads from the socket: first all replies leave, then the client may be
// silent for the read timeout.
func (c *conn) wait(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	since := time.Now()
	for now := since; now.Sub(since) < c.timeouts.read; now = time.Now() {
		if err := c.armRead(since, now); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(p)
		switch {
		case n > 0:
			return n, nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return 0, err
		case c.leaving():
			return 0, errShutdown
		}
	}
	return 0, os.ErrDeadlineExceeded
}

// armRead bounds the silence that began at since. To move the deadline with each
// read takes as long as to parse a command: one that is more than half of the
// time-out away stays, and wait asks again when it comes too early.
func (c *conn) armRead(since, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isLeaving() {
		return errShutdown
	}
	if c.readBy.Sub(now) > c.timeouts.read/2 {
		return nil
	}
	c.readBy = since.Add(c.timeouts.read)
	return c.Conn.SetReadDeadline(c.readBy)
}

// flush sends the replies that wait.
func (c *conn) flush() error {
	if len(c.out) == 0 || c.failed != nil {
		return c.failed
	}
	if c.failed = c.armWrite(time.Now()); c.failed == nil {
		_, c.failed = c.Conn.Write(c.out)
	}
	c.out = c.out[:0]
	return c.failed
}

// armWrite bounds the next write. A write cannot be taken up again as a read can:
// the deadline moves as soon as a 64th of the time-out has passed.
func (c *conn) armWrite(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	timeout := c.timeouts.write
	if c.cut {
		timeout = min(timeout, lastWords)
	} else if c.writeBy.Sub(now) > timeout-timeout/64 {
		return nil
	}
	c.writeBy = now.Add(timeout)
	return c.SetWriteDeadline(c.writeBy)
}

func (c *conn) say(r reply) { c.out = append(c.out, r.line()...) }

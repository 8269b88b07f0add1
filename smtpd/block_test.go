package smtpd_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"smtpbridge/smtpd"
)

// endings are what a client sends after 354, the mail that is in it, and what
// is left for the next command. Without an end the mail is what came so far.
var endings = []struct {
	name, sent, mail, rest string
	open                   bool
}{
	// Only CRLF.CRLF ends a mail.
	{name: "text", sent: "a\r\nb\r\n.\r\nQUIT\r\n", mail: "a\r\nb\r\n", rest: "QUIT\r\n"},
	{name: "nothing", sent: ".\r\n"},
	{name: "empty line", sent: "\r\n.\r\n", mail: "\r\n"},
	{name: "two ends", sent: "a\r\n.\r\n.\r\n", mail: "a\r\n", rest: ".\r\n"},
	{name: "a CR before the end", sent: "a\r\r\n.\r\nQUIT\r\n", mail: "a\r\r\n", rest: "QUIT\r\n"},
	{name: "two CRs before the end", sent: "a\r\r\r\n.\r\n", mail: "a\r\r\r\n"},
	{name: "a dot and CRs before the end", sent: ".\r\r\n.\r\n", mail: "\r\r\n"},
	{name: "a bare LF before the end", sent: "a\n\r\n.\r\n", mail: "a\n\r\n"},

	// A bare LF or CR is no line end, before the dot or after it: the smuggled
	// commands stay text.
	{name: "LF.LF", sent: "a\n.\nMAIL FROM:<b@c>\r\n.\r\n", mail: "a\n.\nMAIL FROM:<b@c>\r\n"},
	{name: "LF.CRLF", sent: "a\n.\r\nMAIL FROM:<b@c>\r\n.\r\n", mail: "a\n.\r\nMAIL FROM:<b@c>\r\n"},
	{name: "CRLF.LF", sent: "a\r\n.\nMAIL FROM:<b@c>\r\n.\r\n", mail: "a\r\n\nMAIL FROM:<b@c>\r\n"},
	{name: "CR.CR", sent: "a\r.\rMAIL FROM:<b@c>\r\n.\r\n", mail: "a\r.\rMAIL FROM:<b@c>\r\n"},
	{name: "CR.CRLF", sent: "a\r.\r\nb\r\n.\r\n", mail: "a\r.\r\nb\r\n"},
	{name: "CRLF.CR", sent: "a\r\n.\rb\r\n.\r\n", mail: "a\r\n\rb\r\n"},
	{name: "CRLF.CRCRLF", sent: "a\r\n.\r\r\nb\r\n.\r\n", mail: "a\r\n\r\r\nb\r\n"},
	{name: "LFCR.CRLF", sent: "a\n\r.\r\nb\r\n.\r\n", mail: "a\n\r.\r\nb\r\n"},
	{name: "a NUL before the dot", sent: "a\r\n\x00.\r\nb\r\n.\r\n", mail: "a\r\n\x00.\r\nb\r\n"},
	{name: "only an LF at the start", sent: "\n.\n\r\n.\r\n", mail: "\n.\n\r\n"},

	// One dot at a line start goes, whatever follows it (RFC 5321, 4.5.2).
	{name: "stuffed", sent: "..\r\n.\r\n", mail: ".\r\n"},
	{name: "stuffed twice", sent: "...\r\n..a\r\n.\r\n", mail: "..\r\n.a\r\n"},
	{name: "a dot alone before text", sent: ".a\r\n.\r\n", mail: "a\r\n"},
	{name: "dots inside a line", sent: "a.b..\r\n.\r\n", mail: "a.b..\r\n"},
	{name: "stuffed after CRCRLF", sent: "a\r\r\n..b\r\n.\r\n", mail: "a\r\r\n.b\r\n"},
	{name: "stuffed after a bare LF", sent: "a\n..b\r\n.\r\n", mail: "a\n..b\r\n"},

	// A connection that breaks off leaves no mail.
	{name: "broken off", sent: "a\r\nb", mail: "a\r\nb", open: true},
	{name: "broken off in the end", sent: "a\r\n.\r", mail: "a\r\n", open: true},
	{name: "broken off before the dot", sent: "a\r\n", mail: "a\r\n", open: true},
	{name: "ended by LF.LF only", sent: "a\n.\n", mail: "a\n.\n", open: true},
}

// Every ending is understood wherever the network cuts it.
func TestEndOfMail(t *testing.T) {
	for _, tt := range endings {
		t.Run(tt.name, func(t *testing.T) {
			for cut := range len(tt.sent) + 1 {
				var mail bytes.Buffer
				block := make([]byte, 64)
				n := copy(block, tt.sent[:cut])
				rest, err := smtpd.ReadMail(&mail, strings.NewReader(tt.sent[cut:]), block, n)
				checkEnding(t, tt.mail, tt.open, mail.String(), err)
				// What src has not given yet is for the next read.
				if left := string(rest); !strings.HasPrefix(tt.rest, left) {
					t.Errorf("cut at %d: left %q of %q", cut, left, tt.rest)
				}
			}
			var mail bytes.Buffer
			_, err := smtpd.ReadMail(&mail, iotest.OneByteReader(strings.NewReader(tt.sent)), make([]byte, 64), 0)
			checkEnding(t, tt.mail, tt.open, mail.String(), err)
		})
	}
}

func checkEnding(t *testing.T, want string, open bool, got string, err error) {
	t.Helper()
	if open != errors.Is(err, io.ErrUnexpectedEOF) || !open && err != nil {
		t.Errorf("error %v, want unexpected EOF: %v", err, open)
	}
	// A CR or dot that means nothing yet is not passed on.
	if got != want {
		t.Errorf("mail %q, want %q", got, want)
	}
}

// An error of the network is told apart from the end.
func TestReadMailError(t *testing.T) {
	broken := errors.New("broken")
	src := io.MultiReader(strings.NewReader("a\r\n"), iotest.ErrReader(broken))
	if _, err := smtpd.ReadMail(io.Discard, src, make([]byte, 64), 0); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

// FuzzReadMail compares the block reader with the definition in two lines, and
// with go-smtp's reader where that one is right.
func FuzzReadMail(f *testing.F) {
	for _, tt := range endings {
		f.Add([]byte(tt.sent), uint8(3))
	}
	f.Fuzz(func(t *testing.T, sent []byte, step uint8) {
		var got bytes.Buffer
		src := &steps{data: sent, step: 1 + int(step)}
		rest, err := smtpd.ReadMail(&got, src, make([]byte, 3+int(step)/2), 0)

		// The definition: a mail follows a CRLF and ends at the first CRLF.CRLF;
		// of every other CRLF. the dot goes.
		mail, behind, ended := strings.Cut("\r\n"+string(sent), "\r\n.\r\n")
		if ended != (err == nil) {
			t.Fatalf("error %v, but the end is there: %v", err, ended)
		}
		if !ended {
			return
		}
		want := strings.ReplaceAll(mail+"\r\n", "\r\n.", "\r\n")[2:]
		if got.String() != want {
			t.Fatalf("%q: got %q, want %q", sent, got.String(), want)
		}
		if left := string(rest) + string(src.data); left != behind {
			t.Fatalf("%q: left %q, want %q", sent, left, behind)
		}
		if library, ok := readByLibrary(t, sent); ok && library != want {
			t.Fatalf("%q: the library reads %q, we %q", sent, library, want)
		}
	})
}

// steps gives at most step octets at a time.
type steps struct {
	data []byte
	step int
}

func (s *steps) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.data[:min(s.step, len(s.data))])
	s.data = s.data[n:]
	return n, nil
}

// readByLibrary gives the mail as go-smtp's own reader finds it. It is not asked
// where it is known to be wrong: it misses a line end after CRCR and loses a CR
// after a dot.
func readByLibrary(t *testing.T, sent []byte) (string, bool) {
	t.Helper()
	if bytes.Contains(sent, []byte("\r\r")) {
		return "", false
	}
	for i, c := range sent[:max(len(sent)-2, 0)] {
		if c == '.' && sent[i+1] == '\r' && sent[i+2] != '\n' {
			return "", false
		}
	}
	var session library
	server := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) { return &session, nil }))
	server.MaxLineLength = 0
	const dialogue = "HELO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n"
	conn := &memory{Reader: strings.NewReader(dialogue + string(sent)), closed: make(chan struct{})}
	_ = server.Serve(conn)
	_ = server.Shutdown(t.Context())
	return session.mail, session.taken
}

// library is a go-smtp session that keeps the first mail.
type library struct {
	mail  string
	taken bool
}

func (l *library) Mail(string, *gosmtp.MailOptions) error { return nil }
func (l *library) Rcpt(string, *gosmtp.RcptOptions) error { return nil }
func (l *library) Reset()                                 {}
func (l *library) Logout() error                          { return nil }

func (l *library) Data(r io.Reader) error {
	mail, err := io.ReadAll(r)
	if err == nil && !l.taken {
		l.mail, l.taken = string(mail), true
	}
	return err
}

// memory is a connection that has said everything already, and its listener.
type memory struct {
	net.Conn
	io.Reader
	accepted bool
	closed   chan struct{}
	once     sync.Once
}

func (m *memory) Accept() (net.Conn, error) {
	if m.accepted {
		<-m.closed
		return nil, net.ErrClosed
	}
	m.accepted = true
	return m, nil
}

func (m *memory) Read(p []byte) (int, error)       { return m.Reader.Read(p) }
func (m *memory) Write(p []byte) (int, error)      { return len(p), nil }
func (m *memory) Addr() net.Addr                   { return nil }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }

func (m *memory) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

// BenchmarkReadMail reads a base64 attachment, the usual large mail.
func BenchmarkReadMail(b *testing.B) {
	mail := []byte(strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 1<<20/78) + ".\r\n")
	block := make([]byte, 64<<10)
	b.SetBytes(int64(len(mail)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := smtpd.ReadMail(io.Discard, bytes.NewReader(mail), block, 0); err != nil {
			b.Fatal(err)
		}
	}
}

package smtpd

import (
	"bytes"
	"errors"
	"io"
)

// blockSize is how much of a mail is read at once, in octets.
const blockSize = 64 << 10

// readMail copies one mail from src to dst, in blocks, up to CRLF.CRLF, and
// takes out the dots that the client stuffed (RFC 5321, 4.5.2). The first n
// octets of block are already read; what follows the mail is given back as rest,
// a slice of block.
//
// A line ends at CRLF and nowhere else. Servers that also took a bare LF or CR
// for a line end could be made to see two mails where another saw one (SMTP
// smuggling, CVE-2023-51764 and its kin), so here "\n.\n", "\r.\r" and every
// mixture are content like any other.
//
// dst must take everything: to answer in order, the mail is read to its end
// even when it cannot be kept. The error is that of src; where the mail did not
// end it is [io.ErrUnexpectedEOF].
func readMail(dst io.Writer, src io.Reader, block []byte, n int) (rest []byte, err error) {
	scan := dotScanner{dst: dst, lineStart: true}
	for {
		used, done := scan.take(block[:n])
		if done {
			return block[used:n], nil
		}
		n = copy(block, block[used:n])
		more, err := src.Read(block[n:])
		n += more
		if err != nil && more == 0 {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// dotScanner finds the dots at line starts. Its state is one bit: everything
// else that it must remember it leaves in the block.
type dotScanner struct {
	dst       io.Writer
	lineStart bool // the octet before was the LF of a CRLF, or there was none
}

// take passes on what is certain in data and says how much that was: at most
// two octets remain, a dot or CR whose meaning the next ones decide. Done means
// that the end of the mail was reached; it is used up, too.
func (s *dotScanner) take(data []byte) (used int, done bool) {
	for used < len(data) {
		if s.lineStart && data[used] == '.' {
			switch rest := data[used:]; {
			case bytes.HasPrefix(rest, []byte(".\r\n")):
				return used + len(".\r\n"), true
			case bytes.HasPrefix([]byte(".\r\n"), rest):
				return used, false
			}
			used++
		}
		n := s.pass(data[used:])
		if n == 0 {
			break
		}
		used += n
	}
	return used, false
}

// pass hands on data up to the next dot at a line start, or all of it but a
// CR at the very end, which may begin a line end.
func (s *dotScanner) pass(data []byte) int {
	n := len(data)
	if i := bytes.Index(data, []byte("\r\n.")); i >= 0 {
		n = i + len("\r\n")
	} else if data[n-1] == '\r' {
		n--
	}
	s.lineStart = bytes.HasSuffix(data[:n], []byte("\r\n"))
	_, _ = s.dst.Write(data[:n])
	return n
}

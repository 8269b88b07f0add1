package translate

import (
	"bytes"
	"io"
)

// window is how much of a mail in a file is in view, in octets.
const window = 64 << 10

// lines walks a spool line by line. A line ends at LF; one that is longer than
// the window comes in pieces.
type lines struct {
	spool  *Spool
	buffer []byte // what is loaded, starting at offset base
	base   int64
	next   int  // index in buffer of the next line
	inside bool // the last line given goes on
}

// line is one line or a piece of one. data is good until the next call.
type line struct {
	data  []byte // with its line break
	off   int64
	first bool // the line begins here
	last  bool // the line ends here
}

func newLines(s *Spool) *lines {
	if s.file == nil {
		return &lines{spool: s, buffer: s.memory}
	}
	return &lines{spool: s, buffer: make([]byte, 0, window)}
}

// read gives the next line or piece of one; io.EOF, bare, after the last.
func (l *lines) read() (line, error) {
	rest := l.buffer[l.next:]
	end := bytes.IndexByte(rest, '\n')
	if end < 0 && l.spool.file != nil && l.base+int64(len(l.buffer)) < l.spool.size && len(rest) < window {
		if err := l.load(); err != nil {
			return line{}, err
		}
		rest = l.buffer
		end = bytes.IndexByte(rest, '\n')
	}
	if len(rest) == 0 {
		return line{}, io.EOF
	}
	out := line{off: l.offset(), first: !l.inside, last: true}
	if end < 0 {
		end = len(rest) - 1
		out.last = out.off+int64(len(rest)) == l.spool.size
	}
	out.data = rest[:end+1]
	l.next += end + 1
	l.inside = !out.last
	return out, nil
}

// skipMark passes a byte order mark, which no mail begins with but some editors write.
func (l *lines) skipMark() error {
	first, err := l.read()
	if err == io.EOF { //nolint:errorlint // read promises the bare value
		return nil
	}
	if err == nil {
		l.rewind(first.off)
		if bytes.HasPrefix(first.data, []byte("\xEF\xBB\xBF")) {
			l.rewind(first.off + 3)
		}
	}
	return err
}

// skip takes what is left of the line that read gave a piece of.
func (l *lines) skip() error {
	for l.inside {
		if _, err := l.read(); err != nil {
			return err
		}
	}
	return nil
}

// offset is where the next line starts.
func (l *lines) offset() int64 { return l.base + int64(l.next) }

// load moves the unread rest to the front and fills up behind it.
func (l *lines) load() error {
	kept := copy(l.buffer[:cap(l.buffer)], l.buffer[l.next:])
	l.base += int64(l.next)
	l.next = 0
	l.buffer = l.buffer[:kept]
	n, err := l.spool.ReadAt(l.buffer[kept:cap(l.buffer)], l.base+int64(kept))
	l.buffer = l.buffer[:kept+n]
	if err != nil && n == 0 {
		return err
	}
	return nil
}

// rewind makes off the start of the next line.
func (l *lines) rewind(off int64) {
	l.inside = false
	if l.spool.file == nil {
		l.next = int(off)
		return
	}
	if off >= l.base && off <= l.base+int64(len(l.buffer)) {
		l.next = int(off - l.base)
		return
	}
	l.base, l.next, l.buffer = off, 0, l.buffer[:0]
}

// trimEOL cuts the line break, with however many CR before the LF.
func trimEOL(data []byte) []byte {
	end := len(data)
	if end > 0 && data[end-1] == '\n' {
		end--
	}
	for end > 0 && data[end-1] == '\r' {
		end--
	}
	return data[:end]
}

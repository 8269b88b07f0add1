package translate

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

const (
	// maxDepth is how deep multiparts may nest.
	maxDepth = 30
	// maxNodes is how many parts a mail may have, multiparts included.
	maxNodes = 1000
)

// node is one entity of the MIME tree (RFC 2045, 2.4): a leaf, or a multipart
// with children.
type node struct {
	header      fields
	content     mediaType
	disposition mediaType
	encoding    transferEncoding
	unknown     string // the name of an encoding that nobody knows
	head        int64  // where the header begins
	off, end    int64  // of the body, without the line break before a boundary
	children    []*node
	boundary    []byte // of a multipart
	high        bool   // an octet above 127 was seen in the body
	doubled     bool   // a line ended in two CR and a LF
	rough       bool   // a line of the body, or between its parts, cannot leave as it is
	roughHeader bool   // nor can one of the header
	highHeader  bool   // an octet above 127 was seen in the header
	unread      bool   // a multipart in which no boundary ever stood
	base64      base64Stats
}

// scanner finds the parts of a mail in one pass over its lines.
type scanner struct {
	lines   *lines
	headers headerReader
	open    []*node // the multiparts we are in, outermost first
	sink    *node   // whose body the lines belong to; nil in an epilogue
	eol     int64   // octets of the line break that ended the line before
	nodes   int
	guess   guess
}

// guess is a line that looks like a boundary.
type guess struct {
	boundary []byte
	first    int64 // where it stood first
	line     bool  // the last line was it
}

// scan gives the tree of a mail, and whether there was junk in its headers.
func scan(s *Spool) (root *node, junk bool, err error) {
	sc := &scanner{lines: newLines(s)}
	sc.headers.lines = sc.lines
	if err := sc.lines.skipMark(); err != nil {
		return nil, false, err
	}
	if root, err = sc.entity("text/plain"); err != nil {
		return nil, false, err
	}
	for {
		l, err := sc.lines.read()
		if err == io.EOF { //nolint:errorlint // lines.read promises the bare value
			break
		}
		if err == nil {
			err = sc.line(l)
		}
		if err != nil {
			return nil, false, err
		}
	}
	if sc.sink != nil {
		sc.sink.end = s.size
	}
	sc.closeFrom(0, s.size)
	return root, sc.headers.junk, nil
}

// entity reads a header and makes what follows the body of a new node.
func (sc *scanner) entity(fallback string) (*node, error) {
	if sc.nodes++; sc.nodes > maxNodes {
		return nil, fmt.Errorf("%w: it has more than %d parts", ErrMalformed, maxNodes)
	}
	head := sc.lines.offset()
	header, err := sc.headers.read(func(line []byte) bool {
		_, _, ok := sc.boundary(line)
		return ok
	})
	if err != nil {
		return nil, err
	}
	n := &node{
		header: header, head: head, off: sc.lines.offset(), end: sc.lines.offset(),
		roughHeader: sc.headers.rough, highHeader: sc.headers.high,
	}
	n.content = contentType(header.get("content-type"), fallback)
	n.disposition = parseMediaType(header.get("content-disposition"))
	n.encoding, n.unknown = parseEncoding(header.get("content-transfer-encoding"))
	sc.sink, sc.eol, sc.guess = n, 0, guess{}
	if !strings.HasPrefix(n.content.value, "multipart/") {
		return n, nil
	}
	// RFC 2045, 6.4: a multipart is not encoded, whatever its header says.
	n.encoding, n.unknown = identity, ""
	n.boundary = []byte(strings.TrimRight(n.content.params["boundary"], " \t"))
	if sc.open = append(sc.open, n); len(sc.open) > maxDepth {
		return nil, fmt.Errorf("%w: its parts nest deeper than %d levels", ErrMalformed, maxDepth)
	}
	return n, nil
}

// line takes one line of a body, or a piece of one.
func (sc *scanner) line(l line) error {
	rough := isRough(l)
	if l.first && len(l.data) > 1 && l.data[0] == '-' && l.data[1] == '-' {
		if depth, last, ok := sc.boundary(trimEOL(l.data)); ok {
			sc.open[depth].rough = sc.open[depth].rough || rough
			return sc.delimiter(depth, last, l.off)
		}
	}
	if sc.guessed(l) {
		return nil
	}
	sc.countEOL(l)
	if sc.sink == nil { // an epilogue
		last := sc.open[len(sc.open)-1]
		last.rough = last.rough || rough
		return nil
	}
	sc.sink.rough = sc.sink.rough || rough
	if sc.sink.encoding == inBase64 {
		sc.sink.base64.add(l.data)
	} else if !sc.sink.high {
		sc.sink.high = hasHigh(l.data)
	}
	return nil
}

// countEOL measures the line break, which may stand in two pieces of a line.
func (sc *scanner) countEOL(l line) {
	eol := int64(len(l.data) - len(trimEOL(l.data)))
	if !l.first && eol == int64(len(l.data)) {
		eol += sc.eol
	}
	if sc.eol = eol; sc.sink != nil && l.last && eol > int64(len("\r\n")) {
		sc.sink.doubled = true
	}
}

// boundary finds the open multipart whose delimiter the line is, the innermost
// first, and whether it is the last one (RFC 2046, 5.1.1; blanks may follow).
func (sc *scanner) boundary(line []byte) (depth int, last, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("--"))
	if !ok {
		return 0, false, false
	}
	for depth = len(sc.open) - 1; depth >= 0; depth-- {
		boundary := sc.open[depth].boundary
		tail, ok := bytes.CutPrefix(rest, boundary)
		if !ok || len(boundary) == 0 {
			continue
		}
		if len(bytes.TrimRight(tail, " \t")) == 0 {
			return depth, false, true
		}
		if tail, ok = bytes.CutPrefix(tail, []byte("--")); ok && len(bytes.TrimRight(tail, " \t")) == 0 {
			return depth, true, true
		}
	}
	return 0, false, false
}

// delimiter ends what is open inside the multipart at depth. Behind the last one
// is the epilogue, in which another may begin a part all the same: some programs
// append to a mail that they have closed.
func (sc *scanner) delimiter(depth int, last bool, off int64) error {
	end := off - sc.eol
	if sc.sink != nil && len(sc.sink.boundary) == 0 {
		sc.sink.end = max(end, sc.sink.off)
	}
	sc.closeFrom(depth+1, end)
	parent := sc.open[depth]
	parent.end = max(end, parent.off)
	if last {
		sc.sink, sc.eol = nil, 0
		return nil
	}
	fallback := "text/plain"
	if parent.content.value == "multipart/digest" {
		fallback = "message/rfc822" // RFC 2046, 5.1.5
	}
	child, err := sc.entity(fallback)
	if err != nil {
		return err
	}
	parent.children = append(parent.children, child)
	return nil
}

// closeFrom ends the multiparts from depth on. One in which no boundary ever
// stood is read as the text that it shows.
func (sc *scanner) closeFrom(depth int, end int64) {
	for _, n := range sc.open[depth:] {
		n.end = max(end, n.off)
		if len(n.children) == 0 {
			n.content = mediaType{value: "text/plain"}
			n.boundary = nil
			n.unread, n.high = true, true // not all of it was looked at
		}
	}
	sc.open = sc.open[:depth]
}

// guessed mends a multipart whose header names a wrong boundary or none: where
// a line with two dashes is followed by a Content- field, it was the boundary,
// and where the same line stood first the parts begin.
func (sc *scanner) guessed(l line) bool {
	n := sc.sink
	if n == nil || len(sc.open) == 0 || n != sc.open[len(sc.open)-1] || !l.first {
		return false
	}
	if sc.guess.line && len(l.data) > 8 && bytes.EqualFold(l.data[:8], []byte("content-")) {
		n.boundary = sc.guess.boundary
		sc.lines.rewind(sc.guess.first)
		sc.guess = guess{}
		return true
	}
	rest, dashed := bytes.CutPrefix(trimEOL(l.data), []byte("--"))
	if sc.guess.line = dashed && len(rest) > 0 && len(rest) <= 200; sc.guess.line && !bytes.Equal(rest, sc.guess.boundary) {
		sc.guess.boundary, sc.guess.first = bytes.Clone(rest), l.off
	}
	return false
}

// parseEncoding reads a Content-Transfer-Encoding (RFC 2045, 6.1).
func parseEncoding(raw string) (encoding transferEncoding, unknown string) {
	name := strings.ToLower(strings.Trim(stripComments(raw), " \t\"';"))
	switch name {
	case "", "7bit", "8bit", "binary", "7-bit", "8-bit", "7bits", "8bits", "none":
		return identity, ""
	case "base64":
		return inBase64, ""
	case "quoted-printable":
		return inQuotedPrintable, ""
	}
	return identity, name
}

// isRough: a line that may not leave (RFC 5321, 2.3.8 and 4.5.3.1.6): it does
// not end in CRLF, is longer than 998 octets, or has a CR or NUL inside.
func isRough(l line) bool {
	end := len(l.data) - len("\r\n")
	return end < 0 || end > maxLine || l.data[end+1] != '\n' || bytes.IndexByte(l.data, '\r') != end || bytes.IndexByte(l.data, 0) >= 0
}

// maxLine is the longest line in octets, without its CRLF (RFC 5322, 2.1.1).
const maxLine = 998

// hasHigh looks for an octet above 127, eight at a time.
func hasHigh(data []byte) bool {
	for ; len(data) >= 8; data = data[8:] {
		if (data[0]|data[1]|data[2]|data[3]|data[4]|data[5]|data[6]|data[7])&0x80 != 0 {
			return true
		}
	}
	for _, c := range data {
		if c&0x80 != 0 {
			return true
		}
	}
	return false
}

package translate

import (
	"bytes"

	"golang.org/x/text/transform"
)

// escapeHTML shows plain text inside HTML: markup is escaped, lines break.
type escapeHTML struct{ transform.NopResetter }

// Transform implements [transform.Transformer].
func (escapeHTML) Transform(dst, src []byte, _ bool) (nDst, nSrc int, err error) {
	for ; nSrc < len(src); nSrc++ {
		out := src[nSrc : nSrc+1]
		switch src[nSrc] {
		case '&':
			out = []byte("&amp;")
		case '<':
			out = []byte("&lt;")
		case '>':
			out = []byte("&gt;")
		case '\n':
			out = []byte("<br>\n")
		case '\r':
			out = nil
		}
		if nDst+len(out) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += copy(dst[nDst:], out)
	}
	return nDst, nSrc, nil
}

// singleCR takes out all but one of a run of CR: a program wrote text with CR LF
// through a library that made CR LF of each LF.
type singleCR struct{ transform.NopResetter }

// Transform implements [transform.Transformer].
func (singleCR) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for ; nSrc < len(src); nSrc++ {
		if src[nSrc] == '\r' {
			if nSrc+1 == len(src) && !atEOF {
				return nDst, nSrc, transform.ErrShortSrc
			}
			if nSrc+1 < len(src) && src[nSrc+1] == '\r' {
				continue
			}
		}
		if nDst == len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		dst[nDst] = src[nSrc]
		nDst++
	}
	return nDst, nSrc, nil
}

// unflow joins the lines of format=flowed text (RFC 3676, 4): a line that ends
// in a blank goes on in the next one of the same quote depth.
type unflow struct {
	delsp bool

	open  bool // the line before was flowed: its break is not yet decided
	depth int  // quote depth of that line
	kept  int  // octets of the break that was held back: 1 for LF, 2 for CRLF
	mid   bool // inside a line that is longer than the buffer
}

// Reset implements [transform.Transformer].
func (u *unflow) Reset() { *u = unflow{delsp: u.delsp} }

// Transform implements [transform.Transformer].
func (u *unflow) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		line, whole := src[nSrc:], false
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line, whole = line[:end+1], true
		}
		if !whole && !atEOF && len(line) < maxHeld {
			return nDst, nSrc, transform.ErrShortSrc
		}
		if len(line) > maxHeld {
			line, whole = line[:maxHeld], false
		}
		// A line grows by the break before it and the blank behind its quote marks.
		if nDst+len(line)+len("\r\n ") > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += u.line(dst[nDst:], line, whole)
		nSrc += len(line)
	}
	if atEOF && u.open {
		if nDst+2 > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += u.lineBreak(dst[nDst:])
	}
	return nDst, nSrc, nil
}

// line writes one line, or a piece of one that is too long to be flowed.
func (u *unflow) line(dst, line []byte, whole bool) (n int) {
	content := trimEOL(line)
	eol := len(line) - len(content)
	if !u.mid {
		depth := 0
		for depth < len(content) && content[depth] == '>' {
			depth++
		}
		quote := content[:depth]
		content = bytes.TrimPrefix(content[depth:], []byte(" ")) // space-stuffing
		if u.open && (depth != u.depth || len(content) == 0 || string(content) == "-- ") {
			n += u.lineBreak(dst)
		}
		if !u.open {
			n += copy(dst[n:], quote)
			if depth > 0 && len(content) > 0 {
				n += copy(dst[n:], " ")
			}
		}
		u.open, u.depth = false, depth
	}
	u.mid = !whole
	// RFC 3676, 4.3: the signature line is not flowed.
	if whole && bytes.HasSuffix(content, []byte(" ")) && string(content) != "-- " {
		u.open, u.kept = true, eol
		if u.delsp {
			content = content[:len(content)-1]
		}
		return n + copy(dst[n:], content)
	}
	n += copy(dst[n:], content)
	return n + copy(dst[n:], line[len(line)-eol:])
}

// lineBreak writes the break that was held back.
func (u *unflow) lineBreak(dst []byte) int {
	u.open = false
	if u.kept == 1 {
		return copy(dst, "\n")
	}
	return copy(dst, "\r\n")
}

package translate

import (
	"bytes"
	"encoding/base64"
	"io"

	"golang.org/x/text/transform"
)

// A decoder of this file gives up on nothing: what its encoding does not know
// stands for itself, as people would read it.

// maxHeld is how many octets a decoder keeps back to see what follows; it is
// less than the buffer of transform.Reader.
const maxHeld = 1000

// quotedPrintable decodes RFC 2045, 6.7.
type quotedPrintable struct{ transform.NopResetter }

// Transform implements [transform.Transformer].
func (quotedPrintable) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		out, n, err := qpStep(src[nSrc:], atEOF)
		if err != nil {
			return nDst, nSrc, err
		}
		if nDst+len(out) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += copy(dst[nDst:], out)
		nSrc += n
	}
	return nDst, nSrc, nil
}

// qpStep decodes what src begins with: a run of plain text, an escape, a soft
// line break or the blanks before a line break. It takes n octets.
func qpStep(src []byte, atEOF bool) (out []byte, n int, err error) {
	switch src[0] {
	case '=':
		return qpEscape(src, atEOF)
	case ' ', '\t':
		end := blanks(src)
		if end == len(src) && !atEOF && end < maxHeld {
			return nil, 0, transform.ErrShortSrc
		}
		if end < len(src) && (src[end] == '\r' || src[end] == '\n') {
			return nil, end, nil // transport padding (RFC 2045, 6.7, rule 3)
		}
		return src[:end], end, nil
	}
	n = qpPlain(src)
	return src[:n], n, nil
}

// qpPlain is how many octets of src, which begins with one, stand for
// themselves: up to an escape, and not past a line break or blanks before one.
func qpPlain(src []byte) int {
	const run = 512 // small enough for any destination
	n := min(len(src), run)
	for _, stop := range []byte("\n\r=") {
		if end := bytes.IndexByte(src[1:n], stop); end >= 0 {
			n = 1 + end
		}
	}
	for src[n-1] == ' ' || src[n-1] == '\t' {
		n--
	}
	return n
}

func qpEscape(src []byte, atEOF bool) (out []byte, n int, err error) {
	end := 1 + blanks(src[1:])
	switch {
	case end < len(src) && src[end] == '\n':
		return nil, end + 1, nil
	case end+1 < len(src) && src[end] == '\r' && src[end+1] == '\n':
		return nil, end + 2, nil
	case len(src) > 2 && unhex(src[1]) >= 0 && unhex(src[2]) >= 0:
		value := unhex(src[1])<<4 | unhex(src[2])
		return everyOctet[value : value+1], 3, nil
	case end >= len(src)-2 && !atEOF && end < maxHeld:
		return nil, 0, transform.ErrShortSrc
	case end == len(src) && atEOF:
		return nil, end, nil // a soft break at the very end
	}
	return src[:1], 1, nil
}

// everyOctet holds each octet at its own place.
var everyOctet = func() (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
	}
	return table
}()

func blanks(src []byte) int {
	n := 0
	for n < len(src) && n < maxHeld && (src[n] == ' ' || src[n] == '\t') {
		n++
	}
	return n
}

// looseBase64 decodes base64 with anything in between: other octets are skipped.
// Padding ends the text (RFC 2045, 6.8) where what follows is none, as the footer
// of a mailing list; else it ends a run, and another follows.
type looseBase64 struct {
	bits   uint32
	count  int  // octets of the alphabet in bits
	footer bool // something that is no base64 stands behind the padding
	ended  bool
}

// Reset implements [transform.Transformer].
func (d *looseBase64) Reset() { *d = looseBase64{footer: d.footer} }

// Transform implements [transform.Transformer].
func (d *looseBase64) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for ; nSrc < len(src); nSrc++ {
		if d.ended {
			return nDst, len(src), nil
		}
		if nDst+3 > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		c := src[nSrc]
		if v := base64Values[c]; v < padding {
			d.bits = d.bits<<6 | uint32(v)
			if d.count++; d.count < 4 {
				continue
			}
		} else if v != padding {
			continue
		} else {
			d.ended = d.footer
		}
		nDst += d.flush(dst[nDst:])
	}
	if atEOF {
		if nDst+3 > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += d.flush(dst[nDst:])
	}
	return nDst, nSrc, nil
}

// flush writes the whole octets of the group and starts a new one.
func (d *looseBase64) flush(dst []byte) int {
	n := d.count * 6 / 8
	bits := d.bits << (6 * (4 - d.count))
	for i := range n {
		dst[i] = byte(bits >> (16 - 8*i))
	}
	d.bits, d.count = 0, 0
	return n
}

// The classes of an octet in base64, beside the 64 values.
const (
	padding = 64 + iota // =
	space               // CR LF blank tab
	foreign             // not of base64
)

// base64Values gives the value or class of every octet.
var base64Values = func() (table [256]uint8) {
	for i := range table {
		table[i] = foreign
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		table[c] = uint8(i)
	}
	for _, c := range []byte("\r\n \t") {
		table[c] = space
	}
	table['='] = padding
	return table
}()

// unwrap takes the line breaks and blanks out of clean base64.
type unwrap struct{ r io.Reader }

func (u unwrap) Read(p []byte) (int, error) {
	for {
		n, err := u.r.Read(p)
		if n = compact(p[:n]); n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// compact moves everything but white space to the front of p.
func compact(p []byte) int {
	n, rest := 0, p
	for len(rest) > 0 {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			end = len(rest)
		}
		line := bytes.TrimRight(rest[:end], "\r")
		if bytes.ContainsAny(line, " \t\r") {
			line = bytes.Join(bytes.Fields(line), nil)
		}
		n += copy(p[n:], line)
		rest = rest[min(end+1, len(rest)):]
	}
	return n
}

// base64Encoder gives what it reads as base64 without line breaks.
type base64Encoder struct {
	r    io.Reader
	in   [6 << 10]byte
	out  [8 << 10]byte
	rest []byte // of out, not yet read
	err  error
}

func (e *base64Encoder) Read(p []byte) (int, error) {
	for len(e.rest) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		var n int
		n, e.err = io.ReadFull(e.r, e.in[:])
		if e.err == io.ErrUnexpectedEOF { //nolint:errorlint // io.ReadFull promises the bare value
			e.err = io.EOF
		}
		size := base64.StdEncoding.EncodedLen(n)
		base64.StdEncoding.Encode(e.out[:size], e.in[:n])
		e.rest = e.out[:size]
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

package httpapi

import (
	"io"
	"sync"
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// escapes holds for each byte what stands for it in a JSON string (RFC 8259,
// 7); empty where it stands for itself.
var escapes = func() (table [256]string) {
	for c := range 0x20 {
		table[c] = `\u00` + string(hex[c>>4]) + string(hex[c&15])
	}
	table['\n'], table['\r'], table['\t'] = `\n`, `\r`, `\t`
	table['"'], table['\\'] = `\"`, `\\`
	return table
}()

// growth holds by how many octets each byte grows in a JSON string.
var growth = func() (table [256]uint8) {
	for c, escape := range escapes {
		if escape != "" {
			table[c] = uint8(len(escape) - 1)
		}
	}
	return table
}()

// appendEscaped appends s, which must be UTF-8, without the quotes.
func appendEscaped[T string | []byte](dst []byte, s T) []byte {
	start := 0
	for i := range len(s) {
		if growth[s[i]] != 0 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, escapes[s[i]]...)
			start = i + 1
		}
	}
	return append(dst, s[start:]...)
}

// escapedLen is the length that appendEscaped adds.
func escapedLen(s []byte) int64 {
	n := len(s)
	for _, c := range s {
		n += int(growth[c])
	}
	return int64(n)
}

// textBlock is how much text is read at once, in octets.
const textBlock = 16 << 10

// textBlocks reads text in blocks of whole, valid UTF-8 characters. What is
// replaced does not depend on where a block ends, so that a second reading has
// the length of the first.
type textBlocks struct {
	src    io.Reader
	buffer []byte
	tail   []byte // what was read of a character whose rest is still to come
}

// textBuffers are for texts that are rendered at once, of *[textBlock]byte.
var textBuffers = sync.Pool{New: func() any { return new([textBlock]byte) }}

// newTextBlocks takes a buffer no larger than a text of size octets needs.
func newTextBlocks(src io.Reader, size int64) textBlocks {
	return textBlocks{src: src, buffer: make([]byte, min(textBlock, size+2*utf8.UTFMax))}
}

// next gives a block that is good until the next call, or the end as io.EOF.
func (t *textBlocks) next() ([]byte, error) {
	kept := copy(t.buffer, t.tail)
	n, err := io.ReadAtLeast(t.src, t.buffer[kept:], utf8.UTFMax)
	block := t.buffer[:kept+n]
	t.tail = nil
	switch {
	case err == nil:
		end := wholeRunes(block)
		block, t.tail = block[:end], block[end:]
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		return nil, err
	case len(block) == 0:
		return nil, io.EOF
	}
	if !utf8.Valid(block) {
		block = replaceInvalid(block)
	}
	return block, nil
}

// wholeRunes is the length of s without a character that may go on behind it.
func wholeRunes(s []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(s); back++ {
		if start := len(s) - back; utf8.RuneStart(s[start]) {
			if !utf8.FullRune(s[start:]) {
				return start
			}
			break
		}
	}
	return len(s)
}

// replaceInvalid puts U+FFFD in the place of every byte that is not UTF-8.
func replaceInvalid(s []byte) []byte {
	out := make([]byte, 0, len(s)+len(s)/2)
	for len(s) > 0 {
		r, n := utf8.DecodeRune(s)
		out = utf8.AppendRune(out, r)
		s = s[n:]
	}
	return out
}

// countText is the length of a text as a JSON string without its quotes.
func countText(src io.Reader, size int64) (int64, error) {
	blocks, total := newTextBlocks(src, size), int64(0)
	for {
		block, err := blocks.next()
		if err == io.EOF { //nolint:errorlint // next promises the bare value
			return total, nil
		}
		if err != nil {
			return 0, err
		}
		total += escapedLen(block)
	}
}

// escapeReader gives a text as a JSON string without its quotes.
type escapeReader struct {
	io.Closer

	blocks textBlocks
	block  []byte // what of the current block is still to be escaped
	rest   string // what of an escape did not fit the caller's buffer
}

func newEscapeReader(src io.ReadCloser, size int64) *escapeReader {
	return &escapeReader{Closer: src, blocks: newTextBlocks(src, size)}
}

// Read escapes as much as one block gives.
func (e *escapeReader) Read(p []byte) (int, error) {
	if len(e.rest) > 0 {
		n := copy(p, e.rest)
		e.rest = e.rest[n:]
		return n, nil
	}
	if len(e.block) == 0 {
		block, err := e.blocks.next()
		if err != nil {
			return 0, err
		}
		e.block = block
	}
	return e.escapeInto(p), nil
}

func (e *escapeReader) escapeInto(p []byte) int {
	n := 0
	for len(e.block) > 0 && n < len(p) {
		plain := plainPrefix(e.block[:min(len(e.block), len(p)-n)])
		n += copy(p[n:], e.block[:plain])
		e.block = e.block[plain:]
		if len(e.block) > 0 && n < len(p) {
			escape := escapes[e.block[0]]
			e.block = e.block[1:]
			written := copy(p[n:], escape)
			e.rest = escape[written:]
			n += written
		}
	}
	return n
}

// plainPrefix is the length of what stands for itself at the start of s.
func plainPrefix(s []byte) int {
	for i, c := range s {
		if growth[c] != 0 {
			return i
		}
	}
	return len(s)
}

package httpapi

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// firstLiteral is room for what stands around a small mail, in octets.
const firstLiteral = 1 << 10

// JSON writes a JSON document (RFC 8259) that becomes a request body. Commas
// come by themselves. What is small is rendered at once; larger contents are
// counted now and streamed when the body is read. The zero value is ready.
type JSON struct{ assembly }

// Grow makes room for size octets of content where all of it will be rendered.
func (j *JSON) Grow(size int64) {
	if j.literal == nil && size <= maxRendered {
		j.literal = make([]byte, 0, firstLiteral+size+size/8) // escapes take more
	}
}

// Object writes an object; fields calls Key before each value.
func (j *JSON) Object(fields func()) { j.enclose('{', fields, '}') }

// Array writes an array of the values that elements writes.
func (j *JSON) Array(elements func()) { j.enclose('[', elements, ']') }

func (j *JSON) enclose(opening byte, inside func(), closing byte) {
	if j.literal == nil {
		j.literal = make([]byte, 0, firstLiteral)
	}
	j.separate()
	j.literal = append(j.literal, opening)
	inside()
	j.literal = append(j.literal, closing)
}

// Key writes a field's name; its value must follow.
func (j *JSON) Key(name string) {
	j.String(name)
	j.literal = append(j.literal, ':')
}

// String writes a string; what is not UTF-8 becomes U+FFFD.
func (j *JSON) String(s string) {
	j.separate()
	j.literal = append(j.literal, '"')
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	j.literal = appendEscaped(j.literal, s)
	j.literal = append(j.literal, '"')
}

// Int writes a number.
func (j *JSON) Int(n int64) {
	j.separate()
	j.literal = strconv.AppendInt(j.literal, n, 10)
}

// Bool writes true or false.
func (j *JSON) Bool(b bool) {
	j.separate()
	j.literal = strconv.AppendBool(j.literal, b)
}

// Text writes a string out of a UTF-8 stream of size octets. A large one is
// read once now, to know its length in JSON.
func (j *JSON) Text(size int64, open Opener) {
	j.quote(func() {
		j.embed(size, func() { j.render(size, open, appendText) }, func() { j.streamText(size, open) })
	})
}

func (j *JSON) streamText(size int64, open Opener) {
	length, err := count(size, open)
	j.fail(err)
	j.stream(length, func() (io.ReadCloser, error) {
		src, err := open()
		if err != nil {
			return nil, err
		}
		return newEscapeReader(src, size), nil
	})
}

// Base64 writes a string out of a stream of length octets that needs no
// escape.
func (j *JSON) Base64(length int64, open Opener) { j.quote(func() { j.content(length, open) }) }

// Stream writes the same as Base64 and never holds it: for a content that many
// requests share.
func (j *JSON) Stream(length int64, open Opener) { j.quote(func() { j.stream(length, open) }) }

// separate writes the comma that stands between two values. A string ends with
// its quote, so the last octet says where we are.
func (j *JSON) separate() {
	if len(j.literal) == 0 {
		return
	}
	switch j.literal[len(j.literal)-1] {
	case '{', '[', ':':
	default:
		j.literal = append(j.literal, ',')
	}
}

// quote writes a string of what content adds.
func (j *JSON) quote(content func()) {
	j.separate()
	j.literal = append(j.literal, '"')
	content()
	j.literal = append(j.literal, '"')
}

func count(size int64, open Opener) (n int64, err error) {
	src, err := open()
	if err != nil {
		return 0, err
	}
	n, err = countText(src, size)
	if closeErr := src.Close(); err == nil {
		err = closeErr
	}
	return n, err
}

// appendText appends the text of src, about size octets, as a JSON string
// without its quotes.
func appendText(dst []byte, src io.Reader, size int64) ([]byte, error) {
	buffer, _ := textBuffers.Get().(*[textBlock]byte)
	defer textBuffers.Put(buffer)
	blocks := textBlocks{src: src, buffer: buffer[:]}
	dst = slices.Grow(dst, int(size+size/8))
	for {
		block, err := blocks.next()
		if err == io.EOF { //nolint:errorlint // next promises the bare value
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
		dst = appendEscaped(dst, block)
	}
}

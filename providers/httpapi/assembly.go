package httpapi

import (
	"bytes"
	"io"
	"slices"

	"smtpbridge/providers"
)

// maxRendered is how much streamed content of one body is rendered into memory
// instead, in octets: small mails are written in one piece.
const maxRendered = 64 << 10

// assembly gathers a body of literal octets and contents between them.
type assembly struct {
	body     body
	literal  []byte // what follows the last stream
	rendered int64
}

// Body ends the body. The writer must not be used afterwards.
func (a *assembly) Body() providers.Body {
	a.cut()
	return &a.body
}

// content takes in a content of length octets: at once where it is small, else
// when the body is read.
func (a *assembly) content(length int64, open Opener) {
	a.embed(length, func() { a.render(length, open, appendAll) }, func() { a.stream(length, open) })
}

// embed renders a content of about size octets while there is room, else streams it.
func (a *assembly) embed(size int64, render, stream func()) {
	if a.rendered+size > maxRendered {
		stream()
		return
	}
	render()
	a.rendered += size
}

// stream takes in a content of exactly that length when the body is read.
func (a *assembly) stream(length int64, open Opener) {
	a.cut()
	a.body.segments = append(a.body.segments, segment{open: open})
	a.body.length += length
}

// render appends a content of about size octets.
func (a *assembly) render(size int64, open Opener, appendTo func(dst []byte, src io.Reader, size int64) ([]byte, error)) {
	src, err := open()
	if err != nil {
		a.fail(err)
		return
	}
	a.literal, err = appendTo(a.literal, src, size)
	a.fail(err)
	a.fail(src.Close())
}

// cut ends the literal that has been gathered.
func (a *assembly) cut() {
	a.body.segments = append(a.body.segments, segment{literal: a.literal})
	a.body.length += int64(len(a.literal))
	a.literal = nil
}

// fail keeps the first error until the body is opened.
func (a *assembly) fail(err error) {
	if a.body.err == nil {
		a.body.err = err
	}
}

// appendAll reads src to its end, at least size octets being expected.
func appendAll(dst []byte, src io.Reader, size int64) ([]byte, error) {
	dst = slices.Grow(dst, int(size)+bytes.MinRead)
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, bytes.MinRead)
		}
		n, err := src.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}

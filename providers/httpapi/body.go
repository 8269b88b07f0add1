package httpapi

import (
	"bytes"
	"io"
)

// Opener opens one content; it may be called any number of times.
type Opener func() (io.ReadCloser, error)

// body is a request body of literal octets and streams between them. It
// implements providers.Body: memory is bounded by what is literal.
type body struct {
	segments []segment
	length   int64
	err      error // why the length is not known; Open gives it
}

// segment is either literal or a stream.
type segment struct {
	literal []byte
	open    Opener
}

// Len is the exact number of octets that Open gives.
func (b *body) Len() int64 { return b.length }

// Open may be called any number of times, concurrently.
func (b *body) Open() (io.ReadCloser, error) {
	if b.err != nil {
		return nil, b.err
	}
	return &bodyReader{rest: b.segments}, nil
}

// literal is the whole body where it is in memory, else nil.
func (b *body) literal() []byte {
	if b.err != nil || len(b.segments) != 1 {
		return nil
	}
	return b.segments[0].literal
}

// bodyReader reads the segments one after another, each opened when its turn
// comes.
type bodyReader struct {
	rest    []segment
	current io.ReadCloser
}

// Read gives the octets of one segment at a time.
func (r *bodyReader) Read(p []byte) (int, error) {
	for {
		if r.current == nil {
			if len(r.rest) == 0 {
				return 0, io.EOF
			}
			if err := r.next(); err != nil {
				return 0, err
			}
		}
		n, err := r.current.Read(p)
		if err == io.EOF { //nolint:errorlint // an io.Reader ends with the bare value
			err = r.Close()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (r *bodyReader) next() error {
	s := r.rest[0]
	r.rest = r.rest[1:]
	if s.open == nil {
		r.current = io.NopCloser(bytes.NewReader(s.literal))
		return nil
	}
	var err error
	r.current, err = s.open()
	return err
}

// Close closes the segment that is open; net/http may call it more than once.
func (r *bodyReader) Close() error {
	if r.current == nil {
		return nil
	}
	current := r.current
	r.current = nil
	return current.Close()
}

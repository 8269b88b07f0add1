package smtp2go

import (
	"io"
	"strings"

	"smtpbridge/providers"
)

// joined is one JSON object of the fields of two, neither of which is empty: the
// comma between them stands in the place of two braces.
type joined struct{ first, second providers.Body }

// Len is the exact number of octets that Open gives.
func (j *joined) Len() int64 {
	return j.first.Len() + j.second.Len() - int64(len("}{")) + int64(len(","))
}

// Open may be called any number of times, concurrently.
func (j *joined) Open() (io.ReadCloser, error) {
	first, err := j.first.Open()
	if err != nil {
		return nil, err
	}
	second, err := j.second.Open()
	if err != nil {
		first.Close() //nolint:errcheck // nothing was read
		return nil, err
	}
	return &joinedReader{
		Reader: io.MultiReader(
			io.LimitReader(first, j.first.Len()-int64(len("}"))), strings.NewReader(","), &behindBrace{reader: second},
		),
		first: first, second: second,
	}, nil
}

type joinedReader struct {
	io.Reader

	first, second io.Closer
}

// Close closes both; net/http may call it more than once.
func (r *joinedReader) Close() error {
	err := r.first.Close()
	if other := r.second.Close(); err == nil {
		err = other
	}
	return err
}

// behindBrace leaves out the first octet.
type behindBrace struct {
	reader io.Reader
	begun  bool
}

// Read implements [io.Reader].
func (b *behindBrace) Read(p []byte) (int, error) {
	if !b.begun {
		if _, err := io.CopyN(io.Discard, b.reader, int64(len("{"))); err != nil {
			return 0, err
		}
		b.begun = true
	}
	return b.reader.Read(p)
}

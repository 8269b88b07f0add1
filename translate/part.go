package translate

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"sync"

	"golang.org/x/text/transform"
)

// Part is one leaf of the mail: a body, an attachment, an inline image. It is
// a list of ranges in the spool, decoded as they are read.
type Part struct {
	// Type is the media type, lower-cased, without parameters: "text/calendar".
	Type string
	// Params are the parameters of the Content-Type, names lower-cased: charset, method.
	Params map[string]string
	// Name is the decoded file name (RFC 2047, RFC 2231), without a path; empty where none was given.
	Name string
	// ContentID is without its brackets.
	ContentID string
	// Role is how the part belongs to the mail.
	Role Role
	// Size is the exact number of octets that Open gives.
	Size int64

	spool    *Spool
	segments []segment
}

// Role is how a part belongs to the mail.
type Role uint8

// The roles of a part.
const (
	// Attachment: a file of its own.
	Attachment Role = iota
	// Inline: shown by the HTML through its Content-ID, whatever the disposition said.
	Inline
	// Alternative: another form of the body, as a calendar invitation; text, as UTF-8.
	Alternative
	// Body: what Text, HTML and AMP hold.
	Body
)

// String is the word for logs and errors.
func (r Role) String() string {
	switch r {
	case Attachment:
		return "attachment"
	case Inline:
		return "inline"
	case Alternative:
		return "alternative"
	case Body:
		return "body"
	}
	return "unknown"
}

// Open gives the decoded content: bodies and alternatives as UTF-8, whatever
// charset Params name, files as their own bytes. It
// may be called any number of times, concurrently, until the message is closed;
// a reader that is open then stays good.
func (p *Part) Open() (io.ReadCloser, error) {
	return p.open(segment.reader)
}

// OpenBase64 gives the content as base64 without line breaks. Where the mail
// already holds clean base64 it is passed on, not decoded and encoded again.
func (p *Part) OpenBase64() (io.ReadCloser, error) {
	if len(p.segments) == 1 && p.segments[0].passesBase64() {
		return p.open(segment.base64Reader)
	}
	content, err := p.Open()
	if err != nil {
		return nil, err
	}
	return readCloser{&base64Encoder{r: content}, content}, nil
}

// Base64Len is the exact number of octets that OpenBase64 gives.
func (p *Part) Base64Len() int64 { return int64(base64.StdEncoding.EncodedLen(int(p.Size))) }

// open reads one segment after the other; it holds the spool from the start.
func (p *Part) open(decode func(segment, io.Reader) io.Reader) (io.ReadCloser, error) {
	if err := p.spool.hold(); err != nil {
		return nil, err
	}
	return &partReader{part: p, decode: decode}, nil
}

// partReader opens a segment when its turn comes: a mail may have a thousand of
// them, and each costs buffers.
type partReader struct {
	part   *Part
	decode func(segment, io.Reader) io.Reader

	mu      sync.Mutex // guards what follows: net/http may close while it reads
	next    int
	current io.Reader
	closed  bool
}

// Read implements [io.Reader].
func (r *partReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if r.current == nil {
			if r.closed || r.next == len(r.part.segments) {
				return 0, io.EOF
			}
			r.current = r.open(r.part.segments[r.next])
			r.next++
		}
		n, err := r.current.Read(p)
		if err == io.EOF {
			r.current, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Close may be called more than once: net/http does that too.
func (r *partReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed, r.current = true, nil
	return r.part.spool.Close()
}

func (r *partReader) open(s segment) io.Reader {
	switch {
	case s.literal != "":
		return strings.NewReader(s.literal)
	case s.decoded != nil:
		return s.shown(bytes.NewReader(s.decoded))
	default:
		return r.decode(s, io.NewSectionReader(r.part.spool, s.off, s.n))
	}
}

// measure sets Size, by reading where it does not show in the offsets.
func (p *Part) measure() error {
	p.Size = 0
	for _, s := range p.segments {
		if size, known := s.size(); known {
			p.Size += size
			continue
		}
		one := Part{spool: p.spool, segments: []segment{s}}
		r, err := one.Open()
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return err
		}
		p.Size += n
	}
	return nil
}

// segment is one range of the spool and how it is read, or a text of ours
// between two of them.
type segment struct {
	off, n   int64
	encoding transferEncoding
	base64   base64Stats // where the encoding is base64
	charset  string      // converted from; empty where the octets are good as they are
	flowed   bool        // RFC 3676
	delsp    bool
	escape   bool // text that is shown inside HTML
	doubled  bool // lines end in two CR and a LF
	literal  string
	read     int64  // what reader gives without flowed and escape, where that was counted
	decoded  []byte // the same, kept where the whole mail is in memory anyway

	wire     recoding // how it leaves raw
	wireSize int64    // and how many octets it then has
}

// transferEncoding is a Content-Transfer-Encoding (RFC 2045, 6).
type transferEncoding uint8

const (
	identity transferEncoding = iota // 7bit, 8bit, binary, or unknown: the octets themselves
	inBase64
	inQuotedPrintable
)

func (s segment) reader(raw io.Reader) io.Reader {
	r := s.octets(raw)
	if s.charset != "" {
		if decoded, err := newDecoder(s.charset, r); err == nil {
			r = decoded
		}
	}
	return s.shown(r)
}

// shown makes text what people see of it.
func (s segment) shown(r io.Reader) io.Reader {
	if s.doubled {
		r = transform.NewReader(r, singleCR{})
	}
	if s.flowed {
		r = transform.NewReader(r, &unflow{delsp: s.delsp})
	}
	if s.escape {
		r = transform.NewReader(r, escapeHTML{})
	}
	return r
}

// octets undoes the transfer encoding alone.
func (s segment) octets(raw io.Reader) io.Reader {
	switch {
	case s.encoding == inQuotedPrintable:
		return transform.NewReader(raw, quotedPrintable{})
	case s.encoding == inBase64 && s.base64.clean():
		return base64.NewDecoder(base64.RawStdEncoding, unpad{unwrap{raw}})
	case s.encoding == inBase64:
		return transform.NewReader(raw, &looseBase64{footer: s.base64.footer})
	}
	return raw
}

// passesBase64: what stands in the mail can be handed on.
func (s segment) passesBase64() bool {
	return s.encoding == inBase64 && s.base64.clean() && s.isPlain() && s.decoded == nil
}

// base64Reader hands base64 on without its line breaks, padded.
func (s segment) base64Reader(raw io.Reader) io.Reader {
	return io.MultiReader(unwrap{raw}, strings.NewReader(s.base64.missing()))
}

// isPlain: nothing but the transfer encoding stands between spool and reader.
func (s segment) isPlain() bool { return s.charset == "" && !s.flowed && !s.escape && !s.doubled }

// size gives the octets that reader gives, where that is known without reading.
func (s segment) size() (int64, bool) {
	switch {
	case s.literal != "":
		return int64(len(s.literal)), true
	case s.read > 0 && !s.flowed && !s.escape && !s.doubled:
		return s.read, true
	case !s.isPlain():
		return 0, false
	case s.encoding == identity:
		return s.n, true
	case s.encoding == inBase64 && s.base64.clean():
		return s.base64.decodedLen(), true
	}
	return 0, false
}

// base64Stats is what the scan saw of a base64 part.
type base64Stats struct {
	chars   int64 // octets of the alphabet
	padding int64
	foreign bool // something else, or padding before the end
	footer  bool // something else stands behind padding
	last    byte // of the alphabet
}

// add counts one line or a piece of it.
func (b *base64Stats) add(data []byte) {
	var all uint8
	for _, c := range trimEOL(data) {
		all |= base64Values[c]
	}
	if line := trimEOL(data); all < padding && b.padding == 0 { // the usual line, at full speed
		if b.chars += int64(len(line)); len(line) > 0 {
			b.last = line[len(line)-1]
		}
		return
	}
	for _, c := range data {
		switch v := base64Values[c]; {
		case v < padding:
			b.chars++
			b.last = c
			if b.padding > 0 {
				b.foreign = true
			}
		case v == padding:
			b.padding++
		case v == foreign:
			b.foreign = true
			b.footer = b.footer || b.padding > 0
		}
	}
}

// clean: it can be passed on as it stands, but for line breaks and for padding
// that its sender forgot. Bits behind the last octet must be zero: strict
// decoders refuse others (RFC 4648, 3.5).
func (b *base64Stats) clean() bool {
	unused := byte(0)
	switch b.chars % 4 {
	case 1:
		return false
	case 2:
		unused = 0b1111
	case 3:
		unused = 0b11
	}
	return !b.foreign && (b.chars == 0 || base64Values[b.last]&unused == 0) &&
		(b.padding == 0 || (b.chars+b.padding)%4 == 0 && b.padding <= 2)
}

// decodedLen is the number of octets behind clean base64.
func (b *base64Stats) decodedLen() int64 { return b.chars * 6 / 8 }

// missing is the padding that the sender forgot.
func (b *base64Stats) missing() string {
	if b.padding > 0 {
		return ""
	}
	return "=="[:(4-b.chars%4)%4]
}

// unpad takes the padding off, so that a decoder without it reads both forms.
type unpad struct{ r io.Reader }

func (u unpad) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	for n > 0 && p[n-1] == '=' {
		n--
	}
	return n, err
}

type readCloser struct {
	io.Reader
	io.Closer
}

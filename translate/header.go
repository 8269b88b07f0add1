package translate

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	// maxHeaderBytes bounds all the headers of a mail together, in octets.
	maxHeaderBytes = 1 << 20
	// maxFields bounds the lines of all headers together: 20 for each part that a
	// mail may have.
	maxFields = 20 * maxNodes
	// usualFields and usualHeaderBytes are room for the header of most mails.
	usualFields, usualHeaderBytes = 16, 1 << 10
	// maxLookahead is how many lines are read to see whether a header goes on:
	// few, or prose would be taken for junk because somewhere in it a line
	// begins like a field.
	maxLookahead = 3
)

// field is one header field as it stands in the mail.
type field struct {
	name     string // as written
	key      string // the name in lower case: RFC 5322, 1.2.2, it has none
	value    string // unfolded, not decoded
	off, end int64  // where it stands in the spool, line breaks and all; 0, 0 for what was joined
}

// raw is the value as UTF-8, encoded words not decoded, control characters and
// surrounding blanks taken out.
func (f field) raw() string {
	return strings.TrimSpace(readable(f.value))
}

// text is the value for people: encoded words decoded, no control characters.
func (f field) text() string { return decodeWords(f.raw()) }

// fields is a header block in order.
type fields []field

// get is the raw value of the first field with that key.
func (h fields) get(key string) string {
	for _, f := range h {
		if f.key == key {
			return f.raw()
		}
	}
	return ""
}

// headerReader reads header blocks off a mail and bounds what they cost together.
type headerReader struct {
	lines *lines
	bytes int
	count int
	junk  bool   // a line inside a header was left out
	text  []byte // of the block that is being read: the fields without what is between them
	// What was seen in the last block: a line that may not leave, an octet above 127.
	rough, high bool
}

// span is where a field begins in the text of its block, and where it stands in
// the spool.
type span struct {
	name, key, value int
	off, end         int64
}

// read gives the fields up to the blank line, which it takes, or up to the
// first line that is not of a header or that stop names, which it leaves.
//
// Legacy mail is read the way Postfix would: an mbox "From " line is skipped,
// and a line that is no field begins the body, unless a known field follows
// before the blank line: then the line is junk inside the header.
func (h *headerReader) read(stop func(line []byte) bool) (fields, error) {
	block := make([]span, 0, usualFields)
	h.text = slices.Grow(h.text[:0], usualHeaderBytes)
	begin := h.lines.offset()
	h.rough, h.high = false, false
	for {
		start := h.lines.offset()
		l, err := h.lines.read()
		if err == io.EOF { //nolint:errorlint // lines.read promises the bare value
			return h.fields(block), nil
		}
		if err != nil {
			return nil, err
		}
		data := trimEOL(l.data)
		h.rough, h.high = h.rough || isRough(l), h.high || hasHigh(l.data)
		switch colon := fieldName(data); {
		case len(data) == 0 && l.last:
			return h.fields(block), nil
		case stop(data):
			h.lines.rewind(start)
			return h.fields(block), nil
		case isBlank(data) && len(block) > 0:
			// RFC 5322, 2.2.3: unfolding takes out the line break alone.
			err = h.extend(data, &block[len(block)-1])
		case colon > 0:
			block = append(block, h.begin(bytes.TrimRight(data[:colon], " \t"), start))
			err = h.extend(data[colon+1:], &block[len(block)-1])
		case start == begin && isMboxFrom(data):
			err = h.lines.skip()
		case h.goesOn(stop):
			h.junk = true
			err = h.lines.skip()
		default:
			h.lines.rewind(start)
			return h.fields(block), nil
		}
		if err != nil {
			return nil, err
		}
		if h.count++; h.count > maxFields {
			return nil, fmt.Errorf("%w: it has more than %d header lines", ErrMalformed, maxFields)
		}
	}
}

// begin adds a field, its value to come.
func (h *headerReader) begin(name []byte, off int64) span {
	h.bytes += len(name)
	start := len(h.text)
	s := span{name: start, key: start + len(name), value: start + 2*len(name), off: off}
	h.text = append(append(h.text, name...), name...)
	lower(h.text[s.key:])
	return s
}

// lower writes a field name in lower case; it is ASCII.
func lower(name []byte) {
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			name[i] = c + 'a' - 'A'
		}
	}
}

// extend adds data, the first piece of a line, and the rest of that line to the
// value of the last field.
func (h *headerReader) extend(data []byte, last *span) error {
	for {
		if h.bytes += len(data); h.bytes > maxHeaderBytes {
			return fmt.Errorf("%w: its headers are larger than %d octets", ErrMalformed, maxHeaderBytes)
		}
		h.text = append(h.text, data...)
		if !h.lines.inside {
			last.end = h.lines.offset()
			return nil
		}
		l, err := h.lines.read()
		if err != nil {
			return err
		}
		data = trimEOL(l.data)
	}
}

// fields cuts the text of a block into its fields, which share one string.
func (h *headerReader) fields(block []span) fields {
	text, list := string(h.text), make(fields, len(block))
	for i, s := range block {
		end := len(text)
		if i+1 < len(block) {
			end = block[i+1].name
		}
		list[i] = field{name: text[s.name:s.key], key: text[s.key:s.value], value: text[s.value:end], off: s.off, end: s.end}
	}
	return list
}

// goesOn looks ahead for a known field before the header ends, and comes back.
func (h *headerReader) goesOn(stop func(line []byte) bool) bool {
	here, inside := h.lines.offset(), h.lines.inside
	defer func() {
		h.lines.rewind(here)
		h.lines.inside = inside
	}()
	for range maxLookahead {
		l, err := h.lines.read()
		if err != nil {
			return false
		}
		data := trimEOL(l.data)
		if l.first && (len(data) == 0 || stop(data)) {
			return false
		}
		if colon := fieldName(data); l.first && colon > 0 && isKnown(string(data[:colon])) {
			return true
		}
	}
	return false
}

// fieldName gives the index of the colon of a field, 0 where the line is none.
// Blanks before the colon are the obsolete syntax (RFC 5322, 4.5.8).
func fieldName(data []byte) int {
	colon := bytes.IndexByte(data, ':')
	if colon <= 0 {
		return 0
	}
	name := bytes.TrimRight(data[:colon], " \t")
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return 0
		}
	}
	if len(name) == 0 {
		return 0
	}
	return colon
}

func isBlank(data []byte) bool { return len(data) > 0 && (data[0] == ' ' || data[0] == '\t') }

// isMboxFrom: mailbox formats put "From sender date" before the header.
func isMboxFrom(data []byte) bool {
	return bytes.HasPrefix(data, []byte("From ")) || bytes.HasPrefix(data, []byte(">From "))
}

// isKnown: names that say a line is of a header and not of a text.
func isKnown(name string) bool {
	switch name = strings.ToLower(strings.TrimRight(name, " \t")); name {
	case "from", "to", "cc", "bcc", "subject", "date", "sender", "reply-to", "message-id", "in-reply-to", "references",
		"mime-version", "return-path", "received":
		return true
	}
	return strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "content-") || strings.HasPrefix(name, "list-")
}

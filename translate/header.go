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
	// usualFields is room for the header of most mails.
	usualFields = 16
	// maxLookahead is how many lines are read to see whether a header goes on:
	// few, or prose would be taken for junk because somewhere in it a line
	// begins like a field.
	maxLookahead = 3
)

// field is one header field as it stands in the mail.
type field struct {
	name     string // as written
	value    []byte // unfolded, not decoded
	off, end int64  // where it stands in the spool, line breaks and all; 0, 0 for what was joined
}

// is compares the name without regard to case (RFC 5322, 1.2.2).
func (f field) is(name string) bool { return strings.EqualFold(f.name, name) }

// raw is the value as UTF-8, encoded words not decoded, control characters and
// surrounding blanks taken out.
func (f field) raw() string {
	return strings.TrimSpace(readable(string(f.value)))
}

// text is the value for people: encoded words decoded, no control characters.
func (f field) text() string { return decodeWords(f.raw()) }

// fields is a header block in order.
type fields []field

// get is the raw value of the first field of that name.
func (h fields) get(name string) string {
	for _, f := range h {
		if f.is(name) {
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
	junk  bool // a line inside a header was left out
	// What was seen in the last block: a line that may not leave, an octet above 127.
	rough, high bool
}

// read gives the fields up to the blank line, which it takes, or up to the
// first line that is not of a header or that stop names, which it leaves.
//
// Legacy mail is read the way Postfix would: an mbox "From " line is skipped,
// and a line that is no field begins the body, unless a known field follows
// before the blank line: then the line is junk inside the header.
func (h *headerReader) read(stop func(line []byte) bool) (fields, error) {
	block := make(fields, 0, usualFields)
	begin := h.lines.offset()
	h.rough, h.high = false, false
	for {
		start := h.lines.offset()
		l, err := h.lines.read()
		if err == io.EOF { //nolint:errorlint // lines.read promises the bare value
			return block, nil
		}
		if err != nil {
			return nil, err
		}
		data := trimEOL(l.data)
		h.rough, h.high = h.rough || isRough(l), h.high || hasHigh(l.data)
		switch colon := fieldName(data); {
		case len(data) == 0 && l.last:
			return block, nil
		case stop(data):
			h.lines.rewind(start)
			return block, nil
		case isBlank(data) && len(block) > 0:
			// RFC 5322, 2.2.3: unfolding takes out the line break alone.
			err = h.extend(&block[len(block)-1], data)
		case colon > 0:
			h.bytes += colon
			block = append(block, field{name: string(bytes.TrimRight(data[:colon], " \t")), off: start})
			err = h.extend(&block[len(block)-1], data[colon+1:])
		case start == begin && isMboxFrom(data):
			err = h.lines.skip()
		case h.goesOn(stop):
			h.junk = true
			err = h.lines.skip()
		default:
			h.lines.rewind(start)
			return block, nil
		}
		if err != nil {
			return nil, err
		}
		if h.count++; h.count > maxFields {
			return nil, fmt.Errorf("%w: it has more than %d header lines", ErrMalformed, maxFields)
		}
	}
}

// extend adds data, the first piece of a line, and the rest of that line.
func (h *headerReader) extend(f *field, data []byte) error {
	for {
		if h.bytes += len(data); h.bytes > maxHeaderBytes {
			return fmt.Errorf("%w: its headers are larger than %d octets", ErrMalformed, maxHeaderBytes)
		}
		if f.value == nil && h.lines.inMemory() {
			f.value = slices.Clip(data) // the mail stays where it is, and so may the field
		} else {
			f.value = append(f.value, data...)
		}
		if !h.lines.inside {
			f.end = h.lines.offset()
			return nil
		}
		l, err := h.lines.read()
		if err != nil {
			return err
		}
		data = trimEOL(l.data)
	}
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

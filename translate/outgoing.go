package translate

import (
	"io"
	"slices"
	"strings"
	"sync"
)

// Edit is what changes of a mail's header where it leaves raw, beside what
// always does: directives, Bcc and trace fields go.
type Edit struct {
	// Set stands in the place of every field of these names, or is added; a field
	// without a Value only takes the others out. Values are UTF-8 text, or, where
	// Raw is set, what is written as it stands.
	Set []Header
	// Once are names, in lower case, of which only the first field stays.
	Once []string
}

// Outgoing is a mail as raw MIME, fit to send: lines end in CRLF and have at
// most 998 octets, and all is ASCII, but for what is signed or encrypted. It
// streams from the spool, any number of times.
type Outgoing struct {
	part Part
	size int64
	err  error // why there is none
}

// Outgoing gives the bytes that leave. What cannot leave as it stands is encoded
// anew, part by part; all else is the application's own, octet for octet.
func (m *Message) Outgoing(e Edit) *Outgoing {
	body, err := m.wire.body(m.spool, m.Opaque)
	if err != nil {
		return &Outgoing{err: err}
	}
	header, err := m.header(e)
	if err != nil {
		return &Outgoing{err: err}
	}
	o := &Outgoing{part: Part{spool: m.spool}, size: int64(len(header))}
	o.part.segments = append(append(o.part.segments, segment{literal: header}), body...)
	for _, s := range body {
		o.size += s.wireSize
	}
	return o
}

// Len is the exact number of octets that Open gives; 0 where Open fails.
func (o *Outgoing) Len() int64 { return o.size }

// Open may be called any number of times, concurrently, until the message is closed.
func (o *Outgoing) Open() (io.ReadCloser, error) {
	if o.err != nil {
		return nil, o.err
	}
	return o.part.open(segment.wireReader)
}

// Base64Len is the exact number of octets that OpenBase64 gives.
func (o *Outgoing) Base64Len() int64 { return (o.size + 2) / 3 * 4 }

// OpenBase64 gives the mail as base64 without line breaks.
func (o *Outgoing) OpenBase64() (io.ReadCloser, error) {
	content, err := o.Open()
	if err != nil {
		return nil, err
	}
	return readCloser{&base64Encoder{r: content}, content}, nil
}

// SentAs gives the same mail from another author, for accounts that may only
// send as themselves. Replies go where they went: to Reply-To, else to the old
// author. A Sender says nothing any more.
func (m *Message) SentAs(from Address) *Message {
	changed := *m
	changed.From, changed.Sender = &from, nil
	changed.edits = append(slices.Clip(m.edits), Header{Name: "From", Raw: from.Encoded()}, Header{Name: "Sender"})
	if len(m.ReplyTo) == 0 && m.From != nil {
		changed.ReplyTo = []Address{*m.From}
		changed.edits = append(changed.edits, Header{Name: "Reply-To", Raw: m.From.Encoded()})
	}
	return &changed
}

// Redirected gives the same mail for others than those it was meant for, marked
// so that they see it: the names stand in X-Original-Recipient and before the
// Subject.
func (m *Message) Redirected(to, meant []string) *Message {
	changed := m.For(to)
	names := strings.Join(meant, ", ")
	changed.Subject = "[to: " + names + "] " + m.Subject
	mark := Header{Name: "X-Original-Recipient", Value: names, Raw: names}
	changed.Headers = append(slices.Clip(m.Headers), mark)
	changed.edits = append(slices.Clip(m.edits), Header{Name: "Subject", Value: changed.Subject}, mark)
	return changed
}

// wire is what Parse keeps of a mail for the day it leaves raw.
type wire struct {
	root   *node
	kept   fields // of the root header: no directives, no trace, each once where it may stand once
	untidy bool   // something of the body must be encoded anew

	once     sync.Once
	segments []segment
	fields   []Header // in place of those of the root header, since its body was encoded anew
	err      error
}

// keep adds a field, unless its name fills a line. Two To or Cc fields are one list.
func (w *wire) keep(f field, again bool) bool {
	if len(f.name) > maxName {
		return false
	}
	if again && (f.key == "to" || f.key == "cc") {
		first := &w.kept[slices.IndexFunc(w.kept, func(k field) bool { return k.key == f.key })]
		first.value += "," + f.value
		first.off, first.end = 0, 0
		return true
	}
	w.kept = append(w.kept, f)
	return true
}

// inspect looks whether the mail can leave as it stands.
func (m *Message) inspect(root *node) {
	m.RoughLines = root.rough || slices.ContainsFunc(root.children, isRoughTree)
	m.wire.untidy = m.RoughLines || root.isUntidy()
}

// isRoughTree: a line of n, or below, may not leave.
func isRoughTree(n *node) bool {
	return n.rough || n.roughHeader || slices.ContainsFunc(n.children, isRoughTree)
}

// isUntidy: something of n's body, or below, must be encoded anew.
func (n *node) isUntidy() bool {
	return n.rough || n.high || n.base64.foreign ||
		slices.ContainsFunc(n.children, func(c *node) bool { return c.roughHeader || c.highHeader || c.isUntidy() })
}

// body gives the segments behind the root header, made once.
func (w *wire) body(spool *Spool, opaque Opaque) ([]segment, error) {
	w.once.Do(func() {
		c := composer{spool: spool, next: w.root.off}
		rest := asIs
		if w.untidy && opaque == OpaqueNone {
			w.fields = c.leafOrBelow(w.root)
			rest = structure
		}
		c.copy(spool.size, rest)
		c.endLine()
		w.segments, w.err = c.segments, c.err
	})
	return w.segments, w.err
}

// composer builds a body that can leave: ranges of the spool, as they are or
// encoded anew, and headers written anew between them.
type composer struct {
	spool    *Spool
	segments []segment
	next     int64 // what lies before is done
	last     byte  // of what leaves
	err      error
}

// copy takes all up to end.
func (c *composer) copy(end int64, how recoding) {
	if end > c.next {
		c.add(segment{off: c.next, n: end - c.next, wire: how})
		c.next = end
	}
}

// add measures what has no length of its own.
func (c *composer) add(s segment) {
	switch {
	case c.err != nil:
		return
	case s.literal != "":
		s.wireSize = int64(len(s.literal))
	case s.wire == asIs:
		s.wireSize = s.n
		c.last, c.err = c.spool.at(s.off + s.n - 1)
	default:
		s.wireSize, c.err = c.count(s)
	}
	c.segments = append(c.segments, s)
}

func (c *composer) count(s segment) (int64, error) {
	one := Part{spool: c.spool, segments: []segment{s}}
	r, err := one.open(segment.wireReader)
	if err != nil {
		return 0, err
	}
	defer r.Close() //nolint:errcheck // reading is done
	counter := tail{}
	_, err = io.Copy(&counter, r)
	c.last = counter.last
	return counter.n, err
}

// tail counts what is written to it, and keeps the last octet.
type tail struct {
	n    int64
	last byte
}

// Write implements [io.Writer].
func (t *tail) Write(p []byte) (int, error) {
	if len(p) > 0 {
		t.n, t.last = t.n+int64(len(p)), p[len(p)-1]
	}
	return len(p), nil
}

// endLine ends the last line, where the mail or its new encoding does not.
func (c *composer) endLine() {
	if len(c.segments) > 0 && c.last != '\n' {
		c.add(segment{literal: "\r\n"})
	}
}

// leafOrBelow writes n's body, and gives the fields that its header must have
// in place of others.
func (c *composer) leafOrBelow(n *node) []Header {
	if len(n.children) > 0 {
		for _, child := range n.children {
			c.copy(child.head, structure)
			c.child(child)
		}
		c.copy(n.end, structure)
		return nil
	}
	plan, err := c.plan(n)
	if err != nil {
		c.err = err
		return nil
	}
	s := n.segment()
	s.wire = plan.how
	if c.next = n.end; s.n > 0 {
		c.add(s)
	}
	return plan.fields
}

// child writes one part with its header.
func (c *composer) child(n *node) {
	if opacity(n) != OpaqueNone && !isRoughTree(n) {
		c.copy(n.end, asIs)
		return
	}
	place := len(c.segments)
	c.segments = append(c.segments, segment{})
	c.next = n.off
	changed := c.leafOrBelow(n)
	header := segment{off: n.head, n: n.off - n.head, wireSize: n.off - n.head}
	if n.roughHeader || n.highHeader || len(changed) > 0 {
		text, err := writeHeader(c.spool, n.header, Edit{Set: changed})
		if err != nil {
			c.err = err
		}
		header = segment{literal: text, wireSize: int64(len(text))}
	}
	c.segments[place] = header
}

// header writes the root header.
func (m *Message) header(e Edit) (string, error) {
	set := slices.Concat(m.wire.fields, m.edits, e.Set)
	if len(m.wire.fields) > 0 && !slices.ContainsFunc(m.wire.kept, func(f field) bool { return f.key == "mime-version" }) {
		set = append(set, Header{Name: "MIME-Version", Raw: "1.0"})
	}
	return writeHeader(m.spool, m.wire.kept, Edit{Set: set, Once: e.Once})
}

// writeHeader gives a header block with its blank line. Fields stand as they came
// where they can.
func writeHeader(spool *Spool, kept fields, e Edit) (string, error) {
	var out strings.Builder
	written := make([]bool, len(e.Set))
	seen := make(map[string]bool, len(e.Once))
	for _, f := range kept {
		if slices.Contains(e.Once, f.key) {
			if seen[f.key] {
				continue
			}
			seen[f.key] = true
		}
		if replaced := writeSet(&out, e.Set, written, f.key); replaced {
			continue
		}
		raw, err := f.bytes(spool)
		if err != nil {
			return "", err
		}
		if canLeave(raw) {
			out.Write(raw)
		} else {
			out.WriteString(rewritten(f))
		}
	}
	for _, h := range e.Set {
		writeSet(&out, e.Set, written, strings.ToLower(h.Name))
	}
	out.WriteString("\r\n")
	return out.String(), nil
}

// writeSet writes the last field of that name in set, once, and reports whether
// there is one.
func writeSet(out *strings.Builder, set []Header, written []bool, name string) bool {
	for i, h := range slices.Backward(set) {
		if !strings.EqualFold(h.Name, name) {
			continue
		}
		if !written[i] {
			written[i] = true
			out.WriteString(h.line())
		}
		return true
	}
	return false
}

// bytes is the field as it stands in the mail; nothing where it was joined.
func (f field) bytes(spool *Spool) ([]byte, error) {
	raw := make([]byte, f.end-f.off)
	_, err := spool.ReadAt(raw, f.off)
	if err == io.EOF { //nolint:errorlint // Spool.ReadAt promises the bare value
		err = nil
	}
	return raw, err
}

package translate

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// The losses of a mail that a provider builds anew from its parts.
const (
	flawNestedSignature = "nested signature"
	flawNestedEncrypted = "nested encryption"
)

// view is what a part of the tree shows as the body, in each of its forms.
type view struct {
	text, html, amp []segment
}

// builder turns the MIME tree into bodies and files.
type builder struct {
	m     *Message
	root  *node
	files []Part
}

// build fills the bodies and parts of m.
func build(m *Message, root *node) error {
	b := &builder{m: m, root: root}
	m.Opaque = opacity(root)
	v, err := b.walk(root, asBody)
	if err != nil {
		return err
	}
	for _, form := range [...]struct {
		segments []segment
		body     **Part
		kind     string
	}{{v.text, &m.Text, "text/plain"}, {v.html, &m.HTML, "text/html"}, {v.amp, &m.AMP, "text/x-amp-html"}} {
		if len(form.segments) == 0 {
			continue
		}
		part := &Part{Type: form.kind, Role: Body, spool: m.spool, segments: form.segments}
		if err := part.measure(); err != nil {
			return err
		}
		if part.Size > 0 {
			*form.body = part
		}
	}
	m.Parts = b.files
	return b.markInline()
}

// place is where a part stands: it decides whether a name makes it a file.
type place uint8

const (
	inMixed place = iota
	inAlternative
	asBody // the root of the mail, of a related or of a signed part
)

// walk gives what n shows and keeps its files.
func (b *builder) walk(n *node, at place) (view, error) {
	if n != b.root {
		b.flag(n)
	}
	if len(n.children) == 0 {
		return b.leaf(n, at)
	}
	switch n.content.value {
	case "multipart/alternative":
		return b.alternative(n)
	case "multipart/related":
		return b.first(n, relatedRoot(n))
	case "multipart/signed":
		return b.first(n, 0)
	}
	views := make([]view, 0, len(n.children))
	for _, child := range n.children {
		v, err := b.walk(child, inMixed)
		if err != nil {
			return view{}, err
		}
		views = append(views, v)
	}
	return joinViews(views), nil
}

// flag names what a provider that builds the mail anew will break.
func (b *builder) flag(n *node) {
	flaw := ""
	switch opacity(n) {
	case OpaqueSigned:
		flaw = flawNestedSignature
	case OpaqueEncrypted:
		flaw = flawNestedEncrypted
	case OpaqueNone:
		return
	}
	b.m.flaw(flaw)
	if isRoughTree(n) {
		b.m.rawFlaw(flaw)
	}
}

// alternative takes the last of each form (RFC 2046, 5.1.4). The text of a part
// that has HTML too, a footer beside it, does not replace one that was there.
func (b *builder) alternative(n *node) (view, error) {
	var all view
	for _, child := range n.children {
		v, err := b.walk(child, inAlternative)
		if err != nil {
			return view{}, err
		}
		if v.text != nil && (v.html == nil || all.text == nil) {
			all.text = v.text
		}
		if v.html != nil {
			all.html = v.html
		}
		if v.amp != nil {
			all.amp = v.amp
		}
	}
	return all, nil
}

// relatedRoot is the part that a related shows (RFC 2387, 3): that of the start
// parameter, else the first of the type parameter, else the first that can be
// shown, since some put their images first.
func relatedRoot(n *node) int {
	start, kind := strings.Trim(n.content.params["start"], "<> "), strings.ToLower(n.content.params["type"])
	for _, is := range [...]func(*node) bool{
		func(c *node) bool { return start != "" && contentID(c) == start },
		func(c *node) bool { return c.content.value == kind },
		func(c *node) bool {
			return c.content.value == "text/html" || c.content.value == "text/plain" || len(c.children) > 0
		},
	} {
		if i := slices.IndexFunc(n.children, is); i >= 0 {
			return i
		}
	}
	return 0
}

// first shows one child before the others: of these the multiparts are shown
// below it, the leaves are files whatever their type.
func (b *builder) first(n *node, shown int) (view, error) {
	views := make([]view, 1, len(n.children))
	for i, child := range n.children {
		switch {
		case i == shown:
			v, err := b.walk(child, asBody)
			if err != nil {
				return view{}, err
			}
			views[0] = v
		case len(child.children) > 0:
			v, err := b.walk(child, inMixed)
			if err != nil {
				return view{}, err
			}
			views = append(views, v)
		default:
			if err := b.file(child); err != nil {
				return view{}, err
			}
		}
	}
	return joinViews(views), nil
}

func (b *builder) leaf(n *node, at place) (view, error) {
	if n.unknown != "" && b.m.UnknownEncoding == "" {
		b.m.UnknownEncoding = n.unknown
	}
	kind, isFile := n.content.value, b.isFile(n, at)
	switch {
	case !isFile && kind == "text/html":
		s, err := b.text(n)
		return view{html: s}, err
	case !isFile && kind == "text/x-amp-html" && at == inAlternative:
		s, err := b.text(n)
		return view{amp: s}, err
	case !isFile && (kind == "text/plain" || n == b.root && strings.HasPrefix(kind, "text/") && kind != "text/calendar"):
		s, err := b.text(n)
		return view{text: s}, err
	case !isFile && strings.HasPrefix(kind, "text/") && (at == inAlternative || isInvitation(n)):
		s, err := b.text(n)
		if err != nil || s == nil {
			return view{}, err
		}
		return view{}, b.keep(n, Alternative, s)
	}
	return view{}, b.file(n)
}

// isFile: by its disposition or, in a mixed part, by its name. An invitation is
// one by its method, whatever its name.
func (b *builder) isFile(n *node, at place) bool {
	if n.disposition.value != "" && n.disposition.value != "inline" {
		return true
	}
	return at == inMixed && fileName(n.disposition, n.content) != "" && !isInvitation(n)
}

// isInvitation: a calendar part that asks for something (RFC 6047, 2.4); without
// a method it is a file with dates in it.
func isInvitation(n *node) bool {
	return n.content.value == "text/calendar" && n.content.params["method"] != ""
}

// file keeps a leaf as a part of its own, its octets as they are.
func (b *builder) file(n *node) error {
	return b.keep(n, Attachment, []segment{n.segment()})
}

func (b *builder) keep(n *node, role Role, content []segment) error {
	part := Part{
		Type:      n.content.value,
		Params:    n.content.params,
		Name:      fileName(n.disposition, n.content),
		ContentID: contentID(n),
		Role:      role,
		spool:     b.m.spool,
		segments:  content,
	}
	if part.Name == "" && part.Type == "message/rfc822" {
		part.Name = "message.eml"
	}
	if err := part.measure(); err != nil {
		return err
	}
	b.files = append(b.files, part)
	return nil
}

func contentID(n *node) string {
	return strings.Trim(decodeWords(n.header.get("content-id")), "<> ")
}

func (n *node) segment() segment {
	return segment{off: n.off, n: n.end - n.off, encoding: n.encoding, base64: n.base64}
}

// text gives the segment of a body, with the charset that its octets really have.
func (b *builder) text(n *node) ([]segment, error) {
	s := n.segment()
	if s.n == 0 {
		return nil, nil
	}
	label := normalLabel(n.content.params["charset"])
	if n.encoding != identity || n.high || !isASCIICompatible(label) {
		if err := b.decode(&s, label); err != nil {
			return nil, err
		}
		if s.n == 0 {
			return nil, nil
		}
	}
	s.doubled = n.doubled && n.encoding == identity
	if n.content.value == "text/plain" && strings.EqualFold(n.content.params["format"], "flowed") {
		s.flowed = true
		s.delsp = strings.EqualFold(n.content.params["delsp"], "yes")
	}
	return []segment{s}, nil
}

// decode settles the charset of a body; where the mail is in memory, so is
// then the text, which every provider would decode again.
func (b *builder) decode(s *segment, label string) error {
	if b.m.spool.file != nil {
		return b.findCharset(s, label)
	}
	octets, err := s.unwrapped(b.m.spool.memory[s.off : s.off+s.n])
	if err != nil {
		return err
	}
	isUTF8 := (label == "" || isUTF8Label(label)) && utf8.Valid(octets)
	switch {
	case isUTF8 && s.encoding == identity:
		return nil // it is read from where it is
	case isUTF8:
		s.decoded = octets
	default:
		s.decoded = []byte(toUTF8(label, octets))
	}
	if len(s.decoded) == 0 {
		s.n = 0 // a byte order mark and nothing behind it
	}
	s.read = int64(len(s.decoded))
	return nil
}

// unwrapped undoes the transfer encoding of octets in memory.
func (s segment) unwrapped(octets []byte) ([]byte, error) {
	switch s.encoding {
	case inQuotedPrintable:
		octets, _, err := transform.Append(quotedPrintable{}, make([]byte, 0, len(octets)), octets)
		return octets, err
	case inBase64:
		var out bytes.Buffer
		out.Grow(len(octets))
		_, err := out.ReadFrom(s.octets(bytes.NewReader(octets)))
		return out.Bytes(), err
	case identity:
	}
	return octets, nil
}

// findCharset reads a body once to learn what its octets are: of the label,
// else UTF-8 (empty: nothing to convert), else windows-1252; and how many.
func (b *builder) findCharset(s *segment, label string) error {
	var octets, decoded utf8Check
	raw, err := b.m.spool.Open(s.off, s.n)
	if err != nil {
		return err
	}
	defer raw.Close() //nolint:errcheck // reading is done
	r := io.TeeReader(s.octets(raw), &octets)
	known := false
	if label != "" && !isUTF8Label(label) {
		if d, err := newDecoder(label, r); err == nil {
			known = true
			r = io.TeeReader(d, &decoded)
		}
	}
	n, err := io.Copy(io.Discard, r)
	if err != nil {
		return err
	}
	switch {
	case known && decoded.fits():
		s.charset, s.read = label, n
	case !octets.invalid():
		s.charset, s.read = "", octets.n
	default:
		s.charset = repaired
	}
	return nil
}

// joinViews shows several bodies one below the other, as mail clients do. Where
// one of them has HTML, the plain text of the others is shown inside it.
func joinViews(views []view) view {
	views = slices.DeleteFunc(views, func(v view) bool { return v.text == nil && v.html == nil && v.amp == nil })
	if len(views) == 1 {
		return views[0]
	}
	var all view
	hasHTML := slices.ContainsFunc(views, func(v view) bool { return v.html != nil })
	for _, v := range views {
		if v.text != nil {
			all.text = appendSegments(all.text, "\r\n\r\n", v.text)
		}
		if v.amp != nil {
			all.amp = v.amp
		}
		switch {
		case v.html != nil:
			all.html = appendSegments(all.html, "<br>", v.html)
		case hasHTML && v.text != nil:
			shown := slices.Clone(v.text)
			for i := range shown {
				if shown[i].escape = shown[i].literal == ""; !shown[i].escape {
					shown[i].literal = "<br>\n<br>\n"
				}
			}
			all.html = appendSegments(all.html, "<br>", shown)
		}
	}
	return all
}

func appendSegments(all []segment, separator string, more []segment) []segment {
	if len(all) > 0 {
		all = append(all, segment{literal: separator})
	}
	return append(all, more...)
}

// opacity says whether a part may be changed (RFC 1847; RFC 8551, 3).
func opacity(n *node) Opaque {
	switch n.content.value {
	case "multipart/signed":
		return OpaqueSigned
	case "multipart/encrypted":
		return OpaqueEncrypted
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		if strings.EqualFold(n.content.params["smime-type"], "signed-data") {
			return OpaqueSigned
		}
		return OpaqueEncrypted
	}
	return OpaqueNone
}

// markInline finds which files the HTML shows by their Content-ID.
func (b *builder) markInline() error {
	if b.m.HTML == nil || !slices.ContainsFunc(b.files, func(p Part) bool { return p.ContentID != "" }) {
		return nil
	}
	shown := make(map[string]bool)
	for _, p := range b.files {
		shown[strings.ToLower(p.ContentID)] = false
	}
	if err := b.findIDs(shown); err != nil {
		return err
	}
	for i := range b.files {
		if p := &b.files[i]; p.Role == Attachment && p.ContentID != "" && shown[strings.ToLower(p.ContentID)] {
			p.Role = Inline
		}
	}
	return nil
}

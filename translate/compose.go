package translate

import (
	"bytes"
	"encoding/base64"
	"maps"
	"mime"
	"slices"
	"strings"
)

const (
	// foldAt is where a header line is folded, in octets (RFC 5322, 2.1.1).
	foldAt = 78
	// maxName leaves room for a value behind a name, in octets.
	maxName = maxLine - len(": x")
	// specials make a display name a quoted string (RFC 5322, 3.2.3).
	specials = `()<>[]:;@\,."`
)

// quotedPairs escape what ends a quoted string (RFC 5322, 3.2.4). Made once: a
// list may have hundreds of quoted names.
var quotedPairs = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// String is the mailbox as people write it, in UTF-8: Ann <a@b>, "Doe, Jo" <a@b>.
func (a Address) String() string {
	name := strings.Join(strings.Fields(strings.Map(printable, a.Name)), " ")
	switch {
	case name == "":
		return a.Email
	case strings.ContainsAny(name, specials) || strings.Contains(name, "=?"):
		name = `"` + quotedPairs.Replace(name) + `"`
	}
	return name + " <" + a.Email + ">"
}

// Encoded is the mailbox as it stands in a header: ASCII, the name in encoded
// words where it must be (RFC 2047, 5).
func (a Address) Encoded() string {
	if isASCII(a.Name) {
		return a.String()
	}
	return encodePhrase(strings.Map(printable, a.Name)) + " <" + a.Email + ">"
}

// EncodedAddresses joins mailboxes for a header. One whose local part is not
// ASCII cannot stand there and is left out.
func EncodedAddresses(list []Address) string {
	encoded := make([]string, 0, len(list))
	for _, a := range list {
		if isASCII(a.Email) {
			encoded = append(encoded, a.Encoded())
		}
	}
	return strings.Join(encoded, ", ")
}

// EncodedText is text as it stands in a header that is for people: ASCII, in
// encoded words where it must be (RFC 2047).
func EncodedText(s string) string {
	if isASCII(s) {
		return strings.Map(printable, s)
	}
	return encodeWords(strings.Map(printable, s))
}

// encodeWords writes a text in encoded words, each of whole characters.
func encodeWords(text string) string { return mime.QEncoding.Encode("utf-8", text) }

// encodePhrase writes a display name in encoded words. Nothing that ends a name
// or begins an address may stand in one (RFC 2047, 5.3): who reads an address
// list looks for it before decoding.
func encodePhrase(text string) string {
	if strings.ContainsAny(text, specials) {
		return mime.BEncoding.Encode("utf-8", text)
	}
	return encodeWords(text)
}

func isASCII(s string) bool { return !hasHigh([]byte(s)) }

// line is the field as it is written; nothing where it has no value.
func (h Header) line() string {
	switch {
	case h.Raw != "":
		return fold(h.Name, h.Raw)
	case h.Value != "":
		return fold(h.Name, EncodedText(h.Value))
	}
	return ""
}

// rewritten is a field that cannot stand as it came; nothing where its name
// alone fills a line.
func rewritten(f field) string {
	if len(f.name) > maxName {
		return ""
	}
	raw, name := f.raw(), f.key
	if isASCII(raw) {
		if name == "subject" || name == "comments" || strings.HasPrefix(name, "x-") {
			raw = encodeLongWords(raw)
		}
		return fold(f.name, raw)
	}
	switch name {
	case "from", "sender", "reply-to", "to", "cc", "resent-from", "resent-sender", "resent-reply-to", "resent-to", "resent-cc":
		if list := parseAddresses(raw); len(list) > 0 {
			return Header{Name: f.name, Raw: EncodedAddresses(list)}.line()
		}
	case "content-type", "content-disposition":
		if text := mime.FormatMediaType(parseMediaType(raw).value, parseMediaType(raw).params); text != "" {
			return fold(f.name, text)
		}
	}
	return fold(f.name, EncodedText(f.text()))
}

// encodeLongWords makes words fit into lines: blanks between encoded words do not
// count (RFC 2047, 6.2), so that none is added.
func encodeLongWords(text string) string {
	words := strings.Split(text, " ")
	for i, word := range words {
		if len(word) < maxLine-foldAt {
			continue
		}
		var pieces []string
		for piece := range slices.Chunk([]byte(word), 45) {
			pieces = append(pieces, "=?utf-8?b?"+base64.StdEncoding.EncodeToString(piece)+"?=")
		}
		words[i] = strings.Join(pieces, " ")
	}
	return strings.Join(words, " ")
}

// with is the media type as a field value, with one more parameter where text
// is not empty.
func (mt *mediaType) with(name, text string) string {
	params := make(map[string]string, len(mt.params)+1)
	maps.Copy(params, mt.params)
	if text != "" {
		params[name] = text
	}
	if formatted := mime.FormatMediaType(mt.value, params); formatted != "" {
		return formatted
	}
	return mime.FormatMediaType("text/plain", map[string]string{name: text})
}

// fold writes a field in lines of 78 octets, and of no more than 998 where there
// are no blanks to fold at. One blank stands for many (RFC 5322, 3.2.2).
func fold(name, value string) string {
	var out strings.Builder
	out.WriteString(name + ":")
	column := len(name) + 1
	for i, word := range strings.Fields(value) {
		if column+1+len(word) > foldAt && i > 0 {
			out.WriteString("\r\n")
			column = 0
		}
		out.WriteByte(' ')
		column++
		for column+len(word) > maxLine {
			head := word[:maxLine-column]
			out.WriteString(head + "\r\n ")
			word, column = word[len(head):], 1
		}
		out.WriteString(word)
		column += len(word)
	}
	out.WriteString("\r\n")
	return out.String()
}

// canLeave: a field as it stands in the mail, in lines of ASCII that begin with
// a blank from the second on, and end in CRLF. A blank before the colon is
// obsolete (RFC 5322, 4.5.8), and a field of that name is none to strict readers.
func canLeave(raw []byte) bool {
	if colon := bytes.IndexByte(raw, ':'); colon > 0 && isBlank(raw[colon-1:]) {
		return false
	}
	for first := true; ; first = false {
		end := bytes.IndexByte(raw, '\n')
		if end < 0 {
			return !first && len(raw) == 0
		}
		l := line{data: raw[:end+1], last: true}
		if isRough(l) || hasHigh(l.data) || !first && !isBlank(l.data) || len(trimEOL(l.data)) == 0 {
			return false
		}
		raw = raw[end+1:]
	}
}

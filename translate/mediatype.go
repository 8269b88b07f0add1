package translate

import (
	"slices"
	"strconv"
	"strings"
)

// mediaType is a Content-Type or Content-Disposition, read leniently.
type mediaType struct {
	value  string // "text/plain", "attachment": lower-cased
	params map[string]string
}

// contentType reads a Content-Type (RFC 2045, 5.1). What has no subtype is
// text/plain; junk behind a sound type does not spoil it.
func contentType(raw, fallback string) mediaType {
	if raw == "" {
		return mediaType{value: fallback}
	}
	mt := parseMediaType(raw)
	major, minor, ok := strings.Cut(mt.value, "/")
	if !ok || !isToken(major) || !isToken(minor) {
		mt.value = "text/plain"
	}
	return mt
}

// parseMediaType splits a value from its parameters: quoted or not, in pieces
// and in a charset of their own (RFC 2231), or with encoded words, which no
// standard allows and many programs write. Of two equal names the first counts.
func parseMediaType(raw string) mediaType {
	value, rest, sound := cutUnquoted(raw)
	if !sound {
		value, rest, _ = cutSemicolon(raw)
	}
	value = strings.ToLower(strings.TrimSpace(stripComments(value)))
	if fields := strings.Fields(value); len(fields) > 0 {
		value = fields[0]
	}
	mt := mediaType{value: value}
	extended := map[string][]piece{}
	cut := cutUnquoted
	for rest != "" {
		param, tail, sound := cut(rest)
		if !sound { // once is enough: looking again from each parameter would be quadratic
			cut = cutSemicolon
			param, tail, _ = cut(rest)
		}
		rest = tail
		name, text, ok := strings.Cut(param, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || name == "" {
			continue
		}
		if base, p, ok := newPiece(name, unquote(strings.TrimSpace(text))); ok {
			extended[base] = append(extended[base], p)
			continue
		}
		mt.set(name, decodeWords(unquote(strings.TrimSpace(text))))
	}
	for name, pieces := range extended {
		// RFC 6266, 4.3: where both forms stand, the extended one wins.
		delete(mt.params, name)
		mt.set(name, joinPieces(pieces))
	}
	return mt
}

func (mt *mediaType) set(name, value string) {
	if mt.params == nil {
		mt.params = make(map[string]string, 2)
	}
	if _, twice := mt.params[name]; !twice {
		mt.params[name] = value
	}
}

// piece is one of name*, name*0, name*0* … (RFC 2231, 3 and 4).
type piece struct {
	number  int
	whole   bool // without a number
	encoded bool
	text    string
}

func newPiece(name, text string) (base string, p piece, ok bool) {
	base, suffix, ok := strings.Cut(name, "*")
	if !ok || base == "" {
		return "", p, false
	}
	p.text = text
	if suffix == "" {
		p.encoded, p.whole = true, true
		return base, p, true
	}
	digits, encoded := strings.CutSuffix(suffix, "*")
	number, err := strconv.Atoi(digits)
	if err != nil || number < 0 {
		return "", p, false
	}
	p.number, p.encoded = number, encoded
	return base, p, true
}

func joinPieces(pieces []piece) string {
	// The form without a number is whole by itself.
	if whole := slices.IndexFunc(pieces, func(p piece) bool { return p.whole }); whole >= 0 {
		pieces = pieces[whole : whole+1]
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return a.number - b.number })
	label := ""
	var octets []byte
	for i, p := range pieces {
		text := p.text
		if i == 0 && p.encoded {
			if parts := strings.SplitN(text, "'", 3); len(parts) == 3 {
				label, text = parts[0], parts[2]
			}
		}
		if p.encoded {
			octets = append(octets, percentDecode(text)...)
		} else {
			octets = append(octets, text...)
		}
	}
	return strings.TrimSpace(strings.Map(printable, toUTF8(label, octets)))
}

func percentDecode(text string) []byte {
	octets := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) && unhex(text[i+1]) >= 0 && unhex(text[i+2]) >= 0 {
			octets = append(octets, byte(unhex(text[i+1])<<4|unhex(text[i+2])))
			i += 2
			continue
		}
		octets = append(octets, text[i])
	}
	return octets
}

// cutUnquoted cuts at the first semicolon outside a quoted string. It is not
// sound where a quote never ends.
func cutUnquoted(s string) (before, after string, sound bool) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ';' && !quoted:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", !quoted
}

// cutSemicolon cuts at the first semicolon.
func cutSemicolon(s string) (before, after string, sound bool) {
	before, after, _ = strings.Cut(s, ";")
	return before, after, true
}

// unquote takes the quotes off a quoted string (RFC 5322, 3.2.4). A backslash
// before anything but a quote or a backslash is a Windows path, and stays.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' {
		return strings.Trim(s, "\"")
	}
	s = s[1:]
	var out strings.Builder
	out.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return out.String()
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// stripComments takes (comments) out (RFC 5322, 3.2.2).
func stripComments(s string) string {
	if !strings.Contains(s, "(") {
		return s
	}
	var out strings.Builder
	depth := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '(':
			depth++
		case s[i] == ')' && depth > 0:
			depth--
		case depth == 0:
			out.WriteByte(s[i])
		}
	}
	return out.String()
}

// isToken: RFC 2045, 5.1.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' || strings.IndexByte(`()<>@,;:\"/[]?=`, s[i]) >= 0 {
			return false
		}
	}
	return s != ""
}

// fileName is the last element of what a sender gave as a name: a path would
// reach out of the directory where somebody saves the file.
func fileName(disposition, content mediaType) string {
	name := disposition.params["filename"]
	if name == "" {
		name = content.params["name"]
	}
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	return strings.TrimSpace(name)
}

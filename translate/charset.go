package translate

import (
	"bytes"
	"encoding/base64"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/transform"
)

// toUTF8 reads text in the charset of its label; where that is unknown or wrong,
// as UTF-8 in which an octet that does not fit is windows-1252, as which every
// octet has a meaning. So nothing that can be read becomes U+FFFD.
func toUTF8(label string, text []byte) string {
	if decoded, ok := decodeAs(label, text); ok {
		return decoded
	}
	return repair(string(text))
}

func decodeAs(label string, text []byte) (string, bool) {
	label = normalLabel(label)
	if label == "" || isUTF8Label(label) {
		return "", false // what is in UTF-8 needs no decoding, at most a repair
	}
	r, err := newDecoder(label, bytes.NewReader(text))
	if err != nil {
		return "", false
	}
	var (
		out   strings.Builder
		found utf8Check
	)
	if _, err := io.Copy(io.MultiWriter(&out, &found), r); err != nil || !found.fits() {
		return "", false
	}
	return out.String(), true
}

// repair makes UTF-8 of text that nearly is, or is not at all.
func repair(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	fixed, _, _ := transform.String(repairUTF8{}, text) // it has no errors
	return fixed
}

// repairUTF8 reads an octet that is not part of a character as windows-1252: a
// text cut inside a character stays readable, and one in a legacy charset is
// read as the most frequent of them.
type repairUTF8 struct{ transform.NopResetter }

// Transform implements [transform.Transformer].
func (repairUTF8) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		r, size := utf8.DecodeRune(src[nSrc:])
		if r == utf8.RuneError && size == 1 {
			if !atEOF && !utf8.FullRune(src[nSrc:]) {
				return nDst, nSrc, transform.ErrShortSrc
			}
			r = windows1252(src[nSrc])
		}
		if nDst+utf8.UTFMax > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += size
	}
	return nDst, nSrc, nil
}

// windows1252 gives the five octets that the code page leaves free their
// number, as browsers do (WHATWG, windows-1252).
func windows1252(c byte) rune {
	if r := charmap.Windows1252.DecodeByte(c); r != utf8.RuneError {
		return r
	}
	return rune(c)
}

// repaired is the label of what fits no other.
const repaired = "utf-8 or windows-1252"

// newDecoder reads text in a charset as UTF-8; it fails where nobody knows the label.
func newDecoder(label string, r io.Reader) (io.Reader, error) {
	switch label {
	case repaired:
		return transform.NewReader(r, repairUTF8{}), nil
	case "windows-1252":
		return transform.NewReader(r, decode1252{}), nil
	}
	return charset.Reader(label, r)
}

// decode1252 gives every octet a meaning.
type decode1252 struct{ transform.NopResetter }

// Transform implements [transform.Transformer].
func (decode1252) Transform(dst, src []byte, _ bool) (nDst, nSrc int, err error) {
	for ; nSrc < len(src); nSrc++ {
		if nDst+utf8.UTFMax > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], windows1252(src[nSrc]))
	}
	return nDst, nSrc, nil
}

// aliases are labels that programs write and no table knows. Who writes
// ISO-8859-1 means windows-1252, as all mail programs read it (WHATWG, Encoding).
var aliases = map[string]string{
	"iso-8859-1": "windows-1252", "iso8859-1": "windows-1252", "latin1": "windows-1252", "l1": "windows-1252",
	"cp1252": "windows-1252", "iso8859-15": "iso-8859-15", "latin9": "iso-8859-15", "latin-9": "iso-8859-15",
	"cp932": "shift_jis", "ms932": "shift_jis", "windows-31j": "shift_jis", "sjis": "shift_jis",
	"cp949": "euc-kr", "ms949": "euc-kr", "uhc": "euc-kr", "ks-c-5601-1987": "euc-kr",
	"cp936": "gbk", "ms936": "gbk", "cp950": "big5", "big5hkscs": "big5", "big5-hkscs": "big5",
	"cp50220": "iso-2022-jp", "cp874": "windows-874", "tis-620": "windows-874", "cp858": "ibm00858",
}

func normalLabel(label string) string {
	label = strings.ToLower(strings.Trim(label, " \t\"'"))
	label, _, _ = strings.Cut(label, "*") // RFC 2231, 5: a language may follow
	if alias, ok := aliases[strings.ReplaceAll(label, "_", "-")]; ok {
		return alias
	}
	switch label {
	case "euc_jp", "euc_kr", "euc_cn":
		return strings.Replace(label, "_", "-", 1)
	}
	return label
}

// isUTF8Label: labels under which UTF-8 is expected; ASCII is a part of it.
func isUTF8Label(label string) bool {
	switch label {
	case "utf-8", "utf8", "us-ascii", "ascii", "ansi_x3.4-1968", "unicode-1-1-utf-8":
		return true
	}
	return false
}

// isASCIICompatible: an octet below 128 means its ASCII character everywhere.
func isASCIICompatible(label string) bool {
	for _, prefix := range [...]string{"iso-2022-", "hz-gb-2312", "utf-7", "unicode-1-1-utf-7", "utf-16", "utf-32", "ucs-", "ebcdic", "ibm037", "ibm1047", "csiso2022"} {
		if strings.HasPrefix(label, prefix) {
			return false
		}
	}
	return true
}

// decodeWords reads a header value for people: encoded words (RFC 2047) and raw
// 8-bit text become UTF-8, control characters become blanks, so that nothing
// decoded can start a new header line.
func decodeWords(raw string) string {
	if !strings.Contains(raw, "=?") {
		return strings.TrimSpace(readable(raw))
	}
	var (
		out     strings.Builder
		pending encodedWord // its octets may go on in the next word
	)
	out.Grow(len(raw))
	for len(raw) > 0 {
		start := strings.Index(raw, "=?")
		word, length := encodedWord{}, 0
		if start >= 0 {
			word, length = parseWord(raw[start:])
		}
		switch {
		case start < 0:
			flushText(&out, &pending, raw)
			raw = ""
		case length == 0:
			flushText(&out, &pending, raw[:start+2])
			raw = raw[start+2:]
		default:
			// RFC 2047, 6.2: blanks between two encoded words are not shown.
			if between := raw[:start]; pending.charset == "" || strings.Trim(between, " \t") != "" {
				flushText(&out, &pending, between)
			}
			pending = pending.join(&out, word)
			raw = raw[start+length:]
		}
	}
	flushText(&out, &pending, "")
	return strings.TrimSpace(readable(out.String()))
}

// readable is raw as UTF-8 without control characters; nearly always it is that
// already, and ASCII.
func readable(raw string) string {
	if IsPlain(raw) {
		return raw
	}
	return strings.Map(printable, repair(raw))
}

// IsPlain reports whether text is ASCII without control characters. Nearly all
// is, and then there is nothing to look for in it.
func IsPlain[T string | []byte](text T) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
		return ' '
	}
	return r
}

// flushText writes the pending word and the plain text behind it.
func flushText(out *strings.Builder, pending *encodedWord, text string) {
	if pending.charset != "" {
		out.WriteString(toUTF8(pending.charset, pending.octets))
		*pending = encodedWord{}
	}
	out.WriteString(readable(text))
}

// encodedWord is =?charset?encoding?text?= (RFC 2047, 2), decoded to octets.
type encodedWord struct {
	charset string
	octets  []byte
}

// join puts a following word behind w: in one charset, since careless senders
// cut a character in two; in another, after writing w.
func (w encodedWord) join(out *strings.Builder, next encodedWord) encodedWord {
	if w.charset == "" {
		return next
	}
	if w.charset == next.charset {
		w.octets = append(w.octets, next.octets...)
		return w
	}
	out.WriteString(toUTF8(w.charset, w.octets))
	return next
}

// maxWord is the longest encoded word that is looked for, in octets: 75 by
// RFC 2047, more by careless senders, not so many that looking gets slow.
const maxWord = 2000

// parseWord reads the encoded word that s begins with; length 0 where it is none.
func parseWord(s string) (word encodedWord, length int) {
	s = s[:min(len(s), maxWord)]
	label, rest, ok := strings.Cut(s[2:], "?")
	if !ok || normalLabel(label) == "" || strings.ContainsAny(label, " \t") {
		return word, 0
	}
	encoding, rest, ok := strings.Cut(rest, "?")
	if !ok {
		return word, 0
	}
	text, _, ok := strings.Cut(rest, "?=")
	if !ok {
		return word, 0
	}
	switch encoding {
	case "B", "b":
		word.octets, ok = wordBase64(text)
	case "Q", "q":
		word.octets = wordQ(text)
	default:
		ok = false
	}
	if !ok {
		return encodedWord{}, 0
	}
	word.charset = normalLabel(label)
	return word, len("=?") + len(label) + len("?") + len(encoding) + len("?") + len(text) + len("?=")
}

func wordBase64(text string) ([]byte, bool) {
	text = strings.TrimRight(strings.NewReplacer(" ", "", "\t", "").Replace(text), "=")
	octets, err := base64.RawStdEncoding.DecodeString(text)
	return octets, err == nil
}

// wordQ decodes the Q encoding (RFC 2047, 4.2); what is no escape stands for itself.
func wordQ(text string) []byte {
	octets := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '_':
			octets = append(octets, ' ')
		case c == '=' && i+2 < len(text) && unhex(text[i+1]) >= 0 && unhex(text[i+2]) >= 0:
			octets = append(octets, byte(unhex(text[i+1])<<4|unhex(text[i+2])))
			i += 2
		default:
			octets = append(octets, c)
		}
	}
	return octets
}

// unhex is the value of a hexadecimal digit, -1 where c is none.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

package translate

import (
	"bytes"
	"io"
	"strings"

	"golang.org/x/text/transform"
)

// recoding is how the octets of a part leave.
type recoding uint8

const (
	asIs              recoding = iota
	lineEnds                   // every line ends in CRLF
	structure                  // so it does between the parts, where a CR alone ends one, too, and long ones are broken
	toQuotedPrintable          // text, whose line ends are CRLF (RFC 2045, 6.7)
	toBase64                   // octets
	textToBase64               // text, whose line ends are CRLF
)

// wireReader gives the segment as it leaves.
func (s segment) wireReader(raw io.Reader) io.Reader {
	switch s.wire {
	case asIs:
	case lineEnds:
		return transform.NewReader(raw, CRLF{})
	case structure:
		return transform.NewReader(transform.NewReader(raw, CRLF{bareCR: true}), &wrap{width: maxLine})
	case toQuotedPrintable:
		return transform.NewReader(s.octets(raw), &qpEncoder{})
	case toBase64:
		return transform.NewReader(&base64Encoder{r: s.octets(raw)}, &wrap{width: maxEncodedLine})
	case textToBase64:
		return transform.NewReader(&base64Encoder{r: transform.NewReader(s.octets(raw), CRLF{})}, &wrap{width: maxEncodedLine})
	}
	return raw
}

// plan is how a leaf leaves, and what its header then says.
type plan struct {
	how    recoding
	fields []Header
}

// plan reads a leaf, if anything of it may have to be encoded anew.
func (c *composer) plan(n *node) (plan, error) {
	if !n.rough && !n.high && !n.base64.foreign || n.off == n.end {
		return plan{}, nil
	}
	seen, err := c.survey(n)
	if err != nil {
		return plan{}, err
	}
	asText := strings.HasPrefix(n.content.value, "text/") && isASCIICompatible(normalLabel(n.content.params["charset"]))
	lines := asText || n.encoding != identity || strings.HasPrefix(n.content.value, "message/")
	switch {
	case seen.fits && !seen.bareEnds:
		return plan{}, nil
	case seen.fits && lines:
		return plan{how: lineEnds}, nil
	case n.unknown != "": // nobody can encode it anew
		return plan{how: structure}, nil
	case n.encoding == inQuotedPrintable:
		return n.recoded(toQuotedPrintable, ""), nil
	case n.encoding == inBase64 || !asText:
		return n.recoded(toBase64, ""), nil
	case seen.high > (n.end-n.off)/4: // quoted-printable would double it
		return n.recoded(textToBase64, seen.charset()), nil
	}
	return n.recoded(toQuotedPrintable, seen.charset()), nil
}

// recoded names the new encoding, and the charset of text that names none, as
// readers would have guessed it.
func (n *node) recoded(how recoding, charset string) plan {
	name := "base64"
	if how == toQuotedPrintable {
		name = "quoted-printable"
	}
	p := plan{how: how, fields: []Header{{Name: "Content-Transfer-Encoding", Raw: name}}}
	label := normalLabel(n.content.params["charset"])
	if n.unread || charset != "" && (label == "" || label == "us-ascii") {
		p.fields = append(p.fields, Header{Name: "Content-Type", Raw: n.content.with("charset", charset)})
	}
	return p
}

// seen is what a survey of a leaf finds.
type seen struct {
	fits     bool  // but for line ends
	bareEnds bool  // a line ends in something else than CRLF
	high     int64 // octets above 127
	utf8     utf8Check
}

// charset is that of text without a label: UTF-8, else windows-1252; empty
// where all is ASCII.
func (s *seen) charset() string {
	switch {
	case s.high == 0:
		return ""
	case s.utf8.invalid():
		return "windows-1252"
	}
	return "utf-8"
}

// survey reads the octets of a leaf as they stand in the mail.
func (c *composer) survey(n *node) (*seen, error) {
	raw, err := c.spool.Open(n.off, n.end-n.off)
	if err != nil {
		return nil, err
	}
	defer raw.Close() //nolint:errcheck // reading is done
	s := &seen{fits: true}
	look := lineLook{seen: s}
	if _, err := io.Copy(&look, io.TeeReader(raw, &s.utf8)); err != nil {
		return nil, err
	}
	look.end()
	return s, nil
}

// lineLook follows the lines of what is written to it.
type lineLook struct {
	*seen

	column int64
	crs    int // CR that were just seen
}

// Write implements [io.Writer].
func (l *lineLook) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case b == '\n':
			l.bareEnds = l.bareEnds || l.crs != 1
			l.column, l.crs = 0, 0
			continue
		case b == '\r':
			l.crs++
			continue
		case b == 0, l.crs > 0:
			l.fits = false
		case b >= 0x80:
			l.high++
			l.fits = false
		}
		l.crs = 0
		if l.column++; l.column > maxLine {
			l.fits = false
		}
	}
	return len(p), nil
}

// end: a CR at the very end ends no line.
func (l *lineLook) end() { l.fits = l.fits && l.crs == 0 }

// CRLF ends every line in CRLF, whatever run of CR came before its LF.
type CRLF struct {
	transform.NopResetter

	bareCR bool // ends a line, too
}

// Transform implements [transform.Transformer].
func (c CRLF) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		plain := bytes.IndexAny(src[nSrc:], "\r\n")
		if plain < 0 {
			plain = len(src) - nSrc
		}
		n := copy(dst[nDst:], src[nSrc:nSrc+plain])
		nDst, nSrc = nDst+n, nSrc+n
		if n < plain {
			return nDst, nSrc, transform.ErrShortDst
		}
		if nSrc == len(src) {
			break
		}
		length, ends, err := lineEnd(src[nSrc:], atEOF)
		if err != nil {
			return nDst, nSrc, err
		}
		out := src[nSrc : nSrc+length]
		if ends || c.bareCR {
			out = []byte("\r\n")
		}
		if nDst+len(out) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += copy(dst[nDst:], out)
		nSrc += length
	}
	return nDst, nSrc, nil
}

// lineEnd reads a run of CR and the LF behind it, if there is one.
func lineEnd(src []byte, atEOF bool) (length int, ends bool, err error) {
	for length < len(src) && length < maxHeld && src[length] == '\r' {
		length++
	}
	switch {
	case length < len(src) && src[length] == '\n':
		return length + 1, true, nil
	case length == len(src) && length < maxHeld && !atEOF:
		return 0, false, transform.ErrShortSrc
	}
	return length, false, nil
}

const (
	// maxEncodedLine is the longest line of an encoding, in octets without its
	// CRLF (RFC 2045, 6.7 and 6.8).
	maxEncodedLine = 76
	softBreak      = "=\r\n"
	upperHex       = "0123456789ABCDEF"
)

// qpEncoder encodes text in quoted-printable; its line ends become CRLF.
type qpEncoder struct{ column int }

// Reset implements [transform.Transformer].
func (q *qpEncoder) Reset() { *q = qpEncoder{} }

// Transform implements [transform.Transformer].
func (q *qpEncoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		run := plainRun(src[nSrc:], min(maxEncodedLine-1-q.column, len(dst)-nDst))
		n := copy(dst[nDst:], src[nSrc:nSrc+run])
		nDst, nSrc, q.column = nDst+n, nSrc+n, q.column+n
		if nSrc == len(src) {
			break
		}
		out, n, err := qpToken(src[nSrc:], atEOF)
		if err != nil {
			return nDst, nSrc, err
		}
		ends := out == "\r\n"
		breaks := !ends && q.column+len(out) >= maxEncodedLine
		if nDst+len(softBreak)+len(out) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		if breaks {
			nDst += copy(dst[nDst:], softBreak)
			q.column = 0
		}
		nDst += copy(dst[nDst:], out)
		nSrc += n
		if q.column += len(out); ends {
			q.column = 0
		}
	}
	return nDst, nSrc, nil
}

// plainRun is how many octets src begins with, limit at most, that stand for
// themselves whatever follows.
func plainRun(src []byte, limit int) int {
	n := 0
	for n < limit && n < len(src) {
		b := src[n]
		if b == ' ' && n+1 < len(src) && src[n+1] > ' ' || b > ' ' && b <= '~' && b != '=' {
			n++
			continue
		}
		break
	}
	return n
}

// qpToken encodes what src begins with: a line end or one octet.
func qpToken(src []byte, atEOF bool) (out string, n int, err error) {
	switch b := src[0]; {
	case b == '\n' || b == '\r':
		length, ends, err := lineEnd(src, atEOF)
		if ends || err != nil {
			return "\r\n", length, err
		}
		return qpEscaped['\r'], 1, nil
	case b == ' ' || b == '\t':
		if len(src) == 1 && !atEOF {
			return "", 0, transform.ErrShortSrc
		}
		if len(src) == 1 || src[1] == '\r' || src[1] == '\n' {
			return qpEscaped[b], 1, nil // RFC 2045, 6.7, rule 3
		}
		return qpPlainOctets[b], 1, nil
	case b == '=' || b < ' ' || b > '~':
		return qpEscaped[b], 1, nil
	default:
		return qpPlainOctets[b], 1, nil
	}
}

// qpEscaped and qpPlainOctets hold both forms of every octet.
var qpEscaped, qpPlainOctets = func() (escaped, plain [256]string) {
	for i := range escaped {
		escaped[i] = string([]byte{'=', upperHex[i>>4], upperHex[i&15]})
		plain[i] = string([]byte{byte(i)})
	}
	return escaped, plain
}()

// wrap breaks lines of a width, the last one without a line end of its own.
type wrap struct{ width, column int }

// Reset implements [transform.Transformer].
func (w *wrap) Reset() { w.column = 0 }

// Transform implements [transform.Transformer].
func (w *wrap) Transform(dst, src []byte, _ bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		line, ends := src[nSrc:], false
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line, ends = line[:i+1], true
		}
		if room := max(w.width-w.column, 0); len(trimEOL(line)) > room {
			line, ends = line[:room], false
		}
		if nDst+len(line) > len(dst) {
			line, ends = line[:len(dst)-nDst], false
		}
		nDst += copy(dst[nDst:], line)
		nSrc += len(line)
		if w.column += len(line); ends {
			w.column = 0
		}
		full := w.column >= w.width && nSrc < len(src) && src[nSrc] != '\r' && src[nSrc] != '\n'
		switch {
		case full && nDst+len("\r\n") <= len(dst):
			nDst += copy(dst[nDst:], "\r\n")
			w.column = 0
		case nDst == len(dst) && nSrc < len(src), full:
			return nDst, nSrc, transform.ErrShortDst
		}
	}
	return nDst, nSrc, nil
}

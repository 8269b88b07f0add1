package httpapi

import (
	"crypto/rand"
	"strings"

	"smtpbridge/providers"
)

// Form writes multipart/form-data (RFC 7578) that becomes a request body. Small
// contents are rendered at once, larger ones streamed when the body is read.
// [NewForm] makes one.
type Form struct {
	assembly

	boundary string
}

// NewForm starts an empty form. Its boundary cannot be guessed, so that no mail
// can end a field.
func NewForm() *Form { return &Form{boundary: "bridge-" + rand.Text()} }

// Share makes the form stream its contents, small ones too, since many requests
// share them: none of the bodies holds them.
func (f *Form) Share() { f.rendered = maxRendered }

// ContentType is the media type of the body.
func (f *Form) ContentType() string { return "multipart/form-data; boundary=" + f.boundary }

// Field adds a value as it stands.
func (f *Form) Field(name, value string) {
	f.part(name, "", "")
	f.literal = append(f.literal, value...)
	f.end()
}

// Text adds a value out of a stream of size octets.
func (f *Form) Text(name string, size int64, open Opener) {
	f.part(name, "", "")
	f.content(size, open)
	f.end()
}

// File adds a file of size octets. Its name is written as UTF-8, as browsers do.
func (f *Form) File(name, filename, contentType string, size int64, open Opener) {
	f.part(name, filename, contentType)
	f.content(size, open)
	f.end()
}

// Body ends the form. It must not be used afterwards.
func (f *Form) Body() providers.Body {
	f.literal = append(f.literal, "--"+f.boundary+"--\r\n"...)
	return f.assembly.Body()
}

func (f *Form) part(name, filename, contentType string) {
	f.literal = append(f.literal, "--"+f.boundary+"\r\nContent-Disposition: form-data; name="+quote(name)...)
	if filename != "" {
		f.literal = append(f.literal, "; filename="+quote(filename)...)
	}
	if contentType != "" {
		f.literal = append(f.literal, "\r\nContent-Type: "+oneLine(contentType)...)
	}
	f.literal = append(f.literal, "\r\n\r\n"...)
}

func (f *Form) end() { f.literal = append(f.literal, "\r\n"...) }

// quote writes a quoted string (RFC 2183, 2); no line can begin in it.
func quote(s string) string {
	s = oneLine(s)
	if strings.ContainsAny(s, `\"`) { // a replacer costs 6 KiB, and a form has a hundred names
		s = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
	}
	return `"` + s + `"`
}

func oneLine(s string) string {
	if !strings.ContainsAny(s, "\r\n\x00") {
		return s
	}
	return strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ").Replace(s)
}

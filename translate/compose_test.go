package translate_test

import (
	"mime"
	"net/mail"
	"strings"
	"testing"

	"smtpbridge/translate"
)

// Whoever cuts a list at its commas, or looks for the next bracket, must find
// one address and no other, whatever the name is (RFC 2047, 5.3).
func TestEncodedNameHoldsNoAddress(t *testing.T) {
	for _, name := range []string{
		"Ann", "Doe, Jo", "Müller, Jörg", `ü" <evil@example.net>, "x`, "ü <evil@example.net>", "ü; b@example.net",
		"(ü) c", `ü\`, "Jörg: d@example.net;", "日本 太郎", strings.Repeat("ü, <e@example.net> ", 20),
	} {
		text := translate.Address{Name: name, Email: "a@example.org"}.Encoded()
		parsed, err := mail.ParseAddressList(text)
		if err != nil || len(parsed) != 1 || parsed[0].Address != "a@example.org" {
			t.Errorf("%q is read as %v (%v), want one address", text, parsed, err)
			continue
		}
		if want := strings.Join(strings.Fields(name), " "); strings.Join(strings.Fields(parsed[0].Name), " ") != want {
			t.Errorf("%q names %q, want %q", text, parsed[0].Name, want)
		}
		for word := range strings.SplitSeq(text, "=?") {
			if _, after, ok := strings.Cut(word, "?q?"); ok && strings.ContainsAny(after[:strings.Index(after, "?=")], `,;:<>@()"\`) {
				t.Errorf("%q has a special character in an encoded word", text)
			}
		}
		if !isASCII(text) {
			t.Errorf("%q is not ASCII", text)
		}
	}
	if got, err := new(mime.WordDecoder).DecodeHeader(translate.EncodedText("Grüße, Jo")); err != nil || got != "Grüße, Jo" {
		t.Errorf("text is read as %q (%v)", got, err)
	}
}

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) }

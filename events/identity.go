package events

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// escape keeps a part of a key that holds the separator from looking like two.
var escape = strings.NewReplacer("\x00", "\x01\x01", "\x01", "\x01\x02")

// Key joins what tells an event from all others where the provider gives it no
// id of its own.
func Key(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		hash.Write([]byte(escape.Replace(part)))
		hash.Write([]byte{0})
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// ID is the identity of the event that a provider, by its configured name, tells
// by key.
func ID(provider, key string) string {
	return "evt_" + Key(provider, key)[:32]
}

// maxDomainLen bounds what is looked at as a domain, in octets: one of 253 in
// punycode has fewer in UTF-8.
const maxDomainLen = 1 << 10

// scopeOfTag begins the scope of a tag.
const scopeOfTag = "tag:"

// Scope is the form in which scopes compare: tags without case, as Mailgun's do
// (manual, "Tagging"), all others as they are.
func Scope(text string) string {
	if strings.HasPrefix(text, scopeOfTag) {
		return strings.ToLower(text)
	}
	return text
}

// Address is the form in which addresses compare: lower-cased, without a name,
// angle brackets or space around it, without quotes that its local part does not
// need (RFC 5321, section 4.1.2), the domain in punycode (RFC 5891) without a final
// dot. What is no address is only lower-cased.
func Address(text string) string {
	address := strings.ToLower(strings.TrimSpace(text))
	if open := strings.LastIndexByte(address, '<'); open >= 0 && strings.HasSuffix(address, ">") {
		address = strings.TrimSpace(address[open+1 : len(address)-1])
	}
	at := strings.LastIndexByte(address, '@')
	if at < 0 || len(address)-at > maxDomainLen {
		return address
	}
	if bare, is := unquoted(address[:at]); is {
		address, at = bare+address[at:], len(bare)
	}
	domain, err := idna.Lookup.ToASCII(strings.TrimSuffix(address[at+1:], "."))
	if err != nil {
		return address
	}
	// It may have become a dot from another script's only now.
	return address[:at+1] + strings.TrimRight(domain, ".")
}

// unquoted is a local part in quotes without them, if that is the same mailbox: if
// it is a dot-string of atoms then, of any script (RFC 6531, section 3.3).
func unquoted(local string) (bare string, is bool) {
	if len(local) < 3 || local[0] != '"' || local[len(local)-1] != '"' {
		return "", false
	}
	inner := local[1 : len(local)-1]
	if strings.Contains(inner, `\\`) || strings.HasSuffix(inner, `\`) {
		return "", false
	}
	bare = strings.ReplaceAll(inner, `\`, "") // any other letter means itself
	for atom := range strings.SplitSeq(bare, ".") {
		if atom == "" || strings.ContainsFunc(atom, notInAtom) {
			return "", false
		}
	}
	return bare, true
}

// notInAtom: what an atom is of (RFC 5322, section 3.2.3).
func notInAtom(r rune) bool {
	return r < utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

package events

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"golang.org/x/net/idna"
)

// Key joins what tells an event from all others where the provider gives it no
// id of its own.
func Key(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		hash.Write([]byte(part))
		hash.Write([]byte{0})
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// ID is the identity of the event that a provider, by its configured name, tells
// by key.
func ID(provider, key string) string {
	return "evt_" + Key(provider, key)[:32]
}

// Address is the form in which addresses compare: lower-cased, without angle
// brackets or space around it, the domain in punycode (RFC 5891). What is no
// address is only lower-cased.
func Address(text string) string {
	address := strings.ToLower(strings.Trim(strings.TrimSpace(text), "<>"))
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	domain, err := idna.Lookup.ToASCII(strings.TrimSuffix(address[at+1:], "."))
	if err != nil {
		return address
	}
	return address[:at+1] + domain
}

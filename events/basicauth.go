package events

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"unicode"
)

// BasicAuth checks a call against a user name and a password (RFC 7617), in
// constant time. Neither may be empty, but where it is unverified: then both are,
// and every call passes. The error wraps [ErrUnauthenticated].
func BasicAuth(h http.Header, username, password string, unverified bool) error {
	r := http.Request{Header: h}
	user, pass, given := r.BasicAuth()
	switch {
	case unverified && username == "" && password == "":
		return nil
	case username == "" || password == "":
		return fmt.Errorf("%w: there is nothing to check it with; set webhook_username and webhook_password", ErrUnauthenticated)
	case len(h.Values("Authorization")) > 1: // RFC 9110, 11.6.2: one, and who reads which is not said
		return fmt.Errorf("%w: the call has several Authorization fields", ErrUnauthenticated)
	case !given:
		return fmt.Errorf("%w: the call has no basic authentication; the webhook's URL needs user and password", ErrUnauthenticated)
	case same(user, username)&same(pass, password) == 0:
		return fmt.Errorf("%w: user name or password is wrong", ErrUnauthenticated)
	}
	return nil
}

// ValidateBasicAuth reports what no call can be checked with: one of the two
// alone, and what basic authentication cannot carry (RFC 7617, 2). Neither is no
// problem: nobody may want webhooks.
func ValidateBasicAuth(username, password string, report func(key, problem string)) {
	const name, word = "webhook_username", "webhook_password"
	switch {
	case username == "" && password != "":
		report(name, `is missing beside webhook_password; give both as they stand in the webhook's URL`)
	case strings.Contains(username, ":"):
		report(name, "holds a colon, which ends a user name; take another name, here and in the webhook's URL")
	case strings.ContainsFunc(username, unicode.IsControl):
		report(name, "holds a line break or another control character; give the name alone")
	}
	switch {
	case password == "" && username != "":
		report(word, `is missing beside webhook_username; give both as they stand in the webhook's URL`)
	case strings.ContainsFunc(password, unicode.IsControl):
		report(word, "holds a line break or another control character; give the password alone")
	}
}

// same compares digests, so that the time does not depend on lengths either.
func same(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:])
}

package events

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
)

// BasicAuth checks a call against a user name and a password (RFC 7617), in
// constant time. Neither may be empty. The error wraps [ErrUnauthenticated].
func BasicAuth(h http.Header, username, password string) error {
	r := http.Request{Header: h}
	user, pass, given := r.BasicAuth()
	switch {
	case username == "" || password == "":
		return fmt.Errorf("%w: there is no webhook_username and webhook_password to check it with", ErrUnauthenticated)
	case !given:
		return fmt.Errorf("%w: the call has no basic authentication", ErrUnauthenticated)
	case same(user, username)&same(pass, password) == 0:
		return fmt.Errorf("%w: user name or password is wrong", ErrUnauthenticated)
	}
	return nil
}

// same compares digests, so that the time does not depend on lengths either.
func same(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:])
}

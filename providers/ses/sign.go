package ses

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"

	"smtpbridge/providers"
)

// service is the name in the signature's scope, though the host says "email".
const service = "ses"

// Authorize signs the request (AWS Signature Version 4). Signed are the fields
// that say what is asked and nothing that a proxy may change. The mail is read
// once for it: its hash is in the signature.
func (a *Adapter) Authorize(ctx context.Context, r *http.Request) error {
	keys, err := a.keys.Retrieve(ctx)
	if err != nil {
		return withoutKeys(err)
	}
	hash, failure := hashBody(ctx, r)
	if failure != nil {
		return failure
	}
	signed := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, ContentLength: r.ContentLength, Header: make(http.Header)}
	if mediaType := r.Header.Get("Content-Type"); mediaType != "" {
		signed.Header.Set("Content-Type", mediaType)
	}
	if err := a.signer.SignHTTP(ctx, keys, signed, hash, service, a.config.Region, a.now()); err != nil {
		return &providers.Error{Category: providers.Authentication, Message: "the request could not be signed"}
	}
	r.Host = signed.Host // without the scheme's own port
	maps.Copy(r.Header, signed.Header)
	return nil
}

// hashBody gives the SHA-256 of the body, in hexadecimal digits.
func hashBody(ctx context.Context, r *http.Request) (string, *providers.Error) {
	hash := sha256.New()
	if r.GetBody == nil {
		return hex.EncodeToString(hash.Sum(nil)), nil
	}
	body, err := r.GetBody()
	if err != nil {
		return "", unreadable(err)
	}
	defer body.Close() //nolint:errcheck // reading is done
	buffer := make([]byte, 32<<10)
	for {
		if ctx.Err() != nil {
			return "", &providers.Error{Category: providers.NetworkError, Message: "no time was left to send the mail", Cause: ctx.Err()}
		}
		n, err := body.Read(buffer)
		hash.Write(buffer[:n])
		switch {
		case errors.Is(err, io.EOF):
			return hex.EncodeToString(hash.Sum(nil)), nil
		case err != nil:
			return "", unreadable(err)
		}
	}
}

func unreadable(err error) *providers.Error {
	return &providers.Error{Category: providers.LocalFailure, Message: "the mail could not be read from the spool", Cause: err}
}

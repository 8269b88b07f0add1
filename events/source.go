package events

import (
	"context"
	"errors"
	"iter"
	"net/http"
)

var (
	// ErrUnauthenticated says that a call is not the provider's, as far as can be
	// told: its signature or password is wrong, missing, or there is no key to
	// check it with.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrMalformed says that a call cannot be read: repeating it will not help.
	ErrMalformed = errors.New("malformed")
)

// Batch is what one webhook call said.
type Batch struct {
	// Events are all of the call, also those of which only Raw could be read: they
	// are [Unknown]. None where the call was a provider's test or a handshake.
	Events []Event
	// Nonce is what the provider allows to be used once; empty for none. It counts
	// as used once the events are stored; a call with a used one stores nothing. Of
	// providers that share a key a call is good for each, so it counts for all: it
	// must be one that nobody else comes upon.
	Nonce string
}

// Source authenticates one webhook call and gives its events, each with Type,
// Recipient, Timestamp, Raw and Key; the endpoint fills in Provider and ID, and
// brings addresses to the form of [Address]. It is safe for concurrent use.
//
// Errors wrap [ErrUnauthenticated] or [ErrMalformed]; any other is the bridge's
// own, such as a certificate that cannot be fetched: the provider may try again.
// No error shows a secret.
type Source interface {
	Receive(ctx context.Context, h http.Header, body []byte) (Batch, error)
}

// Lister gives a provider's own suppression list, page by page, until the first
// error.
type Lister interface {
	Suppressions(ctx context.Context) iter.Seq2[Suppression, error]
}

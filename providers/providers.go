// Package providers says what a provider is: the pure functions of an
// [Adapter], what it can carry ([Capabilities]), what became of a message
// ([Outcome]), and how a refusal is classified ([Error], [Classify]).
//
// It knows no HTTP client and no SMTP: providers/httpapi makes the calls,
// smtpd alone turns a [Category] into a reply code.
package providers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"smtpbridge/translate"
)

// Adapter is one provider's API as pure functions: no clock, no network, no
// secret passes through them, except in Authorize. They are safe for
// concurrent use.
type Adapter interface {
	// Capabilities are what the API can carry.
	Capabilities() Capabilities
	// Requests renders the message: one request, or several where recipients
	// must be split. Every envelope recipient is in exactly one of them.
	// The message must pass [Check] first.
	Requests(m *translate.Message) []Request
	// Results reads the answer to r: one Result for each of r.Recipients.
	Results(r Request, resp Response) []Result
	// Authorize adds the credentials (bearer, basic, SigV4) as they are now; for
	// those who sign it, r.GetBody opens the body. A [*Error] says what is wrong,
	// any other error is an authentication that failed.
	Authorize(ctx context.Context, r *http.Request) error
	// Probe is the cheapest call that proves the credentials without sending.
	Probe() Request
}

// Request is one call of a provider's API, rendered but not authorised.
type Request struct {
	// Method and URL of the real endpoint; a base_url replaces scheme and host later.
	Method, URL string
	// Header without credentials.
	Header http.Header
	// Body streams from the spool, any number of times; nil for none.
	Body Body
	// Recipients are the envelope recipients that this request serves.
	Recipients []string
	// Locate finds the recipient that a field name in the provider's error
	// points at; nil where the provider's errors name no fields.
	Locate func(field string) (recipient string, ok bool)
}

// Body is a request body of known length that can be replayed.
type Body interface {
	// Len is the exact number of octets that Open gives.
	Len() int64
	// Open may be called any number of times, also concurrently.
	Open() (io.ReadCloser, error)
}

// Response is a provider's answer. Body holds at most 1 MiB.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	// Truncated: the body was longer than the cap or broke off.
	Truncated bool
	// Time is when the answer came, the clock of the adapter.
	Time time.Time
}

// State is what is known of one recipient. The zero value is the careful one.
type State uint8

// The states of a recipient.
const (
	// Ambiguous: the provider may or may not have taken it.
	Ambiguous State = iota
	// Accepted: the provider said that it has it.
	Accepted
	// Refused: the provider said no, or never saw the request.
	Refused
)

// String is the word for logs and the API.
func (s State) String() string {
	switch s {
	case Ambiguous:
		return "ambiguous"
	case Accepted:
		return "accepted"
	case Refused:
		return "refused"
	}
	return "invalid"
}

// MarshalText writes the word of String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word of String.
func (s *State) UnmarshalText(text []byte) error {
	for _, state := range []State{Ambiguous, Accepted, Refused} {
		if string(text) == state.String() {
			*s = state
			return nil
		}
	}
	return fmt.Errorf("%q is no state of a recipient", text)
}

// Result is what became of one recipient.
type Result struct {
	// Recipient as in the envelope.
	Recipient string
	State     State
	// Provider is the configured name; empty where nobody was asked.
	Provider string
	// ProviderID is the provider's own id of the message, where it gave one.
	ProviderID string
	// Err is nil exactly when State is Accepted.
	Err *Error
}

// Outcome has exactly one Result per envelope recipient, in envelope order.
// Failing is an outcome, not an error.
type Outcome []Result

// ErrAnotherRecipient is the Cause of a refusal that is about another recipient
// of the same request, named in its Results or not: nobody was sent, and this
// one may be sent to without it.
var ErrAnotherRecipient = errors.New("another recipient of the request was refused")

// RefuseSome are the results of a request that was refused whole for the sake of
// some of its recipients: named gives the error of those who are named, nil for
// the others. A single recipient is the one, named or not, and meets err.
func RefuseSome(recipients []string, err *Error, named func(recipient string) *Error) []Result {
	if len(recipients) == 1 {
		return Fail(recipients, Refused, err)
	}
	results := Fail(recipients, Refused, &Error{
		Category: Unknown, Local: true, ProviderCode: err.ProviderCode, Cause: ErrAnotherRecipient,
		Message: "not sent: " + ErrAnotherRecipient.Error(),
	})
	for i := range results {
		if refusal := named(results[i].Recipient); refusal != nil {
			results[i].Err = refusal
		}
	}
	return results
}

// Fail is the outcome in which every recipient met the same end.
func Fail(recipients []string, state State, err *Error) Outcome {
	outcome := make(Outcome, len(recipients))
	for i, recipient := range recipients {
		outcome[i] = Result{Recipient: recipient, State: state, Err: err}
	}
	return outcome
}

// Accepted reports how many recipients a provider has taken.
func (o Outcome) Accepted() int {
	n := 0
	for _, result := range o {
		if result.State == Accepted {
			n++
		}
	}
	return n
}

// Providers names the providers that took recipients, in order, each once,
// joined with a comma: "none" where nothing was sent.
func (o Outcome) Providers() string {
	var names []string
	for _, result := range o {
		if result.State == Accepted && result.Provider != "" && !slices.Contains(names, result.Provider) {
			names = append(names, result.Provider)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ",")
}

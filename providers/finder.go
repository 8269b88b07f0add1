package providers

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"smtpbridge/translate"
)

// Sent is a message of which it is not known what became.
type Sent struct {
	// BridgeID and MessageID (with brackets, empty where there was none, or where it
	// is not known) find it.
	BridgeID, MessageID string
	// Recipients are those that were sent to this provider and never answered.
	Recipients []string
	// Options are those of the message, as far as they say where to look.
	Options []translate.Option
	// Time is when the message came to the bridge.
	Time time.Time
	// Over is from when on the provider had it, if it ever had: no request was under
	// way any more, and the time for which it was meant had come. Zero where that is
	// not known: then nothing proves that it has it not.
	Over time.Time
}

// Finder is an [Adapter] whose API can be asked what became of a message.
type Finder interface {
	// Find is the question.
	Find(s Sent) Request
	// Found reads the answer: one Result for each of s.Recipients. Accepted where
	// the provider has the message; Refused only where it is certain that it has
	// not, so not before the provider's lag has passed (resp.Time); else Ambiguous.
	Found(s Sent, resp Response) []Result
}

// Trace is what an answer shows of one message.
type Trace struct {
	// BridgeID is the one that came back with it; empty where none can be read.
	BridgeID string
	// Recipients are whom the trace is about; none where that is not said.
	Recipients []string
	// ProviderID is the provider's own id of the message.
	ProviderID string
}

// Settled reports that what an answer does not show the provider never had: it
// shows everything that it knew so long ago.
func (s Sent) Settled(resp Response, lag time.Duration) bool {
	return !s.Over.IsZero() && resp.Time.Sub(s.Over) > lag
}

// Traced is what the traces of an answer mean for each recipient. One without a
// trace is refused only if complete says that the answer would show it, and no
// trace is there that may be its own.
func (s Sent) Traced(traces []Trace, complete bool) []Result {
	found, unclear := make(map[string]string), make(map[string]bool)
	for _, trace := range traces {
		switch {
		case trace.BridgeID != "" && trace.BridgeID != s.BridgeID:
			continue // another message
		case !slices.ContainsFunc(trace.Recipients, hasAt):
			complete = false // it may be about anybody
		}
		for _, recipient := range trace.Recipients {
			if recipient = folded(recipient); trace.BridgeID == "" {
				unclear[recipient] = true
			} else if found[recipient] == "" {
				found[recipient] = trace.ProviderID
			}
		}
	}
	results := s.Unknown("it is not known whether the provider took it")
	for i, recipient := range s.Recipients {
		recipient = folded(recipient)
		if id, known := found[recipient]; known {
			results[i].State, results[i].ProviderID, results[i].Err = Accepted, id, nil
		} else if complete && !unclear[recipient] {
			results[i].State = Refused
			results[i].Err = &Error{Category: NetworkError, Message: "the provider does not have it"}
		}
	}
	return results
}

// Unknown are the results of an answer that says nothing, and why.
func (s Sent) Unknown(why string) []Result {
	return Fail(s.Recipients, Ambiguous, &Error{Category: NetworkError, Message: Words(why)})
}

func hasAt(text string) bool { return strings.Contains(text, "@") }

// folded is the form in which addresses compare: lower-cased, the domain in
// punycode (RFC 5891).
func folded(address string) string {
	address = strings.ToLower(address)
	at := strings.LastIndexByte(address, '@')
	if domain, err := idna.Lookup.ToASCII(address[at+1:]); err == nil && at >= 0 {
		return address[:at+1] + domain
	}
	return address
}

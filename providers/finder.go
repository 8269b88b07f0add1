package providers

import "time"

// Sent is a message of which it is not known what became.
type Sent struct {
	// BridgeID and MessageID (with brackets, empty where there was none) find it.
	BridgeID, MessageID string
	// Recipients are those that were sent to this provider and never answered.
	Recipients []string
	// Time is when the message came to the bridge.
	Time time.Time
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

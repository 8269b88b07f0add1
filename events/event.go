// Package events says what became of a message after a provider took it: the
// normalised [Event], the [Source] that authenticates a provider's webhook and
// reads its events, the endpoint that takes the calls, and the rules of what an
// event does: which address it suppresses, which it clears.
//
// It knows no provider and no database. A provider's folder makes a Source;
// internal/store keeps what the endpoint hands it.
package events

import (
	"encoding/json"
	"slices"
	"time"
)

// Type is what happened.
type Type string

// The types of an event. The last two are the bridge's own.
const (
	Accepted           Type = "accepted"
	Delivered          Type = "delivered"
	Deferred           Type = "deferred"
	Bounced            Type = "bounced"
	Rejected           Type = "rejected"
	Complained         Type = "complained"
	Unsubscribed       Type = "unsubscribed"
	Resubscribed       Type = "resubscribed"
	Opened             Type = "opened"
	Clicked            Type = "clicked"
	Unknown            Type = "unknown"
	SuppressionAdded   Type = "suppression_added"
	SuppressionRemoved Type = "suppression_removed"
)

// Types are all of them, in the order of a message's life.
func Types() []Type {
	return []Type{
		Accepted, Delivered, Deferred, Bounced, Rejected, Complained, Unsubscribed, Resubscribed,
		Opened, Clicked, Unknown, SuppressionAdded, SuppressionRemoved,
	}
}

// Known reports whether t is one of [Types].
func (t Type) Known() bool { return slices.Contains(Types(), t) }

// Bounce is how final a bounce is.
type Bounce string

// The kinds of a bounce: Hard will not heal, Soft may.
const (
	Hard Bounce = "hard"
	Soft Bounce = "soft"
)

// Event is one thing that became of one recipient of a message, in the shape in
// which it is stored, listed and forwarded.
type Event struct {
	// ID is derived from Provider and Key: an event that comes again has it again.
	ID string `json:"id"`
	// Provider is the configured name.
	Provider string `json:"provider"`
	Type     Type   `json:"type"`
	// MessageID is the bridge's id of the message; empty where it is not known.
	MessageID         string `json:"message_id"`
	ProviderMessageID string `json:"provider_message_id"`
	// Recipient in the form of [Address]; empty where the event is about nobody.
	Recipient string `json:"recipient"`
	// Timestamp is when it happened, by the provider's clock, in UTC.
	Timestamp time.Time `json:"timestamp"`
	// Reason is why, in the provider's words; Response what the recipient's server said.
	Reason   string `json:"reason,omitempty"`
	Response string `json:"response,omitempty"`
	// Attempt counts from 1; 0 where the provider does not say.
	Attempt int    `json:"attempt,omitempty"`
	Bounce  Bounce `json:"bounce,omitempty"`
	// Scope is what an unsubscribe or resubscribe is limited to: "group:10",
	// "tag:news", "stream:broadcast"; empty for all mail.
	Scope string `json:"scope,omitempty"`
	// URL is what was clicked.
	URL string `json:"url,omitempty"`
	// Machine: opened or clicked by a program, as far as the provider can tell.
	Machine bool `json:"machine,omitempty"`
	// Sequence rises in one store.
	Sequence int64             `json:"sequence"`
	Tags     []string          `json:"tags"`
	Metadata map[string]string `json:"metadata"`
	// Raw is the event as the provider wrote it; JSON always, a form as an object.
	Raw json.RawMessage `json:"raw,omitempty"`

	// Key tells this event from all others of the provider, and is the same when
	// the provider delivers it again: its own id where that is unique and stays,
	// else what the event is made of. See [Key].
	Key string `json:"-"`
}

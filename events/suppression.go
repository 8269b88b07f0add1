package events

import "time"

// Suppression is an address that must not be mailed.
type Suppression struct {
	// Address in the form of [Address].
	Address string `json:"email"`
	// Scope limits it: "group:10", "tag:news", "stream:broadcast"; empty for all mail.
	Scope string `json:"scope"`
	// Reason is why.
	Reason Reason `json:"reason"`
	// Provider is who said so, by its configured name; empty for the operator.
	Provider string `json:"provider,omitempty"`
	// Detail is the provider's words, or the operator's.
	Detail string `json:"detail,omitempty"`
	// Since is when, by the clock of who said so.
	Since time.Time `json:"since"`
}

// Reason is why an address is suppressed.
type Reason string

// The reasons of a suppression.
const (
	HardBounce  Reason = "hard_bounce"
	SoftBounces Reason = "soft_bounces" // in a row, up to the limit
	Complaint   Reason = "complaint"
	Unsubscribe Reason = "unsubscribe"
	Manual      Reason = "manual"
)

// Reasons are all of them.
func Reasons() []Reason { return []Reason{HardBounce, SoftBounces, Complaint, Unsubscribe, Manual} }

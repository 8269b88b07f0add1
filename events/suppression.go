package events

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

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
	// Since is when, by the clock of who said so; the zero time is now.
	Since time.Time `json:"since"`
}

const (
	// maxAddressBytes is what SMTP allows (RFC 5321, 4.5.3.1.3), in octets.
	maxAddressBytes = 254
	maxScopeBytes   = 256
	maxDetailBytes  = 1000
)

// Validate says what is wrong with a suppression that somebody has written.
func (s Suppression) Validate() error {
	address := Address(s.Address)
	local, domain, _ := strings.Cut(address, "@")
	switch {
	case local == "" || domain == "" || len(address) > maxAddressBytes || strings.ContainsFunc(address, unprintable):
		return fmt.Errorf("%.80q is no address", s.Address)
	case !s.Reason.Known():
		return fmt.Errorf("%.40q is no reason; it is one of %v", s.Reason, Reasons())
	case len(s.Scope) > maxScopeBytes || strings.ContainsFunc(s.Scope, unicode.IsControl):
		return fmt.Errorf("%.40q is no scope; write one such as tag:news, or none for all mail", s.Scope)
	case len(s.Detail) > maxDetailBytes || strings.ContainsFunc(s.Detail, unicode.IsControl):
		return fmt.Errorf("the detail has more than %d octets, or control characters", maxDetailBytes)
	}
	return nil
}

func unprintable(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

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

// Known reports whether r is one of [Reasons].
func (r Reason) Known() bool { return slices.Contains(Reasons(), r) }

// Status is what an address is, by the reasons for which all mail to it is
// suppressed.
type Status string

// The statuses of an address.
const (
	Active           Status = "active"
	StatusBounced    Status = "bounced"
	StatusComplained Status = "complained"
	StatusUnsub      Status = "unsubscribed"
)

// StatusOf is the gravest of the reasons: a complaint before an unsubscription
// before a bounce. What the operator has suppressed is still active.
func StatusOf(all []Suppression) Status {
	status, rank := Active, 0
	for _, s := range all {
		if s.Scope != "" {
			continue
		}
		if r := s.Reason.rank(); r > rank {
			status, rank = s.Reason.status(), r
		}
	}
	return status
}

// Gravest is the place of the one that says most: for all mail before for some,
// then by its reason. There must be one.
func Gravest(all []Suppression) int {
	gravest := 0
	for i, s := range all {
		g := all[gravest]
		if (s.Scope == "") == (g.Scope == "") && s.Reason.rank() > g.Reason.rank() || s.Scope == "" && g.Scope != "" {
			gravest = i
		}
	}
	return gravest
}

func (r Reason) rank() int {
	return slices.Index([]Reason{Manual, SoftBounces, HardBounce, Unsubscribe, Complaint}, r)
}

func (r Reason) status() Status {
	switch r {
	case Complaint:
		return StatusComplained
	case Unsubscribe:
		return StatusUnsub
	case HardBounce, SoftBounces:
		return StatusBounced
	case Manual:
	}
	return Active
}

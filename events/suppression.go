package events

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
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
	maxAddressBytes  = 254
	maxScopeBytes    = 256
	maxProviderBytes = 64
	maxDetailBytes   = 1000
)

// Validate says what is wrong with a suppression that somebody has written.
func (s Suppression) Validate() error {
	switch {
	case !isAddress(s.Address):
		return fmt.Errorf("%.80q is no address", s.Address)
	case !s.Reason.Known():
		return fmt.Errorf("%.40q is no reason; it is one of %v", s.Reason, Reasons())
	case !isLine(s.Scope, maxScopeBytes):
		return fmt.Errorf("%.40q is no scope; write one such as tag:news, or none for all mail", s.Scope)
	case !isLine(s.Provider, maxProviderBytes):
		return fmt.Errorf("%.40q is no provider; write its name, or nothing", s.Provider)
	case !isLine(s.Detail, maxDetailBytes):
		return fmt.Errorf("the detail has more than %d octets, or is not one line of UTF-8", maxDetailBytes)
	case !s.Since.IsZero() && !isMoment(s.Since):
		return fmt.Errorf("since %d is no year of a suppression", s.Since.Year())
	}
	return nil
}

// isAddress: it has a local part, where only quotes hold blanks and @, and a domain,
// which no separator of a list follows.
func isAddress(text string) bool {
	address := Address(text)
	at := strings.LastIndexByte(address, '@')
	if at < 1 || at == len(address)-1 || !isLine(text, maxAddressBytes) || len(address) > maxAddressBytes {
		return false
	}
	local, domain := address[:at], address[at+1:]
	if strings.HasPrefix(local, `"`) && strings.HasSuffix(local, `"`) {
		local = ""
	}
	return !strings.ContainsFunc(local+domain, unprintable) && !strings.Contains(local, "@") && !strings.ContainsAny(domain, `;,<>()"\`)
}

// isLine: it is no longer than some octets, of UTF-8, without control characters.
func isLine(text string, most int) bool {
	return len(text) <= most && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

func unprintable(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError
}

// isMoment: it is a time of mail, which a count of nanoseconds holds and JSON, too.
func isMoment(t time.Time) bool { return t.Year() >= 1970 && t.Year() < 2262 }

// clip gives what fits of a text in some octets, cut on a rune border.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
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

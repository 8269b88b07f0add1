package delivery

import (
	"fmt"
	"slices"
	"strings"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// Account is one configured provider as the pipeline sees it.
type Account struct {
	Provider

	Config AccountConfig
}

// AccountConfig is what the pipeline must know of a provider, whatever its type.
type AccountConfig struct {
	// SenderDomains are the From domains that the account may send; empty means any.
	SenderDomains []string `toml:"sender_domains"`
	// DefaultFrom sends where a message has no usable From, and where rewrite_from
	// says so: "Name <a@b>".
	DefaultFrom string `toml:"default_from"`
	// RewriteFrom is never, unlisted (From outside sender_domains) or always.
	RewriteFrom string `toml:"rewrite_from"`
}

// The values of rewrite_from.
const (
	rewriteNever    = "never"
	rewriteUnlisted = "unlisted"
	rewriteAlways   = "always"
)

// DefaultAccountConfig leaves every message its author.
func DefaultAccountConfig() AccountConfig { return AccountConfig{RewriteFrom: rewriteNever} }

// Validate reports every problem: the key, and what would be right.
func (c AccountConfig) Validate(report func(key, problem string)) {
	for i, domain := range c.SenderDomains {
		if domain == "" || strings.ContainsAny(domain, "@ \t<>*") {
			report(fmt.Sprintf("sender_domains[%d]", i), fmt.Sprintf(`%q is no domain; write it as it stands behind the @, such as "example.com"`, domain))
		}
	}
	author, ok := translate.ParseAddress(c.DefaultFrom)
	switch {
	case c.DefaultFrom == "":
	case !ok || author.Domain() == "" || !isASCII(author.Email):
		report("default_from", fmt.Sprintf(`%q is no address; write "Name <a@example.com>"`, c.DefaultFrom))
	case len(c.SenderDomains) > 0 && !c.lists(author):
		report("default_from", fmt.Sprintf("%s is outside sender_domains; add its domain there", author.Email))
	}
	switch c.RewriteFrom {
	case rewriteNever:
		return
	case rewriteUnlisted, rewriteAlways:
	default:
		report("rewrite_from", fmt.Sprintf("%q is unknown; write never, unlisted or always", c.RewriteFrom))
		return
	}
	if c.DefaultFrom == "" {
		report("rewrite_from", fmt.Sprintf("is %q and nobody is named to send instead; give default_from", c.RewriteFrom))
	}
	if c.RewriteFrom == rewriteUnlisted && len(c.SenderDomains) == 0 {
		report("rewrite_from", `is "unlisted" and no domain is listed; give sender_domains, or write always`)
	}
}

// lists: the account may send as this author.
func (c AccountConfig) lists(author translate.Address) bool {
	return len(c.SenderDomains) == 0 || slices.ContainsFunc(c.SenderDomains, func(domain string) bool {
		return translate.ASCIIDomain(domain) == author.Domain()
	})
}

// authored gives the message as the account may send it, or why it may not.
func (c AccountConfig) authored(m *translate.Message) (*translate.Message, *providers.Error) {
	switch instead, ok := translate.ParseAddress(c.DefaultFrom); {
	case ok && (m.From == nil || c.RewriteFrom == rewriteAlways || c.RewriteFrom == rewriteUnlisted && !c.lists(*m.From)):
		if m.From != nil && strings.EqualFold(m.From.Email, instead.Email) {
			return m, nil
		}
		return m.SentAs(instead), nil
	case m.From != nil && !c.lists(*m.From):
		return nil, &providers.Error{
			Category: providers.NoSender, Local: true, Message: "the account may not send from the domain " + m.From.Domain(),
		}
	}
	return m, nil
}

package delivery

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/translate"
)

// Config is the [delivery] table.
type Config struct {
	// Strategy orders the providers that can carry a message: score, priority,
	// weighted or cost.
	Strategy string `toml:"strategy"`
	// MaxAttempts at one provider, with InitialBackoff before the second, which then
	// doubles, with full jitter.
	MaxAttempts    int             `toml:"max_attempts"`
	InitialBackoff config.Duration `toml:"initial_backoff"`
	// MaxElapsed bounds all attempts together; the budget does, too.
	MaxElapsed config.Duration `toml:"max_elapsed"`
	// OnAmbiguous is defer, or failover, which may duplicate.
	OnAmbiguous string `toml:"on_ambiguous"`
	// Suppressed is what becomes of mail to who must not be mailed: reject, discard
	// (taken and dropped), or ignore (sent).
	Suppressed string `toml:"suppressed"`
	// TemporaryCategories are answered 4xx although their class is permanent. It is
	// the SMTP server's to do: delivery only validates them.
	TemporaryCategories []string `toml:"temporary_categories"`
}

// The values of strategy and on_ambiguous.
const (
	strategyScore    = "score"
	strategyPriority = "priority"
	strategyWeighted = "weighted"
	strategyCost     = "cost"

	ambiguousDefer    = "defer"
	ambiguousFailover = "failover"
)

// DefaultConfig never sends what is ambiguous twice.
func DefaultConfig() Config {
	return Config{
		Strategy:       strategyScore,
		MaxAttempts:    3,
		InitialBackoff: config.Duration(500 * time.Millisecond),
		MaxElapsed:     config.Duration(time.Minute),
		OnAmbiguous:    ambiguousDefer,
		Suppressed:     suppressedReject,
	}
}

// Validate reports every problem: the key, and what would be right.
func (c Config) Validate(report func(key, problem string)) {
	reportStrategy(c.Strategy, report)
	if c.MaxAttempts < 1 {
		report("max_attempts", "must be at least 1, which is no second try")
	}
	if c.InitialBackoff <= 0 {
		report("initial_backoff", `must be longer than 0, such as "500ms"`)
	}
	if c.MaxElapsed <= 0 {
		report("max_elapsed", `must be longer than 0, such as "60s"`)
	}
	if c.OnAmbiguous != ambiguousDefer && c.OnAmbiguous != ambiguousFailover {
		report("on_ambiguous", fmt.Sprintf("%q is unknown; write defer or failover", c.OnAmbiguous))
	}
	if !slices.Contains([]string{suppressedReject, suppressedDiscard, suppressedIgnore}, c.Suppressed) {
		report("suppressed", fmt.Sprintf("%q is unknown; write reject, discard or ignore", c.Suppressed))
	}
	for i, name := range c.TemporaryCategories {
		if !slices.Contains(providers.Categories(), providers.Category(name)) {
			report(fmt.Sprintf("temporary_categories[%d]", i), fmt.Sprintf("%q is no category; write one such as content_rejected", name))
		}
	}
}

func reportStrategy(strategy string, report func(key, problem string)) {
	switch strategy {
	case strategyScore, strategyPriority, strategyWeighted, strategyCost:
	default:
		report("strategy", fmt.Sprintf("%q is unknown; write score, priority, weighted or cost", strategy))
	}
}

// RouteConfig is one [[route]] table. A list that is empty fits all; what is given
// must all fit.
type RouteConfig struct {
	Name            string            `toml:"name"`
	SenderDomain    []string          `toml:"sender_domain"`
	RecipientDomain []string          `toml:"recipient_domain"`
	User            []string          `toml:"user"`
	Header          map[string]string `toml:"header"`
	// Providers are names; empty means all.
	Providers []string `toml:"providers"`
	// Strategy is that of [delivery] where it is empty.
	Strategy string `toml:"strategy"`
}

// Validate reports every problem, given the names of the providers.
func (c RouteConfig) Validate(known []string, report func(key, problem string)) {
	if c.Name == "" {
		report("name", `is missing; give one such as "marketing", for the log and for [[smtp.user]]`)
	}
	for i, name := range c.Providers {
		if !slices.Contains(known, name) {
			report(fmt.Sprintf("providers[%d]", i), fmt.Sprintf("%q is no configured provider; write one of: %s", name, strings.Join(known, ", ")))
		}
	}
	for _, list := range [...]struct {
		key     string
		domains []string
	}{{"sender_domain", c.SenderDomain}, {"recipient_domain", c.RecipientDomain}} {
		for i, domain := range list.domains {
			reportDomain(fmt.Sprintf("%s[%d]", list.key, i), domain, report)
		}
	}
	for name := range c.Header {
		if name == "" || textproto.TrimString(name) != name || strings.ContainsAny(name, ": ") {
			report("header", fmt.Sprintf("%q is no header name", name))
		}
	}
	if c.Strategy != "" {
		reportStrategy(c.Strategy, report)
	}
}

func reportDomain(key, domain string, report func(key, problem string)) {
	if domain == "" || strings.ContainsAny(domain, "@ \t<>*") {
		report(key, fmt.Sprintf(`%q is no domain; write it as it stands behind the @, such as "example.com"`, domain))
	}
}

// GuardConfig is the [guard] table, for staging: nobody outside is mailed.
type GuardConfig struct {
	// AllowRecipients are "a@b" or "@domain"; empty means everybody.
	AllowRecipients []string `toml:"allow_recipients"`
	// RedirectTo gets the mail of the others; empty means that they are refused.
	RedirectTo []string `toml:"redirect_to"`
}

// Validate reports every problem: the key, and what would be right.
func (c GuardConfig) Validate(report func(key, problem string)) {
	for i, entry := range c.AllowRecipients {
		local, domain, found := strings.Cut(entry, "@")
		if !found || domain == "" || strings.ContainsAny(domain, "@ ") || strings.Contains(local, " ") {
			report(fmt.Sprintf("allow_recipients[%d]", i), fmt.Sprintf(`%q is neither "a@example.com" nor "@example.com"`, entry))
		}
	}
	for i, entry := range c.RedirectTo {
		if a, ok := translate.ParseAddress(entry); !ok || a.Domain() == "" || a.Name != "" || !isASCII(a.Email) {
			report(fmt.Sprintf("redirect_to[%d]", i), fmt.Sprintf(`%q is no bare address; write "a@example.com"`, entry))
		}
	}
	if len(c.RedirectTo) > 0 && len(c.AllowRecipients) == 0 {
		report("redirect_to", "redirects nobody while allow_recipients is empty, which means everybody; give allow_recipients")
	}
}

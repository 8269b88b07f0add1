package delivery

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"smtpbridge/internal/config"
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
	// RateLimit is in requests per minute, 0 means none; BurstLimit may leave at once.
	RateLimit  int `toml:"rate_limit"`
	BurstLimit int `toml:"burst_limit"`
	// FailureThreshold failures of its health in a row open the breaker; after
	// RecoveryTimeout one request tries it.
	FailureThreshold int             `toml:"failure_threshold"`
	RecoveryTimeout  config.Duration `toml:"recovery_timeout"`
	// Priority, lower first, Weight and CostPerThousand are for the strategies of
	// those names.
	Priority        int     `toml:"priority"`
	Weight          int     `toml:"weight"`
	CostPerThousand float64 `toml:"cost_per_thousand"`
	// DailyQuota and MonthlyQuota are in recipients of a UTC day and month; 0 means none.
	DailyQuota   int64 `toml:"daily_quota"`
	MonthlyQuota int64 `toml:"monthly_quota"`
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
func DefaultAccountConfig() AccountConfig {
	return AccountConfig{
		BurstLimit:       10,
		FailureThreshold: 5,
		RecoveryTimeout:  config.Duration(time.Minute),
		Weight:           1,
		RewriteFrom:      rewriteNever,
	}
}

// Validate reports every problem: the key, and what would be right.
func (c AccountConfig) Validate(report func(key, problem string)) {
	c.validateNumbers(report)
	for i, domain := range c.SenderDomains {
		reportDomain(fmt.Sprintf("sender_domains[%d]", i), domain, report)
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

func (c AccountConfig) validateNumbers(report func(key, problem string)) {
	for _, number := range [...]struct {
		key   string
		wrong bool
		right string
	}{
		{"rate_limit", c.RateLimit < 0, "must not be negative; 0 means no limit"},
		{"burst_limit", c.BurstLimit < 1, "must be at least 1"},
		{"failure_threshold", c.FailureThreshold < 1, "must be at least 1"},
		{"recovery_timeout", c.RecoveryTimeout <= 0, `must be longer than 0, such as "60s"`},
		{"weight", c.Weight < 1, "must be at least 1; leave a provider out of the routes instead of giving it 0"},
		{"cost_per_thousand", c.CostPerThousand < 0, "must not be negative"},
		{"daily_quota", c.DailyQuota < 0, "must not be negative; 0 means no quota"},
		{"monthly_quota", c.MonthlyQuota < 0, "must not be negative; 0 means no quota"},
	} {
		if number.wrong {
			report(number.key, number.right)
		}
	}
}

func (c AccountConfig) quotas() QuotaLimits {
	return QuotaLimits{Day: c.DailyQuota, Month: c.MonthlyQuota}
}

// lists: the account may send as this author.
func (c AccountConfig) lists(author translate.Address) bool {
	return len(c.SenderDomains) == 0 || slices.ContainsFunc(c.SenderDomains, func(domain string) bool {
		return translate.ASCIIDomain(domain) == author.Domain()
	})
}

// authored gives the message as the account may send it, or why it may not.
func (c AccountConfig) authored(m *translate.Message) (*translate.Message, *providers.Error) {
	if c.DefaultFrom == "" && len(c.SenderDomains) == 0 {
		return m, nil
	}
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

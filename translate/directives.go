package translate

import "time"

// Directives are what an application asks of the provider by headers, in the
// bridge's own dialect (X-Bridge-*) or in that of a provider's SMTP relay. They
// mean the same whatever provider carries the mail, and never leave with it.
// Of two equal headers the first counts, unless the dialect makes it repeatable.
type Directives struct {
	// Tags in order, each once (X-SMTPAPI category, X-Mailgun-Tag, X-PM-Tag, X-Bridge-Tag).
	Tags []string
	// Metadata comes back in events (unique_args, X-Mailgun-Variables, X-PM-Metadata-*,
	// X-SES-MESSAGE-TAGS, X-Bridge-Metadata).
	Metadata map[string]string
	// SendAt is the zero time where the mail leaves at once.
	SendAt time.Time
	// TrackOpens and TrackClicks are unset where the account decides.
	TrackOpens, TrackClicks Switch
	// Provider names the only provider that may carry the mail (X-Bridge-Provider).
	Provider string
	// IdempotencyKey makes two messages of 24 h one (X-Bridge-Idempotency-Key).
	IdempotencyKey string
	// Drop: accept and send nothing, on every provider (X-Mailgun-Drop-Message).
	Drop bool
	// Apart: every recipient sees only itself (X-SMTPAPI to).
	Apart bool
	// Merges are texts that differ per recipient. A provider that cannot do
	// those of this dialect cannot carry the mail.
	Merges []Merge
	// Options mean something to one provider only; on another they are a loss.
	Options []Option
}

// Switch is a setting with three positions.
type Switch uint8

// The positions of a Switch.
const (
	Unset Switch = iota
	On
	Off
)

// Option is a directive that only one kind of provider understands.
type Option struct {
	// Dialect is the provider type: sendgrid, mailgun, postmark or ses.
	Dialect string
	// Name is the dialect's own: "asm_group_id", "filters.footer", "X-Mailgun-Dkim".
	Name string
	// Value is the header's text; for X-SMTPAPI the JSON of the value.
	Value string
}

// Merge is one substitution per recipient.
type Merge struct {
	// Dialect is the provider type that understands it.
	Dialect string
	// Tag is the text that is replaced; empty where Values hold the dialect's
	// whole JSON (X-Mailgun-Recipient-Variables).
	Tag string
	// Values by recipient address, as in the envelope.
	Values map[string]string
}

package providers

import (
	"log/slog"
	"time"
)

// Error is a refusal, classified. The category drives what follows; the text
// only informs.
type Error struct {
	Category Category
	// Local: about this provider's form rules or account, so that another
	// provider may take the message. The breaker does not count it.
	Local bool
	// Simulated: by a sandbox, which does as if. It says nothing of a provider, and
	// nothing follows from it.
	Simulated bool
	// Temporary: answered 4xx although its category is permanent
	// (delivery.temporary_categories). The severity stays the category's.
	Temporary bool
	// RetryAfter is how long the provider wants to be left alone; 0 where it did not say.
	RetryAfter time.Duration
	// ProviderCode is the provider's own code or the HTTP status, as text.
	ProviderCode string
	// Message is the provider's words, without secrets, at most 512 octets.
	Message string
	// Cause is what went wrong below, for errors.Is.
	Cause error
}

// Error is the category and the provider's words.
func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Category)
	}
	return string(e.Category) + ": " + e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Permanent reports that the reply is 5xx.
func (e *Error) Permanent() bool { return e.Category.Permanent() && !e.Temporary }

// Class is "permanent" or "transient".
func (e *Error) Class() string { return class(e.Permanent()) }

// Category is the class of a refusal: the nine of an API's answers, and the
// outcomes that no API gave. It is the first word of a reply's text.
type Category string

// The categories of an API's answers.
const (
	Authentication     Category = "authentication"
	RateLimit          Category = "rate_limit"
	QuotaExceeded      Category = "quota_exceeded"
	InvalidRecipient   Category = "invalid_recipient"
	ContentRejected    Category = "content_rejected"
	NetworkError       Category = "network_error"
	ServiceUnavailable Category = "service_unavailable"
	ConfigurationError Category = "configuration_error"
	Unknown            Category = "unknown"
)

// The categories of what the bridge itself refuses.
const (
	NoProvider        Category = "no_provider"
	LocalFailure      Category = "local_failure"
	NotFaithful       Category = "not_faithful"
	Malformed         Category = "malformed"
	TooLarge          Category = "too_large"
	NoSender          Category = "no_sender"
	NonASCII          Category = "non_ascii"
	TooManyRecipients Category = "too_many_recipients"
	Suppressed        Category = "suppressed"
	Guarded           Category = "guarded"
	RelayDenied       Category = "relay_denied"
	AuthRequired      Category = "auth_required"
	AuthFailed        Category = "auth_failed"
	Busy              Category = "busy"
)

// Categories are all of them, those of the APIs first.
func Categories() []Category {
	return []Category{
		Authentication, RateLimit, QuotaExceeded, InvalidRecipient, ContentRejected, NetworkError,
		ServiceUnavailable, ConfigurationError, Unknown,
		NoProvider, LocalFailure, NotFaithful, Malformed, TooLarge, NoSender, NonASCII, TooManyRecipients,
		Suppressed, Guarded, RelayDenied, AuthRequired, AuthFailed, Busy,
	}
}

// Permanent reports that trying again is not recommended; the reply is 5xx.
func (c Category) Permanent() bool {
	switch c {
	case Authentication, InvalidRecipient, ContentRejected, ConfigurationError, NotFaithful, Malformed, TooLarge,
		NoSender, NonASCII, Suppressed, Guarded, RelayDenied, AuthRequired, AuthFailed:
		return true
	case RateLimit, QuotaExceeded, NetworkError, ServiceUnavailable, Unknown, NoProvider, LocalFailure,
		TooManyRecipients, Busy:
		return false
	}
	return false
}

// Class is "permanent" or "transient".
func (c Category) Class() string { return class(c.Permanent()) }

func class(permanent bool) string {
	if permanent {
		return "permanent"
	}
	return "transient"
}

// Level is the log level of the category's severity: critical and high are
// errors, medium warns, low informs.
func (c Category) Level() slog.Level {
	switch c {
	case Authentication, QuotaExceeded, ContentRejected, ServiceUnavailable, ConfigurationError, LocalFailure, TooLarge,
		NotFaithful, NoSender:
		return slog.LevelError
	case RateLimit, NetworkError, Unknown, NoProvider, Malformed, RelayDenied, AuthFailed, Busy:
		return slog.LevelWarn
	case InvalidRecipient, NonASCII, TooManyRecipients, Suppressed, Guarded, AuthRequired:
		return slog.LevelInfo
	}
	return slog.LevelError
}

package providers

import (
	"cmp"
	"time"
)

// Policy is what a category of an API's answers makes the pipeline do.
type Policy struct {
	// Retry: the same provider may take the message when asked again.
	Retry bool
	// RetryDelay and MaxRetries are for whoever tries again later, as the
	// application after a 4xx.
	RetryDelay time.Duration
	MaxRetries int
	// EscalateAfter is how many in a row are told to somebody.
	EscalateAfter int
	// Unhealthy: the breaker counts it.
	Unhealthy bool
	// Failover: another provider may take the message.
	Failover bool
}

// Policy is the category's; that of no API's answer neither retries nor fails over.
func (c Category) Policy() Policy {
	switch c {
	case Authentication:
		return Policy{EscalateAfter: 1, Unhealthy: true, Failover: true}
	case RateLimit:
		return Policy{Retry: true, RetryDelay: 5 * time.Minute, MaxRetries: 3, EscalateAfter: 5, Failover: true}
	case QuotaExceeded:
		return Policy{Retry: true, RetryDelay: time.Hour, MaxRetries: 24, EscalateAfter: 3, Failover: true}
	case InvalidRecipient:
		return Policy{EscalateAfter: 100}
	case ContentRejected:
		return Policy{EscalateAfter: 5}
	case NetworkError:
		return Policy{Retry: true, RetryDelay: time.Minute, MaxRetries: 5, EscalateAfter: 10, Unhealthy: true, Failover: true}
	case ServiceUnavailable:
		return Policy{Retry: true, RetryDelay: 5 * time.Minute, MaxRetries: 6, EscalateAfter: 3, Unhealthy: true, Failover: true}
	case ConfigurationError:
		return Policy{EscalateAfter: 1, Failover: true}
	case Unknown:
		return Policy{Retry: true, RetryDelay: 5 * time.Minute, MaxRetries: 3, EscalateAfter: 5, Unhealthy: true, Failover: true}
	case NoProvider, LocalFailure, NotFaithful, Malformed, TooLarge, NoSender, NonASCII, TooManyRecipients,
		Suppressed, Guarded, RelayDenied, AuthRequired, AuthFailed, Busy:
	}
	return Policy{}
}

// Unhealthy reports that the refusal speaks of the provider's health: the breaker
// counts it.
func (e *Error) Unhealthy() bool { return !e.Local && !e.Simulated && e.Category.Policy().Unhealthy }

// Retryable reports that the same provider may take the message when asked again
// within the transaction. A quota is not back that soon.
func (e *Error) Retryable() bool {
	return !e.Local && !e.Simulated && e.Category != QuotaExceeded && e.Category.Policy().Retry
}

// FailsOver reports that another provider may take the message.
func (e *Error) FailsOver() bool { return !e.Simulated && (e.Local || e.Category.Policy().Failover) }

// Rest is how long the provider is to be left alone after the refusal: for
// Retry-After, and without one until a quota may be back.
func (e *Error) Rest() time.Duration {
	if e.Simulated {
		return 0
	}
	switch e.Category {
	case QuotaExceeded:
		return cmp.Or(e.RetryAfter, e.Category.Policy().RetryDelay)
	case RateLimit, ServiceUnavailable:
		return e.RetryAfter
	case Authentication, InvalidRecipient, ContentRejected, NetworkError, ConfigurationError, Unknown,
		NoProvider, LocalFailure, NotFaithful, Malformed, TooLarge, NoSender, NonASCII, TooManyRecipients,
		Suppressed, Guarded, RelayDenied, AuthRequired, AuthFailed, Busy:
	}
	return 0
}

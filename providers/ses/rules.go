package ses

import (
	"slices"
	"strings"

	"smtpbridge/providers"
)

// rule is one row of the table of errors. Words are some of which the message
// holds one; without any it fits all.
type rule struct {
	names     []string // without "Exception"
	words     []string
	category  providers.Category
	local     bool
	ambiguous bool
	hint      string
}

func (r rule) fits(words string) bool {
	return len(r.words) == 0 || slices.ContainsFunc(r.words, func(w string) bool { return strings.Contains(words, w) })
}

// Names that share a meaning.
var (
	throttled = []string{
		"TooManyRequests", "Throttling", "Throttled", "RequestThrottled", "RequestLimitExceeded", "BandwidthLimitExceeded",
		"SlowDown", "PriorRequestNotComplete",
	}
	badRequest   = []string{"BadRequest"}
	rejected     = []string{"MessageRejected"}
	limit        = []string{"LimitExceeded"}
	accessDenied = []string{"AccessDenied", "NotAuthorized"}
)

// Words that split a name.
var (
	ofTheDay = []string{"daily", "quota", "24-hour", "24 hour"}
	// ofAddresses are those of the parser behind the API, which reads the header's
	// addresses too.
	ofAddresses = []string{
		"illegal address", "invalid email address", "invalid address", "missing final", "missing domain",
		"missing local name", "local address", "domain contains", "domain starts with", "domain ends with",
		"domain literal", "extra route-addr", "illegal route-addr", "empty address", "unterminated quote",
	}
	// ofForm are about what SES wants of a mail, and others may not.
	ofForm = []string{
		"header", "mime", "line", "content-type", "content type", "transfer-encoding", "transfer encoding", "boundary",
		"tag name", "tag value", "address length",
	}
	ofSettings = []string{"configuration set", "tenant", "contact list", "topic", "template", "identity"}
)

// clockHint is what there is to say where the answer has no date; see hintOf.
const clockHint = "is the clock of this host right?"

// rules in the order in which they are tried (reference, SendEmail, "Errors", and
// "Common Error Types"; guide, "Amazon SES email sending errors").
var rules = []rule{
	// The daily quota comes under the name of the rate: trying again soon is no use.
	{names: throttled, words: ofTheDay, category: providers.QuotaExceeded},
	{names: throttled, category: providers.RateLimit},
	{names: limit, words: ofTheDay, category: providers.QuotaExceeded},
	{names: limit, words: []string{"rate", "per second"}, category: providers.RateLimit},
	{names: limit, category: providers.QuotaExceeded},

	// An identity, the wrong region, or the sandbox, in which recipients count too.
	{names: rejected, words: []string{"address is not verified", "addresses are not verified"}, category: providers.ConfigurationError},
	{names: rejected, words: []string{"address blacklisted"}, category: providers.InvalidRecipient},
	{names: rejected, category: providers.ContentRejected},
	{names: []string{"MailFromDomainNotVerified"}, category: providers.ConfigurationError},
	{names: []string{"AccountSuspended"}, category: providers.Authentication},
	{names: []string{"SendingPaused"}, category: providers.ServiceUnavailable},

	{names: badRequest, words: []string{"message length"}, category: providers.TooLarge, local: true},
	{names: badRequest, words: []string{"recipient count", "no recipients", "destination address is required"}, category: providers.ConfigurationError},
	{names: badRequest, words: ofAddresses, category: providers.InvalidRecipient},
	{names: badRequest, words: ofForm, category: providers.ContentRejected, local: true},
	{names: badRequest, words: ofSettings, category: providers.ConfigurationError},
	{names: badRequest, category: providers.ContentRejected},
	{names: []string{"NotFound"}, category: providers.ConfigurationError},

	{names: []string{"UnrecognizedClient", "InvalidClientTokenId"}, category: providers.Authentication},
	{
		names: []string{"InvalidSignature", "SignatureDoesNotMatch"}, words: []string{"expired", "not yet current"},
		category: providers.Authentication, hint: clockHint,
	},
	{names: []string{"InvalidSignature", "SignatureDoesNotMatch"}, category: providers.Authentication},
	{names: []string{"IncompleteSignature", "MissingAuthenticationToken"}, category: providers.Authentication},
	{names: []string{"RequestExpired", "RequestTimeTooSkewed"}, category: providers.Authentication, hint: clockHint},
	{names: []string{"ExpiredToken"}, category: providers.Authentication, hint: "the session token has expired"},
	{names: accessDenied, category: providers.Authentication},
	{names: []string{"OptInRequired", "SubscriptionRequired"}, category: providers.Authentication},
	{
		names:    []string{"Validation", "Serialization", "UnknownOperation", "InvalidAction", "MalformedHttpRequest"},
		category: providers.ConfigurationError,
	},
	{names: []string{"RequestEntityTooLarge"}, category: providers.TooLarge, local: true},

	{names: []string{"RequestTimeout", "RequestAborted"}, category: providers.NetworkError},
	{names: []string{"ServiceUnavailable"}, category: providers.ServiceUnavailable},
	{
		names:    []string{"InternalServiceError", "InternalFailure", "InternalServerError"},
		category: providers.ServiceUnavailable, ambiguous: true,
	},
	{names: []string{"ConcurrentModification"}, category: providers.ServiceUnavailable},
	{names: []string{"AlreadyExists", "Conflict", "InvalidNextToken"}, category: providers.Unknown},
}

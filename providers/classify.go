package providers

import (
	"cmp"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxWords bounds the provider's words in an [Error], in octets.
	maxWords = 512
	// maxRead is how much of a provider's words is looked at, in octets: an
	// answer may be a thousand times longer, and says what it means first.
	maxRead = 4 << 10
)

// Classify finds the category where no code of the provider's own decides: the
// HTTP status first, then the words of the provider's message, else [Unknown].
func Classify(status int, words string) Category {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return Authentication
	case status == http.StatusPaymentRequired:
		return QuotaExceeded
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly:
		return NetworkError
	case status == http.StatusRequestEntityTooLarge:
		return TooLarge // the sender is told 552 5.3.4, not a word about content
	case status == http.StatusTooManyRequests:
		return RateLimit
	case status >= 300 && status <= 399, // a redirect is never followed
		status == http.StatusNotFound, status == http.StatusMethodNotAllowed,
		status == http.StatusNotAcceptable, status == http.StatusUnsupportedMediaType:
		return ConfigurationError
	case status >= 500 && status <= 599:
		return ServiceUnavailable
	}
	return classifyWords(words)
}

// AmbiguousStatus reports that an answer leaves open whether the request was
// taken: a gateway may have passed it on (502, 504, and 520 to 529 of content
// delivery networks), or a server failed in other words than the provider's own.
func AmbiguousStatus(status int, ownBody bool) bool {
	switch {
	case status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		return true
	case status == http.StatusInternalServerError, status >= 520 && status <= 529:
		return !ownBody
	}
	return false
}

// Refusal is the error of an answer that no code of the provider's own decides.
// Where the provider has no words the status speaks.
func Refusal(status int, words string) *Error {
	category := Classify(status, words)
	return &Error{
		Category:     category,
		Local:        category == TooLarge, // too large here; another provider may take it
		ProviderCode: strconv.Itoa(status),
		Message:      cmp.Or(Words(words), statusWords(status)),
	}
}

func statusWords(status int) string {
	words := strings.TrimSpace("HTTP " + strconv.Itoa(status) + " " + http.StatusText(status))
	if status >= 300 && status <= 399 {
		words += ": a redirect, which is not followed; is base_url right?"
	}
	return words
}

// Words makes a provider's text fit for a log line and a reply: one line,
// without control characters, at most 512 octets.
func Words(s string) string {
	s = strings.ToValidUTF8(head(s, maxRead), "?")
	s = head(strings.Join(strings.FieldsFunc(s, isBlankOrControl), " "), maxWords)
	return strings.Clone(s) // nothing may pin the answer
}

// head is at most limit octets of s, no rune of which is cut.
func head(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for end := limit; end > limit-utf8.UTFMax; end-- {
		if utf8.RuneStart(s[end]) {
			return s[:end]
		}
	}
	return s[:limit] // no UTF-8 anyway
}

func isBlankOrControl(r rune) bool {
	return r <= ' ' || (r >= 0x7f && r <= 0xa0) || r == '\u2028' || r == '\u2029'
}

// RetryAfter reads the Retry-After field of an answer, seconds or a date
// (RFC 9110, 10.2.3); 0 where there is none to come.
func RetryAfter(resp Response) time.Duration {
	value := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(resp.Time))
	}
	return 0
}

// wordRows are the text patterns in the order in which they are tried.
var wordRows = []struct {
	category Category
	pattern  *regexp.Regexp
}{
	{Authentication, row("401|403", "unauthorized", "invalid … key", "forbidden", "authentication … failed", "invalid … credentials")},
	{RateLimit, row("429", "rate … limit", "too many … requests", "throttle", "slow down", "try again later")},
	{QuotaExceeded, row("", "quota exceeded", "limit reached", "daily limit", "monthly limit", "credit insufficient")},
	{InvalidRecipient, row("550|551|553|554", "invalid recipient", "user unknown", "mailbox unavailable", "recipient rejected")},
	{ContentRejected, row("", "spam", "blocked content", "message rejected", "content violation", "policy violation")},
	{NetworkError, row("", "connection timeout", "network error", "dns error", "socket error", "connection refused")},
	{ServiceUnavailable, row("502|503|504", "service unavailable", "server error", "temporarily unavailable", "maintenance")},
	{ConfigurationError, row("", "configuration error", "invalid domain", "dns failure", "domain not configured", "missing configuration")},
}

// row compiles one row: phrases of whole words, "…" standing for anything
// inside a sentence, and numbers that stand alone or begin an SMTP reply
// ("550-5.1.1"), not those inside an id.
func row(numbers string, phrases ...string) *regexp.Regexp {
	for i, phrase := range phrases {
		words := strings.ReplaceAll(phrase, " … ", `\b[^.;!?]*\b`)
		phrases[i] = strings.ReplaceAll(words, " ", `[\s_-]+`)
	}
	pattern := `\b(?:` + strings.Join(phrases, "|") + `)\b`
	if numbers != "" {
		pattern += `|(?:^|[\s(\[:,])(?:` + numbers + `)(?:$|[\s)\]:,;]|\.(?:\s|$)|-\d\.)`
	}
	return regexp.MustCompile(`(?i)` + pattern)
}

// quoted is what a message cites: quoted values, addresses, links, ids. Words
// and numbers in them say nothing about the cause.
var quoted = regexp.MustCompile(`"[^"]*"|` + "`[^`]*`" + `|(?:^|[\s(:=])'[^']*'|<[^<>]*>|\S+@\S+|[a-zA-Z]+://\S+|\S+=\S+|(?i:\bids?\b[\s:#]+\S*\d\S*)`)

func classifyWords(words string) Category {
	words = quoted.ReplaceAllString(head(words, maxRead), " ")
	for _, row := range wordRows {
		if row.pattern.MatchString(words) {
			return row.category
		}
	}
	return Unknown
}

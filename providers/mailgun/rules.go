package mailgun

import (
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"smtpbridge/providers"
)

const (
	// statusThrottled stands beside 429.
	statusThrottled = 420
	// maxRead is how much of an answer's words is looked at, in octets.
	maxRead = 4 << 10
)

// rule is one row of the table of errors: the words are looked for in order, the
// first at the beginning of a word.
type rule struct {
	statuses []int
	words    []string
	category providers.Category
	local    bool
}

// says are the words of a rule, which "…" separates.
func says(words string) []string { return strings.Split(words, " … ") }

// Statuses of more than one rule.
var (
	badRequest = []int{http.StatusBadRequest}
	forbidden  = []int{http.StatusForbidden}
	barred     = []int{http.StatusBadRequest, http.StatusForbidden}
	throttled  = []int{http.StatusBadRequest, http.StatusForbidden, statusThrottled, http.StatusTooManyRequests}
)

// rules in the order in which they are tried (manual, "API Response Codes", and
// answers that were seen): "is not allowed to send" begins four kinds of
// refusal. Local are rules of form of this API: another provider may take the mail.
var rules = []rule{
	{badRequest, says("to parameter is not a valid address"), providers.InvalidRecipient, false},
	{badRequest, says("cc parameter is not a valid address"), providers.InvalidRecipient, false},
	{badRequest, says("bcc parameter is not a valid address"), providers.InvalidRecipient, false},
	{badRequest, says("to parameter is missing"), providers.ConfigurationError, false},
	{badRequest, says("from parameter is missing"), providers.ContentRejected, false},
	{badRequest, says("from parameter is not a valid address"), providers.ContentRejected, false},
	{badRequest, says("need at least one of"), providers.ContentRejected, true},
	{badRequest, says("send options … limited to"), providers.ContentRejected, true},
	{badRequest, says("header name must be pure ascii"), providers.ContentRejected, true},
	{badRequest, says("recipient-variables … not a valid json"), providers.ContentRejected, true},
	{badRequest, says("invalid 24 hour time"), providers.ContentRejected, true},
	{badRequest, says("tag is too long"), providers.ContentRejected, true},
	{badRequest, says("not an rfc-2822 compliant date"), providers.ContentRejected, true},
	{badRequest, says("invalid delivery time format"), providers.ContentRejected, true},
	{badRequest, says("too many recipients"), providers.ConfigurationError, false},
	// The upload broke off: nothing was read whole.
	{badRequest, says("unexpected eof"), providers.NetworkError, false},
	{badRequest, says("malformed multipart"), providers.ConfigurationError, false},
	{badRequest, says("unable to parse request"), providers.ConfigurationError, false},
	{badRequest, says("invalid request content type"), providers.ConfigurationError, false},
	{badRequest, says("message parameter is not a file"), providers.ConfigurationError, false},
	{badRequest, says("message parameter is missing"), providers.ConfigurationError, false},
	{badRequest, says("only one parameters"), providers.ConfigurationError, false},
	{barred, says("sandbox subdomains"), providers.ConfigurationError, false},
	{barred, says("free accounts"), providers.ConfigurationError, false},
	{barred, says("unverified and requires"), providers.ConfigurationError, false},
	{barred, says("please activate your mailgun account"), providers.ConfigurationError, false},
	{throttled, says("limit exceeded … try again after"), providers.RateLimit, false},
	{badRequest, says("recipient limit exceeded"), providers.QuotaExceeded, false},
	{badRequest, says("sending too fast"), providers.QuotaExceeded, false},
	// The account is barred, which is no fault of the mail.
	{forbidden, says("account disabled"), providers.Authentication, false},
	{forbidden, says("account inactivity"), providers.Authentication, false},
	{forbidden, says("domain disabled"), providers.Authentication, false},
	{forbidden, says("not allowed to send large batches"), providers.ConfigurationError, false},
	{forbidden, says("ip … can't be used"), providers.ConfigurationError, false},
	// How a mail of more than 25 MB is refused is not documented; a mail that grows
	// when it is encoded anew can be one.
	{badRequest, says("size exceeds"), providers.TooLarge, true},
	{badRequest, says("too large"), providers.TooLarge, true},
}

func (r rule) matches(status int, words string) bool {
	if !slices.Contains(r.statuses, status) {
		return false
	}
	for _, phrase := range r.words {
		at := indexWord(words, phrase)
		if at < 0 {
			return false
		}
		words = words[at+len(phrase):]
	}
	return true
}

// indexWord finds a phrase that is not the end of another word: "reply-to
// parameter" is none of "to parameter".
func indexWord(words, phrase string) int {
	for from := 0; ; {
		at := strings.Index(words[from:], phrase)
		if at < 0 {
			return -1
		}
		if at += from; at == 0 || !isOfWord(words[at-1]) {
			return at
		}
		from = at + 1
	}
}

func isOfWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == ':' || c >= 0x80
}

var (
	// parameter is a name that newer answers quote and older ones do not.
	parameter = regexp.MustCompile(`'([a-z][a-z-]{0,31})'`)
	// cited are values and addresses: words in them say nothing about the cause.
	cited = regexp.MustCompile(`"[^"]*"|` + "`[^`]*`" + `|(?:^|[\s(:=])'[^']*'|<[^<>]*>|\S+@\S+|[a-z]+://\S+`)
	// until is the date of "try again after".
	until = regexp.MustCompile(`(?i)\btry again after ([a-z]{3}, \d{1,2} [a-z]{3} \d{4} \d\d:\d\d:\d\d (?:UTC|GMT|[+-]\d{4}))`)
)

// readable are the words that decide: case folded, names bare, without what they
// cite.
func readable(words string) string {
	words = parameter.ReplaceAllString(strings.ToLower(head(words)), "$1")
	return strings.Join(strings.Fields(cited.ReplaceAllString(words, " ")), " ")
}

func head(words string) string { return words[:min(len(words), maxRead)] }

// retryAfter reads how long to wait: of a rate limit X-RateLimit-Reset, in seconds
// of the Unix epoch, says more than the words.
func retryAfter(resp providers.Response, category providers.Category, words string) time.Duration {
	if category != providers.RateLimit {
		return providers.RetryAfter(resp)
	}
	if reset, err := strconv.ParseFloat(resp.Header.Get("X-RateLimit-Reset"), 64); err == nil && reset > 0 && reset < math.MaxInt32*4 {
		return max(0, time.Unix(0, int64(reset*float64(time.Second))).Sub(resp.Time))
	}
	if wait := providers.RetryAfter(resp); wait > 0 {
		return wait
	}
	found := until.FindStringSubmatch(head(words))
	if found == nil {
		return 0
	}
	for _, layout := range [...]string{"Mon, 2 Jan 2006 15:04:05 MST", "Mon, 2 Jan 2006 15:04:05 -0700"} {
		if at, err := time.Parse(layout, found[1]); err == nil {
			return max(0, at.Sub(resp.Time))
		}
	}
	return 0
}

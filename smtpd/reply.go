package smtpd

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// maxReplyLine is the longest reply line with its CRLF, in octets (RFC 5321, 4.5.3.1.5).
const maxReplyLine = 512

// noReason stands where whoever refused gave no words.
const noReason = "no reason given"

// status is a reply code with its enhanced code (RFC 3463).
type status struct {
	code     int
	enhanced smtp.EnhancedCode
}

// The replies that stand in no row of the table, because they are about the
// dialogue and not about a message.
var (
	accepted = status{250, smtp.EnhancedCode{2, 0, 0}}
	// badSequence: RFC 5321, 4.1.4, a second MAIL inside a transaction.
	badSequence = status{503, smtp.EnhancedCode{5, 5, 1}}
	// badSender and badRecipient: no provider could be given this address (RFC 3463, X.1.7 and X.1.3).
	badSender    = status{553, smtp.EnhancedCode{5, 1, 7}}
	badRecipient = status{553, smtp.EnhancedCode{5, 1, 3}}
	// lineTooLong: a command line without an end (RFC 5321, 4.5.3.1.9).
	lineTooLong = status{500, smtp.EnhancedCode{5, 5, 2}}
	// silent: the client stopped sending, or has gone (RFC 3463, X.4.2).
	silent = status{421, smtp.EnhancedCode{4, 4, 2}}
)

// statusOf is the status of a refusal: that of its category, unless it is to be
// answered as if it were transient.
func statusOf(err *providers.Error) status {
	status := statusOfCategory(err.Category)
	if err.Temporary && err.Category.Permanent() {
		status.code, status.enhanced[0] = 451, 4
	}
	return status
}

// statusOfCategory is the only place that turns a category into a reply code. It
// has no default: a new category does not pass the linter until it has a reply.
func statusOfCategory(c providers.Category) status {
	switch c {
	case providers.Authentication:
		return status{554, smtp.EnhancedCode{5, 7, 0}}
	case providers.RateLimit:
		return status{451, smtp.EnhancedCode{4, 4, 5}}
	case providers.QuotaExceeded:
		return status{452, smtp.EnhancedCode{4, 3, 1}}
	case providers.InvalidRecipient:
		return status{550, smtp.EnhancedCode{5, 1, 1}}
	case providers.NetworkError:
		return status{451, smtp.EnhancedCode{4, 4, 1}}
	case providers.ServiceUnavailable, providers.LocalFailure:
		return status{451, smtp.EnhancedCode{4, 3, 0}}
	case providers.ConfigurationError, providers.NoSender:
		return status{554, smtp.EnhancedCode{5, 3, 5}}
	case providers.NoProvider:
		return status{451, smtp.EnhancedCode{4, 3, 2}}
	case providers.NotFaithful:
		return status{554, smtp.EnhancedCode{5, 6, 3}}
	case providers.Malformed:
		return status{554, smtp.EnhancedCode{5, 6, 0}}
	case providers.TooLarge:
		return status{552, smtp.EnhancedCode{5, 3, 4}}
	case providers.NonASCII:
		return status{553, smtp.EnhancedCode{5, 6, 7}}
	case providers.TooManyRecipients:
		return status{452, smtp.EnhancedCode{4, 5, 3}}
	case providers.Suppressed, providers.Guarded:
		return status{550, smtp.EnhancedCode{5, 7, 1}}
	case providers.ContentRejected, providers.RelayDenied:
		return status{554, smtp.EnhancedCode{5, 7, 1}}
	case providers.AuthRequired:
		return status{530, smtp.EnhancedCode{5, 7, 0}}
	case providers.AuthFailed:
		return status{535, smtp.EnhancedCode{5, 7, 8}}
	case providers.Busy:
		return status{421, smtp.EnhancedCode{4, 3, 2}}
	case providers.Unknown:
	}
	return status{451, smtp.EnhancedCode{4, 0, 0}}
}

// reply is what the client is told: a status, words, and the bridge's id of
// the mail, empty before there is one.
type reply struct {
	status status
	words  string
	id     string
}

// replyError is the reply to a refusal: the category's token, then the words of
// whoever refused.
func replyError(err *providers.Error, id string) reply {
	words := err.Message
	if words == "" {
		words = noReason
	}
	return reply{statusOf(err), string(err.Category) + ": " + words, id}
}

// replyOutcome is the one reply to all recipients in o.
func replyOutcome(o providers.Outcome, id string) reply {
	if refusal := deciding(o); refusal != nil {
		return replyError(refusal, id)
	}
	return reply{accepted, "provider=" + o.Providers(), id}
}

// deciding is the refusal that the reply tells, nil where at least one recipient
// was taken: the first transient one, else the first.
func deciding(o providers.Outcome) *providers.Error {
	if o.Accepted() > 0 {
		return nil
	}
	unknown := &providers.Error{Category: providers.Unknown} // where nobody gave a word
	var first *providers.Error
	for _, result := range o {
		refusal := cmp.Or(result.Err, unknown)
		if !refusal.Permanent() {
			return refusal
		}
		first = cmp.Or(first, refusal)
	}
	return cmp.Or(first, unknown)
}

// smtp gives the reply in go-smtp's own type, never wrapped: go-smtp asserts it
// and does not unwrap. Over LMTP go-smtp puts "<rcpt> " in front, which is
// prefix octets long.
func (r reply) smtp(prefix int) *smtp.SMTPError {
	const codes = len("250 2.0.0 ") + len("\r\n") // every enhanced code of ours has single digits
	tail := ""
	if r.id != "" {
		tail = " id=" + r.id
	}
	return &smtp.SMTPError{
		Code:         r.status.code,
		EnhancedCode: r.status.enhanced,
		Message:      cut(oneLine(r.words), maxReplyLine-codes-prefix-len(tail)) + tail,
	}
}

// line is the reply as it goes over the wire, for what is said without go-smtp.
func (r reply) line() string {
	e := r.smtp(0)
	return fmt.Sprintf("%d %d.%d.%d %s\r\n", e.Code, e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2], e.Message)
}

// oneLine takes control characters out: a provider's words must not end the
// reply and begin another.
func oneLine(text string) string {
	if translate.IsPlain(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// appendTidy adds a line of go-smtp's, made fit to send: it may quote the client,
// with all that the client wrote.
func appendTidy(replies, line []byte) []byte {
	const most = maxReplyLine - len("\r\n")
	line = bytes.TrimSuffix(line, []byte("\r\n"))
	if len(line) > most || !translate.IsPlain(line) {
		line = []byte(cut(oneLine(string(line)), most))
	}
	return append(append(replies, line...), "\r\n"...)
}

// cut shortens text to at most limit octets, on a rune border.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	limit = max(limit, 0)
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

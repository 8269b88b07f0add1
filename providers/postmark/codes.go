package postmark

import (
	"cmp"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"smtpbridge/providers"
)

// refusal classifies: by the code, else by the status, else by the words.
func (a answer) refusal(resp providers.Response) *providers.Error {
	err := providers.Refusal(resp.Status, a.message)
	err.RetryAfter = providers.RetryAfter(resp)
	if a.code == 0 {
		return err
	}
	err.ProviderCode = strconv.Itoa(a.code)
	err.Message = cmp.Or(providers.Words(a.message), "ErrorCode "+err.ProviderCode)
	switch known, ok := meaningOf(a.code); {
	case a.code == http.StatusRequestEntityTooLarge && resp.Status == http.StatusRequestEntityTooLarge:
		// The status; as a code 413 is an account that may not send.
	case a.code == codeInvalid:
		known = a.fault()
		fallthrough
	case ok:
		err.Category, err.Local = known.category, known.local
	case isForeign(a.code) && resp.Status < 500:
		err.Category, err.Local = providers.ConfigurationError, false
	}
	return err
}

// The codes that need more than a row of the table.
const (
	codeUnexpected = 101
	codeInvalid    = 300
	codeInactive   = 406
)

// meaning is one row of the table of errors. Local are form rules of this API
// and matters of the account: another provider may take the mail.
type meaning struct {
	category providers.Category
	local    bool
}

// meaningOf reads the table of ErrorCodes (manual, "API overview", error codes;
// 400, 401 and 409 are of older tables, and still seen).
func meaningOf(code int) (m meaning, known bool) {
	switch code {
	case 10, // no such token, or one of another type
		413, // the account may not send
		422: // no such server or account
		return meaning{category: providers.Authentication}, true
	case 100, codeUnexpected: // maintenance; "in most cases the message is lost"
		return meaning{category: providers.ServiceUnavailable}, true
	case 405: // out of credits
		return meaning{providers.QuotaExceeded, true}, true
	case 429:
		return meaning{category: providers.RateLimit}, true
	case codeInvalid: // the words say what
		return meaning{providers.ContentRejected, true}, true
	case codeInactive:
		return meaning{category: providers.InvalidRecipient}, true
	case 411: // a file of a forbidden type
		return meaning{providers.ContentRejected, true}, true
	case 400, 401, // From is not of this account, or not confirmed
		412,        // the account is pending approval
		1235, 1236, // no such stream, or one that does not send
		1480: // not from this IP address
		return meaning{providers.ConfigurationError, true}, true
	case 402, 403, 409, 410, // what the bridge must not send
		1101, 1109, 1120, 1121, 1122, 1123: // templates, of which it uses none
		return meaning{category: providers.ConfigurationError}, true
	}
	return meaning{}, false
}

// isForeign: a code of the other APIs. One that answers a mail comes from a place
// that is not the Email API.
func isForeign(code int) bool {
	for _, span := range [...][2]int{
		{12, 14},     // bulk
		{500, 523},   // signatures and domains
		{600, 615},   // servers
		{700, 709},   // messages, DKIM
		{800, 813},   // inbound rules
		{900, 900},   // statistics
		{1000, 1003}, // bounces
		{1100, 1131}, // templates
		{1220, 1241}, // streams
		{1300, 1302}, // data removal
		{1350, 1364}, // webhooks
		{1400, 1411}, // suppressions
		{1450, 1460}, // SMTP tokens
		{1500, 1502}, // statistics
	} {
		if code >= span[0] && code <= span[1] {
			return true
		}
	}
	return false
}

var (
	// faultyField is the field that a refusal with the code 300 begins with.
	faultyField = regexp.MustCompile(`^(?i:invalid|error parsing) '([A-Za-z-]+)'`)
	// recipientCount is a refusal of how many recipients there are.
	recipientCount = regexp.MustCompile(`(?i)^[^.'"]*\b(?:zero|no|50)\b[^.'"]*\brecipients\b`)
)

// fault is what the code 300 means. What is cited steers nothing: the field
// stands at the beginning.
func (a answer) fault() meaning {
	field := ""
	if match := faultyField.FindStringSubmatch(a.message); match != nil {
		field = strings.ToLower(match[1])
	}
	switch field {
	case "to", "cc", "bcc":
		return meaning{category: providers.InvalidRecipient}
	case "from", "reply-to", "replyto":
		return meaning{category: providers.ContentRejected}
	}
	if recipientCount.MatchString(a.message) { // what the bridge must not send
		return meaning{category: providers.ConfigurationError}
	}
	return meaning{providers.ContentRejected, true}
}

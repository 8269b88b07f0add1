package providers_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"smtpbridge/providers"
)

func TestClassifyStatus(t *testing.T) {
	want := map[int]providers.Category{
		401: providers.Authentication, 403: providers.Authentication, 402: providers.QuotaExceeded,
		404: providers.ConfigurationError, 405: providers.ConfigurationError, 406: providers.ConfigurationError,
		415: providers.ConfigurationError, 408: providers.NetworkError, 425: providers.NetworkError,
		413: providers.TooLarge, 429: providers.RateLimit,
	}
	for status := 200; status < 600; status++ {
		category, named := want[status]
		switch {
		case named:
		case status >= 300 && status < 400:
			category = providers.ConfigurationError
		case status >= 500:
			category = providers.ServiceUnavailable
		default:
			// Any other status goes to the text.
			if got := providers.Classify(status, "User unknown"); got != providers.InvalidRecipient {
				t.Errorf("%d with words is %s, want the category of the words", status, got)
			}
			category = providers.Unknown
		}
		if got := providers.Classify(status, ""); got != category {
			t.Errorf("%d is %s, want %s", status, got, category)
		}
		if named {
			// The status decides before the words.
			if got := providers.Classify(status, "spam"); got != category {
				t.Errorf("%d with words is %s, want %s", status, got, category)
			}
		}
	}
}

func TestClassifyWords(t *testing.T) {
	for _, c := range []struct {
		words string
		want  providers.Category
	}{
		// Every pattern of the table, row by row, in any case.
		{"Unauthorized", providers.Authentication},
		{"invalid API key", providers.Authentication},
		{"Forbidden", providers.Authentication},
		{"error 401", providers.Authentication},
		{"403: no", providers.Authentication},
		{"Authentication has failed", providers.Authentication},
		{"invalid login credentials", providers.Authentication},
		{"rate limit hit", providers.RateLimit},
		{"The rate is above your limit", providers.RateLimit},
		{"too many API requests", providers.RateLimit},
		{"(429)", providers.RateLimit},
		{"we throttle you", providers.RateLimit},
		{"please slow down", providers.RateLimit},
		{"Try again later.", providers.RateLimit},
		{"quota exceeded", providers.QuotaExceeded},
		{"limit reached", providers.QuotaExceeded},
		{"daily limit", providers.QuotaExceeded},
		{"Monthly limit", providers.QuotaExceeded},
		{"credit insufficient", providers.QuotaExceeded},
		{"invalid recipient", providers.InvalidRecipient},
		{"user unknown", providers.InvalidRecipient},
		{"mailbox unavailable", providers.InvalidRecipient},
		{"recipient rejected", providers.InvalidRecipient},
		{"550", providers.InvalidRecipient},
		{"550-5.1.1 no such user", providers.InvalidRecipient},
		{"said: 551 elsewhere", providers.InvalidRecipient},
		{"553, no", providers.InvalidRecipient},
		{"it was 554.", providers.InvalidRecipient},
		{"looks like spam", providers.ContentRejected},
		{"blocked content", providers.ContentRejected},
		{"message rejected", providers.ContentRejected},
		{"content violation", providers.ContentRejected},
		{"policy violation", providers.ContentRejected},
		{"connection timeout", providers.NetworkError},
		{"network error", providers.NetworkError},
		{"DNS error", providers.NetworkError},
		{"socket error", providers.NetworkError},
		{"connection refused", providers.NetworkError},
		{"service unavailable", providers.ServiceUnavailable},
		{"internal server error", providers.ServiceUnavailable},
		{"502", providers.ServiceUnavailable},
		{"got 503 from it", providers.ServiceUnavailable},
		{"[504]", providers.ServiceUnavailable},
		{"temporarily unavailable", providers.ServiceUnavailable},
		{"down for maintenance", providers.ServiceUnavailable},
		{"configuration error", providers.ConfigurationError},
		{"invalid domain", providers.ConfigurationError},
		{"dns failure", providers.ConfigurationError},
		{"domain not configured", providers.ConfigurationError},
		{"missing configuration", providers.ConfigurationError},

		// The first row wins.
		{"forbidden: spam", providers.Authentication},
		{"550 looks like spam", providers.InvalidRecipient},
		{"too many requests, daily limit", providers.RateLimit},

		// Whole words and whole numbers.
		{"", providers.Unknown},
		{"spammers", providers.Unknown},
		{"1550", providers.Unknown},
		{"5501 octets", providers.Unknown},
		{"took 1.550 s", providers.Unknown},
		{"took 550.12 s", providers.Unknown},
		{"message abc550def", providers.Unknown},
		{"ref 8f-550-aa", providers.Unknown},
		{"unforbidden", providers.Unknown},
		{"an invalid value. The key is fine", providers.Unknown},

		// Never what is quoted: addresses, values, ids, links.
		{"no: spam@example.com", providers.Unknown},
		{"no: <spam@example.com>", providers.Unknown},
		{`the subject "user unknown" is odd`, providers.Unknown},
		{"the value 'forbidden' is odd", providers.Unknown},
		{"the value `forbidden` is odd", providers.Unknown},
		{"see https://example.com/spam/550", providers.Unknown},
		{"request id 550", providers.Unknown},
		{"id: 550-403", providers.Unknown},
		{"tag=spam is odd", providers.Unknown},
		// An apostrophe quotes nothing.
		{"it doesn't exist, user unknown, that's all", providers.InvalidRecipient},
	} {
		if got := providers.Classify(http.StatusBadRequest, c.words); got != c.want {
			t.Errorf("%q is %s, want %s", c.words, got, c.want)
		}
	}
}

func TestAmbiguousStatus(t *testing.T) {
	for status := 200; status < 600; status++ {
		gateway := status == 502 || status == 504
		if got := providers.AmbiguousStatus(status, true); got != gateway {
			t.Errorf("%d in the provider's form: ambiguous is %v, want %v", status, got, gateway)
		}
		if got := providers.AmbiguousStatus(status, false); got != (gateway || status == 500 || status >= 520 && status <= 529) {
			t.Errorf("%d in another form: ambiguous is %v", status, got)
		}
	}
}

func TestRefusal(t *testing.T) {
	err := providers.Refusal(http.StatusRequestEntityTooLarge, "too\r\nlarge")
	if err.Category != providers.TooLarge || !err.Local || err.ProviderCode != "413" || err.Message != "too large" {
		t.Errorf("413 is %+v, want too_large, local, on one line", err)
	}
	if err := providers.Refusal(http.StatusUnauthorized, "no"); err.Local {
		t.Errorf("401 is local: %+v", err)
	}
}

func TestWords(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		" a\tb\r\n\x00c\u0085d\u2028e ": "a b c d e",
		"bad \xff octet":                "bad ? octet",
		strings.Repeat("x", 600):        strings.Repeat("x", 512),
		strings.Repeat("x", 511) + "ü":  strings.Repeat("x", 511),
	} {
		if got := providers.Words(in); got != want || !utf8.ValidString(got) {
			t.Errorf("Words(%q) is %q, want %q", in, got, want)
		}
	}
}

// An answer may be a thousand times as long as what is kept of it.
func TestWordsPinsNothing(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	if unsafe.StringData(providers.Words(long)) == unsafe.StringData(long) {
		t.Error("the words are a part of the answer, not a copy")
	}
	if got := providers.Words(strings.Repeat(" ", 4<<10) + "late"); got != "" {
		t.Errorf("words beyond 4 KiB are read: %q", got)
	}
}

// What a text means stands at its beginning; the rest costs nothing.
func TestClassifyReadsTheBeginning(t *testing.T) {
	for blanks, want := range map[int]providers.Category{4000: providers.ContentRejected, 4 << 10: providers.Unknown} {
		if got := providers.Classify(http.StatusBadRequest, strings.Repeat(" ", blanks)+"spam"); got != want {
			t.Errorf("spam after %d blanks is %s, want %s", blanks, got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"120":                           2 * time.Minute,
		"-1":                            0,
		"soon":                          0,
		"99999999999999999999":          0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Fri, 02 Jan 2026 03:03:05 GMT": 0,
	} {
		got := providers.RetryAfter(providers.Response{Header: http.Header{"Retry-After": {value}}, Time: now})
		if got != want {
			t.Errorf("Retry-After %q is %v, want %v", value, got, want)
		}
	}
}

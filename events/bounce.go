package events

import (
	"regexp"
	"strings"
)

var (
	// quoted is what a server repeats of the mail: addresses, also with a local part
	// in quotes, and what else stands in quotes or angle brackets.
	quoted = regexp.MustCompile(`<[^>]*>|(?:"[^"]*"|[^\s<>"():;,]*)@[^\s<>"():;,]+|"[^"]*"`)
	// numbers are codes, addresses and versions alike.
	numbers = regexp.MustCompile(`\d+(?:\.\d+)*`)
	// enhanced is a status code of RFC 3463 that tells of a failure.
	enhanced = regexp.MustCompile(`^([45])\.(\d{1,3})\.\d{1,3}$`)
	// hardWords and hardCodes are those of the hard-bounce rule: whole words, and
	// whole numbers, which are no part of a version, a host or a name.
	hardWords = regexp.MustCompile(`\b(?:user\s+unknown|mailbox\s+unavailable|invalid\s+recipient|recipient\s+rejected|` +
		`domain\s+not\s+found)\b`)
	hardCodes = regexp.MustCompile(`(?:^|[^\pL\pN_.-])(?:550|551|553|554)(?:[^\pL\pN_.]|\.\s|\.?$)`)
)

// BounceOf is how final a bounce is, by the words of a server, where the provider
// gives no class of its own. An enhanced status code (RFC 3463) decides alone:
// 5.1.x is hard, any other soft (5.7.1 is policy, 5.2.2 a full mailbox).
func BounceOf(words ...string) Bounce {
	text := quoted.ReplaceAllString(strings.ToLower(strings.Join(words, " ")), " ")
	for _, number := range numbers.FindAllString(text, -1) {
		if code := enhanced.FindStringSubmatch(number); code != nil {
			if code[1] == "5" && code[2] == "1" {
				return Hard
			}
			return Soft
		}
	}
	if hardWords.MatchString(text) || hardCodes.MatchString(text) {
		return Hard
	}
	return Soft
}

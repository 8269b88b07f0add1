package events

import (
	"regexp"
	"strings"
)

var (
	// numbers are codes, addresses and versions alike.
	numbers = regexp.MustCompile(`\d+(?:\.\d+)*`)
	// enhanced is a status code of RFC 3463 that tells of a failure.
	enhanced = regexp.MustCompile(`^([45])\.(\d{1,3})\.\d{1,3}$`)
	// hardWords are those of the hard-bounce rule, as whole words and numbers.
	hardWords = regexp.MustCompile(`\b(?:user unknown|mailbox unavailable|invalid recipient|recipient rejected|` +
		`domain not found|550|551|553|554)\b`)
	// quoted is what a server repeats of the mail: addresses and what stands in quotes.
	quoted = regexp.MustCompile(`<[^>]*>|"[^"]*"|\S+@\S+`)
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
	if hardWords.MatchString(text) {
		return Hard
	}
	return Soft
}

package postmark

import (
	"strings"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// bounceDomain is where Postmark makes every mail bounce; elsewhere a bounce
// type means nothing (article 1239).
const bounceDomain = "@bounce-testing.postmarkapp.com"

// lossTracking: no message can switch open tracking off where its server has it
// on (manual, "Tracking opens per email").
const lossTracking = "open tracking off"

// settings are what X-PM-* says beyond the common model.
type settings struct {
	stream, bounceType string
	bounceOption       translate.Option
	// links are the bodies in which links are tracked, in Postmark's word.
	links string
}

func lostOptions(options []translate.Option) []string {
	_, lost := readOptions(options)
	return lost
}

// readOptions reads the options of our dialect, and names those that mean
// nothing or cannot be read.
func readOptions(options []translate.Option) (s settings, lost []string) {
	for _, option := range options {
		if option.Dialect != providerType || !s.read(option) {
			lost = append(lost, providers.OptionLoss(option))
		}
	}
	return s, lost
}

// read takes one option (manual, "Send email with SMTP"); a value that cannot be
// used leaves no trace.
func (s *settings) read(o translate.Option) bool {
	switch value := strings.TrimSpace(o.Value); strings.ToLower(o.Name) {
	case "x-pm-message-stream":
		if value != "" && !isStream(value) {
			return false
		}
		s.stream = value // a blank one is the default
	case "x-pm-bounce-type":
		if value == "" || strings.ContainsFunc(value, isNoWord) {
			return false
		}
		s.bounceType, s.bounceOption = value, o
	case "x-pm-tracklinks", "x-pm-track-links":
		return s.readLinks(value)
	default:
		return false
	}
	return true
}

func (s *settings) readLinks(value string) bool {
	for _, word := range [...]string{"HtmlOnly", "TextOnly"} {
		if strings.EqualFold(word, value) {
			s.links = word
			return true
		}
	}
	return false
}

// isNoWord: bounce types are written as HardBounce or hard_bounce.
func isNoWord(r rune) bool { return r != '_' && (r > 'z' || !isLetter(byte(r))) }

// lostDirectives: a bounce type is for test addresses alone, and a message that
// is tracked wherever it can be asks in vain not to be.
func lostDirectives(m *translate.Message) []string {
	var lost []string
	if m.Directives.TrackOpens == translate.Off && m.HTML != nil {
		lost = append(lost, lossTracking)
	}
	if s, _ := readOptions(m.Directives.Options); s.bounceType != "" && !bounces(m) {
		lost = append(lost, providers.OptionLoss(s.bounceOption))
	}
	return lost
}

// bounces reports that every recipient is a test address.
func bounces(m *translate.Message) bool {
	for _, recipient := range m.Envelope.Recipients {
		if !strings.HasSuffix(strings.ToLower(recipient), bounceDomain) {
			return false
		}
	}
	return true
}

package sendgrid

import (
	"slices"
	"strconv"
	"strings"

	"smtpbridge/translate"
)

// personalization is one copy of the mail: everybody in to and cc is mailed
// and shown, everybody in bcc is mailed.
type personalization struct {
	to, cc, bcc []translate.Address
}

// place is where a recipient is shown.
type place uint8

const (
	inTo place = iota
	inCc
	hidden
	// twin: its address differs from another's in case only, which the API
	// takes for a duplicate in one personalization.
	twin
)

type placed struct {
	translate.Address

	place place
}

// arrange divides the envelope into requests, and each request into
// personalizations. The header only says who is shown: its addresses outside
// the envelope are left out, for the API would mail them.
func arrange(m *translate.Message) [][]personalization {
	apart := m.Directives.Apart || len(m.Directives.Merges) > 0
	var requests [][]personalization
	for chunk := range slices.Chunk(places(m), maxRecipients) {
		requests = append(requests, personalize(chunk, apart))
	}
	return requests
}

// places lists the envelope recipients: those of To first, then those of Cc,
// then the others.
func places(m *translate.Message) []placed {
	left := make(map[string]string, len(m.Envelope.Recipients))
	for _, recipient := range slices.Backward(m.Envelope.Recipients) {
		left[strings.ToLower(recipient)] = recipient
	}
	list := make([]placed, 0, len(m.Envelope.Recipients))
	take := func(address translate.Address, in place) {
		key := strings.ToLower(address.Email)
		if recipient, ok := left[key]; ok {
			delete(left, key)
			list = append(list, placed{translate.Address{Name: address.Name, Email: recipient}, in})
		}
	}
	for _, address := range m.To {
		take(address, inTo)
	}
	for _, address := range m.Cc {
		take(address, inCc)
	}
	for _, recipient := range m.Envelope.Recipients {
		take(translate.Address{Email: recipient}, hidden)
	}
	return append(list, twins(m.Envelope.Recipients, list)...)
}

// twins are the recipients that are not in the list.
func twins(recipients []string, list []placed) []placed {
	if len(list) == len(recipients) {
		return nil
	}
	listed := make(map[string]bool, len(list))
	for _, p := range list {
		listed[p.Email] = true
	}
	var missing []placed
	for _, recipient := range recipients {
		if !listed[recipient] {
			missing = append(missing, placed{translate.Address{Email: recipient}, twin})
		}
	}
	return missing
}

// personalize gives every recipient of one request its copy. Each
// personalization needs somebody in to: where only Cc is there it takes that
// place, and those who are hidden from each other get one copy each.
func personalize(chunk []placed, apart bool) []personalization {
	var (
		shared personalization
		alone  []personalization
	)
	own := func(p placed) { alone = append(alone, personalization{to: []translate.Address{p.Address}}) }
	shown := chunk[0].place == inTo || chunk[0].place == inCc
	for _, p := range chunk {
		switch {
		case apart, p.place == twin, !shown:
			own(p)
		case p.place == hidden:
			shared.bcc = append(shared.bcc, p.Address)
		case p.place == inCc && chunk[0].place == inTo:
			shared.cc = append(shared.cc, p.Address)
		default:
			shared.to = append(shared.to, p.Address)
		}
	}
	if len(shared.to) > 0 {
		return append([]personalization{shared}, alone...)
	}
	return alone
}

// recipientsOf lists the envelope recipients of a request.
func recipientsOf(part []personalization) []string {
	var recipients []string
	for _, p := range part {
		for _, list := range [...][]translate.Address{p.to, p.cc, p.bcc} {
			for _, address := range list {
				recipients = append(recipients, address.Email)
			}
		}
	}
	return recipients
}

// locate reads the field of an error, "personalizations.0.to.1.email".
func locate(part []personalization, field string) (string, bool) {
	steps := strings.Split(field, ".")
	if len(steps) < 4 || steps[0] != "personalizations" {
		return "", false
	}
	n, err := strconv.Atoi(steps[1])
	if err != nil || n < 0 || n >= len(part) {
		return "", false
	}
	list, known := map[string][]translate.Address{"to": part[n].to, "cc": part[n].cc, "bcc": part[n].bcc}[steps[2]]
	at, err := strconv.Atoi(steps[3])
	if err != nil || !known || at < 0 || at >= len(list) {
		return "", false
	}
	return list[at].Email, true
}

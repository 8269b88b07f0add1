package providers

import (
	"slices"
	"strings"

	"smtpbridge/translate"
)

// Copy is one mail as a provider sends it: everybody in To and Cc is mailed and
// shown, everybody in Bcc is mailed. To is never empty.
type Copy struct {
	To, Cc, Bcc []translate.Address
}

// Recipients are all whom the copy is mailed to, as in the envelope.
func (c Copy) Recipients() []string {
	var recipients []string
	for _, list := range [...][]translate.Address{c.To, c.Cc, c.Bcc} {
		for _, address := range list {
			recipients = append(recipients, address.Email)
		}
	}
	return recipients
}

// Copies divides the envelope into groups of no more recipients than most, and
// each group into copies, for APIs that mail everybody whom they show. The header
// only says who is shown: its addresses outside the envelope are left out.
func Copies(m *translate.Message, most int) [][]Copy {
	apart := m.Directives.Apart || len(m.Directives.Merges) > 0
	var groups [][]Copy
	for chunk := range slices.Chunk(places(m), most) {
		groups = append(groups, arrange(chunk, apart))
	}
	return groups
}

// place is where a recipient is shown.
type place uint8

const (
	inTo place = iota
	inCc
	hidden
	// twin: its address differs from another's in case only, which APIs take for
	// a duplicate in one copy.
	twin
)

type placed struct {
	translate.Address

	place place
}

// places lists the envelope recipients: those of To first, then those of Cc,
// then the others.
func places(m *translate.Message) []placed {
	left := make(map[string]string)
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

// arrange gives every recipient of a group its copy. Each copy needs somebody in
// To: where only Cc is there it takes that place, and those who are hidden from
// each other get one copy each.
func arrange(chunk []placed, apart bool) []Copy {
	var (
		shared Copy
		alone  []Copy
	)
	own := func(p placed) { alone = append(alone, Copy{To: []translate.Address{p.Address}}) }
	shown := chunk[0].place == inTo || chunk[0].place == inCc
	for _, p := range chunk {
		switch {
		case apart, p.place == twin, !shown:
			own(p)
		case p.place == hidden:
			shared.Bcc = append(shared.Bcc, p.Address)
		case p.place == inCc && chunk[0].place == inTo:
			shared.Cc = append(shared.Cc, p.Address)
		default:
			shared.To = append(shared.To, p.Address)
		}
	}
	if len(shared.To) > 0 {
		return append([]Copy{shared}, alone...)
	}
	return alone
}

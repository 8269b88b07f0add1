package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"smtpbridge/providers"
)

// result is what is known of one recipient of a message.
type result struct {
	providers.Result

	// inherited: it was taken over from the message that this one continues, and
	// was not sent to again.
	inherited bool
}

// Outcomes are kept in a form of our own, a fifth of the time and half of the
// size of JSON: a version, the number of recipients, and for each the address,
// flags, and what they announce. Texts have their length before them. What
// follows is room to grow: a row that keeps its size is changed in place.
const outcomeVersion = 1

// roomBytes is what a provider's name and id usually need.
const roomBytes = 72

const (
	stateMask    = 0x03
	inheritedBit = 0x04
	sameProvider = 0x08 // as the recipient before
	sameID       = 0x10
	hasError     = 0x20
	sameError    = 0x40
	localBit     = 0x80
)

// encodeOutcome appends at least so many octets to an empty b. Of errors it keeps
// category, Local and words.
func encodeOutcome(b []byte, results []result, least int) []byte {
	b = append(b, outcomeVersion)
	b = binary.AppendUvarint(b, uint64(len(results)))
	var before providers.Result
	for _, r := range results {
		b = appendText(b, r.Recipient)
		flags := flagsOf(r, before)
		b = append(b, flags)
		if flags&sameProvider == 0 {
			b = appendText(b, r.Provider)
		}
		if flags&sameID == 0 {
			b = appendText(b, r.ProviderID)
		}
		if flags&(hasError|sameError) == hasError {
			b = appendText(b, string(r.Err.Category))
			b = appendText(b, r.Err.Message)
		}
		before = r.Result
	}
	for len(b) < least {
		b = append(b, 0)
	}
	return b
}

// encodedBytes is about what the results take.
func encodedBytes(results []result) int {
	n := 0
	for _, r := range results {
		n += 5 + len(r.Recipient) + len(r.Provider) + len(r.ProviderID)
		if r.Err != nil {
			n += 3 + len(r.Err.Category) + len(r.Err.Message)
		}
	}
	return n
}

func flagsOf(r result, before providers.Result) byte {
	flags := byte(r.State) & stateMask
	if r.inherited {
		flags |= inheritedBit
	}
	if r.Provider == before.Provider {
		flags |= sameProvider
	}
	if r.ProviderID == before.ProviderID {
		flags |= sameID
	}
	if r.Err == nil {
		return flags
	}
	flags |= hasError
	if r.Err.Local {
		flags |= localBit
	}
	if b := before.Err; b != nil && b.Category == r.Err.Category && b.Message == r.Err.Message && b.Local == r.Err.Local {
		flags |= sameError
	}
	return flags
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// errOutcome says that an outcome cannot be read.
var errOutcome = errors.New("the outcome on record cannot be read")

// decodeOutcome reads what encodeOutcome wrote.
func decodeOutcome(b []byte) ([]result, error) {
	d := decoder{rest: string(b)}
	if version := d.octet(); version != outcomeVersion {
		return nil, fmt.Errorf("%w: version %d", errOutcome, version)
	}
	n := d.number()
	if n > uint64(len(b)) {
		return nil, fmt.Errorf("%w: %d recipients in %d octets", errOutcome, n, len(b))
	}
	results := make([]result, n)
	var before providers.Result
	for i := range results {
		results[i] = d.result(before)
		before = results[i].Result
	}
	if d.broken {
		return nil, fmt.Errorf("%w: it ends early", errOutcome)
	}
	return results, nil
}

// decoder reads texts and numbers; once one is not whole, nothing is.
type decoder struct {
	rest   string
	broken bool
}

func (d *decoder) result(before providers.Result) result {
	var r result
	r.Recipient = d.text()
	flags := d.octet()
	r.State = providers.State(flags & stateMask)
	r.inherited = flags&inheritedBit != 0
	r.Provider, r.ProviderID = before.Provider, before.ProviderID
	if flags&sameProvider == 0 {
		r.Provider = d.text()
	}
	if flags&sameID == 0 {
		r.ProviderID = d.text()
	}
	switch {
	case flags&hasError == 0:
	case flags&sameError != 0:
		r.Err = before.Err
	default:
		r.Err = &providers.Error{Local: flags&localBit != 0}
		r.Err.Category = providers.Category(d.text())
		r.Err.Message = d.text()
	}
	return r
}

func (d *decoder) octet() byte {
	text := d.take(1)
	if text == "" {
		return 0
	}
	return text[0]
}

func (d *decoder) number() uint64 {
	var n uint64
	for shift := 0; shift < 63; shift += 7 {
		octet := d.octet()
		n |= uint64(octet&0x7f) << shift
		if octet < 0x80 {
			return n
		}
	}
	d.broken = true
	return 0
}

func (d *decoder) text() string { return d.take(d.number()) }

func (d *decoder) take(n uint64) string {
	if n > uint64(len(d.rest)) {
		d.broken, d.rest = true, ""
		return ""
	}
	text := d.rest[:n]
	d.rest = d.rest[n:]
	return text
}

// learn takes in what became of recipients: only what was ambiguous changes. All
// must be known.
func learn(results []result, outcome providers.Outcome) error {
	places := make([]int, len(outcome))
	next := 0
	for i := range outcome {
		places[i] = place(results, outcome[i].Recipient, next)
		if places[i] < 0 {
			return fmt.Errorf("%s is no recipient of the message", outcome[i].Recipient)
		}
		next = places[i] + 1
	}
	for i, at := range places {
		if results[at].State == providers.Ambiguous {
			results[at].Result = outcome[i]
		}
	}
	return nil
}

// place finds a recipient, in the order of the envelope from a place on.
func place(results []result, recipient string, from int) int {
	is := func(r result) bool { return r.Recipient == recipient }
	if at := slices.IndexFunc(results[min(from, len(results)):], is); at >= 0 {
		return from + at
	}
	return slices.IndexFunc(results, is)
}

func anyAmbiguous(results []result) bool {
	return slices.ContainsFunc(results, func(r result) bool { return r.State == providers.Ambiguous })
}

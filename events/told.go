package events

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Most of what an event keeps of a text, in octets. A tag may have as many
// characters as the provider with the longest ones takes, 1,000.
const (
	MaxWord = 512 // an id, an address, a name
	MaxURL  = 2 << 10
	MaxTag  = 4 << 10
)

// Text is what a provider tells in one field: a string, or a number or a boolean
// as it is written, for the same field is not always of the same kind. Anything
// else says nothing.
type Text string

// UnmarshalJSON never fails: one field that cannot be read is no reason to lose
// the others.
func (t *Text) UnmarshalJSON(raw []byte) error {
	var s string
	switch {
	case len(raw) == 0 || raw[0] == '{' || raw[0] == '[':
	case json.Unmarshal(raw, &s) == nil:
		*t = Text(s)
	default:
		*t = Text(raw)
	}
	return nil
}

// Count is a number from 0 on; 0 where the text is none.
func (t Text) Count() int {
	n, err := strconv.ParseUint(string(t), 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

// List gives the first elements of an array; what is no array is its only one. An
// array of a call may have millions.
func List(raw json.RawMessage, most int) []json.RawMessage {
	if !bytes.HasPrefix(raw, []byte("[")) {
		return []json.RawMessage{raw}
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if _, err := decoder.Token(); err != nil {
		return nil
	}
	var list []json.RawMessage
	for len(list) < most && decoder.More() {
		var element json.RawMessage
		if decoder.Decode(&element) != nil {
			break
		}
		list = append(list, element)
	}
	return list
}

// Clip is a text on one line of at most so many octets, no rune of which is cut.
// It shares no memory with the call that it is from.
func Clip(s string, most int) string {
	s = strings.ToValidUTF8(s[:min(len(s), most)], "")
	return strings.Clone(strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)))
}

// Metadata are the pairs of a message in the order of their names, as many as fit
// into so many octets.
func Metadata(pairs map[string]string, room int) map[string]string {
	own := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		if room -= len(name) + len(pairs[name]); room < 0 {
			break
		}
		if name != "" {
			own[Clip(name, len(name))] = Clip(pairs[name], len(pairs[name]))
		}
	}
	return own
}

// Trial is the reason of an event that a provider makes up to try a webhook. It is
// [Unknown]: kept and shown, so that whoever set it up sees it arrive, but it
// counts as no complaint, and suppresses nobody.
func Trial(kind string) string {
	return "a trial of the webhook: " + Clip(kind, MaxWord-len("a trial of the webhook: "))
}

// layouts of a time. A fraction of a second may follow in all; without a zone it
// is UTC.
var layouts = []string{
	time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", time.DateTime,
	"2006-01-02T15:04:05 -0700", "2006-01-02T15:04:05-0700",
}

// Time reads the notations of a date that providers have, in UTC. It is zero for
// what is none, for what lies before 1970, as an empty field of .NET does, and for
// what JSON has no form for (RFC 3339: years of four digits).
func Time(text string) time.Time {
	for _, layout := range layouts {
		if at, err := time.Parse(layout, text); err == nil {
			if at = at.UTC(); at.Year() >= 1970 && at.Year() <= 9999 {
				return at
			}
		}
	}
	return time.Time{}
}

const (
	// firstMilli is where a number is of milliseconds: as seconds it is of the year 5138.
	firstMilli = 1e11
	// lastSecond of the year 9999.
	lastSecond = 253_402_300_799
)

// UnixTime reads seconds of the Unix epoch, or milliseconds; it is zero for what is
// neither.
func UnixTime(text string) time.Time {
	seconds, err := strconv.ParseFloat(text, 64)
	if seconds >= firstMilli {
		seconds /= 1000
	}
	if err != nil || !(seconds > 0 && seconds <= lastSecond) {
		return time.Time{}
	}
	return time.UnixMicro(int64(math.Round(seconds * 1e6))).UTC()
}

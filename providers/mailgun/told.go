package mailgun

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"smtpbridge/providers"
)

const (
	// maxToldTags of one event: other senders of the domain may set more than we.
	maxToldTags = 50
	// maxToldBytes of an event's variables, which Mailgun cuts beyond 4 kB.
	maxToldBytes = 16 << 10
	// lastSecond of the year 9999, the last that JSON has a form for (RFC 3339).
	lastSecond = 253_402_300_799
)

// moment reads seconds of the Unix epoch, to the microsecond; it is zero where
// there are none.
func moment(text string) time.Time {
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds > 0 && seconds <= lastSecond) {
		return time.Time{}
	}
	return time.UnixMicro(int64(math.Round(seconds * 1e6))).UTC()
}

// scalar is a string, a number or a boolean as text; anything else says nothing.
type scalar string

// UnmarshalJSON never fails.
func (s *scalar) UnmarshalJSON(raw []byte) error {
	var text string
	switch {
	case json.Unmarshal(raw, &text) == nil:
		*s = scalar(text)
	case raw[0] != '{' && raw[0] != '[':
		*s = scalar(raw)
	}
	return nil
}

// words is a list of texts, or one.
type words []string

// UnmarshalJSON never fails.
func (w *words) UnmarshalJSON(raw []byte) error {
	var several []lenient
	if json.Unmarshal(raw, &several) != nil {
		several = make([]lenient, 1)
		several[0].UnmarshalJSON(raw) //nolint:errcheck // it never fails
	}
	for _, word := range several[:min(len(several), maxToldTags)] {
		if word := clip(string(word), maxTagLen); word != "" {
			*w = append(*w, word)
		}
	}
	return nil
}

// variables are an object; an empty array where there are none; and a text that
// breaks off where they were cut.
type variables map[string]string

// UnmarshalJSON never fails: the pairs that are whole are read.
func (v *variables) UnmarshalJSON(raw []byte) error {
	var cut string
	if json.Unmarshal(raw, &cut) == nil {
		raw = []byte(cut)
	}
	*v = readPairs(raw)
	return nil
}

func readPairs(object []byte) variables {
	decoder := json.NewDecoder(bytes.NewReader(object))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return nil
	}
	pairs := make(variables)
	for decoder.More() {
		name, err := decoder.Token()
		key, ok := name.(string)
		var value json.RawMessage
		if err != nil || !ok || decoder.Decode(&value) != nil {
			break
		}
		pairs[key] = plain(value)
	}
	return pairs
}

// plain is a value as text: objects and arrays as JSON.
func plain(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) == nil {
		return s
	}
	return string(value)
}

// metadata are the application's own variables, as many as have room.
func (v variables) metadata() map[string]string {
	pairs := make(map[string]string)
	room := maxToldBytes
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if name == "" || name == providers.BridgeIDKey {
			continue
		}
		if room -= len(name) + len(v[name]); room < 0 {
			break
		}
		pairs[providers.OneLine(name)] = providers.OneLine(v[name])
	}
	return pairs
}

// clip is one line of at most so many octets, no rune of which is cut.
func clip(s string, most int) string {
	return strings.Clone(providers.OneLine(strings.ToValidUTF8(s[:min(len(s), most)], "")))
}

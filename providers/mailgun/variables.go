package mailgun

import (
	"bytes"
	"encoding/json"
	"maps"

	"smtpbridge/events"
	"smtpbridge/providers"
)

const (
	// maxToldTags of one event: other senders of the domain may set more than we.
	maxToldTags = 50
	// maxToldBytes of an event's variables, which Mailgun cuts beyond 4 kB; what is
	// longer than maxVariablesLen, in octets, is not read.
	maxToldBytes    = 16 << 10
	maxVariablesLen = 256 << 10
)

// words is a list of texts, or one.
type words []string

// UnmarshalJSON never fails.
func (w *words) UnmarshalJSON(raw []byte) error {
	for _, element := range events.List(raw, maxToldTags) {
		var word events.Text
		word.UnmarshalJSON(element) //nolint:errcheck // it never fails
		if word := events.Clip(string(word), maxTagLen); word != "" {
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
	if len(raw) > maxVariablesLen {
		return nil
	}
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

// metadata are the application's own variables.
func (v variables) metadata() map[string]string {
	own := maps.Clone(v)
	delete(own, providers.BridgeIDKey)
	return events.Metadata(own, maxToldBytes)
}

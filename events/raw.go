package events

import (
	"bytes"
	"encoding/json"
	"fmt"
)

const (
	// maxRawDepth of what an event carries as it came, in levels. It stands inside
	// the JSON of events and of lists of them, and encoding/json ends at 10,000.
	maxRawDepth = 100
	// maxRawShared is how much the events of one call may carry that all have the
	// same, in octets: in memory they share it, in a store each has its own.
	maxRawShared = 16 << 20
)

// elsewhere stands for what would be too much for each.
var elsewhere = json.RawMessage(`"as in the first event of the same call"`)

// Raw is what a provider wrote as [Event.Raw]: itself where it is JSON of sensible
// depth, else a text.
func Raw(told []byte) json.RawMessage {
	raw := bytes.ToValidUTF8(told, []byte("\uFFFD"))
	if json.Valid(raw) && depth(raw) <= maxRawDepth {
		return raw
	}
	quoted, err := json.Marshal(string(raw))
	if err != nil {
		return json.RawMessage(`""`)
	}
	return quoted
}

// Compact is a call that is JSON of any form, without the blanks between its
// tokens, so that it is the same however it is written. It shares no memory with
// the call. The error wraps [ErrMalformed].
func Compact(body []byte) (json.RawMessage, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, bytes.ToValidUTF8(body, []byte("\uFFFD"))); err != nil {
		return nil, fmt.Errorf("%w: the body is no JSON: %w", ErrMalformed, err)
	}
	return compact.Bytes(), nil
}

// ShareRaw gives the events of one call what the provider wrote of all of them.
// Where that would be too much, only the first has it.
func ShareRaw(list []Event, raw json.RawMessage) {
	for i := range list {
		if list[i].Raw = raw; i > 0 && len(raw) > maxRawShared/len(list) {
			list[i].Raw = elsewhere
		}
	}
}

// depth of valid JSON: how many arrays and objects stand in each other.
func depth(text []byte) (deepest int) {
	level, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			level++
			deepest = max(deepest, level)
		case c == ']' || c == '}':
			level--
		}
	}
	return deepest
}

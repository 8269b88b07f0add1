package smtp2go

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"smtpbridge/events"
)

const (
	// maxFaults is how many faults of one answer count, maxFailures how many
	// failures: there is one of each.
	maxFaults   = 100
	maxFailures = 10
	// maxCitations of one message are looked at.
	maxCitations = 100
	// maxText is how much of a text is looked at, in octets.
	maxText = 4 << 10
)

// answer is what the API says of a mail. The zero value says nothing.
type answer struct {
	code, text         string
	faults             []fault
	failures           []string
	succeeded          int64
	failed, countsNone bool // failed is not 0; succeeded is 0
	emailID            string
	scheduleID         string
	requestID          string
}

// fault is an error of one field of the request.
type fault struct{ field, message string }

// fields are those of the answer, and of the object data in it, as they came:
// one of a wrong type must not keep the others from being read.
type fields struct {
	RequestID  json.RawMessage `json:"request_id"`
	Data       json.RawMessage `json:"data"`
	Error      json.RawMessage `json:"error"`
	ErrorCode  json.RawMessage `json:"error_code"`
	Faults     json.RawMessage `json:"field_validation_errors"`
	Succeeded  json.RawMessage `json:"succeeded"`
	Failed     json.RawMessage `json:"failed"`
	Failures   json.RawMessage `json:"failures"`
	EmailID    json.RawMessage `json:"email_id"`
	ScheduleID json.RawMessage `json:"schedule_id"`
}

// readAnswer reads errors where the description of the API has them, in data,
// and where its manual shows them, beside it; of a success only the former.
func readAnswer(body []byte) answer {
	var root, data fields
	if json.Unmarshal(body, &root) != nil {
		return answer{}
	}
	if json.Unmarshal(root.Data, &data) != nil {
		data = fields{}
	}
	s := answer{
		code:       text(either(data.ErrorCode, root.ErrorCode)),
		text:       text(either(data.Error, root.Error)),
		faults:     readFaults(either(data.Faults, root.Faults)),
		failures:   readTexts(data.Failures, maxFailures),
		emailID:    readID(data.EmailID),
		scheduleID: readID(data.ScheduleID),
		requestID:  readID(root.RequestID),
	}
	if given(data.Succeeded) {
		n, err := strconv.ParseInt(string(data.Succeeded), 10, 64)
		s.succeeded, s.countsNone = n, err == nil && n == 0
	}
	s.failed = given(data.Failed) && string(data.Failed) != "0"
	return s
}

func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

func either(first, second json.RawMessage) json.RawMessage {
	if given(first) {
		return first
	}
	return second
}

// readID gives nothing for what is no text.
func readID(raw json.RawMessage) string {
	var id string
	if json.Unmarshal(raw, &id) != nil {
		return ""
	}
	return short(strings.TrimSpace(id))
}

// text is the value of a string, or the JSON of anything else that says something.
func text(raw json.RawMessage) string {
	var s string
	switch {
	case json.Unmarshal(raw, &s) == nil:
		return short(strings.TrimSpace(s))
	case !given(raw) || string(raw) == "false":
		return ""
	}
	return short(string(raw))
}

func short(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxText)], "") }

// readTexts reads a list, or what stands in the place of one.
func readTexts(raw json.RawMessage, most int) []string {
	var texts []string
	for _, element := range events.List(raw, most) {
		if words := text(element); words != "" {
			texts = append(texts, words)
		}
	}
	return texts
}

// readFaults reads one fault or a list of them. One is {"fieldname": …,
// "message": …}, or, as some libraries expect it, {"<field>": "<message>"}.
func readFaults(raw json.RawMessage) []fault {
	var faults []fault
	for _, element := range events.List(raw, maxFaults) {
		var one struct {
			FieldName json.RawMessage `json:"fieldname"`
			Field     json.RawMessage `json:"field"`
			Message   json.RawMessage `json:"message"`
		}
		var byField map[string]json.RawMessage
		switch {
		case json.Unmarshal(element, &one) == nil && given(either(one.FieldName, one.Field)):
			faults = append(faults, newFault(text(either(one.FieldName, one.Field)), text(one.Message)))
		case json.Unmarshal(element, &byField) == nil && given(one.Message):
			faults = append(faults, newFault("", text(one.Message)))
		case len(byField) > 0:
			for _, name := range slices.Sorted(maps.Keys(byField)) {
				for _, message := range readTexts(byField[name], maxFaults) {
					faults = append(faults, newFault(name, message))
				}
			}
		case text(element) != "" && byField == nil:
			faults = append(faults, newFault("", text(element)))
		}
	}
	return faults[:min(len(faults), maxFaults)]
}

// newFault names the field without what leads to a place in it: "to[3]", "to.3".
func newFault(field, message string) fault {
	name, _, _ := strings.Cut(strings.ToLower(field), ".")
	name, _, _ = strings.Cut(name, "[")
	return fault{short(name), message}
}

// A message cites what it is about. That says nothing about the cause, and
// nothing else says which recipient it is.
var (
	citation = regexp.MustCompile(`"[^"]*"|(?:^|[\s(:=\[,])'[^']*'|<[^<>]*>|\S+@\S+`)
	// found is how the API cites a value: "… but found 'a@b', Please correct …".
	found = regexp.MustCompile(`(?is)\bfound '(.*)'`)
	// address is what may be one of those that a message cites in other ways.
	address = regexp.MustCompile(`'[^']*'|"[^"]*"|<[^<>]*>|[^\s'"<>,;:()\[\]]+@[^\s'"<>,;:()\[\]]+`)
)

func unquoted(message string) string { return citation.ReplaceAllString(message, " ") }

// named are those of the recipients that a message cites alone. Who cites
// several says the request back, and names nobody.
func (s answer) named(recipients []string) map[string]bool {
	byAddress := make(map[string]string, len(recipients))
	for _, recipient := range recipients {
		byAddress[strings.ToLower(recipient)] = recipient
	}
	named := make(map[string]bool)
	for _, message := range s.aboutRecipients() {
		cited := make(map[string]bool)
		for _, value := range citations(message) {
			if recipient, ok := byAddress[bare(value)]; ok {
				cited[recipient] = true
			}
		}
		if len(cited) == 1 {
			maps.Copy(named, cited)
		}
	}
	return named
}

func citations(message string) []string {
	if value := found.FindStringSubmatch(message); value != nil {
		return value[1:]
	}
	return address.FindAllString(message, maxCitations)
}

func (s answer) aboutRecipients() []string {
	var messages []string
	for _, f := range s.faults {
		if f.field == "to" || f.field == "cc" || f.field == "bcc" {
			messages = append(messages, f.message)
		}
	}
	if len(messages) > 0 {
		return messages
	}
	return append(slices.Clone(s.failures), s.text)
}

// bare is the address alone, lower-cased: of Name <a@b>, of what stands in
// quotes or at the end of a sentence.
func bare(value string) string {
	value = strings.Trim(value, "'")
	if open := strings.LastIndexByte(value, '<'); open >= 0 && strings.HasSuffix(value, ">") {
		value = value[open+1 : len(value)-1]
	}
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return strings.ToLower(strings.TrimRight(value, "."))
}

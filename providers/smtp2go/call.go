package smtp2go

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"smtpbridge/events"
)

const (
	// maxTold recipients of one mail: as many as to, cc and bcc take.
	maxTold = 3 * maxRecipients
	// maxListLen of them in one text, in octets.
	maxListLen = maxTold * 2 * 320
	// maxPairs of a form or an object.
	maxPairs = 1000
)

// call is what one call says (manual, "Webhooks overview").
type call struct {
	// fields are the values of those that matter here, by their fieldName.
	fields map[string][]string
	// raw is all of it as JSON.
	raw json.RawMessage
}

// toldFields are those that matter. Headers that the webhook is to give back
// stand beside the others, in what spelling is not documented; or in headers.
var toldFields = append(strings.Fields(`event bounce time email-id rcpt recipients message context url click-url link
	user-agent srchost message-id headers`), fieldName(bridgeHeader))

// fieldName is the same for the spellings that occur: email_id, user-agent,
// X-Bridge-Id, recipients[], recipients[0].
func fieldName(name string) string {
	name, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(name)), "[")
	return strings.ReplaceAll(name, "_", "-")
}

// first is the first value that says something.
func (c *call) first(name string) string {
	for _, value := range c.fields[fieldName(name)] {
		if value = strings.TrimSpace(value); value != "" {
			return value
		}
	}
	return ""
}

func (c *call) add(name, value string) {
	if values := c.fields[name]; len(values) < maxTold {
		c.fields[name] = append(values, value)
	}
}

// readJSON takes JSON of any form: what is no object has no fields.
func readJSON(body []byte) (*call, error) {
	raw, err := events.Compact(body)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what is wrong with the call
	}
	c := &call{fields: make(map[string][]string), raw: raw}
	c.readObject(c.raw, toldFields)
	return c, nil
}

// readObject reads the wanted members of an object one after the other, of as many
// as a form may have.
func (c *call) readObject(object []byte, wanted []string) {
	decoder := json.NewDecoder(bytes.NewReader(object))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return
	}
	for n := 0; n < maxPairs && decoder.More(); n++ {
		key, err := decoder.Token()
		name, isName := key.(string)
		var value json.RawMessage
		if err != nil || !isName || decoder.Decode(&value) != nil {
			return
		}
		switch name = fieldName(name); {
		case !slices.Contains(wanted, name):
		case name == "headers":
			c.readObject(value, []string{fieldName(bridgeHeader)})
		default:
			c.addAll(name, value)
		}
	}
}

// addAll adds a text, or the elements of a list of them.
func (c *call) addAll(name string, value json.RawMessage) {
	for _, element := range events.List(value, maxTold) {
		var text events.Text
		text.UnmarshalJSON(element) //nolint:errcheck // it never fails
		c.add(name, string(text))
	}
}

// readForm takes a form as browsers write it. A semicolon is a character like
// others: user agents have some.
func readForm(body []byte) (*call, error) {
	if !bytes.Contains(body, []byte("=")) || bytes.ContainsFunc(body, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`<>"`, r) }) {
		return nil, fmt.Errorf("%w: the body is neither a form nor JSON", events.ErrMalformed)
	}
	if bytes.Count(body, []byte("&")) >= maxPairs {
		return nil, fmt.Errorf("%w: the form has more than %d fields", events.ErrMalformed, maxPairs)
	}
	c, all := &call{fields: make(map[string][]string)}, make(map[string][]string)
	for pair := range strings.SplitSeq(string(body), "&") {
		name, value, err := readPair(pair)
		if err != nil {
			return nil, err
		}
		if name == "" && value == "" {
			continue // nothing stood between two separators
		}
		all[name] = append(all[name], value)
		if field := fieldName(name); slices.Contains(toldFields, field) {
			c.add(field, value)
		}
	}
	var err error
	c.raw, err = json.Marshal(flat(all))
	return c, err
}

func readPair(pair string) (name, value string, err error) {
	name, value, _ = strings.Cut(pair, "=")
	for _, part := range [...]*string{&name, &value} {
		if *part, err = url.QueryUnescape(*part); err != nil {
			return "", "", fmt.Errorf("%w: the form is cut or badly escaped", events.ErrMalformed)
		}
		*part = strings.ToValidUTF8(*part, "\uFFFD")
	}
	return name, value, nil
}

// flat has a text for each field, and a list for those that stand there several
// times.
func flat(form map[string][]string) map[string]any {
	object := make(map[string]any, len(form))
	for name, values := range form {
		if object[name] = values; len(values) == 1 {
			object[name] = values[0]
		}
	}
	return object
}

// recipients are whom the call is about; one who is empty where it names nobody.
// Only a mail that was just taken has several, in a form as one text perhaps.
func (c *call) recipients() []string {
	if one := c.first("rcpt"); one != "" {
		return []string{one}
	}
	several := c.fields["recipients"]
	if len(several) == 1 {
		several = splitList(several[0])
	}
	var list []string
	for _, recipient := range several[:min(len(several), maxTold)] {
		if recipient = strings.TrimSpace(recipient); recipient != "" {
			list = append(list, recipient)
		}
	}
	if len(list) == 0 {
		return []string{""}
	}
	return list
}

// splitList reads a list as JSON, or with commas, which may stand in quotes too.
func splitList(list string) []string {
	list = list[:min(len(list), maxListLen)]
	var several []string
	if json.Unmarshal([]byte(list), &several) == nil {
		return several
	}
	quoted := false
	return strings.FieldsFunc(list, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ',' && !quoted
	})
}

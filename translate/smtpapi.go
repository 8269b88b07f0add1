package translate

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// smtpAPI is SendGrid's X-SMTPAPI header (its manual, "Building an X-SMTPAPI header").
type smtpAPI struct {
	To          []string                     `json:"to"`
	Sub         map[string][]json.RawMessage `json:"sub"`
	Category    json.RawMessage              `json:"category"`
	UniqueArgs  json.RawMessage              `json:"unique_args"`
	SendAt      json.RawMessage              `json:"send_at"`
	SendEachAt  []json.RawMessage            `json:"send_each_at"`
	Filters     map[string]filter            `json:"filters"`
	Section     json.RawMessage              `json:"section"`
	BatchID     json.RawMessage              `json:"batch_id"`
	GroupID     json.RawMessage              `json:"asm_group_id"`
	GroupsShown json.RawMessage              `json:"asm_groups_to_display"`
	Pool        json.RawMessage              `json:"ip_pool"`
}

type filter struct {
	Settings map[string]json.RawMessage `json:"settings"`
}

// sendgrid reads the header; who receives is settled when the envelope is compared.
func (d *directiveReader) sendgrid(f field) error {
	d.smtp = &smtpAPI{}
	if err := json.Unmarshal([]byte(f.raw()), d.smtp); err != nil {
		return fmt.Errorf("it is not the JSON that SendGrid takes: %w", err)
	}
	to := &d.m.Directives
	tags, err := d.smtp.categories()
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if err := d.tag(tag); err != nil {
			return err
		}
	}
	if given(d.smtp.UniqueArgs) {
		args, err := parseStrings(string(d.smtp.UniqueArgs))
		if err != nil {
			return fmt.Errorf("unique_args: %w", err)
		}
		for key, value := range args {
			to.addMetadata(key, value)
		}
	}
	if to.SendAt, err = d.smtp.sendAt(to.SendAt); err != nil {
		return err
	}
	d.smtp.options(to)
	return d.smtp.filters(to)
}

// categories: a string or a list of them.
func (a *smtpAPI) categories() ([]string, error) {
	if !given(a.Category) {
		return nil, nil
	}
	var one string
	if json.Unmarshal(a.Category, &one) == nil {
		return []string{one}, nil
	}
	var many []string
	if err := json.Unmarshal(a.Category, &many); err != nil {
		return nil, errors.New("category is neither a string nor a list of strings")
	}
	return many, nil
}

// sendAt reads send_at, and send_each_at where it gives one time for all.
func (a *smtpAPI) sendAt(already time.Time) (time.Time, error) {
	raw := a.SendAt
	for i, each := range a.SendEachAt {
		if i > 0 && string(each) != string(a.SendEachAt[0]) {
			return already, errors.New("send_each_at with several times is not supported; use send_at, or send one mail per time")
		}
		raw = each
	}
	if !given(raw) || !already.IsZero() {
		return already, nil
	}
	return parseSendAt(jsonText(raw))
}

// options are the settings that only SendGrid understands.
func (a *smtpAPI) options(to *Directives) {
	for _, o := range [...]struct {
		name  string
		value json.RawMessage
	}{
		{"asm_group_id", a.GroupID},
		{"asm_groups_to_display", a.GroupsShown},
		{"ip_pool", a.Pool},
		{"batch_id", a.BatchID},
	} {
		if given(o.value) {
			to.Options = append(to.Options, Option{Dialect: dialectSendGrid, Name: o.name, Value: string(o.value)})
		}
	}
	if given(a.Section) { // SendGrid took sections out: nobody understands them
		to.Options = append(to.Options, Option{Name: "X-SMTPAPI section", Value: string(a.Section)})
	}
}

// filters: tracking is everybody's, the rest SendGrid's own.
func (a *smtpAPI) filters(to *Directives) (err error) {
	for _, name := range slices.Sorted(maps.Keys(a.Filters)) {
		settings := a.Filters[name].Settings
		switch name {
		case "opentrack":
			err = setSwitch(&to.TrackOpens, settings["enable"])
		case "clicktrack":
			err = setSwitch(&to.TrackClicks, settings["enable"])
		case "bcc", "spamcheck": // SendGrid took them out; bcc would add a recipient
			to.Options = append(to.Options, Option{Name: "X-SMTPAPI filters." + name})
			continue
		}
		if err != nil {
			return fmt.Errorf("filters.%s: %w", name, err)
		}
		if _, onlyEnable := settings["enable"]; isTracking(name) && (len(settings) == 0 || onlyEnable && len(settings) == 1) {
			continue
		}
		text, err := json.Marshal(settings)
		if err != nil {
			return fmt.Errorf("filters.%s: %w", name, err)
		}
		to.Options = append(to.Options, Option{Dialect: dialectSendGrid, Name: "filters." + name, Value: string(text)})
	}
	return nil
}

func isTracking(filter string) bool { return filter == "opentrack" || filter == "clicktrack" }

// given: programs write null for what they leave out.
func given(raw json.RawMessage) bool { return raw != nil && string(raw) != "null" }

func setSwitch(to *Switch, raw json.RawMessage) error {
	if !given(raw) || *to != Unset {
		return nil
	}
	value, err := parseSwitch(jsonText(raw))
	if err != nil {
		return err
	}
	*to = value
	return nil
}

// recipients compares to with the envelope: a dialect never adds recipients.
// With to, every recipient sees only itself, and gets its own substitutions.
func (a *smtpAPI) recipients(m *Message) error {
	to := make([]string, 0, len(a.To))
	for _, text := range a.To {
		address, ok := parseAddress(text)
		if !ok {
			return fmt.Errorf("to: %q is not an address", text)
		}
		recipient, ok := m.Envelope.find(address.Email)
		if !ok {
			return fmt.Errorf("to: %s is not a recipient of the envelope; give every recipient by RCPT TO", address.Email)
		}
		to = append(to, recipient)
	}
	if len(to) > 0 {
		m.Directives.Apart = true
	} else {
		to = m.Envelope.Recipients
	}
	for _, tag := range slices.Sorted(maps.Keys(a.Sub)) {
		values := a.Sub[tag]
		merge := Merge{Dialect: dialectSendGrid, Tag: tag, Values: make(map[string]string, len(to))}
		if len(values) != len(to) {
			return fmt.Errorf("sub: %q has %d values for %d recipients", tag, len(values), len(to))
		}
		for i, recipient := range to {
			merge.Values[recipient] = jsonText(values[i])
		}
		// Somebody would read the tag itself, or one of two texts be lost.
		if n := len(merge.Values); n != len(to) || n != len(m.Envelope.Recipients) {
			return errors.New("sub: to must have every recipient of the envelope, each once")
		}
		m.Directives.Merges = append(m.Directives.Merges, merge)
	}
	return nil
}

// find gives the recipient as it stands in the envelope.
func (e Envelope) find(address string) (string, bool) {
	for _, recipient := range e.Recipients {
		if strings.EqualFold(recipient, address) {
			return recipient, true
		}
	}
	return "", false
}

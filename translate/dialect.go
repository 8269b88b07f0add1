package translate

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The dialects are the provider types.
const (
	dialectSendGrid = "sendgrid"
	dialectMailgun  = "mailgun"
	dialectPostmark = "postmark"
	dialectSES      = "ses"
)

// maxTags is more than any provider takes.
const maxTags = 1000

// directiveReader takes the directives out of a header.
type directiveReader struct {
	m    *Message
	seen map[string]bool
	tags map[string]bool // that are in the directives already
	smtp *smtpAPI
}

// take reads a field if it is a directive, in whatever dialect. Of two equal
// ones the first counts, unless the dialect makes it repeatable. A directive
// that cannot be read is an error with its name: guessing would send a mail
// with the wrong schedule or to the wrong list.
func (d *directiveReader) take(f field) (bool, error) {
	read := d.reader(f.key)
	if read == nil {
		return false, nil
	}
	if d.seen[f.key] && !isRepeatable(f.key) {
		return true, nil
	}
	if d.seen == nil {
		d.seen = make(map[string]bool)
	}
	d.seen[f.key] = true
	if err := read(f); err != nil {
		return true, fmt.Errorf("%w: header %s: %w", ErrMalformed, f.name, err)
	}
	return true, nil
}

func (d *directiveReader) reader(name string) func(field) error {
	switch {
	case name == "x-smtpapi":
		return d.sendgrid
	case strings.HasPrefix(name, "x-bridge-"):
		return d.bridge
	case strings.HasPrefix(name, "x-mailgun-"):
		return d.mailgun
	case isPostmarkMark(name):
		return nil
	case strings.HasPrefix(name, "x-pm-"):
		return d.postmark
	case strings.HasPrefix(name, "x-ses-"):
		return d.ses
	}
	return nil
}

// isPostmarkMark: what Postmark adds to a mail, no directives.
func isPostmarkMark(name string) bool {
	return name == "x-pm-message-id" || name == "x-pm-rcpt" || name == "x-pm-ip"
}

func isRepeatable(name string) bool {
	switch name {
	case "x-bridge-tag", "x-bridge-metadata", "x-mailgun-tag", "x-mailgun-variables", "x-mailgun-suppress-headers":
		return true
	}
	return false
}

// bridge reads the bridge's own dialect.
func (d *directiveReader) bridge(f field) (err error) {
	to, value := &d.m.Directives, f.text()
	switch f.key[len("x-bridge-"):] {
	case "tag":
		err = d.tag(value)
	case "metadata":
		key, text, ok := strings.Cut(value, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return fmt.Errorf("%q is not key=value", value)
		}
		to.addMetadata(key, strings.TrimSpace(text))
	case "send-at":
		to.SendAt, err = parseSendAt(value)
	case "provider":
		to.Provider = value
	case "track-opens":
		to.TrackOpens, err = parseSwitch(value)
	case "track-clicks":
		to.TrackClicks, err = parseSwitch(value)
	case "idempotency-key":
		to.IdempotencyKey = value
	case "id": // of a mail that comes through a second bridge
	default:
		to.Options = append(to.Options, Option{Name: f.name, Value: value})
	}
	return err
}

// mailgun reads the headers of Mailgun's relay ("Send via SMTP").
func (d *directiveReader) mailgun(f field) (err error) {
	to, value := &d.m.Directives, f.text()
	switch f.key[len("x-mailgun-"):] {
	case "tag":
		err = d.tag(value)
	case "variables":
		if value = f.raw(); strings.HasPrefix(value, "=?") {
			value = f.text()
		}
		variables, err := parseStrings(value)
		for key, text := range variables {
			to.setMetadata(key, text) // of repeated headers the later wins
		}
		return err
	case "deliver-by":
		to.SendAt, err = parseSendAt(value)
	case "track":
		d.htmlOnly(f)
		err = d.track(value)
	case "track-opens":
		to.TrackOpens, err = parseSwitch(value)
	case "track-clicks":
		d.htmlOnly(f)
		to.TrackClicks, err = parseSwitch(value)
	case "drop-message":
		drop, err := parseSwitch(value)
		to.Drop = drop == On
		return err
	case "recipient-variables":
		return d.recipientVariables(f.raw())
	case "campaign-id", "sid", "incoming": // ended, or marks of Mailgun's own
	default:
		to.Options = append(to.Options, Option{Dialect: dialectMailgun, Name: f.name, Value: value})
	}
	return err
}

// htmlOnly keeps what the switches have no position for: links in plain text stay
// as they are.
func (d *directiveReader) htmlOnly(f field) {
	if value := f.text(); strings.EqualFold(value, "htmlonly") {
		d.m.Directives.Options = append(d.m.Directives.Options, Option{Dialect: dialectMailgun, Name: f.name, Value: value})
	}
}

// track is both switches at once; the single ones say more.
func (d *directiveReader) track(value string) error {
	both, err := parseSwitch(value)
	for _, one := range [...]*Switch{&d.m.Directives.TrackOpens, &d.m.Directives.TrackClicks} {
		if *one == Unset {
			*one = both
		}
	}
	return err
}

func (d *directiveReader) recipientVariables(raw string) error {
	var byAddress map[string]json.RawMessage
	if err := json.Unmarshal([]byte(raw), &byAddress); err != nil {
		return fmt.Errorf("it is not a JSON object by address: %w", err)
	}
	merge := Merge{Dialect: dialectMailgun, Values: make(map[string]string, len(byAddress))}
	for address, values := range byAddress {
		if recipient, ok := d.m.Envelope.find(address); ok {
			merge.Values[recipient] = string(values)
		}
	}
	d.m.Directives.Merges = append(d.m.Directives.Merges, merge)
	return nil
}

// postmark reads the headers of Postmark's relay ("Send email with SMTP").
func (d *directiveReader) postmark(f field) (err error) {
	to, value := &d.m.Directives, f.text()
	const metadata = "metadata-"
	name := f.key[len("x-pm-"):]
	if strings.HasPrefix(name, metadata) && len(name) > len(metadata) {
		// The key keeps its case.
		to.addMetadata(f.name[len("x-pm-")+len(metadata):], value)
		return nil
	}
	switch name {
	case "tag":
		err = d.tag(value)
	case "trackopens", "track-opens":
		to.TrackOpens, err = parseSwitch(value)
	case "tracklinks", "track-links":
		if to.TrackClicks, err = parseTrackLinks(value); strings.HasSuffix(strings.ToLower(value), "only") {
			// In which of the bodies is more than a switch says.
			to.Options = append(to.Options, Option{Dialect: dialectPostmark, Name: f.name, Value: value})
		}
	case "keepid": // the bridge keeps the Message-ID anyway
	default:
		to.Options = append(to.Options, Option{Dialect: dialectPostmark, Name: f.name, Value: value})
	}
	return err
}

// ses reads the headers of Amazon SES' SMTP interface.
func (d *directiveReader) ses(f field) error {
	to, value := &d.m.Directives, f.text()
	if f.key != "x-ses-message-tags" {
		to.Options = append(to.Options, Option{Dialect: dialectSES, Name: f.name, Value: value})
		return nil
	}
	for pair := range strings.SplitSeq(value, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, text, ok := strings.Cut(pair, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return fmt.Errorf("%q is not name=value", pair)
		}
		to.addMetadata(key, strings.TrimSpace(text))
	}
	return nil
}

// finish reads what needs the whole header.
func (d *directiveReader) finish() error {
	if d.smtp == nil {
		return nil
	}
	if err := d.smtp.recipients(d.m); err != nil {
		return fmt.Errorf("%w: header X-SMTPAPI: %w", ErrMalformed, err)
	}
	return nil
}

// tag adds a tag once.
func (d *directiveReader) tag(tag string) error {
	if tag == "" || d.tags[tag] {
		return nil
	}
	if len(d.tags) == maxTags {
		return fmt.Errorf("more than %d tags", maxTags)
	}
	if d.tags == nil {
		d.tags = make(map[string]bool)
	}
	d.tags[tag] = true
	d.m.Directives.Tags = append(d.m.Directives.Tags, tag)
	return nil
}

// addMetadata keeps the first of two equal keys.
func (t *Directives) addMetadata(key, value string) {
	if _, twice := t.Metadata[key]; !twice {
		t.setMetadata(key, value)
	}
}

func (t *Directives) setMetadata(key, value string) {
	if t.Metadata == nil {
		t.Metadata = make(map[string]string)
	}
	t.Metadata[key] = value
}

func parseSwitch(value string) (Switch, error) {
	switch strings.ToLower(value) {
	case "yes", "true", "on", "1", "htmlonly":
		return On, nil
	case "no", "false", "off", "0":
		return Off, nil
	}
	return Unset, fmt.Errorf("%q is neither yes nor no", value)
}

func parseTrackLinks(value string) (Switch, error) {
	switch strings.ToLower(value) {
	case "none":
		return Off, nil
	case "htmlandtext", "htmlonly", "textonly":
		return On, nil
	}
	return Unset, fmt.Errorf("%q is not one of None, HtmlAndText, HtmlOnly and TextOnly", value)
}

// parseSendAt reads RFC 3339, RFC 5322 or Unix seconds.
func parseSendAt(value string) (time.Time, error) {
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil && seconds > 0 {
		return time.Unix(seconds, 0).UTC(), nil
	}
	if t, err := time.Parse(time.RFC3339, value); err == nil {
		return t.UTC(), nil
	}
	if t := parseDate(value); !t.IsZero() {
		if _, certain := withOffset(value); !certain {
			return time.Time{}, fmt.Errorf("%q has a time zone that nobody can tell; write its offset as +0100", value)
		}
		return t.UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%q is neither an RFC 3339 nor an RFC 5322 date", value)
}

// parseStrings reads a JSON object; what is no string keeps its JSON text.
func parseStrings(raw string) (map[string]string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(raw), &object); err != nil {
		return nil, fmt.Errorf("it is not a JSON object: %w", err)
	}
	values := make(map[string]string, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		values[key] = jsonText(object[key])
	}
	return values, nil
}

// jsonText is the value of a JSON string, or the JSON text of anything else.
func jsonText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

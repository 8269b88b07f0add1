package sendgrid

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

// settings are what X-SMTPAPI says beyond the common model, in the words of v3
// (manual of X-SMTPAPI: "SMTP Filters", "Building an X-SMTPAPI header").
type settings struct {
	sandbox                  bool
	groupID                  int64
	groups                   []int64
	pool, batchID, template  string
	subscription, analytics  *section
	opens                    *section
	clicks                   *clicks
	footer, bypassManagement *section
}

// section is one filter: on or off, and its texts.
type section struct {
	enable bool
	fields []translate.Header
}

// clicks is the filter clicktrack: text says whether links in plain text count.
type clicks struct{ enable, text bool }

// renamed maps the settings of the filters that v3 has to its names.
var renamed = map[string]map[string]string{
	"filters.subscriptiontrack": {"text/html": "html", "text/plain": "text", "replace": "substitution_tag"},
	"filters.ganalytics": {
		"utm_source": "utm_source", "utm_medium": "utm_medium", "utm_term": "utm_term",
		"utm_content": "utm_content", "utm_campaign": "utm_campaign",
	},
	"filters.opentrack":              {"replace": "substitution_tag"},
	"filters.footer":                 {"text/html": "html", "text/plain": "text"},
	"filters.bypass_list_management": {},
	"filters.templates":              {"template_id": "template_id"},
}

func lostOptions(options []translate.Option) []string {
	_, lost := readOptions(options)
	return lost
}

// readOptions reads the options of our dialect, and names those that v3 does
// not have or whose value cannot be read.
func readOptions(options []translate.Option) (s settings, lost []string) {
	for _, option := range options {
		if option.Dialect != providerType || !s.read(option.Name, []byte(option.Value)) {
			lost = append(lost, providers.OptionLoss(option))
		}
	}
	if s.groupID == 0 && len(s.groups) > 0 { // group_id is required in asm
		s.groups = nil
		lost = append(lost, providers.OptionLoss(translate.Option{Dialect: providerType, Name: "asm_groups_to_display"}))
	}
	return s, lost
}

// read takes one option; a value that cannot be used leaves no trace.
func (s *settings) read(name string, value []byte) bool {
	switch name {
	case "asm_group_id":
		return readInto(&s.groupID, value, func(id int64) bool { return id > 0 })
	case "asm_groups_to_display":
		return readInto(&s.groups, value, func(ids []int64) bool { return len(ids) <= maxGroupsToDisplay })
	case "ip_pool":
		return readInto(&s.pool, value, func(name string) bool { return len(name) >= minPoolLen && len(name) <= maxPoolLen })
	case "batch_id":
		return readInto(&s.batchID, value, func(id string) bool { return id != "" })
	}
	return s.readFilter(name, value)
}

func readInto[T any](to *T, value []byte, usable func(T) bool) bool {
	var read T
	if json.Unmarshal(value, &read) != nil || !usable(read) {
		return false
	}
	*to = read
	return true
}

func (s *settings) readFilter(name string, value []byte) bool {
	if name == "filters.clicktrack" {
		return s.readClicks(value)
	}
	parsed, ok := readSection(renamed[name], value)
	if !ok {
		return false
	}
	switch name {
	case "filters.subscriptiontrack":
		s.subscription = parsed
	case "filters.opentrack":
		s.opens = parsed
	case "filters.ganalytics":
		s.analytics = parsed
	case "filters.footer":
		s.footer = parsed
	case "filters.bypass_list_management":
		s.bypassManagement = parsed
	case "filters.templates":
		return s.readTemplate(parsed)
	default:
		return false
	}
	return true
}

func (s *settings) readClicks(value []byte) bool {
	var raw map[string]json.RawMessage
	if json.Unmarshal(value, &raw) != nil {
		return false
	}
	parsed := &clicks{enable: true}
	for key, value := range raw {
		switch key {
		case "enable":
			parsed.enable = isOn(string(value))
		case "enable_text":
			parsed.text = isOn(string(value))
		default:
			return false
		}
	}
	s.clicks = parsed
	return true
}

// readTemplate: the filter names a legacy template; a dynamic one, d-…, would
// not show the mail.
func (s *settings) readTemplate(parsed *section) bool {
	if !parsed.enable {
		return true
	}
	if len(parsed.fields) == 0 || strings.HasPrefix(parsed.fields[0].Value, "d-") {
		return false
	}
	s.template = parsed.fields[0].Value
	return true
}

// readSection reads the settings of one filter; all must be known.
func readSection(names map[string]string, value []byte) (*section, bool) {
	var raw map[string]json.RawMessage
	if json.Unmarshal(value, &raw) != nil {
		return nil, false
	}
	parsed := &section{enable: true}
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		if key == "enable" {
			parsed.enable = isOn(string(raw[key]))
			continue
		}
		var text string
		if names[key] == "" || json.Unmarshal(raw[key], &text) != nil {
			return nil, false
		}
		parsed.fields = append(parsed.fields, translate.Header{Name: names[key], Value: text})
	}
	return parsed, true
}

// isOn: enable is written as 0 or 1, "0" or "1", true or false.
func isOn(raw string) bool {
	switch strings.Trim(raw, `"`) {
	case "0", "false", "", "null":
		return false
	}
	return true
}

// write adds the settings to the request, and the tracking of the common model.
func (s *settings) write(j *httpapi.JSON, d translate.Directives) {
	if s.groupID != 0 {
		j.Key("asm")
		j.Object(func() { s.writeGroups(j) })
	}
	for _, f := range [...]translate.Header{
		{Name: "ip_pool_name", Value: s.pool}, {Name: "batch_id", Value: s.batchID}, {Name: "template_id", Value: s.template},
	} {
		if f.Value != "" {
			j.Key(f.Name)
			j.String(f.Value)
		}
	}
	if s.footer != nil || s.bypassManagement != nil || s.sandbox {
		j.Key("mail_settings")
		j.Object(func() { s.writeMail(j) })
	}
	s.join(d)
	if s.opens != nil || s.clicks != nil || s.subscription != nil || s.analytics != nil {
		j.Key("tracking_settings")
		j.Object(func() { s.writeTracking(j) })
	}
}

func (s *settings) writeGroups(j *httpapi.JSON) {
	j.Key("group_id")
	j.Int(s.groupID)
	if len(s.groups) == 0 {
		return
	}
	j.Key("groups_to_display")
	j.Array(func() {
		for _, group := range s.groups {
			j.Int(group)
		}
	})
}

func (s *settings) writeMail(j *httpapi.JSON) {
	s.footer.write(j, "footer")
	s.bypassManagement.write(j, "bypass_list_management")
	if s.sandbox {
		(&section{enable: true}).write(j, "sandbox_mode")
	}
}

// join adds the tracking of the common model, which decides what is on.
func (s *settings) join(d translate.Directives) {
	if on := d.TrackOpens == translate.On; d.TrackOpens != translate.Unset {
		joined := section{enable: on}
		if s.opens != nil {
			joined.fields = s.opens.fields
		}
		s.opens = &joined
	}
	if on := d.TrackClicks == translate.On; d.TrackClicks != translate.Unset {
		joined := clicks{enable: on, text: on}
		if s.clicks != nil {
			joined.text = on && s.clicks.text
		}
		s.clicks = &joined
	}
}

func (s *settings) writeTracking(j *httpapi.JSON) {
	s.opens.write(j, "open_tracking")
	if s.clicks != nil {
		j.Key("click_tracking")
		j.Object(func() {
			j.Key("enable")
			j.Bool(s.clicks.enable)
			j.Key("enable_text")
			j.Bool(s.clicks.text)
		})
	}
	s.subscription.write(j, "subscription_tracking")
	s.analytics.write(j, "ganalytics")
}

// write adds the section under its name of v3, if it was given.
func (s *section) write(j *httpapi.JSON, name string) {
	if s == nil {
		return
	}
	j.Key(name)
	j.Object(func() {
		j.Key("enable")
		j.Bool(s.enable)
		for _, f := range s.fields {
			j.Key(f.Name)
			j.String(f.Value)
		}
	})
}

package mailgun

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// settings are what X-Mailgun-* says beyond the common model, as fields of a form.
type settings struct {
	fields []translate.Header
	// suppressed are the headers of Mailgun's that recipients must not see.
	suppressed []string
	htmlClicks bool // links in HTML alone are rewritten
}

// hideAll is the word for all of Mailgun's headers.
const hideAll = "all"

// hidden is what recipients do not see: the variables, which are metadata, and
// what the application names. All of them are hidden only where it says so:
// Mailgun needs X-Mailgun-Sid to tell whose mail a complaint is about.
func (s *settings) hidden(variables bool) string {
	if slices.Contains(s.suppressed, hideAll) {
		return hideAll
	}
	var names []string
	if variables {
		names = append(names, "X-Mailgun-Variables")
	}
	for _, name := range s.suppressed {
		if !slices.ContainsFunc(names, func(other string) bool { return strings.EqualFold(other, name) }) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// option is how one header of the dialect is sent.
type option struct {
	field string
	// read gives the value in the form that the API documents.
	read func(value string) (string, bool)
	// needs is the field without which this one means nothing.
	needs string
}

// dialect is the part of the manual's page "Send via SMTP" that the common model
// lacks, by the name behind "x-mailgun-".
var dialect = map[string]option{
	"deliver-within":                {field: "o:deliver-within", read: readWithin},
	"delivery-time-optimize-period": {field: "o:deliverytime-optimize-period", read: readHours},
	"time-zone-localize":            {field: "o:time-zone-localize", read: readClock},
	"track":                         {field: fieldClicks, read: oneOf("htmlonly")},
	"track-clicks":                  {field: fieldClicks, read: oneOf("htmlonly")},
	"track-pixel-location-top":      {field: "o:tracking-pixel-location-top", read: oneOf("yes", "no", "true", "false", "htmlonly")},
	"dkim":                          {field: "o:dkim", read: oneOf("yes", "no", "true", "false")},
	"secondary-dkim":                {field: "o:secondary-dkim", read: readDomainKey},
	"secondary-dkim-public":         {field: "o:secondary-dkim-public", read: readDomainKey, needs: "o:secondary-dkim"},
	"sending-ip":                    {field: "o:sending-ip", read: readIP},
	"sending-ip-pool":               {field: "o:sending-ip-pool", read: readToken},
	"require-tls":                   {field: "o:require-tls", read: oneOf("yes", "no", "true", "false")},
	"skip-verification":             {field: "o:skip-verification", read: oneOf("yes", "no", "true", "false")},
	"archive-to":                    {field: "o:archive-to", read: readURL},
	"suppress-headers":              {field: fieldSuppress, read: readHeaderNames},
	"template-name":                 {field: fieldTemplate, read: readText},
	"template-version":              {field: "t:version", read: readText, needs: fieldTemplate},
	// With messages.mime the variables of a template are a header, not t:variables
	// (manual, "Templates").
	"template-variables": {field: "h:X-Mailgun-Template-Variables", read: readObject, needs: fieldTemplate},
}

// Fields that are more than a value.
const (
	fieldTemplate = "template"
	fieldSuppress = "o:suppress-headers"
	fieldClicks   = "o:tracking-clicks"
)

func lostOptions(options []translate.Option) []string {
	_, lost := readOptions(options)
	return lost
}

// replacesBody: a template stands in the place of the body, which fields would add.
func replacesBody(options []translate.Option) bool {
	s, _ := readOptions(options)
	return slices.ContainsFunc(s.fields, func(f translate.Header) bool { return f.Name == fieldTemplate })
}

// readOptions reads the options of our dialect, as many as have room, and names
// those that Mailgun does not have or whose value cannot be read.
func readOptions(options []translate.Option) (s settings, lost []string) {
	given := make(map[string]bool, len(options))
	read := make([]translate.Header, len(options))
	room := maxOptionBytes
	for i, o := range options {
		if field, ok := readOption(o); ok && room >= len(field.Name)+len(field.Value) {
			room -= len(field.Name) + len(field.Value)
			read[i], given[field.Name] = field, true
		}
	}
	for i, field := range read {
		if needs := find(options[i]).needs; field.Name == "" || needs != "" && !given[needs] {
			lost = append(lost, providers.OptionLoss(options[i]))
			continue
		}
		s.add(field)
	}
	return s, lost
}

func (s *settings) add(f translate.Header) {
	switch f.Name {
	case fieldSuppress:
		s.suppressed = append(s.suppressed, strings.Split(f.Value, ",")...)
	case fieldClicks:
		s.htmlClicks = true
	default:
		s.fields = append(s.fields, f)
	}
}

// find gives the zero value for what Mailgun does not have.
func find(o translate.Option) option {
	if o.Dialect != providerType {
		return option{}
	}
	return dialect[strings.TrimPrefix(strings.ToLower(o.Name), "x-mailgun-")]
}

func readOption(o translate.Option) (translate.Header, bool) {
	known := find(o)
	if known.read == nil {
		return translate.Header{}, false
	}
	value, ok := known.read(strings.TrimSpace(o.Value))
	return translate.Header{Name: known.field, Value: value}, ok
}

func oneOf(words ...string) func(string) (string, bool) {
	return func(value string) (string, bool) {
		value = strings.ToLower(value)
		return value, slices.Contains(words, value)
	}
}

// within is hours and minutes: 1h30m, 30m, 24h.
var within = regexp.MustCompile(`^(?:\d{1,2}h)?(?:\d{1,4}m)?$`)

// readWithin: from 5 minutes to 24 hours.
func readWithin(value string) (string, bool) {
	value = strings.ToLower(value)
	d, err := time.ParseDuration(value)
	return value, err == nil && within.MatchString(value) && d >= 5*time.Minute && d <= 24*time.Hour
}

// readHours: from 24h to 72h.
func readHours(value string) (string, bool) {
	value = strings.ToLower(value)
	hours, err := strconv.ParseUint(strings.TrimSuffix(value, "h"), 10, 8)
	return value, err == nil && strings.HasSuffix(value, "h") && hours >= 24 && hours <= 72
}

// readClock: 14:30, or 02:30PM.
func readClock(value string) (string, bool) {
	value = strings.ToUpper(value)
	for _, layout := range [...]string{"15:04", "03:04PM"} {
		if at, err := time.Parse(layout, value); err == nil {
			return at.Format(layout), true
		}
	}
	return "", false
}

// readDomainKey: the header separates domain and selector by a comma, the API by
// a slash.
func readDomainKey(value string) (string, bool) {
	domain, selector, ok := strings.Cut(strings.Replace(value, ",", "/", 1), "/")
	domain, selector = strings.TrimSpace(domain), strings.TrimSpace(selector)
	_, goodDomain := readToken(domain)
	_, goodSelector := readToken(selector)
	return domain + "/" + selector, ok && goodDomain && goodSelector
}

func readIP(value string) (string, bool) {
	ip, err := netip.ParseAddr(value)
	return ip.String(), err == nil && ip.Zone() == ""
}

// readToken: the ids that Mailgun gives, and domains.
func readToken(value string) (string, bool) {
	return value, value != "" && !strings.ContainsFunc(value, isNotOfDomain)
}

func readText(value string) (string, bool) { return value, value != "" }

func readURL(value string) (string, bool) {
	target, err := url.Parse(value)
	return value, err == nil && (target.Scheme == "https" || target.Scheme == "http") && target.Host != ""
}

// readHeaderNames: names of Mailgun's headers, or all.
func readHeaderNames(value string) (string, bool) {
	names := strings.Split(value, ",")
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
		if strings.EqualFold(names[i], hideAll) {
			names[i] = hideAll
			continue
		}
		if _, ok := readToken(names[i]); !ok || !strings.HasPrefix(strings.ToLower(names[i]), "x-mailgun-") {
			return "", false
		}
	}
	return strings.Join(names, ","), true
}

// readObject: a JSON object, in ASCII, for it becomes a header.
func readObject(value string) (string, bool) {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(value), &object) != nil || object == nil {
		return "", false
	}
	var out strings.Builder
	for _, r := range value { // beyond ASCII only strings may be
		if r < utf8.RuneSelf {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	return out.String(), true
}

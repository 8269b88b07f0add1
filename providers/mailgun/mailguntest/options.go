package mailguntest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// options are the fields of the API reference, and the form of their values.
var options = map[string]*regexp.Regexp{
	"to": any1, "cc": any1, "bcc": any1, "from": any1, "subject": regexp.MustCompile(``), "text": any1, "html": any1, "amp-html": any1,
	"recipient-variables": any1, "template": any1, "t:version": any1,
	"o:tag":                          regexp.MustCompile(`^[\x20-\x7e]{1,128}$`),
	"o:deliverytime":                 any1,
	"o:deliver-within":               regexp.MustCompile(`^(\d+h)?(\d+m)?$`),
	"o:deliverytime-optimize-period": regexp.MustCompile(`^(2[4-9]|[3-6]\d|7[0-2])h$`),
	"o:time-zone-localize":           regexp.MustCompile(`^([01]\d|2[0-3]):[0-5]\d$|^(0[1-9]|1[0-2]):[0-5]\d[AP]M$`),
	"o:tracking":                     yesNo,
	"o:tracking-clicks":              yesNoHTML,
	"o:tracking-opens":               yesNo,
	"o:tracking-pixel-location-top":  yesNoHTML,
	"o:dkim":                         yesNo,
	"o:secondary-dkim":               domainKey,
	"o:secondary-dkim-public":        domainKey,
	"o:sending-ip":                   regexp.MustCompile(`^[0-9a-f.:]+$`),
	"o:sending-ip-pool":              regexp.MustCompile(`^[\w.-]+$`),
	"o:require-tls":                  yesNo,
	"o:skip-verification":            yesNo,
	"o:archive-to":                   regexp.MustCompile(`^https?://\S+$`),
	"o:suppress-headers":             regexp.MustCompile(`^(?i:all|x-mailgun-[\w-]+(,x-mailgun-[\w-]+)*)$`),
}

var (
	any1      = regexp.MustCompile(`(?s).`)
	yesNo     = regexp.MustCompile(`^(yes|no|true|false)$`)
	yesNoHTML = regexp.MustCompile(`^(yes|no|true|false|htmlonly)$`)
	domainKey = regexp.MustCompile(`^[\w.-]+/[\w.-]+$`)
)

func checkOption(name string, values []string) error {
	form, known := options[name]
	repeatable := strings.Contains(" to cc bcc o:tag ", " "+name+" ")
	switch {
	case !known:
		return fmt.Errorf("there is no field %q", name)
	case len(values) > 1 && !repeatable:
		return refusedError("Only one parameters " + name + " is allowed")
	case name == "o:tag" && len(values) > 3:
		return refusedError("a fourth tag, which is lost")
	}
	for _, value := range values {
		if !form.MatchString(value) {
			return fmt.Errorf("'%s' parameter is wrong: %q", name, value)
		}
	}
	switch name {
	case "o:deliverytime":
		at, err := time.Parse(time.RFC1123Z, values[0])
		if err != nil || at.After(time.Now().Add(72*time.Hour+time.Minute)) {
			return refusedError("'o:deliverytime' is not an RFC-2822 compliant date, or beyond three days")
		}
	case "o:deliver-within":
		if d, err := time.ParseDuration(values[0]); err != nil || d < 5*time.Minute || d > 24*time.Hour {
			return refusedError("invalid delivery time format")
		}
	case "t:variables":
		if !json.Valid([]byte(values[0])) {
			return refusedError("'t:variables' parameter is not a valid JSON")
		}
	}
	return nil
}

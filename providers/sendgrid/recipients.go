package sendgrid

import (
	"strconv"
	"strings"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// recipientsOf lists the envelope recipients of a request, whose copies are its
// personalizations.
func recipientsOf(part []providers.Copy) []string {
	var recipients []string
	for _, one := range part {
		recipients = append(recipients, one.Recipients()...)
	}
	return recipients
}

// locate reads the field of an error, "personalizations.0.to.1.email".
func locate(part []providers.Copy, field string) (string, bool) {
	steps := strings.Split(field, ".")
	if len(steps) < 4 || steps[0] != "personalizations" {
		return "", false
	}
	n, err := strconv.Atoi(steps[1])
	if err != nil || n < 0 || n >= len(part) {
		return "", false
	}
	list, known := map[string][]translate.Address{"to": part[n].To, "cc": part[n].Cc, "bcc": part[n].Bcc}[steps[2]]
	at, err := strconv.Atoi(steps[3])
	if err != nil || !known || at < 0 || at >= len(list) {
		return "", false
	}
	return list[at].Email, true
}

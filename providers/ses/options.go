package ses

import (
	"regexp"
	"strings"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// options are what the X-SES-* headers say beyond the common model. The API's
// own parameters win over the headers, so that these need not leave (reference,
// SendEmail).
type options struct {
	set, identity, feedback, list, topic, tenant string
}

// arnForm: an identity of SES in any partition.
var arnForm = regexp.MustCompile(`^arn:aws[a-z-]*:ses:[a-z0-9-]+:[0-9]{12}:identity/[!-~]{1,320}$`)

func lostOptions(list []translate.Option) []string {
	_, lost := readOptions(list)
	return lost
}

// readOptions reads the options of our dialect, and names those that mean nothing
// or whose value cannot be read.
func readOptions(list []translate.Option) (o options, lost []string) {
	for _, option := range list {
		if option.Dialect != providerType || !o.read(strings.ToUpper(option.Name), strings.TrimSpace(option.Value)) {
			lost = append(lost, providers.OptionLoss(option))
		}
	}
	return o, lost
}

// read takes one option. Where two headers mean the same parameter the first one
// counts.
func (o *options) read(name, value string) bool {
	switch name {
	case "X-SES-CONFIGURATION-SET":
		return readInto(&o.set, value, isName)
	case "X-SES-FROM-ARN", "X-SES-SOURCE-ARN":
		return readInto(&o.identity, value, arnForm.MatchString)
	case "X-SES-RETURN-PATH-ARN":
		return readInto(&o.feedback, value, arnForm.MatchString)
	case "X-SES-TENANT", "X-SES-TENANT-NAME":
		return readInto(&o.tenant, value, isName)
	case "X-SES-LIST-MANAGEMENT-OPTIONS":
		return o.readList(value)
	}
	return false
}

func readInto(to *string, value string, usable func(string) bool) bool {
	if !usable(value) || *to != "" && *to != value {
		return false
	}
	*to = value
	return true
}

// readList: "list; topic=t" as in the guide ("Using subscription management"),
// and "contactListName=list;topicName=t" as frameworks write it.
func (o *options) readList(value string) bool {
	first, second, two := strings.Cut(value, ";")
	list := strings.Trim(valueOf(first, "contactlistname"), "{}")
	topic := ""
	if two && strings.TrimSpace(second) != "" {
		if !strings.Contains(second, "=") {
			return false
		}
		topic = strings.Trim(valueOf(second, "topic", "topicname"), "{}")
	}
	if !isName(list) || topic != "" && !isName(topic) || topic == "" && strings.Contains(second, "=") {
		return false
	}
	o.list, o.topic = list, topic
	return true
}

// valueOf is what stands behind one of the keys, or the whole where there is no
// key; empty behind another one.
func valueOf(text string, keys ...string) string {
	key, value, found := strings.Cut(text, "=")
	if !found {
		return strings.TrimSpace(text)
	}
	for _, k := range keys {
		if strings.EqualFold(strings.TrimSpace(key), k) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

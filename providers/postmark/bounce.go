package postmark

import (
	"cmp"
	"slices"
	"strings"

	"smtpbridge/events"
	"smtpbridge/providers"
)

func (r *report) isBounce() bool {
	return strings.EqualFold(string(r.RecordType), "Bounce") || strings.EqualFold(string(r.RecordType), "SpamComplaint")
}

// bounceType is what a type of bounces means, and how final those are that are
// bounces.
type bounceType struct {
	name, code string
	means      events.Type
	class      events.Bounce
}

// unclassified: the words of the server say how final it is.
var unclassified = bounceType{"Unknown", "2048", events.Bounced, ""}

// bounceTypes are those of the manual ("Bounce types").
var bounceTypes = []bounceType{
	{"HardBounce", "1", events.Bounced, events.Hard},
	{"Transient", "2", events.Deferred, ""},
	{"Unsubscribe", "16", events.Unsubscribed, ""},
	{"Subscribe", "32", events.Resubscribed, ""},
	{"AutoResponder", "64", events.Unknown, ""},
	{"AddressChange", "128", events.Unknown, ""},
	{"DnsError", "256", events.Deferred, ""},
	{"SpamNotification", "512", events.Bounced, events.Soft}, // delivered as spam, or blocked
	{"OpenRelayTest", "1024", events.Unknown, ""},
	unclassified,
	{"SoftBounce", "4096", events.Bounced, events.Soft},
	{"VirusNotification", "8192", events.Bounced, events.Soft},
	{"ChallengeVerification", "16384", events.Unknown, ""},
	{"BadEmailAddress", "100000", events.Rejected, ""},
	{spamComplaint, "100001", events.Complained, ""},
	{"ManuallyDeactivated", "100002", events.Rejected, ""},
	{"Unconfirmed", "100003", events.Rejected, ""},
	{"Blocked", "100006", events.Bounced, events.Soft},
	{"SMTPApiError", "100007", events.Rejected, ""},
	{"InboundError", "100008", events.Unknown, ""},
	{"DMARCPolicy", "100009", events.Bounced, events.Soft},
	{"TemplateRenderingFailed", "100010", events.Rejected, ""},
}

// spamComplaint is a type of bounces, and a kind of event of its own.
const spamComplaint = "SpamComplaint"

// typeName is that of a bounce's type, or its number where it has no name.
func (r *report) typeName() string {
	if strings.EqualFold(string(r.RecordType), spamComplaint) {
		return spamComplaint
	}
	return string(cmp.Or(r.Type, r.TypeCode))
}

// bounce reads a bounce by the name of its type, else by its number. Of a type
// that is in no table Inactive alone tells how final it is: then Postmark itself
// sends nothing more.
func (r *report) bounce() (events.Type, events.Bounce) {
	row := slices.IndexFunc(bounceTypes, func(t bounceType) bool { return strings.EqualFold(t.name, string(r.Type)) })
	if row < 0 {
		row = slices.IndexFunc(bounceTypes, func(t bounceType) bool { return t.code == string(r.TypeCode) })
	}
	switch {
	case row >= 0 && bounceTypes[row] == unclassified:
		return events.Bounced, events.BounceOf(providers.Words(string(r.Details)))
	case row >= 0:
		return bounceTypes[row].means, bounceTypes[row].class
	case isTrue(r.Inactive):
		return events.Bounced, events.Hard
	}
	return events.Bounced, events.Soft
}

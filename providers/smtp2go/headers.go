package smtp2go

import (
	"slices"
	"strings"
	"unicode/utf8"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// standardHeaders are the names that custom_headers takes without X- in front
// (support, "Custom Headers": "non-standardized headers must begin with X-"):
// those that the IANA has registered for mail or news and that an application
// may set.
var standardHeaders = strings.Fields(`accept-language alternate-recipient archive archived-at auto-submitted autoforwarded autosubmitted
	comments conversion conversion-with-loss deferred-delivery delivery-date disclose-recipients
	disposition-notification-options disposition-notification-to expires expiry-date generate-delivery-report
	importance incomplete-copy jabber-id keywords language latest-delivery-time list-archive list-help list-id
	list-owner list-post list-subscribe list-unsubscribe list-unsubscribe-post message-context message-type
	obsoletes organization original-from original-message-id original-recipient original-subject pics-label
	prevent-nondelivery-report priority reply-by require-recipient-valid-since resent-bcc resent-cc resent-date
	resent-from resent-message-id resent-reply-to resent-sender resent-to sensitivity solicitation supersedes
	tls-required user-agent vbr-info`)

// reservedWord must not stand in a name (support, "Custom Headers").
const reservedWord = "smtp2go"

// carriesHeader: by its name, and in its length.
func carriesHeader(h translate.Header) bool { return carriesName(h.Name) && fitsHeader(headerValue(h)) }

func carriesName(name string) bool {
	name = strings.ToLower(name)
	return len(name) <= maxHeaderLen && !strings.Contains(name, reservedWord) &&
		(strings.HasPrefix(name, "x-") || slices.Contains(standardHeaders, name))
}

// fitsHeader: an empty value is none.
func fitsHeader(value string) bool { return value != "" && len(value) <= maxHeaderLen }

// headerValue is ASCII: what the API does with other characters is not
// documented. The field as it was written keeps encoded words (RFC 2047) where
// they stood, and addresses outside of them. No blanks stand around it.
func headerValue(h translate.Header) string {
	if h.Raw != "" && !strings.ContainsFunc(h.Raw, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return strings.TrimSpace(providers.OneLine(h.Raw))
	}
	return translate.EncodedText(strings.TrimSpace(providers.OneLine(h.Value)))
}

// carriesInline: SMTP2GO makes the Content-ID of an inline file out of its name
// (manual, inlines: <img src="cid:filename">), and the HTML refers to the one
// that the application gave: so the file has that for a name, alone. Of several
// the first.
func carriesInline(parts []translate.Part, i int) bool {
	id := parts[i].ContentID
	return isFileName(id) && !slices.ContainsFunc(parts[:i], func(p translate.Part) bool {
		return p.Role == translate.Inline && strings.EqualFold(p.ContentID, id)
	})
}

const maxFileName = 127 // octets, of an inline file

// programs are extensions that mail systems refuse. Many a Content-ID ends in a
// domain, and some of them are top-level domains.
var programs = strings.Fields("app bat cmd com cpl exe hta jar js lnk msi pif pl ps1 py scr sh vbs zip")

// isFileName: nothing in it that whoever writes a name into a header quotes,
// encodes or cuts.
func isFileName(id string) bool {
	if id == "" || len(id) > maxFileName || id[0] == '.' || strings.ContainsFunc(id, isOddInName) {
		return false
	}
	extension := strings.ToLower(id[strings.LastIndexByte(id, '.')+1:])
	return !strings.Contains(id, ".") || !slices.Contains(programs, extension)
}

func isOddInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_@+=$!#~", r)
}

package smtp2go

import (
	"slices"
	"strings"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

// leavesRaw decides for Check and for Requests. What is signed or encrypted
// never leaves: the account's tracking would change it, and no mail can switch
// it off.
func (a *Adapter) leavesRaw(m *translate.Message) bool {
	return m.Opaque == translate.OpaqueNone && m.Size <= maxRawBytes && a.servesBetterRaw(m) && showsItsRecipients(m)
}

// servesBetterRaw: built anew the mail would lose what its recipient sees, or a
// field that only its length or another of its name keeps out.
func (a *Adapter) servesBetterRaw(m *translate.Message) bool {
	if m.UnknownEncoding != "" || m.AMP != nil || slices.ContainsFunc(m.Flaws, providers.IsVisible) {
		return true
	}
	return a.losesPart(m.Parts) || losesField(m.Headers) || a.losesOwnField(m)
}

// losesPart: an invitation, an image or an empty file, as such.
func (a *Adapter) losesPart(parts []translate.Part) bool {
	for i := range parts {
		switch p := &parts[i]; {
		case p.Role == translate.Alternative, !providers.CarriesPart(a.capabilities, p),
			p.Role == translate.Inline && !providers.LeavesInline(a.capabilities, parts, i):
			return true
		}
	}
	return false
}

func losesField(headers []translate.Header) bool {
	seen := make(map[string]bool, len(headers))
	for _, h := range headers {
		name := strings.ToLower(h.Name)
		if !carriesName(name) {
			continue
		}
		if seen[name] || len(headerValue(h)) > maxHeaderLen {
			return true
		}
		seen[name] = true
	}
	return false
}

func (a *Adapter) losesOwnField(m *translate.Message) bool {
	_, subject := providers.FitSubject(a.capabilities, m.Subject)
	_, references := providers.FitReferences(a.capabilities, m.References)
	_, inReplyTo := providers.FitIDs(a.capabilities, m.InReplyTo)
	_, messageID := providers.FitIDs(a.capabilities, m.MessageID)
	return subject || references || inReplyTo || messageID || len(translate.EncodedAddresses(m.ReplyTo)) > maxHeaderLen
}

// furtherAuthors is the flaw of a mail with several authors: whom a raw one would
// be sent for is not documented.
const furtherAuthors = "further From addresses"

// showsItsRecipients: the envelope is what To and Cc show, each address once and
// to the letter, but for the case of the domain. Nothing else can name a
// recipient, and no address can be read in two ways.
func showsItsRecipients(m *translate.Message) bool {
	recipients := m.Envelope.Recipients
	if m.Directives.Apart || len(m.Directives.Merges) > 0 || len(m.To) == 0 || len(recipients) > maxRecipients ||
		len(m.To)+len(m.Cc) != len(recipients) || m.From == nil || !isPlain(m.From.Email) ||
		slices.Contains(m.Flaws, furtherAuthors) || slices.ContainsFunc(m.Headers, isResent) {
		return false
	}
	left, folded := make(map[string]bool, len(recipients)), make(map[string]bool, len(recipients))
	for _, recipient := range recipients {
		left[withFoldedDomain(recipient)] = true
		folded[strings.ToLower(recipient)] = true // what differs in case only may be taken for one
	}
	for _, shown := range slices.Concat(m.To, m.Cc) {
		key := withFoldedDomain(shown.Email)
		if !left[key] || !isPlain(shown.Email) {
			return false
		}
		delete(left, key)
	}
	return len(left) == 0 && len(folded) == len(recipients)
}

// isResent: where one of those stands, programs that read recipients off a
// header take the ones of Resent-To (RFC 5322, 3.6.6).
func isResent(h translate.Header) bool {
	return len(h.Name) > len("resent-") && strings.EqualFold(h.Name[:len("resent-")], "resent-")
}

func withFoldedDomain(address string) string {
	at := strings.LastIndexByte(address, '@')
	return address[:at+1] + strings.ToLower(address[at+1:])
}

// isPlain: a dot-atom and a domain name (RFC 5321, 4.1.2), which no reader of a
// header takes for anything else.
func isPlain(address string) bool {
	local, domain, ok := strings.Cut(address, "@")
	return ok && isDotted(local, "!#$%&'*+-/=?^_`{|}~") && isDotted(domain, "-") && strings.Contains(domain, ".")
}

// isDotted: letters, digits and the others, with single dots between them.
func isDotted(s, others string) bool {
	return s != "" && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..") &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && !strings.ContainsRune(others, r)
		})
}

// renderRaw writes the request of a raw mail. Who reads its header must find in
// it the addresses that we found, and no others: they are written anew.
func (a *Adapter) renderRaw(m *translate.Message) providers.Body {
	set := []translate.Header{
		{Name: "From", Raw: m.From.Encoded()},
		{Name: "To", Raw: translate.EncodedAddresses(m.To)},
		{Name: "Cc", Raw: translate.EncodedAddresses(m.Cc)},
	}
	if m.Envelope.BridgeID != "" {
		set = append(set, translate.Header{Name: bridgeHeader, Value: m.Envelope.BridgeID})
	}
	mail := m.Outgoing(translate.Edit{Set: set})
	var j httpapi.JSON
	j.Object(func() {
		j.Key("mime_email")
		j.Base64(mail.Base64Len(), mail.OpenBase64)
		writeSendTime(&j, m)
	})
	return j.Body()
}

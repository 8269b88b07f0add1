package delivery

import (
	"slices"
	"strings"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// guard lets mail out to some recipients only.
type guard struct{ config GuardConfig }

// allows compares addresses lower-cased, their domains in punycode.
func (g guard) allows(recipient string) bool {
	if len(g.config.AllowRecipients) == 0 {
		return true
	}
	recipient = strings.ToLower(recipient)
	domain := recipient[strings.LastIndexByte(recipient, '@')+1:]
	return slices.ContainsFunc(g.config.AllowRecipients, func(entry string) bool {
		local, allowed, _ := strings.Cut(entry, "@")
		return translate.ASCIIDomain(allowed) == domain && (local == "" || strings.EqualFold(local+"@"+domain, recipient))
	})
}

// refuse says at RCPT why the recipient gets no mail.
func (g guard) refuse(recipient string) *providers.Error {
	if len(g.config.RedirectTo) > 0 || g.allows(recipient) {
		return nil
	}
	return &providers.Error{Category: providers.Guarded, Message: "this bridge sends to some recipients only: [guard] allow_recipients"}
}

// redirects: the mail of this recipient goes elsewhere.
func (g guard) redirects(recipient string) bool {
	return len(g.config.RedirectTo) > 0 && !g.allows(recipient)
}

package mailgun

import (
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

const (
	// dateTolerance is how far a Date may lie from when the mail came: Mailgun
	// writes its own, and whether h:Date replaces it is not documented.
	dateTolerance = 5 * time.Minute
	// batchRecipient in To stands for each recipient of a batch (manual, "Mailing
	// Lists", template variables).
	batchRecipient = "%recipient%"
	// fileNameStops: Mailgun keeps the base name, and how it reads the escapes of a
	// quoted string is not documented.
	fileNameStops = `/\"`
)

// fits reports whether fields carry the message as it is; else it leaves raw.
func (a *Adapter) fits(m *translate.Message) bool {
	return m.Opaque == translate.OpaqueNone && m.UnknownEncoding == "" && len(m.Flaws) == 0 && !m.RoughLines && m.Size <= maxFieldsBytes &&
		fitsBody(a.capabilities, m) && fitsParts(a.capabilities, m.Parts) && fitsHeader(a.capabilities, m) &&
		fitsRecipients(m) && !replacesBody(m.Directives.Options)
}

// fitsBody: text or html is required, and amp-html stands beside html.
func fitsBody(c providers.Capabilities, m *translate.Message) bool {
	hasBody := m.Text != nil && m.Text.Size > 0 || m.HTML != nil && m.HTML.Size > 0
	return hasBody && (m.AMP == nil || providers.CarriesAMP(c, m))
}

// fitsParts: files with a name, and images whose Content-ID can be one.
func fitsParts(c providers.Capabilities, parts []translate.Part) bool {
	ids := make(map[string]bool)
	for i := range parts {
		part := &parts[i]
		name, _, _ := strings.Cut(part.Type, "/")
		if part.Role == translate.Alternative || part.Size == 0 || name == "message" || name == "multipart" {
			return false
		}
		if part.Role == translate.Inline {
			id := strings.ToLower(part.ContentID)
			if !isContentID(id) || ids[id] {
				return false
			}
			ids[id] = true
		}
		if _, lost := providers.FitFileName(c, part.Name); lost || part.Role == translate.Attachment && strings.TrimSpace(part.Name) == "" {
			return false
		}
	}
	return true
}

// isContentID: an image's file name becomes its Content-ID, its base name only.
func isContentID(id string) bool {
	return id != "" && len(id) <= 200 && !strings.ContainsFunc(id, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/\"<>`, r)
	})
}

// fitsHeader: every field leaves as it is, and Mailgun writes the rest the same.
func fitsHeader(c providers.Capabilities, m *translate.Message) bool {
	if m.From == nil || strings.TrimSpace(m.Subject) == "" || providers.OneLine(m.Subject) != m.Subject {
		return false
	}
	_, badFrom := providers.FitReplyTo([]translate.Address{*m.From})
	_, badReplyTo := providers.FitReplyTo(m.ReplyTo)
	_, badReferences := providers.FitReferences(c, m.References)
	_, losses := providers.FitHeaders(c, m.Headers)
	if badFrom || badReplyTo || badReferences || len(losses) > 0 || !keepsDate(m) ||
		m.Sender != nil && !strings.EqualFold(m.Sender.Email, m.From.Email) {
		return false
	}
	size := 0
	for _, h := range headers(c, m) {
		if size += len("h:") + len(h.Name) + len(h.Value); !fitsLine(h) {
			return false
		}
	}
	return size <= maxHeaderBytes
}

// fitsLine: a field of ASCII in one line (RFC 5322, 2.1.1), which nobody has to
// fold or encode.
func fitsLine(h translate.Header) bool {
	return len(h.Name)+len(": ")+len(h.Value) <= 998 &&
		!strings.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' || r >= 0x7f })
}

// keepsDate: Mailgun writes the time at which it takes the mail.
func keepsDate(m *translate.Message) bool {
	came := m.Envelope.Complete
	return m.Date.IsZero() || came.IsZero() || m.Date.Sub(came).Abs() <= dateTolerance
}

// carriesHeader: a field's name is part of a quoted string of the form, and a
// signature of the old mail says nothing of the new one.
func carriesHeader(h translate.Header) bool {
	return !strings.ContainsAny(h.Name, `"\`) && !strings.EqualFold(h.Name, "DKIM-Signature")
}

// fitsRecipients: everybody whom the header shows is mailed, and nobody is shown
// who is not: Mailgun shows whom it mails.
func fitsRecipients(m *translate.Message) bool {
	switch {
	case len(m.Directives.Merges) > 0:
		return m.Directives.Merges[0].Values != nil && len(m.Cc) == 0 && len(m.To) == 1 && m.To[0] == translate.Address{Email: batchRecipient}
	case m.Directives.Apart:
		return true
	}
	groups := providers.Copies(m, maxRecipients)
	return len(groups) == 1 && len(groups[0]) == 1 && len(groups[0][0].To) == len(m.To) && len(groups[0][0].Cc) == len(m.Cc)
}

// fields writes a request of messages, out of which Mailgun builds the mail.
func (r *renderer) fields(form *httpapi.Form, part providers.Copy) {
	form.Field("from", r.m.From.Encoded())
	for _, list := range [...]struct {
		name      string
		addresses []translate.Address
	}{{"to", part.To}, {"cc", part.Cc}, {"bcc", part.Bcc}} {
		for _, address := range list.addresses {
			form.Field(list.name, address.Encoded())
		}
	}
	form.Field("subject", r.m.Subject)
	for _, h := range headers(r.capabilities, r.m) {
		form.Field("h:"+h.Name, h.Value)
	}
	r.directives(form)
	r.variables(form, part)
	for _, body := range [...]struct {
		name string
		part *translate.Part
	}{{"text", r.m.Text}, {"html", r.m.HTML}, {"amp-html", r.m.AMP}} {
		if body.part != nil && body.part.Size > 0 {
			form.Text(body.name, body.part.Size, body.part.Open)
		}
	}
	for i := range r.m.Parts {
		file(form, &r.m.Parts[i])
	}
}

// file adds an attachment, or an image whose file name becomes its Content-ID.
func file(form *httpapi.Form, part *translate.Part) {
	if part.Role == translate.Inline {
		form.File("inline", part.ContentID, fileType(part), part.Size, part.Open)
		return
	}
	form.File("attachment", part.Name, fileType(part), part.Size, part.Open)
}

// fileType is the media type with the parameters that say how to read it.
func fileType(part *translate.Part) string {
	params := make(map[string]string)
	for _, name := range [...]string{"charset", "format", "delsp", "method"} {
		if value := part.Params[name]; value != "" {
			params[name] = value
		}
	}
	for _, formatted := range [...]string{mime.FormatMediaType(part.Type, params), mime.FormatMediaType(part.Type, nil)} {
		if formatted != "" && strings.Contains(formatted, "/") {
			return formatted
		}
	}
	return "application/octet-stream"
}

// headers are the fields that Mailgun does not write itself.
func headers(c providers.Capabilities, m *translate.Message) []translate.Header {
	kept, _ := providers.FitHeaders(c, m.Headers)
	replyTo, _ := providers.FitReplyTo(m.ReplyTo)
	references, _ := providers.FitReferences(c, m.References)
	list := make([]translate.Header, 0, len(kept)+4)
	for _, h := range [...]translate.Header{
		{Name: "Reply-To", Value: translate.EncodedAddresses(replyTo)},
		{Name: "Message-Id", Value: m.MessageID},
		{Name: "In-Reply-To", Value: m.InReplyTo},
		{Name: "References", Value: references},
	} {
		if h.Value != "" {
			list = append(list, h)
		}
	}
	for _, h := range kept {
		list = append(list, translate.Header{Name: h.Name, Value: headerValue(h)})
	}
	return list
}

// headerValue is ASCII: the field as it was written keeps encoded words (RFC
// 2047) where they stood, and addresses outside of them.
func headerValue(h translate.Header) string {
	if h.Raw != "" && !strings.ContainsFunc(h.Raw, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return h.Raw
	}
	return translate.EncodedText(h.Value)
}

package sendgrid

import (
	"mime"
	"strings"
	"unicode/utf8"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

const (
	// noSubject: the API wants at least one character, and whether a blank is one
	// is not documented.
	noSubject = "(no subject)"
	// blankText is the body of a mail without any: content must not be empty.
	blankText = " "
	// namelessFile: the API wants a file name.
	namelessFile = "attachment"
)

// payload writes the JSON of one request.
type payload struct {
	httpapi.JSON

	m            *translate.Message
	capabilities providers.Capabilities
	settings     settings
}

// render writes the request for some of the message's recipients.
func (a *Adapter) render(m *translate.Message, part []providers.Copy) providers.Body {
	chosen, _ := readOptions(m.Directives.Options)
	chosen.sandbox = a.config.SandboxMode
	p := &payload{m: m, capabilities: a.capabilities, settings: chosen}
	p.Grow(m.Size)
	p.Object(func() {
		p.personalizations(part)
		p.Key("from")
		p.address(*m.From)
		p.replyTo()
		p.field("subject", subject(m.Subject))
		p.headers()
		p.content()
		p.attachments()
		p.directives()
		p.settings.write(&p.JSON, m.Directives)
	})
	return p.Body()
}

func subject(s string) string {
	if s = providers.OneLine(s); strings.TrimSpace(s) == "" {
		return noSubject
	}
	return s
}

func (p *payload) field(name, value string) {
	p.Key(name)
	p.String(value)
}

func (p *payload) address(a translate.Address) {
	p.Object(func() {
		p.field("email", a.Email)
		if a.Name != "" {
			p.field("name", providers.OneLine(a.Name))
		}
	})
}

func (p *payload) addresses(key string, list []translate.Address) {
	if len(list) == 0 {
		return
	}
	p.Key(key)
	p.Array(func() {
		for _, a := range list {
			p.address(a)
		}
	})
}

func (p *payload) personalizations(part []providers.Copy) {
	p.Key("personalizations")
	p.Array(func() {
		for _, one := range part {
			p.Object(func() {
				p.addresses("to", one.To)
				p.addresses("cc", one.Cc)
				p.addresses("bcc", one.Bcc)
				p.substitutions(one.To[0].Email)
				p.bridgeID()
			})
		}
	})
}

// substitutions are the texts of one recipient, who is alone in its copy.
func (p *payload) substitutions(recipient string) {
	if len(p.m.Directives.Merges) == 0 {
		return
	}
	p.Key("substitutions")
	p.Object(func() {
		for _, merge := range p.m.Directives.Merges {
			if value, ok := merge.Values[recipient]; ok {
				p.field(merge.Tag, value)
			}
		}
	})
}

// bridgeID comes back with every event, as the Message-ID does not.
func (p *payload) bridgeID() {
	if p.m.Envelope.BridgeID == "" {
		return
	}
	p.Key("custom_args")
	p.Object(func() { p.field(providers.BridgeIDKey, p.m.Envelope.BridgeID) })
}

// replyTo: reply_to and reply_to_list exclude each other.
func (p *payload) replyTo() {
	list, _ := providers.FitReplyTo(p.m.ReplyTo)
	if len(list) == 1 {
		p.Key("reply_to")
		p.address(list[0])
		return
	}
	p.addresses("reply_to_list", list)
}

func (p *payload) headers() {
	headers, _ := providers.FitHeaders(p.capabilities, p.m.Headers)
	references, _ := providers.FitReferences(p.capabilities, p.m.References)
	for _, h := range [...]translate.Header{
		{Name: "Message-ID", Value: p.m.MessageID},
		{Name: "In-Reply-To", Value: p.m.InReplyTo},
		{Name: "References", Value: references},
	} {
		if h.Value != "" {
			headers = append(headers, h)
		}
	}
	if len(headers) == 0 {
		return
	}
	p.Key("headers")
	p.Object(func() {
		for _, h := range headers {
			p.field(h.Name, headerValue(h))
		}
	})
}

// headerValue is ASCII: what the API does with other octets is not documented.
// The field as it was written keeps encoded words (RFC 2047) where they stood,
// and addresses outside of them.
func headerValue(h translate.Header) string {
	if h.Raw != "" && !strings.ContainsFunc(h.Raw, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return h.Raw
	}
	return mime.QEncoding.Encode("utf-8", providers.OneLine(h.Value))
}

// content is ordered: plain text, HTML, all others (manual, "Errors", content).
func (p *payload) content() {
	p.Key("content")
	p.Array(func() {
		written := p.body("text/plain", p.m.Text)
		written = p.body("text/html", p.m.HTML) || written
		if providers.CarriesAMP(p.capabilities, p.m) {
			p.body("text/x-amp-html", p.m.AMP)
		}
		for i := range p.m.Parts {
			if part := &p.m.Parts[i]; isContent(part) {
				written = p.body(contentType(part), part) || written
			}
		}
		if !written {
			p.Object(func() {
				p.field("type", "text/plain")
				p.field("value", blankText)
			})
		}
	})
}

// body writes an entry of content; an empty value is refused and left out.
func (p *payload) body(mediaType string, part *translate.Part) bool {
	if part == nil || part.Size == 0 {
		return false
	}
	p.Object(func() {
		p.field("type", mediaType)
		p.Key("value")
		p.Text(part.Size, part.Open)
	})
	return true
}

// isContent: another form of the body that is text; the rest are files.
func isContent(part *translate.Part) bool {
	return part.Role == translate.Alternative && strings.HasPrefix(part.Type, "text/")
}

// contentType: of all parameters the API takes only a calendar's method.
func contentType(part *translate.Part) string {
	method := part.Params["method"]
	if part.Type != "text/calendar" || method == "" || strings.ContainsFunc(method, isNoMethod) {
		return part.Type
	}
	return part.Type + "; method=" + strings.ToUpper(method)
}

// isNoMethod: RFC 5545, 3.7.2, an iana-token.
func isNoMethod(r rune) bool {
	return r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

func (p *payload) attachments() {
	var files []*translate.Part
	for i := range p.m.Parts {
		if part := &p.m.Parts[i]; !isContent(part) && providers.CarriesPart(p.capabilities, part) {
			files = append(files, part)
		}
	}
	if len(files) == 0 {
		return
	}
	p.Key("attachments")
	p.Array(func() {
		for _, file := range files {
			p.attachment(file)
		}
	})
}

func (p *payload) attachment(file *translate.Part) {
	p.Object(func() {
		p.field("type", fileType(file.Type))
		name, _ := providers.FitFileName(p.capabilities, file.Name)
		if name == "" {
			name = namelessFile
		}
		p.field("filename", name)
		if id := strings.TrimSpace(providers.OneLine(file.ContentID)); file.Role == translate.Inline && id != "" {
			p.field("disposition", "inline")
			p.field("content_id", id)
		} else {
			p.field("disposition", "attachment")
		}
		p.Key("content")
		p.Base64(file.Base64Len(), file.OpenBase64)
	})
}

// fileType: no parameters, no line breaks.
func fileType(mediaType string) string {
	if parsed, params, err := mime.ParseMediaType(mediaType); err != nil || len(params) > 0 || !strings.Contains(parsed, "/") {
		return "application/octet-stream"
	}
	return mediaType
}

// directives are what comes back in events, and when the mail leaves.
func (p *payload) directives() {
	if tags, _ := providers.FitTags(p.capabilities, p.m.Directives.Tags); len(tags) > 0 {
		p.Key("categories")
		p.Array(func() {
			for _, tag := range tags {
				p.String(tag)
			}
		})
	}
	if pairs, _ := providers.FitMetadata(p.capabilities, p.m.Directives.Metadata); len(pairs) > 0 {
		p.Key("custom_args")
		p.Object(func() {
			for _, pair := range pairs {
				p.field(pair.Key, pair.Value)
			}
		})
	}
	if at := p.m.Directives.SendAt; !at.IsZero() {
		p.Key("send_at")
		p.Int(at.Unix())
	}
}

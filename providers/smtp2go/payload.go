package smtp2go

import (
	"mime"
	"path"
	"strconv"
	"strings"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

const (
	// bridgeHeader brings our id back in events: the API has no metadata.
	bridgeHeader = "X-Bridge-Id"
	// noSubject: the API wants at least one character (2017).
	noSubject = "(no subject)"
	// blankText is the body of a mail without any: one of the two is required, and
	// blanks pass (manual, changelog of 2025-05-28).
	blankText = " "
	// namelessFile and namelessCalendar: the API wants a file name.
	namelessFile     = "attachment"
	namelessCalendar = "invite.ics"
	// timeFormat of schedule, always in UTC.
	timeFormat = "2006-01-02 15:04:05 -0700"
	// soon is within a transaction: a send time must lie ahead when the API looks.
	soon = time.Minute
)

// payload writes the JSON of a message.
type payload struct {
	httpapi.JSON

	m            *translate.Message
	capabilities providers.Capabilities
}

// render writes a body for each copy. What several have in common is written
// once: a mail to 500 who must not see each other is not held 500 times.
func (a *Adapter) render(m *translate.Message, copies []providers.Copy) []providers.Body {
	whole := &payload{m: m, capabilities: a.capabilities}
	if len(copies) == 1 {
		whole.Object(func() {
			whole.recipients(copies[0])
			whole.mail()
		})
		return []providers.Body{whole.Body()}
	}
	whole.Object(whole.mail)
	shared, bodies := whole.Body(), make([]providers.Body, len(copies))
	for i, one := range copies {
		head := &payload{}
		head.Object(func() { head.recipients(one) })
		bodies[i] = &joined{head.Body(), shared}
	}
	return bodies
}

func (p *payload) recipients(one providers.Copy) {
	p.mailboxes("to", one.To)
	p.mailboxes("cc", one.Cc)
	p.mailboxes("bcc", one.Bcc)
}

// mailboxes are written as in the manual: Name <a@b>, in UTF-8.
func (p *payload) mailboxes(key string, list []translate.Address) {
	if len(list) == 0 {
		return
	}
	p.Key(key)
	p.Array(func() {
		for _, a := range list {
			p.String(a.String())
		}
	})
}

// mail is all but the recipients.
func (p *payload) mail() {
	p.field("sender", p.m.From.String())
	p.field("subject", p.subject())
	p.bodies()
	p.headers()
	p.files()
	writeSendTime(&p.JSON, p.m)
}

func (p *payload) field(name, value string) {
	p.Key(name)
	p.String(value)
}

func (p *payload) subject() string {
	subject, _ := providers.FitSubject(p.capabilities, p.m.Subject)
	if strings.TrimSpace(subject) == "" {
		return noSubject
	}
	return subject
}

func (p *payload) bodies() {
	written := p.body("text_body", p.m.Text)
	if written = p.body("html_body", p.m.HTML) || written; !written {
		p.field("text_body", blankText)
	}
}

func (p *payload) body(key string, part *translate.Part) bool {
	if part == nil || part.Size == 0 {
		return false
	}
	p.Key(key)
	p.Text(part.Size, part.Open)
	return true
}

func (p *payload) headers() {
	replyTo, _ := providers.FitReplyToField(p.capabilities, p.m.ReplyTo)
	messageID, _ := providers.FitIDs(p.capabilities, p.m.MessageID)
	inReplyTo, _ := providers.FitIDs(p.capabilities, p.m.InReplyTo)
	references, _ := providers.FitReferences(p.capabilities, p.m.References)
	headers, _ := providers.FitHeaders(p.capabilities, p.m.Headers)
	p.Key("custom_headers")
	p.Array(func() {
		for _, h := range [...]translate.Header{
			{Name: bridgeHeader, Value: p.m.Envelope.BridgeID},
			{Name: "Reply-To", Value: replyTo},
			{Name: "Message-ID", Value: messageID},
			{Name: "In-Reply-To", Value: inReplyTo},
			{Name: "References", Value: references},
		} {
			if h.Value != "" {
				p.header(h.Name, h.Value) // ids as they stand: who compares them compares octets
			}
		}
		for _, h := range headers {
			p.header(h.Name, headerValue(h))
		}
	})
}

func (p *payload) header(name, value string) {
	p.Object(func() {
		p.field("header", name)
		p.field("value", value)
	})
}

// files writes attachments, and inlines, whose names are their Content-IDs.
func (p *payload) files() {
	var inlines, attachments []file
	for i := range p.m.Parts {
		switch part := &p.m.Parts[i]; {
		case !providers.CarriesPart(p.capabilities, part):
		case providers.LeavesInline(p.capabilities, p.m.Parts, i):
			inlines = append(inlines, file{part, part.ContentID})
		default:
			attachments = append(attachments, file{part, p.fileName(part)})
		}
	}
	rename(attachments)
	p.list("inlines", inlines)
	p.list("attachments", attachments)
}

// file is a part under the name that it goes by.
type file struct {
	part *translate.Part
	name string
}

// fileName is the part's own, or one that says what it is.
func (p *payload) fileName(part *translate.Part) string {
	name, _ := providers.FitFileName(p.capabilities, part.Name)
	switch {
	case name != "":
		return name
	case part.Type == "text/calendar":
		return namelessCalendar
	}
	return namelessFile
}

// rename numbers what was shown inside the HTML and is not any more, so that it
// can be told from the others.
func rename(files []file) {
	taken := make(map[string]bool, len(files))
	for _, f := range files {
		if f.part.Role != translate.Inline {
			taken[strings.ToLower(f.name)] = true
		}
	}
	for i := range files {
		f := &files[i]
		if f.part.Role != translate.Inline {
			continue
		}
		extension := path.Ext(f.name)
		for base, n := strings.TrimSuffix(f.name, extension), 2; taken[strings.ToLower(f.name)]; n++ {
			f.name = base + "-" + strconv.Itoa(n) + extension
		}
		taken[strings.ToLower(f.name)] = true
	}
}

func (p *payload) list(key string, files []file) {
	if len(files) == 0 {
		return
	}
	p.Key(key)
	p.Array(func() {
		for _, f := range files {
			p.Object(func() {
				p.field("filename", f.name)
				p.field("mimetype", mediaType(f.part.Type))
				p.Key("fileblob")
				p.Base64(f.part.Base64Len(), f.part.OpenBase64)
			})
		}
	})
}

// mediaType: no parameters; none are documented.
func mediaType(s string) string {
	if parsed, params, err := mime.ParseMediaType(s); err != nil || len(params) > 0 || !strings.Contains(parsed, "/") {
		return "application/octet-stream"
	}
	return s
}

// writeSendTime adds when the mail leaves, unless that is now. fastaccept is
// announced to become the default, and its answer says less.
func writeSendTime(j *httpapi.JSON, m *translate.Message) {
	if at, now := m.Directives.SendAt, m.Envelope.Complete; !at.IsZero() && (now.IsZero() || at.After(now.Add(soon))) {
		j.Key("schedule")
		j.String(at.UTC().Format(timeFormat))
	}
	j.Key("fastaccept")
	j.Bool(false)
}

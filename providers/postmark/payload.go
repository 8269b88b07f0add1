package postmark

import (
	"strings"
	"unicode/utf8"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

// blankText is the body of a mail without any: the API wants one of the two.
const blankText = "\r\n"

// payload writes the members of a message, without the braces around them: its
// recipients come before.
type payload struct {
	httpapi.JSON

	m            *translate.Message
	capabilities providers.Capabilities
}

// render writes what is the same for all recipients.
func (a *Adapter) render(m *translate.Message) providers.Body {
	p := &payload{m: m, capabilities: a.capabilities}
	chosen, _ := readOptions(m.Directives.Options)
	from, _ := providers.FitFrom(a.capabilities, *m.From)
	subject, _ := providers.FitSubject(a.capabilities, m.Subject)
	replyTo, _ := providers.FitReplyTo(m.ReplyTo)
	p.field("From", from.String())
	p.field("ReplyTo", addresses(replyTo))
	p.Key("Subject")
	p.String(subject) // a blank one is taken
	p.directives()
	p.tracking(chosen.links)
	if chosen.stream == "" {
		chosen.stream = a.config.MessageStream
	}
	p.field("MessageStream", chosen.stream)
	p.headers(chosen.bounceType)
	p.bodies()
	p.attachments()
	return p.Body()
}

// field writes a string that has something to say.
func (p *payload) field(name, value string) {
	if value != "" {
		p.Key(name)
		p.String(value)
	}
}

// directives are what comes back in events.
func (p *payload) directives() {
	if tags, _ := providers.FitTags(p.capabilities, p.m.Directives.Tags); len(tags) > 0 {
		p.field("Tag", tags[0])
	}
	pairs, _ := providers.FitMetadata(p.capabilities, p.m.Directives.Metadata)
	if id := p.m.Envelope.BridgeID; id != "" {
		pairs = append(pairs, providers.Pair{Key: providers.BridgeIDKey, Value: id})
	}
	if len(pairs) == 0 {
		return
	}
	p.Key("Metadata")
	p.Object(func() {
		for _, pair := range pairs {
			p.Key(pair.Key)
			p.String(pair.Value)
		}
	})
}

// tracking says nothing where the server decides. An Off that the server
// overrules is a loss, and told all the same.
func (p *payload) tracking(links string) {
	if opens := p.m.Directives.TrackOpens; opens != translate.Unset {
		p.Key("TrackOpens")
		p.Bool(opens == translate.On)
	}
	switch p.m.Directives.TrackClicks {
	case translate.Unset:
	case translate.Off:
		p.field("TrackLinks", "None")
	case translate.On:
		if links == "" {
			links = "HtmlAndText"
		}
		p.field("TrackLinks", links)
	}
}

func (p *payload) headers(bounceType string) {
	headers, _ := providers.FitHeaders(p.capabilities, p.m.Headers)
	references, _ := providers.FitReferences(p.capabilities, p.m.References)
	own := []translate.Header{
		{Name: "Message-ID", Value: p.m.MessageID},
		{Name: "In-Reply-To", Value: p.m.InReplyTo},
		{Name: "References", Value: references},
	}
	if p.m.MessageID != "" { // without it Postmark may write one of its own
		own = append(own, translate.Header{Name: "X-PM-KeepID", Value: "true"})
	}
	if bounces(p.m) {
		own = append(own, translate.Header{Name: "X-PM-Bounce-Type", Value: bounceType})
	}
	for _, h := range own {
		if h.Value != "" {
			headers = append(headers, h)
		}
	}
	if len(headers) == 0 {
		return
	}
	p.Key("Headers")
	p.Array(func() {
		for _, h := range headers {
			p.Object(func() {
				p.field("Name", h.Name)
				p.Key("Value")
				p.String(headerValue(h))
			})
		}
	})
}

// headerValue is ASCII: what the API does with other characters is not
// documented. The field as it was written keeps encoded words (RFC 2047) where
// they stood, and addresses outside of them.
func headerValue(h translate.Header) string {
	if h.Raw != "" && !strings.ContainsFunc(h.Raw, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return h.Raw
	}
	return translate.EncodedText(providers.OneLine(h.Value))
}

func (p *payload) bodies() {
	written := p.body("TextBody", p.m.Text)
	written = p.body("HtmlBody", p.m.HTML) || written
	if !written {
		p.field("TextBody", blankText)
	}
}

func (p *payload) body(name string, part *translate.Part) bool {
	if part == nil || part.Size == 0 {
		return false
	}
	p.Key(name)
	p.Text(part.Size, part.Open)
	return true
}

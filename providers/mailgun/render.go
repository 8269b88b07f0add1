package mailgun

import (
	"encoding/json"
	"strings"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

// renderer writes the requests of one message.
type renderer struct {
	capabilities providers.Capabilities
	m            *translate.Message
	settings     settings
}

// parts divides the envelope: whom each request serves. Raw the header shows what
// it shows, so that all stand in To.
func (r *renderer) parts(raw bool) []providers.Copy {
	switch {
	case r.m.Directives.Apart || !raw && len(r.m.Directives.Merges) == 0:
		var copies []providers.Copy
		for _, group := range providers.Copies(r.m, maxRecipients) {
			copies = append(copies, group...)
		}
		return copies
	default:
		return layers(r.m.Envelope.Recipients)
	}
}

// layers divides recipients into requests of no more than a thousand. Addresses
// that differ in case only are apart: Mailgun drops what it takes for a
// duplicate (manual, "Send an email in MIME format", to).
func layers(recipients []string) []providers.Copy {
	var open, full []providers.Copy
	seen := make(map[string]int, len(recipients))
	for _, recipient := range recipients {
		key := strings.ToLower(recipient)
		layer := seen[key]
		seen[key]++
		if layer == len(open) {
			open = append(open, providers.Copy{})
		}
		if open[layer].To = append(open[layer].To, translate.Address{Email: recipient}); len(open[layer].To) == maxRecipients {
			full = append(full, open[layer])
			open[layer] = providers.Copy{}
		}
	}
	for _, part := range open {
		if len(part.To) > 0 {
			full = append(full, part)
		}
	}
	return full
}

// raw writes a request of messages.mime: only the field to says who receives.
func (r *renderer) raw(form *httpapi.Form, part providers.Copy) {
	for _, recipient := range part.To {
		form.Field("to", recipient.Email)
	}
	r.directives(form)
	r.variables(form, part)
	var edit translate.Edit
	if r.m.Directives.Apart {
		edit = showOnly(part.To[0])
	}
	mail := r.m.Outgoing(edit)
	form.File("message", "message.mime", "application/octet-stream", mail.Len(), mail.Open)
}

// showOnly is the header of a mail whose recipient sees only itself.
func showOnly(recipient translate.Address) translate.Edit {
	return translate.Edit{Set: []translate.Header{
		{Name: "To", Raw: recipient.Encoded()}, {Name: "Cc"}, {Name: "Resent-To"}, {Name: "Resent-Cc"},
	}}
}

// directives are what is not part of the mail.
func (r *renderer) directives(form *httpapi.Form) {
	d := r.m.Directives
	tags, _ := providers.FitTags(r.capabilities, d.Tags)
	for _, tag := range tags {
		form.Field("o:tag", tag)
	}
	pairs, _ := providers.FitMetadata(r.capabilities, d.Metadata)
	if r.m.Envelope.BridgeID != "" {
		pairs = append(pairs, providers.Pair{Key: providers.BridgeIDKey, Value: r.m.Envelope.BridgeID})
	}
	for _, pair := range pairs {
		form.Field("v:"+providers.OneLine(pair.Key), pair.Value)
	}
	// What Mailgun does with a time that has passed is not documented: it is now.
	if !d.SendAt.IsZero() && d.SendAt.After(r.m.Envelope.Complete) {
		form.Field("o:deliverytime", d.SendAt.UTC().Format(time.RFC1123Z))
	}
	r.tracking(form)
	for _, f := range r.settings.fields {
		form.Field(f.Name, f.Value)
	}
	if hidden := r.settings.hidden(len(pairs) > 0); hidden != "" {
		form.Field(fieldSuppress, hidden)
	}
}

// tracking changes a mail, which what is signed or encrypted must not be: what the
// domain has switched on is off there.
func (r *renderer) tracking(form *httpapi.Form) {
	if r.m.Opaque != translate.OpaqueNone {
		form.Field("o:tracking", "no")
		form.Field(fieldClicks, "no")
		form.Field("o:tracking-opens", "no")
		return
	}
	clicks := "yes"
	if r.settings.htmlClicks {
		clicks = "htmlonly"
	}
	position(form, fieldClicks, r.m.Directives.TrackClicks, clicks)
	position(form, "o:tracking-opens", r.m.Directives.TrackOpens, "yes")
}

func position(form *httpapi.Form, name string, s translate.Switch, on string) {
	switch s {
	case translate.Unset:
	case translate.On:
		form.Field(name, on)
	case translate.Off:
		form.Field(name, "no")
	}
}

// variables are the texts of each recipient. With them every recipient of the
// request gets a copy of its own (manual, "Batch Sending"); one without texts is
// named too, or it would not.
func (r *renderer) variables(form *httpapi.Form, part providers.Copy) {
	given := false
	texts := make(map[string]json.RawMessage)
	for _, merge := range r.m.Directives.Merges {
		given = given || merge.Values != nil
		for _, recipient := range part.To {
			if value, ok := merge.Values[recipient.Email]; ok {
				texts[recipient.Email] = json.RawMessage(value)
			}
		}
	}
	if !given { // multipart/mailgun-variables brings its own
		return
	}
	for _, recipient := range part.To {
		if _, ok := texts[recipient.Email]; !ok {
			texts[recipient.Email] = json.RawMessage("{}")
		}
	}
	if object, err := json.Marshal(texts); err == nil { // the values were read as JSON
		form.Field("recipient-variables", string(object))
	}
}

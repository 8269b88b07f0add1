package ses

import (
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

// payload writes the JSON of one request.
type payload struct {
	httpapi.JSON

	m *translate.Message
}

// render writes the request for some of the message's recipients. FromEmailAddress
// is left out, for it would replace the From header, and so is
// FeedbackForwardingEmailAddress, which must be a verified identity.
func (a *Adapter) render(m *translate.Message, chosen options, content *translate.Outgoing, to []string) providers.Body {
	p := &payload{m: m}
	p.Object(func() {
		p.content(content, len(to) < len(m.Envelope.Recipients))
		p.Key("Destination")
		p.Object(func() { p.strings("ToAddresses", to) })
		if chosen.set == "" {
			chosen.set = a.config.ConfigurationSet
		}
		p.field("ConfigurationSetName", chosen.set)
		p.emailTags(a.capabilities)
		p.tracking()
		p.options(chosen)
	})
	return p.Body()
}

// content is the whole mail; shared with other requests it is not held.
func (p *payload) content(content *translate.Outgoing, shared bool) {
	p.Key("Content")
	p.Object(func() {
		p.Key("Raw")
		p.Object(func() {
			p.Key("Data")
			if shared {
				p.Stream(content.Base64Len(), content.OpenBase64)
			} else {
				p.Base64(content.Base64Len(), content.OpenBase64)
			}
		})
	})
}

// field writes what is not empty.
func (p *payload) field(name, value string) {
	if value != "" {
		p.Key(name)
		p.String(value)
	}
}

func (p *payload) strings(name string, values []string) {
	p.Key(name)
	p.Array(func() {
		for _, value := range values {
			p.String(value)
		}
	})
}

// emailTags is the one list that comes back in events: our id, the metadata as it
// is, the tags by number.
func (p *payload) emailTags(c providers.Capabilities) {
	var pairs []providers.Pair
	if id := p.m.Envelope.BridgeID; id != "" {
		pairs = append(pairs, providers.Pair{Key: providers.BridgeIDKey, Value: id})
	}
	metadata, _ := providers.FitMetadata(c, p.m.Directives.Metadata)
	pairs = append(pairs, metadata...)
	tags, _ := providers.FitTags(c, p.m.Directives.Tags)
	for i, tag := range tags {
		pairs = append(pairs, providers.Pair{Key: tagName(i), Value: tag})
	}
	if len(pairs) == 0 {
		return
	}
	p.Key("EmailTags")
	p.Array(func() {
		for _, pair := range pairs {
			p.Object(func() {
				p.field("Name", pair.Key)
				p.field("Value", pair.Value)
			})
		}
	})
}

// tracking overrides what the configuration set says (reference,
// TrackingConfigurationOverrides). It changes the mail, which an opaque one does
// not survive.
func (p *payload) tracking() {
	opens, clicks := p.m.Directives.TrackOpens, p.m.Directives.TrackClicks
	if p.m.Opaque != translate.OpaqueNone {
		opens, clicks = translate.Off, translate.Off
	}
	if opens == translate.Unset && clicks == translate.Unset {
		return
	}
	p.Key("ConfigurationOverrides")
	p.Object(func() {
		p.Key("Tracking")
		p.Object(func() {
			p.field("OpenTrackingEnabled", word(opens))
			p.field("ClickTrackingEnabled", word(clicks))
		})
	})
}

// word is empty where the configuration set decides.
func word(s translate.Switch) string {
	switch s {
	case translate.On:
		return "ENABLED"
	case translate.Off:
		return "DISABLED"
	case translate.Unset:
	}
	return ""
}

func (p *payload) options(chosen options) {
	p.field("FromEmailAddressIdentityArn", chosen.identity)
	p.field("FeedbackForwardingEmailAddressIdentityArn", chosen.feedback)
	if chosen.list != "" {
		p.Key("ListManagementOptions")
		p.Object(func() {
			p.field("ContactListName", chosen.list)
			p.field("TopicName", chosen.topic)
		})
	}
	p.field("TenantName", chosen.tenant)
}

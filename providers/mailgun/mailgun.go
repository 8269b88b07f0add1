// Package mailgun is the Mailgun Messages API v3 as an adapter.
//
// By default a mail leaves as its own bytes (messages.mime), a true envelope
// send: the form names who receives, the header is only shown. With
// format = "fields" Mailgun builds the mail from a form instead (messages); what
// fields cannot carry unchanged leaves by messages.mime all the same, so that
// nothing is lost by the choice.
//
// Mailgun always adds its own DKIM-Signature and envelope sender. Where the
// domain has unsubscribe tracking on, it adds a footer that no request can
// switch off; %unsubscribe_url% and its kin are replaced in any body.
//
// Facts cite the manual at https://documentation.mailgun.com/docs/mailgun
// ("manual"): its user manual, page by page, and the API reference of messages.
package mailgun

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

// The endpoints of the two regions (manual, "API Overview"). A domain lives in
// one of them.
const (
	baseUS = "https://api.mailgun.net"
	baseEU = "https://api.eu.mailgun.net"
)

// Limits of the Messages API.
const (
	// maxMailBytes: "the maximum message size Mailgun supports is 25MB" (manual,
	// "Sending Messages"), read as the smaller megabyte and of the whole mail.
	maxMailBytes = 25_000_000
	// maxFormBytes is what a form adds to a mail at most: a thousand recipients,
	// the options, and the variables of each recipient out of a header of 1 MiB.
	maxFormBytes = 1_500_000
	// maxFieldsBytes bounds a mail that Mailgun builds: how it counts there is not
	// documented, so what comes near the limit leaves as its own bytes.
	maxFieldsBytes = 20_000_000
	// maxRecipients of one request (manual, "Batch Sending").
	maxRecipients = 1000
	// scheduleHorizon is that of every plan; some have seven days (manual,
	// "Send via SMTP", X-Mailgun-Deliver-By).
	scheduleHorizon = 72 * time.Hour
	// maxTags and maxTagLen: manual, "Tagging"; others are dropped silently.
	maxTags   = 3
	maxTagLen = 128
	// maxVariableBytes: user-variables are cut in events beyond 4 kB (manual,
	// "Webhook Payloads"), and then bridge_id might not come back.
	maxVariableBytes = 4000
	bridgeIDBytes    = 100
	// Of the 16 kB for everything that begins with o:, h:, v: or t: (manual,
	// "Send an email"), variables take 4,000, tags and what is ours 1,000.
	maxOptionBytes = 5000
	maxHeaderBytes = 6000
)

// Adapter is the API as pure functions.
type Adapter struct {
	config       Config
	capabilities providers.Capabilities
}

// New makes the adapter of one domain.
func New(c Config) *Adapter {
	a := &Adapter{config: c}
	a.capabilities = providers.Capabilities{
		RawMIME:          true,
		MaxSize:          maxMailBytes,
		MaxRequestBytes:  maxMailBytes + maxFormBytes,
		MaxRecipients:    maxRecipients,
		ScheduleHorizon:  scheduleHorizon,
		TrackOpens:       true,
		TrackClicks:      true,
		MaxTags:          maxTags,
		MaxTagRunes:      maxTagLen,
		ASCIITags:        true,
		MaxMetadataBytes: maxVariableBytes - bridgeIDBytes,
		ReservedMetadata: []string{""}, // a variable needs a name
		Merges:           []string{providerType},
		LostOptions:      lostOptions,
		AMP:              true,
		Calendar:         true,
		InlineImages:     true,
		EmptyFiles:       true,
		RepeatedHeaders:  true,
		MessageID:        true,
		Date:             true,
		Sender:           true,
	}
	if c.Format == formatFields {
		// What fields hold; a mail that needs more of them leaves raw.
		a.capabilities.RepeatedHeaders = false
		a.capabilities.FileNameStops = fileNameStops
		a.capabilities.CarriesHeader = carriesHeader
		a.capabilities.Raw = func(m *translate.Message) bool { return !a.fits(m) }
	}
	return a
}

// Capabilities are what the API carries.
func (a *Adapter) Capabilities() providers.Capabilities { return a.capabilities }

// Requests renders the message: one request, or several where it has more than
// 1000 recipients, or recipients who see only themselves.
func (a *Adapter) Requests(m *translate.Message) []providers.Request {
	r := renderer{capabilities: a.capabilities, m: m}
	r.settings, _ = readOptions(m.Directives.Options)
	raw, endpoint := a.capabilities.LeavesRaw(m), "messages"
	if raw {
		endpoint += ".mime"
	}
	var requests []providers.Request
	for _, part := range r.parts(raw) {
		form := httpapi.NewForm()
		if m.Directives.Apart {
			form.Share()
		}
		if raw {
			r.raw(form, part)
		} else {
			r.fields(form, part)
		}
		requests = append(requests, providers.Request{
			Method:     http.MethodPost,
			URL:        a.url("/v3/", "/"+endpoint),
			Header:     http.Header{"Content-Type": {form.ContentType()}, "Accept": {"application/json"}},
			Body:       form.Body(),
			Recipients: part.Recipients(),
		})
	}
	return requests
}

// url puts the domain between two pieces of a path.
func (a *Adapter) url(before, after string) string {
	base := baseUS
	if a.config.Region == regionEU {
		base = baseEU
	}
	return base + before + url.PathEscape(a.config.Domain) + after
}

// Authorize adds the API key.
func (a *Adapter) Authorize(_ context.Context, r *http.Request) error {
	r.SetBasicAuth("api", a.config.APIKey.Reveal())
	return nil
}

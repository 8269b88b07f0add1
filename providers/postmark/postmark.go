// Package postmark is ActiveCampaign's Postmark as an adapter: its Email API,
// which builds every mail anew, for it takes no raw MIME.
//
// A mail goes to everybody in To, Cc and Bcc, and To and Cc are shown. So those
// who are hidden from each other get a message each, several in one batch, with
// an answer for each.
//
// Facts cite the manual at https://postmarkapp.com/developer ("manual") and the
// articles at https://postmarkapp.com/support/article.
package postmark

import (
	"cmp"
	"context"
	"net/http"
	"strings"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

// providerType is the type in the configuration, and the dialect of X-PM-*.
const providerType = "postmark"

const (
	sendURL   = "https://api.postmarkapp.com/email"
	batchURL  = "https://api.postmarkapp.com/email/batch"
	serverURL = "https://api.postmarkapp.com/server"
)

// Limits of a message (manual, "Email API"; articles 1056, size, and 1125,
// metadata). Lengths are in UTF-16 code units.
const (
	maxMessageBytes = 10 << 20
	maxBodyBytes    = 5 << 20
	// maxFieldBytes is kept free for what stands around bodies and files.
	maxFieldBytes   = 100_000
	maxRecipients   = 50
	maxFromUnits    = 255
	maxSubjectUnits = 2000
	maxTagUnits     = 1000
	maxPairs        = 10
	maxKeyUnits     = 20
	maxValueUnits   = 80
	maxStreamLen    = 30
)

// Limits of a batch (manual, "Email API"). It may have 50 MB; no batch of ours
// is larger than a message may be: so no message is, and a time-out leaves fewer
// recipients in the open.
const (
	maxMessages   = 500
	maxBatchBytes = maxMessageBytes
)

// forbiddenFiles are extensions (manual, "Send a single email", attachments).
const forbiddenFiles = `vbs exe bin bat chm com cpl crt hlp hta inf ins isp jse lnk mdb pcd pif reg scr sct shs vbe vba
	wsf wsh wsl msc msi msp mst`

// forbiddenHeaders are those that Postmark's own libraries never pass on, and
// what describes a MIME structure or a signature of the mail as it came.
const forbiddenHeaders = `return-path x-pm-rcpt from reply-to sender received date content-type cc bcc subject tag
	attachment to track-opens track-links postmark-template-alias message-stream mime-version
	content-transfer-encoding dkim-signature`

// Config is one Postmark server.
type Config struct {
	httpapi.Config `toml:",squash"`

	APIKey config.Secret `toml:"api_key"`
	// MessageStream is the stream of mails that name none; empty for Postmark's
	// default, "outbound".
	MessageStream string `toml:"message_stream"`
	// WebhookUsername and WebhookPassword are those in the webhook's URL.
	WebhookUsername string        `toml:"webhook_username"`
	WebhookPassword config.Secret `toml:"webhook_password"`
}

// DefaultConfig names the provider by its type.
func DefaultConfig() Config { return Config{Config: httpapi.DefaultConfig(providerType)} }

// Validate reports every problem: the key, and what would be right.
func (c Config) Validate(report func(key, problem string)) {
	c.Config.Validate(report)
	key := c.APIKey.Reveal()
	switch {
	case key == "":
		report("api_key", `is missing; give the API token of a server, such as "env:POSTMARK_SERVER_TOKEN"`)
	case strings.ContainsFunc(key, isNoGraphic):
		report("api_key", "holds a blank, a line break or a character that is not ASCII; give the token alone")
	}
	if c.MessageStream != "" && !isStream(c.MessageStream) {
		report("message_stream", `must be the ID of a stream: a letter first, at most 30 characters, no blanks, such as "broadcast"; leave it empty for "outbound"`)
	}
	events.ValidateBasicAuth(c.WebhookUsername, c.WebhookPassword.Reveal(), report)
}

// isStream reports whether s has the form of a stream's ID (manual, "Message
// streams API").
func isStream(s string) bool {
	return s != "" && len(s) <= maxStreamLen && !strings.ContainsFunc(s, isNoGraphic) && isLetter(s[0])
}

func isNoGraphic(r rune) bool { return r <= ' ' || r >= 0x7f }

func isLetter(c byte) bool { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') }

// Adapter is the API as pure functions.
type Adapter struct {
	config       Config
	capabilities providers.Capabilities
}

// New makes the adapter of one server.
func New(c Config) *Adapter {
	return &Adapter{config: c, capabilities: providers.Capabilities{
		MaxSize:         maxMessageBytes - maxFieldBytes,
		MaxRequestBytes: maxMessageBytes,
		MaxBodyBytes:    maxBodyBytes,
		MaxRecipients:   maxRecipients,
		Stream:          cmp.Or(c.MessageStream, defaultStream),
		TrackOpens:      true,
		TrackClicks:     true,
		MaxTags:         1,
		MaxTagRunes:     maxTagUnits,
		UTF16:           true,
		// The other limits leave less: this one never decides.
		MaxMetadataBytes: maxPairs * 6 * (maxKeyUnits + maxValueUnits + 1),
		MaxPairs:         maxPairs - 1, // bridge_id takes one
		MaxKeyRunes:      maxKeyUnits,
		MaxValueRunes:    maxValueUnits,
		FoldedKeys:       true,
		ReservedMetadata: []string{""}, // no key at all
		LostOptions:      lostOptions,
		LostDirectives:   lostDirectives,
		InlineImages:     true,
		ForbiddenFiles:   strings.Fields(forbiddenFiles),
		MaxFromUnits:     maxFromUnits,
		MaxSubjectUnits:  maxSubjectUnits,
		ForbiddenHeaders: strings.Fields(forbiddenHeaders),
		CarriesHeader:    carriesHeader,
		MessageID:        true,
	}}
}

// carriesHeader: fields of its own name steer Postmark.
func carriesHeader(h translate.Header) bool {
	return !strings.HasPrefix(strings.ToLower(h.Name), "x-pm-")
}

// Capabilities are what the Email API carries.
func (a *Adapter) Capabilities() providers.Capabilities { return a.capabilities }

// Authorize adds the server's token.
func (a *Adapter) Authorize(_ context.Context, r *http.Request) error {
	r.Header.Set("X-Postmark-Server-Token", a.config.APIKey.Reveal())
	return nil
}

// Probe asks for the server that the token belongs to. An account's token, which
// cannot send, cannot ask that.
func (a *Adapter) Probe() providers.Request {
	return providers.Request{
		Method: http.MethodGet,
		URL:    serverURL,
		Header: http.Header{"Accept": {"application/json"}},
	}
}

// Package sendgrid is the Twilio SendGrid v3 Web API as an adapter: Mail Send
// for every message, which it builds anew, for the API takes no raw MIME.
//
// Facts cite the manual at https://www.twilio.com/docs/sendgrid/api-reference/mail-send
// ("manual") and its pages "Limitations" and "Errors".
package sendgrid

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

// providerType is the type in the configuration, and the dialect of X-SMTPAPI.
const providerType = "sendgrid"

const (
	sendURL   = "https://api.sendgrid.com/v3/mail/send"
	scopesURL = "https://api.sendgrid.com/v3/scopes"
)

// Limits of Mail Send (manual, "Limitations").
const (
	maxRequestBytes = 30_000_000
	// maxFieldBytes is kept free for what stands around bodies and files.
	maxFieldBytes   = 100_000
	maxRecipients   = 1000
	maxCategories   = 10
	maxCategoryLen  = 255
	scheduleHorizon = 72 * time.Hour
	// maxCustomArgsBytes of a personalization, and what bridge_id takes of it.
	maxCustomArgsBytes = 10_000
	bridgeIDBytes      = 100
	maxPoolLen         = 64
	minPoolLen         = 2
	maxGroupsToDisplay = 25
)

// eventKeys are those of the Event Webhook (manual, "Event Webhook Reference"):
// custom args stand beside them, and one of the same name is overwritten.
const eventKeys = `asm_group_id attempt bounce_classification category cert_err domain email event from ip
	marketing_campaign_id marketing_campaign_name marketing_campaign_split_id marketing_campaign_version mc_stats
	newsletter nlvx_campaign_id nlvx_campaign_split_id nlvx_user_id phase_id pool post_type reason response send_at
	sg_content_type sg_event_id sg_machine_open sg_message_id sg_template_id sg_template_name sg_user_id
	singlesend_id singlesend_name smtp-id status template template_hash template_id template_version_id timestamp
	tls type url url_offset useragent`

// reserved are the event keys one by one.
var reserved = strings.Fields(eventKeys)

// Config is one SendGrid account. For a regional subuser of the EU base_url is
// "https://api.eu.sendgrid.com".
type Config struct {
	httpapi.Config `toml:",squash"`

	APIKey config.Secret `toml:"api_key"`
	// SandboxMode has SendGrid check every mail and send none.
	SandboxMode bool `toml:"sandbox_mode"`
	// WebhookPublicKey verifies the event webhook, as SendGrid shows it; several
	// webhooks have one each.
	WebhookPublicKey string `toml:"webhook_public_key"`
}

// DefaultConfig names the provider by its type.
func DefaultConfig() Config { return Config{Config: httpapi.DefaultConfig(providerType)} }

// Validate reports every problem: the key, and what would be right.
func (c Config) Validate(report func(key, problem string)) {
	c.Config.Validate(report)
	key := c.APIKey.Reveal()
	switch {
	case key == "":
		report("api_key", `is missing; give an API key with the scope mail.send, such as "env:SENDGRID_API_KEY"`)
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		report("api_key", "holds a blank, a line break or a character that is not ASCII; give the key alone")
	}
	if c.WebhookPublicKey == "" {
		return
	}
	if _, err := publicKeys(c.WebhookPublicKey); err != nil {
		report("webhook_public_key", fmt.Sprintf("%v; give the verification key that SendGrid shows beside the event webhook's signature, "+
			"which begins with MFkw, of several webhooks with a blank between them", err))
	}
}

// Adapter is the API as pure functions.
type Adapter struct {
	config       Config
	capabilities providers.Capabilities
	header       http.Header // of every request that sends
}

// New makes the adapter of one account.
func New(c Config) *Adapter {
	return &Adapter{config: c, header: http.Header{
		"Content-Type": {"application/json"},
		"Accept":       {"application/json"}, // without it the answer may be 406
	}, capabilities: providers.Capabilities{
		MaxSize:          maxRequestBytes - maxFieldBytes,
		MaxRequestBytes:  maxRequestBytes,
		MaxRecipients:    maxRecipients,
		ScheduleHorizon:  scheduleHorizon,
		MaxTags:          maxCategories,
		MaxTagRunes:      maxCategoryLen,
		ASCIITags:        true,
		MaxMetadataBytes: maxCustomArgsBytes - bridgeIDBytes,
		ReservedMetadata: reserved,
		Merges:           []string{providerType},
		LostOptions:      lostOptions,
		TrackOpens:       true,
		TrackClicks:      true,
		AMP:              true,
		Calendar:         true,
		InlineImages:     true,
		MessageID:        true,
		// The manual's wording of the rule for file names is garbled: both go.
		FileNameStops: ";,",
		// Manual, "Errors", headers: the reserved names; the last three describe
		// a MIME structure, a path and a dialect that are not passed on.
		ForbiddenHeaders: []string{
			"x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding",
			"to", "from", "subject", "reply-to", "cc", "bcc", "mime-version", "return-path", "x-smtpapi",
		},
	}}
}

// Capabilities are what Mail Send carries.
func (a *Adapter) Capabilities() providers.Capabilities { return a.capabilities }

// Requests renders the message: one request, or several where it has more than
// 1000 recipients.
func (a *Adapter) Requests(m *translate.Message) []providers.Request {
	var requests []providers.Request
	for _, part := range providers.Copies(m, maxRecipients) {
		requests = append(requests, providers.Request{
			Method:     http.MethodPost,
			URL:        sendURL,
			Header:     a.header,
			Body:       a.render(m, part),
			Recipients: recipientsOf(part),
			Locate:     func(field string) (string, bool) { return locate(part, field) },
		})
	}
	return requests
}

// Authorize adds the API key.
func (a *Adapter) Authorize(_ context.Context, r *http.Request) error {
	r.Header.Set("Authorization", "Bearer "+a.config.APIKey.Reveal())
	return nil
}

// Probe asks what the key may do; keys that may only send can ask that too.
func (a *Adapter) Probe() providers.Request {
	return providers.Request{
		Method: http.MethodGet,
		URL:    scopesURL,
		Header: http.Header{"Accept": {"application/json"}},
	}
}

// Probed gives nil where the key may send.
func (a *Adapter) Probed(resp providers.Response) *providers.Error {
	if resp.Status != http.StatusOK {
		return refusal(resp)
	}
	var granted struct {
		Scopes []string `json:"scopes"`
	}
	switch err := json.Unmarshal(resp.Body, &granted); {
	case err != nil || granted.Scopes == nil:
		return &providers.Error{Category: providers.ConfigurationError, Message: "the answer is not SendGrid's; is base_url right?", Cause: err}
	case !slices.Contains(granted.Scopes, "mail.send"):
		return &providers.Error{Category: providers.Authentication, Message: "the API key lacks the scope mail.send"}
	}
	return nil
}

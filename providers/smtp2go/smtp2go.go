// Package smtp2go is the SMTP2GO API v3 as an adapter: /email/send, which builds
// the mail anew, for most messages, and /email/mime, which takes the
// application's own, where that serves better and is safe.
//
// A raw mail goes to those whom its header shows, for there is no envelope; so
// only a mail leaves raw whose To and Cc are its recipients, to the letter.
//
// Facts cite the reference at https://developers.smtp2go.com ("manual"), the API
// description of 2017 at https://github.com/smtp2go-oss/apidocs ("2017"), whose
// limits nothing newer repeats or takes back, and the articles at
// https://support.smtp2go.com ("support").
package smtp2go

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

// providerType is the type in the configuration.
const providerType = "smtp2go"

const (
	apiURL = "https://api.smtp2go.com/v3"

	sendPath = "/email/send"
	mimePath = "/email/mime"
	// permissionsPath is open to every key (manual, "View API key permissions").
	permissionsPath = "/api_keys/permissions"
)

// keyPrefix begins every API key (manual, "Authentication").
const keyPrefix = "api-"

// Limits of /email/send and /email/mime.
const (
	// maxRequestBytes: 50 MB, of the body and of the mail (manual, "Introduction").
	// Whether a mail is counted in base64 is not said: it is here.
	maxRequestBytes = 50_000_000
	// maxFieldBytes is kept free for what stands around bodies and files.
	maxFieldBytes = 100_000
	// maxRawBytes of a mail as received: as base64 it fits even where all of it
	// must be written in base64 first, to be of 7 bit.
	maxRawBytes = 27_000_000
	// maxRecipients of each of to, cc and bcc (manual); here of all three.
	maxRecipients = 100
	// scheduleHorizon: "within the next 3 days" (manual, schedule).
	scheduleHorizon = 72 * time.Hour
	// maxSubjectLen in characters (2017).
	maxSubjectLen = 255
	// maxHeaderLen in characters, of a name and of a value (2017).
	maxHeaderLen = 127
)

// Config is one SMTP2GO account. base_url may name one of its regions, as
// "https://eu-api.smtp2go.com".
type Config struct {
	httpapi.Config `toml:",squash"`

	APIKey config.Secret `toml:"api_key"`
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
		report("api_key", `is missing; give an API key that may use `+sendPath+` and `+mimePath+`, such as "env:SMTP2GO_API_KEY"`)
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		report("api_key", "holds a blank, a line break or a character that is not ASCII; give the key alone")
	case !strings.HasPrefix(key, keyPrefix) || key == keyPrefix:
		report("api_key", `is no API key, which begins with "`+keyPrefix+`"; make one under "Sending > API Keys", the password of an SMTP user does not serve`)
	}
	events.ValidateBasicAuth(c.WebhookUsername, c.WebhookPassword.Reveal(), report)
}

// Adapter is the API as pure functions.
type Adapter struct {
	config       Config
	capabilities providers.Capabilities
}

// New makes the adapter of one account.
func New(c Config) *Adapter {
	a := &Adapter{config: c, capabilities: providers.Capabilities{
		RawMIME:         true,
		MaxSize:         maxRequestBytes - maxFieldBytes,
		MaxRequestBytes: maxRequestBytes,
		MaxRecipients:   maxRecipients,
		ScheduleHorizon: scheduleHorizon,
		InlineImages:    true,
		CarriesInline:   carriesInline,
		MaxSubjectUnits: maxSubjectLen,
		MaxHeaderBytes:  maxHeaderLen,
		CarriesHeader:   carriesHeader,
		// Manual, custom_headers; carriesHeader knows which others are taken.
		ForbiddenHeaders: []string{"content-type", "content-transfer-encoding", "mime-version"},
		// custom_headers takes Message-ID. Date and Sender may survive in a raw
		// mail: nothing says so.
		MessageID: true,
	}}
	a.capabilities.Raw = a.leavesRaw
	return a
}

// Capabilities are what the two endpoints carry.
func (a *Adapter) Capabilities() providers.Capabilities { return a.capabilities }

// Requests renders the message: one request, or several where it has more than
// 100 recipients, or some that must not see each other. The batch endpoint does
// not say which of its mails failed: each copy is a request of its own.
func (a *Adapter) Requests(m *translate.Message) []providers.Request {
	if a.leavesRaw(m) {
		return []providers.Request{request(mimePath, a.renderRaw(m), m.Envelope.Recipients)}
	}
	copies := slices.Concat(providers.Copies(m, maxRecipients)...)
	requests := make([]providers.Request, len(copies))
	for i, body := range a.render(m, copies) {
		requests[i] = request(sendPath, body, copies[i].Recipients())
	}
	return requests
}

func request(path string, body providers.Body, recipients []string) providers.Request {
	return providers.Request{
		Method:     http.MethodPost,
		URL:        apiURL + path,
		Header:     http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}},
		Body:       body,
		Recipients: recipients,
	}
}

// Authorize adds the API key. The API takes it in the body too, which is easier
// to log.
func (a *Adapter) Authorize(_ context.Context, r *http.Request) error {
	r.Header.Set("X-Smtp2go-Api-Key", a.config.APIKey.Reveal())
	return nil
}

// Probe asks what the key may do.
func (a *Adapter) Probe() providers.Request {
	var empty httpapi.JSON
	empty.Object(func() {})
	return request(permissionsPath, empty.Body(), nil)
}

// Probed gives nil where the key may send in both ways.
func (a *Adapter) Probed(resp providers.Response) *providers.Error {
	said := readAnswer(resp.Body)
	if resp.Status != http.StatusOK || said.complains() {
		refusal, _ := said.refusal(resp)
		return refusal
	}
	var granted struct {
		Data []string `json:"data"`
	}
	if err := json.Unmarshal(resp.Body, &granted); err != nil || granted.Data == nil {
		return &providers.Error{Category: providers.ConfigurationError, Message: "the answer is not SMTP2GO's; is base_url right?", Cause: err}
	}
	for _, path := range [...]string{sendPath, mimePath} {
		if !slices.Contains(granted.Data, path) {
			return &providers.Error{Category: providers.Authentication, Message: "the API key lacks the permission " + path}
		}
	}
	return nil
}

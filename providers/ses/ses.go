// Package ses is Amazon SES as an adapter: SendEmail of the API v2 with raw
// content for every message, so that what leaves is the application's own MIME.
// The envelope alone decides who is mailed; the header decides what is shown.
//
// Credentials are those of the configuration, else of the AWS default chain;
// they are looked for when the first request is signed, never before. Requests
// are signed with SigV4 over the exact body, which is read twice for it: once to
// be hashed, once to be sent.
//
// What became of the mail comes through Amazon SNS, to a [Webhook].
//
// Facts cite the developer guide at https://docs.aws.amazon.com/ses/latest/dg/
// ("guide") and the API reference at
// https://docs.aws.amazon.com/ses/latest/APIReference-V2/ ("reference").
package ses

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// providerType is the type in the configuration, and the dialect of X-SES-*.
const providerType = "ses"

const (
	sendPath    = "/v2/email/outbound-emails"
	accountPath = "/v2/email/account"
)

// Limits of SendEmail (guide, "Service quotas"; reference, MessageTag).
const (
	// maxMessageBytes of MIME: 40 MB, attachments in base64 counted. What the API
	// counts in its refusals is the MIME, not the base64 that brings it.
	maxMessageBytes = 40_000_000
	// roomBytes is kept free for what encoding anew and the header may add.
	roomBytes     = 100_000
	maxRecipients = 50
	// maxEmailTags: bridge_id, the tags and the metadata share them.
	maxEmailTags = 50
	maxTags      = 10
	maxPairs     = maxEmailTags - maxTags - 1
	// maxTagRunes: the reference says 256, the API refuses more than 255.
	maxTagRunes = 255
	// pairBytes is what a pair takes at most where metadata is counted as JSON.
	pairBytes = 2*maxTagRunes + len(`"":"",`)
)

// tagPrefix and a number make the name of a tag, for which the API has no word:
// tag_1 and so on.
const tagPrefix = "tag_"

// Adapter is the API as pure functions, and the signature.
type Adapter struct {
	config       Config
	base         string // scheme and host
	capabilities providers.Capabilities
	keys         aws.CredentialsProvider
	signer       *v4.Signer
	now          func() time.Time // of the signature
}

// New makes the adapter of one account. It neither asks for credentials nor
// starts anything.
func New(c Config) *Adapter {
	return &Adapter{
		config:       c,
		base:         "https://email." + c.Region + "." + domain(c.Region),
		capabilities: capabilities(),
		keys:         keys(c),
		signer:       v4.NewSigner(),
		now:          time.Now,
	}
}

// keys are those of the configuration, else of the default chain.
func keys(c Config) aws.CredentialsProvider {
	if c.AccessKeyID.IsZero() {
		return &chain{region: c.Region}
	}
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID.Reveal(), c.SecretAccessKey.Reveal(), c.SessionToken.Reveal())
}

// domain is that of the region's partition.
func domain(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "amazonaws.com.cn"
	case strings.HasPrefix(region, "eusc-"):
		return "amazonaws.eu"
	}
	return "amazonaws.com"
}

func capabilities() providers.Capabilities {
	return providers.Capabilities{
		RawMIME:          true,
		MaxSize:          maxMessageBytes - roomBytes,
		MaxRequestBytes:  maxMessageBytes / 3 * 4, // in base64; what stands around it is part of the room
		MaxRecipients:    maxRecipients,
		TrackOpens:       true,
		TrackClicks:      true,
		MaxTags:          maxTags,
		MaxTagRunes:      maxTagRunes,
		TokensOnly:       true,
		MaxMetadataBytes: len("{}") + maxPairs*pairBytes,
		MaxPairs:         maxPairs,
		MaxKeyRunes:      maxTagRunes,
		MaxValueRunes:    maxTagRunes,
		ReservedMetadata: tagNames(),
		LostOptions:      lostOptions,
		AMP:              true,
		Calendar:         true,
		InlineImages:     true,
		EmptyFiles:       true,
		ForbiddenFiles:   strings.Fields(forbiddenFiles),
		RepeatedHeaders:  true,
		SingleHeaders:    strings.Fields(singleHeaders),
		ShowsAddress:     showsAddress,
		Sender:           true,
	}
}

func tagNames() []string {
	names := make([]string, maxTags)
	for i := range names {
		names[i] = tagName(i)
	}
	return names
}

func tagName(i int) string { return tagPrefix + strconv.Itoa(i+1) }

// Capabilities are what SendEmail carries.
func (a *Adapter) Capabilities() providers.Capabilities { return a.capabilities }

// Requests renders the message: one request, several where it has more than 50
// recipients, and one for each recipient where each sees only itself or where SES
// is to write its link to unsubscribe, which it does for a single one only.
func (a *Adapter) Requests(m *translate.Message) []providers.Request {
	chosen, _ := readOptions(m.Directives.Options)
	edit := a.edit(m)
	var requests []providers.Request
	send := func(content *translate.Outgoing, to []string) {
		requests = append(requests, providers.Request{
			Method:     http.MethodPost,
			URL:        a.base + sendPath,
			Header:     http.Header{"Content-Type": {"application/json"}},
			Body:       a.render(m, chosen, content, to),
			Recipients: to,
		})
	}
	if m.Directives.Apart {
		names := shownNames(m)
		for to := range slices.Chunk(m.Envelope.Recipients, 1) {
			send(m.Outgoing(a.alone(edit, names, to[0])), to)
		}
		return requests
	}
	most := maxRecipients
	if chosen.list != "" {
		most = 1
	}
	content := m.Outgoing(edit)
	for to := range slices.Chunk(m.Envelope.Recipients, most) {
		send(content, to)
	}
	return requests
}

// Probe asks for the state of the account in the region.
func (a *Adapter) Probe() providers.Request {
	return providers.Request{Method: http.MethodGet, URL: a.base + accountPath}
}

// Probed gives nil where the account can send, in the sandbox or out of it. Keys
// that may send and not read the account are good: AWS has verified their
// signature before it refused.
func (a *Adapter) Probed(resp providers.Response) *providers.Error {
	if resp.Status >= 300 {
		failure := readFailure(resp)
		if resp.Status == http.StatusForbidden && slices.Contains(accessDenied, failure.bareName()) {
			return nil
		}
		err, _ := failure.refusal(resp)
		return err
	}
	var account struct {
		SendingEnabled    *bool  `json:"SendingEnabled"`
		EnforcementStatus string `json:"EnforcementStatus"`
	}
	switch err := json.Unmarshal(resp.Body, &account); {
	case err != nil || resp.Status != http.StatusOK || account.SendingEnabled == nil:
		return &providers.Error{Category: providers.ConfigurationError, Message: "the answer is not that of SES; is base_url right?", Cause: err}
	case account.EnforcementStatus == "SHUTDOWN":
		return &providers.Error{Category: providers.Authentication, Message: "AWS has shut down sending for this account in " + a.config.Region}
	case !*account.SendingEnabled:
		return &providers.Error{Category: providers.ServiceUnavailable, Message: "sending is paused for this account in " + a.config.Region}
	}
	return nil
}

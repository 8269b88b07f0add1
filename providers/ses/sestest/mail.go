package sestest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
)

// Mail is a request of SendEmail. The fields that it does not have are refused:
// FromEmailAddress would replace the From header, FeedbackForwardingEmailAddress
// must be a verified identity, and the others belong to other content than raw.
type Mail struct {
	// ID is the MessageId that the fake gave.
	ID string `json:"-"`
	// MIME is the mail itself.
	MIME Message `json:"-"`

	Content                Content      `json:"Content"`
	Destination            Destination  `json:"Destination"`
	ConfigurationSetName   string       `json:"ConfigurationSetName"`
	EmailTags              []Tag        `json:"EmailTags"`
	ConfigurationOverrides *Overrides   `json:"ConfigurationOverrides"`
	FromIdentity           string       `json:"FromEmailAddressIdentityArn"`
	FeedbackIdentity       string       `json:"FeedbackForwardingEmailAddressIdentityArn"`
	ListManagementOptions  *ListOptions `json:"ListManagementOptions"`
	TenantName             string       `json:"TenantName"`
}

// Content is that of a raw mail.
type Content struct {
	Raw *Raw `json:"Raw"`
}

// Raw is MIME in base64.
type Raw struct {
	Data string `json:"Data"`
}

// Destination is who is mailed.
type Destination struct {
	ToAddresses  []string `json:"ToAddresses"`
	CcAddresses  []string `json:"CcAddresses"`
	BccAddresses []string `json:"BccAddresses"`
}

// Tag comes back in events.
type Tag struct {
	Name  string `json:"Name"`
	Value string `json:"Value"`
}

// Overrides are settings of one request.
type Overrides struct {
	Tracking *Tracking `json:"Tracking"`
}

// Tracking is ENABLED, DISABLED or, where it is empty, what the configuration set
// says.
type Tracking struct {
	Opens  string `json:"OpenTrackingEnabled"`
	Clicks string `json:"ClickTrackingEnabled"`
}

// ListOptions have SES write the link to unsubscribe.
type ListOptions struct {
	ContactListName string `json:"ContactListName"`
	TopicName       string `json:"TopicName"`
}

// Recipients are all who get the mail.
func (m *Mail) Recipients() []string {
	to := append([]string(nil), m.Destination.ToAddresses...)
	return append(append(to, m.Destination.CcAddresses...), m.Destination.BccAddresses...)
}

// Tags by name.
func (m *Mail) Tags() map[string]string {
	tags := make(map[string]string, len(m.EmailTags))
	for _, tag := range m.EmailTags {
		tags[tag.Name] = tag.Value
	}
	return tags
}

// Decode reads and checks a request body as the API would. [ErrAddress] is in the
// error where an address is at fault.
func Decode(body []byte) (*Mail, error) {
	mail, said := decode(body)
	if said == nil {
		return mail, nil
	}
	for _, words := range []string{"Illegal address", "Address length"} {
		if strings.HasPrefix(said.message, words) {
			return nil, fmt.Errorf("%w: %w", ErrAddress, said)
		}
	}
	return nil, said
}

// ErrAddress is that of an address which SES does not take.
var ErrAddress = errors.New("an address is at fault")

func decode(body []byte) (*Mail, *refusal) {
	if len(body) > maxBody {
		return nil, &refusal{http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "the request is too large"}
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	var mail Mail
	if err := decoder.Decode(&mail); err != nil {
		return nil, &refusal{http.StatusBadRequest, "SerializationException", err.Error()}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, &refusal{http.StatusBadRequest, "SerializationException", "something follows the document"}
	}
	if said := mail.check(); said != nil {
		return nil, said
	}
	return &mail, nil
}

// Limits of the API.
const (
	maxMail       = 40_000_000
	maxRecipients = 50
	maxTags       = 50
)

var (
	tagForm  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	nameForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	arnForm  = regexp.MustCompile(`^arn:aws[a-z-]*:ses:[a-z0-9-]+:\d{12}:identity/\S+$`)
)

func (m *Mail) check() *refusal {
	if m.Content.Raw == nil || m.Content.Raw.Data == "" {
		return bad("Content.Raw.Data is required.")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(m.Content.Raw.Data)
	switch {
	case err != nil || strings.ContainsAny(m.Content.Raw.Data, "\r\n"):
		return &refusal{http.StatusBadRequest, "SerializationException", "Content.Raw.Data is not base64"}
	case len(raw) > maxMail:
		return bad("Message length is more than %d bytes long: '%d'.", maxMail, len(raw))
	}
	for _, check := range []func() *refusal{m.checkRecipients, m.checkTags, m.checkNames} {
		if said := check(); said != nil {
			return said
		}
	}
	var said *refusal
	m.MIME, said = readMessage(raw)
	return said
}

func (m *Mail) checkRecipients() *refusal {
	recipients := m.Recipients()
	switch {
	case len(recipients) == 0:
		return bad("At least one destination address is required.")
	case len(recipients) > maxRecipients:
		return bad("Recipient count exceeds %d.", maxRecipients)
	case m.ListManagementOptions != nil && len(recipients) > 1:
		return bad("List management is for a single recipient.")
	}
	for _, recipient := range recipients {
		if said := checkAddress("", recipient); said != nil {
			return said
		}
	}
	return nil
}

func (m *Mail) checkTags() *refusal {
	seen := make(map[string]bool)
	for _, tag := range m.EmailTags {
		switch {
		case !tagForm.MatchString(tag.Name):
			return bad("Invalid tag name <%s>: only alphanumeric ASCII characters, '_', and '-' are allowed.", tag.Name)
		case !tagForm.MatchString(tag.Value):
			return bad("Invalid tag value <%s>: only alphanumeric ASCII characters, '_', and '-' are allowed.", tag.Value)
		case seen[tag.Name]:
			return bad("The tag name <%s> stands twice.", tag.Name)
		}
		seen[tag.Name] = true
	}
	if len(m.EmailTags) > maxTags {
		return bad("There are more than %d tags.", maxTags)
	}
	return nil
}

func (m *Mail) checkNames() *refusal {
	for _, name := range []string{m.ConfigurationSetName, m.TenantName} {
		if name != "" && !nameForm.MatchString(name) {
			return bad("The configuration set or tenant name <%s> is invalid.", name)
		}
	}
	for _, arn := range []string{m.FromIdentity, m.FeedbackIdentity} {
		if arn != "" && !arnForm.MatchString(arn) {
			return bad("Invalid ARN <%s>.", arn)
		}
	}
	if l := m.ListManagementOptions; l != nil && (!nameForm.MatchString(l.ContactListName) || l.TopicName != "" && !nameForm.MatchString(l.TopicName)) {
		return bad("The contact list or topic name is invalid.")
	}
	if m.ConfigurationOverrides == nil {
		return nil
	}
	tracking := m.ConfigurationOverrides.Tracking
	if tracking == nil || *tracking == (Tracking{}) {
		return bad("ConfigurationOverrides overrides nothing.")
	}
	for _, value := range []string{tracking.Opens, tracking.Clicks} {
		if value != "" && value != "ENABLED" && value != "DISABLED" {
			return bad("Tracking must be ENABLED or DISABLED.")
		}
	}
	return nil
}

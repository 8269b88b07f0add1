package sendgridtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Mail is a request of Mail Send.
type Mail struct {
	// ID is the X-Message-Id that the fake gave.
	ID string `json:"-"`

	From             Address                    `json:"from"`
	ReplyTo          *Address                   `json:"reply_to"`
	ReplyToList      []Address                  `json:"reply_to_list"`
	Subject          string                     `json:"subject"`
	Content          []Content                  `json:"content"`
	Attachments      []Attachment               `json:"attachments"`
	Headers          Strings                    `json:"headers"`
	Categories       []string                   `json:"categories"`
	CustomArgs       Strings                    `json:"custom_args"`
	SendAt           *int64                     `json:"send_at"`
	Personalizations []Personalization          `json:"personalizations"`
	ASM              *ASM                       `json:"asm"`
	IPPoolName       *string                    `json:"ip_pool_name"`
	BatchID          *string                    `json:"batch_id"`
	TemplateID       *string                    `json:"template_id"`
	MailSettings     map[string]json.RawMessage `json:"mail_settings"`
	TrackingSettings map[string]json.RawMessage `json:"tracking_settings"`
}

// Address is a mailbox.
type Address struct {
	Email string `json:"email"`
	Name  string `json:"name,omitempty"`
}

// Content is one form of the body.
type Content struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// Attachment is a file.
type Attachment struct {
	Content     string `json:"content"`
	Type        string `json:"type"`
	Filename    string `json:"filename"`
	Disposition string `json:"disposition"`
	ContentID   string `json:"content_id"`
}

// ASM is an unsubscribe group.
type ASM struct {
	GroupID         int64   `json:"group_id"`
	GroupsToDisplay []int64 `json:"groups_to_display"`
}

// Personalization is one copy.
type Personalization struct {
	To            []Address `json:"to"`
	Cc            []Address `json:"cc"`
	Bcc           []Address `json:"bcc"`
	CustomArgs    Strings   `json:"custom_args"`
	Substitutions Strings   `json:"substitutions"`
}

// Recipients are all who get this copy.
func (p Personalization) Recipients() []string { return append(p.Shown(), emails(p.Bcc)...) }

// Shown are those whom everybody sees.
func (p Personalization) Shown() []string { return append(emails(p.To), emails(p.Cc)...) }

func emails(list []Address) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.Email
	}
	return out
}

// Strings is an object of strings, in which a name may stand once.
type Strings map[string]string

// UnmarshalJSON refuses what encoding/json would let pass: a name twice, a
// value that is no string.
func (s *Strings) UnmarshalJSON(raw []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	*s = make(Strings)
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		var value *string
		if err := decoder.Decode(&value); err != nil || value == nil {
			return errors.New("a value is no string")
		}
		if _, twice := (*s)[fmt.Sprint(name)]; twice {
			return fmt.Errorf("%v stands twice", name)
		}
		(*s)[fmt.Sprint(name)] = *value
	}
	return nil
}

func (m *Mail) sandboxed() bool {
	return string(m.MailSettings["sandbox_mode"]) == `{"enable":true}`
}

// complaints gathers faults.
type complaints []fieldFault

func (c *complaints) when(wrong bool, field, message string) {
	if wrong {
		*c = append(*c, fieldFault{Message: message, Field: &field})
	}
}

// faults are those of the manual's page "Errors".
func (m *Mail) faults() []fieldFault {
	var c complaints
	m.recipientFaults(&c)
	c.when(!valid(m.From.Email), "from.email", "The from object must be provided with a valid email.")
	c.when(m.Subject == "" || breaksLine(m.Subject), "subject", "The subject is required. It must be at least one character.")
	c.when(m.ReplyTo != nil && m.ReplyToList != nil, "reply_to", "reply_to and reply_to_list exclude each other.")
	c.when(m.ReplyTo != nil && !valid(m.ReplyTo.Email), "reply_to.email", "The reply_to email must be valid.")
	for _, a := range m.ReplyToList {
		c.when(!valid(a.Email), "reply_to_list", "The reply_to_list must have valid emails.")
	}
	c.when(len(m.ReplyToList) > 1000, "reply_to_list", "There are too many addresses.")
	m.contentFaults(&c)
	m.attachmentFaults(&c)
	m.headerFaults(&c)
	m.directiveFaults(&c)
	return c
}

func (m *Mail) recipientFaults(c *complaints) {
	const field = "personalizations"
	total := 0
	c.when(len(m.Personalizations) == 0, field, "You must have at least one personalization.")
	c.when(len(m.Personalizations) > 1000, field, "The personalization block is limited to 1000 personalizations per API request.")
	for n, p := range m.Personalizations {
		at := fmt.Sprintf("%s.%d", field, n)
		c.when(len(p.To) == 0, at+".to", "The to array is required for all personalization objects, and must have at least one email object with a valid email address.")
		seen := make(map[string]bool)
		for kind, list := range map[string][]Address{"to": p.To, "cc": p.Cc, "bcc": p.Bcc} {
			for i, a := range list {
				c.when(!valid(a.Email), fmt.Sprintf("%s.%s.%d.email", at, kind, i), "Does not contain a valid address.")
				c.when(seen[fold(a.Email)], at, "Each email address in the personalization block should be unique between to, cc, and bcc.")
				seen[fold(a.Email)] = true
				total++
			}
		}
		merged := size(m.CustomArgs) + size(p.CustomArgs)
		c.when(merged > 10_000, at+".custom_args", "The custom arguments must be smaller than 10000 bytes.")
		c.when(size(p.Substitutions) > 10_000, at+".substitutions", "The substitutions must be smaller than 10000 bytes.")
	}
	c.when(total > 1000, field, "There is a limit of 1000 total recipients (to + cc + bcc) per request.")
}

// valid: ASCII, a local part and a domain; blanks and brackets only in quotes.
func valid(address string) bool {
	at := strings.LastIndexByte(address, '@')
	if at < 1 || at == len(address)-1 || !isASCII(address) || breaksLine(address) {
		return false
	}
	local := address[:at]
	if len(local) > 1 && local[0] == '"' && local[at-1] == '"' {
		local = ""
	}
	return !strings.ContainsAny(local+address[at:], " \t<>,;\"\x00")
}

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) }

func breaksLine(s string) bool { return strings.ContainsAny(s, "\r\n") }

func size(s Strings) int {
	raw, err := json.Marshal(s)
	if err != nil || s == nil {
		return 0
	}
	return len(raw)
}

func (m *Mail) contentFaults(c *complaints) {
	const field = "content"
	c.when(len(m.Content) == 0, field, "The content is required.")
	rank := 0
	for i, content := range m.Content {
		at := fmt.Sprintf("%s.%d", field, i)
		c.when(content.Value == "", at+".value", "The content value must be a string at least one character in length.")
		isCalendar := strings.HasPrefix(content.Type, "text/calendar; method=")
		c.when(content.Type == "" || breaksLine(content.Type) || (strings.Contains(content.Type, ";") && !isCalendar),
			at+".type", "The content type cannot contain ; or CRLF.")
		c.when(isCalendar && strings.Count(content.Type, ";") > 1, at+".type", "The content type takes no parameter but method.")
		next := slices.Index([]string{"text/plain", "text/html"}, content.Type)
		if next < 0 {
			next = 2
		}
		c.when(next < rank || (next < 2 && i > 0 && next == rank), field, "If present, text/plain must be first, followed by text/html, followed by all others.")
		rank = next
	}
}

func (m *Mail) attachmentFaults(c *complaints) {
	for i, a := range m.Attachments {
		at := fmt.Sprintf("attachments.%d", i)
		_, err := base64.StdEncoding.Strict().DecodeString(a.Content)
		c.when(err != nil || a.Content == "" || breaksLine(a.Content), at+".content", "The attachment content must be base64 encoded.")
		c.when(strings.ContainsAny(a.Type, ";\r\n") || !strings.Contains(a.Type, "/"), at+".type", "The type cannot contain ; or CRLF.")
		c.when(a.Filename == "" || strings.ContainsAny(a.Filename, ";,\r\n"), at+".filename", "The filename cannot contain ; , or CRLF.")
		c.when(a.Disposition != "inline" && a.Disposition != "attachment", at+".disposition", "The disposition is inline or attachment.")
		c.when(strings.ContainsAny(a.ContentID, "<>\r\n"), at+".content_id", "The content ID cannot contain CRLF or brackets.")
		c.when(a.Disposition == "inline" && a.ContentID == "", at+".content_id", "An inline file needs a content ID.")
	}
}

func (m *Mail) headerFaults(c *complaints) {
	reserved := []string{
		"x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding", "to",
		"from", "subject", "reply-to", "cc", "bcc",
	}
	seen := make(map[string]bool)
	for name, value := range m.Headers {
		key := fold(name)
		c.when(slices.Contains(reserved, key), "headers."+name, "You cannot use a reserved header.")
		c.when(name == "" || !isASCII(name) || strings.ContainsAny(name, " \t\r\n"), "headers."+name, "A header name is ASCII without spaces.")
		c.when(seen[key], "headers."+name, "A header stands twice.")
		c.when(breaksLine(value), "headers."+name, "A header value is one line.")
		c.when(strings.HasPrefix(key, "x-bridge-"), "headers."+name, "A directive of the bridge left it.")
		seen[key] = true
	}
}

func (m *Mail) directiveFaults(c *complaints) {
	c.when(len(m.Categories) > 10, "categories", "There are more than 10 categories.")
	for i, category := range m.Categories {
		c.when(category == "" || len(category) > 255 || !isASCII(category), "categories", "A category is 1 to 255 characters of ASCII.")
		c.when(slices.Contains(m.Categories[:i], category), "categories", "The categories must be unique.")
	}
	c.when(m.SendAt != nil && time.Unix(*m.SendAt, 0).After(time.Now().Add(72*time.Hour+time.Minute)), "send_at", "Scheduling more than 72 hours in advance is forbidden.")
	c.when(m.ASM != nil && m.ASM.GroupID <= 0, "asm.group_id", "The group_id is required.")
	c.when(m.ASM != nil && len(m.ASM.GroupsToDisplay) > 25, "asm.groups_to_display", "There are more than 25 groups.")
	c.when(m.IPPoolName != nil && (len(*m.IPPoolName) < 2 || len(*m.IPPoolName) > 64), "ip_pool_name", "The pool name has 2 to 64 characters.")
}

// Decode reads and checks a request body as the API would.
func Decode(body []byte) (*Mail, error) {
	parsed, err := decode(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if faults := parsed.faults(); len(faults) > 0 {
		return nil, fmt.Errorf("%s: %s", *faults[0].Field, faults[0].Message)
	}
	if len(body) >= maxBody {
		return nil, fmt.Errorf("%d octets are too many", len(body))
	}
	return parsed, nil
}

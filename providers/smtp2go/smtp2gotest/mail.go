package smtp2gotest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Mail is a mail that was taken.
type Mail struct {
	// ID is the email_id or schedule_id that the fake gave.
	ID string `json:"-"`
	// Time is when it was taken.
	Time time.Time `json:"-"`
	// Raw is the mail that came to /email/mime; nil for one of /email/send.
	Raw []byte `json:"-"`

	Sender        string   `json:"sender"`
	To            []string `json:"to"`
	Cc            []string `json:"cc"`
	Bcc           []string `json:"bcc"`
	Subject       string   `json:"subject"`
	TextBody      string   `json:"text_body"`
	HTMLBody      string   `json:"html_body"`
	CustomHeaders []Header `json:"custom_headers"`
	Attachments   []File   `json:"attachments"`
	Inlines       []File   `json:"inlines"`
	Schedule      string   `json:"schedule"`
	FastAccept    *bool    `json:"fastaccept"`
}

// Header is a field.
type Header struct {
	Name  string `json:"header"`
	Value string `json:"value"`
}

// File is an attachment or an inline image.
type File struct {
	Filename string `json:"filename"`
	Fileblob string `json:"fileblob"`
	Mimetype string `json:"mimetype"`
}

// Recipients are all who get the mail, as addresses.
func (m *Mail) Recipients() []string { return append(m.Shown(), addresses(m.Bcc)...) }

// Shown are those whom everybody sees.
func (m *Mail) Shown() []string { return append(addresses(m.To), addresses(m.Cc)...) }

// Header is the value of the first field of that name.
func (m *Mail) Header(name string) string {
	for _, h := range m.CustomHeaders {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

func addresses(mailboxes []string) []string {
	list := make([]string, len(mailboxes))
	for i, mailbox := range mailboxes {
		_, list[i] = cutMailbox(mailbox)
	}
	return list
}

// cutMailbox reads Name <a@b> or a@b.
func cutMailbox(mailbox string) (name, address string) {
	open := strings.LastIndexByte(mailbox, '<')
	if open < 0 || !strings.HasSuffix(mailbox, ">") {
		return "", mailbox
	}
	return strings.TrimSpace(mailbox[:open]), mailbox[open+1 : len(mailbox)-1]
}

// DecodeSend reads and checks the body of a request to /email/send.
func DecodeSend(body []byte) (*Mail, error) {
	var mail Mail
	if err := decode(body, &mail); err != nil {
		return nil, err
	}
	c := &checks{}
	mail.checkAddresses(c)
	mail.checkContent(c)
	mail.checkHeaders(c)
	mail.checkFiles(c)
	checkSchedule(c, mail.Schedule, mail.FastAccept)
	return &mail, c.first()
}

// decode reads one JSON document of known fields and nothing behind it.
func decode(body []byte, to any) error {
	if len(body) > maxBody {
		return fmt.Errorf("%d octets are too many", len(body))
	}
	if !utf8.Valid(body) {
		return errors.New("the payload is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(to); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("something follows the document: %w", err)
	}
	return nil
}

// checks gathers what is wrong.
type checks struct{ wrong []complaint }

func (c *checks) when(wrong bool, field, text string) {
	if wrong {
		c.wrong = append(c.wrong, complaint{"NON_VALIDATING_IN_PAYLOAD", field, text})
	}
}

// first is what the API would name: the first bad field only.
func (c *checks) first() error {
	if len(c.wrong) == 0 {
		return nil
	}
	return c.wrong[0]
}

const maxRecipients = 100

func (m *Mail) checkAddresses(c *checks) {
	c.when(!isMailbox(m.Sender), "sender", unreadable("sender", m.Sender))
	c.when(len(m.To) == 0, "to", "'to' is a required property")
	seen := make(map[string]bool)
	for _, list := range []struct {
		field     string
		mailboxes []string
	}{{"to", m.To}, {"cc", m.Cc}, {"bcc", m.Bcc}} {
		c.when(len(list.mailboxes) > maxRecipients, list.field, "there are too many addresses, at most 100")
		for _, mailbox := range list.mailboxes {
			c.when(!isMailbox(mailbox), list.field, unreadable(list.field, mailbox))
			_, address := cutMailbox(mailbox)
			// Not of the manual: whether both are mailed is not known.
			c.when(seen[strings.ToLower(address)], list.field, "an address stands twice")
			seen[strings.ToLower(address)] = true
		}
	}
}

func unreadable(field, value string) string {
	return fmt.Sprintf("The field '%s' was expecting a valid RFC-822 formatted email field but found '%s', Please correct your JSON payload and try again.", field, value)
}

// isMailbox: a name that is quoted where it must be, and an address.
func isMailbox(mailbox string) bool {
	name, address := cutMailbox(mailbox)
	return !hasControl(mailbox) && isName(name) && isAddress(address)
}

func isName(name string) bool {
	if len(name) < 2 || name[0] != '"' {
		return !strings.ContainsAny(name, `()<>[]:;@\,."`)
	}
	inside, quoted := name[1:len(name)-1], name[len(name)-1] == '"'
	for i := 0; i < len(inside); i++ {
		switch inside[i] {
		case '\\':
			i++
		case '"':
			return false
		}
	}
	return quoted
}

// isAddress: ASCII, a local part and a domain, which may be [an IP address];
// blanks and brackets only in quotes.
func isAddress(address string) bool {
	at := strings.LastIndexByte(address, '@')
	if at < 1 || at == len(address)-1 || !isASCII(address) || hasControl(address) {
		return false
	}
	local := address[:at]
	if len(local) > 1 && local[0] == '"' && local[at-1] == '"' {
		local = ""
	}
	domain := strings.TrimSuffix(strings.TrimPrefix(address[at+1:], "["), "]")
	return !strings.ContainsAny(local+domain, ` <>,;:()[]\"@`)
}

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) }

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func (m *Mail) checkContent(c *checks) {
	n := utf8.RuneCountInString(m.Subject)
	c.when(strings.TrimSpace(m.Subject) == "" || n > 255 || hasControl(m.Subject), "subject", "the subject has 1 to 255 characters")
	c.when(m.TextBody == "" && m.HTMLBody == "", "text_body", "either html_body or text_body is required")
}

func (m *Mail) checkHeaders(c *checks) {
	const field = "custom_headers"
	c.when(m.CustomHeaders == nil, field, "the fake wants a list, though it may be empty")
	seen := make(map[string]bool)
	for _, h := range m.CustomHeaders {
		name := strings.ToLower(h.Name)
		c.when(name == "" || !isASCII(name) || strings.ContainsAny(name, " :") || hasControl(name) || len(name) > 127, field, "a header name has 1 to 127 characters")
		c.when(slices.Contains([]string{"content-type", "content-transfer-encoding", "mime-version"}, name), field, "the header is not allowed")
		c.when(slices.Contains([]string{"from", "to", "cc", "bcc", "subject"}, name), field, "the header has a field of its own")
		c.when(strings.Contains(name, "smtp2go"), field, "the header is used internally")
		c.when(!strings.HasPrefix(name, "x-") && !isStandard(name), field, "a header that is not standard must begin with X-")
		c.when(h.Value == "" || utf8.RuneCountInString(h.Value) > 127 || strings.TrimSpace(h.Value) != h.Value || hasControl(h.Value), field,
			"a header value has 1 to 127 characters and no blanks around it")
		c.when(strings.HasPrefix(name, "x-bridge-") && name != "x-bridge-id", field, "a directive of the bridge left it")
		c.when(seen[name], field, "a header stands twice")
		seen[name] = true
	}
}

// isStandard: of the names that are registered those that the tests use.
func isStandard(name string) bool {
	switch name {
	case "reply-to", "message-id", "in-reply-to", "references", "auto-submitted", "comments", "keywords", "importance",
		"priority", "sensitivity", "organization", "user-agent", "archived-at", "supersedes", "expires", "language",
		"disposition-notification-to", "disposition-notification-options", "solicitation", "obsoletes", "accept-language":
		return true
	}
	return strings.HasPrefix(name, "list-") || strings.HasPrefix(name, "resent-") || registered[name]
}

// registered are the others that somebody may come across.
var registered = map[string]bool{
	"alternate-recipient": true, "archive": true, "autoforwarded": true, "autosubmitted": true, "conversion": true,
	"conversion-with-loss": true, "deferred-delivery": true, "delivery-date": true, "disclose-recipients": true,
	"expiry-date": true, "generate-delivery-report": true, "incomplete-copy": true, "jabber-id": true,
	"latest-delivery-time": true, "message-context": true, "message-type": true, "original-from": true,
	"original-message-id": true, "original-recipient": true, "original-subject": true, "pics-label": true,
	"prevent-nondelivery-report": true, "reply-by": true, "require-recipient-valid-since": true, "tls-required": true,
	"vbr-info": true,
}

func (m *Mail) checkFiles(c *checks) {
	for _, f := range m.Attachments {
		f.check(c, "attachments")
	}
	seen := make(map[string]bool)
	for _, f := range m.Inlines {
		f.check(c, "inlines")
		c.when(seen[strings.ToLower(f.Filename)], "inlines", "two inlines have one name")
		seen[strings.ToLower(f.Filename)] = true
		c.when(!isASCII(f.Filename) || strings.ContainsAny(f.Filename, `/\ "<>()[];:,?%&*`), "inlines", "the name is no Content-ID")
		c.when(!strings.Contains(strings.ToLower(m.HTMLBody), "cid:"), "inlines", "the HTML refers to no image")
	}
}

func (f File) check(c *checks, field string) {
	_, err := base64.StdEncoding.Strict().DecodeString(f.Fileblob)
	c.when(err != nil || f.Fileblob == "" || strings.ContainsAny(f.Fileblob, "\r\n"), field, "fileblob is not base64")
	c.when(f.Filename == "" || hasControl(f.Filename) || strings.ContainsAny(f.Filename, `/\`), field, "filename is required")
	major, minor, ok := strings.Cut(f.Mimetype, "/")
	c.when(!ok || major == "" || minor == "" || !isASCII(f.Mimetype) || hasControl(f.Mimetype) || strings.ContainsAny(f.Mimetype, "; ,"), field, "mimetype is not type/subtype")
}

// checkSchedule: within the next three days.
func checkSchedule(c *checks, schedule string, fastAccept *bool) {
	c.when(fastAccept == nil || *fastAccept, "fastaccept", "the fake wants false, or it could say nothing of the mail")
	if schedule == "" {
		return
	}
	at, err := time.Parse("2006-01-02 15:04:05 -0700", schedule)
	now := time.Now()
	c.when(err != nil || at.Before(now) || at.After(now.Add(72*time.Hour)), "schedule", "the time must lie in the next 3 days")
}

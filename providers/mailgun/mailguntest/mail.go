package mailguntest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/mail"
	"slices"
	"strings"
	"time"
)

const (
	// maxMail is the largest mail, in octets.
	maxMail = 25_000_000
	// maxOptions is the most of all that begins with o:, h:, v: or t:, in octets.
	maxOptions    = 16_000
	maxRecipients = 1000
)

// Mail is a request that was taken.
type Mail struct {
	// ID is the Message-ID, without brackets: the mail's own, else what the fake gave.
	ID string
	// Time is when it was taken.
	Time time.Time
	// MIME: it came by messages.mime.
	MIME bool
	// Fields are the values by name, in order.
	Fields map[string][]string
	// Files are the attachments and inline images, in order.
	Files []File
	// Message is the mail itself, and Header its header; of messages.mime only.
	Message []byte
	Header  mail.Header
}

// File is an attachment or an inline image.
type File struct {
	// Field is attachment or inline.
	Field, Name, Type string
	Content           []byte
}

// Copy is one mail that Mailgun sends.
type Copy struct {
	// Recipients get this copy, Shown is whom they see in To and Cc.
	Recipients, Shown []string
}

// messageID is the mail's own, without brackets.
func (m *Mail) messageID() string {
	id := m.Header.Get("Message-Id")
	for name, values := range m.Fields {
		if strings.EqualFold(name, "h:Message-Id") {
			id = values[0]
		}
	}
	return strings.Trim(id, "<>")
}

// Recipients are all who are mailed, each once: Mailgun drops what it takes for a
// duplicate.
func (m *Mail) Recipients() []string {
	var list []string
	seen := make(map[string]bool)
	for _, name := range []string{"to", "cc", "bcc"} {
		for _, address := range m.addresses(name) {
			if key := strings.ToLower(address); !seen[key] {
				seen[key] = true
				list = append(list, address)
			}
		}
	}
	return list
}

// Copies are the mails that leave: one for all, or one each where there are
// variables of recipients.
func (m *Mail) Copies() []Copy {
	if m.Fields["recipient-variables"] == nil {
		return []Copy{{Recipients: m.Recipients(), Shown: m.shown()}}
	}
	var copies []Copy
	for _, recipient := range m.Recipients() {
		one := Copy{Recipients: []string{recipient}, Shown: []string{recipient}}
		if m.MIME {
			one.Shown = m.shown()
		}
		copies = append(copies, one)
	}
	return copies
}

func (m *Mail) shown() []string {
	if !m.MIME {
		return append(m.addresses("to"), m.addresses("cc")...)
	}
	var list []string
	for _, name := range []string{"To", "Cc"} {
		for _, line := range m.Header[name] {
			if parsed, err := mail.ParseAddressList(line); err == nil {
				for _, address := range parsed {
					list = append(list, address.Address)
				}
			}
		}
	}
	return list
}

func (m *Mail) addresses(name string) []string {
	var list []string
	for _, value := range m.Fields[name] {
		list = append(list, address(value))
	}
	return list
}

// address is local@domain out of a mailbox; empty where it is none.
func address(mailbox string) string {
	if start := strings.LastIndexByte(mailbox, '<'); start >= 0 && strings.HasSuffix(mailbox, ">") {
		mailbox = mailbox[start+1 : len(mailbox)-1]
	}
	at := strings.LastIndexByte(mailbox, '@')
	if at < 1 || at == len(mailbox)-1 || !isASCII(mailbox) || breaksLine(mailbox) {
		return ""
	}
	local := mailbox[:at]
	if len(local) > 1 && local[0] == '"' && local[at-1] == '"' {
		local = ""
	}
	if strings.ContainsAny(local+mailbox[at:], " \t<>,;\"\x00") {
		return ""
	}
	return mailbox
}

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) }

func breaksLine(s string) bool { return strings.ContainsAny(s, "\r\n") }

// Decode reads and checks a request as the API would.
func Decode(path, contentType string, body []byte) (*Mail, error) {
	if len(body) > maxRequest {
		return nil, refusedError("request size exceeds 52.4MiB limit")
	}
	return read(strings.HasSuffix(path, ".mime"), contentType, bytes.NewReader(body))
}

func read(isMIME bool, contentType string, body io.Reader) (*Mail, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return nil, refusedError("Invalid request content type")
	}
	m := &Mail{MIME: isMIME, Fields: make(map[string][]string)}
	parts := multipart.NewReader(body, params["boundary"])
	for n := 0; ; n++ {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) && n > 0 {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("malformed multipart: %w", err)
		}
		if err := m.add(part); err != nil {
			return nil, err
		}
	}
	if m.MIME {
		err = m.checkMIME()
	} else {
		err = m.checkFields()
	}
	return m, errors.Join(err, m.checkOptions())
}

// add keeps one part of the form.
func (m *Mail) add(part *multipart.Part) error {
	disposition, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil || disposition != "form-data" || params["name"] == "" {
		return refusedError("malformed multipart: a part without a name")
	}
	if strings.Contains(part.Header.Get("Content-Disposition"), "*=") {
		return refusedError("a file name of RFC 5987, with which the file is lost")
	}
	content, err := io.ReadAll(part) //nolint:forbidigo // bounded by the reader of the request
	if err != nil {
		return fmt.Errorf("malformed multipart: %w", err)
	}
	name, file := params["name"], params["filename"]
	switch isFile := name == "attachment" || name == "inline" || name == "message"; {
	case isFile && file == "":
		return fmt.Errorf("'%s' parameter is not a file", name)
	case !isFile && file != "":
		return fmt.Errorf("%s is a file", name)
	case name == "message" && m.Message != nil:
		return refusedError("Only one parameters message is allowed")
	case name == "message":
		m.Message = content
	case isFile:
		m.Files = append(m.Files, File{name, file, part.Header.Get("Content-Type"), content})
	default:
		m.Fields[name] = append(m.Fields[name], string(content))
	}
	return nil
}

// checkMIME: only the field to says who receives.
func (m *Mail) checkMIME() error {
	for name := range m.Fields {
		if slices.Contains([]string{"from", "cc", "bcc", "subject", "text", "html", "amp-html"}, name) {
			return fmt.Errorf("messages.mime reads no field %s", name)
		}
	}
	switch {
	case m.Message == nil:
		return refusedError("'message' parameter is missing. please check documentation")
	case len(m.Files) > 0:
		return refusedError("messages.mime reads no files")
	case len(m.Message) > maxMail:
		return refusedError("the message is larger than 25MB")
	}
	if err := m.checkRecipients(); err != nil {
		return err
	}
	return m.checkMessage()
}

// checkMessage: the mail is one, and none of what only we understand is in it.
func (m *Mail) checkMessage() error {
	for line := range bytes.SplitSeq(bytes.TrimSuffix(m.Message, []byte("\r\n")), []byte("\r\n")) {
		if len(line) > 998 || bytes.ContainsAny(line, "\r\n") {
			return refusedError("the message has lines that cannot leave")
		}
	}
	parsed, err := mail.ReadMessage(bytes.NewReader(m.Message))
	if err != nil {
		return fmt.Errorf("the message cannot be read: %w", err)
	}
	m.Header = parsed.Header
	if m.Header.Get("From") == "" {
		return refusedError("'from' parameter is missing. please check documentation")
	}
	for name := range m.Header {
		key := strings.ToLower(name)
		if key == "bcc" || key == "x-smtpapi" || strings.HasPrefix(key, "x-bridge-") || strings.HasPrefix(key, "x-mailgun-") {
			return fmt.Errorf("the message shows %s to its recipients, or Mailgun obeys it", name)
		}
	}
	if head, _, _ := bytes.Cut(m.Message, []byte("\r\n\r\n")); !isASCII(string(head)) {
		return refusedError("the header of the message is not ASCII")
	}
	return nil
}

// checkFields: what Mailgun needs to build a mail.
func (m *Mail) checkFields() error {
	for _, name := range []string{"from", "subject", "text", "html", "amp-html"} {
		if len(m.Fields[name]) > 1 {
			return refusedError("Only one parameters " + name + " is allowed")
		}
	}
	switch {
	case m.Message != nil:
		return refusedError("messages reads no field message")
	case len(m.Fields["from"]) == 0:
		return refusedError("'from' parameter is missing. please check documentation")
	case address(m.Fields["from"][0]) == "" || breaksLine(m.Fields["from"][0]) || !isASCII(m.Fields["from"][0]):
		return refusedError("'from' parameter is not a valid address. please check documentation")
	}
	if err := m.checkRecipients(); err != nil {
		return err
	}
	body := strings.Join(slices.Concat(m.Fields["text"], m.Fields["html"]), "")
	if body == "" {
		return refusedError("Need at least one of 'text' or 'html' parameters specified")
	}
	if len(m.Fields["subject"]) == 0 || breaksLine(m.Fields["subject"][0]) {
		return refusedError("'subject' parameter is missing. please check documentation")
	}
	return m.checkFiles()
}

func (m *Mail) checkFiles() error {
	size, seen := 0, make(map[string]bool)
	for _, body := range []string{"text", "html", "amp-html"} {
		size += len(strings.Join(m.Fields[body], ""))
	}
	for _, file := range m.Files {
		size += len(file.Content) / 3 * 4
		if kind, _, err := mime.ParseMediaType(file.Type); err != nil || !strings.Contains(kind, "/") {
			return fmt.Errorf("%q is no media type", file.Type)
		}
		if strings.ContainsAny(file.Name, "/\r\n") || file.Field == "inline" && (seen[strings.ToLower(file.Name)] || strings.ContainsAny(file.Name, " <>")) {
			return fmt.Errorf("the file name %q is no Content-ID, or stands twice", file.Name)
		}
		if file.Field == "inline" {
			seen[strings.ToLower(file.Name)] = true
		}
	}
	if size > maxMail {
		return refusedError("the message is larger than 25MB")
	}
	return nil
}

func (m *Mail) checkRecipients() error {
	total := 0
	for _, name := range []string{"to", "cc", "bcc"} {
		for _, value := range m.Fields[name] {
			if total++; address(value) == "" || breaksLine(value) || !isASCII(value) {
				return fmt.Errorf("'%s' parameter is not a valid address. please check documentation", name)
			}
		}
	}
	switch {
	case len(m.Fields["to"]) == 0:
		return refusedError("'to' parameter is missing. please check documentation")
	case total > maxRecipients:
		return refusedError("Too many recipients, max is 1000")
	}
	for _, value := range m.Fields["recipient-variables"] {
		var variables map[string]json.RawMessage
		if json.Unmarshal([]byte(value), &variables) != nil {
			return refusedError("'recipient-variables' parameter is not a valid JSON")
		}
		to := m.addresses("to")
		if len(variables) != len(to) || slices.ContainsFunc(to, func(a string) bool { return variables[a] == nil }) {
			return refusedError("the variables are not those of the recipients")
		}
	}
	return nil
}

// checkOptions: the names and values that the manual has.
func (m *Mail) checkOptions() error {
	size, seen := 0, make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(m.Fields)) {
		values := m.Fields[name]
		if len(name) > 1 && name[1] == ':' {
			for _, value := range values {
				size += len(name) + len(value)
			}
		}
		var err error
		switch {
		case strings.HasPrefix(name, "h:"):
			err = checkHeader(name[len("h:"):], values, seen)
		case strings.HasPrefix(name, "v:"):
			err = once(name, values)
		default:
			err = checkOption(name, values)
		}
		if err != nil {
			return err
		}
	}
	if size > maxOptions {
		return refusedError("Send options (parameters starting with o:, h:, v:, or t:) are limited to 16 kB in total")
	}
	return nil
}

func once(name string, values []string) error {
	if len(values) != 1 || len(name) == len("v:") {
		return fmt.Errorf("%s stands %d times, or names nothing", name, len(values))
	}
	return nil
}

func checkHeader(name string, values []string, seen map[string]bool) error {
	key := strings.ToLower(name)
	switch {
	case name == "" || !isASCII(name) || strings.ContainsAny(name, " \t\r\n:"):
		return refusedError("Header name must be pure ASCII")
	case len(values) != 1 || seen[key]:
		return fmt.Errorf("h:%s stands twice", name)
	case breaksLine(values[0]) || !isASCII(values[0]):
		return fmt.Errorf("h:%s is no line of ASCII", name)
	case strings.HasPrefix(key, "x-bridge-"), slices.Contains([]string{"from", "to", "cc", "bcc", "subject", "date", "content-type"}, key):
		return fmt.Errorf("h:%s is not ours to give", name)
	}
	seen[key] = true
	return nil
}

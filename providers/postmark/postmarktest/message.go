package postmarktest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
)

// Message is a message of the Email API.
type Message struct {
	// ID is the MessageID that the fake gave, Delivered whom it sent the message to.
	ID        string   `json:"-"`
	Delivered []string `json:"-"`

	From          string       `json:"From"`
	To            string       `json:"To"`
	Cc            string       `json:"Cc"`
	Bcc           string       `json:"Bcc"`
	ReplyTo       string       `json:"ReplyTo"`
	Subject       *string      `json:"Subject"`
	Tag           string       `json:"Tag"`
	Metadata      Strings      `json:"Metadata"`
	TrackOpens    *bool        `json:"TrackOpens"`
	TrackLinks    *string      `json:"TrackLinks"`
	MessageStream string       `json:"MessageStream"`
	Headers       []Header     `json:"Headers"`
	TextBody      *string      `json:"TextBody"`
	HTMLBody      *string      `json:"HtmlBody"`
	Attachments   []Attachment `json:"Attachments"`
}

// Header is a field of the mail.
type Header struct {
	Name  string `json:"Name"`
	Value string `json:"Value"`
}

// Attachment is a file.
type Attachment struct {
	Name        string  `json:"Name"`
	Content     string  `json:"Content"`
	ContentType string  `json:"ContentType"`
	ContentID   *string `json:"ContentID"`
}

// Recipients are all who get the message.
func (m *Message) Recipients() []string { return append(m.Shown(), emails(m.Bcc)...) }

// Shown are those whom everybody sees.
func (m *Message) Shown() []string { return append(emails(m.To), emails(m.Cc)...) }

// Strings is an object of strings, in which a name may stand once.
type Strings map[string]string

// UnmarshalJSON refuses what encoding/json would let pass: a name twice, in any
// case, a value that is no string.
func (s *Strings) UnmarshalJSON(raw []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if _, err := decoder.Token(); err != nil {
		return err
	}
	*s = make(Strings)
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		name := fmt.Sprint(token)
		var value *string
		if err := decoder.Decode(&value); err != nil || value == nil {
			return errors.New("a value is no string")
		}
		for other := range *s {
			if strings.EqualFold(other, name) {
				return fmt.Errorf("%s stands twice", name)
			}
		}
		(*s)[name] = *value
	}
	return nil
}

// decode reads and checks one message.
func decode(body []byte) (*Message, *complaint) {
	if len(body) > maxMessage {
		return nil, &complaint{300, "The message is larger than 10 MB."}
	}
	var m Message
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&m)
	if _, end := decoder.Token(); err == nil && !errors.Is(end, io.EOF) {
		err = errors.New("something follows the document")
	}
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return nil, &complaint{402, "Invalid JSON."}
	case err != nil:
		return nil, &complaint{403, "Invalid request field(s): " + err.Error() + "."}
	}
	for _, check := range []func(*Message) *complaint{
		(*Message).checkStream, (*Message).checkAddresses, (*Message).checkContent, (*Message).checkDirectives,
		(*Message).checkHeaders, (*Message).checkAttachments,
	} {
		if refusal := check(&m); refusal != nil {
			return nil, refusal
		}
	}
	return &m, nil
}

// invalid is a message that the API finds wrong.
func invalid(format string, args ...any) *complaint {
	return &complaint{300, fmt.Sprintf(format, args...)}
}

func (m *Message) checkStream() *complaint {
	if m.MessageStream != "" && (len(m.MessageStream) > 30 || strings.ContainsAny(m.MessageStream, " \t\r\n")) {
		return &complaint{1235, "The stream provided: '" + m.MessageStream + "' does not exist on this server."}
	}
	return nil
}

func (m *Message) checkAddresses() *complaint {
	from, ok := mailboxes(m.From)
	if !ok || len(from) != 1 || !valid(from[0]) {
		return invalid("Invalid 'From' address: '%s'.", m.From)
	}
	if units(m.From) > 255 {
		return invalid("The 'From' field exceeds the maximum length of 255 characters.")
	}
	if m.To == "" {
		return invalid("Zero recipients specified")
	}
	seen := make(map[string]bool)
	for _, field := range []Header{{"To", m.To}, {"Cc", m.Cc}, {"Bcc", m.Bcc}, {"Reply-To", m.ReplyTo}} {
		list, ok := mailboxes(field.Value)
		if !ok {
			return invalid("Error parsing '%s': Unclosed quoted string: %s", field.Name, field.Value)
		}
		for _, address := range list {
			if !valid(address) {
				return invalid("Error parsing '%s': Illegal email address '%s'. It must contain the '@' symbol.", field.Name, address)
			}
			if field.Name == "Reply-To" {
				continue
			}
			if seen[fold(address)] { // the real one may send it twice, or once: nobody says
				return invalid("'%s' is a recipient twice.", address)
			}
			seen[fold(address)] = true
		}
	}
	if len(seen) > 50 {
		return invalid("Exceeded the maximum of 50 recipients per message.")
	}
	return nil
}

// emails are the addresses of a list that was checked.
func emails(list string) []string {
	addresses, _ := mailboxes(list)
	return addresses
}

// mailboxes splits at the commas outside quotes, and takes the names off; not ok
// where a quote never ends.
func mailboxes(list string) (addresses []string, ok bool) {
	quoted, escaped, start, open := false, false, 0, -1
	take := func(end int) {
		address := strings.TrimSpace(list[start:end])
		if open >= 0 {
			address = strings.TrimSuffix(strings.TrimSpace(list[open+1:end]), ">")
		}
		addresses = append(addresses, address)
		start, open = end+1, -1
	}
	for i, r := range list {
		switch {
		case escaped:
			escaped = false
		case quoted && r == '\\':
			escaped = true
		case r == '"':
			quoted = !quoted
		case quoted:
		case r == '<':
			open = i
		case r == ',':
			take(i)
		}
	}
	if list != "" {
		take(len(list))
	}
	return addresses, !quoted
}

// valid: ASCII, a local part and a domain; blanks and brackets only in quotes.
func valid(address string) bool {
	at := strings.LastIndexByte(address, '@')
	if at < 1 || at == len(address)-1 || !isASCII(address) || strings.ContainsFunc(address, isControl) {
		return false
	}
	local := address[:at]
	if len(local) > 1 && local[0] == '"' && local[at-1] == '"' {
		local = ""
	}
	return !strings.ContainsAny(local+address[at:], " <>,;:()\"\\")
}

func isASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) }

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// units are UTF-16 code units, in which the manual counts.
func units(s string) int { return len(utf16.Encode([]rune(s))) }

func (m *Message) checkContent() *complaint {
	const maxBody = 5 << 20
	text, html := value(m.TextBody), value(m.HTMLBody)
	switch {
	case text == "" && html == "":
		return invalid("Provide either email TextBody or HtmlBody or both.")
	case len(text) > maxBody || len(html) > maxBody:
		return invalid("A body is larger than 5 MB.")
	case m.Subject != nil && units(*m.Subject) > 2000:
		return invalid("The 'Subject' field exceeds the maximum length of 2000 characters.")
	case strings.ContainsAny(value(m.Subject), "\r\n"):
		return invalid("The 'Subject' field has several lines.")
	}
	return nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (m *Message) checkDirectives() *complaint {
	switch {
	case units(m.Tag) > 1000:
		return invalid("The 'Tag' field exceeds the maximum length of 1000 characters.")
	case len(m.Metadata) > 10:
		return invalid("Metadata may contain at most 10 fields.")
	case m.TrackLinks != nil && !slices.Contains([]string{"None", "HtmlAndText", "HtmlOnly", "TextOnly"}, *m.TrackLinks):
		return &complaint{403, "Invalid request field(s): 'TrackLinks'."}
	}
	for key, text := range m.Metadata {
		if key == "" || units(key) > 20 || units(text) > 80 {
			return invalid("Invalid metadata content: '%s'.", key)
		}
	}
	return nil
}

// reserved are fields that say what others say, or that are Postmark's own.
var reserved = []string{
	"return-path", "from", "reply-to", "sender", "received", "date", "content-type", "cc", "bcc", "subject", "tag",
	"attachment", "to", "track-opens", "track-links", "postmark-template-alias", "message-stream", "mime-version",
	"content-transfer-encoding", "dkim-signature",
}

func (m *Message) checkHeaders() *complaint {
	seen := make(map[string]bool)
	for _, h := range m.Headers {
		name := fold(h.Name)
		switch {
		case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }):
			return invalid("The header '%s' has no name of a header.", h.Name)
		case slices.Contains(reserved, name):
			return invalid("The header '%s' is not allowed.", h.Name)
		case strings.HasPrefix(name, "x-pm-") && name != "x-pm-keepid" && name != "x-pm-bounce-type",
			strings.HasPrefix(name, "x-bridge-"):
			return invalid("The directive '%s' is none of a header.", h.Name)
		case seen[name]: // whether the real one keeps both is not documented
			return invalid("The header '%s' stands twice.", h.Name)
		case !isASCII(h.Value) || strings.ContainsFunc(h.Value, isControl):
			return invalid("The header '%s' is not one line of ASCII.", h.Name)
		}
		seen[name] = true
	}
	if seen["message-id"] != seen["x-pm-keepid"] {
		return invalid("A Message-ID is kept with X-PM-KeepID, and only then.")
	}
	return nil
}

// forbidden are the extensions of files that are refused.
const forbidden = ` .vbs .exe .bin .bat .chm .com .cpl .crt .hlp .hta .inf .ins .isp .jse .lnk .mdb .pcd .pif .reg .scr .sct
	.shs .vbe .vba .wsf .wsh .wsl .msc .msi .msp .mst `

func (m *Message) checkAttachments() *complaint {
	for _, a := range m.Attachments {
		content, err := base64.StdEncoding.Strict().DecodeString(a.Content)
		mediaType, _, badType := mime.ParseMediaType(a.ContentType)
		switch extension := fold(path.Ext(a.Name)); {
		case a.Name == "" || strings.ContainsFunc(a.Name, isControl):
			return invalid("An attachment has no name.")
		case slices.Contains(strings.Fields(forbidden), extension):
			return &complaint{411, "Attachment file type not allowed."}
		case err != nil || strings.ContainsAny(a.Content, "\r\n"):
			return &complaint{403, "Invalid request field(s): 'Attachments'."}
		case len(content) == 0:
			return invalid("Zero-sized attachments not allowed.")
		case badType != nil || !strings.Contains(mediaType, "/"):
			return invalid("The attachment '%s' has no content type.", a.Name)
		case a.ContentID != nil && (!strings.HasPrefix(*a.ContentID, "cid:") || len(*a.ContentID) == len("cid:") || strings.ContainsFunc(*a.ContentID, isControl)):
			return invalid("The attachment '%s' has no usable ContentID.", a.Name)
		}
	}
	return nil
}

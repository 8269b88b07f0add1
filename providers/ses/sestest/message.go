package sestest

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/mail"
	"path"
	"slices"
	"strings"
)

// Message is a mail as it was sent.
type Message struct {
	// Raw is the whole of it.
	Raw []byte
	// Fields of the header in order, unfolded.
	Fields []Field
}

// Field is one field of a header.
type Field struct{ Name, Value string }

// Get is the value of the first field of that name; empty where there is none.
func (m Message) Get(name string) string {
	for _, f := range m.Fields {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// Shown are the addresses of To and Cc.
func (m Message) Shown() []string {
	var shown []string
	for _, f := range m.Fields {
		if !strings.EqualFold(f.Name, "To") && !strings.EqualFold(f.Name, "Cc") {
			continue
		}
		for _, address := range addresses(f.Value) {
			shown = append(shown, address.Address)
		}
	}
	return shown
}

// single are the fields that may stand once ("Amazon SES header fields").
const single = ` Accept-Language acceptLanguage Archived-At Auto-Submitted Bounces-to Comments Content-Alternative Content-Base
	Content-Class Content-Description Content-Disposition Content-Duration Content-ID Content-Language Content-Length
	Content-Location Content-MD5 Content-Transfer-Encoding Content-Type Date Delivered-To
	Disposition-Notification-Options Disposition-Notification-To DKIM-Signature DomainKey-Signature Errors-To From
	Importance In-Reply-To Keywords List-Archive List-Help List-Id List-Owner List-Post List-Subscribe List-Unsubscribe
	List-Unsubscribe-Post Message-Context Message-ID MIME-Version Organization Original-From Original-Message-ID
	Original-Recipient Original-Subject Precedence Priority References Reply-To Return-Path Return-Receipt-To Sender
	Solicitation Sensitivity Subject Thread-Index Thread-Topic User-Agent VBR-Info `

// isUnwanted: fields that must not leave the bridge. SES mails who stands in Bcc,
// wants a verified Return-Path, and the rest are directives.
func isUnwanted(name string) bool {
	switch name {
	case "bcc", "resent-bcc", "return-path", "x-smtpapi":
		return true
	}
	return slices.ContainsFunc([]string{"x-bridge-", "x-ses-", "x-mailgun-", "x-pm-"}, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// maxLine is the longest line, its CRLF counted, in octets (RFC 5321).
const maxLine = 1000

// readMessage checks what SES checks of a raw mail.
func readMessage(raw []byte) (Message, *refusal) {
	for line := range bytes.SplitAfterSeq(raw, []byte("\n")) {
		switch {
		case len(line) > maxLine:
			return Message{}, bad("A line is longer than %d characters.", maxLine)
		case len(line) > 0 && (!bytes.HasSuffix(line, []byte("\r\n")) || bytes.IndexByte(line, '\r') != len(line)-2):
			return Message{}, bad("A line does not end in CRLF.")
		}
	}
	header, _, found := bytes.Cut(raw, []byte("\r\n\r\n"))
	if !found {
		return Message{}, bad("A blank line must stand behind the header.")
	}
	m := Message{Raw: raw, Fields: readFields(string(header))}
	if said := m.checkHeader(); said != nil {
		return Message{}, said
	}
	if name := forbiddenFile(m.Get("Content-Type"), m.Get("Content-Disposition"), raw[len(header)+4:]); name != "" {
		return Message{}, &refusal{http.StatusBadRequest, "MessageRejected", "Attachments of this type are not supported."}
	}
	return m, nil
}

func readFields(header string) []Field {
	var fields []Field
	for line := range strings.SplitSeq(header, "\r\n") {
		if len(fields) > 0 && (strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")) {
			fields[len(fields)-1].Value += line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		fields = append(fields, Field{strings.TrimRight(name, " \t"), strings.TrimSpace(value)})
	}
	return fields
}

func (m Message) checkHeader() *refusal {
	seen := make(map[string]bool)
	for _, f := range m.Fields {
		name := strings.ToLower(f.Name)
		switch {
		case name == "" || strings.ContainsFunc(name, isNoFieldRune):
			return bad("Empty header names are illegal.")
		case seen[name] && strings.Contains(strings.ToLower(strings.Join(strings.Fields(single), " ")+" "), " "+name+" "):
			return bad("Duplicate header '%s'.", f.Name)
		case isUnwanted(name):
			return bad("The header '%s' must not leave.", f.Name)
		case strings.ContainsFunc(f.Value, func(r rune) bool { return r > 0x7f || r == 0 }):
			return bad("The header '%s' is not ASCII.", f.Name)
		}
		seen[name] = true
		if said := checkAddresses(name, f.Value); said != nil {
			return said
		}
	}
	if !seen["from"] {
		return bad("Missing required header 'From'.")
	}
	return nil
}

func isNoFieldRune(r rune) bool { return r <= ' ' || r >= 0x7f }

// checkAddresses: those of the header are parsed too.
func checkAddresses(name, value string) *refusal {
	switch name {
	case "from", "sender", "to", "cc", "reply-to":
	default:
		return nil
	}
	list := addresses(value)
	if list == nil && name == "from" {
		return bad("Illegal address")
	}
	if list == nil && strings.Trim(value, " \t") != "" && !strings.HasSuffix(value, ":;") {
		return bad("Illegal address")
	}
	for _, address := range list {
		if said := checkAddress(address.Name, address.Address); said != nil {
			return said
		}
	}
	return nil
}

// addresses is nil where the field is no list of addresses.
func addresses(value string) []*mail.Address {
	words := &mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}
	list, err := (&mail.AddressParser{WordDecoder: words}).ParseList(value)
	if err != nil {
		return nil
	}
	for _, address := range list { // quotes around the local part are taken off
		bare := mail.Address{Address: address.Address}
		address.Address = strings.TrimSuffix(strings.TrimPrefix(bare.String(), "<"), ">")
	}
	return list
}

// maxAddress is the longest mailbox with its name, in characters.
const maxAddress = 320

// checkAddress is as strict as the library behind SES: ASCII, no special outside
// quotes, dots only between atoms, a domain of letters, digits and hyphens.
func checkAddress(name, address string) *refusal {
	local, host, found := cutLast(address, "@")
	switch {
	case !found:
		return bad("Illegal address: Missing final '@domain'")
	case length(name)+len(address) > maxAddress:
		return bad("Address length is more than %d characters long: '%s'.", maxAddress, address)
	case !isLocal(local):
		return bad("Illegal address: Local address contains illegal character")
	case !isHost(host):
		return bad("Illegal address: Domain contains illegal character")
	}
	return nil
}

// length is that of a name as it is written at the shortest, and of what stands
// around an address behind it.
func length(name string) int {
	if name == "" {
		return 0
	}
	return min(len(mime.QEncoding.Encode("utf-8", name)), len(mime.BEncoding.Encode("utf-8", name))) + len(" <>")
}

func cutLast(s, sep string) (before, after string, found bool) {
	at := strings.LastIndex(s, sep)
	if at < 0 {
		return s, "", false
	}
	return s[:at], s[at+len(sep):], true
}

func isLocal(s string) bool {
	if strings.HasPrefix(s, `"`) {
		return len(s) > 1 && strings.HasSuffix(s, `"`) && !strings.ContainsAny(s, "\r\n\x00")
	}
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || strings.ContainsAny(atom, `()<>[]:;@\,"`) {
			return false
		}
	}
	return true
}

func isHost(s string) bool {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		return true
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return false
		}
	}
	return true
}

// forbiddenExtensions are those of files that are refused ("Unsupported attachment
// types").
const forbiddenExtensions = ` ade adp app asp bas bat cer chm cmd com cpl crt csh der exe fxp gadget hlp hta inf ins isp its js jse
	ksh lib lnk mad maf mag mam maq mar mas mat mau mav maw mda mdb mde mdt mdw mdz msc msh msh1 msh2 mshxml msh1xml
	msh2xml msi msp mst ops pcd pif plg prf prg reg scf scr sct shb shs sys ps1 ps1xml ps2 ps2xml psc1 psc2 tmp url vb
	vbe vbs vps vsmacros vss vst vsw vxd ws wsc wsf wsh xnk `

// forbiddenFile is the name of a file in the entity that is refused.
func forbiddenFile(contentType, disposition string, body []byte) string {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err == nil && strings.HasPrefix(mediaType, "multipart/") && params["boundary"] != "" {
		parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
		for {
			part, err := parts.NextRawPart()
			if err != nil {
				return ""
			}
			var content bytes.Buffer
			content.ReadFrom(part) //nolint:errcheck // what is there counts
			if name := forbiddenFile(part.Header.Get("Content-Type"), part.Header.Get("Content-Disposition"), content.Bytes()); name != "" {
				return name
			}
		}
	}
	names := []string{params["name"]}
	if _, params, err := mime.ParseMediaType(disposition); err == nil {
		names = append(names, params["filename"])
	}
	for _, name := range names {
		extension := strings.ToLower(strings.TrimPrefix(path.Ext(name), "."))
		if extension != "" && strings.Contains(" "+strings.Join(strings.Fields(forbiddenExtensions), " ")+" ", " "+extension+" ") {
			return name
		}
	}
	return ""
}

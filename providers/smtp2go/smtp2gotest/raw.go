package smtp2gotest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/mail"
	"slices"
	"strings"
)

// DecodeMIME reads and checks the body of a request to /email/mime: its
// recipients are those of the header.
func DecodeMIME(body []byte) (*Mail, error) {
	var request struct {
		MIMEEmail  string `json:"mime_email"`
		Schedule   string `json:"schedule"`
		FastAccept *bool  `json:"fastaccept"`
	}
	if err := decode(body, &request); err != nil {
		return nil, err
	}
	c := &checks{}
	raw, err := base64.StdEncoding.Strict().DecodeString(request.MIMEEmail)
	c.when(err != nil || len(raw) == 0 || strings.ContainsAny(request.MIMEEmail, "\r\n"), "mime_email", "it is not base64")
	checkSchedule(c, request.Schedule, request.FastAccept)
	checkLines(c, raw)
	if err := c.first(); err != nil {
		return nil, err
	}
	parsed, err := readMIME(raw)
	if err != nil {
		return nil, complaint{"NON_VALIDATING_IN_PAYLOAD", "mime_email", err.Error()}
	}
	parsed.Schedule, parsed.FastAccept = request.Schedule, request.FastAccept
	return parsed, nil
}

// checkLines: CRLF alone, 998 octets at most (RFC 5322, 2.1.1), a header of 7
// bit. Nothing is said of octets above that in the body.
func checkLines(c *checks, raw []byte) {
	rest, ok := bytes.CutSuffix(raw, []byte("\r\n"))
	c.when(!ok, "mime_email", "the last line does not end")
	for line := range bytes.SplitSeq(rest, []byte("\r\n")) {
		c.when(len(line) > 998 || bytes.ContainsAny(line, "\r\n"), "mime_email", "a line is no line")
	}
	header, _, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	c.when(bytes.ContainsFunc(header, func(r rune) bool { return r == 0 || r >= 0x80 }), "mime_email", "the header is not of 7 bit")
}

// readMIME reads the header as a program would that takes its recipients from it.
func readMIME(raw []byte) (*Mail, error) {
	message, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	m := &Mail{Raw: raw, Subject: message.Header.Get("Subject")}
	for _, name := range []string{"Bcc", "Apparently-To", "Resent-To", "Resent-Cc", "Resent-Bcc", "X-Smtpapi"} {
		if message.Header.Get(name) != "" {
			return nil, errors.New(name + " may name further recipients")
		}
	}
	for name, values := range message.Header {
		key := strings.ToLower(name)
		once := slices.Contains([]string{"from", "to", "cc", "subject", "x-bridge-id", "message-id", "date"}, key)
		if once && len(values) > 1 {
			return nil, errors.New(name + " stands twice")
		}
		if strings.HasPrefix(key, "x-bridge-") && key != "x-bridge-id" || strings.Contains(key, "smtp2go") {
			return nil, errors.New(name + " should not have left")
		}
		for _, value := range values {
			m.CustomHeaders = append(m.CustomHeaders, Header{name, value})
		}
	}
	from, err := message.Header.AddressList("From")
	if err != nil || len(from) != 1 {
		return nil, errors.New("there must be one From")
	}
	m.Sender = from[0].Address
	return m, m.readRecipients(message.Header)
}

func (m *Mail) readRecipients(header mail.Header) error {
	seen := make(map[string]bool)
	for _, list := range []struct {
		name string
		to   *[]string
	}{{"To", &m.To}, {"Cc", &m.Cc}} {
		if header.Get(list.name) == "" {
			continue
		}
		parsed, err := header.AddressList(list.name)
		if err != nil {
			return errors.New(list.name + " is no list of addresses")
		}
		for _, address := range parsed {
			if seen[strings.ToLower(address.Address)] || !isAddress(address.Address) {
				return errors.New(address.Address + " stands twice, or is none")
			}
			seen[strings.ToLower(address.Address)] = true
			*list.to = append(*list.to, address.Address)
		}
	}
	if len(m.To) == 0 {
		return errors.New("there is nobody in To")
	}
	return nil
}

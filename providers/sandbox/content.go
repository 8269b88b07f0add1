package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"smtpbridge/translate"
)

const (
	// maxBodyBytes is how much of each body is kept, in octets.
	maxBodyBytes = 64 << 10
	// maxFieldBytes is how much is kept of addresses, headers and file names
	// together, in octets.
	maxFieldBytes = 64 << 10
)

// Content is what the recipient of a message would see, beside what its record
// says: the field content of GET /api/v1/messages/{id}.
type Content struct {
	From        string       `json:"from"`
	To          []string     `json:"to,omitempty"`
	Cc          []string     `json:"cc,omitempty"`
	ReplyTo     []string     `json:"reply_to,omitempty"`
	Headers     []Header     `json:"headers,omitempty"`
	Text        *Body        `json:"text,omitempty"`
	HTML        *Body        `json:"html,omitempty"`
	AMP         *Body        `json:"amp,omitempty"`
	Attachments []Attachment `json:"attachments,omitempty"`
	// Truncated: not all addresses, headers and file names are here.
	Truncated bool `json:"truncated,omitempty"`
}

// Header is one header field that is none of the others.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Body is a text as UTF-8.
type Body struct {
	Content string `json:"content"`
	// Bytes is the whole size, in octets.
	Bytes int64 `json:"bytes"`
	// Truncated: the text goes on.
	Truncated bool `json:"truncated,omitempty"`
}

// Attachment is a file, an inline image or another form of the body.
type Attachment struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	ContentID string `json:"content_id,omitempty"`
	Bytes     int64  `json:"bytes"`
}

// render is the content of m as JSON.
func render(m *translate.Message) (json.RawMessage, error) {
	left := allowance(maxFieldBytes)
	content := Content{
		To:          take(&left, m.To, showAddress),
		Cc:          take(&left, m.Cc, showAddress),
		ReplyTo:     take(&left, m.ReplyTo, showAddress),
		Headers:     take(&left, m.Headers, showHeader),
		Attachments: take(&left, m.Parts, showAttachment),
	}
	if m.From != nil {
		content.From = strings.Join(take(&left, []translate.Address{*m.From}, showAddress), "")
	}
	content.Truncated = left < 0
	if err := content.readBodies(m); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // a mail is full of what it would escape
	if err := encoder.Encode(content); err != nil {
		return nil, fmt.Errorf("encoding the content: %w", err)
	}
	return out.Bytes(), nil
}

func (c *Content) readBodies(m *translate.Message) error {
	for _, body := range []struct {
		part *translate.Part
		to   **Body
	}{{m.Text, &c.Text}, {m.HTML, &c.HTML}, {m.AMP, &c.AMP}} {
		if body.part == nil {
			continue
		}
		read, err := readBody(body.part)
		if err != nil {
			return err
		}
		*body.to = read
	}
	return nil
}

// readBody reads the beginning of a body, up to a rune's end.
func readBody(part *translate.Part) (*Body, error) {
	r, err := part.Open()
	if err != nil {
		return nil, fmt.Errorf("opening a body: %w", err)
	}
	text := make([]byte, min(part.Size, maxBodyBytes))
	_, err = io.ReadFull(r, text)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("reading a body: %w", err)
	}
	text = wholeRunes(text)
	return &Body{Content: string(text), Bytes: part.Size, Truncated: int64(len(text)) < part.Size}, nil
}

// wholeRunes leaves out a last rune that was cut through.
func wholeRunes(text []byte) []byte {
	for i := len(text) - 1; i >= max(0, len(text)-utf8.UTFMax); i-- {
		if utf8.RuneStart(text[i]) {
			if !utf8.FullRune(text[i:]) {
				return text[:i]
			}
			break
		}
	}
	return text
}

// allowance is what may still be kept, in octets; below zero once something
// was left out.
type allowance int

// take shows items until the allowance is used up; show says what each costs.
func take[T, Shown any](left *allowance, items []T, show func(T) (Shown, int)) []Shown {
	shown := make([]Shown, 0, len(items))
	for _, item := range items {
		s, cost := show(item)
		if int(*left) < cost {
			*left = -1
			break
		}
		*left -= allowance(cost)
		shown = append(shown, s)
	}
	return shown
}

func showAddress(a translate.Address) (string, int) {
	shown := a.Email
	if a.Name != "" {
		shown = a.Name + " <" + a.Email + ">"
	}
	return shown, len(shown)
}

func showHeader(h translate.Header) (Header, int) {
	return Header{Name: h.Name, Value: h.Value}, len(h.Name) + len(h.Value)
}

func showAttachment(p translate.Part) (Attachment, int) {
	return Attachment{Name: p.Name, Type: p.Type, ContentID: p.ContentID, Bytes: p.Size},
		len(p.Name) + len(p.Type) + len(p.ContentID)
}

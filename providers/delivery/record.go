package delivery

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// maxTextBytes is the most of a subject, or of any other text of the
// application's, that is kept (RFC 5322, 2.1.1: what a line can hold), in octets.
const maxTextBytes = 998

// Recorder keeps what became of a message. It is told before a provider is
// asked, every recipient being ambiguous then, and again under the same ID when
// more is known. It must not block, since it is on the way to the reply, nor
// change what it is given. It is called concurrently.
type Recorder interface {
	Record(r Record)
}

// Record is what is kept of one message, whatever provider carried it: the
// shape of /api/v1/messages.
type Record struct {
	ID         string            `json:"id"`
	Time       time.Time         `json:"timestamp"`
	MailFrom   string            `json:"mail_from"`
	From       string            `json:"from"`
	Subject    string            `json:"subject"`
	MessageID  string            `json:"rfc_message_id,omitempty"`
	User       string            `json:"user,omitempty"`
	Bytes      int64             `json:"bytes"`
	Tags       []string          `json:"tags,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	Losses     []string          `json:"losses,omitempty"`
	RepeatOf   string            `json:"repeat_of,omitempty"`
	Recipients []Recipient       `json:"recipients"`
	Attempts   []Attempt         `json:"attempts"`
}

// Recipient is what became of one recipient.
type Recipient struct {
	Recipient  string             `json:"recipient"`
	State      providers.State    `json:"state"`
	Provider   string             `json:"provider,omitempty"`
	ProviderID string             `json:"provider_message_id,omitempty"`
	Category   providers.Category `json:"category,omitempty"`
	Reason     string             `json:"reason,omitempty"`
}

// Attempt is one hand-over to one provider.
type Attempt struct {
	Provider string             `json:"provider"`
	Time     time.Time          `json:"timestamp"`
	Seconds  float64            `json:"duration_seconds"`
	Category providers.Category `json:"category"` // "ok" where a recipient was taken
	// Late: the answer came after the reply to the application.
	Late bool `json:"late,omitempty"`
}

// fill is what is known of m before anybody is asked.
func (r *Record) fill(m *translate.Message, now time.Time) {
	*r = Record{
		ID:         m.Envelope.BridgeID,
		Time:       now.UTC(),
		MailFrom:   m.Envelope.MailFrom,
		Subject:    m.Subject,
		MessageID:  m.MessageID,
		User:       m.Envelope.User,
		Bytes:      m.Size,
		Tags:       clipAll(m.Directives.Tags),
		Metadata:   clipPairs(m.Directives.Metadata),
		Recipients: make([]Recipient, len(m.Envelope.Recipients)),
		Attempts:   []Attempt{},
	}
	if m.From != nil {
		r.From = m.From.Email
	}
	for i, recipient := range m.Envelope.Recipients {
		r.Recipients[i].Recipient = recipient
	}
	r.clip()
}

// clip makes one copy of all texts of the mail.
func (r *Record) clip() {
	total := 0
	r.texts(func(text *string) {
		*text = cut(*text)
		total += len(*text)
	})
	var all strings.Builder
	all.Grow(total)
	r.texts(func(text *string) {
		start := all.Len()
		all.WriteString(*text)
		*text = all.String()[start:]
	})
}

// texts gives f those that every mail has.
func (r *Record) texts(f func(text *string)) {
	for _, text := range [...]*string{&r.MailFrom, &r.From, &r.Subject, &r.MessageID, &r.User} {
		f(text)
	}
	for i := range r.Recipients {
		f(&r.Recipients[i].Recipient)
	}
}

// with is the record once an outcome is known; r stays as it was.
func (r *Record) with(known standing) Record {
	next := *r
	next.Attempts, next.Losses = known.attempts, clipAll(known.losses)
	next.Recipients = slices.Clone(r.Recipients)
	for i, result := range known.outcome {
		to := &next.Recipients[i]
		to.State, to.Provider, to.ProviderID = result.State, result.Provider, clip(result.ProviderID)
		if result.Err != nil {
			to.Category, to.Reason = result.Err.Category, clip(result.Err.Message)
		}
	}
	return next
}

// clip copies what is kept of s, so that a record never pins what it came from.
func clip(s string) string { return strings.Clone(cut(s)) }

// cut is what is kept of s; it ends on a rune border.
func cut(s string) string {
	if len(s) <= maxTextBytes {
		return s
	}
	end := maxTextBytes
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

func clipAll(texts []string) []string {
	if texts == nil {
		return nil
	}
	clipped := make([]string, len(texts))
	for i, text := range texts {
		clipped[i] = clip(text)
	}
	return clipped
}

func clipPairs(pairs map[string]string) map[string]string {
	if pairs == nil {
		return nil
	}
	clipped := make(map[string]string, len(pairs))
	for key, value := range pairs {
		clipped[clip(key)] = clip(value)
	}
	return clipped
}

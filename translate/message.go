// Package translate turns a mail as it came over SMTP into a [Message], the
// model that every provider adapter works from.
//
// The bytes are spooled once ([NewSpool]): in memory while they are few, in an
// unlinked file beyond that. They are parsed once ([Parse]): parts are offsets
// into the spool, decoded when they are read, any number of times. So a mail
// costs memory for its headers, never for its bodies or attachments.
//
// The envelope decides who receives; the headers only decide what is shown.
// Legacy mail is read the way Postfix would take it (RFC 5322 and RFC 2045 to
// 2049, read leniently): what cannot be understood is kept as bytes, and
// [ErrMalformed] is for what nobody could read.
package translate

import (
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Envelope is one SMTP transaction: who sends, and who receives (RFC 5321, 2.3.1).
type Envelope struct {
	// BridgeID is the ULID given at MAIL: message_id in logs, id= in replies,
	// bridge_id in provider metadata.
	BridgeID string
	// MailFrom is the reverse-path without its brackets; empty for <>.
	MailFrom string
	// Recipients are the forward-paths without brackets, in the order of RCPT,
	// each address once, domains in punycode. They alone decide who receives.
	Recipients []string
	// User is the authenticated SMTP user, empty without AUTH; Route is the one that
	// the user's configuration names, empty where it names none.
	User, Route string
	// Client is the address of the SMTP client, for the log.
	Client string
	// Complete is when the last octet of the mail came: the time for the reply
	// runs from here. The zero value means now.
	Complete time.Time
}

// Message is one mail as the application meant it, whatever provider will
// carry it. It is read-only once parsed and safe for concurrent use.
type Message struct {
	Envelope Envelope

	// From is the usable author: the only one, or of several the Sender if it
	// is among them, else the first. Nil where no address has a domain.
	From *Address
	// Sender is the Sender header, nil where there is none.
	Sender *Address
	// To, Cc and ReplyTo are what the headers show, in order, groups expanded.
	To, Cc, ReplyTo []Address
	// Subject is decoded and unfolded; empty where there is none.
	Subject string

	// Text, HTML and AMP are the bodies, nil where the mail has none. They
	// stream as UTF-8: a body of 24 MiB is no string either.
	Text, HTML, AMP *Part
	// Parts are the attachments, inline images, calendar and other alternatives,
	// in the order of the mail.
	Parts []Part

	// Headers are the fields that are not in this struct, in order, repeated
	// ones too; directives, Bcc, trace and MIME fields are removed.
	Headers []Header
	// MessageID and InReplyTo keep their brackets; References are single ids.
	MessageID, InReplyTo string
	References           []string
	// Date is the zero time where the header is missing or unreadable.
	Date time.Time

	// Directives are what the application asked of the provider, in whatever
	// dialect it asked.
	Directives Directives
	// Opaque says that any change breaks the mail: only raw MIME carries it.
	Opaque Opaque
	// Flaws are what a provider that builds the mail anew loses, by name
	// (nested signature, a second Subject); RawFlaws what even raw MIME loses.
	Flaws, RawFlaws []string
	// RoughLines: a line of the body cannot leave as it is (RFC 5321, 4.5.3.1.6).
	// Raw MIME mends that, which an opaque mail must not have done to it.
	RoughLines bool
	// UnknownEncoding names a Content-Transfer-Encoding that nobody can decode:
	// only raw MIME carries it. Empty where there is none.
	UnknownEncoding string
	// Size is the size of the mail as received, in octets.
	Size int64

	spool *Spool
	wire  *wire    // how the bytes leave; shared by all copies
	edits []Header // of the root header, in place of what the mail says
}

// Address is one mailbox. Email is local@domain, the domain in punycode, or a
// bare local part where the header had no domain.
type Address struct {
	Name, Email string
}

// Domain is the part after the last @, lower-cased; empty where there is none.
func (a Address) Domain() string {
	i := strings.LastIndexByte(a.Email, '@')
	if i < 0 {
		return ""
	}
	return strings.ToLower(a.Email[i+1:])
}

// Header is one header field: its name as written, its value unfolded and
// decoded to UTF-8. Raw is the value before encoded words were decoded: where it
// is ASCII it can be sent as it stands, addresses in it too.
type Header struct {
	Name, Value, Raw string
}

// Opaque says whether a mail may be changed at all.
type Opaque uint8

// The kinds of mail that must leave exactly as they came, or not at all. The
// root part decides (RFC 1847; RFC 8551; RFC 3156).
const (
	OpaqueNone Opaque = iota
	OpaqueSigned
	OpaqueEncrypted
)

// String is the word for logs and errors.
func (o Opaque) String() string {
	switch o {
	case OpaqueNone:
		return "none"
	case OpaqueSigned:
		return "signed"
	case OpaqueEncrypted:
		return "encrypted"
	}
	return "unknown"
}

// Raw gives the bytes as received, dot-unstuffed.
func (m *Message) Raw() (io.ReadCloser, error) { return m.spool.Open(0, m.spool.Size()) }

// For gives the same mail for fewer recipients. It shares the spool: it is
// valid until m is closed.
func (m *Message) For(recipients []string) *Message {
	part := *m
	part.Envelope.Recipients = slices.Clone(recipients)
	return &part
}

// Close lets the spool go once the last open reader is closed too. Nothing can
// be opened afterwards.
func (m *Message) Close() error { return m.spool.Close() }

// LogValue keeps addresses and content out of the log.
func (m *Message) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Int("recipients", len(m.Envelope.Recipients)),
		slog.Int64("bytes", m.Size),
		slog.Int("parts", len(m.Parts)),
		slog.String("opaque", m.Opaque.String()),
	)
}

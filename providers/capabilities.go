package providers

import (
	"time"

	"smtpbridge/translate"
)

// Capabilities are what an API can carry. The zero value carries a subject, two
// bodies and files, and nothing else.
type Capabilities struct {
	// RawMIME: the application's own bytes can leave.
	RawMIME bool
	// Raw says of a message whether it leaves raw, where RawMIME; nil means always.
	Raw func(m *translate.Message) bool
	// MaxSize is the largest mail in octets: as received where it leaves raw, else
	// its bodies and its files in base64. 0 means that no limit is known.
	MaxSize int64
	// MaxRequestBytes is the largest body of one request in octets, what is
	// around the mail and its escapes counted; 0 means that no limit is known.
	MaxRequestBytes int64
	// MaxBodyBytes is the largest text or HTML in octets; 0 means that no limit is known.
	MaxBodyBytes int64
	// MaxRecipients is the most recipients of one request; 0 means no limit.
	MaxRecipients int
	// EnvelopeSender: the reverse-path is the application's own.
	EnvelopeSender bool

	// Stream is that of mail which names none; empty where there are no streams.
	Stream string

	// ScheduleHorizon is how far ahead the API takes a send time; 0 means it schedules nothing.
	ScheduleHorizon time.Duration
	// TrackOpens and TrackClicks: a message can switch tracking on and off.
	TrackOpens, TrackClicks bool
	// MaxTags and MaxTagRunes limit tags; 0 tags means none.
	MaxTags, MaxTagRunes int
	// ASCIITags: a tag must be ASCII.
	ASCIITags bool
	// TokensOnly: tags, and keys and values of metadata, are of letters, digits, _ and -.
	TokensOnly bool
	// MaxMetadataBytes limits the metadata of one message as JSON; 0 means none.
	MaxMetadataBytes int
	// MaxPairs, MaxKeyRunes and MaxValueRunes limit metadata further; 0 means that they do not.
	MaxPairs, MaxKeyRunes, MaxValueRunes int
	// UTF16: the limits of tags, keys and values count UTF-16 code units.
	UTF16 bool
	// FoldedKeys: keys that differ in case only are one.
	FoldedKeys bool
	// ReservedMetadata are the keys that the provider's events use themselves.
	ReservedMetadata []string
	// Merges: the dialects whose merges per recipient the API can do.
	Merges []string
	// LostOptions names the options that the API does not carry; nil where it carries none.
	LostOptions func([]translate.Option) []string
	// LostDirectives names what of the directives is lost for the sake of the rest
	// of the message, its recipients or its bodies; nil means nothing.
	LostDirectives func(m *translate.Message) []string

	// AMP: text/x-amp-html is carried as an alternative to HTML.
	AMP bool
	// Calendar: an invitation is carried as an alternative; else it is a file.
	Calendar bool
	// InlineImages: files that the HTML shows by their Content-ID.
	InlineImages bool
	// CarriesInline says whether parts[i], one of all of a message that the HTML
	// shows, leaves as such; nil means that it does. Otherwise it is a file.
	CarriesInline func(parts []translate.Part, i int) bool
	// EmptyFiles: a file of zero octets is carried.
	EmptyFiles bool
	// FileNameStops are the characters that a file name must not have; "_" takes their place.
	FileNameStops string
	// ForbiddenFiles are the extensions, without dot, of files that the API refuses.
	ForbiddenFiles []string
	// MaxFromUnits is the longest From, name and address, in UTF-16 code units; 0
	// means that no limit is known.
	MaxFromUnits int
	// MaxSubjectUnits is the longest subject in UTF-16 code units; 0 means that no limit is known.
	MaxSubjectUnits int

	// RepeatedHeaders: a header name may stand more than once.
	RepeatedHeaders bool
	// SingleHeaders are names, in lower case, that may stand once in raw MIME.
	SingleHeaders []string
	// ShowsAddress says whether raw MIME may show the mailbox; nil means that it may.
	ShowsAddress func(a translate.Address) bool
	// ForbiddenHeaders are the names the API refuses, in any case.
	ForbiddenHeaders []string
	// CarriesHeader says whether the API takes a field that is not forbidden; nil means that it does.
	CarriesHeader func(h translate.Header) bool
	// MaxHeaderBytes is the longest value of a field in octets, of the ids and
	// Reply-To too; 0 means what a line can hold.
	MaxHeaderBytes int
	// MessageID, Date and Sender: these headers survive.
	MessageID, Date, Sender bool
}

// LeavesRaw reports whether the message leaves as its own bytes.
func (c Capabilities) LeavesRaw(m *translate.Message) bool {
	return c.RawMIME && (c.Raw == nil || c.Raw(m))
}

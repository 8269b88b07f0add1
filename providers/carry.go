package providers

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"smtpbridge/translate"
)

const (
	// BridgeIDKey is the metadata key that brings our own id back in events; an
	// application's pair of that name is left out.
	BridgeIDKey = "bridge_id"
	// dateTolerance is how far a Date may lie from now before replacing it is a loss.
	dateTolerance = 5 * time.Minute
	// maxReferences bounds the References field where an API writes it, in
	// octets: one line (RFC 5322, 2.1.1) less the name.
	maxReferences = 998 - len("References: ")
)

// Check decides before anything is sent whether a provider carries the message:
// faithfully, with the losses it names, or not at all. What it names as lost
// the adapter leaves out by the Fit functions, which decide both.
func Check(c Capabilities, m *translate.Message, now time.Time) (losses []string, refusal *Error) {
	if refusal := refuse(c, m, now); refusal != nil {
		return nil, refusal
	}
	losses = directiveLosses(c, m)
	if !c.RawMIME {
		losses = append(losses, formLosses(c, m, now)...)
	}
	return losses, nil
}

// refuse names what would change who gets the mail, when it leaves, or whether
// a signature holds: that provider cannot carry it.
func refuse(c Capabilities, m *translate.Message, now time.Time) *Error {
	switch {
	case m.From == nil, !c.RawMIME && isASCII(m.From.Email) && !isAddress(m.From.Email):
		return &Error{Category: Malformed, Message: "no usable From: give one address with a domain"}
	case !c.RawMIME && m.Opaque != translate.OpaqueNone:
		return notFaithful("a mail that is " + m.Opaque.String() + " cannot leave unchanged")
	case !c.RawMIME && m.UnknownEncoding != "":
		return notFaithful("nobody can decode the transfer encoding " + m.UnknownEncoding)
	case !isASCII(m.From.Email):
		return notFaithful("the local part of From is not ASCII")
	case m.Directives.SendAt.After(now.Add(c.ScheduleHorizon)) && m.Directives.SendAt.After(now):
		if c.ScheduleHorizon == 0 {
			return notFaithful("a send time cannot be kept")
		}
		return notFaithful("the send time lies more than " + c.ScheduleHorizon.String() + " ahead")
	case c.MaxSize > 0 && size(c, m) > c.MaxSize:
		return &Error{Category: TooLarge, Local: true, Message: "the mail is larger than the provider takes"}
	}
	for _, merge := range m.Directives.Merges {
		if !slices.Contains(c.Merges, merge.Dialect) {
			return &Error{Category: Malformed, Local: true, Message: "merges per recipient of the " + merge.Dialect + " dialect cannot be done here"}
		}
	}
	return nil
}

func notFaithful(words string) *Error {
	return &Error{Category: NotFaithful, Local: true, Message: words}
}

// size is what MaxSize limits.
func size(c Capabilities, m *translate.Message) int64 {
	if c.RawMIME {
		return m.Size
	}
	var total int64
	for _, body := range []*translate.Part{m.Text, m.HTML, m.AMP} {
		if body != nil {
			total += body.Size
		}
	}
	for i := range m.Parts {
		total += m.Parts[i].Base64Len()
	}
	return total
}

func directiveLosses(c Capabilities, m *translate.Message) []string {
	var losses []string
	if _, lost := FitTags(c, m.Directives.Tags); lost {
		losses = append(losses, "tags")
	}
	if _, lost := FitMetadata(c, m.Directives.Metadata); lost {
		losses = append(losses, "metadata")
	}
	if c.LostOptions != nil {
		return append(losses, c.LostOptions(m.Directives.Options)...)
	}
	for _, option := range m.Directives.Options {
		losses = append(losses, OptionLoss(option))
	}
	return losses
}

// OptionLoss is the name under which a lost option is reported.
func OptionLoss(o translate.Option) string {
	if o.Dialect == "" {
		return "option " + o.Name
	}
	return "option " + o.Dialect + ":" + o.Name
}

// formLosses are those of an API that builds the mail anew.
func formLosses(c Capabilities, m *translate.Message, now time.Time) []string {
	losses := slices.Clone(m.Flaws)
	if m.AMP != nil && !CarriesAMP(c, m) {
		losses = append(losses, "AMP")
	}
	losses = append(losses, fileLosses(c, m.Parts)...)
	_, headers := FitHeaders(c, m.Headers)
	losses = append(losses, headers...)
	if _, lost := FitReferences(m.References); lost {
		losses = append(losses, "references")
	}
	if _, lost := FitReplyTo(m.ReplyTo); lost {
		losses = append(losses, "reply-to address")
	}
	if c.DateAndSender {
		return losses
	}
	if !m.Date.IsZero() && m.Date.Sub(now).Abs() > dateTolerance {
		losses = append(losses, "date")
	}
	// RFC 5322, 3.6.2: a Sender equal to From says nothing.
	if m.Sender != nil && !strings.EqualFold(m.Sender.Email, m.From.Email) {
		losses = append(losses, "sender")
	}
	return losses
}

func fileLosses(c Capabilities, parts []translate.Part) []string {
	var losses []string
	for i := range parts {
		if !CarriesPart(c, &parts[i]) {
			losses = append(losses, "empty file")
			continue
		}
		if _, lost := FitFileName(c, parts[i].Name); lost {
			losses = append(losses, "file name")
		}
	}
	return slices.Compact(losses)
}

// CarriesAMP reports whether the AMP body leaves: it is a form of the HTML
// body and never stands alone.
func CarriesAMP(c Capabilities, m *translate.Message) bool {
	return c.AMP && m.AMP != nil && m.AMP.Size > 0 && m.HTML != nil && m.HTML.Size > 0
}

// CarriesPart reports whether a part leaves.
func CarriesPart(c Capabilities, p *translate.Part) bool { return c.EmptyFiles || p.Size > 0 }

// FitTags keeps the tags that the API takes, in order, each once.
func FitTags(c Capabilities, tags []string) (kept []string, lost bool) {
	seen := make(map[string]bool, len(tags))
	for _, tag := range tags {
		switch {
		case seen[tag]:
		case tag == "", len(kept) >= c.MaxTags, c.ASCIITags && !isASCII(tag),
			c.MaxTagRunes > 0 && len([]rune(tag)) > c.MaxTagRunes:
			lost = true
		default:
			seen[tag] = true
			kept = append(kept, tag)
		}
	}
	return kept, lost
}

// Pair is one entry of a message's metadata.
type Pair struct{ Key, Value string }

// FitMetadata keeps the pairs that the API takes, sorted by key, as many as fit.
func FitMetadata(c Capabilities, metadata map[string]string) (kept []Pair, lost bool) {
	total, reserved := len("{}"), false
	for key, value := range metadata {
		reserved = reserved || reserves(c, key)
		kept = append(kept, Pair{key, value})
		total += jsonLen(key) + jsonLen(value) + len(":,")
	}
	slices.SortFunc(kept, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	if total <= c.MaxMetadataBytes && !reserved {
		return kept, false
	}
	total = len("{}")
	kept = slices.DeleteFunc(kept, func(p Pair) bool {
		need := jsonLen(p.Key) + jsonLen(p.Value) + len(":,")
		if reserves(c, p.Key) || total+need > c.MaxMetadataBytes {
			return true
		}
		total += need
		return false
	})
	return kept, len(kept) < len(metadata)
}

func reserves(c Capabilities, key string) bool {
	return key == BridgeIDKey || slices.Contains(c.ReservedMetadata, key)
}

// FitHeaders keeps the fields that the API takes, in order, without control
// characters; the losses name each field. Where a name may stand only once,
// the values are joined at its first place. Every Raw is set.
func FitHeaders(c Capabilities, headers []translate.Header) (kept []translate.Header, losses []string) {
	at := make(map[string]int, len(headers))
	values, raws := make([][]string, 0, len(headers)), make([][]string, 0, len(headers))
	for _, header := range headers {
		name := strings.ToLower(header.Name)
		if !isFieldName(name) || forbids(c, name) {
			losses = append(losses, "header "+Words(header.Name))
			continue
		}
		value, raw := OneLine(header.Value), OneLine(cmp.Or(header.Raw, header.Value))
		if i, repeated := at[name]; repeated && !c.RepeatedHeaders {
			values[i], raws[i] = append(values[i], value), append(raws[i], raw)
			losses = append(losses, "repeated header "+header.Name)
			continue
		}
		at[name] = len(kept)
		kept = append(kept, header)
		values, raws = append(values, []string{value}), append(raws, []string{raw})
	}
	for i := range kept {
		kept[i].Value, kept[i].Raw = strings.Join(values[i], ", "), strings.Join(raws[i], ", ")
	}
	return kept, losses
}

func forbids(c Capabilities, name string) bool {
	return slices.ContainsFunc(c.ForbiddenHeaders, func(s string) bool { return strings.EqualFold(s, name) })
}

// FitReferences is the References field where an API writes it: the ids in one
// line; of too many the first and the last ones (RFC 5322, 3.6.4, lets a thread
// be found by those).
func FitReferences(ids []string) (value string, lost bool) {
	value = strings.Join(ids, " ")
	if len(value) <= maxReferences {
		return value, false
	}
	first, kept := ids[0], 0
	room := maxReferences - len(first)
	for i := len(ids) - 1; i > 0 && room > len(ids[i]); i-- {
		room -= 1 + len(ids[i])
		kept++
	}
	if len(first) > maxReferences {
		return "", true
	}
	return strings.Join(append([]string{first}, ids[len(ids)-kept:]...), " "), true
}

// FitReplyTo keeps the addresses that an API can be given, each once.
func FitReplyTo(addresses []translate.Address) (kept []translate.Address, lost bool) {
	seen := make(map[string]bool, len(addresses))
	for _, address := range addresses {
		key := strings.ToLower(address.Email)
		switch {
		case !isASCII(address.Email), !isAddress(address.Email):
			lost = true
		case !seen[key]:
			seen[key] = true
			kept = append(kept, address)
		}
	}
	return kept, lost
}

// FitFileName puts "_" in the place of what a file name must not have.
func FitFileName(c Capabilities, name string) (fit string, lost bool) {
	fit = strings.Map(func(r rune) rune {
		if isControl(r) || strings.ContainsRune(c.FileNameStops, r) {
			return '_'
		}
		return r
	}, name)
	return fit, fit != name
}

// OneLine puts a blank in the place of each control character, so that no
// decoded word can add a line to a header.
func OneLine(s string) string {
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, s)
}

func isControl(r rune) bool { return r < ' ' || (r >= 0x7f && r < 0xa0) }

// isFieldName: printable ASCII without a colon (RFC 5322, 3.6.8).
func isFieldName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' })
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// isAddress: a local part and a domain; blanks and specials only in quotes
// (RFC 5321, 4.1.2, but for the place of dots, which programs get wrong).
func isAddress(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 || strings.ContainsFunc(s, isControl) {
		return false
	}
	unquoted := s
	if local := s[:at]; len(local) > 1 && local[0] == '"' && local[at-1] == '"' {
		unquoted = s[at:]
	}
	return !strings.ContainsAny(unquoted, ` <>,;:()[]\"`)
}

// jsonLen is the length of s as a JSON string.
func jsonLen(s string) int {
	n := len(s) + len(`""`)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			n++
		case c < ' ':
			n += len(`\u0000`) - 1
		}
	}
	return n
}

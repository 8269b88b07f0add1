package providers

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"smtpbridge/translate"
)

const (
	// BridgeIDKey is the metadata key that brings our own id back in events; an
	// application's pair of that name is left out.
	BridgeIDKey = "bridge_id"
	// maxReferences bounds the References field where an API writes it, in
	// octets: one line (RFC 5322, 2.1.1) less the name.
	maxReferences = 998 - len("References: ")
)

// CarriesAMP reports whether the AMP body leaves: it is a form of the HTML
// body and never stands alone.
func CarriesAMP(c Capabilities, m *translate.Message) bool {
	return c.AMP && m.AMP != nil && m.AMP.Size > 0 && m.HTML != nil && m.HTML.Size > 0
}

// CarriesPart reports whether a part leaves.
func CarriesPart(c Capabilities, p *translate.Part) bool { return c.EmptyFiles || p.Size > 0 }

// LeavesInline reports whether parts[i] leaves as a file that the HTML shows.
func LeavesInline(c Capabilities, parts []translate.Part, i int) bool {
	return parts[i].Role == translate.Inline && c.InlineImages && (c.CarriesInline == nil || c.CarriesInline(parts, i))
}

// FitTags keeps the tags that the API takes, in order, each once.
func FitTags(c Capabilities, tags []string) (kept []string, lost bool) {
	seen := make(map[string]bool)
	for _, tag := range tags {
		switch {
		case seen[tag]:
		case tag == "", len(kept) >= c.MaxTags, c.ASCIITags && !isASCII(tag), c.TokensOnly && !isToken(tag),
			c.MaxTagRunes > 0 && c.length(tag) > c.MaxTagRunes:
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
	if len(metadata) == 0 {
		return nil, false
	}
	total := len("{}")
	seen := make(map[string]bool, len(metadata))
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		value := metadata[key]
		need := jsonLen(key) + jsonLen(value) + len(":,")
		name := key
		if c.FoldedKeys {
			name = fold(key)
		}
		switch {
		case name == BridgeIDKey, slices.Contains(c.ReservedMetadata, key), seen[name],
			total+need > c.MaxMetadataBytes, c.MaxPairs > 0 && len(kept) == c.MaxPairs,
			c.MaxKeyRunes > 0 && c.length(key) > c.MaxKeyRunes,
			c.MaxValueRunes > 0 && c.length(value) > c.MaxValueRunes,
			c.TokensOnly && (!isToken(key) || !isToken(value)):
			continue
		}
		total += need
		seen[name] = true
		kept = append(kept, Pair{key, value})
	}
	return kept, len(kept) < len(metadata)
}

// isToken: letters, digits, _ and -.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

// fold is the same for all spellings that differ in case only.
func fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// length is that of a tag, a key or a value.
func (c Capabilities) length(s string) int {
	if c.UTF16 {
		return units(s)
	}
	return utf8.RuneCountInString(s)
}

// FitHeaders keeps the fields that the API takes, in order, without control
// characters; the losses name each field. Where a name may stand only once,
// the values are joined at its first place, unless the API does not take what
// they make together: then the first stays. Every Raw is set.
func FitHeaders(c Capabilities, headers []translate.Header) (kept []translate.Header, losses []string) {
	at := make(map[string]int)
	var repeats map[int][]translate.Header // by their place in kept
	for _, header := range headers {
		name := strings.ToLower(header.Name)
		if !isFieldName(name) || forbids(c, name) || c.CarriesHeader != nil && !c.CarriesHeader(header) {
			losses = append(losses, "header "+Words(header.Name))
			continue
		}
		header.Value, header.Raw = OneLine(header.Value), OneLine(cmp.Or(header.Raw, header.Value))
		if i, repeated := at[name]; repeated && !c.RepeatedHeaders {
			if repeats == nil {
				repeats = make(map[int][]translate.Header)
			}
			repeats[i] = append(repeats[i], header)
			losses = append(losses, "repeated header "+header.Name)
			continue
		}
		at[name] = len(kept)
		kept = append(kept, header)
	}
	for i, others := range repeats {
		if joined := join(kept[i], others); c.CarriesHeader == nil || c.CarriesHeader(joined) {
			kept[i] = joined
		}
	}
	return kept, losses
}

// join gives a field the values of others with its name.
func join(header translate.Header, others []translate.Header) translate.Header {
	values, raws := []string{header.Value}, []string{header.Raw}
	for _, other := range others {
		values, raws = append(values, other.Value), append(raws, other.Raw)
	}
	header.Value, header.Raw = strings.Join(values, ", "), strings.Join(raws, ", ")
	return header
}

func forbids(c Capabilities, name string) bool {
	return slices.ContainsFunc(c.ForbiddenHeaders, func(s string) bool { return strings.EqualFold(s, name) })
}

// FitReferences is the References field where an API writes it: the ids in one
// line; of too many the first and the last ones (RFC 5322, 3.6.4, lets a thread
// be found by those).
func FitReferences(c Capabilities, ids []string) (value string, lost bool) {
	limit := cmp.Or(c.MaxHeaderBytes, maxReferences)
	value = strings.Join(ids, " ")
	if len(value) <= limit {
		return value, false
	}
	first, kept := ids[0], 0
	room := limit - len(first)
	for i := len(ids) - 1; i > 0 && room > len(ids[i]); i-- {
		room -= 1 + len(ids[i])
		kept++
	}
	if len(first) > limit {
		return "", true
	}
	return strings.Join(append([]string{first}, ids[len(ids)-kept:]...), " "), true
}

// FitIDs is Message-ID or In-Reply-To where an API bounds the values of fields:
// of several ids that are too long together the first and the last ones.
func FitIDs(c Capabilities, ids string) (value string, lost bool) {
	if c.MaxHeaderBytes == 0 || len(ids) <= c.MaxHeaderBytes {
		return ids, false
	}
	return FitReferences(c, strings.Fields(ids))
}

// FitReplyToField is Reply-To where an API takes it as a field: as many
// addresses as MaxHeaderBytes has room for, without their names where those do
// not fit.
func FitReplyToField(c Capabilities, addresses []translate.Address) (value string, lost bool) {
	list, lost := FitReplyTo(addresses)
	if value = translate.EncodedAddresses(list); c.MaxHeaderBytes == 0 || len(value) <= c.MaxHeaderBytes {
		return value, lost
	}
	value = ""
	for _, address := range list {
		separator := ""
		if value != "" {
			separator = ", "
		}
		for _, text := range [...]string{address.Encoded(), address.Email} {
			if len(value)+len(separator)+len(text) <= c.MaxHeaderBytes {
				value += separator + text
				break
			}
		}
	}
	return value, true
}

// FitReplyTo keeps the addresses that an API can be given, each once.
func FitReplyTo(addresses []translate.Address) (kept []translate.Address, lost bool) {
	seen := make(map[string]bool)
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

// FitFrom is the author as the API takes it: of too long a name the beginning.
func FitFrom(c Capabilities, from translate.Address) (fit translate.Address, lost bool) {
	most := len(from.Email) + 2*len(from.Name) + len(`"" <>`) // in octets, every one of the name escaped
	if c.MaxFromUnits == 0 || most <= c.MaxFromUnits || units(from.String()) <= c.MaxFromUnits {
		return from, false
	}
	fit = translate.Address{Email: from.Email}
	room := c.MaxFromUnits - units(from.Email) - len(`"" <>`)
	for i, r := range from.Name {
		if r == '"' || r == '\\' { // it is written with a backslash
			room--
		}
		if room -= utf16.RuneLen(r); room < 0 {
			fit.Name = from.Name[:i]
			break
		}
	}
	return fit, true
}

// units is the length in UTF-16 code units.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// FitShown keeps the mailboxes that raw MIME may show, without a name that is too
// much. Those outside ASCII cannot stand there anyway: they are no loss of this API.
func FitShown(c Capabilities, addresses []translate.Address) (kept []translate.Address, lost bool) {
	for _, address := range addresses {
		bare := translate.Address{Email: address.Email}
		switch {
		case !isASCII(address.Email):
		case c.ShowsAddress == nil || c.ShowsAddress(address):
			kept = append(kept, address)
		case c.ShowsAddress(bare):
			kept, lost = append(kept, bare), true
		default:
			lost = true
		}
	}
	return kept, lost
}

// FitSubject is the subject in one line, cut on a character's border where it is
// too long.
func FitSubject(c Capabilities, subject string) (fit string, lost bool) {
	subject = OneLine(subject)
	total := 0
	for i, r := range subject {
		total += utf16.RuneLen(r)
		if c.MaxSubjectUnits > 0 && total > c.MaxSubjectUnits {
			return subject[:i], true
		}
	}
	return subject, false
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
	if translate.IsPlain(s) {
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
	if isQuoted(s[:at]) {
		unquoted = s[at:]
	}
	return !strings.ContainsAny(unquoted, ` <>,;:()[]\"`)
}

// isQuoted: a quoted string, in which no other quote stands without a backslash.
func isQuoted(s string) bool {
	if len(s) < 2 || s[0] != '"' {
		return false
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i == len(s)-1
		}
	}
	return false
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

package translate

import (
	"strings"

	"golang.org/x/net/idna"
)

// maxAddresses bounds those of one mail together; no reader shows more.
const maxAddresses = 5000

// parseAddresses reads an address list (RFC 5322, 3.4) the way people write it:
// groups are expanded, a missing bracket or quote, a semicolon for a comma, a
// bare local part and raw 8-bit names are all taken. What holds no address is
// left out.
func parseAddresses(raw string) []Address {
	var list []Address
	cut := cutAddress
	for raw != "" && len(list) <= maxAddresses {
		item, rest, sound := cut(raw)
		if !sound { // once is enough: looking again from each item would be quadratic
			cut = cutSeparator
			item, rest, _ = cut(raw)
		}
		raw = rest
		if a, ok := parseAddress(item); ok {
			list = append(list, a)
		}
	}
	return list
}

// cutAddress cuts at the comma or semicolon behind the first address. A colon
// outside brackets ends the name of a group, which goes. It is not sound where
// a quote, comment or bracket never ends.
func cutAddress(s string) (item, rest string, sound bool) {
	quoted, angle, depth, start := false, false, 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && (quoted || depth > 0):
			i++
		case c == '=' && strings.HasPrefix(s[i:], "=?"):
			i += max(wordLength(s[i:])-1, 0)
		case c == '"' && depth == 0:
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth > 0:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == ':' && !angle:
			start = i + 1
		case (c == ',' || c == ';') && !angle:
			return s[start:i], s[i+1:], true
		}
	}
	return s[start:], "", !quoted && !angle && depth == 0
}

// wordLength: an encoded word may hold commas and colons, though it should not.
func wordLength(s string) int {
	_, length := parseWord(s)
	return length
}

// cutSeparator cuts at the next comma or semicolon, wherever it stands.
func cutSeparator(s string) (item, rest string, sound bool) {
	if i := strings.IndexAny(s, ",;"); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", true
}

// ParseAddress reads one mailbox the way people write it: name <a@b>, a@b (name),
// or a. It reports false where there is none.
func ParseAddress(text string) (Address, bool) { return parseAddress(text) }

// ASCIIDomain is a domain as addresses have it: lower-cased, in punycode.
func ASCIIDomain(domain string) string { return strings.ToLower(asciiDomain(domain)) }

// parseAddress reads one item of a list.
func parseAddress(item string) (Address, bool) {
	item = strings.TrimSpace(item)
	name, email, bracketed := cutAngle(item)
	if !bracketed {
		email, name = bareAddress(item)
	}
	email = normalEmail(email)
	if email == "" {
		return Address{}, false
	}
	return Address{Name: decodeWords(unquoteName(name)), Email: email}, true
}

// bareAddress reads a mailbox without brackets: a@b (name), or, as people write
// it, John Doe a@b.
func bareAddress(item string) (email, name string) {
	email, name = stripComments(item), comment(item)
	if normalEmail(email) != "" {
		return email, name
	}
	words := strings.Fields(email)
	for i, word := range words {
		if strings.Contains(word, "@") {
			return word, strings.Join(append(words[:i:i], words[i+1:]...), " ")
		}
	}
	return email, name
}

// cutAngle finds the last <…> outside quotes.
func cutAngle(item string) (name, email string, ok bool) {
	open := -1
	quoted := false
	for i := 0; i < len(item); i++ {
		switch {
		case item[i] == '\\' && quoted:
			i++
		case item[i] == '"':
			quoted = !quoted
		case item[i] == '<' && !quoted:
			open = i
		}
	}
	if open < 0 {
		if open = strings.LastIndexByte(item, '<'); open < 0 || !quoted {
			return "", "", false
		}
	}
	email, _, _ = strings.Cut(item[open+1:], ">")
	// RFC 5322, 4.4: an obsolete route goes.
	if i := strings.LastIndexByte(email, ':'); strings.HasPrefix(email, "@") && i >= 0 {
		email = email[i+1:]
	}
	name = item[:open]
	if strings.TrimSpace(name) == "" {
		name = comment(item[open:])
	}
	return name, email, true
}

// normalEmail takes comments and blanks out and writes the domain in punycode.
// It is empty where the text cannot be an address.
func normalEmail(email string) string {
	email = strings.TrimSpace(email)
	if !strings.HasPrefix(email, `"`) {
		email = strings.TrimSpace(stripComments(email))
	}
	at := strings.LastIndexByte(email, '@')
	local, domain := email, ""
	if at >= 0 {
		local, domain = strings.TrimSpace(email[:at]), strings.TrimSpace(email[at+1:])
		domain = strings.TrimSuffix(domain, ".")
	}
	if local == "" || strings.ContainsAny(domain, " \t<>\"(),;:@") ||
		!strings.HasPrefix(local, `"`) && strings.ContainsAny(local, " \t<>\"(),;:@") ||
		strings.ContainsFunc(email, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return ""
	}
	if at < 0 {
		return readable(local)
	}
	if domain == "" {
		return ""
	}
	if len(local)+len("@")+len(domain) == len(email) && IsPlain(email) { // as it stands, nearly always
		return email
	}
	return readable(local) + "@" + asciiDomain(readable(domain))
}

// maxDomain is the longest domain name in octets (RFC 5321, 4.5.3.1.2). To write
// a longer text in punycode takes time quadratic in its length.
const maxDomain = 255

// asciiDomain writes a domain in punycode (RFC 5891), as it stands where it has
// no such form.
func asciiDomain(domain string) string {
	if len(domain) > maxDomain {
		return domain
	}
	for i := 0; i < len(domain); i++ {
		if domain[i] >= 0x80 {
			if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
				return ascii
			}
			break
		}
	}
	return domain
}

// comment is the text of the last (comment), the old way to give a name.
func comment(item string) string {
	open, end := strings.IndexByte(item, '('), strings.LastIndexByte(item, ')')
	if open < 0 || end < open {
		return ""
	}
	return item[open+1 : end]
}

// unquoteName takes quotes and escapes out of a display name.
func unquoteName(name string) string {
	name = strings.TrimSpace(name)
	if !strings.ContainsAny(name, `"\`) {
		return name
	}
	var out strings.Builder
	out.Grow(len(name))
	for i := 0; i < len(name); i++ {
		switch {
		case name[i] == '\\' && i+1 < len(name):
			i++
			out.WriteByte(name[i])
		case name[i] != '"':
			out.WriteByte(name[i])
		}
	}
	return out.String()
}

// maxIDs is more than any thread needs to be found.
const maxIDs = 1000

// parseIDs gives the <ids> of Message-ID, In-Reply-To or References (RFC 5322,
// 3.6.4) as they stand: who compares ids compares octets. A bare word gets the
// brackets that it lacks; comments are only looked for where no bracket is.
func parseIDs(raw string) []string {
	var ids []string
	for {
		open := strings.IndexByte(raw, '<')
		length := strings.IndexByte(raw[max(open, 0):], '>')
		if open < 0 || length < 0 {
			break
		}
		if length > 1 {
			ids = append(ids, raw[open:open+length+1])
		}
		raw = raw[open+length+1:]
	}
	if len(ids) > 0 {
		return ids
	}
	for word := range strings.FieldsSeq(stripComments(raw)) {
		if bare := strings.Trim(word, "<>,;\""); bare != "" && !strings.ContainsAny(bare, "<>") {
			ids = append(ids, "<"+bare+">")
		}
	}
	return ids
}

// fewIDs keeps the first of a thread and the last ones.
func fewIDs(ids []string) []string {
	if len(ids) <= maxIDs {
		return ids
	}
	return append([]string{ids[0]}, ids[len(ids)-maxIDs+1:]...)
}

package smtpd

import (
	"errors"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxAddress is the longest address in octets: a path has 256 with its
// brackets (RFC 5321, 4.5.3.1.3).
const maxAddress = 254

var (
	errAddressLength  = errors.New("the address is longer than 254 octets")
	errAddressControl = errors.New("the address has control characters")
	errAddressDomain  = errors.New("the domain is no domain name")
	errAddressAt      = errors.New("the address has a second @; one in the local part stands in quotes")
)

// normalise writes an address the way the envelope has it: the domain in
// lower-case punycode, the local part as it came, in quotes where it needs
// them. The command is where it stood, before go-smtp took the quotes off.
// Whether an ASCII domain exists is the provider's to say.
func normalise(address string, command []byte) (string, error) {
	if address == "" {
		return "", nil
	}
	if len(address) > maxAddress { // before idna, which is slow for a long one and may make it short
		return "", errAddressLength
	}
	at := strings.LastIndexByte(address, '@')
	if strings.IndexByte(address, '@') < at && hasSecondAt(command) {
		return "", errAddressAt
	}
	domain, err := asciiDomain(strings.TrimSuffix(address[at+1:], "."))
	if err != nil {
		return "", err
	}
	local := address[:at]
	if strings.ContainsFunc(local, unicode.IsControl) {
		return "", errAddressControl
	}
	if local = quoteLocal(local); local == address[:at] && domain == address[at+1:] {
		return address, nil
	}
	if address = local + "@" + domain; len(address) > maxAddress {
		return "", errAddressLength
	}
	return address, nil
}

// quotedString is RFC 5321, 4.1.2, as go-smtp takes it.
var quotedString = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// hasSecondAt reports whether the path of a MAIL or RCPT command has an @
// besides that before its domain, one that no quotes protect.
func hasSecondAt(command []byte) bool {
	_, path, _ := strings.Cut(quotedString.ReplaceAllLiteralString(string(command), ""), ":")
	path = strings.TrimLeft(path, " \t")
	if end := strings.IndexAny(path, " \t>"); end >= 0 {
		path = path[:end]
	}
	if strings.HasPrefix(path, "<@") || strings.HasPrefix(path, "@") {
		if _, mailbox, routed := strings.Cut(path, ":"); routed { // RFC 5321, 4.1.1.3: a source route is skipped
			path = mailbox
		}
	}
	return strings.Count(path, "@") > 1
}

// asciiDomain gives a domain in punycode (RFC 5891), or an address literal. An
// underscore stands in no host name but in names that receive mail.
func asciiDomain(domain string) (string, error) {
	ascii, allowed := strings.ToLower(domain), "-_."
	if strings.ContainsRune(domain, utf8.RuneError) { // no UTF-8: idna would make a name of the octets that it cannot read
		return "", errAddressDomain
	}
	if !isASCII(domain) {
		var err error
		if ascii, err = idna.Lookup.ToASCII(domain); err != nil {
			return "", errAddressDomain
		}
	}
	name := ascii
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") { // RFC 5321, 4.1.3
		name, allowed = name[1:len(name)-1], "-.:"
	}
	foreign := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(allowed, r)
	}
	if name == "" || strings.ContainsFunc(name, foreign) {
		return "", errAddressDomain
	}
	return ascii, nil
}

// quoteLocal puts a local part in quotes where it cannot stand without them (RFC
// 5321, 4.1.2). Dots in odd places stay as they are: such mailboxes exist.
func quoteLocal(local string) string {
	if local != "" && !strings.ContainsAny(local, "()<>[]:;@\\,\" ") {
		return local
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

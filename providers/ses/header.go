package ses

import (
	"bufio"
	"io"
	"mime"
	"net/mail"
	"slices"
	"strings"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// singleHeaders may stand once; a second one refuses the whole mail (guide,
// "Amazon SES header fields").
const singleHeaders = `accept-language acceptlanguage archived-at auto-submitted bounces-to comments content-alternative
	content-base content-class content-description content-disposition content-duration content-id content-language
	content-length content-location content-md5 content-transfer-encoding content-type date delivered-to
	disposition-notification-options disposition-notification-to dkim-signature domainkey-signature errors-to from
	importance in-reply-to keywords list-archive list-help list-id list-owner list-post list-subscribe
	list-unsubscribe list-unsubscribe-post message-context message-id mime-version organization original-from
	original-message-id original-recipient original-subject precedence priority references reply-to return-path
	return-receipt-to sender solicitation sensitivity subject thread-index thread-topic user-agent vbr-info`

// forbiddenFiles are the extensions that are refused (guide, "Unsupported
// attachment types").
const forbiddenFiles = `ade adp app asp bas bat cer chm cmd com cpl crt csh der exe fxp gadget hlp hta inf ins isp its js jse
	ksh lib lnk mad maf mag mam maq mar mas mat mau mav maw mda mdb mde mdt mdw mdz msc msh msh1 msh2 mshxml msh1xml
	msh2xml msi msp mst ops pcd pif plg prf prg reg scf scr sct shb shs sys ps1 ps1xml ps2 ps2xml psc1 psc2 tmp url vb
	vbe vbs vps vsmacros vss vst vsw vxd ws wsc wsf wsh xnk`

// maxAddress is the longest mailbox, its name as it is written, in octets: SES
// refuses a mail that shows a longer one.
const maxAddress = 320

// showsAddress: SES parses the header of a raw mail, and refuses the whole mail
// for one address in it that it would not send to.
func showsAddress(a translate.Address) bool {
	return isAddress(a.Email) && len(a.Encoded()) <= maxAddress
}

// isAddress: a local part, quoted or of atoms between single dots, and a domain
// of labels or a literal. SES keeps to the letter of RFC 5321, 4.1.2, which much
// mail does not.
func isAddress(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 {
		return false
	}
	local, host := s[:at], s[at+1:]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = "literal"
	}
	return (isQuoted(local) || isDotted(local, isNoAtomRune)) && isDotted(host, isNoLabelRune)
}

// isDotted: no part between dots is empty or holds a rune that is bad.
func isDotted(s string, bad func(rune) bool) bool {
	return s != "" && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..") && !strings.ContainsFunc(s, bad)
}

func isNoAtomRune(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"[]`, r)
}

func isNoLabelRune(r rune) bool {
	return r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// isQuoted: a quoted string of one line that ends where it seems to.
func isQuoted(s string) bool {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	escaped := false
	for _, c := range []byte(s[1 : len(s)-1]) {
		switch {
		case c < ' ' || c >= 0x7f, c == '"' && !escaped:
			return false
		default:
			escaped = c == '\\' && !escaped
		}
	}
	return !escaped
}

// edit leaves out of the header what would have SES refuse the mail, and writes
// anew the lists of addresses that only a lenient reader understands.
func (a *Adapter) edit(m *translate.Message) translate.Edit {
	edit := translate.Edit{Once: a.capabilities.SingleHeaders}
	shown := map[string][]translate.Address{"from": {*m.From}, "to": m.To, "cc": m.Cc, "reply-to": m.ReplyTo}
	if m.Sender != nil {
		shown["sender"] = []translate.Address{*m.Sender}
	}
	for _, field := range addressFields(m.Outgoing(edit)) {
		kept, lost := providers.FitShown(a.capabilities, shown[strings.ToLower(field.Name)])
		if lost || !isList(field.Value) {
			edit.Set = append(edit.Set, translate.Header{Name: field.Name, Raw: translate.EncodedAddresses(kept)})
		}
	}
	return edit
}

// addressFields are those of the header, as it would leave, that SES parses.
func addressFields(content *translate.Outgoing) []translate.Header {
	r, err := content.Open()
	if err != nil {
		return nil // who opens the body is told
	}
	defer r.Close() //nolint:errcheck // reading is done
	var (
		fields []translate.Header
		lines  = bufio.NewReader(r)
		inside bool
	)
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); err != nil || line == "" {
			return fields
		}
		if line[0] == ' ' || line[0] == '\t' {
			if inside {
				fields[len(fields)-1].Value += line
			}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		name = strings.TrimRight(name, " \t")
		if inside = isAddressField(name); inside {
			fields = append(fields, translate.Header{Name: name, Value: value})
		}
	}
}

func isAddressField(name string) bool {
	switch strings.ToLower(name) {
	case "from", "sender", "to", "cc", "reply-to":
		return true
	}
	return false
}

// isList: addresses or groups as RFC 5322, 3.4, has them, perhaps none, and nothing
// that a reader to the letter takes for an address that SES refuses.
func isList(value string) bool {
	words := &mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}
	list, err := (&mail.AddressParser{WordDecoder: words}).ParseList(value)
	if err != nil {
		return strings.TrimSpace(value) == "" || isEmptyGroup(value)
	}
	return !slices.ContainsFunc(list, func(a *mail.Address) bool {
		quoted := (&mail.Address{Address: a.Address}).String() // <local@domain>, the local part in quotes where it must be
		return !isAddress(strings.TrimSuffix(strings.TrimPrefix(quoted, "<"), ">"))
	})
}

// isEmptyGroup: "undisclosed-recipients:;", which net/mail takes for an error.
func isEmptyGroup(value string) bool {
	name, found := strings.CutSuffix(strings.TrimSpace(value), ";")
	name, colon := strings.CutSuffix(strings.TrimRight(name, " "), ":")
	return found && colon && !strings.ContainsAny(name, `<>@,;:"()`)
}

// alone shows the recipient nobody but itself, under the name that it has among
// the others.
func (a *Adapter) alone(edit translate.Edit, names map[string]string, recipient string) translate.Edit {
	shown := translate.Address{Name: names[strings.ToLower(recipient)], Email: recipient}
	kept, _ := providers.FitShown(a.capabilities, []translate.Address{shown})
	edit.Set = append(slices.Clip(edit.Set),
		translate.Header{Name: "To", Raw: translate.EncodedAddresses(kept)}, translate.Header{Name: "Cc"})
	return edit
}

// shownNames are those of the addresses that the header shows, by address.
func shownNames(m *translate.Message) map[string]string {
	byAddress := make(map[string]string, len(m.To)+len(m.Cc))
	for _, list := range [...][]translate.Address{m.Cc, m.To} {
		for _, address := range slices.Backward(list) {
			byAddress[strings.ToLower(address.Email)] = address.Name
		}
	}
	return byAddress
}

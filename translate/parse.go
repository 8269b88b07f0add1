package translate

import (
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"
)

const (
	// flawSecondHeader is the loss of a header that may stand once and stands
	// again; its name follows.
	flawSecondHeader = "second header "
	// flawJunk is the loss of a line inside a header that is no field.
	flawJunk = "junk in a header"
	// flawAuthors is the loss of all authors but the one that APIs take.
	flawAuthors = "further From addresses"
	// flawAddress is the loss of an address that a header of ASCII cannot show.
	flawAddress = "address outside ASCII"
	// flawName is the loss of a field whose name fills a line.
	flawName = "header with an endless name"
)

// Parse reads a spooled mail once. On success the message owns the spool; on
// an error, which wraps [ErrMalformed] where the mail is to blame, the caller
// still does.
func Parse(s *Spool, e Envelope) (*Message, error) {
	root, junk, err := scan(s)
	if err != nil {
		return nil, err
	}
	m := &Message{Envelope: e, Size: s.Size(), spool: s, wire: &wire{root: root}}
	if junk {
		m.flaw(flawJunk)
		m.rawFlaw(flawJunk)
	}
	if err := m.readHeader(root.header); err != nil {
		return nil, err
	}
	if root.content.value == "multipart/mailgun-variables" {
		m.Directives.Merges = append(m.Directives.Merges, Merge{Dialect: dialectMailgun})
	}
	if err := build(m, root); err != nil {
		return nil, err
	}
	m.inspect(root)
	return m, nil
}

// readHeader sorts the root header into the model.
func (m *Message) readHeader(header fields) error {
	d := directiveReader{m: m}
	seen := make(map[string]bool)
	var authors []Address
	for _, f := range header {
		taken, err := d.take(f)
		if err != nil {
			return err
		}
		if taken || isTrace(f.key) {
			continue
		}
		if standsOnce(f.key) && seen[f.key] {
			m.flaw(flawSecondHeader + f.name)
			m.rawFlaw(flawSecondHeader + f.name)
			continue
		}
		if !m.wire.keep(f, seen[f.key]) {
			m.rawFlaw(flawName)
		}
		if standsOnce(f.key) || f.key == "to" || f.key == "cc" {
			seen[f.key] = true
		}
		if isMIME(f.key) {
			continue
		}
		if f.key == "from" {
			authors = parseAddresses(f.raw())
		} else if !m.take(f) {
			m.Headers = append(m.Headers, Header{Name: f.name, Value: f.text(), Raw: f.raw()})
		}
		if len(authors)+len(m.To)+len(m.Cc)+len(m.ReplyTo) > maxAddresses {
			return fmt.Errorf("%w: its headers show more than %d addresses", ErrMalformed, maxAddresses)
		}
	}
	if m.From = author(authors, m.Sender); len(authors) > 1 {
		m.flaw(flawAuthors)
	}
	if slices.ContainsFunc(slices.Concat(m.To, m.Cc, m.ReplyTo), func(a Address) bool { return !isASCII(a.Email) }) {
		m.rawFlaw(flawAddress)
	}
	return d.finish()
}

// take stores a field that the model has a place for.
func (m *Message) take(f field) bool {
	switch f.key {
	case "sender":
		if list := parseAddresses(f.raw()); len(list) > 0 {
			m.Sender = &list[0]
		}
	case "to":
		m.To = append(m.To, parseAddresses(f.raw())...)
	case "cc":
		m.Cc = append(m.Cc, parseAddresses(f.raw())...)
	case "reply-to":
		m.ReplyTo = parseAddresses(f.raw())
	case "subject":
		m.Subject = f.text()
	case "message-id":
		if ids := parseIDs(f.raw()); len(ids) > 0 {
			m.MessageID = ids[0]
		}
	case "in-reply-to":
		m.InReplyTo = strings.Join(parseIDs(f.raw()), " ")
	case "references":
		m.References = fewIDs(parseIDs(f.raw()))
	case "date":
		m.Date = parseDate(f.raw())
	default:
		return false
	}
	return true
}

func (m *Message) flaw(name string) { m.Flaws = addOnce(m.Flaws, name) }

func (m *Message) rawFlaw(name string) { m.RawFlaws = addOnce(m.RawFlaws, name) }

func addOnce(list []string, name string) []string {
	if slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}

// author is the From that a provider can be given: of several the Sender if it
// is among them, else the first with a domain.
func author(authors []Address, sender *Address) *Address {
	if sender != nil && len(authors) > 1 {
		for i := range authors {
			if strings.EqualFold(authors[i].Email, sender.Email) && authors[i].Domain() != "" {
				return &authors[i]
			}
		}
	}
	for i := range authors {
		if authors[i].Domain() != "" {
			return &authors[i]
		}
	}
	return nil
}

// standsOnce: RFC 5322, 3.6. To and Cc are joined instead: programs repeat them.
func standsOnce(name string) bool {
	switch name {
	case "from", "sender", "reply-to", "subject", "date", "message-id", "in-reply-to", "references":
		return true
	}
	return isMIME(name)
}

// isMIME: what describes the MIME structure, which a provider makes anew.
func isMIME(name string) bool { return name == "mime-version" || strings.HasPrefix(name, "content-") }

// isTrace: what earlier hops wrote (RFC 5321, 4.4), and what must not be shown
// (Bcc).
func isTrace(name string) bool {
	switch name {
	case "received", "return-path", "delivered-to", "x-original-to", "envelope-to", "received-spf",
		"authentication-results", "bcc", "resent-bcc",
		"apparently-to", "x-envelope-to", "x-rcpt-to", "x-envelope-from",
		// Marks of the providers' own relays, which their APIs refuse.
		"x-sg-eid", "x-sg-id", "x-pm-message-id", "x-pm-rcpt", "x-pm-ip":
		return true
	}
	return strings.Contains(name, "smtp2go")
}

// parseDate gives the zero time for what is no date. The usual form goes first:
// mail.ParseDate tries dozens, which was half the cost of a small mail.
func parseDate(raw string) time.Time {
	if date, err := time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", raw); err == nil {
		return date
	}
	raw, _ = withOffset(raw)
	date, err := mail.ParseDate(raw)
	if err != nil {
		return time.Time{}
	}
	return date
}

// obsoleteZones are the names that RFC 5322, 4.3 gives an offset. Go takes every
// name for UTC that is not of the host's own zone.
var obsoleteZones = map[string]string{
	"UT": "+0000", "GMT": "+0000", "UTC": "+0000", "Z": "+0000",
	"EDT": "-0400", "EST": "-0500", "CDT": "-0500", "CST": "-0600",
	"MDT": "-0600", "MST": "-0700", "PDT": "-0700", "PST": "-0800",
}

// withOffset puts the offset in the place of a zone's name at the end of a date.
// It reports whether the zone is certain: of other names nobody can tell.
func withOffset(raw string) (date string, certain bool) {
	date = strings.TrimSpace(stripComments(raw))
	start := strings.LastIndexAny(date, " \t") + 1
	name := strings.ToUpper(date[start:])
	if offset, known := obsoleteZones[name]; known {
		return date[:start] + offset, true
	}
	return date, strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != ""
}

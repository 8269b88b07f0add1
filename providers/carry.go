package providers

import (
	"path"
	"slices"
	"strings"
	"time"

	"smtpbridge/translate"
)

// dateTolerance is how far a Date may lie from now before replacing it is a loss.
const dateTolerance = 5 * time.Minute

// The losses that a recipient sees; those of the application's own parts, and of
// what only machines read, have other names.
const (
	lossAMP         = "AMP"
	lossCalendar    = "calendar as file"
	lossAlternative = "alternative as file"
	lossInline      = "inline image as file"
	lossEmptyFile   = "empty file"
	lossFrom        = "end of the author's name"
	lossSubject     = "end of the subject"
)

// IsVisible reports whether the recipient sees a loss. Another provider that
// carries the message without one is the better choice.
func IsVisible(loss string) bool {
	switch loss {
	case lossAMP, lossCalendar, lossAlternative, lossInline, lossEmptyFile, lossFrom, lossSubject,
		"nested signature", "nested encryption":
		return true
	}
	return false
}

// Check decides before anything is sent whether a provider carries the message:
// faithfully, with the losses it names, or not at all. What it names as lost
// the adapter leaves out by the Fit functions, which decide both.
func Check(c Capabilities, m *translate.Message, now time.Time) (losses []string, refusal *Error) {
	raw := c.LeavesRaw(m)
	if refusal := refuse(c, m, raw, now); refusal != nil {
		return nil, refusal
	}
	losses = directiveLosses(c, m)
	if raw {
		losses = append(losses, rawLosses(c, m)...)
	} else {
		losses = append(losses, formLosses(c, m)...)
	}
	return once(append(losses, traceLosses(c, m, now)...)), nil
}

// once keeps the first of equal losses: a mail may have thousands.
func once(losses []string) []string {
	var kept []string
	seen := make(map[string]bool)
	for _, loss := range losses {
		if !seen[loss] {
			seen[loss] = true
			kept = append(kept, loss)
		}
	}
	return kept
}

// refuse names what would change who gets the mail, when it leaves, or whether
// a signature holds: that provider cannot carry it.
func refuse(c Capabilities, m *translate.Message, raw bool, now time.Time) *Error {
	switch {
	case m.From == nil, !raw && isASCII(m.From.Email) && !isAddress(m.From.Email):
		return &Error{Category: Malformed, Message: "no usable From: give one address with a domain"}
	case m.Opaque != translate.OpaqueNone:
		if refusal := refuseOpaque(c, m, raw); refusal != nil {
			return refusal
		}
	case !raw && m.UnknownEncoding != "":
		return notFaithful("nobody can decode the transfer encoding " + m.UnknownEncoding)
	}
	switch {
	case !isASCII(m.From.Email):
		return notFaithful("the local part of From is not ASCII")
	case !raw && c.MaxFromUnits > 0 && units(m.From.Email) > c.MaxFromUnits:
		return notFaithful("the address of From is longer than the provider takes")
	case raw && c.ShowsAddress != nil && !c.ShowsAddress(translate.Address{Email: m.From.Email}):
		return notFaithful("the provider takes no such address as From")
	case m.Directives.SendAt.After(now.Add(c.ScheduleHorizon)) && m.Directives.SendAt.After(now):
		if c.ScheduleHorizon == 0 {
			return notFaithful("a send time cannot be kept")
		}
		return notFaithful("the send time lies more than " + c.ScheduleHorizon.String() + " ahead")
	}
	return refuseContent(c, m, raw)
}

// refuseOpaque: what is signed or encrypted leaves without a change, and without
// tracking, which is one.
func refuseOpaque(c Capabilities, m *translate.Message, raw bool) *Error {
	switch words := "a mail that is " + m.Opaque.String(); {
	case !raw:
		return notFaithful(words + " cannot leave unchanged")
	case !c.TrackOpens || !c.TrackClicks:
		return notFaithful(words + " would be changed by tracking, which cannot be switched off")
	case m.RoughLines:
		return notFaithful(words + " has lines that cannot leave: bare line ends, or longer than 998 octets")
	}
	return nil
}

func refuseContent(c Capabilities, m *translate.Message, raw bool) *Error {
	if c.MaxSize > 0 && size(m, raw) > c.MaxSize || !raw && isBodyTooLarge(c, m) {
		return &Error{Category: TooLarge, Local: true, Message: "the mail is larger than the provider takes"}
	}
	for i := range m.Parts {
		name := strings.ToLower(strings.TrimPrefix(path.Ext(m.Parts[i].Name), "."))
		if name != "" && CarriesPart(c, &m.Parts[i]) && slices.Contains(c.ForbiddenFiles, name) {
			return &Error{Category: ContentRejected, Local: true, Message: "the provider takes no files of the type ." + Words(name)}
		}
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
func size(m *translate.Message, raw bool) int64 {
	if raw {
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

func isBodyTooLarge(c Capabilities, m *translate.Message) bool {
	return c.MaxBodyBytes > 0 && slices.ContainsFunc([]*translate.Part{m.Text, m.HTML}, func(body *translate.Part) bool {
		return body != nil && body.Size > c.MaxBodyBytes
	})
}

func directiveLosses(c Capabilities, m *translate.Message) []string {
	var losses []string
	if _, lost := FitTags(c, m.Directives.Tags); lost {
		losses = append(losses, "tags")
	}
	if _, lost := FitMetadata(c, m.Directives.Metadata); lost {
		losses = append(losses, "metadata")
	}
	if m.Directives.TrackOpens != translate.Unset && !c.TrackOpens {
		losses = append(losses, "open tracking")
	}
	if m.Directives.TrackClicks != translate.Unset && !c.TrackClicks {
		losses = append(losses, "click tracking")
	}
	if c.LostDirectives != nil {
		losses = append(losses, c.LostDirectives(m)...)
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

// rawLosses are those of the application's own bytes.
func rawLosses(c Capabilities, m *translate.Message) []string {
	losses := slices.Clone(m.RawFlaws)
	seen := make(map[string]bool)
	for _, h := range m.Headers {
		name := strings.ToLower(h.Name)
		if seen[name] && slices.Contains(c.SingleHeaders, name) {
			losses = append(losses, "repeated header "+h.Name)
		}
		seen[name] = true
	}
	if c.ShowsAddress != nil && hidesAddress(c, m) {
		losses = append(losses, "shown address")
	}
	return losses
}

// hidesAddress: something of a mailbox in the header does not leave.
func hidesAddress(c Capabilities, m *translate.Message) bool {
	authors := []translate.Address{*m.From}
	if m.Sender != nil {
		authors = append(authors, *m.Sender)
	}
	return slices.ContainsFunc([][]translate.Address{authors, m.To, m.Cc, m.ReplyTo}, func(list []translate.Address) bool {
		_, lost := FitShown(c, list)
		return lost
	})
}

// formLosses are those of an API that builds the mail anew.
func formLosses(c Capabilities, m *translate.Message) []string {
	losses := slices.Clone(m.Flaws)
	if m.AMP != nil && !CarriesAMP(c, m) {
		losses = append(losses, lossAMP)
	}
	losses = append(losses, fileLosses(c, m.Parts)...)
	if _, lost := FitFrom(c, *m.From); lost {
		losses = append(losses, lossFrom)
	}
	if _, lost := FitSubject(c, m.Subject); lost {
		losses = append(losses, lossSubject)
	}
	_, headers := FitHeaders(c, m.Headers)
	losses = append(losses, headers...)
	if _, lost := FitReferences(c, m.References); lost {
		losses = append(losses, "references")
	}
	if _, lost := FitIDs(c, m.InReplyTo); lost {
		losses = append(losses, "in-reply-to")
	}
	if _, lost := FitIDs(c, m.MessageID); lost && c.MessageID {
		losses = append(losses, "message id")
	}
	if _, lost := FitReplyToField(c, m.ReplyTo); lost {
		losses = append(losses, "reply-to address")
	}
	return losses
}

// traceLosses are those of what a provider writes itself.
func traceLosses(c Capabilities, m *translate.Message, now time.Time) []string {
	var losses []string
	if !c.Date && !m.Date.IsZero() && m.Date.Sub(now).Abs() > dateTolerance {
		losses = append(losses, "date")
	}
	// RFC 5322, 3.6.2: a Sender equal to From says nothing.
	if !c.Sender && m.Sender != nil && !strings.EqualFold(m.Sender.Email, m.From.Email) {
		losses = append(losses, "sender")
	}
	if !c.MessageID && m.MessageID != "" {
		losses = append(losses, "message id")
	}
	return losses
}

func fileLosses(c Capabilities, parts []translate.Part) []string {
	var losses []string
	for i := range parts {
		switch p := &parts[i]; {
		case !CarriesPart(c, p):
			losses = append(losses, lossEmptyFile)
			continue
		case p.Role == translate.Inline && !LeavesInline(c, parts, i):
			losses = append(losses, lossInline)
		case p.Role == translate.Alternative && p.Type != "text/calendar" && !c.Calendar:
			losses = append(losses, lossAlternative)
		case p.Role == translate.Alternative && !c.Calendar:
			losses = append(losses, lossCalendar)
		}
		if _, lost := FitFileName(c, parts[i].Name); lost {
			losses = append(losses, "file name")
		}
	}
	return slices.Compact(losses)
}

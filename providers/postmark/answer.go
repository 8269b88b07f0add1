package postmark

import (
	"cmp"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"smtpbridge/providers"
)

// maxWords is how much of an answer's message is read, in octets: it may name 50
// addresses.
const maxWords = 32 << 10

// noID is how some errors write that there is no message.
const noID = "00000000-0000-0000-0000-000000000000"

// Results reads the answer: that to a single message, or one for each of a
// batch, in the order of the request. ErrorCode decides, not the HTTP status.
func (a *Adapter) Results(r providers.Request, resp providers.Response) []providers.Result {
	copies := copiesOf(r)
	if len(copies) == 1 {
		return readAnswer(resp.Body).results(copies[0], resp)
	}
	results := make([]providers.Result, 0, len(r.Recipients))
	items := readItems(resp)
	if len(items) != len(copies) {
		// One answer for all: a message was neither taken nor refused by itself.
		whole := readAnswer(resp.Body)
		whole.id = ""
		return whole.results(r.Recipients, resp)
	}
	for i, item := range items {
		results = append(results, readAnswer(item).results(copies[i], resp)...)
	}
	return results
}

// copiesOf are the recipients of each message of a request, in the order of the
// answer to it.
func copiesOf(r providers.Request) [][]string {
	if p, ok := r.Body.(*parcel); ok {
		return p.copies
	}
	return [][]string{r.Recipients}
}

// readItems gives the answers to a batch; nothing where there are none.
func readItems(resp providers.Response) []json.RawMessage {
	var items []json.RawMessage
	if resp.Status != http.StatusOK || json.Unmarshal(resp.Body, &items) != nil {
		return nil
	}
	return items
}

// Probed gives nil where the answer is that of Postmark.
func (a *Adapter) Probed(resp providers.Response) *providers.Error {
	said := readAnswer(resp.Body)
	if resp.Status != http.StatusOK || said.code != 0 {
		return said.refusal(resp)
	}
	var server struct {
		ID   *int64 `json:"ID"`
		SMTP *bool  `json:"SmtpApiActivated"`
	}
	if err := json.Unmarshal(resp.Body, &server); err != nil || server.ID == nil || server.SMTP == nil {
		return &providers.Error{Category: providers.ConfigurationError, Message: "the answer is not Postmark's; is base_url right?", Cause: err}
	}
	return nil
}

// answer is what Postmark says of a message, or of a whole request.
type answer struct {
	// code is its own; 0 for success, and where it gives none.
	code    int
	message string
	// id is that of the message, which it has only once it was taken.
	id string
}

// readAnswer gives the zero value for what is not in Postmark's form.
func readAnswer(body []byte) answer {
	var raw struct {
		ErrorCode int    `json:"ErrorCode"`
		Message   string `json:"Message"`
		MessageID string `json:"MessageID"`
	}
	if json.Unmarshal(body, &raw) != nil {
		return answer{}
	}
	if raw.MessageID == noID {
		raw.MessageID = ""
	}
	words := strings.Fields(raw.Message[:min(len(raw.Message), maxWords)]) // it may have several lines
	return answer{raw.ErrorCode, strings.Join(words, " "), raw.MessageID}
}

// results are what the answer means for the recipients of one message. A missing
// ErrorCode is that of a mail which is only delayed.
func (a answer) results(recipients []string, resp providers.Response) []providers.Result {
	if a.code == 0 && resp.Status == http.StatusOK && a.id != "" {
		return a.accepted(recipients)
	}
	err := a.refusal(resp)
	switch {
	case a.code == 0 && resp.Status < 300:
		err.Category, err.Local = providers.ServiceUnavailable, false
		err.Message = "the answer is not Postmark's; is base_url right?"
		return providers.Fail(recipients, providers.Ambiguous, err)
	case a.code == codeInactive:
		return a.inactive(recipients, err)
	case err.Category == providers.InvalidRecipient:
		named := a.quoted()
		return providers.RefuseSome(recipients, err, func(recipient string) *providers.Error {
			if named[strings.ToLower(recipient)] {
				return err
			}
			return nil
		})
	}
	return providers.Fail(recipients, a.state(resp), err)
}

// accepted: everybody but those whom the message names.
func (a answer) accepted(recipients []string) []providers.Result {
	results := providers.Fail(recipients, providers.Accepted, nil)
	named := a.listed()
	taken := 0
	for i := range results {
		if named[strings.ToLower(recipients[i])] {
			results[i] = providers.Result{Recipient: recipients[i], State: providers.Refused, Err: a.suppressed()}
			continue
		}
		results[i].ProviderID = a.id
		taken++
	}
	if len(named) <= len(recipients)-taken {
		return results
	}
	// It names somebody whom we do not know: who was left out is open.
	for i := range results {
		if results[i].State == providers.Accepted {
			results[i].State, results[i].Err = providers.Ambiguous, a.unsure("the answer names an address that is none of the recipients")
		}
	}
	return results
}

// inactive: the message was refused for those whom it names. The manual knows
// only a refusal of all; some report that the others were sent to all the same.
func (a answer) inactive(recipients []string, err *providers.Error) []providers.Result {
	results := providers.Fail(recipients, providers.Refused, err)
	named := a.listed()
	for i := range results {
		if len(recipients) > 1 && !named[strings.ToLower(recipients[i])] {
			results[i].State, results[i].Err = providers.Ambiguous, a.unsure("refused for the sake of other recipients, and possibly sent")
		}
	}
	return results
}

// suppressed is the refusal of one address among others that were taken.
func (a answer) suppressed() *providers.Error {
	return &providers.Error{
		Category: providers.InvalidRecipient, ProviderCode: strconv.Itoa(codeInactive), Message: providers.Words(a.message),
	}
}

// unsure is the error of a recipient of whom nothing is known. It says nothing of
// Postmark's health: the rest of a mail's messages are sent all the same.
func (a answer) unsure(words string) *providers.Error {
	return &providers.Error{
		Category: providers.Unknown, Local: true, ProviderCode: strconv.Itoa(cmp.Or(a.code, http.StatusOK)), Message: words,
	}
}

// state says what is known of a message that was not taken.
func (a answer) state(resp providers.Response) providers.State {
	_, known := meaningOf(a.code)
	switch {
	case a.code == codeUnexpected:
		return providers.Ambiguous
	case known:
		return providers.Refused
	case providers.AmbiguousStatus(resp.Status, a.code != 0), a.code == 0 && resp.Status >= 500 && resp.Status <= 599:
		return providers.Ambiguous
	}
	return providers.Refused
}

// quotedValue is a value that a message cites; one may hold an apostrophe.
var quotedValue = regexp.MustCompile(`(?:^|[\s(:])'(.*?)'(?:[\s.,;:)]|$)`)

// quoted are the addresses that the message cites, in lower case.
func (a answer) quoted() map[string]bool {
	named := make(map[string]bool)
	for _, match := range quotedValue.FindAllStringSubmatch(a.message, -1) {
		named[bare(match[1])] = true
	}
	return named
}

// listed are the inactive addresses that the message names, in lower case: "…
// inactive addresses: a@example.org, b@example.org. Inactive recipients are" and so on.
func (a answer) listed() map[string]bool {
	named := make(map[string]bool)
	_, list, found := strings.Cut(a.message, "inactive addresses:")
	if !found {
		return named
	}
	list, _, _ = strings.Cut(list, " Inactive ")
	quoted := false
	for address := range strings.FieldsFuncSeq(strings.TrimRight(list, " ."), func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ',' && !quoted
	}) {
		if address = bare(address); address != "" {
			named[address] = true
		}
	}
	return named
}

// bare is the address of a mailbox, in lower case; a text with several is none.
func bare(mailbox string) string {
	mailbox = strings.ToLower(strings.TrimSpace(mailbox))
	open := strings.LastIndexByte(mailbox, '<')
	if open < 0 || !strings.HasSuffix(mailbox, ">") || strings.Count(mailbox, "@") > 1 {
		return mailbox
	}
	if name := strings.TrimSpace(mailbox[:open]); strings.Contains(name, ",") && !strings.HasSuffix(name, `"`) {
		return mailbox
	}
	return mailbox[open+1 : len(mailbox)-1]
}

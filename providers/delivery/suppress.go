package delivery

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// Suppressions know who must not be mailed. It is on the way of every recipient,
// so it must be quick. It is called concurrently.
type Suppressions interface {
	// Suppressed gives the scopes for which an address is suppressed, the empty one
	// for all mail; none where it may be mailed.
	Suppressed(ctx context.Context, address string) (scopes []string, err error)
}

// The values of suppressed.
const (
	suppressedReject  = "reject"
	suppressedDiscard = "discard"
	suppressedIgnore  = "ignore"
)

const (
	allMail     = ""
	scopeTag    = "tag:"
	scopeGroup  = "group:"
	scopeStream = "stream:"
	scopeList   = "list:"
)

// suppressed gives the scopes for which mail to an address must not leave. Nobody
// is asked where it does not matter, and a redirected mail never reaches the address.
func (p *Pipeline) suppressed(ctx context.Context, s *setup, address string) ([]string, *providers.Error) {
	if p.suppressions == nil || s.Config.Suppressed == suppressedIgnore || s.guard.redirects(address) {
		return nil, nil
	}
	scopes, err := p.suppressions.Suppressed(ctx, address)
	if err != nil {
		return nil, &providers.Error{
			Category: providers.LocalFailure, Message: "it cannot be known whether the recipient is suppressed", Cause: err,
		}
	}
	return scopes, nil
}

// refuseSuppressed says at RCPT why an address gets no mail at all.
func (p *Pipeline) refuseSuppressed(ctx context.Context, s *setup, address string) *providers.Error {
	scopes, failure := p.suppressed(ctx, s, address)
	switch {
	case failure != nil:
		return failure
	case s.Config.Suppressed == suppressedReject && slices.Contains(scopes, allMail):
		return errSuppressed(allMail)
	}
	return nil
}

func errSuppressed(scope string) *providers.Error {
	err := &providers.Error{Category: providers.Suppressed, Message: "the address is on the suppression list"}
	if scope != allMail {
		err.Message += " for " + scope
	}
	return err
}

// withhold takes out of the groups whom the message must not reach: the whole
// mail is known now, so also who has left the group, tag or stream that it
// belongs to. Where that cannot be known of somebody, nobody is sent to.
func (t *transaction) withhold(ctx context.Context, groups []group) ([]group, *providers.Error) {
	held := make([]providers.Outcome, len(groups))
	for i, g := range groups {
		var failure *providers.Error
		if held[i], failure = t.held(ctx, g); failure != nil {
			return nil, failure
		}
	}
	for i, outcome := range held {
		if len(outcome) == 0 {
			continue
		}
		t.ledger.preset(outcome)
		// They may be the envelope's own, which stays as it is.
		groups[i].recipients = slices.DeleteFunc(slices.Clone(groups[i].recipients), func(recipient string) bool {
			return slices.ContainsFunc(outcome, func(r providers.Result) bool { return r.Recipient == recipient })
		})
	}
	return slices.DeleteFunc(groups, func(g group) bool { return len(g.recipients) == 0 }), nil
}

// held is what becomes of those in a group whom the message must not reach.
func (t *transaction) held(ctx context.Context, g group) (held providers.Outcome, failure *providers.Error) {
	var mine []string // the scopes of the message, once somebody is held
	for _, recipient := range g.recipients {
		scopes, failure := t.pipeline.suppressed(ctx, t.setup, recipient)
		if failure != nil {
			return nil, failure
		}
		if len(scopes) > 0 && mine == nil {
			mine = g.scopes(t.message)
		}
		at := slices.IndexFunc(mine, func(scope string) bool {
			return slices.ContainsFunc(scopes, func(s string) bool { return sameScope(s, scope) })
		})
		if at >= 0 {
			held = append(held, t.hold(ctx, recipient, mine[at]))
		}
	}
	return held, nil
}

// hold refuses or drops the mail of one recipient. Who it is stands in the record.
func (t *transaction) hold(ctx context.Context, recipient, scope string) providers.Result {
	refusal := errSuppressed(scope)
	t.log(ctx, slog.LevelInfo, "recipient is suppressed",
		slog.String("scope", scope), slog.String("suppressed", t.setup.Config.Suppressed))
	if t.setup.Config.Suppressed == suppressedReject {
		return providers.Result{Recipient: recipient, State: providers.Refused, Err: refusal}
	}
	t.ledger.lose([]string{"not sent to " + recipient + ": " + refusal.Message})
	return providers.Result{Recipient: recipient, State: providers.Accepted}
}

// sameScope: tags compare without case, as Mailgun's do (manual, "Tagging").
func sameScope(a, b string) bool {
	return a == b || strings.HasPrefix(a, scopeTag) && strings.EqualFold(a, b)
}

// scopes are those that a message belongs to: all mail, its tags, its
// unsubscribe group (X-SMTPAPI asm_group_id), its contact list and that one's topic
// (X-SES-List-Management-Options), and its stream, which is that of the accounts
// that may carry it where it names none.
func (g group) scopes(m *translate.Message) []string {
	scopes := []string{allMail}
	for _, tag := range m.Directives.Tags {
		scopes = append(scopes, scopeTag+tag)
	}
	stream := ""
	for _, o := range m.Directives.Options {
		switch strings.ToLower(o.Name) {
		case "asm_group_id":
			scopes = append(scopes, scopeGroup+strings.Trim(o.Value, `" `))
		case "x-ses-list-management-options":
			scopes = append(scopes, lists(o.Value)...)
		case "x-pm-message-stream":
			stream = o.Value
		}
	}
	if stream != "" {
		return append(scopes, scopeStream+stream)
	}
	for _, c := range g.route.candidates {
		if stream := c.Capabilities().Stream; stream != "" {
			scopes = append(scopes, scopeStream+stream)
		}
	}
	return scopes
}

// lists reads "news; topic=sports", which is "contactListName=news;topicName=sports"
// elsewhere: the list, and its topic where there is one.
func lists(value string) []string {
	name := func(text string) string { return strings.Trim(text[strings.IndexByte(text, '=')+1:], "{} ") }
	list, topic, _ := strings.Cut(value, ";")
	scopes := []string{scopeList + name(list)}
	if topic = name(topic); topic != "" {
		scopes = append(scopes, scopes[0]+"/"+topic)
	}
	return scopes
}

package delivery

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// Verdict is what one provider could make of a message.
type Verdict struct {
	Provider string
	// Message is as this provider would be given it: the author may be another.
	Message *translate.Message
	// Losses are named; Refusal is nil where the provider can carry the message.
	Losses  []string
	Refusal *providers.Error

	candidate *candidate
	score     float64 // where the strategy asks for it
}

// Verdicts asks the providers of each group of recipients, without sending: those
// that carry the message come first, in the order in which they would be tried.
func (p *Pipeline) Verdicts(m *translate.Message) ([]Way, *providers.Error) {
	s := p.setup.Load()
	groups, refusal := s.ways(nil, m)
	if refusal != nil {
		return nil, refusal
	}
	ways := make([]Way, len(groups))
	for i, g := range groups {
		ways[i] = Way{Route: g.route.config.Name, Recipients: g.recipients, Verdicts: g.route.verdicts(m, p.now())}
	}
	return ways, nil
}

// Way is where the mail of some recipients goes. Route is empty where none fits.
type Way struct {
	Route      string
	Recipients []string
	Verdicts   []Verdict
}

// ways divides the recipients by route, and appends the groups to an empty slice. A
// message that names its provider has one way.
func (s *setup) ways(groups []group, m *translate.Message) ([]group, *providers.Error) {
	if len(s.candidates) == 0 {
		return nil, &providers.Error{Category: providers.NoProvider, Message: "no provider is configured"}
	}
	if m.Directives.Provider == "" {
		return s.groups(groups, m), nil
	}
	only, refusal := s.only(m.Directives.Provider)
	if refusal != nil {
		return nil, refusal
	}
	groups = s.groups(groups, m)
	for i := range groups {
		groups[i].route = only
	}
	return groups, nil
}

func (r *route) verdicts(m *translate.Message, now time.Time) []Verdict {
	verdicts := make([]Verdict, len(r.candidates))
	for i, c := range r.candidates {
		verdicts[i] = c.verdict(m, now)
	}
	r.order(verdicts, now)
	slices.SortStableFunc(verdicts, func(a, b Verdict) int { return cmp.Compare(a.rank(), b.rank()) })
	return verdicts
}

func (c *candidate) verdict(m *translate.Message, now time.Time) Verdict {
	v := Verdict{Provider: c.Name(), candidate: c}
	if v.Message, v.Refusal = c.config.authored(m); v.Refusal == nil {
		v.Losses, v.Refusal = providers.Check(c.Capabilities(), v.Message, now)
	}
	return v
}

// rank orders verdicts: a provider that shows the recipient all of the mail goes
// before one that does not, whatever their order otherwise.
func (v Verdict) rank() int {
	switch {
	case v.Refusal != nil:
		return 2
	case slices.ContainsFunc(v.Losses, providers.IsVisible):
		return 1
	}
	return 0
}

// carriers are the verdicts of those who carry the message, or why nobody does.
func carriers(verdicts []Verdict) ([]Verdict, *providers.Error) {
	n := slices.IndexFunc(verdicts, func(v Verdict) bool { return v.Refusal != nil })
	switch n {
	case -1:
		return verdicts, nil
	case 0:
		return nil, nobody(verdicts)
	}
	return verdicts[:n], nil
}

// nobody joins the refusals of all: what they have in common, else that nobody
// carries the message faithfully.
func nobody(verdicts []Verdict) *providers.Error {
	first := verdicts[0].Refusal
	if len(verdicts) == 1 {
		return first
	}
	joined := &providers.Error{Category: first.Category}
	reasons := make([]string, len(verdicts))
	for i, v := range verdicts {
		reasons[i] = v.Provider + ": " + v.Refusal.Message
		if v.Refusal.Category != first.Category {
			joined.Category = providers.NotFaithful
		}
	}
	if slices.ContainsFunc(verdicts, func(v Verdict) bool { return v.Refusal.Message != first.Message }) {
		joined.Message = strings.Join(reasons, "; ")
	} else {
		joined.Message = first.Message
	}
	return joined
}

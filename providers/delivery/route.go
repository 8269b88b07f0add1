package delivery

import (
	"fmt"
	"slices"
	"strings"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// route is where some messages go, and in which order its providers are tried.
type route struct {
	config     RouteConfig
	strategy   string
	candidates []*candidate
	wheel      wheel
}

// newRoutes gives the routes of the configuration, and behind them one for what
// none fits: all providers.
func newRoutes(configured []RouteConfig, strategy string, candidates []*candidate) []*route {
	routes := make([]*route, 0, len(configured)+1)
	for _, c := range configured {
		r := &route{config: c, strategy: strategy, candidates: candidates}
		if c.Strategy != "" {
			r.strategy = c.Strategy
		}
		if len(c.Providers) > 0 {
			r.candidates = slices.DeleteFunc(slices.Clone(candidates), func(c *candidate) bool {
				return !slices.Contains(r.config.Providers, c.Name())
			})
		}
		routes = append(routes, r)
	}
	routes = append(routes, &route{strategy: strategy, candidates: candidates})
	for _, r := range routes {
		r.candidates = withoutStandIns(r.candidates)
	}
	return routes
}

// withoutStandIns leaves the sandboxes out where somebody sends: mail that fails
// over to one, or is ordered there, would be answered 250 and be gone.
func withoutStandIns(candidates []*candidate) []*candidate {
	sending := slices.DeleteFunc(slices.Clone(candidates), (*candidate).simulates)
	if len(sending) == 0 {
		return candidates
	}
	return sending
}

// group is the recipients of a message that go the same way.
type group struct {
	route      *route
	recipients []string
	// redirected: the guard sends their mail elsewhere.
	redirected bool
}

// groups finds each recipient its route, and appends to an empty slice. Almost
// always there is one for all.
func (s *setup) groups(groups []group, m *translate.Message) []group {
	recipients := m.Envelope.Recipients
	for i, recipient := range recipients {
		g := group{route: s.routeFor(m, recipient), redirected: s.guard.redirects(recipient)}
		at := slices.IndexFunc(groups, func(known group) bool { return known.route == g.route && known.redirected == g.redirected })
		if at < 0 {
			g.recipients = recipients[i : i+1 : i+1] // a second one is appended to a copy
			groups = append(groups, g)
			continue
		}
		groups[at].recipients = append(groups[at].recipients, recipient)
	}
	return groups
}

// routeFor is the route that the SMTP user's configuration names, else the first
// that fits.
func (s *setup) routeFor(m *translate.Message, recipient string) *route {
	last := len(s.routes) - 1
	for _, r := range s.routes[:last] {
		if m.Envelope.Route != "" && r.config.Name == m.Envelope.Route || m.Envelope.Route == "" && r.fits(m, recipient) {
			return r
		}
	}
	return s.routes[last]
}

// fits: everything that the route asks for is there.
func (r *route) fits(m *translate.Message, recipient string) bool {
	c := r.config
	if len(c.SenderDomain) > 0 && (m.From == nil || !containsDomain(c.SenderDomain, m.From.Domain())) {
		return false
	}
	if len(c.RecipientDomain) > 0 && !containsDomain(c.RecipientDomain, translate.Address{Email: recipient}.Domain()) {
		return false
	}
	if len(c.User) > 0 && !slices.Contains(c.User, m.Envelope.User) {
		return false
	}
	for name, value := range c.Header {
		if !slices.ContainsFunc(m.Headers, func(h translate.Header) bool { return strings.EqualFold(h.Name, name) && h.Value == value }) {
			return false
		}
	}
	return true
}

func containsDomain(domains []string, domain string) bool {
	return slices.ContainsFunc(domains, func(d string) bool { return translate.ASCIIDomain(d) == domain })
}

// only is the route to the provider that a message names.
func (s *setup) only(name string) (*route, *providers.Error) {
	c, found := s.find(name)
	if !found {
		return nil, &providers.Error{
			Category: providers.NoSender,
			Message:  fmt.Sprintf("X-Bridge-Provider: %.40q is none of the providers %s", name, s.names()),
		}
	}
	return &route{candidates: []*candidate{c}}, nil
}

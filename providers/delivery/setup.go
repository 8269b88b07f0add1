package delivery

import (
	"strings"
	"time"

	"smtpbridge/providers"
)

// Settings are what a reload replaces.
type Settings struct {
	// Accounts in the order of the configuration.
	Accounts []Account
	// Budget is the longest wait for an answer, from the end of a mail's data.
	Budget time.Duration
	Config Config
	Routes []RouteConfig
	Guard  GuardConfig
}

// setup is the settings as the pipeline uses them.
type setup struct {
	Settings

	candidates []*candidate
	routes     []*route
	guard      guard
}

// newSetup keeps what is known of the providers that stay.
func (p *Pipeline) newSetup(s Settings, old *setup) *setup {
	next := &setup{Settings: s, guard: guard{s.Guard}}
	for _, a := range s.Accounts {
		c := &candidate{Provider: a.Provider, config: a.Config}
		if known, found := old.find(a.Name()); found {
			c.health = known.health.under(a.Config)
		} else {
			c.health = newHealth(a.Config)
		}
		next.candidates = append(next.candidates, c)
	}
	names := make([]string, len(s.Accounts))
	for i, a := range s.Accounts {
		names[i] = a.Name()
	}
	for i, name := range names {
		next.candidates[i].meters = p.metrics.meters(name, names)
	}
	next.routes = newRoutes(s.Routes, s.Config.Strategy, next.candidates)
	return next
}

// candidate is an account with what is known of it.
type candidate struct {
	Provider

	config AccountConfig
	health *health
	meters meters
}

// simulates: the provider sends nothing.
func (c *candidate) simulates() bool {
	s, ok := c.Provider.(interface{ Simulates() bool })
	return ok && s.Simulates()
}

func (s *setup) find(name string) (*candidate, bool) {
	if s == nil {
		return nil, false
	}
	for _, c := range s.candidates {
		if c.Name() == name {
			return c, true
		}
	}
	return nil, false
}

func (s *setup) names() string {
	names := make([]string, len(s.candidates))
	for i, c := range s.candidates {
		names[i] = c.Name()
	}
	return strings.Join(names, ", ")
}

// told counts the recipients of a decision.
func (s *setup) told(outcome providers.Outcome) {
	for _, result := range outcome {
		if c, found := s.find(result.Provider); found {
			c.meters.told(result.State)
		}
	}
}

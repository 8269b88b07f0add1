package smtpd

import (
	"net/netip"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// settings are what a reload replaces, ready for use. They do not change.
type settings struct {
	hostname            string
	limits              translate.Limits
	maxRecipients       int
	maxConnections      int
	maxConnectionsPerIP int
	timeouts            timeouts
	networks            []netip.Prefix
	users               *users
	routes              map[string]string // by user, where the configuration names one
	temporary           map[providers.Category]bool
}

func newSettings(c Config) (*settings, error) {
	networks, err := c.networks()
	if err != nil {
		return nil, err
	}
	known, err := newUsers(c.Users)
	if err != nil {
		return nil, err
	}
	routes := make(map[string]string)
	for _, u := range c.Users {
		if u.Route != "" {
			routes[u.Name] = u.Route
		}
	}
	temporary := make(map[providers.Category]bool)
	for _, name := range c.TemporaryCategories {
		temporary[providers.Category(name)] = true
	}
	return &settings{
		hostname:            c.Hostname,
		limits:              translate.Limits{Size: int64(c.MaxMessageSize)},
		maxRecipients:       c.MaxRecipients,
		maxConnections:      c.MaxConnections,
		maxConnectionsPerIP: c.MaxConnectionsPerIP,
		timeouts:            timeouts{c.ReadTimeout.Std(), c.WriteTimeout.Std()},
		networks:            networks,
		users:               known,
		routes:              routes,
		temporary:           temporary,
	}, nil
}

// soften marks what is answered 4xx although its class is permanent, whoever
// refuses; nil stays nil.
func (s *settings) soften(err *providers.Error) *providers.Error {
	if err == nil || !s.temporary[err.Category] {
		return err
	}
	soft := *err
	soft.Temporary = true
	return &soft
}

// allows: the peer may send without AUTH. A unix socket's file mode is its
// access control.
func (s *settings) allows(p peer) bool {
	if p.unix {
		return true
	}
	for _, network := range s.networks {
		if network.Contains(p.ip) {
			return true
		}
	}
	return false
}

package smtpd

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"smtpbridge/internal/config"
)

// Config is the [smtp] table. Paths and secrets in it are already resolved.
type Config struct {
	// Hostname is how the bridge greets.
	Hostname string `toml:"hostname"`
	// MaxMessageSize counts octets as sent, CRLF counted, stuffed dots not; exactly this passes.
	MaxMessageSize config.Size `toml:"max_message_size"`
	MaxRecipients  int         `toml:"max_recipients"`
	MaxConnections int         `toml:"max_connections"`
	// MaxConnectionsPerIP counts the address in the PROXY header where there is one.
	MaxConnectionsPerIP int `toml:"max_connections_per_ip"`
	// ReadTimeout is the longest silence of a client, WriteTimeout the longest wait for it to take a reply.
	ReadTimeout  config.Duration `toml:"read_timeout"`
	WriteTimeout config.Duration `toml:"write_timeout"`
	// DeliveryTimeout is the whole budget from the end of the data to the
	// reply. It is delivery's to keep: smtpd only validates it.
	DeliveryTimeout config.Duration `toml:"delivery_timeout"`
	// AllowNetworks may relay without AUTH. Nil means that nothing was
	// configured: loopback. An empty list is explicit: nobody.
	AllowNetworks []string   `toml:"allow_networks"`
	TLS           TLS        `toml:"tls"`
	Listeners     []Listener `toml:"listener"`
	Users         []User     `toml:"user"`
	// TemporaryCategories are answered 4xx although their class is permanent: those
	// of [delivery], for every refusal.
	TemporaryCategories []string `toml:"-"`
}

// TLS names the certificate of the listeners that offer TLS. The files are
// read again when they change.
type TLS struct {
	CertFile string `toml:"cert_file"`
	KeyFile  string `toml:"key_file"`
}

// Listener is one [[smtp.listener]]. An empty Protocol, TLS or Auth means the
// default: smtp, off, off.
type Listener struct {
	// Address is host:port, or unix:/path.
	Address string `toml:"address"`
	// Protocol is "smtp" or "lmtp".
	Protocol string `toml:"protocol"`
	// TLS is "off", "starttls" or "implicit".
	TLS string `toml:"tls"`
	// Auth is "off", "optional" or "required".
	Auth string `toml:"auth"`
	// ProxyProtocol demands a PROXY header, v1 or v2, from every connection.
	ProxyProtocol bool `toml:"proxy_protocol"`
}

// User is one [[smtp.user]].
type User struct {
	Name string `toml:"name"`
	// Password is the password itself or its bcrypt hash, "$2…".
	Password config.Secret `toml:"password"`
	// Route is the name of the [[route]] that the user's mail takes; empty means
	// the first that fits.
	Route string `toml:"route"`
}

// The words of the configuration that the code asks for; the others are the defaults.
const (
	protocolLMTP = "lmtp"
	tlsStartTLS  = "starttls"
	tlsImplicit  = "implicit"
	authOptional = "optional"
	authRequired = "required"
	unixPrefix   = "unix:"
)

// DefaultConfig listens on loopback for applications of the same host. Its
// AllowNetworks is nil, which allows loopback: so a list that the user wrote
// can be told from the default.
func DefaultConfig() Config {
	return Config{
		Hostname:            "localhost",
		MaxMessageSize:      25 << 20,
		MaxRecipients:       500,
		MaxConnections:      1000,
		MaxConnectionsPerIP: 500,
		ReadTimeout:         config.Duration(5 * time.Minute),
		WriteTimeout:        config.Duration(time.Minute),
		DeliveryTimeout:     config.Duration(50 * time.Second),
		Listeners: []Listener{{
			Address: "127.0.0.1:2525", Protocol: "smtp", TLS: "off", Auth: "off",
		}},
	}
}

// Validate reports every problem, with its key relative to [smtp].
func (c Config) Validate(report func(key, problem string)) {
	c.validateLimits(report)
	c.validateNetworks(report)
	c.validateTLS(report)
	c.validateUsers(report)
	if len(c.Listeners) == 0 {
		report("listener", "there is none; without the table the bridge listens on 127.0.0.1:2525")
	}
	seen := make(map[string]bool, len(c.Listeners))
	for i, l := range c.Listeners {
		at := func(key, problem string) { report(fmt.Sprintf("listener[%d].%s", i, key), problem) }
		if seen[l.Address] && l.port() != "0" {
			at("address", fmt.Sprintf("%q is listened on twice; each listener needs its own address", l.Address))
		}
		seen[l.Address] = true
		c.validateListener(l, at)
	}
}

func (c Config) validateLimits(report func(key, problem string)) {
	if c.Hostname == "" || strings.ContainsFunc(c.Hostname, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		report("hostname", fmt.Sprintf("%q is not a host name; write the name that the bridge greets with, as \"localhost\"", c.Hostname))
	}
	for _, limit := range []struct {
		key     string
		value   int64
		example string
	}{
		{"max_message_size", int64(c.MaxMessageSize), `"25MiB"`},
		{"max_recipients", int64(c.MaxRecipients), "500"},
		{"max_connections", int64(c.MaxConnections), "1000"},
		{"max_connections_per_ip", int64(c.MaxConnectionsPerIP), "500"},
		{"read_timeout", int64(c.ReadTimeout), `"5m"`},
		{"write_timeout", int64(c.WriteTimeout), `"1m"`},
		{"delivery_timeout", int64(c.DeliveryTimeout), `"50s"`},
	} {
		if limit.value <= 0 {
			report(limit.key, "must be more than 0, as "+limit.example)
		}
	}
}

func (c Config) validateNetworks(report func(key, problem string)) {
	for i, network := range c.AllowNetworks {
		if _, err := parseNetwork(network); err != nil {
			report(fmt.Sprintf("allow_networks[%d]", i),
				fmt.Sprintf("%q is not a network; write one as \"10.0.0.0/8\" or \"fd00::/8\"", network))
		}
	}
}

func (c Config) validateTLS(report func(key, problem string)) {
	switch cert, key := c.TLS.CertFile, c.TLS.KeyFile; {
	case cert == "" && key == "":
	case key == "":
		report("tls.key_file", "missing; tls.cert_file needs the file of its private key in PEM")
	case cert == "":
		report("tls.cert_file", "missing; tls.key_file needs the file of its certificate chain in PEM")
	default:
		if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
			report("tls.cert_file", fmt.Sprintf("%v; a readable certificate chain and its key are needed, both in PEM", err))
		}
	}
}

func (c Config) validateUsers(report func(key, problem string)) {
	seen := make(map[string]bool, len(c.Users))
	for i, user := range c.Users {
		at := func(key, problem string) { report(fmt.Sprintf("user[%d].%s", i, key), problem) }
		switch {
		case user.Name == "":
			at("name", "missing; give the name that the application logs in with")
		case seen[user.Name]:
			at("name", fmt.Sprintf("%q is there twice; user names are unique", user.Name))
		}
		seen[user.Name] = true
		if user.Password.IsZero() {
			at("password", "empty; give a password, a bcrypt hash, \"env:NAME\" or \"file:PATH\"")
		} else if err := checkHash(user.Password.Reveal()); err != nil {
			at("password", "begins with $2 but is no bcrypt hash; write the whole hash, as htpasswd -B prints it")
		}
	}
}

func (c Config) validateListener(l Listener, at func(key, problem string)) {
	if problem := l.addressProblem(); problem != "" {
		at("address", problem)
	}
	oneOf(at, "protocol", l.Protocol, "smtp", protocolLMTP)
	oneOf(at, "tls", l.TLS, "off", tlsStartTLS, tlsImplicit)
	oneOf(at, "auth", l.Auth, "off", authOptional, authRequired)
	if l.offersTLS() && c.TLS.CertFile == "" && c.TLS.KeyFile == "" {
		at("tls", "needs a certificate; set cert_file and key_file in [smtp.tls]")
	}
	if l.offersAuth() && len(c.Users) == 0 {
		at("auth", "nobody could log in; add an [[smtp.user]]")
	}
	if l.Auth == authRequired && !l.offersTLS() && (!l.isLocal() || l.ProxyProtocol) {
		// At tls, so that it stands beside what is wrong with auth itself.
		at("tls", "AUTH is offered only over TLS outside loopback, so nobody could log in; write starttls or implicit")
	}
	if l.ProxyProtocol && l.isUnix() {
		at("proxy_protocol", "a unix socket is trusted by its file mode, a PROXY header would let strangers in; use a TCP address")
	}
	if !l.isLocal() && l.Auth != authRequired && c.AllowNetworks == nil {
		at("address", "listens outside loopback, an open relay by accident; "+
			"set auth = \"required\" here, or allow_networks in [smtp] to those who may send without it")
	}
}

func oneOf(at func(key, problem string), key, value string, words ...string) {
	if value == "" || slices.Contains(words, value) {
		return
	}
	at(key, fmt.Sprintf("%q is unknown; write one of %s", value, strings.Join(words, ", ")))
}

// networks are those that may relay without AUTH.
func (c Config) networks() ([]netip.Prefix, error) {
	allowed := c.AllowNetworks
	if allowed == nil {
		allowed = []string{"127.0.0.0/8", "::1/128"}
	}
	networks := make([]netip.Prefix, len(allowed))
	for i, text := range allowed {
		network, err := parseNetwork(text)
		if err != nil {
			return nil, fmt.Errorf("reading allow_networks: %w", err)
		}
		networks[i] = network
	}
	return networks, nil
}

// parseNetwork takes a prefix, or an address that stands for itself.
func parseNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return address.Prefix(address.BitLen())
	}
	network, err := netip.ParsePrefix(text)
	return network.Masked(), err
}

func (l Listener) offersTLS() bool  { return l.TLS == tlsStartTLS || l.TLS == tlsImplicit }
func (l Listener) offersAuth() bool { return l.Auth == authOptional || l.Auth == authRequired }
func (l Listener) isUnix() bool     { return strings.HasPrefix(l.Address, unixPrefix) }

// isLocal: only this host can reach it.
func (l Listener) isLocal() bool {
	if l.isUnix() {
		return true
	}
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback() || host == "localhost"
}

func (l Listener) port() string {
	_, port, err := net.SplitHostPort(l.Address)
	if err != nil {
		return ""
	}
	return port
}

// addressProblem is empty where the address can be listened on.
func (l Listener) addressProblem() string {
	if l.Address == "" {
		return "missing; write host:port as \"127.0.0.1:2525\", or \"unix:/run/bridge.sock\""
	}
	if l.isUnix() {
		if l.Address == unixPrefix {
			return "has no path; write it as \"unix:/run/bridge.sock\""
		}
		return ""
	}
	if _, err := strconv.ParseUint(l.port(), 10, 16); err != nil {
		return fmt.Sprintf("%q is not an address; write host:port as \"127.0.0.1:2525\", or \"unix:/run/bridge.sock\"", l.Address)
	}
	return ""
}

package app

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/events/forward"
	"smtpbridge/internal/alerts"
	"smtpbridge/internal/config"
	"smtpbridge/internal/store"
	"smtpbridge/providers/delivery"
	"smtpbridge/smtpd"
)

// Config is the whole configuration of a bridge. Default and Load make one.
type Config struct {
	DataDir         string          `toml:"data_dir"`
	ShutdownTimeout config.Duration `toml:"shutdown_timeout"`
	Log             Log             `toml:"log"`
	SMTP            smtpd.Config    `toml:"smtp"`
	HTTP            HTTP            `toml:"http"`
	Store           store.Config    `toml:"store"`
	// Providers in the order of the file.
	Providers []Provider             `toml:"provider"`
	Delivery  delivery.Config        `toml:"delivery"`
	Routes    []delivery.RouteConfig `toml:"route"`
	Guard     delivery.GuardConfig   `toml:"guard"`
	Events    Events                 `toml:"events"`
	Alerts    alerts.Config          `toml:"alerts"`

	source source
}

// Events is the [events] table.
type Events struct {
	events.Config `toml:",squash"`
	Forward       forward.Config `toml:",squash"`

	// SuppressionSync is how often the providers' own suppression lists are
	// pulled; 0 is only on demand.
	SuppressionSync config.Duration `toml:"suppression_sync"`
}

// Log is the [log] table.
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// HTTP is the [http] table.
type HTTP struct {
	WebhookAddress string `toml:"webhook_address"`
	AdminAddress   string `toml:"admin_address"`
}

// Default is the configuration without a file: SMTP on loopback, and a sandbox.
func Default() Config {
	c := defaults()
	c.Providers = []Provider{defaultSandbox()}
	return c
}

// defaults is what a file starts from.
func defaults() Config {
	return Config{
		DataDir:         "./bridge-data",
		ShutdownTimeout: config.Duration(30 * time.Second),
		Log:             Log{Level: "info", Format: "json"},
		SMTP:            smtpd.DefaultConfig(),
		HTTP:            HTTP{WebhookAddress: "127.0.0.1:8080", AdminAddress: "127.0.0.1:9090"},
		Store:           store.DefaultConfig(),
		Delivery:        delivery.DefaultConfig(),
		Events:          Events{Config: events.DefaultConfig()},
		Alerts:          alerts.DefaultConfig(),
	}
}

// Load reads and validates a configuration file; env looks up variables, as
// os.LookupEnv does. The error has every problem; the configuration beside it
// holds what could be read, for those who only want a part.
func Load(path string, env func(string) (string, bool)) (Config, error) {
	c := defaults()
	var from source
	data, err := from.read(path)
	c.source = from
	if err != nil {
		return c, fmt.Errorf("reading the configuration: %w", err)
	}
	doc, err := config.Read(path, data, config.Options{Env: env, ReadFile: from.read})
	if err != nil {
		return c, err //nolint:wrapcheck // its lines stand for themselves
	}
	root := doc.Root()
	tables := root.Cut("provider")
	root.Decode(&c)
	c.resolve(doc.Path)
	from.note(c.SMTP.TLS.CertFile, c.SMTP.TLS.KeyFile)
	c.Providers = decodeProviders(tables)
	c.validate(root.Report)
	c.source = from
	return c, doc.Err()
}

// resolve makes paths relative to the file.
func (c *Config) resolve(path func(string) string) {
	c.DataDir = path(c.DataDir)
	c.SMTP.TLS.CertFile = path(c.SMTP.TLS.CertFile)
	c.SMTP.TLS.KeyFile = path(c.SMTP.TLS.KeyFile)
	for i, listener := range c.SMTP.Listeners {
		if socket, ok := strings.CutPrefix(listener.Address, "unix:"); ok {
			c.SMTP.Listeners[i].Address = "unix:" + path(socket)
		}
	}
}

func (c *Config) validate(report func(key, problem string)) {
	if c.DataDir == "" {
		report("data_dir", `is empty; name a directory such as "./bridge-data"`)
	}
	if c.ShutdownTimeout <= 0 {
		report("shutdown_timeout", `must be longer than 0, such as "30s"`)
	}
	c.Log.validate(below("log", report))
	c.SMTP.Validate(below("smtp", report))
	c.HTTP.validate(below("http", report))
	c.Store.Validate(below("store", report))
	c.Delivery.Validate(below("delivery", report))
	c.Guard.Validate(below("guard", report))
	c.Events.validate(below("events", report))
	c.Alerts.Validate(below("alerts", report))
	c.validateRoutes(report)
}

// validateRoutes checks names across tables: routes name providers, and users
// name routes.
func (c *Config) validateRoutes(report func(key, problem string)) {
	known := c.names()
	routes := make([]string, len(c.Routes))
	for i, r := range c.Routes {
		table := fmt.Sprintf("route[%d]", i)
		r.Validate(known, below(table, report))
		if r.Name != "" && slices.Contains(routes, r.Name) {
			report(table+".name", fmt.Sprintf("%q is there twice; names are unique", r.Name))
		}
		routes[i] = r.Name
	}
	for i, u := range c.SMTP.Users {
		if u.Route != "" && !slices.Contains(routes, u.Route) {
			report(fmt.Sprintf("smtp.user[%d].route", i), fmt.Sprintf("%q is no [[route]]", u.Route))
		}
	}
}

// names are those of the providers.
func (c *Config) names() []string {
	names := make([]string, len(c.Providers))
	for i, p := range c.Providers {
		names[i] = p.Name
	}
	return names
}

// settings are what the pipeline is given.
func (c *Config) settings(accounts []delivery.Account) delivery.Settings {
	return delivery.Settings{
		Accounts: accounts, Budget: c.SMTP.DeliveryTimeout.Std(), Config: c.Delivery, Routes: c.Routes, Guard: c.Guard,
	}
}

// smtp is what the SMTP server is given.
func (c *Config) smtp() smtpd.Config {
	with := c.SMTP
	with.TemporaryCategories = c.Delivery.TemporaryCategories
	return with
}

// below reports keys relative to a table.
func below(table string, report func(key, problem string)) func(key, problem string) {
	return func(key, problem string) { report(table+"."+key, problem) }
}

func (e Events) validate(report func(key, problem string)) {
	e.Validate(report) // of events.Config
	e.Forward.Validate(report)
	if e.SuppressionSync < 0 {
		report("suppression_sync", `must not be negative; write "0s" for on demand, or an interval such as "6h"`)
	}
}

func (l Log) validate(report func(key, problem string)) {
	if _, ok := levels()[l.Level]; !ok {
		report("level", fmt.Sprintf("%q is unknown; write debug, info, warn or error", l.Level))
	}
	if l.Format != formatJSON && l.Format != formatText {
		report("format", fmt.Sprintf("%q is unknown; write json or text", l.Format))
	}
}

func (h HTTP) validate(report func(key, problem string)) {
	for _, address := range [...]struct{ key, value string }{
		{"webhook_address", h.WebhookAddress}, {"admin_address", h.AdminAddress},
	} {
		if !isAddress(address.value) {
			report(address.key, fmt.Sprintf(`%q is not an address; write host:port such as "127.0.0.1:9090"`, address.value))
		}
	}
	if h.WebhookAddress == h.AdminAddress && !strings.HasSuffix(h.AdminAddress, ":0") {
		report("admin_address", "is webhook_address too, which the providers reach; the admin API needs an address of its own")
	}
}

func isAddress(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

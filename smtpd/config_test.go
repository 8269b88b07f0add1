package smtpd_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"smtpbridge/internal/config"
	"smtpbridge/smtpd"
)

// Every mistake is reported, with its key and what would be right.
func TestValidate(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	var files smtpd.Config
	withTLS(t, &files)
	secret := config.NewSecret("secret")
	outside := func(cfg *smtpd.Config) { cfg.Listeners[0].Address = "0.0.0.0:25" }
	for _, tt := range []struct {
		name   string
		change func(*smtpd.Config)
		want   map[string]string
	}{
		{"default", func(*smtpd.Config) {}, nil},
		{"limits", func(cfg *smtpd.Config) { *cfg = smtpd.Config{Hostname: "a b", Listeners: cfg.Listeners} }, map[string]string{
			"hostname":               `"a b" is not a host name; *`,
			"max_message_size":       `must be more than 0, as "25MiB"`,
			"max_recipients":         "must be more than 0, as 500",
			"max_connections":        "must be more than 0, as 1000",
			"max_connections_per_ip": "must be more than 0, as 500",
			"read_timeout":           `must be more than 0, as "5m"`,
			"write_timeout":          `must be more than 0, as "1m"`,
			"delivery_timeout":       `must be more than 0, as "50s"`,
		}},
		{"no host name", func(cfg *smtpd.Config) { cfg.Hostname = "" }, map[string]string{"hostname": `"" is not a host name; *"localhost"`}},
		{"networks", func(cfg *smtpd.Config) {
			cfg.AllowNetworks = []string{"10.0.0.0/8", "10.0.0.0/33", "::1", "office"}
		}, map[string]string{
			"allow_networks[1]": `"10.0.0.0/33" is not a network; write one as *`,
			"allow_networks[3]": `"office" is not a network; write one as *`,
		}},
		{"no listener", func(cfg *smtpd.Config) { cfg.Listeners = nil }, map[string]string{"listener": "there is none; *127.0.0.1:2525"}},

		// Addresses.
		{"addresses", func(cfg *smtpd.Config) {
			cfg.Listeners = []smtpd.Listener{{}, {Address: "2525"}, {Address: "localhost:smtp"}, {Address: "unix:"}, {Address: "127.0.0.1:25"}, {Address: "127.0.0.1:25"}}
			cfg.AllowNetworks = []string{}
		}, map[string]string{
			"listener[0].address": `missing; write host:port as "127.0.0.1:2525", or *`,
			"listener[1].address": `"2525" is not an address; write *`,
			"listener[2].address": `"localhost:smtp" is not an address; write *`,
			"listener[3].address": "has no path; write it as *",
			"listener[5].address": `"127.0.0.1:25" is listened on twice; *`,
		}},
		{"words", func(cfg *smtpd.Config) {
			cfg.Listeners[0] = smtpd.Listener{Address: "localhost:25", Protocol: "SMTP", TLS: "on", Auth: "yes"}
		}, map[string]string{
			"listener[0].protocol": `"SMTP" is unknown; write one of smtp, lmtp`,
			"listener[0].tls":      `"on" is unknown; write one of off, starttls, implicit`,
			"listener[0].auth":     `"yes" is unknown; write one of off, optional, required`,
		}},
		{"empty words are the defaults", func(cfg *smtpd.Config) { cfg.Listeners[0] = smtpd.Listener{Address: "[::1]:25"} }, nil},

		// TLS.
		{"tls without certificate", func(cfg *smtpd.Config) { cfg.Listeners[0].TLS = "starttls" }, map[string]string{
			"listener[0].tls": "needs a certificate; set cert_file and key_file in (smtp.tls)",
		}},
		{"certificate without key", func(cfg *smtpd.Config) { cfg.TLS.CertFile = files.TLS.CertFile }, map[string]string{"tls.key_file": "missing; *"}},
		{"key without certificate", func(cfg *smtpd.Config) { cfg.TLS.KeyFile = files.TLS.KeyFile }, map[string]string{"tls.cert_file": "missing; *"}},
		{"certificate that cannot be read", func(cfg *smtpd.Config) {
			cfg.TLS = smtpd.TLS{CertFile: filepath.Join(t.TempDir(), "none"), KeyFile: files.TLS.KeyFile}
		}, map[string]string{"tls.cert_file": "open *none: no such file or directory; *in PEM"}},
		{"certificate", func(cfg *smtpd.Config) { cfg.TLS, cfg.Listeners[0].TLS = files.TLS, "implicit" }, nil},

		// Users.
		{"users", func(cfg *smtpd.Config) {
			cfg.Users = []smtpd.User{
				{Password: secret},
				{Name: "a", Password: secret},
				{Name: "a", Password: config.NewSecret(string(hash))},
				{Name: "b"},
				{Name: "c", Password: config.NewSecret("$2y$short")},
			}
		}, map[string]string{
			"user[0].name":     "missing; *",
			"user[2].name":     `"a" is there twice; *`,
			"user[3].password": "empty; *",
			"user[4].password": "begins with $2 but is no bcrypt hash; *",
		}},
		{"auth without users", func(cfg *smtpd.Config) { cfg.Listeners[0].Auth = "optional" }, map[string]string{
			"listener[0].auth": "nobody could log in; add an ((smtp.user))",
		}},
		{"required auth that nobody could use", func(cfg *smtpd.Config) {
			outside(cfg)
			withUser(cfg)
			cfg.Listeners[0].Auth = "required"
		}, map[string]string{"listener[0].tls": `AUTH is offered only over TLS outside loopback, so nobody could log in; *`}},
		{"required auth behind a proxy without TLS", func(cfg *smtpd.Config) {
			withUser(cfg)
			cfg.Listeners[0].Auth, cfg.Listeners[0].ProxyProtocol = "required", true
		}, map[string]string{"listener[0].tls": `AUTH is offered only over TLS *`}},

		// No open relay by accident.
		{"required auth without TLS and users", func(cfg *smtpd.Config) {
			outside(cfg)
			cfg.Listeners[0].Auth = "required"
		}, map[string]string{"listener[0].tls": `AUTH is offered only over TLS *`, "listener[0].auth": `nobody could log in; *`}},
		{"outside", outside, map[string]string{"listener[0].address": "listens outside loopback, an open relay by accident; set *"}},
		{"outside by name", func(cfg *smtpd.Config) { cfg.Listeners[0].Address = "mail.example.com:25" }, map[string]string{
			"listener[0].address": "listens outside loopback, *",
		}},
		{"everywhere", func(cfg *smtpd.Config) { cfg.Listeners[0].Address = ":25" }, map[string]string{"listener[0].address": "listens outside loopback, *"}},
		{"outside with optional auth", func(cfg *smtpd.Config) {
			outside(cfg)
			withUser(cfg)
			cfg.TLS, cfg.Listeners[0].TLS, cfg.Listeners[0].Auth = files.TLS, "starttls", "optional"
		}, map[string]string{"listener[0].address": "listens outside loopback, *"}},
		{"outside with required auth", func(cfg *smtpd.Config) {
			outside(cfg)
			withUser(cfg)
			cfg.TLS, cfg.Listeners[0].TLS, cfg.Listeners[0].Auth = files.TLS, "starttls", "required"
		}, nil},
		{"outside with networks", func(cfg *smtpd.Config) { outside(cfg); cfg.AllowNetworks = []string{"10.0.0.0/8"} }, nil},
		{"outside with no networks, explicitly", func(cfg *smtpd.Config) { outside(cfg); cfg.AllowNetworks = []string{} }, nil},
		{"unix with proxy", func(cfg *smtpd.Config) { cfg.Listeners[0] = smtpd.Listener{Address: "unix:/a", ProxyProtocol: true} }, map[string]string{
			"listener[0].proxy_protocol": "*use a TCP address",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := smtpd.DefaultConfig()
			tt.change(&cfg)
			got := map[string]string{}
			cfg.Validate(func(key, problem string) {
				if pattern, ok := tt.want[key]; ok && matches(pattern, problem) {
					problem = pattern
				}
				got[key] = problem
			})
			want := tt.want
			if want == nil {
				want = map[string]string{}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

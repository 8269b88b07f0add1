package app

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
	"smtpbridge/providers/httpapi"
	"smtpbridge/providers/mailgun"
	"smtpbridge/providers/postmark"
	"smtpbridge/providers/sandbox"
	"smtpbridge/providers/sendgrid"
	"smtpbridge/providers/ses"
	"smtpbridge/providers/smtp2go"
)

// sandboxType is the type of the provider that sends nothing.
const sandboxType = "sandbox"

// kinds are the provider types, the only list of them. A new one is one entry.
func kinds() map[string]kind {
	return map[string]kind{
		"mailgun": overHTTP(esp[mailgun.Config]{
			defaults: mailgun.DefaultConfig,
			adapter:  func(c mailgun.Config) (httpapi.Config, providers.Adapter) { return c.Config, mailgun.New(c) },
			webhook:  func(c mailgun.Config, _ http.RoundTripper) events.Source { return mailgun.NewWebhook(c) },
			lister: func(c mailgun.Config, transport http.RoundTripper) events.Lister {
				return mailgun.NewLister(c, transport)
			},
		}),
		"postmark": overHTTP(esp[postmark.Config]{
			defaults: postmark.DefaultConfig,
			adapter:  func(c postmark.Config) (httpapi.Config, providers.Adapter) { return c.Config, postmark.New(c) },
			webhook:  func(c postmark.Config, _ http.RoundTripper) events.Source { return postmark.NewWebhook(c) },
			lister: func(c postmark.Config, transport http.RoundTripper) events.Lister {
				return postmark.NewLister(c, transport)
			},
		}),
		sandboxType: sandboxKind,
		"sendgrid": overHTTP(esp[sendgrid.Config]{
			defaults: sendgrid.DefaultConfig,
			adapter:  func(c sendgrid.Config) (httpapi.Config, providers.Adapter) { return c.Config, sendgrid.New(c) },
			webhook:  func(c sendgrid.Config, _ http.RoundTripper) events.Source { return sendgrid.NewWebhook(c) },
			lister: func(c sendgrid.Config, transport http.RoundTripper) events.Lister {
				return sendgrid.NewLister(c, transport)
			},
		}),
		"ses": overHTTP(esp[ses.Config]{
			defaults: ses.DefaultConfig,
			adapter:  func(c ses.Config) (httpapi.Config, providers.Adapter) { return c.Config, ses.New(c) },
			webhook:  func(c ses.Config, transport http.RoundTripper) events.Source { return ses.NewWebhook(c, transport) },
			lister:   func(c ses.Config, transport http.RoundTripper) events.Lister { return ses.NewLister(c, transport) },
		}),
		"smtp2go": overHTTP(esp[smtp2go.Config]{
			defaults: smtp2go.DefaultConfig,
			adapter:  func(c smtp2go.Config) (httpapi.Config, providers.Adapter) { return c.Config, smtp2go.New(c) },
			webhook:  func(c smtp2go.Config, _ http.RoundTripper) events.Source { return smtp2go.NewWebhook(c) },
			lister: func(c smtp2go.Config, transport http.RoundTripper) events.Lister {
				return smtp2go.NewLister(c, transport)
			},
		}),
	}
}

// kind decodes and validates the table of one provider type.
type kind func(*config.Table) plan

// plan makes the parts of the provider that a table describes.
type plan struct {
	account    delivery.AccountConfig
	build      func(parts) delivery.Provider
	webhook    func(http.RoundTripper) events.Source // nil where it tells nothing by webhook
	lister     func(http.RoundTripper) events.Lister // nil where it keeps no list
	unverified bool                                  // webhooks are taken without a key
}

// parts are what providers are built with, and share.
type parts struct {
	transport http.RoundTripper
	keeper    sandbox.Keeper
	reporter  sandbox.Reporter
}

// Provider is one [[provider]] table. Its secrets stay inside.
type Provider struct {
	Name, Type string

	plan

	assumed bool // no table named it
}

// Probe asks whether the provider takes the credentials, without sending.
// Providers that need none, such as the sandbox, have nothing to ask.
func (p Provider) Probe(ctx context.Context) error {
	transport := httpapi.NewTransport()
	defer transport.CloseIdleConnections()
	prober, ok := p.build(parts{transport: transport}).(interface{ Probe(context.Context) error })
	if !ok {
		return nil
	}
	return prober.Probe(ctx)
}

// isAssumed reports that no provider was configured.
func isAssumed(all []Provider) bool { return len(all) == 1 && all[0].assumed }

// validated is what the configuration of each provider can do.
type validated interface {
	Validate(report func(key, problem string))
}

// table is a [[provider]] table: what its type makes of it, and what the pipeline
// does.
type table[C validated] struct {
	Own     C                      `toml:",squash"`
	Account delivery.AccountConfig `toml:",squash"`
}

// esp is a provider behind an HTTP API, by its configuration.
type esp[C validated] struct {
	defaults func() C
	adapter  func(C) (httpapi.Config, providers.Adapter)
	webhook  func(C, http.RoundTripper) events.Source
	lister   func(C, http.RoundTripper) events.Lister
}

// overHTTP is the kind of such a provider.
func overHTTP[C validated](e esp[C]) kind {
	return func(t *config.Table) plan {
		c, account := decode(t, e.defaults())
		common, adapter := e.adapter(c)
		return plan{
			account:    account,
			build:      func(p parts) delivery.Provider { return httpapi.New(common, adapter, p.transport) },
			webhook:    bind(e.webhook, c),
			lister:     bind(e.lister, c),
			unverified: common.WebhookUnverified,
		}
	}
}

func bind[C, T any](f func(C, http.RoundTripper) T, c C) func(http.RoundTripper) T {
	if f == nil {
		return nil
	}
	return func(transport http.RoundTripper) T { return f(c, transport) }
}

// decode reads and validates a table.
func decode[C validated](t *config.Table, defaults C) (C, delivery.AccountConfig) {
	c := table[C]{defaults, delivery.DefaultAccountConfig()}
	t.Decode(&c)
	c.Own.Validate(t.Report)
	c.Account.Validate(t.Report)
	return c.Own, c.Account
}

func sandboxKind(t *config.Table) plan {
	c, account := decode(t, sandbox.DefaultConfig())
	return sandboxPlan(c, account)
}

func sandboxPlan(c sandbox.Config, account delivery.AccountConfig) plan {
	return plan{
		account:    account,
		build:      func(p parts) delivery.Provider { return sandbox.New(c, p.keeper, p.reporter) },
		unverified: c.WebhookUnverified,
	}
}

// defaultSandbox is the provider where none is configured.
func defaultSandbox() Provider {
	c := sandbox.DefaultConfig()
	return Provider{Name: c.Name, Type: c.Type, plan: sandboxPlan(c, delivery.DefaultAccountConfig()), assumed: true}
}

// decodeProviders decodes each table by its type; without any there is a sandbox.
func decodeProviders(tables []*config.Table) []Provider {
	if len(tables) == 0 {
		return []Provider{defaultSandbox()}
	}
	var (
		out  = make([]Provider, 0, len(tables))
		seen = make(map[string]bool, len(tables))
	)
	for _, t := range tables {
		p := Provider{Name: t.Text("name"), Type: t.Text("type")}
		if !t.Has("name") {
			p.Name = p.Type
		}
		decode, ok := kinds()[p.Type]
		if !ok {
			t.Report("type", unknownType(p.Type))
			continue
		}
		p.plan = decode(t)
		reportName(p.Name, seen, t.Report)
		out = append(out, p)
	}
	return out
}

func unknownType(name string) string {
	known := strings.Join(slices.Sorted(maps.Keys(kinds())), ", ")
	if name == "" {
		return "is missing; write one of: " + known
	}
	return fmt.Sprintf("%q is no provider type; write one of: %s", name, known)
}

var validName = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

func reportName(name string, seen map[string]bool, report func(key, problem string)) {
	switch {
	case !validName.MatchString(name):
		report("name", fmt.Sprintf("%q is not a name; it must be 1 to 32 of a-z, 0-9, _ and -", name))
	case name == "test":
		report("name", `"test" is taken, for /webhooks/test; write another`)
	case seen[name]:
		report("name", fmt.Sprintf("%q is there twice; names are unique, and the type is the default", name))
	}
	seen[name] = true
}

package app

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

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

// kinds are the provider types, the only list of them. A new one is one line.
func kinds() map[string]kind {
	return map[string]kind{
		"mailgun": overHTTP(mailgun.DefaultConfig,
			func(c mailgun.Config) (httpapi.Config, providers.Adapter) { return c.Config, mailgun.New(c) }),
		"postmark": overHTTP(postmark.DefaultConfig,
			func(c postmark.Config) (httpapi.Config, providers.Adapter) { return c.Config, postmark.New(c) }),
		"sandbox": of(sandbox.DefaultConfig, newSandbox),
		"sendgrid": overHTTP(sendgrid.DefaultConfig,
			func(c sendgrid.Config) (httpapi.Config, providers.Adapter) { return c.Config, sendgrid.New(c) }),
		"ses": overHTTP(ses.DefaultConfig,
			func(c ses.Config) (httpapi.Config, providers.Adapter) { return c.Config, ses.New(c) }),
		"smtp2go": overHTTP(smtp2go.DefaultConfig,
			func(c smtp2go.Config) (httpapi.Config, providers.Adapter) { return c.Config, smtp2go.New(c) }),
	}
}

// kind decodes and validates the table of one provider type.
type kind func(*config.Table) (delivery.AccountConfig, build)

// build makes the provider that a table describes.
type build func(parts) delivery.Provider

// parts are what providers are built with, and share.
type parts struct {
	transport http.RoundTripper
	keeper    sandbox.Keeper
}

// Provider is one [[provider]] table. Its secrets stay inside.
type Provider struct {
	Name, Type string

	account delivery.AccountConfig
	build   build
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

// of is the kind of a provider that New builds.
func of[C validated](defaults func() C, provider func(C, parts) delivery.Provider) kind {
	return func(t *config.Table) (delivery.AccountConfig, build) {
		c := table[C]{defaults(), delivery.DefaultAccountConfig()}
		t.Decode(&c)
		c.Own.Validate(t.Report)
		c.Account.Validate(t.Report)
		return c.Account, func(p parts) delivery.Provider { return provider(c.Own, p) }
	}
}

// overHTTP is the kind of a provider that is an adapter of an HTTP API.
func overHTTP[C validated](defaults func() C, adapter func(C) (httpapi.Config, providers.Adapter)) kind {
	return of(defaults, func(c C, p parts) delivery.Provider {
		common, a := adapter(c)
		return httpapi.New(common, a, p.transport)
	})
}

func newSandbox(c sandbox.Config, p parts) delivery.Provider { return sandbox.New(c, p.keeper) }

// defaultSandbox is the provider where none is configured.
func defaultSandbox() Provider {
	c := sandbox.DefaultConfig()
	return Provider{
		Name: c.Name, Type: c.Type, account: delivery.DefaultAccountConfig(),
		build: func(p parts) delivery.Provider { return newSandbox(c, p) }, assumed: true,
	}
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
		p.account, p.build = decode(t)
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

package mailgun_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers/mailgun"
	"smtpbridge/providers/mailgun/mailguntest"
	"smtpbridge/providers/providertest"
)

var _ events.Lister = (*mailgun.Lister)(nil)

// pages are a list of 25 bounces, ten to a page.
func pages(account mailguntest.Account) *mailguntest.Fake {
	account.Key, account.Domain, account.PageSize = key, domain, 10
	fake := mailguntest.New(account)
	for i := range 25 {
		fake.Suppress(mailguntest.Bounces, map[string]any{"address": fmt.Sprintf("r%d@example.org", i), "code": "550"})
	}
	return fake
}

// leads is an account whose pages all lead to the same one.
func leads(to string) func(string) string { return func(string) string { return to } }

func TestSuppressions(t *testing.T) {
	const again = "https://api.mailgun.net/v3/mg.example.com/bounces?limit=1000"
	const at = "Fri, 02 Jan 2026 03:04:05 UTC"
	fake := mailguntest.New(account)
	fake.Suppress(mailguntest.Bounces,
		map[string]any{"address": "Gone@Bücher.example", "code": "550", "error": "5.1.1 no such\nuser", "created_at": at},
		map[string]any{"address": "b@example.org", "code": 552, "created_at": "yesterday"},
		map[string]any{"address": "nobody", "code": nil})
	fake.Suppress(mailguntest.Complaints, map[string]any{"address": "s@example.org", "created_at": "Fri, 02 Jan 2026 04:04:05 +0100"})
	fake.Suppress(mailguntest.Unsubscribes,
		map[string]any{"address": "all@example.org", "tags": []string{"*"}, "created_at": at},
		map[string]any{"address": "two@example.org", "tags": []string{"news", "offers"}, "created_at": at},
		map[string]any{"address": "both@example.org", "tags": []string{"news", "*"}, "created_at": at},
		map[string]any{"address": "old@example.org", "tag": "news", "created_at": at},
		map[string]any{"address": "none@example.org", "created_at": at})
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	left := func(address, scope string) events.Suppression {
		return events.Suppression{Address: address, Scope: scope, Reason: events.Unsubscribe, Provider: "main", Since: since}
	}
	providertest.Lister(t, providertest.Lists{
		New: func(url string, transport http.RoundTripper) events.Lister {
			c := newConfig()
			c.Name, c.BaseURL = "main", url
			return mailgun.NewLister(c, transport)
		},
		Secret: key,
		Fake:   fake,
		Want: []events.Suppression{
			{Address: "gone@xn--bcher-kva.example", Reason: events.HardBounce, Provider: "main", Detail: "550 5.1.1 no such user", Since: since},
			{Address: "b@example.org", Reason: events.HardBounce, Provider: "main", Detail: "552"},
			{Address: "s@example.org", Reason: events.Complaint, Provider: "main", Since: since},
			left("all@example.org", ""), left("two@example.org", "tag:news"), left("two@example.org", "tag:offers"),
			left("both@example.org", ""), left("old@example.org", "tag:news"), left("none@example.org", ""),
		},
		Pages: []providertest.Pages{
			{Name: "several", Fake: pages(mailguntest.Account{}), Count: 25},
			{Name: "the same again", Fake: pages(mailguntest.Account{Next: leads(again)}), Count: 10, Says: "list of bounces: the provider gives the same page again"},
			{Name: "elsewhere", Fake: pages(mailguntest.Account{Next: leads("https://api.mailgun.net.example.com/v3/x")}), Says: "not at Mailgun"},
			{Name: "in the other region", Fake: pages(mailguntest.Account{Next: leads("https://api.eu.mailgun.net/v3/x")}), Says: "not at Mailgun"},
			{Name: "in the clear", Fake: pages(mailguntest.Account{Next: leads("http://api.mailgun.net/v3/x")}), Says: "not at Mailgun"},
			{Name: "with a password", Fake: pages(mailguntest.Account{Next: leads("https://a:b@api.mailgun.net/v3/x")}), Says: "not at Mailgun"},
			{Name: "nowhere", Fake: pages(mailguntest.Account{Next: leads("/v3/x")}), Says: "not at Mailgun"},
			{Name: "no URL", Fake: pages(mailguntest.Account{Next: leads("https://api.mailgun.net:x/")}), Says: "not at Mailgun"},
			{Name: "no page", Fake: pages(mailguntest.Account{Next: leads("https://api.mailgun.net/other")}), Count: 10, Says: "the answer is not Mailgun's"},
			{Name: "an error in the middle", Fake: pages(mailguntest.Account{Fault: providertest.Later(mailguntest.Unavailable)}), Count: 10, Says: "list of bounces: service_unavailable"},
			{Name: "no answer in the middle", Fake: pages(mailguntest.Account{Fault: providertest.Later(mailguntest.ResetBefore)}), Count: 10, Says: "list of bounces: network_error"},
			{Name: "a sending key", Fake: pages(mailguntest.Account{SendingKey: true}), Says: "list of bounces, for which the credentials need to be a key of the account"},
		},
	})
}

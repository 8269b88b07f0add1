package mailgun_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/events"
	"smtpbridge/providers/httpapi"
	"smtpbridge/providers/mailgun"
	"smtpbridge/providers/mailgun/mailguntest"
)

var _ events.Lister = (*mailgun.Lister)(nil)

// lister reads the lists of the fake, which stands in the place of Mailgun.
func lister(t *testing.T, fake *mailguntest.Fake) *mailgun.Lister {
	t.Helper()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c := newConfig()
	c.Name, c.BaseURL = "main", server.URL
	return mailgun.NewLister(c, transport)
}

// listed gives what is listed before the first error, which is the last thing.
func listed(t *testing.T, l events.Lister) (list []events.Suppression, failed error) {
	t.Helper()
	for s, err := range l.Suppressions(t.Context()) {
		switch {
		case failed != nil:
			t.Error("it goes on after an error")
		case err != nil:
			failed = err
		default:
			list = append(list, s)
		}
	}
	return list, failed
}

func TestSuppressions(t *testing.T) {
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
	got, err := listed(t, lister(t, fake))
	if err != nil {
		t.Fatal(err)
	}
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	left := func(address, scope string) events.Suppression {
		return events.Suppression{Address: address, Scope: scope, Reason: events.Unsubscribe, Provider: "main", Since: since}
	}
	want := []events.Suppression{
		{Address: "gone@xn--bcher-kva.example", Reason: events.HardBounce, Provider: "main", Detail: "550 5.1.1 no such user", Since: since},
		{Address: "b@example.org", Reason: events.HardBounce, Provider: "main", Detail: "552"},
		{Address: "s@example.org", Reason: events.Complaint, Provider: "main", Since: since},
		left("all@example.org", ""), left("two@example.org", "tag:news"), left("two@example.org", "tag:offers"),
		left("both@example.org", ""), left("old@example.org", "tag:news"), left("none@example.org", ""),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("suppressions (-want +got):\n%s", diff)
	}
}

// Pages follow each other up to an empty one, all of them at Mailgun; where they
// never end, or lead away, is an error, and so is one in the middle.
func TestSuppressionsInPages(t *testing.T) {
	const again = "https://api.mailgun.net/v3/mg.example.com/bounces?limit=1000"
	later := func(fault mailguntest.Fault) func(int) mailguntest.Fault {
		return func(n int) mailguntest.Fault {
			if n >= 1 { // a GET on a connection that dies is asked again
				return fault
			}
			return mailguntest.None
		}
	}
	leads := func(to string) func(string) string { return func(string) string { return to } }
	for _, c := range []struct {
		name    string
		account mailguntest.Account
		list    int
		says    string
	}{
		{"several", mailguntest.Account{}, 25, ""},
		{"the same again", mailguntest.Account{Next: leads(again)}, 10, "list of bounces: the provider gives the same page again"},
		{"elsewhere", mailguntest.Account{Next: leads("https://api.mailgun.net.example.com/v3/x")}, 0, "not at Mailgun"},
		{"in the other region", mailguntest.Account{Next: leads("https://api.eu.mailgun.net/v3/x")}, 0, "not at Mailgun"},
		{"in the clear", mailguntest.Account{Next: leads("http://api.mailgun.net/v3/x")}, 0, "not at Mailgun"},
		{"with a password", mailguntest.Account{Next: leads("https://a:b@api.mailgun.net/v3/x")}, 0, "not at Mailgun"},
		{"nowhere", mailguntest.Account{Next: leads("/v3/x")}, 0, "not at Mailgun"},
		{"no URL", mailguntest.Account{Next: leads("https://api.mailgun.net:x/")}, 0, "not at Mailgun"},
		{"no page", mailguntest.Account{Next: leads("https://api.mailgun.net/other")}, 10, "the answer is not Mailgun's"},
		{"an error in the middle", mailguntest.Account{Fault: later(mailguntest.Unavailable)}, 10, "list of bounces: service_unavailable"},
		{"no answer in the middle", mailguntest.Account{Fault: later(mailguntest.ResetBefore)}, 10, "list of bounces: network_error"},
		{"a sending key", mailguntest.Account{SendingKey: true}, 0, "list of bounces, for which the credentials need to be a key of the account"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.account.Key, c.account.Domain, c.account.PageSize = key, domain, 10
			fake := mailguntest.New(c.account)
			for i := range 25 {
				fake.Suppress(mailguntest.Bounces, map[string]any{"address": fmt.Sprintf("r%d@example.org", i), "code": "550"})
			}
			list, err := listed(t, lister(t, fake))
			if len(list) != c.list || (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), key)) {
				t.Errorf("%d were read, then %v; want %d and %q", len(list), err, c.list, c.says)
			}
		})
	}
}

package sendgrid_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/sendgrid"
	"smtpbridge/providers/sendgrid/sendgridtest"
)

var _ events.Lister = (*sendgrid.Lister)(nil)

// bounces is a list of so many.
func bounces(n int, fault func(int) sendgridtest.Fault) *sendgridtest.Fake {
	fake := sendgridtest.New(key, fault)
	for i := range n {
		fake.Suppress(sendgridtest.Bounces, map[string]any{"created": 1, "email": fmt.Sprintf("r%d@example.org", i)})
	}
	return fake
}

func TestSuppressions(t *testing.T) {
	fake := sendgridtest.New(key, nil)
	fake.Suppress(sendgridtest.Bounces,
		map[string]any{"created": 1767323045, "email": "Gone@Bücher.example", "reason": "550 no such\nuser", "status": "5.1.1"},
		map[string]any{"created": "x", "email": "b@example.org", "reason": "", "status": ""},
		map[string]any{"created": -7, "email": "nobody"})
	fake.Suppress(sendgridtest.Blocks, map[string]any{"created": 1, "email": "blocked@example.org"})
	fake.Suppress(sendgridtest.Invalid, map[string]any{"created": 1767323045, "email": "i@example.org", "reason": "Mail domain unknown"})
	fake.Suppress(sendgridtest.SpamReports, map[string]any{"created": 1767323045, "email": "s@example.org", "ip": "192.0.2.1"})
	fake.Suppress(sendgridtest.Unsubscribes, map[string]any{"created": 1767323045, "email": "u@example.org"})
	fake.Suppress(sendgridtest.Groups, map[string]any{"created_at": 1767323045, "email": "g@example.org", "group_id": 10, "group_name": "News"})
	sticking, forbidding := bounces(1250, nil), bounces(2, nil)
	sticking.Stick()
	forbidding.Forbid(sendgridtest.SpamReports)
	since := time.Unix(1767323045, 0).UTC()
	providertest.Lister(t, providertest.Lists{
		New: func(url string, transport http.RoundTripper) events.Lister {
			c := sendgrid.DefaultConfig()
			c.Name, c.BaseURL, c.APIKey = "main", url, config.NewSecret(key)
			return sendgrid.NewLister(c, transport)
		},
		Secret: key,
		Fake:   fake,
		Want: []events.Suppression{
			{Address: "gone@xn--bcher-kva.example", Reason: events.HardBounce, Provider: "main", Detail: "5.1.1 550 no such user", Since: since},
			{Address: "b@example.org", Reason: events.HardBounce, Provider: "main"},
			{Address: "i@example.org", Reason: events.HardBounce, Provider: "main", Detail: "Mail domain unknown", Since: since},
			{Address: "s@example.org", Reason: events.Complaint, Provider: "main", Since: since},
			{Address: "u@example.org", Reason: events.Unsubscribe, Provider: "main", Since: since},
			{Address: "g@example.org", Scope: "group:10", Reason: events.Unsubscribe, Provider: "main", Detail: "News", Since: since},
		},
		Pages: []providertest.Pages{
			{Name: "two and a half", Fake: bounces(1250, nil), Count: 1250},
			{Name: "two", Fake: bounces(1000, nil), Count: 1000},
			{Name: "the same again", Fake: sticking, Count: 500, Says: "list of bounces: the provider gives the same page again"},
			{Name: "an error in the middle", Fake: bounces(1250, providertest.Later(sendgridtest.Throttled)), Count: 500, Says: "list of bounces: rate_limit"},
			{Name: "no answer in the middle", Fake: bounces(1250, providertest.Later(sendgridtest.ResetBefore)), Count: 500, Says: "list of bounces: network_error"},
			{
				Name: "a list that may not be read", Fake: forbidding, Count: 2,
				Says: "spam reports, for which the credentials need the scope suppression.spam_reports.read: authentication",
			},
		},
	})
}

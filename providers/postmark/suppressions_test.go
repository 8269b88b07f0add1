package postmark_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/providers/postmark"
	"smtpbridge/providers/postmark/postmarktest"
	"smtpbridge/providers/providertest"
)

var _ events.Lister = (*postmark.Lister)(nil)

// days have a list of 3 MB each.
func days(fault func(int) postmarktest.Fault, days ...string) *postmarktest.Fake {
	fake := postmarktest.New(token, fault)
	filler := strings.Repeat("x", 3000)
	for d, day := range days {
		entries := make([]postmarktest.Suppression, 1000)
		for i := range entries {
			entries[i] = postmarktest.Suppression{
				EmailAddress: fmt.Sprintf("r%d-%d@example.org", i, d), SuppressionReason: "HardBounce", Origin: filler, CreatedAt: day + "T12:00:00-05:00",
			}
		}
		fake.Stream("outbound", entries...)
	}
	return fake
}

func TestSuppressions(t *testing.T) {
	// A list that is too long for one answer is read in spans of days.
	const at = "2026-01-01T22:04:05.1234567-05:00"
	fake := postmarktest.New(token, nil)
	fake.Stream("outbound",
		postmarktest.Suppression{EmailAddress: "Gone@Bücher.example", SuppressionReason: "HardBounce", Origin: "Recipient", CreatedAt: at},
		postmarktest.Suppression{EmailAddress: "s@example.org", SuppressionReason: "SpamComplaint", Origin: "Recipient", CreatedAt: at},
		postmarktest.Suppression{EmailAddress: "b@example.org", SuppressionReason: "HardBounce", Origin: "Recipient", CreatedAt: "yesterday"},
		postmarktest.Suppression{EmailAddress: "nobody", SuppressionReason: "HardBounce"})
	fake.Stream("news",
		postmarktest.Suppression{EmailAddress: "u@example.org", SuppressionReason: "ManualSuppression", Origin: "Recipient", CreatedAt: at},
		postmarktest.Suppression{EmailAddress: "m@example.org", SuppressionReason: "ManualSuppression", Origin: "Customer", CreatedAt: at})
	failing := func(n int) postmarktest.Fault {
		return []postmarktest.Fault{postmarktest.None, postmarktest.None, postmarktest.Maintenance}[n]
	}
	since := time.Date(2026, 1, 2, 3, 4, 5, 123456700, time.UTC)
	providertest.Lister(t, providertest.Lists{
		New: func(url string, transport http.RoundTripper) events.Lister {
			c := postmark.DefaultConfig()
			c.Name, c.BaseURL, c.APIKey = "main", url, config.NewSecret(token)
			return postmark.NewLister(c, transport)
		},
		Secret: token,
		Fake:   fake,
		Want: []events.Suppression{
			{Address: "gone@xn--bcher-kva.example", Reason: events.HardBounce, Provider: "main", Detail: "HardBounce by Recipient", Since: since},
			{Address: "s@example.org", Reason: events.Complaint, Provider: "main", Detail: "SpamComplaint by Recipient", Since: since},
			{Address: "b@example.org", Reason: events.HardBounce, Provider: "main", Detail: "HardBounce by Recipient"},
			{Address: "u@example.org", Scope: "stream:news", Reason: events.Unsubscribe, Provider: "main", Detail: "ManualSuppression by Recipient", Since: since},
			{Address: "m@example.org", Scope: "stream:news", Reason: events.Manual, Provider: "main", Detail: "ManualSuppression by Customer", Since: since},
		},
		Pages: []providertest.Pages{
			{Name: "several days", Fake: days(nil, "2015-03-01", "2025-01-01", "2025-01-02"), Count: 3000},
			{
				Name: "one day", Fake: days(nil, "2025-01-01", "2025-01-01", "2025-01-01"),
				Says: "stream outbound: that of a single day is longer than 8 MiB",
			},
			{Name: "an error in the middle", Fake: days(failing, "2025-01-01"), Count: 1000, Says: "stream broadcast: service_unavailable"},
			{Name: "no streams", Fake: days(func(int) postmarktest.Fault { return postmarktest.ResetBefore }), Says: "message streams: network_error"},
			{
				Name: "a wrong token", Fake: postmarktest.New("another-token", nil),
				Says: "message streams, for which the credentials need the API token of the server: authentication",
			},
		},
	})
}

package postmark_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/providers/httpapi"
	"smtpbridge/providers/postmark"
	"smtpbridge/providers/postmark/postmarktest"
)

var _ events.Lister = (*postmark.Lister)(nil)

// lister reads the lists of the fake by some token.
func lister(t *testing.T, fake *postmarktest.Fake, token string) *postmark.Lister {
	t.Helper()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c := postmark.DefaultConfig()
	c.Name, c.BaseURL, c.APIKey = "main", server.URL, config.NewSecret(token)
	return postmark.NewLister(c, transport)
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
	got, err := listed(t, lister(t, fake, token))
	if err != nil {
		t.Fatal(err)
	}
	since := time.Date(2026, 1, 2, 3, 4, 5, 123456700, time.UTC)
	want := []events.Suppression{
		{Address: "gone@xn--bcher-kva.example", Reason: events.HardBounce, Provider: "main", Detail: "HardBounce by Recipient", Since: since},
		{Address: "s@example.org", Reason: events.Complaint, Provider: "main", Detail: "SpamComplaint by Recipient", Since: since},
		{Address: "b@example.org", Reason: events.HardBounce, Provider: "main", Detail: "HardBounce by Recipient"},
		{Address: "u@example.org", Scope: "stream:news", Reason: events.Unsubscribe, Provider: "main", Detail: "ManualSuppression by Recipient", Since: since},
		{Address: "m@example.org", Scope: "stream:news", Reason: events.Manual, Provider: "main", Detail: "ManualSuppression by Customer", Since: since},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("suppressions (-want +got):\n%s", diff)
	}
}

// long fills the list of a day with 3 MB.
func long(fake *postmarktest.Fake, day string) {
	filler := strings.Repeat("x", 3000)
	entries := make([]postmarktest.Suppression, 1000)
	for i := range entries {
		entries[i] = postmarktest.Suppression{
			EmailAddress: fmt.Sprintf("r%d-%s@example.org", i, day), SuppressionReason: "HardBounce", Origin: filler, CreatedAt: day + "T12:00:00-05:00",
		}
	}
	fake.Stream("outbound", entries...)
}

// A list that is too long for one answer is read in spans of days, each entry once;
// where a day is too long it is an error, and so is one in the middle.
func TestSuppressionsInSpans(t *testing.T) {
	for _, c := range []struct {
		name  string
		days  []string
		fault func(int) postmarktest.Fault
		token string
		list  int
		says  string
	}{
		{"several days", []string{"2015-03-01", "2025-01-01", "2025-01-02"}, nil, token, 3000, ""},
		{"one day", []string{"2025-01-01", "2025-01-01", "2025-01-01"}, nil, token, 0, "stream outbound: that of a single day is longer than 8 MiB"},
		{"an error in the middle", []string{"2025-01-01"}, func(n int) postmarktest.Fault {
			return []postmarktest.Fault{postmarktest.None, postmarktest.None, postmarktest.Maintenance}[n]
		}, token, 1000, "stream broadcast: service_unavailable"},
		{"no streams", nil, func(int) postmarktest.Fault { return postmarktest.ResetBefore }, token, 0, "message streams: network_error"},
		{"a wrong token", nil, nil, "another-token", 0, "message streams, for which the credentials need the API token of the server: authentication"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := postmarktest.New(token, c.fault)
			for _, day := range c.days {
				long(fake, day)
			}
			list, err := listed(t, lister(t, fake, c.token))
			seen := make(map[string]bool)
			for _, s := range list {
				seen[s.Address] = true
			}
			if len(list) != c.list || len(seen) != c.list || (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), c.token)) {
				t.Errorf("%d were read, %d of them different, then %v; want %d and %q", len(list), len(seen), err, c.list, c.says)
			}
		})
	}
}

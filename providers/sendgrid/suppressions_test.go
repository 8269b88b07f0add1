package sendgrid_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/providers/httpapi"
	"smtpbridge/providers/sendgrid"
	"smtpbridge/providers/sendgrid/sendgridtest"
)

// lister reads the lists of the fake.
func lister(t *testing.T, fake *sendgridtest.Fake) *sendgrid.Lister {
	t.Helper()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c := sendgrid.DefaultConfig()
	c.Name, c.BaseURL, c.APIKey = "main", server.URL, config.NewSecret(key)
	return sendgrid.NewLister(c, transport)
}

var _ events.Lister = (*sendgrid.Lister)(nil)

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
	got, err := listed(t, lister(t, fake))
	if err != nil {
		t.Fatal(err)
	}
	since := time.Unix(1767323045, 0).UTC()
	want := []events.Suppression{
		{Address: "gone@xn--bcher-kva.example", Reason: events.HardBounce, Provider: "main", Detail: "5.1.1 550 no such user", Since: since},
		{Address: "b@example.org", Reason: events.HardBounce, Provider: "main"},
		{Address: "i@example.org", Reason: events.HardBounce, Provider: "main", Detail: "Mail domain unknown", Since: since},
		{Address: "s@example.org", Reason: events.Complaint, Provider: "main", Since: since},
		{Address: "u@example.org", Reason: events.Unsubscribe, Provider: "main", Since: since},
		{Address: "g@example.org", Scope: "group:10", Reason: events.Unsubscribe, Provider: "main", Detail: "News", Since: since},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("suppressions (-want +got):\n%s", diff)
	}
}

// fill has so many bounces.
func fill(fake *sendgridtest.Fake, n int) {
	for i := range n {
		fake.Suppress(sendgridtest.Bounces, map[string]any{"created": 1, "email": fmt.Sprintf("r%d@example.org", i)})
	}
}

// A list ends with the first page that is not full; one that never does is an
// error, and so is one in the middle.
func TestSuppressionsInPages(t *testing.T) {
	later := func(fault sendgridtest.Fault) func(int) sendgridtest.Fault {
		return func(n int) sendgridtest.Fault {
			if n >= 1 { // a GET on a connection that dies is asked again
				return fault
			}
			return sendgridtest.None
		}
	}
	for _, c := range []struct {
		name    string
		bounces int
		change  func(*sendgridtest.Fake)
		fault   func(n int) sendgridtest.Fault
		list    int
		says    string
	}{
		{"two and a half", 1250, nil, nil, 1250, ""},
		{"two", 1000, nil, nil, 1000, ""},
		{"the same again", 1250, (*sendgridtest.Fake).Stick, nil, 500, "list of bounces: the provider gives the same page again"},
		{"an error in the middle", 1250, nil, later(sendgridtest.Throttled), 500, "list of bounces: rate_limit"},
		{"no answer in the middle", 1250, nil, later(sendgridtest.ResetBefore), 500, "list of bounces: network_error"},
		{"a list that may not be read", 2, func(f *sendgridtest.Fake) { f.Forbid(sendgridtest.SpamReports) }, nil, 2, "spam reports, for which the credentials need the scope suppression.spam_reports.read: authentication"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := sendgridtest.New(key, c.fault)
			fill(fake, c.bounces)
			if c.change != nil {
				c.change(fake)
			}
			list, err := listed(t, lister(t, fake))
			if len(list) != c.list || (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), key)) {
				t.Errorf("%d were read, then %v; want %d and %q", len(list), err, c.list, c.says)
			}
		})
	}
}

// Who has seen enough, or ends the wait, asks for no further page.
func TestSuppressionsEndEarly(t *testing.T) {
	fake := sendgridtest.New(key, nil)
	fill(fake, 1000)
	l := lister(t, fake)
	for range l.Suppressions(t.Context()) {
		break
	}
	if fake.Requests() != 1 {
		t.Errorf("%d pages were asked for, want 1", fake.Requests())
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	for _, err := range l.Suppressions(ctx) {
		if seen++; seen == 1 {
			cancel()
		}
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
			t.Error(err)
		}
	}
	if seen != 501 {
		t.Errorf("%d entries, want the first page and an error", seen)
	}
}

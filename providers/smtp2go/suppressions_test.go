package smtp2go_test

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
	"smtpbridge/providers/smtp2go"
	"smtpbridge/providers/smtp2go/smtp2gotest"
)

var _ events.Lister = (*smtp2go.Lister)(nil)

// lister reads the list of the fake.
func lister(t *testing.T, fake *smtp2gotest.Fake) *smtp2go.Lister {
	t.Helper()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c := smtp2go.DefaultConfig()
	c.Name, c.BaseURL, c.APIKey = "main", server.URL, config.NewSecret(key)
	return smtp2go.NewLister(c, transport)
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
	const at = "2018-08-21 11:10:55.457489+00:00" // longer ago than the API shows by itself
	fake := smtp2gotest.New(key, nil)
	fake.Permit("/suppression/view")
	fake.Suppress(0,
		smtp2gotest.Suppression{EmailAddress: "Gone@Bücher.example", Reason: "bounce", BlockDescription: "550 no such\nuser", Timestamp: "2022-11-14 07:54:45"},
		smtp2gotest.Suppression{EmailAddress: "s@example.org", Reason: "spam", Complaint: "abuse", Timestamp: at},
		smtp2gotest.Suppression{EmailAddress: "u@example.org", Reason: "unsubscribe", Timestamp: at},
		smtp2gotest.Suppression{EmailAddress: "m@example.org", Reason: "manual", BlockDescription: "no customer", Timestamp: at},
		smtp2gotest.Suppression{EmailAddress: "c@example.org", Reason: "compliance", Timestamp: "yesterday"},
		smtp2gotest.Suppression{EmailAddress: "domain.example", Reason: "manual", Timestamp: at},
	)
	got, err := listed(t, lister(t, fake))
	if err != nil {
		t.Fatal(err)
	}
	since := time.Date(2018, 8, 21, 11, 10, 55, 457489000, time.UTC)
	want := []events.Suppression{
		{Address: "gone@xn--bcher-kva.example", Reason: events.HardBounce, Provider: "main", Detail: "550 no such user", Since: time.Date(2022, 11, 14, 7, 54, 45, 0, time.UTC)},
		{Address: "s@example.org", Reason: events.Complaint, Provider: "main", Detail: "abuse", Since: since},
		{Address: "u@example.org", Reason: events.Unsubscribe, Provider: "main", Since: since},
		{Address: "m@example.org", Reason: events.Manual, Provider: "main", Detail: "no customer", Since: since},
		{Address: "c@example.org", Reason: events.Manual, Provider: "main"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("suppressions (-want +got):\n%s", diff)
	}
}

// A list ends where no token leads on; one that never does is an error, and so is
// one in the middle.
func TestSuppressionsInPages(t *testing.T) {
	later := func(fault smtp2gotest.Fault) func(int) smtp2gotest.Fault {
		return func(n int) smtp2gotest.Fault {
			if n >= 1 { // a GET on a connection that dies is asked again
				return fault
			}
			return smtp2gotest.None
		}
	}
	for _, c := range []struct {
		name  string
		stuck bool
		may   string
		fault func(int) smtp2gotest.Fault
		list  int
		says  string
	}{
		{"several", false, "/suppression/view", nil, 25, ""},
		{"the same again", true, "/suppression/view", nil, 10, "the provider gives the same page again"},
		{"an error in the middle", false, "/suppression/view", later(smtp2gotest.Throttled), 10, "suppression list: rate_limit"},
		{"no answer in the middle", false, "/suppression/view", later(smtp2gotest.ResetBefore), 10, "suppression list: network_error"},
		{"a key that may not", false, "/email/send", nil, 0, "need the permission /suppression/view: authentication"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := smtp2gotest.New(key, c.fault)
			fake.Permit(c.may)
			for i := range 25 {
				fake.Suppress(10, smtp2gotest.Suppression{EmailAddress: fmt.Sprintf("r%d@example.org", i), Reason: "bounce", Timestamp: "2022-11-14 07:54:45"})
			}
			if c.stuck {
				fake.Stick()
			}
			list, err := listed(t, lister(t, fake))
			if len(list) != c.list || (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), key)) {
				t.Errorf("%d were read, then %v; want %d and %q", len(list), err, c.list, c.says)
			}
		})
	}
}

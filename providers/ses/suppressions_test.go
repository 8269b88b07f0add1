package ses_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/events"
	"smtpbridge/providers/httpapi"
	"smtpbridge/providers/ses"
	"smtpbridge/providers/ses/sestest"
)

var _ events.Lister = (*ses.Lister)(nil)

// lister reads the list of the fake, without the pause that AWS wants.
func lister(t *testing.T, fake *sestest.Fake) *ses.Lister {
	t.Helper()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c := newConfig()
	c.Name, c.BaseURL = "main", server.URL
	l := ses.NewLister(c, transport)
	l.Hurry()
	return l
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
	fake := sestest.New(account(), nil)
	fake.Suppress(2,
		sestest.Suppression{EmailAddress: "Gone@Bücher.example", Reason: "BOUNCE", LastUpdateTime: 1767323045},
		sestest.Suppression{EmailAddress: "s@example.org", Reason: "COMPLAINT", LastUpdateTime: 1.767323045123e9},
		sestest.Suppression{EmailAddress: "b@example.org", Reason: "OTHER", LastUpdateTime: "yesterday"},
		sestest.Suppression{EmailAddress: "nobody", Reason: "BOUNCE", LastUpdateTime: nil},
		sestest.Suppression{EmailAddress: "l@example.org", Reason: "BOUNCE", LastUpdateTime: -1},
	)
	got, err := listed(t, lister(t, fake))
	if err != nil {
		t.Fatal(err)
	}
	since := time.Unix(1767323045, 0).UTC()
	want := []events.Suppression{
		{Address: "gone@xn--bcher-kva.example", Reason: events.HardBounce, Provider: "main", Detail: "BOUNCE", Since: since},
		{Address: "s@example.org", Reason: events.Complaint, Provider: "main", Detail: "COMPLAINT", Since: since.Add(123 * time.Millisecond)},
		{Address: "b@example.org", Reason: events.Manual, Provider: "main", Detail: "OTHER"},
		{Address: "l@example.org", Reason: events.HardBounce, Provider: "main", Detail: "BOUNCE"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("suppressions (-want +got):\n%s", diff)
	}
}

// A list ends where no token leads on; one that never does is an error, and so is
// one in the middle.
func TestSuppressionsInPages(t *testing.T) {
	later := func(fault sestest.Fault) func(int) sestest.Fault {
		return func(n int) sestest.Fault {
			if n >= 1 { // a GET on a connection that dies is asked again
				return fault
			}
			return sestest.None
		}
	}
	for _, c := range []struct {
		name    string
		change  func(*sestest.Fake)
		account func(*sestest.Account)
		fault   func(int) sestest.Fault
		list    int
		says    string
	}{
		{"several", nil, nil, nil, 25, ""},
		{"the same again", (*sestest.Fake).Stick, nil, nil, 10, "the provider gives the same page again"},
		{"an error in the middle", nil, nil, later(sestest.Throttled), 10, "SES in eu-west-1: rate_limit"},
		{"no answer in the middle", nil, nil, later(sestest.ResetBefore), 10, "SES in eu-west-1: network_error"},
		{"keys that may not", nil, func(a *sestest.Account) { a.MayNotRead = true }, nil, 0, "need ses:ListSuppressedDestinations: authentication"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := account()
			if c.account != nil {
				c.account(&a)
			}
			fake := sestest.New(a, c.fault)
			for i := range 25 {
				fake.Suppress(10, sestest.Suppression{EmailAddress: fmt.Sprintf("r%d@example.org", i), Reason: "BOUNCE", LastUpdateTime: 1})
			}
			if c.change != nil {
				c.change(fake)
			}
			list, err := listed(t, lister(t, fake))
			if len(list) != c.list || (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), token)) {
				t.Errorf("%d were read, then %v; want %d and %q", len(list), err, c.list, c.says)
			}
		})
	}
}

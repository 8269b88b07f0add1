package ses_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/ses"
	"smtpbridge/providers/ses/sestest"
)

var _ events.Lister = (*ses.Lister)(nil)

// pages are a list of 25, ten to a page.
func pages(a sestest.Account, fault func(int) sestest.Fault) *sestest.Fake {
	fake := sestest.New(a, fault)
	for i := range 25 {
		fake.Suppress(10, sestest.Suppression{EmailAddress: fmt.Sprintf("r%d@example.org", i), Reason: "BOUNCE", LastUpdateTime: 1})
	}
	return fake
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
	sticking, blind := pages(account(), nil), account()
	sticking.Stick()
	blind.MayNotRead = true
	since := time.Unix(1767323045, 0).UTC()
	providertest.Lister(t, providertest.Lists{
		New: func(url string, transport http.RoundTripper) events.Lister {
			c := newConfig()
			c.Name, c.BaseURL = "main", url
			l := ses.NewLister(c, transport)
			l.Hurry()
			return l
		},
		Secret: token,
		Fake:   fake,
		Want: []events.Suppression{
			{Address: "gone@xn--bcher-kva.example", Reason: events.HardBounce, Provider: "main", Detail: "BOUNCE", Since: since},
			{Address: "s@example.org", Reason: events.Complaint, Provider: "main", Detail: "COMPLAINT", Since: since.Add(123 * time.Millisecond)},
			{Address: "b@example.org", Reason: events.Manual, Provider: "main", Detail: "OTHER"},
			{Address: "l@example.org", Reason: events.HardBounce, Provider: "main", Detail: "BOUNCE"},
		},
		Pages: []providertest.Pages{
			{Name: "several", Fake: pages(account(), nil), Count: 25},
			{Name: "the same again", Fake: sticking, Count: 10, Says: "the provider gives the same page again"},
			{Name: "an error in the middle", Fake: pages(account(), providertest.Later(sestest.Throttled)), Count: 10, Says: "SES in eu-west-1: rate_limit"},
			{Name: "no answer in the middle", Fake: pages(account(), providertest.Later(sestest.ResetBefore)), Count: 10, Says: "SES in eu-west-1: network_error"},
			{Name: "keys that may not", Fake: pages(blind, nil), Says: "need ses:ListSuppressedDestinations: authentication"},
		},
	})
}

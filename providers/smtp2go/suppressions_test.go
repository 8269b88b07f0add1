package smtp2go_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/smtp2go"
	"smtpbridge/providers/smtp2go/smtp2gotest"
)

var _ events.Lister = (*smtp2go.Lister)(nil)

// pages are a list of 25, ten to a page.
func pages(fault func(int) smtp2gotest.Fault) *smtp2gotest.Fake {
	fake := smtp2gotest.New(key, fault)
	fake.Permit("/suppression/view")
	for i := range 25 {
		fake.Suppress(10, smtp2gotest.Suppression{EmailAddress: fmt.Sprintf("r%d@example.org", i), Reason: "bounce", Timestamp: "2022-11-14 07:54:45"})
	}
	return fake
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
	sticking, forbidding := pages(nil), smtp2gotest.New(key, nil)
	sticking.Stick()
	forbidding.Permit("/email/send")
	since := time.Date(2018, 8, 21, 11, 10, 55, 457489000, time.UTC)
	providertest.Lister(t, providertest.Lists{
		New: func(url string, transport http.RoundTripper) events.Lister {
			c := smtp2go.DefaultConfig()
			c.Name, c.BaseURL, c.APIKey = "main", url, config.NewSecret(key)
			return smtp2go.NewLister(c, transport)
		},
		Secret: key,
		Fake:   fake,
		Want: []events.Suppression{
			{Address: "gone@xn--bcher-kva.example", Reason: events.HardBounce, Provider: "main", Detail: "550 no such user", Since: time.Date(2022, 11, 14, 7, 54, 45, 0, time.UTC)},
			{Address: "s@example.org", Reason: events.Complaint, Provider: "main", Detail: "abuse", Since: since},
			{Address: "u@example.org", Reason: events.Unsubscribe, Provider: "main", Since: since},
			{Address: "m@example.org", Reason: events.Manual, Provider: "main", Detail: "no customer", Since: since},
			{Address: "c@example.org", Reason: events.Manual, Provider: "main"},
		},
		Pages: []providertest.Pages{
			{Name: "several", Fake: pages(nil), Count: 25},
			{Name: "the same again", Fake: sticking, Count: 10, Says: "the provider gives the same page again"},
			{Name: "an error in the middle", Fake: pages(providertest.Later(smtp2gotest.Throttled)), Count: 10, Says: "suppression list: rate_limit"},
			{Name: "no answer in the middle", Fake: pages(providertest.Later(smtp2gotest.ResetBefore)), Count: 10, Says: "suppression list: network_error"},
			{Name: "a key that may not", Fake: forbidding, Says: "need the permission /suppression/view: authentication"},
		},
	})
}

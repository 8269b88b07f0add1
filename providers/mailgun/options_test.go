package mailgun_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/providers/providertest"
	"smtpbridge/translate"
)

// Every option of the dialect becomes a field, in the form that the API has.
func TestOptions(t *testing.T) {
	const header = "X-Mailgun-Deliver-Within: 1h30m\nX-Mailgun-Delivery-Time-Optimize-Period: 24H\nX-Mailgun-Time-Zone-Localize: 02:00pm\n" +
		"X-Mailgun-Track-Pixel-Location-Top: Yes\nX-Mailgun-Dkim: no\nX-Mailgun-Secondary-DKIM: example.com,s1\n" +
		"X-Mailgun-Secondary-DKIM-Public: public.example.com/s1\nX-Mailgun-Sending-Ip: 192.0.2.1\nX-Mailgun-Sending-Ip-Pool: 5f3b\n" +
		"X-Mailgun-Require-TLS: true\nX-Mailgun-Skip-Verification: NO\nX-Mailgun-Archive-To: https://example.com/archive?x=1\n" +
		"X-Mailgun-Suppress-Headers: x-mailgun-tag\nX-Mailgun-Suppress-Headers: X-Mailgun-Sending-Ip, X-MAILGUN-TAG\n" +
		"X-Mailgun-Template-Name: welcome\nX-Mailgun-Template-Version: v2\nX-Mailgun-Template-Variables: {\"name\": \"\xc3\x9c \xf0\x9f\x8e\x89\"}\n" +
		"X-Mailgun-Campaign-Id: old\n"
	want := map[string][]string{
		"to": {"a@example.org"}, "v:bridge_id": {bridgeID},
		"o:deliver-within": {"1h30m"}, "o:deliverytime-optimize-period": {"24h"}, "o:time-zone-localize": {"02:00PM"},
		"o:tracking-pixel-location-top": {"yes"}, "o:dkim": {"no"}, "o:secondary-dkim": {"example.com/s1"},
		"o:secondary-dkim-public": {"public.example.com/s1"}, "o:sending-ip": {"192.0.2.1"}, "o:sending-ip-pool": {"5f3b"},
		"o:require-tls": {"true"}, "o:skip-verification": {"no"}, "o:archive-to": {"https://example.com/archive?x=1"},
		"o:suppress-headers": {"X-Mailgun-Variables,x-mailgun-tag,X-Mailgun-Sending-Ip"}, "template": {"welcome"}, "t:version": {"v2"},
		"h:X-Mailgun-Template-Variables": {`{"name": "\u00dc \ud83c\udf89"}`},
	}
	if diff := cmp.Diff(want, render(t, newAdapter(), addressed+header+"\nx\n", "a@example.org").Fields); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	all := render(t, newAdapter(), addressed+"X-Mailgun-Suppress-Headers: X-Mailgun-Tag\nX-Mailgun-Suppress-Headers: ALL\n\nx\n", "a@example.org")
	if !slices.Equal(all.Fields["o:suppress-headers"], []string{"all"}) {
		t.Errorf("all headers are hidden by %q", all.Fields["o:suppress-headers"])
	}
}

// What cannot be read, means nothing, or is of another dialect is lost by name,
// and left out.
func TestLostOptions(t *testing.T) {
	for header, want := range map[string][]string{
		"X-Mailgun-Deliver-Within: 30m":                                  nil,
		"X-Mailgun-Deliver-Within: 24h":                                  nil,
		"X-Mailgun-Deliver-Within: 4m":                                   {"option mailgun:X-Mailgun-Deliver-Within"},
		"X-Mailgun-Deliver-Within: 24h1m":                                {"option mailgun:X-Mailgun-Deliver-Within"},
		"X-Mailgun-Deliver-Within: 1.5h":                                 {"option mailgun:X-Mailgun-Deliver-Within"},
		"X-Mailgun-Deliver-Within: ":                                     {"option mailgun:X-Mailgun-Deliver-Within"},
		"X-Mailgun-Delivery-Time-Optimize-Period: 72h":                   nil,
		"X-Mailgun-Delivery-Time-Optimize-Period: 73h":                   {"option mailgun:X-Mailgun-Delivery-Time-Optimize-Period"},
		"X-Mailgun-Delivery-Time-Optimize-Period: 24":                    {"option mailgun:X-Mailgun-Delivery-Time-Optimize-Period"},
		"X-Mailgun-Time-Zone-Localize: 23:59":                            nil,
		"X-Mailgun-Time-Zone-Localize: 24:00":                            {"option mailgun:X-Mailgun-Time-Zone-Localize"},
		"X-Mailgun-Time-Zone-Localize: 13:00PM":                          {"option mailgun:X-Mailgun-Time-Zone-Localize"},
		"X-Mailgun-Track-Pixel-Location-Top: perhaps":                    {"option mailgun:X-Mailgun-Track-Pixel-Location-Top"},
		"X-Mailgun-Dkim: maybe":                                          {"option mailgun:X-Mailgun-Dkim"},
		"X-Mailgun-Secondary-DKIM: example.com":                          {"option mailgun:X-Mailgun-Secondary-DKIM"},
		"X-Mailgun-Secondary-DKIM: example.com/":                         {"option mailgun:X-Mailgun-Secondary-DKIM"},
		"X-Mailgun-Secondary-DKIM-Public: example.com/s":                 {"option mailgun:X-Mailgun-Secondary-DKIM-Public"},
		"X-Mailgun-Sending-Ip: 192.0.2.256":                              {"option mailgun:X-Mailgun-Sending-Ip"},
		"X-Mailgun-Sending-Ip: fe80::1%eth0":                             {"option mailgun:X-Mailgun-Sending-Ip"},
		"X-Mailgun-Sending-Ip-Pool: a b":                                 {"option mailgun:X-Mailgun-Sending-Ip-Pool"},
		"X-Mailgun-Require-TLS: 1":                                       {"option mailgun:X-Mailgun-Require-TLS"},
		"X-Mailgun-Archive-To: ftp://example.com":                        {"option mailgun:X-Mailgun-Archive-To"},
		"X-Mailgun-Archive-To: example.com":                              {"option mailgun:X-Mailgun-Archive-To"},
		"X-Mailgun-Suppress-Headers: Subject":                            {"option mailgun:X-Mailgun-Suppress-Headers"},
		"X-Mailgun-Suppress-Headers: X-Mailgun-A,,all":                   {"option mailgun:X-Mailgun-Suppress-Headers"},
		"X-Mailgun-Template-Name: ":                                      {"option mailgun:X-Mailgun-Template-Name"},
		"X-Mailgun-Template-Version: v2":                                 {"option mailgun:X-Mailgun-Template-Version"},
		"X-Mailgun-Template-Variables: {}":                               {"option mailgun:X-Mailgun-Template-Variables"},
		"X-Mailgun-Template-Name: a\nX-Mailgun-Template-Variables: []":   {"option mailgun:X-Mailgun-Template-Variables"},
		"X-Mailgun-Template-Name: a\nX-Mailgun-Template-Variables: null": {"option mailgun:X-Mailgun-Template-Variables"},
		"X-Mailgun-Template-Version: v2\nX-Mailgun-Template-Name: a":     nil,
		"X-Mailgun-Template-Name: " + strings.Repeat("x", 5000):          {"option mailgun:X-Mailgun-Template-Name"},
		"X-Mailgun-New: x":                                               {"option mailgun:X-Mailgun-New"},
		"X-PM-Message-Stream: x":                                         {"option postmark:X-PM-Message-Stream"},
		`X-SMTPAPI: {"ip_pool":"x"}`:                                     {"option sendgrid:ip_pool"},
	} {
		m := providertest.Message(t, addressed+header+"\n\nx\n", "a@example.org")
		losses, refusal := providers.Check(newAdapter().Capabilities(), m, time.Now())
		if refusal != nil || !slices.Equal(losses, want) {
			t.Errorf("%s: the losses are %q (%v), want %q", header, losses, refusal, want)
		}
		// What is lost is left out: the rest is still a request that is taken.
		render(t, newAdapter(), addressed+header+"\n\nx\n", "a@example.org")
	}
}

// Links in plain text stay as they are where the application says so.
func TestOptionsOfClicks(t *testing.T) {
	for header, want := range map[string]string{
		"X-Mailgun-Track-Clicks: htmlonly": "htmlonly", "X-Mailgun-Track: HTMLonly": "htmlonly", "X-Mailgun-Track-Clicks: yes": "yes",
		"X-Mailgun-Track: htmlonly\nX-Mailgun-Track-Clicks: no": "no",
	} {
		if got := render(t, newAdapter(), addressed+header+"\n\nx\n", "a@example.org").Fields["o:tracking-clicks"]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: clicks are tracked %q, want %s", header, got, want)
		}
	}
}

// A template replaces nothing if it is lost: the mail may leave by fields then.
func TestOptionsOfAnotherDialect(t *testing.T) {
	m := providertest.Message(t, addressed+"\nx\n", "a@example.org")
	m.Directives.Options = []translate.Option{{Dialect: "postmark", Name: "X-Mailgun-Template-Name", Value: "x"}}
	if got := requests(t, newFields(), m)[0]; got.MIME || got.Fields["template"] != nil {
		t.Errorf("the template of another dialect is %q", got.Fields["template"])
	}
}

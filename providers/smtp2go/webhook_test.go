package smtp2go_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/smtp2go"
)

const (
	delivered = `{"event":"delivered","time":"2026-02-07T18:05:02Z","email_id":"1u0SwL-B9zBpi9ffUq-JAB2","rcpt":"jo@example.org","message":"250 OK"}`
	form      = "application/x-www-form-urlencoded"
)

func newWebhook(username, password string, unverified bool) *smtp2go.Webhook {
	c := smtp2go.DefaultConfig()
	c.WebhookUsername, c.WebhookPassword, c.WebhookUnverified = username, config.NewSecret(password), unverified
	return smtp2go.NewWebhook(c)
}

func TestWebhookGolden(t *testing.T) { providertest.GoldenEvents(t, newWebhook("", "", true)) }

func TestWebhook(t *testing.T) {
	const many = 1 << 18
	source := func(username, password string, unverified bool) events.Source {
		return newWebhook(username, password, unverified)
	}
	providertest.Webhook(t, providertest.Source{
		Open: newWebhook("", "", true), Calls: providertest.BasicAuth(source, delivered), Secret: "s3cret",
		Nest: func(nested string) string { return `{"event":"open","x":` + nested + `}` },
		Largest: []string{
			`{"event":"processed","recipients":[` + strings.Repeat(`"a",`, 8*many) + `"b"]}`,
			`{"event":"processed","recipients":["a"` + strings.Repeat(`,"a"`, 300) + `],"x":"` + strings.Repeat("x", 9<<20) + `"}`,
			`{"event":"processed","recipients":"` + strings.Repeat(`a,`, 8*many) + `"}`,
			`{` + strings.Repeat(`"rcpt":"a@example.org",`, many) + `"event":"open"}`,
			`{"event":"bounce","message":"` + strings.Repeat("ü550 ", 2*many) + `","rcpt":"` + strings.Repeat("ü@", 2*many) + `"}`,
			"event=bounce&rcpt=" + strings.Repeat("%FF", 8*many),
		},
	})
}

func TestConfigValidateWebhook(t *testing.T) {
	for _, c := range []struct {
		username, password string
		want               []string
	}{
		{"", "", nil},
		{"bridge", "s3cret:with:colon", nil},
		{"", "s3cret:with:colon", []string{"webhook_username"}},
		{"bri:dge", "s3cret:with:colon", []string{"webhook_username"}},
	} {
		settings := smtp2go.DefaultConfig()
		settings.APIKey = config.NewSecret("api-0123")
		settings.WebhookUsername, settings.WebhookPassword = c.username, config.NewSecret(c.password)
		var got []string
		settings.Validate(func(key, _ string) { got = append(got, key) })
		if !slices.Equal(got, c.want) {
			t.Errorf("%q and %q have problems in %q, want %q", c.username, c.password, got, c.want)
		}
	}
}

// The type of the body says what it is; where it does not, the first character.
func TestWebhookReadsByContentType(t *testing.T) {
	const body = "event=delivered&rcpt=jo%2Bx%40example.org"
	const object = `{"event":"delivered","rcpt":"jo+x@example.org"}`
	for _, c := range []struct {
		contentType, body string
		malformed         bool
	}{
		{form, body, false},
		{form + "; charset=utf-8", body, false},
		{"", body, false},
		{"text/plain", body, false},
		{"application/json", object, false},
		{"Application/JSON; charset=utf-8", object, false},
		{"application/vnd.smtp2go+json", object, false},
		{"", object, false},
		{form, object, false},
		{form, " \r\n" + object, false},

		{"application/json", body, true},
		{form, object[1:], true},
		{form, object[:20], true},
		{"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"event\"\r\n\r\ndelivered\r\n--x--", true},
	} {
		batch, err := newWebhook("", "", true).Receive(t.Context(), http.Header{"Content-Type": {c.contentType}}, []byte(c.body))
		if c.malformed {
			if !errors.Is(err, events.ErrMalformed) {
				t.Errorf("%s %s: the error is %v", c.contentType, c.body, err)
			}
			continue
		}
		if err != nil || len(batch.Events) != 1 || batch.Events[0].Type != events.Delivered || batch.Events[0].Recipient != "jo+x@example.org" {
			t.Errorf("%s %s: the events are %+v: %v", c.contentType, c.body, batch.Events, err)
		}
	}
}

func receive(tb testing.TB, body string) []events.Event {
	tb.Helper()
	batch, err := newWebhook("", "", true).Receive(tb.Context(), http.Header{}, []byte(body))
	if err != nil {
		tb.Fatalf("%s: %v", body, err)
	}
	return batch.Events
}

// with is a call with other fields.
func with(tb testing.TB, body string, fields map[string]string) string {
	tb.Helper()
	var all map[string]string
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		tb.Fatal(err)
	}
	maps.Copy(all, fields)
	changed, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		tb.Fatal(err)
	}
	return string(changed)
}

// formOf is the same call as a form.
func formOf(tb testing.TB, body string) string {
	tb.Helper()
	var all map[string]string
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		tb.Fatal(err)
	}
	values := make(url.Values)
	for name, value := range all {
		values.Set(name, value)
	}
	return values.Encode()
}

// What SMTP2GO delivers again has the key that it had, though it is written in
// another way, or comes by another webhook of the account.
func TestWebhookKeyStays(t *testing.T) {
	for _, c := range []struct {
		name, again string
	}{
		{"order and space", with(t, delivered, nil)},
		{"as a form", formOf(t, delivered)},
		{"another webhook", with(t, delivered, map[string]string{"id": "8", "X-Bridge-Id": "01J"})},
		{"another name", with(t, delivered, map[string]string{"event": "Delivered"})},
		{"another zone", with(t, delivered, map[string]string{"time": "2026-02-07T19:05:02.000+01:00"})},
		{"another spelling of the recipient", with(t, delivered, map[string]string{"rcpt": "Jo <JO@Example.org>"})},
	} {
		if first, again := keys(receive(t, delivered)), keys(receive(t, c.again)); !cmp.Equal(first, again) {
			t.Errorf("%s: the keys are %s, then %s", c.name, first, again)
		}
	}
}

func keys(list []events.Event) []string {
	all := make([]string, len(list))
	for i, e := range list {
		all[i] = e.Key
	}
	return all
}

// Two events have two keys, whatever it is that tells them apart.
func TestWebhookKeyTellsApart(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(label string) map[string]string {
			of := func(field string, values ...string) string {
				return rapid.SampledFrom(values).Draw(rt, label+" "+field)
			}
			call := map[string]string{
				"event":      of("event", "delivered", "bounce", "open", "click", "processed", "sms_delivered"),
				"email_id":   of("mail", "1u0SwL-B9zBpi9ffUq-JAB2", "1u0SwL-B9zBpi9ffUq-JAB3", ""),
				"message-id": "<7@example.com>",
				"rcpt":       of("recipient", "a@example.org", "b@example.org"),
				"time":       of("time", "2026-02-07T18:05:02Z", "2026-02-07T18:05:03Z", "", "never"),
			}
			switch call["event"] {
			case "bounce":
				call["bounce"] = of("class", "hard", "soft")
			case "open", "click":
				call["user-agent"], call["srchost"] = of("agent", "x", "y"), of("host", "192.0.2.1", "192.0.2.2")
				call["url"] = of("url", "https://example.com/a", "https://example.com/"+strings.Repeat("a", 5<<10), "https://example.com/"+strings.Repeat("a", 5<<10)+"b")
			}
			return call
		}
		one, other := draw("one"), draw("other")
		first, second := receive(t, with(t, "{}", one))[0], receive(t, formOf(t, with(t, "{}", other)))[0]
		// What is told by all of it is another as a form.
		if whole := one["event"] == "sms_delivered" || !strings.HasSuffix(one["time"], "Z"); whole {
			first, second = receive(t, with(t, "{}", one))[0], receive(t, with(t, "{}", other))[0]
		}
		if (first.Key == second.Key) != maps.Equal(one, other) {
			rt.Errorf("%v and %v have the keys %s and %s", one, other, first.Key, second.Key)
		}
	})
}

// Everybody to whom a mail was sent has an event with a key of its own.
func TestWebhookTellsRecipientsApart(t *testing.T) {
	list := make([]string, 300)
	for i := range list {
		list[i] = fmt.Sprintf("r%d@example.org", i)
	}
	for _, event := range []string{"processed", "novel"} {
		body, err := json.Marshal(map[string]any{"event": event, "email_id": "1u0SwL", "time": "2026-02-07T18:05:02Z", "recipients": list})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		seen := make(map[string]bool)
		for _, e := range receive(t, string(body)) {
			got = append(got, e.Recipient)
			seen[e.Key] = true
		}
		if diff := cmp.Diff(list, got); diff != "" || len(seen) != len(list) {
			t.Errorf("%s: %d keys, recipients (-want +got):\n%s", event, len(seen), diff)
		}
	}
}

// The id that the answer to a mail gave is the one that its events have.
func TestWebhookHasTheIDOfTheAnswer(t *testing.T) {
	results := newAdapter().Results(providers.Request{Recipients: []string{"jo@example.org"}}, providers.Response{
		Status: http.StatusOK, Body: []byte(`{"request_id":"aa253464","data":{"succeeded":1,"failed":0,"failures":[],"email_id":"1u0SwL-B9zBpi9ffUq-JAB2"}}`),
	})
	if e := receive(t, delivered)[0]; e.ProviderMessageID != results[0].ProviderID || results[0].ProviderID == "" {
		t.Errorf("the event is of %q, the message is %q", e.ProviderMessageID, results[0].ProviderID)
	}
}

// Bodies of all sizes are read in bounds.
func TestWebhookIsBounded(t *testing.T) {
	const many = 1 << 18
	for _, c := range []struct {
		name, body string
		events     int // 0: malformed
	}{
		{"too deep", strings.Repeat("[", many) + strings.Repeat("]", many), 0},
		{"headers of headers", strings.Repeat(`{"headers":`, 9000) + "1" + strings.Repeat("}", 9000), 1},
		{"too many recipients", `{"event":"processed","recipients":[` + strings.Repeat(`"a",`, many) + `"b"]}`, 300},
		{"too many recipients as text", `{"event":"processed","recipients":"` + strings.Repeat(`a,`, many) + `"}`, 300},
		{"many members", `{` + strings.Repeat(`"rcpt":"a@example.org",`, many) + `"event":"open"}`, 1},
		{"long texts", `{"event":"bounce","message":"` + strings.Repeat("ü550 ", many) + `","rcpt":"` + strings.Repeat("ü@", many) + `"}`, 1},
		{"long form", "event=bounce&rcpt=" + strings.Repeat("%FF", many), 1},
		{"many fields", "event=open" + strings.Repeat("&a=b", 999), 1},
		{"too many fields", "event=open" + strings.Repeat("&a=b", 1000), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			batch, err := newWebhook("", "", true).Receive(t.Context(), http.Header{}, []byte(c.body))
			for _, e := range batch.Events[:min(len(batch.Events), 3)] { // the others are alike
				providertest.CheckReceived(t, events.Batch{Events: []events.Event{e}}, err)
			}
			if len(batch.Events) != c.events || errors.Is(err, events.ErrMalformed) != (c.events == 0) {
				t.Errorf("%d events, want %d: %v", len(batch.Events), c.events, err)
			}
		})
	}
}

func FuzzWebhook(f *testing.F) {
	providertest.FuzzWebhook(f, newWebhook("", "", true), "{", `"{"`, "recipients=%5B%22a%22%2C%22b%22&recipients%5B%5D=c&&=&a=%00")
}

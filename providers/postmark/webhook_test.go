package postmark_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/providers/postmark"
	"smtpbridge/providers/providertest"
)

const delivery = `{"RecordType":"Delivery","MessageStream":"outbound","MessageID":"883953f4-6105-42a2-a16a-77a8eac79483",` +
	`"Recipient":"a@example.org","DeliveredAt":"2026-01-02T03:04:05.9070259Z","Details":"250 OK"}`

func newWebhook(username, password string, unverified bool) *postmark.Webhook {
	c := postmark.DefaultConfig()
	c.WebhookUsername, c.WebhookPassword, c.WebhookUnverified = username, config.NewSecret(password), unverified
	return postmark.NewWebhook(c)
}

func TestWebhookGolden(t *testing.T) { providertest.GoldenEvents(t, newWebhook("", "", true)) }

func TestWebhook(t *testing.T) {
	const many = 1 << 20
	source := func(username, password string, unverified bool) events.Source {
		return newWebhook(username, password, unverified)
	}
	providertest.Webhook(t, providertest.Source{
		Open: newWebhook("", "", true), Calls: providertest.BasicAuth(source, delivery), Secret: "s3cret",
		Nest: func(nested string) string { return `{"RecordType":"Delivery","Metadata":{"a":` + nested + `}}` },
		Largest: []string{
			strings.Repeat("[", 9_000) + `"` + strings.Repeat("x", 9<<20) + `"` + strings.Repeat("]", 9_000),
			`{"RecordType":"Delivery","Metadata":{` + strings.Repeat(`"a":"b",`, many) + `"c":"d"}}`,
			`{"RecordType":"Bounce","Type":"Unknown","Details":"` + strings.Repeat("ü550 ", many) + `","Email":"` + strings.Repeat("ü@", many) + `"}`,
			`{"RecordType":"Bounce","ID":` + strings.Repeat("9", 4*many) + `,"TypeCode":-` + strings.Repeat("1", 4*many) + "}",
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
		{"bridge", "", []string{"webhook_password"}},
		{"bri:dge", "s3cret:with:colon", []string{"webhook_username"}},
	} {
		settings := postmark.DefaultConfig()
		settings.APIKey = config.NewSecret(token)
		settings.WebhookUsername, settings.WebhookPassword = c.username, config.NewSecret(c.password)
		var got []string
		settings.Validate(func(key, _ string) { got = append(got, key) })
		if !slices.Equal(got, c.want) {
			t.Errorf("%q and %q have problems in %q, want %q", c.username, c.password, got, c.want)
		}
	}
}

// receive gives the event of a call.
func receive(tb testing.TB, body string) events.Event {
	tb.Helper()
	batch, err := newWebhook("", "", true).Receive(tb.Context(), http.Header{}, []byte(body))
	if err != nil || len(batch.Events) != 1 {
		tb.Fatalf("%s has the events %+v: %v", body, batch.Events, err)
	}
	return batch.Events[0]
}

// with is a call with other fields; nil takes one out.
func with(tb testing.TB, body string, fields map[string]any) string {
	tb.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		tb.Fatal(err)
	}
	maps.Copy(all, fields)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	changed, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		tb.Fatal(err)
	}
	return string(changed)
}

// What Postmark delivers again has the key that it had, though it is written in
// another way.
func TestWebhookKeyStays(t *testing.T) {
	const bounce = `{"RecordType":"Bounce","ID":692560173,"Type":"HardBounce","Email":"a@example.org","BouncedAt":"2026-01-02T03:04:06Z"}`
	const complaint = `{"RecordType":"SpamComplaint","ID":692560174,"Type":"SpamComplaint","Email":"a@example.org","BouncedAt":"2026-01-02T03:04:06Z"}`
	for _, c := range []struct {
		name, body string
		fields     map[string]any
	}{
		{"order and space", delivery, nil},
		{"another zone", delivery, map[string]any{"DeliveredAt": "2026-01-02T04:04:05.9070259+01:00"}},
		{"another spelling of the recipient", delivery, map[string]any{"Recipient": "<A@Example.org>"}},
		{"details cut", delivery, map[string]any{"Details": "250"}},
		{"id as a string", bounce, map[string]any{"ID": "692560173"}},
		{"reactivated since", bounce, map[string]any{"Inactive": false, "CanActivate": false}},
		{"complaint as a bounce", complaint, map[string]any{"RecordType": "Bounce"}},
	} {
		if first, again := receive(t, c.body), receive(t, with(t, c.body, c.fields)); first.Key != again.Key {
			t.Errorf("%s: the key is %s, then %s", c.name, first.Key, again.Key)
		}
	}
}

// Two events have two keys, whatever it is that tells them apart.
func TestWebhookKeyTellsApart(t *testing.T) {
	ids := []string{"883953f4-6105-42a2-a16a-77a8eac79483", "b7bc2f4a-e38e-4336-af7d-e6c392c2f817", ""}
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(label string) map[string]string {
			of := func(field string, values ...string) string {
				return rapid.SampledFrom(values).Draw(rt, label+" "+field)
			}
			call := map[string]string{
				"RecordType":    of("type", "Delivery", "Open", "Click", "Bounce", "SubscriptionChange", "Novel"),
				"MessageID":     of("message", ids...),
				"MessageStream": of("stream", "outbound", "broadcast"),
				"Recipient":     of("recipient", "a@example.org", "b@example.org", ""),
			}
			at := of("time", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.0000001Z", "", "never")
			switch call["RecordType"] {
			case "Delivery":
				call["DeliveredAt"] = at
			case "Bounce":
				call["ID"], call["Type"] = of("id", "1", "2", "0"), of("class", "HardBounce", "SoftBounce")
				call["BouncedAt"] = at
			case "SubscriptionChange":
				call["SuppressSending"], call["ChangedAt"] = of("state", "true", "false"), at
			default:
				call["OriginalLink"], call["ClickLocation"] = of("link", "https://example.com/a", "https://example.com/b"), of("where", "HTML", "Text")
				call["UserAgent"], call["ReceivedAt"] = of("agent", "x", "y"), at
			}
			return call
		}
		one, other := draw("one"), draw("other")
		same := maps.Equal(one, other)
		if one["RecordType"] == "Bounce" && other["RecordType"] == "Bounce" && one["ID"] != "0" {
			same = one["ID"] == other["ID"] && one["Type"] == other["Type"]
		}
		first, second := receive(t, encode(t, one)), receive(t, encode(t, other))
		if (first.Key == second.Key) != same {
			rt.Errorf("%v and %v have the keys %s and %s", one, other, first.Key, second.Key)
		}
	})
}

func encode(tb testing.TB, call map[string]string) string {
	tb.Helper()
	body, err := json.Marshal(call)
	if err != nil {
		tb.Fatal(err)
	}
	return string(body)
}

// The id that the answer to a mail gave is the one that its events have.
func TestWebhookHasTheIDOfTheAnswer(t *testing.T) {
	results := newAdapter().Results(to("a@example.org"), answer(http.StatusOK, taken("OK")))
	e := receive(t, with(t, delivery, map[string]any{"MessageID": id}))
	if e.ProviderMessageID != results[0].ProviderID {
		t.Errorf("the event is of %q, the message is %q", e.ProviderMessageID, results[0].ProviderID)
	}
}

// What an application gives to a mail comes back in its events, whole.
func TestWebhookGivesBackWhatWasSent(t *testing.T) {
	tag := strings.Repeat("ü", 1000)
	m := providertest.Message(t, "From: a@example.com\nTo: a@example.org\nX-Bridge-Tag: "+tag+
		"\nX-Bridge-Metadata: user_id=12345\nX-Bridge-Metadata: note="+strings.Repeat("€", 80)+"\n\nx\n", "a@example.org")
	sent := decode(t, newAdapter().Requests(m)[0])[0]
	e := receive(t, with(t, delivery, map[string]any{"Tag": sent.Tag, "Metadata": sent.Metadata}))
	if diff := cmp.Diff(map[string]string{"user_id": "12345", "note": strings.Repeat("€", 80)}, e.Metadata); diff != "" || e.MessageID != bridgeID {
		t.Errorf("the event is of %q, its metadata (-want +got):\n%s", e.MessageID, diff)
	}
	if diff := cmp.Diff([]string{tag}, e.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}

func FuzzWebhook(f *testing.F) {
	providertest.FuzzWebhook(f, newWebhook("", "", true), "", "{", `{"RecordType":"Bounce","Type":"Unknown","Details":"\ud800 550"}`)
}

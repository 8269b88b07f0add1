package postmark_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
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

// authorization is that of the user "bridge" with this password.
const (
	webhookPassword = "s3cret:with:colon"
	authorization   = "Basic YnJpZGdlOnMzY3JldDp3aXRoOmNvbG9u"
)

const delivery = `{"RecordType":"Delivery","MessageStream":"outbound","MessageID":"883953f4-6105-42a2-a16a-77a8eac79483",` +
	`"Recipient":"a@example.org","DeliveredAt":"2026-01-02T03:04:05.9070259Z","Details":"250 OK"}`

func newWebhook(username, password string, unverified bool) *postmark.Webhook {
	c := postmark.DefaultConfig()
	c.WebhookUsername, c.WebhookPassword, c.WebhookUnverified = username, config.NewSecret(password), unverified
	return postmark.NewWebhook(c)
}

func TestGoldenWebhooks(t *testing.T) { providertest.GoldenEvents(t, newWebhook("", "", true)) }

func TestWebhookAuthenticates(t *testing.T) {
	for _, c := range []struct {
		name               string
		username, password string
		unverified         bool
		header             []string
		passes             bool
	}{
		{"good", "bridge", webhookPassword, false, []string{authorization}, true},
		{"good, and a key is asked for all the same", "bridge", webhookPassword, true, []string{authorization}, true},
		{"UTF-8", "brücke", "pässwort", false, []string{"Basic YnLDvGNrZTpww6Rzc3dvcnQ="}, true},

		// A key that is configured is always checked.
		{"missing", "bridge", webhookPassword, true, nil, false},
		{"empty", "bridge", webhookPassword, true, []string{""}, false},
		{"wrong key", "bridge", "s3cret", true, []string{authorization}, false},
		{"truncated", "bridge", webhookPassword, true, []string{authorization[:len(authorization)-8]}, false},
		{"bad base64", "bridge", webhookPassword, true, []string{authorization[:len(authorization)-1]}, false},
		{"bearer", "bridge", webhookPassword, true, []string{strings.Replace(authorization, "Basic", "Bearer", 1)}, false},
		{"twice", "bridge", webhookPassword, true, []string{authorization, authorization}, false},
		{"oversized", "bridge", webhookPassword, true, []string{authorization + strings.Repeat("A", 60<<10)}, false},
		{"half a key", "bridge", "", true, []string{"Basic YnJpZGdlOg=="}, false},
		{"the other half", "", webhookPassword, true, []string{authorization}, false},

		// Without one only who says so goes without.
		{"no key", "", "", false, []string{authorization}, false},
		{"no key, empty credentials", "", "", false, []string{"Basic Og=="}, false},
		{"unverified", "", "", true, nil, true},
		{"unverified, with credentials", "", "", true, []string{authorization}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			batch, err := newWebhook(c.username, c.password, c.unverified).
				Receive(t.Context(), http.Header{"Authorization": c.header}, []byte(delivery))
			if (err == nil) != c.passes || (len(batch.Events) == 1) != c.passes {
				t.Fatalf("the events are %+v, the error is %v, passes: %v", batch.Events, err, c.passes)
			}
			if err != nil && (!errors.Is(err, events.ErrUnauthenticated) || strings.Contains(err.Error(), "s3cret")) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// Nobody learns what can be read who is not known.
func TestWebhookAuthenticatesFirst(t *testing.T) {
	for _, body := range []string{"", "{}", "<html>"} {
		if _, err := newWebhook("bridge", webhookPassword, false).Receive(t.Context(), http.Header{}, []byte(body)); !errors.Is(err, events.ErrUnauthenticated) {
			t.Errorf("%q is answered with %v", body, err)
		}
	}
}

func TestConfigValidateWebhook(t *testing.T) {
	for _, c := range []struct {
		username, password string
		want               []string
	}{
		{"", "", nil},
		{"bridge", webhookPassword, nil},
		{"bridge", "", []string{"webhook_password"}},
		{"bri:dge", webhookPassword, []string{"webhook_username"}},
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
	for _, file := range calls(t) {
		body := read(t, file)
		first, again := receive(t, body), receive(t, " "+body+"\r\n")
		if first.Key != again.Key {
			t.Errorf("%s: %s has another key when it comes again", file, first.Type)
		}
	}
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

// Bodies of all sizes are read in bounds.
func TestWebhookIsBounded(t *testing.T) {
	const many = 1 << 18
	for _, c := range []struct {
		name, body string
		malformed  bool
	}{
		{"deep", strings.Repeat("[", 9000) + strings.Repeat("]", 9000), false},
		{"too deep", strings.Repeat("[", many) + strings.Repeat("]", many), true},
		{"deep metadata", `{"RecordType":"Delivery","Metadata":{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "}}", false},
		{"too much metadata", `{"RecordType":"Delivery","Metadata":{` + strings.Repeat(`"a":"b",`, many) + `"c":"d"}}`, false},
		{"long texts", `{"RecordType":"Bounce","Type":"Unknown","Details":"` + strings.Repeat("ü550 ", many) + `","Email":"` + strings.Repeat("ü@", many) + `"}`, false},
		{"long numbers", `{"RecordType":"Bounce","ID":` + strings.Repeat("9", many) + `,"TypeCode":-` + strings.Repeat("1", many) + "}", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			batch, err := newWebhook("", "", true).Receive(t.Context(), http.Header{}, []byte(c.body))
			providertest.CheckReceived(t, batch, err)
			if errors.Is(err, events.ErrMalformed) != c.malformed {
				t.Errorf("the error is %v, want malformed: %v", err, c.malformed)
			}
		})
	}
}

// The caller may use the body again.
func TestWebhookKeepsNoBody(t *testing.T) {
	body := []byte(delivery)
	batch, err := newWebhook("", "", true).Receive(t.Context(), http.Header{}, body)
	if err != nil {
		t.Fatal(err)
	}
	clear(body)
	if got := string(batch.Events[0].Raw); got != delivery {
		t.Errorf("what is raw has become %q", got)
	}
}

// checkReceived lets tags be longer than other texts: Postmark takes 1000
// characters.
func checkReceived(t *testing.T, batch events.Batch, err error) {
	t.Helper()
	short := events.Batch{Events: slices.Clone(batch.Events)}
	for i, e := range short.Events {
		if len(e.Tags) > 0 && len(e.Tags[0]) > 512 {
			short.Events[i].Tags = []string{strings.ToValidUTF8(e.Tags[0][:512], "")}
		}
	}
	providertest.CheckReceived(t, short, err)
}

// calls are the fixtures that can be read.
func calls(tb testing.TB) []string {
	tb.Helper()
	files, err := filepath.Glob("testdata/webhooks/*.json")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no calls: %v", err)
	}
	return slices.DeleteFunc(files, func(file string) bool {
		return strings.HasPrefix(filepath.Base(file), "malformed-") || strings.HasPrefix(filepath.Base(file), "empty")
	})
}

func read(tb testing.TB, file string) string {
	tb.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	return string(body)
}

// FuzzWebhook: whatever the body is, its event can be stored, the same each
// time, and JSON of any form is one.
func FuzzWebhook(f *testing.F) {
	for _, file := range calls(f) {
		f.Add([]byte(read(f, file)))
	}
	f.Add([]byte(""))
	f.Add([]byte("{"))
	f.Add([]byte(`{"RecordType":"Bounce","Type":"Unknown","Details":"\ud800 550"}`))
	w := newWebhook("", "", true)
	f.Fuzz(func(t *testing.T, body []byte) {
		batch, err := w.Receive(t.Context(), http.Header{}, body)
		checkReceived(t, batch, err)
		blank := len(bytes.TrimSpace(body)) == 0
		if want := json.Valid(body); (err == nil) != (want || blank) || (len(batch.Events) == 1) != want {
			t.Fatalf("%d events and the error %v; JSON: %v", len(batch.Events), err, want)
		}
		if again, _ := w.Receive(t.Context(), http.Header{}, body); !cmp.Equal(batch, again) {
			t.Errorf("twice: %s", cmp.Diff(batch, again))
		}
	})
}

package ses_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"smtpbridge/events"
	"smtpbridge/providers"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/ses"
	"smtpbridge/providers/ses/sestest"
)

// receive gives the events of a notification that SNS signed.
func receive(t interface {
	Context() context.Context
	Fatal(args ...any)
}, n sestest.Notice,
) []events.Event {
	fake := newSNS(nil)
	w := newWebhook(fake, topic, topic+"-2")
	batch, err := w.Receive(t.Context(), nil, fake.Sign(n))
	if err != nil {
		t.Fatal(err)
	}
	return batch.Events
}

// signing signs what it is given as SNS does, and passes it on.
type signing struct{}

// Receive takes what SES writes for the call that SNS makes of it.
func (signing) Receive(ctx context.Context, _ http.Header, body []byte) (events.Batch, error) {
	fake := newSNS(nil)
	return newWebhook(fake, topic).Receive(ctx, nil, fake.Sign(notice(string(body))))
}

func TestWebhook(t *testing.T) {
	told := func(people int) string {
		list := make([]string, people)
		for i := range list {
			list[i] = fmt.Sprintf(`"%d@x.test"`, i)
		}
		return `{"eventType":"Delivery","mail":{"messageId":"m1"},"delivery":{"recipients":[` + strings.Join(list, ",") + `]},"x":"` +
			strings.Repeat("x", 200<<10) + `"}` // SNS carries 256 KiB
	}
	providertest.Webhook(t, providertest.Source{
		Open: signing{}, Secret: "secret-token", Largest: []string{told(50), told(1000)},
		Nest: func(nested string) string { return strings.Replace(opened, "{", `{"x":`+nested+",", 1) },
	})
}

// Each notification of testdata/webhooks gives the events that stand beside it.
func TestWebhookGolden(t *testing.T) {
	dir := filepath.Join("testdata", "webhooks")
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no notifications: %v", dir, err)
	}
	for _, file := range files {
		golden := strings.TrimSuffix(file, ".json") + ".golden"
		t.Run(filepath.Base(file), func(t *testing.T) {
			message, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found := receive(t, notice(string(message)))
			checkEvents(t, string(message), found)
			got := show(t, found)
			if flag.Lookup("update").Value.String() == "true" {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
	goldens, _ := filepath.Glob(filepath.Join(dir, "*.golden"))
	if len(goldens) != len(files) {
		t.Errorf("there are %d golden files for %d notifications", len(goldens), len(files))
	}
}

// show is what is stored of the events, with their keys and without the raw text,
// which checkEvents compares.
func show(t *testing.T, found []events.Event) string {
	t.Helper()
	var out strings.Builder
	for _, event := range found {
		event.Raw = nil
		content, err := json.MarshalIndent(event, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "key %s\n%s\n", event.Key, content)
	}
	return out.String()
}

// checkEvents holds what is true of all events, whatever they are made of.
func checkEvents(t interface{ Errorf(string, ...any) }, message string, found []events.Event) {
	keys := make(map[string]bool)
	for _, event := range found {
		switch {
		case !event.Type.Known():
			t.Errorf("the type is %q", event.Type)
		case event.Key == "" || keys[event.Key]:
			t.Errorf("the key %q is empty or not the only one", event.Key)
		case (event.Bounce != "") != (event.Type == events.Bounced):
			t.Errorf("%s has the bounce %q", event.Type, event.Bounce)
		case !json.Valid(event.Raw):
			t.Errorf("the raw event is %q", event.Raw)
		case json.Valid([]byte(message)) && !bytes.Equal(event.Raw, []byte(message)):
			t.Errorf("the raw event is %q, not what came", event.Raw)
		case event.Timestamp.Location() != time.UTC || event.Timestamp.IsZero():
			t.Errorf("the time is %v", event.Timestamp)
		case event.Scope != "" && event.Type != events.Unsubscribed && event.Type != events.Resubscribed:
			t.Errorf("%s has the scope %q", event.Type, event.Scope)
		case event.Type == events.Unsubscribed && (event.Scope == "" || event.Recipient == ""):
			t.Errorf("who left is %q, what is %q", event.Recipient, event.Scope)
		}
		keys[event.Key] = true
		for _, text := range append([]string{
			event.MessageID, event.ProviderMessageID, event.Recipient, event.Reason, event.Response, event.Scope, event.URL,
		}, event.Tags...) {
			if len(text) > 4096 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("a text is %q", text)
			}
		}
		if _, err := json.Marshal(event); err != nil {
			t.Errorf("the event cannot be stored: %v", err)
		}
	}
}

// What SES sends to try the way is no event, and what people send by the console is
// no error.
func TestWebhookOtherMessages(t *testing.T) {
	for message, want := range map[string]int{
		"Successfully validated SNS topic for Amazon SES event publishing.":                                                        0,
		`{"notificationType":"AmazonSnsSubscriptionSucceeded","message":"You have successfully subscribed your Amazon SNS topic"}`: 0,
		"hello": 1, "": 1, "{": 1, "null": 1, "{}": 1, `"text"`: 1, strings.Repeat("[", 20_000): 1,
	} {
		found := receive(t, notice(message))
		checkEvents(t, message, found)
		if len(found) != want || want == 1 && found[0].Type != events.Unknown {
			t.Errorf("%.40q gives %d events %v, want %d", message, len(found), found, want)
		}
	}
}

// More recipients than any mail of SES has are not taken apart.
func TestWebhookBoundsRecipients(t *testing.T) {
	for n, want := range map[int]int{50: 50, 1000: 1000, 1001: 1} {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("%d@x.test", i))
		}
		addresses, _ := json.Marshal(list)
		found := receive(t, notice(fmt.Sprintf(`{"eventType":"Send","mail":{"messageId":"m1","destination":%s},"send":{}}`, addresses)))
		if len(found) != want {
			t.Errorf("%d recipients give %d events, want %d", n, len(found), want)
		}
	}
}

// Two events of a batch share nothing that can be changed.
func TestWebhookEventsAreApart(t *testing.T) {
	found := receive(t, notice(`{"eventType":"Send","mail":{"messageId":"m1","destination":["a@x.test","b@x.test"],"tags":{"k":["v"],"tag_1":["t"]}},"send":{}}`))
	found[0].Metadata["k"], found[0].Tags[0] = "changed", "changed"
	if found[1].Metadata["k"] != "v" || found[1].Tags[0] != "t" {
		t.Errorf("the second event has %v and %q", found[1].Metadata, found[1].Tags)
	}
}

// The id is the one that the adapter knows the mail by.
func TestWebhookProviderIDIsTheAdapters(t *testing.T) {
	const id = "010201890123abcd-00000000-0000-0000-0000-000000000000-000000"
	results := newAdapter().Results(one, providers.Response{Status: 200, Body: []byte(`{"MessageId":"` + id + `"}`)})
	found := receive(t, notice(strings.Replace(opened, "m1", id, 1)))
	if got := found[0].ProviderMessageID; got != results[0].ProviderID {
		t.Errorf("the id is %q, the adapter's is %q", got, results[0].ProviderID)
	}
}

// fact is what tells an event from others.
type fact struct {
	Kind, ID, Recipient, Time, Link, IP, Agent string
}

func facts() *rapid.Generator[fact] {
	word := rapid.SampledFrom([]string{"a", "b", "a\x00b", "ab", "\x00", `"`, `a","b`, "ü"})
	return rapid.Custom(func(t *rapid.T) fact {
		f := fact{
			Kind:      rapid.SampledFrom([]string{"Send", "Delivery", "Bounce", "Complaint", "Reject", "Rendering Failure", "Open", "Click", "DeliveryDelay"}).Draw(t, "kind"),
			ID:        word.Draw(t, "id"),
			Recipient: rapid.SampledFrom([]string{"a@x.test", "b@x.test", "a@y.test"}).Draw(t, "recipient"),
		}
		switch f.Kind {
		case "Send", "Reject", "Rendering Failure":
			return f // a mail has one of them for each recipient
		case "Click":
			f.Link = word.Draw(t, "link")
			fallthrough
		case "Open":
			f.IP, f.Agent = word.Draw(t, "ip"), word.Draw(t, "agent")
		}
		f.Time = rapid.SampledFrom([]string{"2026-01-02T03:04:05.001Z", "2026-01-02T03:04:05.002Z", "2026-01-02T03:04:05Z", "x", "y"}).Draw(t, "time")
		return f
	})
}

// message is the fact in the format of an identity or of a configuration set.
func (f fact) message(t *rapid.T, typeField string) string {
	object := map[string]string{"Rendering Failure": "failure", "DeliveryDelay": "deliveryDelay"}[f.Kind]
	if object == "" {
		object = strings.ToLower(f.Kind)
	}
	people := []map[string]string{{"emailAddress": f.Recipient}}
	content, err := json.Marshal(map[string]any{
		typeField: f.Kind,
		"mail":    map[string]any{"messageId": f.ID, "destination": []string{f.Recipient}},
		object: map[string]any{
			"timestamp": f.Time, "link": f.Link, "ipAddress": f.IP, "userAgent": f.Agent, "bounceType": "Permanent", "recipients": []string{f.Recipient},
			"bouncedRecipients": people, "complainedRecipients": people, "delayedRecipients": people,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// The same event has the same key when SNS delivers it again, when another topic
// tells of it, and when it comes in both formats; two events have two keys.
func TestWebhookKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, g := facts().Draw(t, "one"), facts().Draw(t, "other")
		first := receive(t, notice(f.message(t, "eventType")))
		again := notice(f.message(t, "notificationType"))
		again.MessageID, again.TopicARN, again.Timestamp = "00000000-0000-4000-8000-00000000000a", topic+"-2", "2026-01-02T03:04:06.000Z"
		second := receive(t, again)
		other := receive(t, notice(g.message(t, "eventType")))
		if len(first) != 1 || len(second) != 1 || len(other) != 1 {
			t.Fatalf("there are %d, %d and %d events, want one of each", len(first), len(second), len(other))
		}
		if first[0].Key != second[0].Key {
			t.Errorf("%+v has two keys", f)
		}
		if (first[0].Key == other[0].Key) != (f == g) {
			t.Errorf("%+v and %+v have the keys %s and %s", f, g, first[0].Key, other[0].Key)
		}
	})
}

// Where SES says too little it is the notification that counts.
func TestWebhookKeysOfLittle(t *testing.T) {
	for _, message := range []string{
		"hello", "{}", `{"eventType":"Bounce","mail":{"messageId":"m1"},"bounce":{"timestamp":"2026-01-02T03:04:05Z"}}`,
		`{"eventType":"Open","mail":{"messageId":"m1","destination":["a@x.test"]},"open":{}}`,
		`{"eventType":"Send","mail":{"destination":["a@x.test"]},"send":{}}`,
	} {
		n := notice(message)
		first, again := receive(t, n), receive(t, n)
		n.MessageID = "00000000-0000-4000-8000-00000000000b"
		other := receive(t, n)
		if first[0].Key != again[0].Key || first[0].Key == other[0].Key {
			t.Errorf("%s: the keys are %s, %s again, %s for another", message, first[0].Key, again[0].Key, other[0].Key)
		}
	}
}

var _ events.Source = (*ses.Webhook)(nil)

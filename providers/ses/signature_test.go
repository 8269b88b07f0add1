package ses_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/events"
	"smtpbridge/providers/ses"
)

// FuzzWebhook: whatever SNS signs, what is made of it can be stored.
func FuzzWebhook(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "webhooks", "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		message, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(message))
	}
	for _, message := range []string{
		"", "hello", "Successfully validated SNS topic for Amazon SES event publishing.",
		`{"eventType":"Open","EventType":"Click","mail":{"destination":["<>","<a@b"]},"open":{},"click":{}}`,
		`{"eventType":"Subscription","mail":{"destination":["a@b"]},"subscription":{"contactList":"l","newTopicPreferences":[],"oldTopicPreferences":7}}`,
		`{"eventType":"Bounce","bounce":{"bouncedRecipients":[null,7,"a",{"emailAddress":7},{"emailAddress":"a@b","status":"5.1.1"}],"timestamp":"9999-12-31T23:59:59-23:00"}}`,
		`{"eventType":"Send","mail":{"messageId":"m","destination":["a@b","A@B"],"tags":{"":["x"],"bridge_id":[],"tag_1":[1e999]}},"send":null}`,
	} {
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message string) {
		message = strings.ToValidUTF8(message, "?") // SNS takes nothing else
		found := ses.ReadMessage(message)
		checkEvents(t, message, found)
		if again := ses.ReadMessage(message); !cmp.Equal(found, again) {
			t.Errorf("again it says\n%s", cmp.Diff(found, again))
		}
	})
}

// vectors are what SNS signed, by file; one certificate verifies them all.
func vectors(tb testing.TB) (w *ses.Webhook, bodies map[string][]byte) {
	tb.Helper()
	bodies = make(map[string][]byte)
	for _, file := range []string{"notification-1.json", "notification-2.json", "subscription-1.json", "subscription-2.json"} {
		bodies[file] = []byte(read(tb, file))
	}
	return newWebhook(newSNS(withTheirCertificate(tb)), topic), bodies
}

// FuzzWebhookSignature: nobody can have said what SNS did not sign.
func FuzzWebhookSignature(f *testing.F) {
	w, bodies := vectors(f)
	for _, body := range bodies {
		f.Add(body, "")
		f.Add(body, "Notification")
	}
	f.Add([]byte(opened), "Notification")
	f.Add([]byte("null"), "")
	var signed [][]events.Event
	for file, body := range bodies {
		batch, err := w.Receive(f.Context(), nil, body)
		if err != nil {
			f.Fatalf("%s: %v", file, err)
		}
		signed = append(signed, batch.Events)
	}
	f.Fuzz(func(t *testing.T, body []byte, kind string) {
		h := http.Header{}
		if kind != "" {
			h = header(kind)
		}
		batch, err := w.Receive(t.Context(), h, body)
		if err != nil {
			if len(batch.Events) > 0 || len(err.Error()) > 1024 {
				t.Errorf("%d events with the error %v", len(batch.Events), err)
			}
			return
		}
		if !slices.ContainsFunc(signed, func(s []events.Event) bool { return cmp.Equal(s, batch.Events) }) {
			t.Errorf("%s says what was not signed: %v", body, batch.Events)
		}
	})
}

// A changed octet is refused, unless it stands where nothing is signed, and then
// changes nothing.
func TestWebhookChangedOctets(t *testing.T) {
	w, bodies := vectors(t)
	for file, body := range bodies {
		want, err := w.Receive(t.Context(), nil, body)
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		for i := range body {
			for _, bit := range []byte{0x01, 0x20} {
				changed := slices.Clone(body)
				changed[i] ^= bit
				got, err := w.Receive(t.Context(), nil, changed)
				if err != nil {
					refused++
				} else if !cmp.Equal(want, got) {
					t.Errorf("%s with octet %d changed by %#x says %v", file, i, bit, got.Events)
				}
			}
		}
		if refused < len(body) {
			t.Errorf("%s: %d of %d changes are refused, want most", file, refused, 2*len(body))
		}
	}
}

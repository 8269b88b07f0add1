package providertest

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"smtpbridge/events"
)

// webhooks is where the calls of a provider are, from its folder.
const webhooks = "testdata/webhooks"

// GoldenEvents gives every call of testdata/webhooks, which no key is asked for,
// to the source, and compares its events with the .golden beside it.
func GoldenEvents(t *testing.T, source events.Source) {
	t.Helper()
	entries, err := os.ReadDir(webhooks)
	if err != nil {
		t.Fatal(err)
	}
	calls := make(map[string]string)
	for _, entry := range entries {
		if extension := filepath.Ext(entry.Name()); extension != ".golden" {
			calls[strings.TrimSuffix(entry.Name(), extension)] = entry.Name()
		}
	}
	for stem, name := range calls {
		t.Run(stem, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join(webhooks, name))
			if err != nil {
				t.Fatal(err)
			}
			batch, err := source.Receive(t.Context(), http.Header{}, body)
			CheckReceived(t, batch, err)
			compare(t, filepath.Join(webhooks, stem+".golden"), show(t, batch, err))
		})
	}
	for _, entry := range entries {
		if stem, golden := strings.CutSuffix(entry.Name(), ".golden"); golden && calls[stem] == "" {
			t.Errorf("%s belongs to no call", entry.Name())
		}
	}
}

// show writes events with their keys, which their own JSON does not have.
func show(t *testing.T, batch events.Batch, err error) string {
	t.Helper()
	if err != nil {
		return err.Error() + "\n"
	}
	type keyed struct {
		events.Event

		Key string `json:"key"`
	}
	list := make([]keyed, len(batch.Events))
	for i, e := range batch.Events {
		list[i] = keyed{e, e.Key}
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

// CheckReceived holds what a source promises of every call: an error of a kind
// that the endpoint knows, or events that can be stored as they are.
func CheckReceived(t *testing.T, batch events.Batch, err error) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, events.ErrUnauthenticated) && !errors.Is(err, events.ErrMalformed) {
			t.Errorf("the error is of no kind that is known: %v", err)
		}
		if len(batch.Events) > 0 || batch.Nonce != "" {
			t.Errorf("a call that is refused (%v) has events: %+v", err, batch)
		}
		return
	}
	for _, e := range batch.Events {
		checkEvent(t, e)
	}
}

func checkEvent(t *testing.T, e events.Event) {
	t.Helper()
	switch {
	case !e.Type.Known() || e.Type == events.SuppressionAdded || e.Type == events.SuppressionRemoved:
		t.Errorf("the type is %q", e.Type)
	case e.Key == "":
		t.Errorf("%s has no key", e.Type)
	case !json.Valid(e.Raw) || !utf8.Valid(e.Raw):
		t.Errorf("%s: what is raw is no JSON: %.200q", e.Type, e.Raw)
	case (e.Type == events.Bounced) != (e.Bounce == events.Hard || e.Bounce == events.Soft), e.Type != events.Bounced && e.Bounce != "":
		t.Errorf("%s has the bounce %q", e.Type, e.Bounce)
	case e.Scope != "" && e.Type != events.Unsubscribed && e.Type != events.Resubscribed:
		t.Errorf("%s has the scope %q", e.Type, e.Scope)
	case e.Timestamp.Location() != time.UTC || e.Attempt < 0:
		t.Errorf("%s is of %v, attempt %d", e.Type, e.Timestamp, e.Attempt)
	}
	for _, text := range []string{e.MessageID, e.ProviderMessageID, e.Recipient, e.Reason, e.Response, e.Scope, e.Key} {
		checkText(t, text, events.MaxWord)
	}
	for _, tag := range e.Tags {
		checkText(t, tag, events.MaxTag)
	}
	checkText(t, e.URL, events.MaxURL)
	for name, value := range e.Metadata {
		checkText(t, name+value, len(e.Raw))
	}
	if _, err := json.Marshal(e); err != nil {
		t.Errorf("%s cannot be written: %v", e.Type, err)
	}
}

func checkText(t *testing.T, text string, most int) {
	t.Helper()
	if len(text) > most || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		t.Errorf("a text has %d octets, want at most %d of one line: %.200q", len(text), most, text)
	}
}

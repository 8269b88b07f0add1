package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"smtpbridge/events"
)

// nested is n arrays in each other.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// What a provider wrote stays as it is, unless it would spoil the JSON around it.
func TestRaw(t *testing.T) {
	for told, want := range map[string]string{
		`{"a": 1}`:  `{"a": 1}`,
		nested(100): nested(100),
		nested(101): `"` + nested(101) + `"`,
		`["` + strings.Repeat("[", 999) + `\"["]`:                `["` + strings.Repeat("[", 999) + `\"["]`,
		`[["` + "\\\\" + `"` + strings.Repeat(",[]", 200) + `]]`: `[["` + "\\\\" + `"` + strings.Repeat(",[]", 200) + `]]`,
		"\"\xff\"": "\"\uFFFD\"",
		"a=b":      `"a=b"`,
		"":         `""`,
		"{":        `"{"`,
	} {
		if got := string(events.Raw([]byte(told))); got != want {
			t.Errorf("%.80q is %.80q, want %.80q", told, got, want)
		}
	}
}

// However deep it was, the event can be written, and a list of lists of it.
func TestRawCanBeWritten(t *testing.T) {
	for _, levels := range []int{1, 100, 101, 9_999, 10_000, 10_001, 1 << 20} {
		e := events.Event{Raw: events.Raw([]byte(nested(levels)))}
		if _, err := json.Marshal([]any{[]events.Event{e}}); err != nil {
			t.Errorf("%d levels: %v", levels, err)
		}
	}
}

func TestRawKeepsNoCall(t *testing.T) {
	for name, keep := range map[string]func([]byte) json.RawMessage{
		"Raw":     events.Raw,
		"Compact": func(body []byte) json.RawMessage { raw, _ := events.Compact(body); return raw },
	} {
		body := []byte(`{"a":1}`)
		raw := keep(body)
		clear(body)
		if string(raw) != `{"a":1}` {
			t.Errorf("%s has become %q", name, raw)
		}
	}
}

func TestCompact(t *testing.T) {
	one, err := events.Compact([]byte(" {\"a\" : [1,\n2]}\r\n"))
	other, bad := events.Compact([]byte(`{"a":[1,2]}`))
	if err != nil || bad != nil || !bytes.Equal(one, other) {
		t.Errorf("they are %s and %s: %v, %v", one, other, err, bad)
	}
	for _, body := range []string{"", "a=b", "{", "{} {}", nested(10_001)} {
		if raw, err := events.Compact([]byte(body)); !errors.Is(err, events.ErrMalformed) || raw != nil {
			t.Errorf("%.40q: %s, %v; want it malformed", body, raw, err)
		}
	}
}

// What a call said of many is stored for each, but not without bound; that an
// event came from a provider shows all the same.
func TestShareRaw(t *testing.T) {
	whole := events.Raw([]byte(`"` + strings.Repeat("x", 256<<10) + `"`))
	for n, shared := range map[int]bool{1: true, 50: true, 100: false, 1000: false} {
		list := make([]events.Event, n)
		events.ShareRaw(list, whole)
		total := 0
		for i, e := range list {
			if !json.Valid(e.Raw) || (i == 0 || shared) != bytes.Equal(e.Raw, whole) {
				t.Errorf("event %d of %d has %d octets of %d", i, n, len(e.Raw), len(whole))
			}
			total += len(e.Raw)
		}
		if total > 17<<20 {
			t.Errorf("%d events carry %d octets", n, total)
		}
	}
	events.ShareRaw(nil, whole)
}

func TestRehearsalBoundsRaw(t *testing.T) {
	batch, err := events.Rehearsal{}.Receive(t.Context(), nil, []byte(`{"type":"opened","raw":`+nested(9_000)+`}`))
	if err != nil || len(batch.Events) != 1 {
		t.Fatalf("%+v, %v", batch, err)
	}
	if _, err := json.Marshal([]any{batch.Events[0]}); err != nil || batch.Events[0].Raw[0] != '"' {
		t.Errorf("what is raw begins %.20q: %v", batch.Events[0].Raw, err)
	}
}

package events_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"smtpbridge/events"
)

func TestText(t *testing.T) {
	for raw, want := range map[string]events.Text{
		`"a\n\ud800"`: "a\n\uFFFD", `""`: "", `7`: "7", `-1.50e3`: "-1.50e3", `true`: "true", `null`: "", `{"a":1}`: "", `["a"]`: "",
	} {
		var got struct{ Text, After events.Text }
		if err := json.Unmarshal([]byte(`{"text":`+raw+`,"after":"x"}`), &got); err != nil || got.Text != want || got.After != "x" {
			t.Errorf("%s is %q before %q (%v), want %q before x", raw, got.Text, got.After, err, want)
		}
	}
	var none events.Text
	if err := none.UnmarshalJSON(nil); err != nil || none != "" {
		t.Errorf("nothing is %q, %v", none, err)
	}
}

func TestTextCount(t *testing.T) {
	for text, want := range map[events.Text]int{
		"0": 0, "5": 5, "2147483647": 2147483647, "2147483648": 0, "-1": 0, "+1": 0, "1.0": 0, "": 0, "x": 0,
	} {
		if got := text.Count(); got != want {
			t.Errorf("%q counts %d, want %d", text, got, want)
		}
	}
}

func TestList(t *testing.T) {
	for _, c := range []struct {
		raw  string
		most int
		want []string
	}{
		{`["a", {"b":[1]}, null]`, 9, []string{`"a"`, `{"b":[1]}`, `null`}},
		{`[1,2,3]`, 2, []string{"1", "2"}},
		{`[]`, 2, nil},
		{`"a"`, 2, []string{`"a"`}},
		{`{"a":1}`, 2, []string{`{"a":1}`}},
		{``, 2, []string{""}},
		{`[1,`, 2, []string{"1"}},
		{`[`, 2, nil},
	} {
		var got []string
		for _, element := range events.List(json.RawMessage(c.raw), c.most) {
			got = append(got, string(element))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.raw, diff)
		}
	}
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"as it is", 8, "as it is"},
		{"cut here", 3, "cut"},
		{"line\r\nend\x00\u0085", 99, "line  end"},
		{" blanks\t", 99, "blanks"},
		{"ab ", 2, "ab"},
		{"a b", 2, "a"},
		{"üü", 3, "ü"},
		{"a\xffb", 9, "ab"},
		{"", 9, ""},
		{"x", 0, ""},
	} {
		if got := events.Clip(c.text, c.most); got != c.want {
			t.Errorf("%q in %d octets is %q, want %q", c.text, c.most, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text, most := string(rapid.SliceOf(rapid.Byte()).Draw(t, "text")), rapid.IntRange(0, 20).Draw(t, "most")
		got := events.Clip(text, most)
		if len(got) > most || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) || strings.TrimSpace(got) != got {
			t.Errorf("%q in %d octets is %q", text, most, got)
		}
	})
}

// What is left out is the end of the alphabet, so that it is the same each time.
func TestMetadata(t *testing.T) {
	all := map[string]string{"a": "1", "b": "two\nlines", "": "x", "z": strings.Repeat("z", 20)}
	for room, want := range map[int]map[string]string{
		100: {"a": "1", "b": "two lines", "z": strings.Repeat("z", 20)},
		33:  {"a": "1", "b": "two lines"},
		2:   {},
		0:   {},
	} {
		if diff := cmp.Diff(want, events.Metadata(all, room)); diff != "" {
			t.Errorf("in %d octets (-want +got):\n%s", room, diff)
		}
	}
	if got := events.Metadata(nil, 9); got == nil {
		t.Error("no pairs are null in JSON")
	}
}

func TestTime(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-01-02T03:04:05Z":              at,
		"2026-01-02T04:04:05+01:00":         at,
		"2026-01-02T03:04:05.1234567Z":      at.Add(123456700),
		"2026-01-02 03:04:05":               at,
		"2026-01-02 03:04:05.457489+00:00":  at.Add(457489000),
		"2026-01-02T03:04:05":               at,
		"2026-01-02T03:04:05 +0000":         at,
		"2026-01-02T03:04:05.000+0000":      at,
		"1970-01-01T00:00:00Z":              time.Unix(0, 0).UTC(),
		"1969-12-31T23:59:59Z":              {},
		"0001-01-01T00:00:00":               {},
		"9999-12-31T23:59:59-01:00":         {},
		"Fri, 02 Jan 2026 03:04:05 +0000":   {},
		"1767323045":                        {},
		"yesterday":                         {},
		"":                                  {},
		"2026-02-30T00:00:00Z":              {},
		"2026-01-02T03:04:05Z2026-01-02T03": {},
	} {
		if got := events.Time(text); !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}

func TestUnixTime(t *testing.T) {
	at := time.Unix(1767323045, 0).UTC()
	for text, want := range map[string]time.Time{
		"1767323045": at, "1767323045.678": at.Add(678 * time.Millisecond), "1767323045678": at.Add(678 * time.Millisecond),
		"1.767323045e9": at, "253402300799": time.UnixMilli(253402300799).UTC(),
		"0": {}, "-7": {}, "NaN": {}, "Inf": {}, "1e30": {}, "": {}, "x": {}, "2026-01-02T03:04:05Z": {},
	} {
		if got := events.UnixTime(text); !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}

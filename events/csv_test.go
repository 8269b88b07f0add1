package events_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"smtpbridge/events"
)

// readAll gives what a CSV holds, and its error.
func readAll(r io.Reader) (all []events.Suppression, err error) {
	for s, err := range events.ReadCSV(r) {
		if err != nil {
			return all, err
		}
		all = append(all, s)
	}
	return all, nil
}

func write(tb testing.TB, all ...events.Suppression) string {
	tb.Helper()
	var b bytes.Buffer
	w := events.NewCSVWriter(&b)
	for _, s := range all {
		w.Write(s)
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

func TestWriteCSV(t *testing.T) {
	got := write(t,
		events.Suppression{Address: "a@example.com", Scope: "tag:a,b", Reason: events.Unsubscribe, Provider: "mail", Detail: `said "no"`, Since: noon},
		events.Suppression{Address: "=1+1@example.com", Reason: events.Manual, Detail: "-2+3", Since: noon.Add(5)},
		events.Suppression{Address: "+b@example.com", Scope: "@x", Reason: events.HardBounce, Detail: "'=4", Since: noon},
	)
	const want = `email,scope,reason,provider,detail,since
a@example.com,"tag:a,b",unsubscribe,mail,"said ""no""",2026-01-02T12:00:00Z
'=1+1@example.com,,manual,,'-2+3,2026-01-02T12:00:00.000000005Z
'+b@example.com,'@x,hard_bounce,,''=4,2026-01-02T12:00:00Z
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := write(t); got != "email,scope,reason,provider,detail,since\n" {
		t.Errorf("an empty list: %q", got)
	}
	w := events.NewCSVWriter(broken{})
	w.Write(events.Suppression{Address: "a@example.com"})
	if err := w.Flush(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestReadCSV(t *testing.T) {
	manual := func(address string) events.Suppression {
		return events.Suppression{Address: address, Reason: events.Manual}
	}
	full := events.Suppression{
		Address: "a@example.com", Scope: "group:10", Reason: events.Unsubscribe, Provider: "mail", Detail: "left", Since: noon,
	}
	tests := []struct {
		name, text string
		want       []events.Suppression
	}{
		{"nothing", "", nil},
		{"a head alone", "email,scope\n", nil},
		// Addresses alone.
		{"addresses", "a@example.com\nb@example.com\n", []events.Suppression{manual("a@example.com"), manual("b@example.com")}},
		{"without a last line end", "a@example.com\nb@example.com", []events.Suppression{manual("a@example.com"), manual("b@example.com")}},
		{"lines of Windows", "a@example.com\r\n\r\nb@example.com\r\n", []events.Suppression{manual("a@example.com"), manual("b@example.com")}},
		{"a byte order mark", "\ufeffa@example.com\n", []events.Suppression{manual("a@example.com")}},
		{"a mark before quotes", "\ufeff\"email\"\n\"a@example.com\"\n", []events.Suppression{manual("a@example.com")}},
		{"a mark before the head", "\ufeffEmail,scope\na@example.com,\n", []events.Suppression{manual("a@example.com")}},
		// Columns in any order, and those of others.
		{"as it is written", write(t, full), []events.Suppression{full}},
		{"another order", "since,reason,email,created,detail,scope,provider\n2026-01-02T12:00:00Z,unsubscribe,a@example.com,x,left,group:10,mail\n", []events.Suppression{full}},
		{"names as people write them", " EMAIL , Scope \na@example.com,tag:x\n", []events.Suppression{{Address: "a@example.com", Scope: "tag:x", Reason: events.Manual}}},
		{"fewer and more fields", "email,scope\na@example.com\nb@example.com,,,,\n", []events.Suppression{manual("a@example.com"), manual("b@example.com")}},
		{"another zone", "email,since\na@example.com,2026-01-02T13:00:00+01:00\n", []events.Suppression{{Address: "a@example.com", Reason: events.Manual, Since: noon}}},
		{"quotes", `"a@example.com"` + "\n" + `" b@example.com"` + "\n", []events.Suppression{manual("a@example.com"), manual(" b@example.com")}},
		{"no formula", "'a@example.com\n", []events.Suppression{manual("'a@example.com")}},
	}
	for _, tt := range tests {
		got, err := readAll(strings.NewReader(tt.text))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.name, diff)
		}
	}
}

// An error names the line, is the last, and what stands before it is there.
func TestReadCSVOfWhatIsWrong(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"Windows-1252", "a@example.com\nj\xfcrgen@example.com\nb@example.com\n", "line 2: \"j\\xfcrgen@example.com\" is no address"},
		{"Windows-1252 in a detail", "email,detail\na@example.com,\nb@example.com,caf\xe9\n", "line 3: the detail"},
		{"UTF-16", "a@example.com\n\xff\xfea\x00@\x00b\x00\n", "line 2: "},
		{"no address", "email\na@example.com\n\n\nnobody\n", `line 5: "nobody" is no address`},
		{"no column for it", "address;scope\na@example.com;x\n", `line 1: "address;scope" is neither an address nor names the column email; commas separate columns`},
		{"semicolons", "a@example.com\nb@example.com;x\n", "line 2: "},
		{"an empty line of commas", "email,scope\na@example.com,\n,\n", `line 3: "" is no address`},
		{"reason", "email,reason\na@example.com,\nb@example.com,because\n", `line 3: "because" is no reason`},
		{"since", "email,since\na@example.com,\nb@example.com,yesterday\n", `line 3: since "yesterday" is no time`},
		{"since when", "email,since\na@example.com,\nb@example.com,9999-01-01T00:00:00Z\n", "line 3: since 9999"},
		{"a quote inside", "a@example.com\nb\"@example.com\n", "line 2"},
		{"a quote that is never closed", "a@example.com\n\"b@example.com\n", "line 2"},
		{"a quote that swallows the rest", "a@example.com\n\"b@example.com\n" + strings.Repeat("c@example.com\n", 10_000), "after line 1: a line is too long, or a quote is never closed"},
	}
	for _, tt := range tests {
		got, err := readAll(strings.NewReader(tt.text))
		if !errors.Is(err, events.ErrMalformed) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want one that says %s", tt.name, err, tt.want)
		}
		if len(got) > 1 || len(got) == 1 && got[0].Address != "a@example.com" {
			t.Errorf("%s: got %v before the error", tt.name, got)
		}
		n := 0
		for range events.ReadCSV(strings.NewReader(tt.text)) {
			n++
		}
		if n != len(got)+1 {
			t.Errorf("%s: %d lines, want nothing after the error", tt.name, n)
		}
	}
}

// Who reads too little has not sent what is malformed.
func TestReadCSVOfABrokenReader(t *testing.T) {
	r := io.MultiReader(strings.NewReader("a@example.com\n"), iotest.ErrReader(io.ErrUnexpectedEOF))
	got, err := readAll(r)
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, events.ErrMalformed) || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// Who has seen enough is asked for no more.
func TestReadCSVStops(t *testing.T) {
	for s, err := range events.ReadCSV(strings.NewReader("a@example.com\nnobody\n")) {
		if err != nil || s.Address != "a@example.com" {
			t.Errorf("%v, %v", s, err)
		}
		break
	}
}

// suppressions are any that are valid.
func suppressions() *rapid.Generator[events.Suppression] {
	odd := rapid.SampledFrom([]rune("aZ0=+-@'\",;|\t \\/ü€\u00a0\u200b<>(){}"))
	text := func(most int) *rapid.Generator[string] {
		return rapid.OneOf(rapid.StringOfN(odd, 0, 12, most), rapid.StringN(0, 20, most))
	}
	return rapid.Custom(func(t *rapid.T) events.Suppression {
		return events.Suppression{
			Address:  text(60).Draw(t, "local part") + "@" + rapid.SampledFrom([]string{"example.com", "exämple.com", "[192.0.2.1]"}).Draw(t, "domain"),
			Scope:    text(200).Draw(t, "scope"),
			Reason:   rapid.SampledFrom(events.Reasons()).Draw(t, "reason"),
			Provider: text(60).Draw(t, "provider"),
			Detail:   text(900).Draw(t, "detail"),
			Since:    time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "since"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC(),
		}
	}).Filter(func(s events.Suppression) bool { return s.Validate() == nil })
}

// What is written is read again, octet by octet, and no field is a formula.
func TestCSVRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfN(suppressions(), 1, 5).Draw(rt, "list")
		text := write(t, all...)
		got, err := readAll(iotest.OneByteReader(strings.NewReader(text)))
		if err != nil {
			rt.Fatalf("%v in\n%s", err, text)
		}
		if diff := cmp.Diff(all, got); diff != "" {
			rt.Fatalf("-written +read:\n%s", diff)
		}
		rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil {
			rt.Fatal(err)
		}
		for _, row := range rows {
			for _, field := range row {
				if field != "" && strings.ContainsRune("=+-@\t\r\n", rune(field[0])) {
					rt.Fatalf("%q is a formula", field)
				}
			}
		}
	})
}

// Whatever is read is valid, and survives being written and read again.
func FuzzReadCSV(f *testing.F) {
	for _, seed := range []string{
		"", "a@example.com\n", "\ufeffemail,since\r\na@example.com,2026-01-02T12:00:00Z\r\n", "email\n\"a@example.com\n",
		"j\xfcrgen@example.com", "email,detail\n'=1@example.com,''=2\n", "email;scope\n", ",,,\n", "email,email\na@b,c@d\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readAll(bytes.NewReader(data))
		if err != nil && !errors.Is(err, events.ErrMalformed) {
			t.Fatalf("%v blames the reader", err)
		}
		for _, s := range got {
			if err := s.Validate(); err != nil {
				t.Fatalf("%+v was read: %v", s, err)
			}
		}
		again, err := readAll(strings.NewReader(write(t, got...)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Fatalf("-first +second reading:\n%s", diff)
		}
	})
}

package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
)

// opener gives text in the reads that wrap makes of it.
func opener(text string, wrap func(io.Reader) io.Reader) httpapi.Opener {
	return func() (io.ReadCloser, error) { return io.NopCloser(wrap(strings.NewReader(text))), nil }
}

func whole(r io.Reader) io.Reader { return r }

func readBody(tb testing.TB, body providers.Body) []byte {
	tb.Helper()
	r, err := body.Open()
	if err != nil {
		tb.Fatalf("opening the body: %v", err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		tb.Fatalf("reading the body: %v", err)
	}
	if err := r.Close(); err != nil {
		tb.Fatalf("closing the body: %v", err)
	}
	if int64(len(content)) != body.Len() {
		tb.Errorf("the body has %d octets, it announces %d", len(content), body.Len())
	}
	return content
}

func TestJSONDocument(t *testing.T) {
	var j httpapi.JSON
	j.Object(func() {
		j.Key("empty")
		j.Object(func() {})
		j.Key("list")
		j.Array(func() {
			j.Int(-7)
			j.Bool(true)
			j.String("a,[{:")
			j.Array(func() {})
			j.Object(func() { j.Key("k"); j.Int(0) })
		})
		j.Key(`na"me`)
		j.Text(3, opener("é\n", whole))
		j.Key("data")
		j.Base64(4, opener("QUJD", whole))
		j.Key("same")
		j.Stream(4, opener("QUJD", whole))
		j.Key("list")
		j.Array(func() { j.Stream(0, opener("", whole)); j.Stream(4, opener("REVG", whole)) })
		j.Key("last")
		j.Bool(false)
	})
	const want = `{"empty":{},"list":[-7,true,"a,[{:",[],{"k":0}],"na\"me":"é\n","data":"QUJD","same":"QUJD","list":["","REVG"],"last":false}`
	if got := string(readBody(t, j.Body())); got != want {
		t.Errorf("the document is\n%s, want\n%s", got, want)
	}
}

// texts are what makes an escape go wrong; each is tried short, which is
// rendered at once, and repeated, which is streamed.
var texts = []string{
	"", "plain", "\"quoted\" \\ /", "\r\n\t\b\f", "\x00\x01\x1f\x7f", "Grüße, 漢字, 🎉", "\u2028\u2029\uFEFF\uFFFD",
	"bad \xff octet", "cut \xe2\x82", "\xf0\x9f\x8e", "\xed\xa0\x80 surrogate", "\xc0\x80 overlong", "\x80\x80\x80",
}

func TestJSONTextEqualsEncodingJSON(t *testing.T) {
	readers := map[string]func(io.Reader) io.Reader{
		"whole": whole, "one octet": iotest.OneByteReader, "half": iotest.HalfReader, "with its end": iotest.DataErrReader,
	}
	for _, text := range texts {
		for _, times := range []int{1, 100_000/(len(text)+1) + 1} {
			for name, wrap := range readers {
				content := strings.Repeat(text, times)
				var j httpapi.JSON
				j.Text(int64(len(content)), opener(content, wrap))
				checkText(t, name, readBody(t, j.Body()), content)
			}
		}
	}
}

// checkText: it reads back as the text, every octet that is not UTF-8 replaced.
func checkText(t *testing.T, name string, document []byte, text string) {
	t.Helper()
	var got string
	if err := json.Unmarshal(document, &got); err != nil {
		t.Fatalf("%s: %.20q gives no JSON: %v", name, text, err)
	}
	if want := string([]rune(text)); got != want {
		t.Errorf("%s: %.20q reads back as %.20q", name, text, got)
	}
	if !utf8.Valid(document) {
		t.Errorf("%s: %.20q gives other than UTF-8", name, text)
	}
}

func FuzzJSONText(f *testing.F) {
	for _, text := range texts {
		f.Add(text, 1)
		f.Add(text, 20_000)
	}
	f.Fuzz(func(t *testing.T, text string, times int) {
		text = strings.Repeat(text, max(1, min(times, 200_000/(len(text)+1))))
		var j httpapi.JSON
		j.Text(int64(len(text)), opener(text, whole))
		checkText(t, "fuzzed", readBody(t, j.Body()), text)
	})
}

// A small buffer must not lose the rest of an escape.
func TestJSONTextInSmallReads(t *testing.T) {
	text := strings.Repeat("\x01é\"", 30_000)
	var j httpapi.JSON
	j.Text(int64(len(text)), opener(text, whole))
	body := j.Body()
	want := readBody(t, body)
	r, err := body.Open()
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(iotest.OneByteReader(r))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read octet by octet it has %d octets (%v), want %d", len(got), err, len(want))
	}
}

func TestBodyReportsWhatCannotBeRead(t *testing.T) {
	broken := errors.New("the disk is broken")
	refuse := func() (io.ReadCloser, error) { return nil, broken }
	breakOff := opener("x", func(io.Reader) io.Reader { return iotest.ErrReader(broken) })
	for name, write := range map[string]func(*httpapi.JSON){
		"opening, small": func(j *httpapi.JSON) { j.Text(1, refuse) },
		"opening, large": func(j *httpapi.JSON) { j.Text(1<<20, refuse) },
		"reading, small": func(j *httpapi.JSON) { j.Text(1, breakOff) },
		"reading, large": func(j *httpapi.JSON) { j.Text(1<<20, breakOff) },
		"a large file":   func(j *httpapi.JSON) { j.Base64(1<<20, breakOff) },
	} {
		var j httpapi.JSON
		write(&j)
		r, err := j.Body().Open()
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		if !errors.Is(err, broken) {
			t.Errorf("%s: the error is %v, want %v", name, err, broken)
		}
	}
}

// What is streamed is not held: neither one large content nor many.
func TestBodyMemoryIsBounded(t *testing.T) {
	const part, parts = 60 << 10, 500
	content := strings.Repeat("x\n", part/2)
	before := heap()
	var j httpapi.JSON
	j.Array(func() {
		for range parts {
			j.Text(part, opener(content, whole))
			j.Base64(part, opener(content, whole))
		}
	})
	body := j.Body()
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("a body of %d octets holds %d of memory", body.Len(), grown)
	}
	runtime.KeepAlive(body)
}

// Nor is a small one that many bodies share.
func TestStreamIsNotHeld(t *testing.T) {
	const part, bodies = 60 << 10, 500
	content := strings.Repeat("A", part)
	before := heap()
	list := make([]providers.Body, bodies)
	for i := range list {
		var j httpapi.JSON
		j.Stream(part, opener(content, whole))
		list[i] = j.Body()
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("%d bodies of %d octets hold %d of memory", bodies, part, grown)
	}
	if got := string(readBody(t, list[0])); got != `"`+content+`"` {
		t.Errorf("the body has %d octets, want %d", len(got), part+2)
	}
	runtime.KeepAlive(list)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkJSONText(b *testing.B) {
	text := strings.Repeat("Dear customer, \"thank you\" for your order.\r\n", 1<<20/44)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var j httpapi.JSON
		j.Text(int64(len(text)), opener(text, whole))
		r, err := j.Body().Open()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}

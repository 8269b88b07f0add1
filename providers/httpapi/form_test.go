package httpapi_test

import (
	"io"
	"mime"
	"mime/multipart"
	"runtime"
	"strings"
	"testing"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
)

// What a form holds is read back by the standard library, and nothing in a name
// can begin a line or a field.
func TestForm(t *testing.T) {
	large := strings.Repeat("x", 200<<10)
	open := func(content string) httpapi.Opener {
		return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }
	}
	f := httpapi.NewForm()
	f.Field("to", "a@example.org")
	f.Field("to", "b@example.org\r\n--bridge")
	f.Text("text", int64(len("Gr\u00fc\u00dfe")), open("Gr\u00fc\u00dfe"))
	f.File("attachment", "a \"b\" \\ \u00fc\r\nX: y.pdf", "application/pdf", int64(len(large)), open(large))
	body := f.Body()
	content := string(readBody(t, body))
	if int64(len(content)) != body.Len() {
		t.Errorf("the body has %d octets, it announces %d", len(content), body.Len())
	}
	kind, params, err := mime.ParseMediaType(f.ContentType())
	if err != nil || kind != "multipart/form-data" {
		t.Fatalf("the type is %q: %v", f.ContentType(), err)
	}
	got, err := multipart.NewReader(strings.NewReader(content), params["boundary"]).ReadForm(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer got.RemoveAll()
	if to := got.Value["to"]; len(to) != 2 || to[0] != "a@example.org" || to[1] != "b@example.org\r\n--bridge" {
		t.Errorf("to is %q", to)
	}
	if text := got.Value["text"]; len(text) != 1 || text[0] != "Gr\u00fc\u00dfe" {
		t.Errorf("text is %q", text)
	}
	file := got.File["attachment"]
	if len(file) != 1 || file[0].Filename != "a \"b\" \\ \u00fc  X: y.pdf" || file[0].Size != int64(len(large)) ||
		file[0].Header.Get("Content-Type") != "application/pdf" || file[0].Header.Get("X") != "" {
		t.Errorf("the file is %+v", file)
	}
	if f.ContentType() == httpapi.NewForm().ContentType() {
		t.Error("two forms have the same boundary")
	}
}

// What many forms share none of them holds, however small it is.
func TestFormsShare(t *testing.T) {
	const part, bodies = 60 << 10, 500
	content := strings.Repeat("x", part)
	before := heap()
	list := make([]providers.Body, bodies)
	for i := range list {
		f := httpapi.NewForm()
		f.Share()
		f.Text("empty", 0, opener("", whole))
		f.File("message", "message.mime", "", part, opener(content, whole))
		list[i] = f.Body()
	}
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("%d bodies of %d octets hold %d of memory", bodies, part, grown)
	}
	if got := string(readBody(t, list[0])); int64(len(got)) != list[0].Len() || !strings.Contains(got, content) {
		t.Errorf("the body has %d octets, it announces %d; want what is shared in it", len(got), list[0].Len())
	}
	runtime.KeepAlive(list)
}

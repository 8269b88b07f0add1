package translate_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/translate"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const corpus = "../testdata/mail"

// A case is a stem: .eml the mail as received, .golden the model that it must
// give, .rcpt (optional) the envelope recipients, a line each, .readme
// (optional) what the case proves where that is not plain.
func TestCorpus(t *testing.T) {
	t.Parallel()
	mails, err := filepath.Glob(filepath.Join(corpus, "*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(mails) < 60 {
		t.Errorf("the corpus has %d mails, want at least 60", len(mails))
	}
	for _, path := range mails {
		stem := strings.TrimSuffix(path, ".eml")
		t.Run(filepath.Base(stem), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := snapshot(t, raw, recipients(t, stem))
			if *update {
				if err := os.WriteFile(stem+".golden", got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(stem + ".golden")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("model of %s (-want +got):\n%s", path, diff)
			}
		})
	}
}

func TestCorpusHasNoStrayFiles(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(corpus)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		stem := strings.TrimSuffix(entry.Name(), filepath.Ext(entry.Name()))
		if _, err := os.Stat(filepath.Join(corpus, stem+".eml")); err != nil {
			t.Errorf("%s belongs to no mail", entry.Name())
		}
	}
}

func recipients(t *testing.T, stem string) []string {
	t.Helper()
	lines, err := os.ReadFile(stem + ".rcpt")
	if os.IsNotExist(err) {
		return []string{"to@example.org"}
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(lines))
}

// model is what a golden file shows of a message.
type model struct {
	Error           string `json:",omitempty"`
	From            *translate.Address
	Sender          *translate.Address  `json:",omitempty"`
	To              []translate.Address `json:",omitempty"`
	Cc              []translate.Address `json:",omitempty"`
	ReplyTo         []translate.Address `json:",omitempty"`
	Subject         string
	Text, HTML, AMP *content    `json:",omitempty"`
	Parts           []content   `json:",omitempty"`
	Headers         []header    `json:",omitempty"`
	MessageID       string      `json:",omitempty"`
	InReplyTo       string      `json:",omitempty"`
	References      []string    `json:",omitempty"`
	Date            string      `json:",omitempty"`
	Directives      *directives `json:",omitempty"`
	Opaque          string      `json:",omitempty"`
	Flaws           []string    `json:",omitempty"`
	RawFlaws        []string    `json:",omitempty"`
	UnknownEncoding string      `json:",omitempty"`
}

// header shows the raw value only where it says something else.
type header struct {
	Name, Value string
	Raw         string `json:",omitempty"`
}

func showHeaders(headers []translate.Header) []header {
	var shown []header
	for _, h := range headers {
		one := header{Name: h.Name, Value: h.Value}
		if h.Raw != h.Value {
			one.Raw = h.Raw
		}
		shown = append(shown, one)
	}
	return shown
}

type directives struct {
	Tags           []string           `json:",omitempty"`
	Metadata       map[string]string  `json:",omitempty"`
	SendAt         time.Time          `json:",omitzero"`
	TrackOpens     translate.Switch   `json:",omitempty"`
	TrackClicks    translate.Switch   `json:",omitempty"`
	Provider       string             `json:",omitempty"`
	IdempotencyKey string             `json:",omitempty"`
	Drop           bool               `json:",omitempty"`
	Apart          bool               `json:",omitempty"`
	Merges         []translate.Merge  `json:",omitempty"`
	Options        []translate.Option `json:",omitempty"`
}

func showDirectives(d translate.Directives) *directives {
	if reflect.ValueOf(d).IsZero() {
		return nil
	}
	shown := directives(d)
	return &shown
}

type content struct {
	Type      string
	Params    map[string]string `json:",omitempty"`
	Name      string            `json:",omitempty"`
	ContentID string            `json:",omitempty"`
	Role      string
	Size      int64
	Content   string `json:",omitempty"`
	SHA256    string `json:",omitempty"`
}

func snapshot(t *testing.T, raw []byte, recipients []string) []byte {
	t.Helper()
	shown := model{}
	if m, err := parse(t, raw, recipients); err != nil {
		shown.Error = err.Error()
	} else {
		defer m.Close()
		shown = model{
			From: m.From, Sender: m.Sender, To: m.To, Cc: m.Cc, ReplyTo: m.ReplyTo, Subject: m.Subject,
			Text: show(t, m.Text), HTML: show(t, m.HTML), AMP: show(t, m.AMP),
			Headers: showHeaders(m.Headers), MessageID: m.MessageID, InReplyTo: m.InReplyTo, References: m.References,
			Directives: showDirectives(m.Directives), Opaque: m.Opaque.String(), Flaws: m.Flaws, RawFlaws: m.RawFlaws, UnknownEncoding: m.UnknownEncoding,
		}
		if !m.Date.IsZero() {
			shown.Date = m.Date.Format("2006-01-02T15:04:05Z07:00")
		}
		for i := range m.Parts {
			shown.Parts = append(shown.Parts, *show(t, &m.Parts[i]))
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(shown); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// show gives short texts as they are, anything else by its digest.
func show(t *testing.T, p *translate.Part) *content {
	t.Helper()
	if p == nil {
		return nil
	}
	data := checkPart(t, p)
	shown := &content{Type: p.Type, Params: p.Params, Name: p.Name, ContentID: p.ContentID, Role: p.Role.String(), Size: p.Size}
	if utf8.Valid(data) && len(data) < 1500 && !bytes.ContainsRune(data, 0) {
		shown.Content = string(data)
	} else {
		digest := sha256.Sum256(data)
		shown.SHA256 = hex.EncodeToString(digest[:])
	}
	return shown
}

func parse(t *testing.T, raw []byte, recipients []string) (*translate.Message, error) {
	t.Helper()
	limits := translate.Limits{}
	if len(raw) > 256<<10 {
		limits.SpoolDir = t.TempDir()
	}
	spool, err := translate.NewSpool(bytes.NewReader(raw), limits)
	if err != nil {
		t.Fatal(err)
	}
	m, err := translate.Parse(spool, translate.Envelope{MailFrom: "bounce@example.com", Recipients: recipients})
	if err != nil {
		if err := spool.Close(); err != nil {
			t.Error(err)
		}
	}
	return m, err
}

// checkPart reads a part twice, plain and as base64, and holds it to its promises.
func checkPart(t *testing.T, p *translate.Part) []byte {
	t.Helper()
	data := readAll(t, p.Open)
	if got := int64(len(data)); got != p.Size {
		t.Errorf("part %s %q gave %d octets, Size says %d", p.Type, p.Name, got, p.Size)
	}
	if again := readAll(t, p.Open); !bytes.Equal(data, again) {
		t.Errorf("part %s %q differs when read again", p.Type, p.Name)
	}
	if p.Role == translate.Body && !utf8.Valid(data) {
		t.Errorf("body %s is not UTF-8: %q", p.Type, data)
	}
	return checkBase64(t, p, data)
}

func readAll(t *testing.T, open func() (io.ReadCloser, error)) []byte {
	t.Helper()
	r, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

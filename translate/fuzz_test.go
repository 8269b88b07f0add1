package translate_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"smtpbridge/translate"
)

// FuzzParse: whatever the octets, a mail is read or refused as malformed; what
// is read keeps its promises, and no text of it can start a header line.
func FuzzParse(f *testing.F) {
	addCorpus(f)
	recipients := []string{"to@example.org", "hidden@example.net"}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parse(t, raw, recipients)
		if err != nil {
			if !errors.Is(err, translate.ErrMalformed) {
				t.Errorf("error %v is not ErrMalformed", err)
			}
			return
		}
		defer m.Close()
		if got := readAll(t, m.Raw); !bytes.Equal(got, raw) {
			t.Errorf("Raw gave %q, want %q", got, raw)
		}
		if !slices.Equal(m.Envelope.Recipients, recipients) {
			t.Errorf("the headers changed the recipients to %q", m.Envelope.Recipients)
		}
		checkTexts(t, m)
		for _, p := range []*translate.Part{m.Text, m.HTML, m.AMP} {
			if p != nil {
				checkPart(t, p)
			}
		}
		for i := range m.Parts {
			checkPart(t, &m.Parts[i])
		}
	})
}

// checkTexts: everything decoded is UTF-8 without control characters.
func checkTexts(t *testing.T, m *translate.Message) {
	t.Helper()
	texts := slices.Concat([]string{m.Subject, m.MessageID, m.InReplyTo}, m.References, m.Directives.Tags)
	for _, a := range slices.Concat(m.To, m.Cc, m.ReplyTo) {
		texts = append(texts, a.Name, a.Email)
	}
	for _, h := range m.Headers {
		texts = append(texts, h.Name, h.Value)
		if name := strings.ToLower(h.Name); name == "bcc" || strings.HasPrefix(name, "x-bridge-") || name == "x-smtpapi" {
			t.Errorf("header %s must not leave", h.Name)
		}
	}
	for _, p := range m.Parts {
		texts = append(texts, p.Name, p.ContentID, p.Type)
		if strings.ContainsAny(p.Name, `/\`) {
			t.Errorf("file name %q has a path", p.Name)
		}
	}
	for _, text := range texts {
		if !utf8.ValidString(text) || strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("text %q is not fit to be shown", text)
		}
	}
}

// addCorpus seeds a fuzz target with the small mails of the corpus.
func addCorpus(f *testing.F) {
	f.Helper()
	mails, err := filepath.Glob(filepath.Join(corpus, "*.eml"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range mails {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(raw) < 4<<10 {
			f.Add(raw)
		}
	}
}

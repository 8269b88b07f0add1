package providertest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// corpus is where the mails are, from the folder of a provider.
const corpus = "../../testdata/mail"

var update = flag.Bool("update", false, "rewrite the golden files")

// Golden renders every mail of testdata/mail and compares the requests with
// testdata/golden/<mail>.txt beside the test, or why there are none. show, which
// may be nil, makes a body readable.
func Golden(t *testing.T, a providers.Adapter, show func(body []byte) string) {
	t.Helper()
	GoldenIn(t, filepath.Join("testdata", "golden"), a, show)
}

// GoldenIn is Golden with a folder of its own, for a provider that is configured
// in several ways.
func GoldenIn(t *testing.T, dir string, a providers.Adapter, show func(body []byte) string) {
	t.Helper()
	mails, err := filepath.Glob(filepath.Join(corpus, "*.eml"))
	if err != nil || len(mails) == 0 {
		t.Fatalf("%s has no mails: %v", corpus, err)
	}
	known := make(map[string]bool, len(mails))
	for _, path := range mails {
		stem := strings.TrimSuffix(filepath.Base(path), ".eml")
		known[stem+".txt"] = true
		t.Run(stem, func(t *testing.T) { compare(t, filepath.Join(dir, stem+".txt"), render(t, a, path, show)) })
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !known[entry.Name()] {
			t.Errorf("%s belongs to no mail", filepath.Join(dir, entry.Name()))
		}
	}
}

func compare(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(golden), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}

// render writes what the provider would be asked.
func render(t *testing.T, a providers.Adapter, path string, show func([]byte) string) string {
	t.Helper()
	m, err := corpusMail(t, path)
	if err != nil {
		return "nobody could read it: " + err.Error() + "\n"
	}
	var out strings.Builder
	losses, refusal := providers.Check(a.Capabilities(), m, time.Date(2026, 1, 2, 14, 4, 5, 0, time.UTC))
	if refusal != nil {
		return "cannot carry it: " + refusal.Error() + "\n"
	}
	if len(losses) > 0 {
		fmt.Fprintf(&out, "loses %s\n\n", strings.Join(losses, ", "))
	}
	for _, r := range a.Requests(m) {
		fmt.Fprintf(&out, "%s %s\n", r.Method, r.URL)
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			fmt.Fprintf(&out, "%s: %s\n", name, strings.Join(r.Header[name], ", "))
		}
		body := read(t, r.Body)
		text := string(body)
		if show != nil {
			text = show(body)
		}
		fmt.Fprintf(&out, "\n%s\n", short(text))
	}
	return boundaries.ReplaceAllString(out.String(), "bridge-BOUNDARY")
}

// boundaries are those of forms, which are random.
var boundaries = regexp.MustCompile(`bridge-[A-Z2-7]{26}`)

// maxShown is how much of a body a golden file shows, in octets.
const maxShown = 8 << 10

func short(text string) string {
	if len(text) <= maxShown {
		return text
	}
	digest := sha256.Sum256([]byte(boundaries.ReplaceAllString(text, "")))
	return fmt.Sprintf("%s\n[%d octets, SHA-256 %s]", text[:1<<10], len(text), hex.EncodeToString(digest[:]))
}

// corpusMail parses a mail of the corpus for its recipients.
func corpusMail(t *testing.T, path string) (*translate.Message, error) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	recipients := []string{"to@example.org"}
	switch list, err := os.ReadFile(strings.TrimSuffix(path, ".eml") + ".rcpt"); {
	case err == nil:
		recipients = strings.Fields(string(list))
	case !errors.Is(err, fs.ErrNotExist):
		t.Fatal(err)
	}
	return parse(t, string(raw), recipients)
}

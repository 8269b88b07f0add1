package translate_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"smtpbridge/translate"
)

// In memory up to 256 KiB, in a file without a name beyond: either way the same octets.
func TestSpoolKeepsTheOctets(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 4 << 10, 256<<10 - 1, 256 << 10, 256<<10 + 1, 3 << 20} {
		dir := t.TempDir()
		want := pattern(size)
		spool, err := translate.NewSpool(bytes.NewReader(want), translate.Limits{SpoolDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if spool.Size() != int64(size) {
			t.Errorf("Size() = %d, want %d", spool.Size(), size)
		}
		got := readAll(t, func() (io.ReadCloser, error) { return spool.Open(0, spool.Size()) })
		if !bytes.Equal(got, want) {
			t.Errorf("a spool of %d octets gave others back", size)
		}
		if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) > 0 {
			t.Errorf("a spool of %d octets left %v for a crash to leave behind", size, names)
		}
		if err := spool.Close(); err != nil {
			t.Error(err)
		}
	}
}

func pattern(size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i % 251)
	}
	return data
}

// The limit is exact, and what came before it is let go.
func TestSpoolLimit(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{10, 300 << 10} {
		limits := translate.Limits{Size: size, SpoolDir: t.TempDir()}
		spool, err := translate.NewSpool(bytes.NewReader(pattern(int(size))), limits)
		if err != nil {
			t.Fatalf("exactly %d octets: %v", size, err)
		}
		if err := spool.Close(); err != nil {
			t.Error(err)
		}
		if _, err := translate.NewSpool(bytes.NewReader(pattern(int(size)+1)), limits); !errors.Is(err, translate.ErrTooLarge) {
			t.Errorf("%d octets over a limit of %d: error %v, want ErrTooLarge", size+1, size, err)
		}
	}
}

func TestSpoolWriterKeepsItsFirstError(t *testing.T) {
	t.Parallel()
	w := translate.NewSpoolWriter(translate.Limits{Size: 3})
	for _, text := range []string{"ab", "cd", "e"} {
		_, err := w.Write([]byte(text))
		if wrong := errors.Is(err, translate.ErrTooLarge) != (text != "ab"); wrong {
			t.Errorf("Write(%q) = %v", text, err)
		}
	}
	if _, err := w.Spool(); !errors.Is(err, translate.ErrTooLarge) {
		t.Errorf("Spool() = %v, want ErrTooLarge", err)
	}
}

// A disk that is full or gone is an error of ours, not of the mail.
func TestSpoolWithoutADisk(t *testing.T) {
	t.Parallel()
	limits := translate.Limits{SpoolDir: filepath.Join(t.TempDir(), "missing")}
	_, err := translate.NewSpool(bytes.NewReader(pattern(300<<10)), limits)
	if !errors.Is(err, os.ErrNotExist) || errors.Is(err, translate.ErrMalformed) || errors.Is(err, translate.ErrTooLarge) {
		t.Errorf("error %v, want that of the disk", err)
	}
}

func TestSpoolGivesTheReadersError(t *testing.T) {
	t.Parallel()
	broken := errors.New("client has gone")
	_, err := translate.NewSpool(io.MultiReader(strings.NewReader("From:"), iotest.ErrReader(broken)), translate.Limits{})
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

// It goes with its last reader: an upload to a provider may outlive the reply.
func TestSpoolGoesWithItsLastReader(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 300 << 10} {
		want := pattern(size)
		spool, err := translate.NewSpool(bytes.NewReader(want), translate.Limits{SpoolDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		r, err := spool.Open(0, int64(size))
		if err != nil {
			t.Fatal(err)
		}
		if err := spool.Close(); err != nil {
			t.Fatal(err)
		}
		late, err := spool.Open(0, 1)
		if err != nil {
			t.Errorf("Open while a reader is left: %v", err)
		} else if err := late.Close(); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the open reader gave %d octets and %v", len(got), err)
		}
		for range 2 { // net/http closes twice
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := spool.Open(0, 1); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Open after the last reader: %v, want ErrClosed", err)
		}
	}
}

func TestPartsAreReadConcurrently(t *testing.T) {
	t.Parallel()
	attachment := strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5\r\n", 8000)
	m, err := parse(t, []byte("From: a@example.com\r\nContent-Type: application/x; name=x\r\n"+
		"Content-Transfer-Encoding: base64\r\n\r\n"+attachment), []string{"to@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	want := readAll(t, m.Parts[0].Open)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			if got := readAll(t, m.Parts[0].Open); !bytes.Equal(got, want) {
				t.Error("a concurrent reader got other octets")
			}
			checkBase64(t, &m.Parts[0], want)
		})
	}
	readers.Wait()
}

func TestForSharesTheSpool(t *testing.T) {
	t.Parallel()
	m, err := parse(t, []byte("From: a@example.com\r\n\r\nbody"), []string{"a@example.org", "b@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	one := m.For([]string{"b@example.org"})
	if got := string(readAll(t, one.Text.Open)); got != "body" {
		t.Errorf("text of the part = %q", got)
	}
	if got := len(m.Envelope.Recipients); got != 2 || one.Envelope.Recipients[0] != "b@example.org" {
		t.Errorf("recipients = %q and %q", m.Envelope.Recipients, one.Envelope.Recipients)
	}
}

package translate_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// A mail in a file is read through a window of 64 KiB. Whatever lies across its
// border must come out as it does in memory.
func TestLargeMailReadsLikeASmallOne(t *testing.T) {
	t.Parallel()
	for _, shift := range []int{0, 1, 2, 3, 17, 63, 64, 65} {
		text := strings.Repeat("Zeile mit Umlauten: äöü €\r\n", 3000)
		attachment := strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5\r\n", 5000)
		raw := "From: a@example.com\r\nX-Shift: " + strings.Repeat("s", shift) + "\r\n" +
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n" +
			"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text + "\r\n" +
			"--b\r\nContent-Type: application/x; name=x\r\nContent-Transfer-Encoding: base64\r\n\r\n" + attachment + "\r\n" +
			"--b\r\nContent-Type: text/html\r\n\r\n<p>" + strings.Repeat("x", 200<<10) + "</p>\r\n--b--\r\n"
		m, err := parse(t, []byte(raw), []string{"to@example.org"})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(checkPart(t, m.Text)); got != text {
			t.Errorf("shift %d: the text came out otherwise (%d octets, want %d)", shift, len(got), len(text))
		}
		wantHTML := strings.ReplaceAll(text, "\r\n", "<br>\n") + "<br><p>" + strings.Repeat("x", 200<<10) + "</p>"
		if got := string(checkPart(t, m.HTML)); got != wantHTML {
			t.Errorf("shift %d: the html came out otherwise (%d octets, want %d)", shift, len(got), len(wantHTML))
		}
		if got := len(checkPart(t, &m.Parts[0])); got != 51*5000 {
			t.Errorf("shift %d: the file has %d octets, want %d", shift, got, 51*5000)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A header that would cost more memory than a mail may is nothing anybody wrote.
func TestHeaderLimit(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		"X-Long: " + strings.Repeat("x", 1<<20) + "\r\n",
		"X-Folded: x\r\n" + strings.Repeat(" "+strings.Repeat("y", 1000)+"\r\n", 1100),
		strings.Repeat(strings.Repeat("n", 60_000)+":\r\n", 18),
		strings.Repeat("X-A: 1\r\n", 20_000),
	} {
		if _, err := parse(t, []byte("From: a@example.com\r\n"+header+"\r\nbody\r\n"), nil); err == nil {
			t.Errorf("a header of %d octets was taken", len(header))
		}
	}
}

// As many parts as a mail may have, each with the header lines that programs
// write, are within the limit of those.
func TestHeadersOfManyParts(t *testing.T) {
	t.Parallel()
	const parts = 999
	file := "--b\r\nContent-Type: image/gif;\r\n name=\"a.gif\"\r\nContent-Description: a.gif\r\n" +
		"Content-Disposition: attachment;\r\n filename=\"a.gif\"; size=3;\r\n" +
		" creation-date=\"Fri, 02 Jan 2026 03:04:05 GMT\";\r\n modification-date=\"Fri, 02 Jan 2026 03:04:05 GMT\"\r\n" +
		"Content-ID: <a@example.com>\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n"
	raw := "From: a@example.com\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat(file, parts) + "--b--\r\n"
	m, err := parse(t, []byte(raw), []string{"to@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Parts) != parts {
		t.Errorf("the mail has %d files, want %d", len(m.Parts), parts)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// A body of one line, without any header, is mail however long the line is.
func TestOneLongLineIsABody(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 64 << 10, 64<<10 + 1, 2 << 20} {
		m, err := parse(t, bytes.Repeat([]byte("x"), size), []string{"to@example.org"})
		if err != nil {
			t.Fatalf("a line of %d octets: %v", size, err)
		}
		if got := len(checkPart(t, m.Text)); got != size {
			t.Errorf("text of %d octets, want %d", got, size)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// format=flowed and quoted-printable hold nothing back for good, wherever the
// buffers of a reader end.
func TestDecodersAcrossBuffers(t *testing.T) {
	t.Parallel()
	for _, blanks := range []int{1, 999, 1000, 1001, 4095, 4096, 5000} {
		for _, head := range []int{0, 1, 4090, 4095, 4096} {
			body := strings.Repeat("x", head) + strings.Repeat(" ", blanks) + "end"
			raw := fmt.Sprintf("Content-Type: text/plain; format=flowed\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%s", body)
			m, err := parse(t, []byte(raw), []string{"to@example.org"})
			if err != nil {
				t.Fatal(err)
			}
			want := body
			if head == 0 {
				want = body[1:] // RFC 3676, 4.4: space-stuffing
			}
			if got := string(checkPart(t, m.Text)); got != want {
				t.Errorf("%d blanks after %d: %d octets, want %d", blanks, head, len(got), len(want))
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func BenchmarkParse(b *testing.B) {
	attachment := strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5QUJDREVGR0hJ\r\n", 13000)
	for _, c := range []struct{ name, raw string }{
		{"text-1KiB", "From: A <a@example.com>\r\nTo: to@example.org\r\nSubject: x\r\nDate: Mon, 02 Jan 2026 15:04:05 +0100\r\nMessage-ID: <1@example.com>\r\n\r\n" + strings.Repeat("line of text\r\n", 60)},
		{"attachment-1MiB", "From: A <a@example.com>\r\nTo: to@example.org\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\nContent-Type: application/pdf; name=x\r\nContent-Transfer-Encoding: base64\r\n\r\n" + attachment + "--b--\r\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.raw)))
			dir := b.TempDir()
			for b.Loop() {
				m, err := parseIn(dir, []byte(c.raw))
				if err != nil {
					b.Fatal(err)
				}
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What an attacker can write in a header costs time in proportion to it. Each of
// these took seconds, or would take hours, in a quadratic reading.
func TestHostileHeadersAreReadInLinearTime(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		"To: a@" + strings.Repeat("域", 100_000) + ".example",
		"To: " + strings.Repeat("(,", 300_000),
		"To: " + strings.Repeat("=?a?b? ,", 100_000),
		"Subject: " + strings.Repeat("=?utf-8?Q?", 90_000),
		"Content-Type: a/b;" + strings.Repeat(` x*0="`, 100_000),
		"Content-Type: a/b;" + strings.Repeat(`x*0=y;`, 100_000),
		"Content-Type: a/b;" + strings.Repeat(`"\";`, 250_000),
		"References: " + strings.Repeat("<a@b>", 200_000),
		"Content-Type: text/html\r\n\r\n" + strings.Repeat("cid:", 500_000),
		"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n" + strings.Repeat("cid:", 500_000) +
			"\r\n--b\r\nContent-Type: image/png\r\nContent-ID: <x>\r\n\r\nx\r\n--b--",
		`X-SMTPAPI: {"category":["` + strings.Join(numbers(70_000), `","`) + `"]}`,
	} {
		m, err := parse(t, []byte("From: a@example.com\r\n"+header+"\r\n\r\nbody\r\n"), []string{"to@example.org"})
		if err != nil {
			continue // too much of it is malformed, as long as it is quick
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

func numbers(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = strconv.Itoa(i)
	}
	return list
}

// A body of a thousand pieces opens them one after the other: the buffers of all
// at once were 32 MiB.
func TestManyPiecesAreOpenedInTurn(t *testing.T) {
	part := "--b\r\nContent-Type: text/plain; charset=koi8-r; format=flowed\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C1\r\n"
	raw := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat(part, 990) +
		"--b\r\n\r\n" + strings.Repeat("x", 300<<10) + "\r\n--b--\r\n"
	m, err := parse(t, []byte(raw), []string{"to@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cost := testing.AllocsPerRun(3, func() {
		r, err := m.Text.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
	if cost > 100 {
		t.Errorf("opening a body of 991 pieces for one octet takes %.0f allocations", cost)
	}
}

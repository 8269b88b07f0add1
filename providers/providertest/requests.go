package providertest

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"smtpbridge/translate"
)

// envelopes are mails with what makes recipients go wrong.
var envelopes = []struct {
	name, header string
	recipients   []string
}{
	{"one", "To: a@example.org", []string{"a@example.org"}},
	{"shown in To and Cc, and hidden", "To: a@example.org\nCc: B <b@example.org>", []string{"h@example.org", "a@example.org", "b@example.org"}},
	{"hidden only", "To: undisclosed-recipients:;", []string{"h1@example.org", "h2@example.org", "h3@example.org"}},
	{"nobody shown", "X-None: 1", []string{"h1@example.org", "h2@example.org"}},
	{"only Cc", "Cc: c@example.org", []string{"c@example.org", "h@example.org"}},
	{"shown outside the envelope", "To: a@example.org, outside@example.net\nCc: other@example.net", []string{"a@example.org"}},
	{"all shown outside", "To: outside@example.net", []string{"a@example.org", "b@example.org"}},
	{"shown twice", "To: a@example.org, A@example.org\nCc: a@example.org", []string{"a@example.org"}},
	{"differing in case", "To: A@Example.org", []string{"a@example.org", "A@example.org", "b@example.org"}},
	{"Bcc header", "To: a@example.org\nBcc: h@example.org", []string{"a@example.org", "h@example.org"}},
	{"1001 shown", "To: " + strings.Join(numbered(1001), ", "), numbered(1001)},
	{"2500 hidden", "To: outside@example.net", numbered(2500)},
	{"1 shown, 1500 hidden", "To: r0@example.org", numbered(1500)},
}

func numbered(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("r%d@example.org", i)
	}
	return list
}

func (s Suite) testEnvelope(t *testing.T) {
	for _, c := range envelopes {
		t.Run(c.name, func(t *testing.T) {
			m := Message(t, "From: shop@example.com\nSubject: s\n"+c.header+"\n\ntext\n", c.recipients...)
			s.checkRequests(t, m)
		})
	}
}

// checkRequests: every recipient is in one request and gets one copy, and sees
// nobody but those of the header and itself.
func (s Suite) checkRequests(t *testing.T, m *translate.Message) {
	t.Helper()
	asked, copies := make(map[string]int), make(map[string]int)
	for _, r := range s.Adapter.Requests(m) {
		for _, recipient := range r.Recipients {
			asked[recipient]++
		}
		req, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, http.NoBody)
		if err != nil {
			t.Fatalf("the request is none: %v", err)
		}
		req.Header = r.Header
		body := read(t, r.Body)
		sent, err := s.Read(req, body)
		if err != nil {
			t.Fatalf("the provider would refuse: %v\n%.2000s", err, body)
		}
		for _, one := range sent {
			checkCopy(t, m, one)
			for _, recipient := range one.Recipients {
				copies[recipient]++
				if !slices.Contains(r.Recipients, recipient) {
					t.Errorf("%s gets a copy by a request that does not say so", recipient)
				}
			}
		}
	}
	for _, recipient := range m.Envelope.Recipients {
		if asked[recipient] != 1 || copies[recipient] != 1 {
			t.Errorf("%s is in %d requests and gets %d copies, want 1 and 1", recipient, asked[recipient], copies[recipient])
		}
	}
	if len(copies) != len(m.Envelope.Recipients) {
		t.Errorf("%d addresses get a copy, want the %d of the envelope", len(copies), len(m.Envelope.Recipients))
	}
}

func checkCopy(t *testing.T, m *translate.Message, one Copy) {
	t.Helper()
	for _, shown := range one.Shown {
		inHeader := slices.ContainsFunc(append(slices.Clone(m.To), m.Cc...), func(a translate.Address) bool {
			return strings.EqualFold(a.Email, shown)
		})
		if !inHeader && !slices.Equal(one.Recipients, []string{shown}) {
			t.Errorf("%s is hidden and shown to %q", shown, one.Recipients)
		}
	}
}

// bodies are mails whose requests are built in different ways.
var bodies = map[string]func() string{
	"small":      func() string { return small },
	"large file": large,
	"large text": func() string {
		return "From: shop@example.com\nTo: a@example.org\nSubject: text\nContent-Type: text/plain; charset=utf-8\n\n" +
			strings.Repeat("\"Grüße\"\tund \\ 漢字 🎉\n", 20_000)
	},
	"no body": func() string { return "From: shop@example.com\nTo: a@example.org\n\n" },
	"two files": func() string {
		return "From: shop@example.com\nTo: a@example.org\nSubject: files\nMIME-Version: 1.0\n" +
			"Content-Type: multipart/mixed; boundary=x\n\n--x\n\ntext\n--x\nContent-Type: image/png; name=\"a;b,c.png\"\n" +
			"Content-Transfer-Encoding: base64\n\naGVsbG8=\n--x\nContent-Type: text/csv; name=empty.csv\n\n--x--\n"
	},
}

func (s Suite) testBody(t *testing.T) {
	for name, mail := range bodies {
		t.Run(name, func(t *testing.T) {
			m := Message(t, mail(), "a@example.org")
			s.checkRequests(t, m)
			for _, r := range s.Adapter.Requests(m) {
				first := read(t, r.Body)
				if int64(len(first)) != r.Body.Len() {
					t.Errorf("the body has %d octets, it announces %d", len(first), r.Body.Len())
				}
				var wg sync.WaitGroup
				for range 2 {
					wg.Go(func() {
						if again := read(t, r.Body); !bytes.Equal(first, again) {
							t.Error("the body differs when it is read again")
						}
					})
				}
				wg.Wait()
			}
		})
	}
}

package load_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"smtpbridge/providers/sendgrid/sendgridtest"
)

const (
	// crowd clients send mailsEach mails each, at once.
	crowd     = 100 / share
	mailsEach = 20
	// largeSize is more than a spool keeps in memory, in octets.
	largeSize = 512 << 10
)

// ending is how a reply begins and what it promises.
type ending struct {
	prefix string
	// atLeast and atMost are how often the provider may have taken such a mail.
	atLeast, atMost int
	// faults lead to it.
	faults []sendgridtest.Fault
}

// endings are all replies that may be given; the first that fits counts.
func endings() []ending {
	return []ending{
		{"250 2.0.0 provider=sendgrid id=", 1, 1, []sendgridtest.Fault{sendgridtest.None}},
		{"451 4.4.5 rate_limit: ", 0, 0, []sendgridtest.Fault{sendgridtest.Throttled}},
		{"451 4.3.0 service_unavailable: internal server error ", 0, 0, []sendgridtest.Fault{sendgridtest.Failed}},
		// A gateway's 502 and a reset say nothing: such a mail may have been
		// taken, and must not be sent again.
		{"451 4.3.0 service_unavailable: ", 0, 1, []sendgridtest.Fault{sendgridtest.Gateway}},
		{"451 4.4.1 network_error: ", 0, 1, []sendgridtest.Fault{sendgridtest.ResetBefore, sendgridtest.ResetAfter}},
	}
}

// fate makes every fifth request fail, in each way in turn.
func fate(n int) sendgridtest.Fault {
	failures := []sendgridtest.Fault{
		sendgridtest.Throttled, sendgridtest.Failed, sendgridtest.Gateway, sendgridtest.ResetBefore, sendgridtest.ResetAfter,
	}
	if n%5 != 0 {
		return sendgridtest.None
	}
	return failures[n/5%len(failures)]
}

// Every reply agrees with what a provider saw that fails one request in five:
// 250 is a mail taken exactly once, a failure that is known is a mail not
// taken, and what nobody can know is not sent again.
func TestRepliesAgreeWithAFailingProvider(t *testing.T) {
	t.Parallel()
	provider := sendgridtest.New(apiKey, fate)
	server := httptest.NewServer(provider)
	t.Cleanup(server.Close)

	replies := sendAll(t, startApp(t, server.URL))

	dealt := make(map[sendgridtest.Fault]int)
	for n := range crowd * mailsEach {
		dealt[fate(n)]++
	}
	if got, want := provider.Requests(), crowd*mailsEach; got != want {
		t.Errorf("the provider saw %d requests for %d mails", got, want)
	}
	// What was taken and not told was taken all the same.
	want := dealt[sendgridtest.None] + dealt[sendgridtest.Gateway] + dealt[sendgridtest.ResetAfter]
	if got := len(provider.Taken()); got != want {
		t.Errorf("the provider took %d mails, want %d", got, want)
	}
	checkReplies(t, replies, provider.Count(), dealt)
	checkContent(t, provider.Taken())
}

// checkReplies holds every reply against how often its mail was taken, and
// counts the replies of each kind.
func checkReplies(t *testing.T, replies []string, taken map[string]int, dealt map[sendgridtest.Fault]int) {
	t.Helper()
	given := make(map[string]int)
	for i, reply := range replies {
		end, ok := endingOf(reply)
		if !ok {
			t.Errorf("the reply to mail %d is %q", i, reply)
			continue
		}
		given[end.prefix]++
		_, id, _ := strings.Cut(reply, " id=")
		if n := taken[id+" "+recipient(i)]; n < end.atLeast || n > end.atMost {
			t.Errorf("mail %d was taken %d times, the reply is %q", i, n, reply)
		}
	}
	for _, end := range endings() {
		want := 0
		for _, fault := range end.faults {
			want += dealt[fault]
		}
		if given[end.prefix] != want {
			t.Errorf("%d replies are %q, the provider has %d reasons", given[end.prefix], end.prefix, want)
		}
	}
}

func endingOf(reply string) (ending, bool) {
	for _, end := range endings() {
		if strings.HasPrefix(reply, end.prefix) {
			return end, true
		}
	}
	return ending{}, false
}

// checkContent finds in each mail what its recipient was sent, whole.
func checkContent(t *testing.T, taken []sendgridtest.Mail) {
	t.Helper()
	sent := make(map[string]int)
	for i := range crowd * mailsEach {
		sent[recipient(i)] = i
	}
	large := base64.StdEncoding.EncodeToString(noise(largeSize))
	for _, mail := range taken {
		to := mail.Personalizations[0].Recipients()
		i := sent[to[0]]
		if len(to) != 1 || mail.Subject != subject(i) || len(mail.Content) != 1 ||
			!strings.HasPrefix(mail.Content[0].Value, token(i)) {
			t.Errorf("mail %d went to %v as %q: %.100v", i, to, mail.Subject, mail.Content)
		}
		if isLarge(i) != (len(mail.Attachments) == 1) || isLarge(i) && mail.Attachments[0].Content != large {
			t.Errorf("the file of mail %d is not what was sent", i)
		}
	}
}

// sendAll gives the reply to each mail.
func sendAll(t *testing.T, address string) []string {
	t.Helper()
	replies := make([]string, crowd*mailsEach)
	var group errgroup.Group
	for n := range crowd {
		group.Go(func() error {
			c, err := dial(t.Context(), address)
			if err != nil {
				return err
			}
			defer c.close()
			for i := n * mailsEach; i < (n+1)*mailsEach; i++ {
				code, text, err := c.send("app@example.com", recipient(i), wire(numbered(i)))
				if err != nil {
					return fmt.Errorf("sending mail %d: %w", i, err)
				}
				replies[i] = fmt.Sprintf("%d %s", code, text)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return replies
}

func recipient(i int) string { return fmt.Sprintf("user%04d@example.net", i) }
func subject(i int) string   { return fmt.Sprintf("Order %04d", i) }
func token(i int) string     { return fmt.Sprintf("This is mail %04d of the run.", i) }

// isLarge: one mail in twenty has a file that goes to the disk.
func isLarge(i int) bool { return i%mailsEach == i/mailsEach%mailsEach }

// numbered is the mail of that number.
func numbered(i int) []byte {
	var mail bytes.Buffer
	fmt.Fprintf(&mail, "From: app@example.com\r\nTo: <%s>\r\nSubject: %s\r\nMessage-ID: <%d@app.example.com>\r\n"+
		"MIME-Version: 1.0\r\n", recipient(i), subject(i), i)
	if !isLarge(i) {
		fmt.Fprintf(&mail, "\r\n%s\r\n", token(i))
		return mail.Bytes()
	}
	fmt.Fprintf(&mail, "Content-Type: multipart/mixed; boundary=outer\r\n\r\n--outer\r\n\r\n%s\r\n--outer\r\n", token(i))
	file(&mail, largeSize)
	mail.WriteString("--outer--\r\n")
	return mail.Bytes()
}

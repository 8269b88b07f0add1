// Package providertest is the suite that every provider behind an HTTP API
// passes: who gets a mail and who is shown, bodies that have the length they
// announce, answers that leave nothing open, and a connection that fails in
// every way, over real sockets.
package providertest

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

// Suite is what the tests must know of a provider.
type Suite struct {
	Adapter providers.Adapter
	// Secret is the credential that the adapter was given: at least 8 octets.
	Secret string
	// Read reads a request as the provider does: the copies it would send, or
	// why it would refuse.
	Read func(r *http.Request, body []byte) ([]Copy, error)
	// Accept answers a request that the provider takes.
	Accept http.HandlerFunc
}

// Copy is one mail that the provider sends.
type Copy struct {
	// Recipients get this copy, Shown is whom they see in To and Cc.
	Recipients, Shown []string
}

// Run runs the whole suite.
func Run(t *testing.T, s Suite) {
	t.Helper()
	t.Run("envelope", s.testEnvelope)
	t.Run("body", s.testBody)
	t.Run("accepted", s.testAccepted)
	t.Run("statuses", s.testStatuses)
	t.Run("secret", s.testSecret)
	t.Run("redirect", s.testRedirect)
	t.Run("long answer", s.testLongAnswer)
	t.Run("failing connection", s.testFailures)
}

// Message parses a mail for these recipients; LF becomes CRLF.
func Message(tb testing.TB, mail string, recipients ...string) *translate.Message {
	tb.Helper()
	m, err := parse(tb, strings.ReplaceAll(strings.ReplaceAll(mail, "\r\n", "\n"), "\n", "\r\n"), recipients)
	if err != nil {
		tb.Fatalf("parsing the mail: %v", err)
	}
	return m
}

// parse gives the message until the test ends.
func parse(tb testing.TB, mail string, recipients []string) (*translate.Message, error) {
	tb.Helper()
	spool, err := translate.NewSpool(strings.NewReader(mail), translate.Limits{SpoolDir: tb.TempDir()})
	if err != nil {
		tb.Fatalf("spooling the mail: %v", err)
	}
	m, err := translate.Parse(spool, translate.Envelope{
		BridgeID: "01JGABCDEFGHJKMNPQRSTVWXYZ", MailFrom: "sender@example.com", Recipients: recipients,
	})
	if err != nil {
		spool.Close() //nolint:errcheck // nothing reads it
		return nil, err
	}
	tb.Cleanup(func() { m.Close() }) //nolint:errcheck // a test may have closed it
	return m, nil
}

// small is a mail that no buffer is too small for.
const small = "From: Shop <shop@example.com>\nTo: a@example.org\nSubject: Order 7\nMessage-ID: <7@example.com>\n\nThank you.\n"

// largeBytes is more than both ends of a socket buffer, 4 MiB by default and
// receiveBytes, and less than the narrowest provider takes, 10 MiB.
const largeBytes = 8 << 20

// receiveBytes is what the listeners of the suite buffer.
const receiveBytes = 64 << 10

// large is a mail that no socket buffers as a whole.
func large() string {
	line := strings.Repeat("QUJD", 18) + "\n"
	return "From: shop@example.com\nTo: a@example.org\nSubject: large\nMIME-Version: 1.0\n" +
		"Content-Type: application/pdf; name=large.pdf\nContent-Disposition: attachment; filename=large.pdf\n" +
		"Content-Transfer-Encoding: base64\n\n" + strings.Repeat(line, largeBytes/len(line))
}

// provider joins the adapter and a transport of its own, which ends with the test.
func (s Suite) provider(t *testing.T, baseURL string, timeout time.Duration) *httpapi.Provider {
	t.Helper()
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c := httpapi.DefaultConfig("provider")
	c.BaseURL, c.Timeout = baseURL, config.Duration(timeout)
	return httpapi.New(c, s.Adapter, transport)
}

// checkOutcome: exactly one result per recipient, in order, with an error
// unless accepted.
func checkOutcome(t *testing.T, outcome providers.Outcome, recipients []string) {
	t.Helper()
	var named []string
	for _, result := range outcome {
		named = append(named, result.Recipient)
		if (result.State == providers.Accepted) != (result.Err == nil) {
			t.Errorf("%s is %v with the error %v", result.Recipient, result.State, result.Err)
		}
		if result.Provider != "provider" {
			t.Errorf("%s was given to %q, want the configured name", result.Recipient, result.Provider)
		}
	}
	if !slices.Equal(named, recipients) {
		t.Errorf("the outcome names %q, want %q", named, recipients)
	}
}

// read opens a body and reads it to its end.
func read(t *testing.T, body providers.Body) []byte {
	t.Helper()
	r, err := body.Open()
	if err != nil {
		t.Fatalf("opening the body: %v", err)
	}
	content, err := io.ReadAll(r) //nolint:forbidigo // a test mail
	if err != nil {
		t.Fatalf("reading the body: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatalf("closing the body: %v", err)
	}
	return content
}

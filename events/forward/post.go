package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	// answerTime bounds one request, from connecting to the end of the answer.
	answerTime = 15 * time.Second
	// maxAnswer is how much of an answer's body is read, in octets, for the
	// connection to be used again; nothing in it is of interest.
	maxAnswer = 64 << 10
)

// refusal is why the application has not taken an event. It is stored with the
// job, so it names neither the URL nor what stands in the answer.
type refusal struct {
	reason string
	// after is when the application wants to be asked again; 0 where it does not say.
	after time.Duration
}

// Error is the reason.
func (r *refusal) Error() string { return r.reason }

// post sends one event, once. It gives nil where the application has taken it.
func (f *Forwarder) post(ctx context.Context, to *target, id string, body []byte) *refusal {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	req, err := to.request(ctx, id, body)
	if err != nil {
		return &refusal{reason: "the request cannot be made"}
	}
	resp, err := f.options.Transport.RoundTrip(req)
	if err != nil {
		return &refusal{reason: unanswered(err)}
	}
	defer resp.Body.Close() //nolint:errcheck // the status has said all
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		return &refusal{reason: fmt.Sprintf("HTTP %d: redirects are not followed", code)}
	default:
		return &refusal{fmt.Sprintf("HTTP %d %s", code, http.StatusText(code)), retryAfter(resp.Header, time.Now())}
	}
}

// request signs body after Standard Webhooks.
func (t *target) request(ctx context.Context, id string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	signature, err := t.signer.Sign(id, now, body)
	if err != nil {
		return nil, err
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "smtp-bridge")
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, timestamp)
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	req.Header.Set("X-Webhook-Source", "smtp-bridge")
	req.Header.Set("X-Webhook-Timestamp", timestamp)
	if t.user != nil {
		password, _ := t.user.Password()
		req.SetBasicAuth(t.user.Username(), password)
	}
	return req, nil
}

// unanswered says why there is no answer, in words that cannot hold a secret:
// a transport may repeat the URL in its own.
func unanswered(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return "looking up the host: " + dns.Err
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate: " + certificate.Err.Error()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && !op.Timeout() {
		return op.Op + ": " + op.Err.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer within " + answerTime.String()
	}
	return "no answer"
}

// retryAfter reads Retry-After, seconds or a date (RFC 9110, 10.2.3), up to the
// longest backoff.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, mostBackoff)
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, min(date.Sub(now), mostBackoff))
}

package sendgrid

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"smtpbridge/events"
)

// The headers of a signed call (manual, "Getting Started with the Event Webhook
// Security Features").
const (
	signatureHeader = "X-Twilio-Email-Event-Webhook-Signature"
	timestampHeader = "X-Twilio-Email-Event-Webhook-Timestamp"
)

const (
	// maxSignatureLen is that of two integers of P-256 in DER, 72 octets, as base64.
	maxSignatureLen = 96
	// maxTimestampLen is that of the largest integer of 64 bits.
	maxTimestampLen = 19
	// maxEvents of one call: SendGrid posts at 768 KB, which no more can fill.
	maxEvents = 20_000
)

// Webhook is the Event Webhook: the calls in which SendGrid tells what became of
// the mails of an account. It is an [events.Source].
type Webhook struct {
	keys       []*ecdsa.PublicKey
	configured bool // there is a key, though it may be one that verifies nothing
	unverified bool
}

// NewWebhook makes the source of one account. A key that cannot be read, which
// Validate reports, verifies nothing.
func NewWebhook(c Config) *Webhook {
	keys, _ := publicKeys(c.WebhookPublicKey)
	return &Webhook{keys: keys, configured: c.WebhookPublicKey != "", unverified: c.WebhookUnverified}
}

// Receive authenticates a call and reads its events. SendGrid sends again for 24
// hours, and whether it signs anew is not documented: no call is too old, and
// what was told before is known by the keys of its events.
func (w *Webhook) Receive(_ context.Context, h http.Header, body []byte) (events.Batch, error) {
	if err := w.authenticate(h, body); err != nil {
		return events.Batch{}, err
	}
	told, err := split(body)
	if err != nil {
		return events.Batch{}, err
	}
	batch := events.Batch{Events: make([]events.Event, len(told))}
	for i, raw := range told {
		batch.Events[i] = readEvent(raw)
	}
	return batch, nil
}

func (w *Webhook) authenticate(h http.Header, body []byte) error {
	signature, timestamp := h.Values(signatureHeader), h.Values(timestampHeader)
	switch {
	case !w.configured && w.unverified:
		return nil
	case !w.configured:
		return fmt.Errorf("%w: there is no webhook_public_key to check it with", events.ErrUnauthenticated)
	case len(w.keys) == 0:
		return fmt.Errorf("%w: webhook_public_key cannot be read, to check it with", events.ErrUnauthenticated)
	case len(signature) != 1 || len(timestamp) != 1:
		return fmt.Errorf("%w: the call needs %s and %s, each once", events.ErrUnauthenticated, signatureHeader, timestampHeader)
	case !isTimestamp(timestamp[0]):
		return fmt.Errorf("%w: %s is no time", events.ErrUnauthenticated, timestampHeader)
	case !w.verifies(signature[0], timestamp[0], body):
		return fmt.Errorf("%w: the signature is not of webhook_public_key", events.ErrUnauthenticated)
	}
	return nil
}

// isTimestamp: nothing stands between time and body in what is signed, so that a
// time of digits alone, before a body that begins with none, cannot take from it.
func isTimestamp(s string) bool {
	return s != "" && len(s) <= maxTimestampLen && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// verifies: the signature is of the octets as they came (manual, as above).
func (w *Webhook) verifies(signature, timestamp string, body []byte) bool {
	if len(signature) > maxSignatureLen {
		return false
	}
	der, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || base64.StdEncoding.EncodeToString(der) != signature { // one way to write it
		return false
	}
	hash := sha256.New()
	hash.Write([]byte(timestamp))
	hash.Write(body)
	digest := hash.Sum(nil)
	return slices.ContainsFunc(w.keys, func(key *ecdsa.PublicKey) bool { return ecdsa.VerifyASN1(key, digest, der) })
}

// split gives the entries of a call, which is an array. Any other JSON is one.
func split(body []byte) ([]json.RawMessage, error) {
	if !json.Valid(body) {
		return nil, fmt.Errorf("%w: the body is no JSON", events.ErrMalformed)
	}
	if body = bytes.TrimSpace(body); body[0] != '[' {
		return []json.RawMessage{bytes.Clone(body)}, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	_, err := decoder.Token()
	var told []json.RawMessage
	for err == nil && decoder.More() {
		var one json.RawMessage
		err = decoder.Decode(&one)
		if told = append(told, one); len(told) > maxEvents {
			return nil, fmt.Errorf("%w: the call has more than %d events", events.ErrMalformed, maxEvents)
		}
	}
	return told, err
}

// armour is a key in PEM; what is between its lines may have become blanks.
var armour = regexp.MustCompile(`-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]*)-----END PUBLIC KEY-----`)

// publicKeys reads keys that blanks separate, each in base64 or in PEM. The error
// tells what is wrong with the first that is none.
func publicKeys(text string) (keys []*ecdsa.PublicKey, err error) {
	bare := armour.ReplaceAllStringFunc(text, func(block string) string {
		return " " + strings.Join(strings.Fields(armour.FindStringSubmatch(block)[1]), "") + " "
	})
	words := strings.Fields(bare)
	for i, word := range words {
		key, bad := publicKey(word)
		switch {
		case bad == nil:
			keys = append(keys, key)
		case err == nil:
			err = fmt.Errorf("key %d of %d %w", i+1, len(words), bad)
		}
	}
	if len(words) == 0 {
		err = errors.New("holds no key")
	}
	return keys, err
}

// publicKey reads base64 of the DER of a SubjectPublicKeyInfo (RFC 5280, 4.1).
func publicKey(word string) (*ecdsa.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(word)
	if err != nil {
		return nil, errors.New("is no base64")
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("is no public key, or not all of it")
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("is of another kind than ECDSA with P-256")
	}
	return key, nil
}

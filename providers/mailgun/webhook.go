package mailgun

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"smtpbridge/events"
)

const (
	// maxAge of a call: Mailgun tries for 8 hours (manual, "Webhooks"), and whether
	// it signs anew is not documented.
	maxAge = 24 * time.Hour
	// maxAhead is how far its clock may be ahead of ours.
	maxAhead = 5 * time.Minute
	// maxTokenLen: a token has 50 characters (manual, "Securing Webhooks").
	maxTokenLen = 128
)

// Webhook is what Mailgun calls with each event of a domain or an account. It is
// an [events.Source].
type Webhook struct {
	key        []byte
	unverified bool
}

// NewWebhook makes the source of one account.
func NewWebhook(c Config) *Webhook {
	return &Webhook{key: []byte(c.WebhookSigningKey.Reveal()), unverified: c.WebhookUnverified}
}

// Receive authenticates a call and reads its event. The signature covers its time
// and its token alone: whoever saw a call could put other events beside them.
// Hence the token is the batch's nonce, and a call that Mailgun cannot still be
// trying to make is refused.
func (w *Webhook) Receive(_ context.Context, _ http.Header, body []byte) (events.Batch, error) {
	if len(w.key) == 0 && !w.unverified {
		return events.Batch{}, fmt.Errorf("%w: there is no webhook_signing_key to check it with", events.ErrUnauthenticated)
	}
	if !json.Valid(body) {
		return events.Batch{}, fmt.Errorf("%w: the body is no JSON", events.ErrMalformed)
	}
	signature, told := open(body)
	if len(w.key) == 0 {
		return events.Batch{Events: readEvents(told)}, nil
	}
	if signature == nil {
		return events.Batch{}, fmt.Errorf("%w: the body has no signature", events.ErrMalformed)
	}
	if err := w.verify(signature, time.Now()); err != nil {
		return events.Batch{}, err
	}
	return events.Batch{Events: readEvents(told), Nonce: string(signature.Token)}, nil
}

// open divides a call: its signature, nil where it has none, and its event, which
// is all the rest where it does not have the form of the manual.
func open(body []byte) (s *signature, told json.RawMessage) {
	var parts map[string]json.RawMessage
	if json.Unmarshal(body, &parts) != nil || parts == nil {
		return nil, bytes.Clone(bytes.TrimSpace(body))
	}
	if json.Unmarshal(parts["signature"], &s) != nil {
		s = nil
	}
	if told = parts["event-data"]; told != nil {
		return s, told
	}
	delete(parts, "signature") // not for the eyes of those who get the event
	told, err := json.Marshal(parts)
	if err != nil {
		return s, json.RawMessage("{}")
	}
	return s, told
}

// signature is of the time and the token, which follow each other without
// anything between them.
type signature struct {
	Timestamp scalar  `json:"timestamp"`
	Token     lenient `json:"token"`
	Signature lenient `json:"signature"`
	// Parent is made with the key of the account to which a subaccount belongs.
	Parent lenient `json:"parent-signature"`
}

// unixSeconds are those of the years 2001 to 2286. With a length of its own the time
// cannot give digits to the token, which would be another one, signed as well.
var unixSeconds = regexp.MustCompile(`^\d{10}$`)

func (w *Webhook) verify(s *signature, now time.Time) error {
	if !unixSeconds.MatchString(string(s.Timestamp)) || s.Token == "" || len(s.Token) > maxTokenLen {
		return fmt.Errorf("%w: the signature has no time or no token", events.ErrUnauthenticated)
	}
	mac := hmac.New(sha256.New, w.key)
	mac.Write([]byte(s.Timestamp))
	mac.Write([]byte(s.Token))
	want := []byte(hex.EncodeToString(mac.Sum(nil)))
	if !hmac.Equal(want, []byte(s.Signature)) && !hmac.Equal(want, []byte(s.Parent)) {
		return fmt.Errorf("%w: the signature is not of webhook_signing_key", events.ErrUnauthenticated)
	}
	signed, err := strconv.ParseInt(string(s.Timestamp), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: the signature has no time", events.ErrUnauthenticated)
	}
	switch age := now.Sub(time.Unix(signed, 0)); {
	case age > maxAge:
		return fmt.Errorf("%w: the signature is older than %v; is the clock right?", events.ErrUnauthenticated, maxAge)
	case age < -maxAhead:
		return fmt.Errorf("%w: the signature is of the future; is the clock right?", events.ErrUnauthenticated)
	}
	return nil
}

package mailgun

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
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
	c := open(body)
	if len(w.key) == 0 {
		return events.Batch{Events: readEvents(c.told(body))}, nil
	}
	signed, err := c.signature()
	if err != nil {
		return events.Batch{}, err
	}
	if err := w.verify(signed, time.Now()); err != nil {
		return events.Batch{}, err
	}
	return events.Batch{Events: readEvents(c.told(body)), Nonce: string(signed.Token)}, nil
}

// call is what stands in a call (manual, "Webhook Payloads").
type call struct {
	Signature json.RawMessage `json:"signature"`
	Event     json.RawMessage `json:"event-data"`
}

func open(body []byte) call {
	var c call
	json.Unmarshal(body, &c) //nolint:errcheck // what has another form is not there
	return c
}

func (c call) signature() (*signature, error) {
	var s *signature
	if json.Unmarshal(c.Signature, &s) != nil || s == nil {
		return nil, fmt.Errorf("%w: the body has no signature", events.ErrMalformed)
	}
	return s, nil
}

// maxOther is how long a call is that is taken apart, in octets, where it does not
// have the form of the manual.
const maxOther = 256 << 10

// told is the event of the call: all of it but the signature where it does not
// have the form of the manual. Those who get the event need not see that.
func (c call) told(body []byte) json.RawMessage {
	if c.Event != nil {
		return c.Event
	}
	var parts map[string]json.RawMessage
	switch {
	case len(body) > maxOther:
		return json.RawMessage("{}")
	case json.Unmarshal(body, &parts) != nil || parts == nil:
		return bytes.TrimSpace(body)
	}
	maps.DeleteFunc(parts, func(name string, _ json.RawMessage) bool { return strings.EqualFold(name, "signature") })
	rest, err := json.Marshal(parts)
	if err != nil {
		return json.RawMessage("{}")
	}
	return rest
}

// signature is of the time and the token, which follow each other without
// anything between them.
type signature struct {
	Timestamp events.Text `json:"timestamp"`
	Token     lenient     `json:"token"`
	Signature lenient     `json:"signature"`
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

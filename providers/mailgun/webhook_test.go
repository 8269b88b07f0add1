package mailgun_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/providers/mailgun"
	"smtpbridge/providers/providertest"
)

// A vector made with two tools.
const (
	signingKey      = "test-signing-key-0123456789abcdef"
	parentKey       = "parent-signing-key-fedcba9876543210"
	signedAt        = "1767323045"
	token           = "0123456789abcdef0123456789abcdef0123456789abcdef01"
	signature       = "9a73696703b40979d51e172a9b6f3a18f71dec64143718116c415dd1441d3f9e"
	parentSignature = "009fe5d9efb4a5a1d36892e0e0c263f5da5b3aff3a6af645865ca43f48265665"
	signedBlock     = `{"timestamp":"` + signedAt + `","token":"` + token + `","signature":"` + signature + `"}`
	signedEvent     = `{"event":"delivered","id":"evD","timestamp":1767323045.5,"recipient":"ann@x.test"}`
	signedBody      = `{"signature":` + signedBlock + `,"event-data":` + signedEvent + `}`
)

// signed is the time of the vector.
var signed = time.Unix(1767323045, 0)

func newWebhook(key string, unverified bool) *mailgun.Webhook {
	c := newConfig()
	c.WebhookSigningKey, c.WebhookUnverified = config.NewSecret(key), unverified
	return mailgun.NewWebhook(c)
}

// arrive waits in a bubble, whose clock starts in 2000.
func arrive(at time.Time) { <-time.After(time.Until(at)) }

func sign(key, timestamp, token string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(timestamp + token))
	return hex.EncodeToString(mac.Sum(nil))
}

// call is a body with this block of a signature.
func call(timestamp, token, signature string) string {
	return fmt.Sprintf(`{"signature":{"timestamp":%q,"token":%q,"signature":%q},"event-data":%s}`, timestamp, token, signature, signedEvent)
}

func TestWebhookGolden(t *testing.T) { providertest.GoldenEvents(t, newWebhook("", true)) }

func TestWebhook(t *testing.T) {
	withParent := func(own, parent string) string {
		return fmt.Sprintf(`{"signature":{"timestamp":%q,"token":%q,"signature":%q,"parent-signature":%q},"event-data":%s}`,
			signedAt, token, own, parent, signedEvent)
	}
	var calls []providertest.Call
	for _, c := range []struct {
		name, key, body string
		want            error
	}{
		{"the vector", signingKey, signedBody, nil},
		{"the parent's key", parentKey, withParent(signature, parentSignature), nil},
		{"own key beside a parent's", signingKey, withParent(signature, parentSignature), nil},
		{"time as a number", signingKey, strings.Replace(signedBody, `"`+signedAt+`"`, signedAt, 1), nil},
		{"event that is no object", signingKey, `{"signature":` + signedBlock + `,"event-data":7}`, nil},
		{"no event", signingKey, `{"signature":` + signedBlock + `}`, nil},

		{"wrong key", "other-" + signingKey, signedBody, events.ErrUnauthenticated},
		{"neither key", signingKey, withParent(parentSignature, parentSignature), events.ErrUnauthenticated},
		{"another time", signingKey, call("1767323046", token, signature), events.ErrUnauthenticated},
		{"another token", signingKey, call(signedAt, token[:49]+"2", signature), events.ErrUnauthenticated},
		{"another signature", signingKey, call(signedAt, token, "8"+signature[1:]), events.ErrUnauthenticated},
		{"upper case", signingKey, call(signedAt, token, strings.ToUpper(signature)), events.ErrUnauthenticated},
		{"signature cut short", signingKey, call(signedAt, token, signature[:63]), events.ErrUnauthenticated},
		{"long signature", signingKey, call(signedAt, token, strings.Repeat(signature, 10_000)), events.ErrUnauthenticated},
		{"empty signature", signingKey, call(signedAt, token, ""), events.ErrUnauthenticated},
		{"empty time", signingKey, call("", token, sign(signingKey, "", token)), events.ErrUnauthenticated},
		{"empty token", signingKey, call(signedAt, "", sign(signingKey, signedAt, "")), events.ErrUnauthenticated},
		{"long token", signingKey, call(signedAt, strings.Repeat("a", 1<<20), signature), events.ErrUnauthenticated},
		{"nothing in it", signingKey, `{"signature":{},"event-data":` + signedEvent + `}`, events.ErrUnauthenticated},
		{"fields of other kinds", signingKey, `{"signature":{"timestamp":[],"token":7,"signature":{}},"event-data":{}}`, events.ErrUnauthenticated},
		// Nothing separates time and token in what is signed: a token that takes a
		// digit of the time, or gives one, would be one that was never seen.
		{"token with a digit of the time", signingKey, call(signedAt[:9], signedAt[9:]+token, signature), events.ErrUnauthenticated},
		{"time with a digit of the token", signingKey, call(signedAt+token[:1], token[1:], signature), events.ErrUnauthenticated},

		{"no signature", signingKey, `{"event-data":` + signedEvent + `}`, events.ErrMalformed},
		{"signature null", signingKey, `{"signature":null,"event-data":` + signedEvent + `}`, events.ErrMalformed},
		{"signature that is no object", signingKey, `{"signature":"x","event-data":` + signedEvent + `}`, events.ErrMalformed},
		{"no object", signingKey, `[` + signedBody + `]`, events.ErrMalformed},
		{"cut short", signingKey, signedBody[:len(signedBody)-2], events.ErrMalformed},
		{"empty", signingKey, "", events.ErrMalformed},
		{"form", signingKey, "event=delivered&timestamp=1767323045&token=" + token + "&signature=" + signature, events.ErrMalformed},
		{"deep", signingKey, `{"signature":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}`, events.ErrMalformed},
	} {
		// A key that is there is asked, whatever webhook_unverified says.
		for name, unverified := range map[string]bool{c.name: false, c.name + ", unverified": true} {
			calls = append(calls, providertest.Call{
				Name: name, Source: newWebhook(c.key, unverified), Body: c.body, At: signed, Want: c.want,
			})
		}
	}
	const opened = `{"event-data":{"event":"opened",`
	many := variables(500_000)
	providertest.Webhook(t, providertest.Source{
		Open: newWebhook("", true), Calls: calls, Secret: signingKey,
		Nest: func(nested string) string { return opened + `"storage":` + nested + `}}` },
		Largest: []string{
			opened + `"x":"` + strings.Repeat("x", 9<<20) + `"}}`,
			opened + `"tags":["t"` + strings.Repeat(`,"t"`, 2<<20) + `]}}`,
			opened + `"user-variables":{"a":"b"` + many + `}}}`,
			`{"event":"opened"` + many + `}`,
			`{"event-data":{"event":"rejected","x":"` + strings.Repeat("x", 9<<20) + `","message":{"headers":{"to":"` + numbered("%d@x.test,", 4000) + "b@x.test" + `"}}}}`,
		},
	})
}

// The token is the nonce of its call.
func TestWebhookNonce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arrive(signed)
		batch, err := newWebhook(signingKey, false).Receive(t.Context(), nil, []byte(signedBody))
		if err != nil || batch.Nonce != token {
			t.Errorf("the nonce is %q, want the token: %v", batch.Nonce, err)
		}
	})
}

// Mailgun tries for 8 hours, maybe with the signature of the first time.
func TestWebhookAge(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		taken bool
	}{
		{-5*time.Minute - time.Second, false},
		{-5 * time.Minute, true},
		{8 * time.Hour, true},
		{24 * time.Hour, true},
		{24*time.Hour + time.Second, false},
		{10 * 365 * 24 * time.Hour, false},
	} {
		t.Run(c.after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				arrive(signed.Add(c.after))
				_, err := newWebhook(signingKey, false).Receive(t.Context(), nil, []byte(signedBody))
				if c.taken != (err == nil) || !c.taken && !errors.Is(err, events.ErrUnauthenticated) {
					t.Errorf("the error is %v, want taken %v", err, c.taken)
				}
			})
		})
	}
}

func TestWebhookWithoutKey(t *testing.T) {
	_, err := newWebhook("", false).Receive(t.Context(), nil, []byte(signedBody))
	if !errors.Is(err, events.ErrUnauthenticated) || !strings.Contains(err.Error(), "webhook_signing_key") {
		t.Errorf("the error is %v, want it to name the key to set", err)
	}
	// What nobody has signed cannot use up a token.
	batch, err := newWebhook("", true).Receive(t.Context(), nil, []byte(signedBody))
	if err != nil || len(batch.Events) != 1 || batch.Nonce != "" {
		t.Errorf("unverified: %+v, %v; want one event and no nonce", batch, err)
	}
}

// A call may be repeated: its token is the same then, and its event.
func TestWebhookAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arrive(signed)
		w := newWebhook(signingKey, false)
		first, err := w.Receive(t.Context(), nil, []byte(signedBody))
		if err != nil {
			t.Fatal(err)
		}
		second, err := w.Receive(t.Context(), nil, []byte(strings.Replace(signedBody, "evD", "forged", 1)))
		if err != nil {
			t.Fatal(err)
		}
		other := strings.Repeat("f", 50)
		again, err := w.Receive(t.Context(), nil, []byte(call(signedAt, other, sign(signingKey, signedAt, other))))
		if err != nil {
			t.Fatal(err)
		}
		if first.Nonce != token || second.Nonce != token || again.Nonce != other {
			t.Errorf("the nonces are %q, %q, %q; want those of the calls", first.Nonce, second.Nonce, again.Nonce)
		}
		if first.Events[0].Key != again.Events[0].Key || first.Events[0].Key == second.Events[0].Key {
			t.Errorf("the keys are %q, %q, %q; want one for each event", first.Events[0].Key, second.Events[0].Key, again.Events[0].Key)
		}
	})
}

// tester is a test, or one of a property.
type tester interface {
	Helper()
	Context() context.Context
	Fatalf(format string, args ...any)
}

// receive gives the events of an event-data.
func receive(t tester, data string) []events.Event {
	t.Helper()
	batch, err := newWebhook("", true).Receive(t.Context(), nil, []byte(`{"event-data":`+data+`}`))
	if err != nil || len(batch.Events) == 0 {
		t.Fatalf("%s: %d events, %v", data, len(batch.Events), err)
	}
	return batch.Events
}

// An id is unique within a day: an event is its id and its day.
func TestWebhookKeys(t *testing.T) {
	ids := rapid.StringMatching(`[a\x00", \[]{1,3}`)
	times := rapid.Int64Range(1767312000-86_400, 1767312000+2*86_400-1) // three days
	rapid.Check(t, func(t *rapid.T) {
		id, when := ids.Draw(t, "id"), times.Draw(t, "time")
		otherID := rapid.OneOf(rapid.Just(id), ids).Draw(t, "other id")
		otherWhen := rapid.OneOf(rapid.Just(when), times).Draw(t, "other time")
		key := func(id string, when int64, rest string) string {
			quoted, err := json.Marshal(id)
			if err != nil {
				t.Fatal(err)
			}
			return receive(t, fmt.Sprintf(`{"id":%s,"timestamp":%d,"event":"opened","recipient":"a@x.test",%s}`, quoted, when, rest))[0].Key
		}
		first, again, second := key(id, when, `"ip":""`), key(id, when, `"ip":null`), key(otherID, otherWhen, `"ip":""`)
		if first != again {
			t.Errorf("%q at %d has the keys %s and %s", id, when, first, again)
		}
		same := id == otherID && when/86_400 == otherWhen/86_400
		if same != (first == second) {
			t.Errorf("%q at %d and %q at %d have the keys %s and %s", id, when, otherID, otherWhen, first, second)
		}
	})
}

// Without id or time the octets tell events apart, and of one call those of each
// recipient and tag have keys of their own.
func TestWebhookKeysOfParts(t *testing.T) {
	seen := make(map[string]string)
	for _, data := range []string{
		`{"event":"opened","id":"a"}`, `{"event":"opened","id":"a","x":1}`, `{"event":"opened","timestamp":1767323045}`,
		`{"event":"opened","timestamp":1767323045,"x":1}`, `7`, `"7"`, `null`, `{}`,
		`{"event":"rejected","id":"b","timestamp":1767323045,"message":{"headers":{"to":"a@x.test, b@x.test"}}}`,
		`{"event":"rejected","message":{"headers":{"to":"a@x.test, b@x.test"}}}`,
		`{"event":"unsubscribed","id":"c","timestamp":1767323045,"recipient":"a@x.test","tags":["a","b"]}`,
		`{"event":"unsubscribed","recipient":"a@x.test","tags":["a","b"]}`,
	} {
		for i, e := range receive(t, data) {
			if before, known := seen[e.Key]; known {
				t.Errorf("event %d of %s has the key of %s", i, data, before)
			}
			seen[e.Key] = data
		}
	}
	if len(seen) != 16 {
		t.Errorf("there are %d keys, want 16", len(seen))
	}
}

// What has no bounds in a call has some in its event.
func TestWebhookBounds(t *testing.T) {
	e := receive(t, `{"event":"delivered","tags":["t`+strings.Repeat(`","t`, 100_000)+`"],"user-variables":{"a":"b"`+variables(100_000)+`}}`)[0]
	size := 0
	for name, value := range e.Metadata {
		size += len(name) + len(value)
	}
	if len(e.Tags) > 100 || size > 16<<10 {
		t.Errorf("there are %d tags and %d octets of metadata", len(e.Tags), size)
	}
	if many := receive(t, `{"event":"rejected","message":{"headers":{"to":"`+strings.Repeat("a@x.test,", 100_000)+`b@x.test"}}}`); len(many) != 1 {
		t.Errorf("a To without end gives %d events", len(many))
	}
}

func variables(n int) string {
	var list strings.Builder
	for i := range n {
		list.WriteString(`,"k` + strconv.Itoa(i) + `":"v"`)
	}
	return list.String()
}

// The id that is kept of a send is the one that events bring.
func TestWebhookProviderMessageID(t *testing.T) {
	sent := newAdapter().Results(one, said(200, "Queued. Thank you."))
	if sent[0].ProviderID != "" {
		t.Fatalf("an answer without id has %q", sent[0].ProviderID)
	}
	answer := said(200, "")
	answer.Body = []byte(`{"id":"<20260102030405.0123@mg.example.com>","message":"Queued. Thank you."}`)
	sent = newAdapter().Results(one, answer)
	told := receive(t, `{"event":"accepted","message":{"headers":{"message-id":"20260102030405.0123@mg.example.com"}}}`)
	if sent[0].ProviderID != told[0].ProviderMessageID || sent[0].ProviderID == "" {
		t.Errorf("the ids are %q and %q, want one", sent[0].ProviderID, told[0].ProviderMessageID)
	}
}

func FuzzWebhook(f *testing.F) {
	providertest.FuzzWebhook(f, newWebhook("", true), "{\"event-data\":{\"event\":\"failed\",\"recipient\":\"\xff\",\"user-variables\":\"{\\\"a\\\":\\\"\xc3\"}}")
}

// FuzzSignature: no octet of what is signed, nor of the signature, can change.
func FuzzSignature(f *testing.F) {
	for _, place := range []uint16{0, 9, 10, 59, 60, 100, 123} {
		f.Add(place, byte(1))
		f.Add(place, byte(0x20))
	}
	f.Fuzz(func(t *testing.T, place uint16, change byte) {
		if change == 0 {
			return
		}
		block := []byte(signedAt + token + signature)
		block[int(place)%len(block)] ^= change
		body, err := json.Marshal(map[string]any{
			"signature": map[string]string{
				"timestamp": string(block[:len(signedAt)]), "token": string(block[len(signedAt) : len(signedAt)+len(token)]),
				"signature": string(block[len(signedAt)+len(token):]),
			},
			"event-data": json.RawMessage(signedEvent),
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			arrive(signed)
			batch, err := newWebhook(signingKey, true).Receive(t.Context(), nil, body)
			if !errors.Is(err, events.ErrUnauthenticated) || len(batch.Events) > 0 {
				t.Errorf("%s is taken: %v", body, err)
			}
		})
	})
}

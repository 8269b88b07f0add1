package sendgrid_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/sendgrid"
)

// A vector made with crypto/ecdsa, for the key below.
const (
	publicKey       = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEtE5QJgHIoMcqOrqU3GehPonbv93REjPCNz18JG0rVusEWMm1j2stFV93J60Q1IJgrhXnBa9BRmKSgqO3xZoANg=="
	signedAt        = "1767323045"
	signedSignature = "MEUCIQCDeDXTfi+hfH7RFIiFNv08WvR4jX5+doOyR0wI9ZhSUAIgV9s+K7YISXkTP01xawNzuHppg2p0wqvZHq2sutqtSLE="
	signedBody      = `[{"email":"a@example.com","timestamp":1767323044,"event":"delivered","sg_event_id":"ZXZ0LTE","sg_message_id":"abc.filter0001.1.2.0","bridge_id":"01JGABCDEF"}]` + "\r\n"
)

const (
	signatureHeader = "X-Twilio-Email-Event-Webhook-Signature"
	timestampHeader = "X-Twilio-Email-Event-Webhook-Timestamp"
)

func newWebhook(publicKey string, unverified bool) *sendgrid.Webhook {
	c := sendgrid.DefaultConfig()
	c.WebhookPublicKey, c.WebhookUnverified = publicKey, unverified
	return sendgrid.NewWebhook(c)
}

func signed(signature, timestamp string) http.Header {
	h := http.Header{}
	h.Set(signatureHeader, signature)
	h.Set(timestampHeader, timestamp)
	return h
}

// changed is the vector with other headers.
func changed(change func(h http.Header)) http.Header {
	h := signed(signedSignature, signedAt)
	change(h)
	return h
}

func newKey(t *testing.T, curve elliptic.Curve) (private *ecdsa.PrivateKey, public string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return private, base64.StdEncoding.EncodeToString(der)
}

func sign(t *testing.T, key *ecdsa.PrivateKey, timestamp, body string) string {
	t.Helper()
	digest := sha256.Sum256([]byte(timestamp + body))
	der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// armoured is a key in PEM.
func armoured(t *testing.T, public string) string {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestWebhookGolden(t *testing.T) { providertest.GoldenEvents(t, newWebhook("", true)) }

func TestWebhook(t *testing.T) {
	_, other := newKey(t, elliptic.P256())
	good := signed(signedSignature, signedAt)
	inPEM := armoured(t, publicKey)
	var calls []providertest.Call
	for _, c := range []struct {
		name, keys string
		header     http.Header
		body       string
		want       error
	}{
		{"the vector", publicKey, good, signedBody, nil},
		{"key in PEM", inPEM, good, signedBody, nil},
		{"key in PEM on one line", strings.ReplaceAll(inPEM, "\n", " "), good, signedBody, nil},
		{"key in PEM with CR LF", strings.ReplaceAll(inPEM, "\n", "\r\n"), good, signedBody, nil},
		{"second key", other + " " + publicKey, good, signedBody, nil},
		{"second key, on a line of its own", other + "\n" + publicKey + "\n", good, signedBody, nil},
		{"second key in PEM", armoured(t, other) + inPEM, good, signedBody, nil},
		{"key in base64 behind one in PEM", armoured(t, other) + publicKey, good, signedBody, nil},
		{"key behind one that is none", "MFkw " + publicKey, good, signedBody, nil},

		{"wrong key", other, good, signedBody, events.ErrUnauthenticated},
		{"no key that can be read", "MFkw", good, signedBody, events.ErrUnauthenticated},
		{"blank key", " ", good, signedBody, events.ErrUnauthenticated},
		{"body without its last line break", publicKey, good, strings.TrimSuffix(signedBody, "\r\n"), events.ErrUnauthenticated},
		{"body cut short", publicKey, good, signedBody[:80], events.ErrUnauthenticated},
		{"no body", publicKey, good, "", events.ErrUnauthenticated},
		{"another body", publicKey, good, strings.Replace(signedBody, "a@", "b@", 1), events.ErrUnauthenticated},
		{"another time", publicKey, signed(signedSignature, "1767323046"), signedBody, events.ErrUnauthenticated},
		{"no headers", publicKey, http.Header{}, signedBody, events.ErrUnauthenticated},
		{"no signature", publicKey, changed(func(h http.Header) { h.Del(signatureHeader) }), signedBody, events.ErrUnauthenticated},
		{"no time", publicKey, changed(func(h http.Header) { h.Del(timestampHeader) }), signedBody, events.ErrUnauthenticated},
		{"empty signature", publicKey, signed("", signedAt), signedBody, events.ErrUnauthenticated},
		{"empty time", publicKey, signed(signedSignature, ""), signedBody, events.ErrUnauthenticated},
		{"signature twice", publicKey, changed(func(h http.Header) { h.Add(signatureHeader, signedSignature) }), signedBody, events.ErrUnauthenticated},
		{"time twice", publicKey, changed(func(h http.Header) { h.Add(timestampHeader, signedAt) }), signedBody, events.ErrUnauthenticated},
		{"long signature", publicKey, signed(strings.Repeat(signedSignature, 1000), signedAt), signedBody, events.ErrUnauthenticated},
		{"long time", publicKey, signed(signedSignature, strings.Repeat("1", 1<<20)), signedBody, events.ErrUnauthenticated},
		{"signature in other base64", publicKey, signed(strings.ReplaceAll(signedSignature, "+", "-"), signedAt), signedBody, events.ErrUnauthenticated},
		{"signature without padding", publicKey, signed(strings.TrimRight(signedSignature, "="), signedAt), signedBody, events.ErrUnauthenticated},
		{"signature with spare bits", publicKey, signed(strings.Replace(signedSignature, "SLE=", "SLF=", 1), signedAt), signedBody, events.ErrUnauthenticated},
		{"signature of two lines", publicKey, signed(signedSignature[:40]+"\n"+signedSignature[40:], signedAt), signedBody, events.ErrUnauthenticated},
		{"signature of no integers", publicKey, signed("AAAA", signedAt), signedBody, events.ErrUnauthenticated},
		// Nothing separates time and body in what is signed.
		{"time that is part of the body", publicKey, signed(signedSignature, signedAt+signedBody[:40]), signedBody[40:], events.ErrUnauthenticated},
		{"body that is part of the time", publicKey, signed(signedSignature, signedAt[:5]), signedAt[5:] + signedBody, events.ErrMalformed},
	} {
		// A key that is there is asked, whatever webhook_unverified says.
		for name, unverified := range map[string]bool{c.name: false, c.name + ", unverified": true} {
			calls = append(calls, providertest.Call{
				Name: name, Source: newWebhook(c.keys, unverified), Header: c.header, Body: c.body, Want: c.want,
			})
		}
	}
	args := strings.Repeat(`"k1234567":"v",`, 10_000)
	providertest.Webhook(t, providertest.Source{
		Open: newWebhook("", true), Calls: calls,
		Nest: func(nested string) string { return `[{"event":"open","x":` + nested + `}]` },
		Largest: []string{
			`[{"event":"open"}` + strings.Repeat(`,{"event":"bounce","email":"a@example.org","reason":"550 no","x":"`+strings.Repeat("x", 400)+`"}`, 19_000) + "]",
			`[{"event":"open"}` + strings.Repeat(`,{`+args+`"event":"open"}`, 60) + "]",
			`[{` + strings.Repeat(args, 60) + `"event":"open"}]`,
			`[{"event":"open","url":"` + strings.Repeat("x", 9<<20) + `"}]`,
			`[{"event":"open","category":["a"` + strings.Repeat(`,"a"`, 2<<20) + `]}]`,
		},
	})
}

func TestWebhookWithoutKey(t *testing.T) {
	_, err := newWebhook("", false).Receive(t.Context(), signed(signedSignature, signedAt), []byte(signedBody))
	if !errors.Is(err, events.ErrUnauthenticated) || !strings.Contains(err.Error(), "webhook_public_key") {
		t.Errorf("the error is %v, want it to name the key to set", err)
	}
	batch, err := newWebhook("", true).Receive(t.Context(), http.Header{}, []byte(signedBody))
	if err != nil || len(batch.Events) != 1 {
		t.Errorf("unverified: %d events, %v; want 1", len(batch.Events), err)
	}
}

// Whether SendGrid signs anew when it tries again is not known: a call is as good
// a day later, and its events are the same.
func TestWebhookAgain(t *testing.T) {
	w := newWebhook(publicKey, false)
	first, err := w.Receive(t.Context(), signed(signedSignature, signedAt), []byte(signedBody))
	if err != nil {
		t.Fatal(err)
	}
	private, public := newKey(t, elliptic.P256())
	const later = "1767409445"
	again, err := newWebhook(public, false).Receive(t.Context(), signed(sign(t, private, later, signedBody), later), []byte(signedBody))
	if err != nil {
		t.Fatal(err)
	}
	if first.Events[0].Key != again.Events[0].Key || first.Nonce != "" {
		t.Errorf("the keys are %q and %q, want one; the nonce is %q, want none", first.Events[0].Key, again.Events[0].Key, first.Nonce)
	}
}

func TestWebhookMalformed(t *testing.T) {
	w := newWebhook("", true)
	for name, body := range map[string]string{
		"empty":        "",
		"blank":        " \r\n",
		"form":         "event=bounce&email=a",
		"broken off":   `[{"event":"open"},`,
		"two values":   `[] []`,
		"deep":         strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20),
		"deep inside":  `[{"event":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}]`,
		"more than is": "[0" + strings.Repeat(",0", 1<<20) + "]",
	} {
		batch, err := w.Receive(t.Context(), http.Header{}, []byte(body))
		if !errors.Is(err, events.ErrMalformed) || len(batch.Events) > 0 {
			t.Errorf("%s: %d events, %v; want it malformed", name, len(batch.Events), err)
		}
	}
}

// texts are such as could be confused where they are joined.
var texts = rapid.StringMatching(`[a\x00", \[]{0,3}`)

// entry is an event with some of the fields that tell it from others.
func entry(t *rapid.T) map[string]string {
	fields := make(map[string]string)
	for _, name := range identity {
		if rapid.Bool().Draw(t, "has "+name) {
			fields[name] = texts.Draw(t, name)
		}
	}
	fields["event"] = rapid.SampledFrom(kinds).Draw(t, "event")
	return fields
}

// like is an event that differs from another in two fields at most.
func like(t *rapid.T, one map[string]string) map[string]string {
	other := maps.Clone(one)
	for _, name := range rapid.SliceOfN(rapid.SampledFrom(identity), 0, 2).Draw(t, "changes") {
		other[name] = texts.Draw(t, "other "+name)
	}
	if !slices.Contains(kinds, other["event"]) {
		other["event"] = rapid.SampledFrom(kinds).Draw(t, "other event")
	}
	return other
}

var kinds = []string{"processed", "deferred", "delivered", "bounce", "dropped", "open", "click", "group_unsubscribe"}

// identity are the fields in which two events differ.
var identity = []string{"sg_message_id", "email", "event", "timestamp", "attempt", "url", "asm_group_id", "ip", "useragent", "reason", "type"}

// keyOf writes the fields in some order, beside what does not matter.
func keyOf(t *rapid.T, fields map[string]string, id string) string {
	names := slices.Sorted(maps.Keys(fields))
	names = rapid.Permutation(names).Draw(t, "order")
	parts := []string{`"sg_event_id":` + quote(id), `"pool":{"id":1}`}
	for _, name := range names {
		parts = append(parts, quote(name)+": "+quote(fields[name]))
	}
	batch, err := newWebhook("", true).Receive(t.Context(), nil, []byte("[{"+strings.Join(parts, ",")+"}]"))
	if err != nil || len(batch.Events) != 1 {
		t.Fatalf("%d events, %v", len(batch.Events), err)
	}
	return batch.Events[0].Key
}

func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// SendGrid may tell an event again under another id: the key stays. Two events
// that differ have two.
func TestWebhookKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one := entry(t)
		other := like(t, one)
		first, again, second := keyOf(t, one, "a"), keyOf(t, one, "b"), keyOf(t, other, "a")
		if first != again {
			t.Errorf("%v is told twice, with the keys %s and %s", one, first, again)
		}
		// A field that is empty says as much as one that is not there.
		same := !slices.ContainsFunc(identity, func(name string) bool { return one[name] != other[name] })
		if same != (first == second) {
			t.Errorf("%v and %v have the keys %s and %s", one, other, first, second)
		}
	})
}

// A key is made of all of a field, though the event keeps a part of it.
func TestWebhookKeysOfLongFields(t *testing.T) {
	long := strings.Repeat("x", 5000)
	keys := make(map[string]bool)
	for _, url := range []string{long, long + "1", long + "2"} {
		batch, err := newWebhook("", true).Receive(t.Context(), nil, []byte(`{"event":"click","url":"`+url+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		keys[batch.Events[0].Key] = true
	}
	if len(keys) != 3 {
		t.Errorf("three clicks have %d keys", len(keys))
	}
}

// The id is the one that the answer to the request gave.
func TestWebhookProviderMessageID(t *testing.T) {
	for told, want := range map[string]string{
		"XmSgId22chars_________.recvd-5f9ffdf494-9kc6l-1-673C6EB0-B.0": "XmSgId22chars_________",
		"XmSgId22chars_________.filterdrecv-p3las1-1-5C6B-1.0":         "XmSgId22chars_________",
		"abcdefabcdefabcdefabcd.recvd-1-2-3.0":                         "abcdefabcdefabcdefabcd",
		"abcdefabcdefabcdefabcd.filter0001.1.2.0":                      "abcdefabcdefabcdefabcd",
		"14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0":          "14c5d75ce93.dfd.64b469",
		"14c5d75ce93.dfd.64b469":                                       "14c5d75ce93.dfd.64b469",
		"XmSgId22chars_________":                                       "XmSgId22chars_________",
		"":                                                             "",
		".x":                                                           "",
	} {
		batch, err := newWebhook("", true).Receive(t.Context(), nil, []byte(`[{"event":"open","sg_message_id":"`+told+`"}]`))
		if err != nil || batch.Events[0].ProviderMessageID != want {
			t.Errorf("%q: %q, %v; want %q", told, batch.Events[0].ProviderMessageID, err, want)
		}
	}
}

// A category has 255 characters, of several octets perhaps, and comes back whole.
func TestWebhookGivesBackTags(t *testing.T) {
	tag := strings.Repeat("ü", 255)
	batch, err := newWebhook("", true).Receive(t.Context(), nil, []byte(`[{"event":"open","category":["`+tag+`"]}]`))
	if err != nil || !slices.Equal(batch.Events[0].Tags, []string{tag}) {
		t.Errorf("the tags are %q: %v", batch.Events[0].Tags, err)
	}
}

func TestConfigValidateWebhookKey(t *testing.T) {
	_, other := newKey(t, elliptic.P256())
	_, larger := newKey(t, elliptic.P384())
	for _, c := range []struct{ name, keys, want string }{
		{"none", "", ""},
		{"one", publicKey, ""},
		{"two", " " + publicKey + "\n\t" + other + " ", ""},
		{"PEM", armoured(t, publicKey), ""},
		{"PEM and base64", armoured(t, publicKey) + other, ""},
		{"blank", " ", "no key"},
		{"no base64", publicKey + " SG.x", "key 2 of 2"},
		{"cut short", publicKey[:80], "not all of it"},
		{"another curve", larger, "P-256"},
		{"private key", "-----BEGIN PRIVATE KEY-----\n" + publicKey + "\n-----END PRIVATE KEY-----", "key 1 of"},
	} {
		settings := sendgrid.DefaultConfig()
		settings.APIKey, settings.WebhookPublicKey = config.NewSecret(key), c.keys
		var problems []string
		settings.Validate(func(name, problem string) { problems = append(problems, name+" "+problem) })
		switch {
		case c.want == "" && len(problems) > 0:
			t.Errorf("%s: the problems are %q", c.name, problems)
		case c.want != "" && (len(problems) != 1 || !strings.HasPrefix(problems[0], "webhook_public_key ") || !strings.Contains(problems[0], c.want)):
			t.Errorf("%s: the problems are %q, want %q", c.name, problems, c.want)
		}
	}
}

func FuzzWebhook(f *testing.F) {
	providertest.FuzzWebhook(f, newWebhook("", true), "[{\"event\":\"bounce\",\"email\":\"\xff\",\"x\xfe\":\"\xc3\"}]")
}

// FuzzSignature: no octet of a signed call can change.
func FuzzSignature(f *testing.F) {
	for _, at := range []uint16{0, 9, 10, 50, 105, 106, 107, 200, 255} {
		f.Add(at, byte(1))
		f.Add(at, byte(0x20))
	}
	w := newWebhook(publicKey, true)
	f.Fuzz(func(t *testing.T, at uint16, change byte) {
		if change == 0 {
			return
		}
		call := []byte(signedAt + signedSignature + signedBody)
		call[int(at)%len(call)] ^= change
		signature, body := len(signedAt), len(signedAt)+len(signedSignature)
		batch, err := w.Receive(t.Context(), signed(string(call[signature:body]), string(call[:signature])), call[body:])
		if !errors.Is(err, events.ErrUnauthenticated) || len(batch.Events) > 0 {
			t.Errorf("%q is taken: %v", call, err)
		}
	})
}

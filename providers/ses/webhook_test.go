package ses_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers/ses"
	"smtpbridge/providers/ses/sestest"
)

const (
	topic  = "arn:aws:sns:eu-west-1:111122223333:bridge"
	sentAt = "2026-01-02T03:04:05.678Z"
	opened = `{"eventType":"Open","mail":{"messageId":"m1","destination":["ann@x.test"]},"open":{"timestamp":"2026-01-02T04:00:00.000Z"}}`
)

// theSNS has the one key of all tests.
var theSNS = sync.OnceValue(sestest.NewSNS)

func newSNS(answer func(*http.Request) *sestest.Said) *sestest.SNS { return theSNS().Anew(answer) }

// newWebhook takes the calls of one topic, at the time of the test vectors.
func newWebhook(transport http.RoundTripper, topics ...string) *ses.Webhook {
	c := newConfig()
	c.SNSTopicARNs = topics
	return at(ses.NewWebhook(c, transport), 1)
}

// at is so many minutes after the vectors were sent.
func at(w *ses.Webhook, minutes int) *ses.Webhook {
	w.SetNow(func() time.Time { return signedAt.Add(time.Duration(minutes) * time.Minute) })
	return w
}

func notice(message string) sestest.Notice {
	return sestest.Notice{
		Type: "Notification", MessageID: "00000000-0000-4000-8000-000000000009", TopicARN: topic, Message: message, Timestamp: sentAt,
		UnsubscribeURL: "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
	}
}

func subscription(kind string) sestest.Notice {
	return sestest.Notice{
		Type: kind, MessageID: "00000000-0000-4000-8000-000000000008", Token: "secret-token", TopicARN: topic,
		Message: "You have chosen to subscribe.\nVisit the SubscribeURL.", Timestamp: sentAt,
		SubscribeURL: sestest.SubscribeURL(topic, "secret-token"),
	}
}

func header(kind string) http.Header {
	return http.Header{"X-Amz-Sns-Message-Type": {kind}, "Content-Type": {"text/plain; charset=UTF-8"}}
}

// verdict is how a call ended, in a word.
func verdict(err error) string {
	switch {
	case err == nil:
		return "taken"
	case errors.Is(err, events.ErrUnauthenticated):
		return "unauthenticated"
	case errors.Is(err, events.ErrMalformed):
		return "malformed"
	}
	return "ours"
}

// The vectors were computed with OpenSSL and Go.
func TestWebhookVectors(t *testing.T) {
	for _, c := range []struct {
		file, old, new string
		topic          string
		want           string
		events, asked  int
	}{
		{"notification-1.json", "", "", topic, "taken", 1, 1},
		{"notification-2.json", "", "", topic, "taken", 1, 1},
		{"subscription-1.json", "", "", topic, "taken", 0, 2},
		{"subscription-2.json", "", "", topic, "taken", 0, 2},
		{"notification-1.json", `"SignatureVersion":"1"`, `"SignatureVersion":"2"`, topic, "unauthenticated", 0, 1},
		{"notification-1.json", `Delivery`, `delivery`, topic, "unauthenticated", 0, 1},
		{"notification-1.json", `SES Email`, `SES email`, topic, "unauthenticated", 0, 1},
		{"notification-1.json", `"Subject":"Amazon SES Email Event Notification",`, ``, topic, "unauthenticated", 0, 1},
		{"notification-2.json", `\u00fc`, `\u00fd`, topic, "unauthenticated", 0, 1},
		{"notification-2.json", `\u00fc`, `ü`, topic, "taken", 1, 1},
		{"notification-1.json", "", "", topic + "-2", "unauthenticated", 0, 0},
		{"subscription-1.json", "", "", topic + "-2", "unauthenticated", 0, 0},
	} {
		body := strings.ReplaceAll(read(t, c.file), c.old, c.new)
		if c.old == "" {
			body = read(t, c.file)
		}
		kind := "Notification"
		if strings.HasPrefix(c.file, "subscription") {
			kind = "SubscriptionConfirmation"
		}
		fake := newSNS(withTheirCertificate(t))
		batch, err := newWebhook(fake, c.topic).Receive(t.Context(), header(kind), []byte(body))
		if got := verdict(err); got != c.want || len(batch.Events) != c.events || len(fake.Asked()) != c.asked {
			t.Errorf("%s with %q, for %s: %s with %d events after asking %q (%v), want %s with %d after asking %d times",
				c.file, c.new, c.topic, got, len(batch.Events), fake.Asked(), err, c.want, c.events, c.asked)
		}
	}
}

func read(tb testing.TB, file string) string {
	tb.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "sns", file))
	if err != nil {
		tb.Fatal(err)
	}
	return string(content)
}

// withTheirCertificate answers with that of the vectors.
func withTheirCertificate(tb testing.TB) func(*http.Request) *sestest.Said {
	tb.Helper()
	return only(sestest.CertificateURL, sestest.Said{Status: http.StatusOK, Body: read(tb, "certificate.pem")})
}

// only answers what is asked of one address.
func only(address string, said sestest.Said) func(*http.Request) *sestest.Said {
	return func(r *http.Request) *sestest.Said {
		if r.URL.String() == address {
			return &said
		}
		return nil
	}
}

// call is a call as it is changed on its way.
type call struct {
	notice sestest.Notice
	header http.Header
	body   func([]byte) []byte
	topics []string
	later  time.Duration
}

func TestWebhookAuthentication(t *testing.T) {
	const host = "https://sns.eu-west-1.amazonaws.com"
	path := strings.TrimPrefix(sestest.CertificateURL, host)
	certificateAt := func(address string) func(*call) { return func(c *call) { c.notice.SigningCertURL = address } }
	replace := func(old, with string) func(*call) {
		return func(c *call) {
			c.body = func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(old), []byte(with)) }
		}
	}
	for _, c := range []struct {
		name   string
		change func(*call)
		want   string
		asked  int
	}{
		{"good", func(*call) {}, "taken", 1},
		{"version 1", func(c *call) { c.notice.SignatureVersion = "1" }, "taken", 1},
		{"subject", func(c *call) { c.notice.Subject = "S" }, "taken", 1},
		{"one of several topics", func(c *call) { c.topics = []string{topic + "-2", topic} }, "taken", 1},
		// Some proxies leave out headers that they do not know; none writes another.
		{"no header", func(c *call) { c.header = nil }, "taken", 1},
		{"another header", func(c *call) { c.header = header("SubscriptionConfirmation") }, "unauthenticated", 0},
		{"two headers", func(c *call) {
			c.header.Add("X-Amz-Sns-Message-Type", "Notification")
		}, "unauthenticated", 0},
		{"empty header", func(c *call) { c.header.Set("X-Amz-Sns-Message-Type", "") }, "unauthenticated", 0},
		{"huge header", func(c *call) { c.header.Set("X-Amz-Sns-Message-Type", strings.Repeat("N", 1<<20)) }, "unauthenticated", 0},

		// The topic is the key: without it nothing is fetched.
		{"no topics", func(c *call) { c.topics = nil }, "unauthenticated", 0},
		{"another topic", func(c *call) { c.topics = []string{topic + "2"} }, "unauthenticated", 0},
		{"another account", replace("111122223333", "111122223334"), "unauthenticated", 0},
		{"topic in capitals", func(c *call) { c.notice.TopicARN = strings.ToUpper(topic) }, "malformed", 0},
		{"topic and more", func(c *call) { c.notice.TopicARN = topic + "\nType\nNotification" }, "malformed", 0},
		{"subscription of the topic", func(c *call) { c.notice.TopicARN = topic + ":s1" }, "malformed", 0},
		{"no topic", func(c *call) { c.notice.TopicARN = "" }, "malformed", 0},

		{"version 3", func(c *call) { c.notice.SignatureVersion = "3" }, "unauthenticated", 0},
		{"version downgraded", replace(`"SignatureVersion":"2"`, `"SignatureVersion":"1"`), "unauthenticated", 1},
		{"no signature", func(c *call) { c.notice.Signature = " " }, "unauthenticated", 0},
		{"no base64", func(c *call) { c.notice.Signature = "ä" }, "unauthenticated", 0},
		{"short signature", func(c *call) { c.notice.Signature = "AAAA" }, "unauthenticated", 1},
		{"signature of nobody", func(c *call) { c.notice.Signature = strings.Repeat("A", 342) + "==" }, "unauthenticated", 1},
		{"signature not a string", replace(`"Signature":"`, `"Signature":7,"x":"`), "malformed", 0},
		{"another message", replace("ann@x.test", "bob@x.test"), "unauthenticated", 1},
		{"message twice", replace(`"Type"`, `"message":"{}","Type"`), "taken", 1}, // the last one counts, for the signature too
		{"message behind", replace(`"UnsubscribeURL"`, `"message":"{}","UnsubscribeURL"`), "unauthenticated", 1},
		{"a subject more", replace(`"Message":`, `"Subject":"S","Message":`), "unauthenticated", 1},
		{"subject of nothing", replace(`"Message":`, `"Subject":null,"Message":`), "taken", 1},
		{"line break in the id", func(c *call) { c.notice.MessageID += "\nSubject\nx" }, "malformed", 0},
		{"line break in the subject", func(c *call) { c.notice.Subject = "a\nTimestamp\n" + sentAt }, "malformed", 0},
		{"no id", func(c *call) { c.notice.MessageID = "" }, "malformed", 0},

		// SNS tries for an hour, and begins later where it is throttled.
		{"late", func(c *call) { c.later = 23 * time.Hour }, "taken", 1},
		{"replayed", func(c *call) { c.later = 25 * time.Hour }, "unauthenticated", 0},
		{"clock of this host behind", func(c *call) { c.later = -2 * time.Hour }, "taken", 1},
		{"replayed with a new time", func(c *call) {
			c.later = 25 * time.Hour
			replace(sentAt, "2026-01-03T03:04:05.678Z")(c)
		}, "unauthenticated", 1},
		{"no time", func(c *call) { c.notice.Timestamp = "" }, "malformed", 0},
		{"no time that can be read", func(c *call) { c.notice.Timestamp = "yesterday" }, "malformed", 0},

		{"certificate by http", certificateAt("http://sns.eu-west-1.amazonaws.com" + path), "unauthenticated", 0},
		{"certificate of another region", certificateAt("https://sns.us-east-1.amazonaws.com" + path), "unauthenticated", 0},
		{"certificate in a bucket", certificateAt("https://sns.s3-eu-west-1.amazonaws.com" + path), "unauthenticated", 0},
		{"certificate in a bucket named sns", certificateAt("https://sns.s3.eu-west-1.amazonaws.com" + path), "unauthenticated", 0},
		{"certificate of a suffix", certificateAt("https://sns.eu-west-1.evil-amazonaws.com" + path), "unauthenticated", 0},
		{"certificate of a prefix", certificateAt(host + ".evil.test" + path), "unauthenticated", 0},
		{"certificate of China", certificateAt(host + ".cn" + path), "unauthenticated", 0},
		{"certificate at a port", certificateAt(host + ":8443" + path), "unauthenticated", 0},
		{"certificate at the usual port", certificateAt(host + ":443" + path), "unauthenticated", 0},
		{"certificate of a user", certificateAt("https://sns.eu-west-1.amazonaws.com@evil.test" + path), "unauthenticated", 0},
		{"certificate with a user", certificateAt("https://x@sns.eu-west-1.amazonaws.com" + path), "unauthenticated", 0},
		{"certificate with a query", certificateAt(sestest.CertificateURL + "?x"), "unauthenticated", 0},
		{"certificate with an empty query", certificateAt(sestest.CertificateURL + "?"), "unauthenticated", 0},
		{"certificate with a fragment", certificateAt(sestest.CertificateURL + "#x"), "unauthenticated", 0},
		{"certificate with an escape", certificateAt(strings.Replace(sestest.CertificateURL, "Simple", "%53imple", 1)), "unauthenticated", 0},
		{"certificate elsewhere on the host", certificateAt(host + "/?Action=Publish"), "unauthenticated", 0},
		{"certificate above", certificateAt(host + "/../SimpleNotificationService-0.pem"), "unauthenticated", 0},
		{"certificate in a directory", certificateAt(host + "/x/SimpleNotificationService-0.pem"), "unauthenticated", 0},
		{"certificate of a long name", certificateAt(host + "/SimpleNotificationService-" + strings.Repeat("a", 65) + ".pem"), "unauthenticated", 0},
		{"certificate nowhere", replace(`"SigningCertURL":"`, `"SigningCertURL":"","x":"`), "unauthenticated", 0},
		{"certificate no address", certificateAt("https://%zz"), "unauthenticated", 0},
		// An address that SNS could have is asked for; that it has none is told as ours.
		{"certificate that is not there", certificateAt(host + "/SimpleNotificationService-0.pem"), "ours", 1},

		{"raw delivery", func(c *call) { c.header.Set("X-Amz-Sns-Rawdelivery", "true") }, "malformed", 0},
		{"raw body", func(c *call) { c.body = func([]byte) []byte { return []byte(opened) } }, "malformed", 0},
		{"another type", func(c *call) { c.notice.Type = "Alarm"; c.header = nil }, "malformed", 0},
		{"no type", func(c *call) { c.notice.Type = ""; c.header = nil }, "malformed", 0},
		{"truncated", func(c *call) { c.body = func(b []byte) []byte { return b[:len(b)-1] } }, "malformed", 0},
		{"something behind", func(c *call) { c.body = func(b []byte) []byte { return append(b, '}') } }, "malformed", 0},
		{"empty", func(c *call) { c.body = func([]byte) []byte { return nil } }, "malformed", 0},
		{"null", func(c *call) { c.body = func([]byte) []byte { return []byte("null") } }, "malformed", 0},
		{"array", func(c *call) { c.body = func(b []byte) []byte { return fmt.Appendf(nil, "[%s]", b) } }, "malformed", 0},
		{"form", func(c *call) { c.body = func([]byte) []byte { return []byte("Type=Notification") } }, "malformed", 0},
		{"deep", func(c *call) {
			c.body = func([]byte) []byte { return bytes.Repeat([]byte(`{"mail":`), 1<<20) }
		}, "malformed", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake := newSNS(nil)
			sent := call{notice: notice(opened), header: header("Notification"), topics: []string{topic}, body: func(b []byte) []byte { return b }}
			c.change(&sent)
			w := newWebhook(fake, sent.topics...)
			w.SetNow(func() time.Time { return signedAt.Add(sent.later) })
			batch, err := w.Receive(t.Context(), sent.header, sent.body(fake.Sign(sent.notice)))
			if got := verdict(err); got != c.want || (len(batch.Events) == 1) != (c.want == "taken") || len(fake.Asked()) != c.asked {
				t.Errorf("%s with %d events after asking %q (%v), want %s after asking %d times",
					got, len(batch.Events), fake.Asked(), err, c.want, c.asked)
			}
			if err != nil && len(err.Error()) > 512 {
				t.Errorf("the error has %d octets", len(err.Error()))
			}
		})
	}
}

// What is wrong is said with the remedy.
func TestWebhookErrorsSayWhatToDo(t *testing.T) {
	fake := newSNS(nil)
	for _, c := range []struct {
		name   string
		w      *ses.Webhook
		body   []byte
		remedy string
	}{
		{"no topics", newWebhook(fake), fake.Sign(notice(opened)), "add " + topic + " to sns_topic_arns"},
		{"another topic", newWebhook(fake, topic+"2"), fake.Sign(notice(opened)), topic + " is not one of sns_topic_arns"},
		{"raw", newWebhook(fake, topic), []byte(opened), "switch it off"},
		{"clock", at(newWebhook(fake, topic), 60*24*400), fake.Sign(notice(opened)), "clock"},
	} {
		_, err := c.w.Receive(t.Context(), http.Header{}, c.body)
		if err == nil || !strings.Contains(err.Error(), c.remedy) {
			t.Errorf("%s: the error is %v, want that it says %q", c.name, err, c.remedy)
		}
	}
}

// webhook_unverified takes any topic, for SNS needs no key to be verified; it
// confirms none, and does not switch off topics that are configured.
func TestWebhookUnverified(t *testing.T) {
	c := newConfig()
	c.WebhookUnverified = true
	fake := newSNS(nil)
	w := at(ses.NewWebhook(c, fake), 1)
	forged := bytes.ReplaceAll(fake.Sign(notice(opened)), []byte("ann@"), []byte("bob@"))
	c.SNSTopicARNs = []string{topic + "2"}
	for _, row := range []struct {
		name string
		w    *ses.Webhook
		body []byte
		want string
	}{
		{"signed", w, fake.Sign(notice(opened)), "taken"},
		{"forged", w, forged, "unauthenticated"},
		{"a subscription", w, fake.Sign(subscription("SubscriptionConfirmation")), "unauthenticated"},
		{"an ended subscription", w, fake.Sign(subscription("UnsubscribeConfirmation")), "taken"},
		{"another topic than configured", at(ses.NewWebhook(c, fake), 1), fake.Sign(notice(opened)), "unauthenticated"},
	} {
		_, err := row.w.Receive(t.Context(), nil, row.body)
		if got := verdict(err); got != row.want {
			t.Errorf("%s: %s (%v), want %s", row.name, got, err, row.want)
		}
	}
	if asked := fake.Asked(); !slices.Equal(asked, []string{sestest.CertificateURL}) {
		t.Errorf("SNS was asked for %q, want the certificate alone", asked)
	}
}

func TestWebhookConfirmsSubscriptions(t *testing.T) {
	good := sestest.SubscribeURL(topic, "secret-token")
	signedURL := func(address string) func(*sestest.Notice) {
		return func(n *sestest.Notice) { n.SubscribeURL = address }
	}
	for _, c := range []struct {
		name   string
		change func(*sestest.Notice)
		want   string
		visits int
	}{
		{"good", func(*sestest.Notice) {}, "taken", 1},
		{"ended", func(n *sestest.Notice) { n.Type = "UnsubscribeConfirmation" }, "taken", 0},
		{"by http", signedURL(strings.Replace(good, "https", "http", 1)), "unauthenticated", 0},
		{"elsewhere", signedURL(strings.Replace(good, "sns.eu-west-1.amazonaws.com", "evil.test", 1)), "unauthenticated", 0},
		{"in another region", signedURL(strings.Replace(good, "sns.eu-west-1", "sns.eu-west-2", 1)), "unauthenticated", 0},
		{"at a port", signedURL(strings.Replace(good, ".com", ".com:444", 1)), "unauthenticated", 0},
		{"with a user", signedURL(strings.Replace(good, "https://", "https://a:b@", 1)), "unauthenticated", 0},
		{"on a path", signedURL(strings.Replace(good, "/?", "/x?", 1)), "unauthenticated", 0},
		{"with a fragment", signedURL(good + "#x"), "unauthenticated", 0},
		{"another action", signedURL(strings.Replace(good, "ConfirmSubscription", "Publish", 1)), "unauthenticated", 0},
		{"two actions", signedURL(good + "&Action=Publish"), "unauthenticated", 0},
		{"another topic", signedURL(strings.Replace(good, ":bridge", ":other", 1)), "unauthenticated", 0},
		{"another token", signedURL(strings.Replace(good, "secret-token", "x", 1)), "unauthenticated", 0},
		{"no address", signedURL(""), "unauthenticated", 0},
		{"broken query", signedURL(good + "&%zz"), "unauthenticated", 0},
		{"line break", signedURL(good + "\nx"), "malformed", 0},
	} {
		fake := newSNS(nil)
		n := subscription("SubscriptionConfirmation")
		c.change(&n)
		batch, err := newWebhook(fake, topic).Receive(t.Context(), header(n.Type), fake.Sign(n))
		visits := len(slices.DeleteFunc(fake.Asked(), func(a string) bool { return a == sestest.CertificateURL }))
		if got := verdict(err); got != c.want || visits != c.visits || len(batch.Events) != 0 {
			t.Errorf("%s: %s with %d visits and %d events (%v), want %s with %d visits", c.name, got, visits, len(batch.Events), err, c.want, c.visits)
		}
	}
}

// A confirmation that nobody signed is not visited.
func TestWebhookConfirmsNothingForged(t *testing.T) {
	fake, stranger := newSNS(nil), sestest.NewSNS()
	_, err := newWebhook(fake, topic).Receive(t.Context(), nil, stranger.Sign(subscription("SubscriptionConfirmation")))
	if verdict(err) != "unauthenticated" || !slices.Equal(fake.Asked(), []string{sestest.CertificateURL}) {
		t.Errorf("%v after asking %q, want unauthenticated after the certificate", err, fake.Asked())
	}
}

// What cannot be fetched is ours: SNS may try again. No error tells the token.
func TestWebhookFetching(t *testing.T) {
	for name, answer := range map[string]sestest.Said{
		"redirect":    {Status: http.StatusFound, Location: "https://evil.test/secret-token"},
		"forbidden":   {Status: http.StatusForbidden, Body: "secret-token"},
		"unavailable": {Status: http.StatusServiceUnavailable},
		"created":     {Status: http.StatusCreated, Body: "<SubscriptionArn>"},
		"HTML":        {Status: http.StatusOK, Body: "<html>secret-token"},
		"nothing":     {Status: http.StatusOK},
		"too much":    {Status: http.StatusOK, Body: strings.Repeat("<SubscriptionArn>", 1<<16)},
		"broken":      {Status: http.StatusOK, Body: "<SubscriptionArn>", Cut: true},
		"no key":      {Status: http.StatusOK, Body: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
		"no DER":      {Status: http.StatusOK, Body: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
	} {
		for _, address := range []string{sestest.CertificateURL, sestest.SubscribeURL(topic, "secret-token")} {
			fake := newSNS(only(address, answer))
			_, err := newWebhook(fake, topic).Receive(t.Context(), nil, fake.Sign(subscription("SubscriptionConfirmation")))
			asked := fake.Asked()
			if verdict(err) != "ours" || strings.Contains(err.Error(), "token") || asked[len(asked)-1] != address {
				t.Errorf("%s from %s: %v after asking %q, want an error of ours that shows nothing", name, address, err, asked)
			}
		}
	}
}

// A network that is down is told without the address.
func TestWebhookWithoutNetwork(t *testing.T) {
	signer := newSNS(nil)
	down := errors.New("no route")
	for _, open := range []bool{false, true} {
		w := newWebhook(roundTripper(func(r *http.Request) (*http.Response, error) {
			if open && r.URL.String() == sestest.CertificateURL {
				return signer.RoundTrip(r)
			}
			return nil, down
		}), topic)
		_, err := w.Receive(t.Context(), nil, signer.Sign(subscription("SubscriptionConfirmation")))
		if verdict(err) != "ours" || !errors.Is(err, down) || strings.Contains(err.Error(), "token") {
			t.Errorf("the error is %v, want ours, with its cause", err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// SNS waits 15 s: who does not answer us gets less, for both questions together.
func TestWebhookDoesNotWaitLong(t *testing.T) {
	fake := newSNS(nil)
	for _, hangs := range []string{"the certificate", "the confirmation"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWebhook(roundTripper(func(r *http.Request) (*http.Response, error) {
				if (r.URL.String() == sestest.CertificateURL) == (hangs == "the certificate") {
					<-r.Context().Done()
					return nil, context.Cause(r.Context())
				}
				return fake.RoundTrip(r)
			}), topic)
			start := time.Now()
			_, err := w.Receive(t.Context(), nil, fake.Sign(subscription("SubscriptionConfirmation")))
			if waited := time.Since(start); verdict(err) != "ours" || waited > 7*time.Second {
				t.Errorf("%s: %v after %v, want an error of ours in 7 s", hangs, err, waited)
			}
		})
	}
}

// The certificate is what it says, and is valid now.
func TestWebhookCertificates(t *testing.T) {
	elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	year := func(n int) time.Time { return time.Date(n, 1, 1, 0, 0, 0, 0, time.UTC) }
	fake := newSNS(nil)
	for _, c := range []struct {
		name        string
		certificate []byte
		want        string
	}{
		{"good", fake.Certificate("sns.amazonaws.com", year(2020), year(2030), nil), "taken"},
		{"of a region", fake.Certificate("sns-signing.me-south-1.amazonaws.com", year(2020), year(2030), nil), "taken"},
		{"of China", fake.Certificate("sns-cn-north-1.amazonaws.com.cn", year(2020), year(2030), nil), "taken"},
		{"expired", fake.Certificate("sns.amazonaws.com", year(2020), year(2026), nil), "unauthenticated"},
		{"of the future", fake.Certificate("sns.amazonaws.com", year(2027), year(2030), nil), "unauthenticated"},
		{"of another service", fake.Certificate("s3.amazonaws.com", year(2020), year(2030), nil), "unauthenticated"},
		{"of another domain", fake.Certificate("sns.evil-amazonaws.com", year(2020), year(2030), nil), "unauthenticated"},
		{"of another key", sestest.NewSNS().Certificate("sns.amazonaws.com", year(2020), year(2030), nil), "unauthenticated"},
		{"of no RSA key", fake.Certificate("sns.amazonaws.com", year(2020), year(2030), elliptical), "unauthenticated"},
	} {
		transport := newSNS(only(sestest.CertificateURL, sestest.Said{Status: http.StatusOK, Body: string(c.certificate)}))
		_, err := newWebhook(transport, topic).Receive(t.Context(), nil, fake.Sign(notice(opened)))
		if got := verdict(err); got != c.want {
			t.Errorf("%s: %s (%v), want %s", c.name, got, err, c.want)
		}
	}
}

// A certificate is fetched once, also by many at once, and again after a failure.
// Its validity is asked each time.
func TestWebhookKeepsCertificates(t *testing.T) {
	failing := true
	fake := newSNS(func(*http.Request) *sestest.Said {
		if failing {
			return &sestest.Said{Status: http.StatusServiceUnavailable}
		}
		return nil
	})
	w, body := newWebhook(fake, topic), fake.Sign(notice(opened))
	if _, err := w.Receive(t.Context(), nil, body); verdict(err) != "ours" {
		t.Fatalf("%v, want an error of ours", err)
	}
	failing = false
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := w.Receive(t.Context(), nil, body); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	asked := len(fake.Asked())
	if _, err := w.Receive(t.Context(), nil, body); err != nil || len(fake.Asked()) != asked {
		t.Errorf("%v after asking once more", err)
	}
	late := notice(opened)
	late.Timestamp = "2100-01-02T03:04:05Z"
	w.SetNow(func() time.Time { return time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC) })
	if _, err := w.Receive(t.Context(), nil, fake.Sign(late)); verdict(err) != "unauthenticated" {
		t.Errorf("%v long after the certificate has expired, want unauthenticated", err)
	}
}

// Those who wait for a certificate share one question, which is not given up with
// the call that asked it.
func TestWebhookSharesAQuestion(t *testing.T) {
	fake := newSNS(nil)
	body := fake.Sign(notice(opened))
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := newWebhook(roundTripper(func(r *http.Request) (*http.Response, error) {
			<-release
			return fake.RoundTrip(r)
		}), topic)
		first, giveUp := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { w.Receive(first, nil, body) })
		synctest.Wait()
		for range 5 {
			group.Go(func() {
				if _, err := w.Receive(t.Context(), nil, body); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		giveUp()
		close(release)
		group.Wait()
	})
	if asked := fake.Asked(); len(asked) != 1 {
		t.Errorf("SNS was asked %d times, want once", len(asked))
	}
}

// However many addresses a caller thinks of, what is kept is bounded: the first is
// asked for again in the end.
func TestWebhookKeepsFewCertificates(t *testing.T) {
	own := theSNS().Certificate("sns.amazonaws.com", signedAt, signedAt.AddDate(1, 0, 0), nil)
	fake := newSNS(func(*http.Request) *sestest.Said { return &sestest.Said{Status: http.StatusOK, Body: string(own)} })
	w := newWebhook(fake, topic)
	for i := range 66 {
		n := notice(opened)
		n.SigningCertURL = fmt.Sprintf("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-%d.pem", i%65)
		if _, err := w.Receive(t.Context(), nil, fake.Sign(n)); err != nil {
			t.Fatal(err)
		}
	}
	if asked := fake.Asked(); len(asked) != 66 || asked[65] != asked[0] {
		t.Errorf("65 certificates were asked for %d times, the last one was %s; want the first again", len(asked), asked[len(asked)-1])
	}
}

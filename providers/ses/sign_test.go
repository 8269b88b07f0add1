package ses_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/ses"
)

var signedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// signer is the adapter at the time of the test vectors.
func signer(sessionToken string) *ses.Adapter {
	c := newConfig()
	c.SessionToken = config.NewSecret(sessionToken)
	a := ses.New(c)
	a.SetNow(func() time.Time { return signedAt })
	return a
}

// request is one as httpapi gives it to Authorize.
func request(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "smtp-bridge/devel")
	r.Header.Set("Accept-Encoding", "identity")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
		r.ContentLength = int64(len(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
	}
	return r
}

// The vectors were computed by the SDK's signer and by an independent program.
func TestSignatureVectors(t *testing.T) {
	const (
		send = `{"Content":{"Raw":{"Data":"RnJvbTogYUBtZy50ZXN0DQoNCmhpDQo="}},"Destination":{"ToAddresses":["ann@x.test"]}}`
		base = "https://email.eu-west-1.amazonaws.com"
	)
	for _, c := range []struct {
		name, method, url, body, token string
		signed, signature              string
	}{
		{
			"send", http.MethodPost, base + "/v2/email/outbound-emails", send, "",
			"content-length;content-type;host;x-amz-date",
			"a855a29a2e95eaf9f24a893e3ab34240509d397ff457687f30a21e484c3f8255",
		},
		{
			"session token", http.MethodPost, base + "/v2/email/outbound-emails", send, "TOKEN",
			"content-length;content-type;host;x-amz-date;x-amz-security-token",
			"a0948b2bd7fe81ec5485edfe7bbb7fbe727946a31f1341f147f8ef1c8ad6d643",
		},
		{
			"path", http.MethodGet, base + "/v2/email/suppression/addresses/a%40b.test", "", "",
			"host;x-amz-date",
			"16cb224402cc017beb60b4dfb9fa0cdc0cb3752db74b010a0c29edf5096e9300",
		},
		{
			"the scheme's own port", http.MethodPost, "https://email.eu-west-1.amazonaws.com:443/v2/email/outbound-emails", send, "",
			"content-length;content-type;host;x-amz-date",
			"a855a29a2e95eaf9f24a893e3ab34240509d397ff457687f30a21e484c3f8255",
		},
	} {
		r := request(t, c.method, c.url, c.body)
		if err := signer(c.token).Authorize(t.Context(), r); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/eu-west-1/ses/aws4_request, SignedHeaders=" +
			c.signed + ", Signature=" + c.signature
		if got := r.Header.Get("Authorization"); got != want {
			t.Errorf("%s: the authorization is\n%s, want\n%s", c.name, got, want)
		}
		if got := r.Header.Get("X-Amz-Date"); got != "20260102T030405Z" {
			t.Errorf("%s: the date is %q", c.name, got)
		}
		if got := r.Header.Get("X-Amz-Security-Token"); got != c.token {
			t.Errorf("%s: the token is %q, want %q", c.name, got, c.token)
		}
		if r.Host != "email.eu-west-1.amazonaws.com" {
			t.Errorf("%s: the host is %q, which is not the signed one", c.name, r.Host)
		}
	}
}

func TestAuthorizeReportsWhatCannotBeRead(t *testing.T) {
	broken := errors.New("the disk is broken")
	for name, open := range map[string]func() (io.ReadCloser, error){
		"opening": func() (io.ReadCloser, error) { return nil, broken },
		"reading": func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("x"), brokenReader{broken})), nil
		},
	} {
		r := request(t, http.MethodPost, "https://email.eu-west-1.amazonaws.com/", "x")
		r.GetBody = open
		err, ok := errors.AsType[*providers.Error](newAdapter().Authorize(t.Context(), r))
		if !ok || err.Category != providers.LocalFailure || !errors.Is(err, broken) {
			t.Errorf("%s: the error is %v, want local_failure", name, err)
		}
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

// A large mail is hashed for a while; nobody waits longer than the request may take.
func TestAuthorizeEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := request(t, http.MethodPost, "https://email.eu-west-1.amazonaws.com/", "x")
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(endless{cancel}), nil }
	err, ok := errors.AsType[*providers.Error](newAdapter().Authorize(ctx, r))
	if !ok || err.Category != providers.NetworkError || !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want network_error", err)
	}
}

// endless is a body that is given up while it is read.
type endless struct{ read func() }

func (e endless) Read(p []byte) (int, error) {
	e.read()
	return len(p), nil
}

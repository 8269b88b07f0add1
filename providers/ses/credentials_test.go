package ses_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/ses"
	"smtpbridge/providers/ses/sestest"
)

// isolate leaves nothing for the default chain to find, on this machine or off it.
func isolate(t *testing.T) (dir string) {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	dir = t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "credentials"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return dir
}

// ofChain is an adapter without keys of its own.
func ofChain() *ses.Adapter {
	c := newConfig()
	c.AccessKeyID, c.SecretAccessKey, c.SessionToken = config.Secret{}, config.Secret{}, config.Secret{}
	return ses.New(c)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkSends: AWS takes the signature of the adapter's keys.
func checkSends(t *testing.T, a *ses.Adapter) {
	t.Helper()
	fake := sestest.New(account(), nil)
	server := httptest.NewServer(fake)
	defer server.Close()
	transport := httpapi.NewTransport()
	defer transport.CloseIdleConnections()
	c := httpapi.DefaultConfig("ses")
	c.BaseURL = server.URL
	provider := httpapi.New(c, a, transport)
	outcome := provider.Send(t.Context(), providertest.Message(t, addressed+"\nHello\n", "a@example.org"))
	if outcome.Accepted() != 1 || len(fake.Taken()) != 1 {
		t.Errorf("the outcome is %+v, %v", outcome, outcome[0].Err)
	}
	if err := provider.Probe(t.Context()); err != nil {
		t.Errorf("the keys are refused: %v", err)
	}
}

func TestCredentialsOfTheEnvironment(t *testing.T) {
	isolate(t)
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	t.Setenv("AWS_SESSION_TOKEN", token)
	checkSends(t, ofChain())
}

func TestCredentialsOfSharedFiles(t *testing.T) {
	dir := isolate(t)
	write(t, filepath.Join(dir, "credentials"), "[mail]\naws_access_key_id = "+accessKey+"\naws_secret_access_key = "+secretKey+"\naws_session_token = "+token+"\n")
	t.Setenv("AWS_PROFILE", "mail")
	checkSends(t, ofChain())
}

// The keys of the configuration go before all that the chain would find.
func TestCredentialsOfTheConfiguration(t *testing.T) {
	isolate(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDOTHER")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "other")
	checkSends(t, newAdapter())
}

// endpoint serves until the test ends.
func endpoint(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// keysAsJSON as container and instance give them.
func keysAsJSON(expires time.Time) string {
	return fmt.Sprintf(`{"Code":"Success","AccessKeyId":%q,"SecretAccessKey":%q,"Token":%q,"Expiration":%q}`,
		accessKey, secretKey, token, expires.UTC().Format(time.RFC3339))
}

func TestCredentialsOfAContainer(t *testing.T) {
	isolate(t)
	var asked atomic.Int64
	expires := time.Now().Add(time.Hour)
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod-token")
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Authorization") != "pod-token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Write([]byte(keysAsJSON(expires)))
	})+"/v1/credentials")
	a := ofChain()
	if asked.Load() != 0 {
		t.Error("the endpoint is asked before anything is to be signed")
	}
	checkSends(t, a)
	checkSends(t, a)
	if got := asked.Load(); got != 1 {
		t.Errorf("the endpoint is asked %d times for keys that last, want once", got)
	}
}

// Many requests at once ask once; keys that are about to expire are renewed.
func TestCredentialsAreAskedForOnce(t *testing.T) {
	isolate(t)
	var asked atomic.Int64
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		expires := time.Now().Add(time.Hour)
		if asked.Add(1) == 1 {
			expires = time.Now().Add(10 * time.Second)
		}
		w.Write([]byte(keysAsJSON(expires)))
	}))
	a := ofChain()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := a.Authorize(t.Context(), request(t, http.MethodGet, "https://email.eu-west-1.amazonaws.com/", "")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// The first keys expire so soon that they are renewed for whoever comes next.
	if got := asked.Load(); got < 1 || got > 3 {
		t.Errorf("20 requests ask %d times, want once, and once more for keys that expire", got)
	}
	checkSends(t, a)
	if got := asked.Load(); got < 2 {
		t.Errorf("keys that expire in 10 s are not renewed")
	}
}

// webIdentity is the environment of a pod with a service account.
func webIdentity(t *testing.T, sts http.HandlerFunc) (dir string) {
	t.Helper()
	dir = isolate(t)
	write(t, filepath.Join(dir, "token"), "web.identity.token-of-the-pod")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", filepath.Join(dir, "token"))
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/mail")
	t.Setenv("AWS_ENDPOINT_URL_STS", endpoint(t, sts))
	return dir
}

func TestCredentialsOfAWebIdentity(t *testing.T) {
	webIdentity(t, func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("WebIdentityToken") != "web.identity.token-of-the-pod" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
			<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey>
			<SessionToken>%s</SessionToken><Expiration>2099-01-02T03:04:05Z</Expiration></Credentials>
			</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, accessKey, secretKey, token)
	})
	checkSends(t, ofChain())
}

func TestCredentialsOfAnInstance(t *testing.T) {
	isolate(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		const roles = "/latest/meta-data/iam/security-credentials/"
		switch r.Method + " " + r.URL.Path {
		case "PUT /latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
			w.Write([]byte("imds-token"))
		case "GET " + roles:
			w.Write([]byte("mail-role"))
		case "GET " + roles + "mail-role":
			w.Write([]byte(keysAsJSON(time.Now().Add(time.Hour))))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	checkSends(t, ofChain())
}

// failing is a chain that gives nothing.
func failing(ctx context.Context, t *testing.T, a *ses.Adapter) *providers.Error {
	t.Helper()
	err := a.Authorize(ctx, request(t, http.MethodGet, "https://email.eu-west-1.amazonaws.com/", ""))
	classified, ok := errors.AsType[*providers.Error](err)
	if !ok {
		t.Fatalf("the error is %v, want a classified one", err)
	}
	if text := fmt.Sprintf("%+v", *classified); strings.Contains(text, "web.identity.token") || strings.Contains(text, "hidden") {
		t.Errorf("the error repeats a secret: %s", text)
	}
	return classified
}

// hanging does not answer until the test ends.
func hanging(t *testing.T) string {
	t.Helper()
	over := make(chan struct{})
	url := endpoint(t, func(http.ResponseWriter, *http.Request) { <-over })
	t.Cleanup(func() { close(over) }) // before the server waits for its requests
	return url
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		w.Write([]byte(body))
	}
}

func stsError(code int, name, message string) http.HandlerFunc {
	return status(code, "<ErrorResponse><Error><Type>Sender</Type><Code>"+name+"</Code><Message>"+message+"</Message></Error></ErrorResponse>")
}

func TestWithoutCredentials(t *testing.T) {
	const (
		profile   = "AWS_PROFILE"
		tokenFile = "AWS_WEB_IDENTITY_TOKEN_FILE"
		stsURL    = "AWS_ENDPOINT_URL_STS"
		container = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	)
	for _, c := range []struct {
		name             string
		file, configFile string            // the shared files
		env              map[string]string // besides
		sts, container   http.HandlerFunc
		hangs            bool // until nobody waits any more
		want             providers.Category
		words            string
	}{
		{name: "nothing", want: providers.Authentication, words: "set access_key_id"},
		{name: "no such profile", env: map[string]string{profile: "mail"}, want: providers.Authentication, words: "the profile mail does not exist"},
		{name: "half a key", file: "[default]\naws_access_key_id = hidden\n", want: providers.Authentication, words: "set access_key_id"},
		{name: "broken file", file: "[default\naws_secret_access_key = hidden\n", want: providers.Authentication, words: "set access_key_id"},
		{
			name: "process that says too much", configFile: "[default]\ncredential_process = echo hidden-secret\n",
			want: providers.Authentication, words: "set access_key_id",
		},
		{name: "no token file", sts: status(200, ""), env: map[string]string{tokenFile: "/nowhere/token"}, want: providers.Authentication, words: "set access_key_id"},
		{
			name: "role that may not be taken", sts: stsError(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"),
			want: providers.Authentication, words: "AccessDenied",
		},
		{
			name: "token repeated", sts: stsError(400, "ValidationError", "Value 'web.identity.token-of-the-pod' at 'webIdentityToken' failed"),
			want: providers.Authentication, words: "ValidationError",
		},
		{name: "STS throttles", sts: stsError(400, "Throttling", "Rate exceeded"), want: providers.ServiceUnavailable, words: "Throttling"},
		{name: "STS fails", sts: status(503, ""), want: providers.ServiceUnavailable, words: "at present"},
		{name: "no STS", sts: status(200, ""), env: map[string]string{stsURL: providertest.Refusing(t)}, want: providers.NetworkError, words: "does not answer"},
		{name: "container refuses", container: status(403, "hidden"), want: providers.Authentication, words: "set access_key_id"},
		{name: "container fails", container: status(500, `{"code":"InternalServerError","message":"hidden"}`), want: providers.ServiceUnavailable, words: "at present"},
		{name: "container elsewhere", env: map[string]string{container: "http://192.0.2.1/"}, want: providers.Authentication, words: "set access_key_id"},
		{name: "no container", env: map[string]string{container: providertest.Refusing(t)}, want: providers.NetworkError, words: "does not answer"},
		{name: "container that hangs", env: map[string]string{container: hanging(t)}, hangs: true, want: providers.NetworkError, words: "does not answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := isolate(t)
			if c.sts != nil {
				dir = webIdentity(t, c.sts)
			}
			if c.container != nil {
				t.Setenv(container, endpoint(t, c.container))
			}
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			write(t, filepath.Join(dir, "credentials"), c.file)
			write(t, filepath.Join(dir, "config"), c.configFile)
			ctx := t.Context()
			if c.hangs {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Second)
				defer cancel()
			}
			if got := failing(ctx, t, ofChain()); got.Category != c.want || !strings.Contains(got.Message, c.words) {
				t.Errorf("the error is %v, want %s with %q", got, c.want, c.words)
			}
		})
	}
}

// What fails is tried again with the next mail, the set-up of the chain too.
func TestCredentialsAreAskedForAgain(t *testing.T) {
	dir := isolate(t)
	t.Setenv("AWS_PROFILE", "mail")
	a := ofChain()
	failing(t.Context(), t, a)
	write(t, filepath.Join(dir, "credentials"), "[mail]\naws_access_key_id = "+accessKey+"\naws_secret_access_key = "+secretKey+"\naws_session_token = "+token+"\n")
	checkSends(t, a)

	isolate(t)
	var asked atomic.Int64
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte(keysAsJSON(time.Now().Add(time.Hour))))
	}))
	a = ofChain()
	failing(t.Context(), t, a)
	if got := asked.Load(); got != 1 {
		t.Errorf("the SDK asks %d times, want once: who tries again is decided elsewhere", got)
	}
	checkSends(t, a)
}

// A mail that was never signed was never sent.
func TestUnsignedIsRefused(t *testing.T) {
	isolate(t)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", providertest.Refusing(t))
	transport := httpapi.NewTransport()
	defer transport.CloseIdleConnections()
	outcome := httpapi.New(httpapi.DefaultConfig("ses"), ofChain(), transport).
		Send(t.Context(), providertest.Message(t, addressed+"\nHello\n", "a@example.org"))
	if got := outcome[0]; got.State != providers.Refused || got.Err.Category != providers.NetworkError {
		t.Errorf("the outcome is %v, %v; want refused with network_error", got.State, got.Err)
	}
}

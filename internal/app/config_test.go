package app_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"smtpbridge/internal/app"
	"smtpbridge/internal/config"
	"smtpbridge/providers/delivery"
	"smtpbridge/providers/mailgun"
	"smtpbridge/providers/postmark"
	"smtpbridge/providers/sandbox"
	"smtpbridge/providers/sendgrid"
	"smtpbridge/providers/ses"
	"smtpbridge/providers/smtp2go"
)

var update = flag.Bool("update", false, "rewrite the expected errors of testdata/wrong")

const exampleFile = "../../config.example.toml"

// environment has one variable, which is empty.
func environment(name string) (string, bool) { return "", name == "BRIDGE_TEST_EMPTY" }

// Each file of testdata/wrong gives exactly the lines that stand beside it.
func TestWrong(t *testing.T) {
	t.Chdir("testdata/wrong")
	files, err := filepath.Glob("*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	expected, err := filepath.Glob("*.error")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		want := strings.TrimSuffix(file, ".toml") + ".error"
		t.Run(file, func(t *testing.T) {
			_, err := app.Load(file, environment)
			if _, ok := errors.AsType[config.InvalidError](err); !ok {
				t.Fatalf("got %v, want an InvalidError", err)
			}
			got := err.Error() + "\n"
			if strings.Contains(got, "hunter2") {
				t.Errorf("shows a secret:\n%s", got)
			}
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			lines, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(lines), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	for _, file := range expected {
		if _, err := os.Stat(strings.TrimSuffix(file, ".error") + ".toml"); err != nil {
			t.Errorf("%s has no case", file)
		}
	}
}

// The example is what a bridge does without a file, said aloud.
func TestExampleIsTheDefault(t *testing.T) {
	got, err := app.Load(exampleFile, environment)
	if err != nil {
		t.Fatal(err)
	}
	want := app.Default()
	want.DataDir = filepath.Join(filepath.Dir(exampleFile), want.DataDir)
	want.SMTP.AllowNetworks = []string{"127.0.0.0/8", "::1/128"} // what nil means to smtpd
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(app.Config{}, app.Provider{}),
		cmpopts.EquateEmpty(), cmp.Comparer(func(a, b config.Secret) bool { return a.Reveal() == b.Reveal() })); diff != "" {
		t.Errorf("-default +example:\n%s", diff)
	}
}

var commentedOut = regexp.MustCompile(`(?m)^# (\[\[|[a-z_]+ = )`)

// What is commented out would be understood too: only the variables and files
// that it names are not there.
func TestExampleCommentsAreKeys(t *testing.T) {
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, commentedOut.ReplaceAll(example, []byte("$1")), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := app.Load(file, environment)
	problems, _ := errors.AsType[config.InvalidError](err)
	var keys []string
	for _, p := range problems {
		keys = append(keys, p.Key)
	}
	if diff := cmp.Diff([]string{
		"smtp.tls.cert_file", "smtp.user[0].password", "provider[1].api_key",
		"provider[2].api_key", "provider[2].webhook_signing_key", "provider[4].api_key", "provider[4].webhook_password",
		"provider[5].api_key", "provider[5].webhook_password",
	}, keys); diff != "" {
		t.Errorf("%v\n-want +got:\n%s", err, diff)
	}
	if len(c.SMTP.Users) != 1 || len(c.Providers) != 6 {
		t.Errorf("got %d users and %d providers, want 1 and 6", len(c.SMTP.Users), len(c.Providers))
	}
}

// No key is missing in the example.
func TestExampleHasEveryKey(t *testing.T) {
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []any{
		app.Config{}, delivery.AccountConfig{}, mailgun.Config{}, postmark.Config{}, sandbox.Config{}, sendgrid.Config{}, ses.Config{}, smtp2go.Config{},
	} {
		for _, key := range keys(reflect.TypeOf(of)) {
			written := regexp.MustCompile(`(?m)^(# )?(` + key + ` = |\[+([a-z]+\.)?` + key + `\])`)
			if !written.Match(example) {
				t.Errorf("%T has the key %s, the example does not", of, key)
			}
		}
	}
}

// keys are the toml tags of a struct and of those in it.
func keys(t reflect.Type) []string {
	var out []string
	switch t.Kind() { //nolint:exhaustive // scalars have no keys
	case reflect.Slice:
		return keys(t.Elem())
	case reflect.Struct:
		for field := range t.Fields() {
			name, options, _ := strings.Cut(field.Tag.Get("toml"), ",")
			if name != "" && name != "-" {
				out = append(out, name)
			}
			if name != "" && name != "-" || options == "squash" {
				out = append(out, keys(field.Type)...)
			}
		}
	}
	return out
}

func TestLoadResolvesPaths(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	write(t, file, `
data_dir = "data"
[smtp.tls]
cert_file = "tls/cert.pem"
key_file = "/tls/key.pem"
[[smtp.listener]]
address = "unix:run/bridge.sock"
[[smtp.listener]]
address = "unix:/run/bridge.sock"
`)
	c, err := app.Load(file, environment)
	if err == nil {
		t.Error("a certificate that does not exist is no problem")
	}
	got := []string{c.DataDir, c.SMTP.TLS.CertFile, c.SMTP.TLS.KeyFile, c.SMTP.Listeners[0].Address, c.SMTP.Listeners[1].Address}
	want := []string{
		filepath.Join(dir, "data"), filepath.Join(dir, "tls/cert.pem"), "/tls/key.pem",
		"unix:" + filepath.Join(dir, "run/bridge.sock"), "unix:/run/bridge.sock",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLoadWithoutFile(t *testing.T) {
	_, err := app.Load(filepath.Join(t.TempDir(), "none.toml"), environment)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that there is no such file", err)
	}
}

// A wrong value beside it does not hide what could be read: health needs the
// address of a bridge that runs on with what the file said before.
func TestLoadGivesWhatItCanRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	write(t, file, "speed = 1\n[http]\nadmin_address = \"127.0.0.1:9999\"\n")
	c, err := app.Load(file, environment)
	if err == nil || c.HTTP.AdminAddress != "127.0.0.1:9999" {
		t.Errorf("got %q, %v, want the address and an error", c.HTTP.AdminAddress, err)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

package app_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const reloaded = `"msg":"configuration reloaded"`

func sandboxNamed(name string) string {
	return fmt.Sprintf("[[provider]]\ntype = \"sandbox\"\nname = %q\n", name)
}

func sendgridAt(name, url, key string) string {
	return fmt.Sprintf("[[provider]]\ntype = \"sendgrid\"\nname = %q\nbase_url = %q\napi_key = %q\n", name, url, key)
}

func serveHTTP(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// replace writes a file the way editors do: beside it, then over it.
func replace(t *testing.T, file, text string) {
	t.Helper()
	write(t, file+".new", text)
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func (b *bridge) expectProvider(t *testing.T, name string) {
	t.Helper()
	if got := b.send(t, "you@sandbox.test"); !strings.HasPrefix(got, "250 2.0.0 provider="+name+" ") {
		t.Errorf("got %s, want provider %s", got, name)
	}
}

func TestReloadWhenAsked(t *testing.T) {
	b := start(t, onPortZero+sandboxNamed("one"))
	b.expectProvider(t, "one")
	write(t, b.file, onPortZero+sandboxNamed("two"))
	b.Reload()
	b.log.await(reloaded)
	b.expectProvider(t, "two")

	_, metrics := get(t, b.Addrs().Admin, "/metrics")
	if strings.Contains(metrics, `provider="one"`) || !strings.Contains(metrics, `provider="two"`) {
		t.Error("the metrics are not those of the provider that is left")
	}
	if _, providers := get(t, b.Addrs().Admin, "/api/v1/providers"); strings.Contains(providers, "one") {
		t.Errorf("got %s, want two alone", providers)
	}
}

func TestReloadWhenTheFileChanges(t *testing.T) {
	b := start(t, onPortZero+sandboxNamed("one"))
	b.log.await("bridge started")
	replace(t, b.file, onPortZero+sandboxNamed("two"))
	b.log.await(reloaded)
	b.expectProvider(t, "two")
	write(t, b.file, onPortZero+sandboxNamed("three")) // in place, after the file was another
	b.log.await(reloaded)
	b.expectProvider(t, "three")
}

// Kubernetes keeps the files in a directory that a symlink names, and swaps it.
func TestReloadWhenASymlinkIsSwapped(t *testing.T) {
	dir := t.TempDir()
	publish := func(version, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "config.toml"), text)
		if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("..1", onPortZero+sandboxNamed("one"))
	file := filepath.Join(dir, "config.toml")
	if err := os.Symlink(filepath.Join("..data", "config.toml"), file); err != nil {
		t.Fatal(err)
	}
	b := startFile(t, file)
	b.expectProvider(t, "one")
	publish("..2", onPortZero+sandboxNamed("two"))
	if err := os.RemoveAll(filepath.Join(dir, "..1")); err != nil {
		t.Fatal(err)
	}
	b.log.await(reloaded)
	b.expectProvider(t, "two")
	publish("..3", onPortZero+sandboxNamed("three"))
	b.log.await(reloaded)
	b.expectProvider(t, "three")
}

// A release is switched by a link above the file, of which the directory of the
// file hears nothing.
func TestReloadWhenALinkAboveIsSwapped(t *testing.T) {
	dir := t.TempDir()
	current := filepath.Join(dir, "current")
	release := func(version, name string) {
		t.Helper()
		etc := filepath.Join(dir, "releases", version, "etc")
		if err := os.MkdirAll(etc, 0o700); err != nil {
			t.Fatal(err)
		}
		data := fmt.Sprintf("data_dir = %q\n", filepath.Join(dir, "data"))
		write(t, filepath.Join(etc, "config.toml"), data+onPortZero+sandboxNamed(name))
		if err := os.Symlink(filepath.Join("releases", version), current+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(current+".new", current); err != nil {
			t.Fatal(err)
		}
	}
	release("1", "one")
	b := startFile(t, filepath.Join(current, "etc", "config.toml"))
	b.expectProvider(t, "one")
	release("2", "two")
	b.log.await(reloaded)
	b.expectProvider(t, "two")
	release("3", "three")
	b.log.await(reloaded)
	b.expectProvider(t, "three")
}

// The file that a link names may be gone for a while: its directory is watched
// all the same.
func TestReloadWhenALinkedFileComesBack(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "real", "config.toml")
	if err := os.Mkdir(filepath.Dir(target), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, target, onPortZero+sandboxNamed("one"))
	file := filepath.Join(dir, "config.toml")
	if err := os.Symlink(filepath.Join("real", "config.toml"), file); err != nil {
		t.Fatal(err)
	}
	b := startFile(t, file)
	b.expectProvider(t, "one")
	if err := os.Remove(target); err != nil {
		t.Fatal(err)
	}
	b.log.await("configuration is invalid, the old one stays")
	write(t, target, onPortZero+sandboxNamed("two"))
	b.log.await(reloaded)
	b.expectProvider(t, "two")
}

// A secret in a file of its own is read again when that changes.
func TestReloadWhenASecretChanges(t *testing.T) {
	seen := make(chan string, 2)
	fake := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("Authorization")
		w.WriteHeader(http.StatusAccepted)
	})
	secret := filepath.Join(t.TempDir(), "key")
	write(t, secret, "SG.old\n")
	b := start(t, onPortZero+sendgridAt("mail", fake, "file:"+secret))
	b.expectProvider(t, "mail")
	if got := <-seen; got != "Bearer SG.old" {
		t.Errorf("got %q, want the old key", got)
	}
	replace(t, secret, "SG.new\n")
	b.log.await(reloaded)
	b.expectProvider(t, "mail")
	if got := <-seen; got != "Bearer SG.new" {
		t.Errorf("got %q, want the new key", got)
	}
	if log := b.log.String(); strings.Contains(log, "SG.") {
		t.Errorf("the log shows a key:\n%s", log)
	}
}

// An invalid file is logged with every problem and changes nothing; when it is
// right again it counts.
func TestReloadOfAnInvalidFile(t *testing.T) {
	b := start(t, onPortZero+sandboxNamed("one"))
	replace(t, b.file, "speed = 1\n"+onPortZero+sandboxNamed("two")+sandboxNamed("two"))
	for _, key := range []string{`"key":"speed"`, `"key":"provider[1].name"`} {
		if line := b.log.await("configuration is invalid, the old one stays"); !strings.Contains(line, key) {
			t.Errorf("got %s, want %s", line, key)
		}
	}
	b.expectProvider(t, "one")
	if err := os.Remove(b.file); err != nil {
		t.Fatal(err)
	}
	b.log.await("configuration is invalid, the old one stays")
	b.expectProvider(t, "one")
	replace(t, b.file, onPortZero+sandboxNamed("three"))
	b.log.await(reloaded)
	b.expectProvider(t, "three")
}

// A certificate that was not there yet is looked for, as secrets are: volumes
// are not renewed at once.
func TestReloadWhenACertificateComes(t *testing.T) {
	b := start(t, onPortZero+sandboxNamed("one"))
	cert := filepath.Join(filepath.Dir(b.file), "cert.pem")
	replace(t, b.file, "[smtp.tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n"+onPortZero+sandboxNamed("two"))
	b.log.await("cert.pem: no such file")
	write(t, cert, "a certificate")
	b.log.await("key.pem: no such file")
	b.expectProvider(t, "one")
}

// What cannot be swapped is named, and nothing else is swapped with it.
func TestReloadThatNeedsARestart(t *testing.T) {
	const old = onPortZero
	tests := []struct{ key, configuration string }{
		{"data_dir", "data_dir = \"elsewhere\"\n" + old},
		{"smtp.listener", old + "[[smtp.listener]]\naddress = \"127.0.0.1:0\"\n"},
		{"http", strings.Replace(old, `admin_address = "127.0.0.1:0"`, `admin_address = "localhost:0"`, 1)},
	}
	b := start(t, old+sandboxNamed("one"))
	for _, test := range tests {
		write(t, b.file, test.configuration+sandboxNamed("two"))
		b.Reload()
		b.log.await(fmt.Sprintf(`"msg":"configuration needs a restart, the old one stays","keys":[%q]`, test.key))
		b.expectProvider(t, "one")
	}
}

// A file that has lost its providers, as one that a full disk has cut off, would
// have the sandbox answer 250 for all mail and send none.
func TestReloadWithoutProviders(t *testing.T) {
	fake := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	b := start(t, onPortZero+sendgridAt("mail", fake, "SG.key"))
	replace(t, b.file, onPortZero)
	b.log.await(`"msg":"configuration needs a restart, the old one stays","keys":["provider"]`)
	b.expectProvider(t, "mail")
	replace(t, b.file, onPortZero+sandboxNamed("try"))
	b.log.await(reloaded)
	b.expectProvider(t, "try")
}

// Who has no providers by oversight hears that the sandbox takes all mail; who
// tries it out does not, nor who has one beside a provider that sends.
func TestWarningOfTheSandbox(t *testing.T) {
	const warning = `"level":"WARN","msg":"the sandbox takes all mail and sends none"`
	b := start(t, onPortZero+sandboxNamed("try")+sendgridAt("mail", "http://127.0.0.1:1", "SG.key"))
	b.log.await("bridge started")
	replace(t, b.file, onPortZero+sandboxNamed("try"))
	b.log.await(reloaded)
	if log := b.log.String(); strings.Contains(log, warning) {
		t.Errorf("warned of nothing:\n%s", log)
	}
	start(t, onPortZero).log.await(warning)
}

// A new shutdown_timeout waits for a restart, and nothing waits with it.
func TestReloadOfTheShutdownTimeout(t *testing.T) {
	b := start(t, onPortZero+sandboxNamed("one"))
	write(t, b.file, "shutdown_timeout = \"1s\"\n"+onPortZero+sandboxNamed("two"))
	b.Reload()
	b.log.await(`"msg":"the new shutdown_timeout counts after a restart"`)
	b.log.await(reloaded)
	b.expectProvider(t, "two")
}

// What changes while it is read is noticed afterwards.
func TestReloadOfAChangeDuringTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	write(t, file, onPortZero+sendgridAt("one", "http://127.0.0.1:1", "env:BRIDGE_TEST_KEY"))
	b := startWith(t, file, func(string) (string, bool) {
		write(t, file, onPortZero+sandboxNamed("two"))
		return "SG.key", true
	})
	b.log.await(reloaded)
	b.expectProvider(t, "two")
}

// Limits, users and the log change under what runs.
func TestReloadSwaps(t *testing.T) {
	b := start(t, onPortZero)
	write(t, b.file, "[log]\nformat = \"text\"\nlevel = \"warn\"\n[smtp]\nmax_message_size = 10\nallow_networks = []\n"+onPortZero)
	b.Reload()
	if got := b.send(t, "you@sandbox.test"); !strings.HasPrefix(got, "554 5.7.1 relay_denied: ") {
		t.Errorf("nobody is allowed: got %s, want 554 5.7.1", got)
	}
	write(t, b.file, "[log]\nformat = \"text\"\n[smtp]\nmax_message_size = 10\n"+onPortZero)
	b.Reload()
	b.log.await(`msg="configuration reloaded"`)
	if got := b.send(t, "you@sandbox.test"); !strings.HasPrefix(got, "552 5.3.4 too_large: ") {
		t.Errorf("beyond 10 octets: got %s, want 552 5.3.4", got)
	}
	if log := b.log.String(); strings.Contains(log, reloaded) {
		t.Errorf("the first reload was logged below its own level:\n%s", log)
	}
}

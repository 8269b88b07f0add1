package smtpbridge_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// taken is the script's line for a mail that was: by whom, how, and its id.
var taken = regexp.MustCompile(`(?m)^ok (\w+) (\w+): 250 2\.0\.0 provider=sandbox id=([0-9A-Z]{26})\r?$`)

// What curl, swaks and msmtp send by testdata/clients/run.sh arrives, whatever
// way they come.
func TestClients(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("the script needs bash")
	}
	cert, key := certificate(t)
	b := start(t, fmt.Sprintf(`
[smtp.tls]
cert_file = %q
key_file = %q
[[smtp.listener]]
address = "127.0.0.1:0"
tls = "starttls"
auth = "optional"
[[smtp.listener]]
address = "127.0.0.1:0"
tls = "implicit"
[[smtp.user]]
name = "app"
password = "correct horse"
`, cert, key))
	script := exec.CommandContext(t.Context(), "testdata/clients/run.sh", b.smtp[0], b.smtp[1])
	script.Env = append(os.Environ(), "CA_FILE="+cert, "SMTP_USER=app", "SMTP_PASSWORD=correct horse")
	output, err := script.CombinedOutput()
	t.Logf("%s", output)
	if err != nil {
		t.Fatal(err)
	}
	const all = 12 // 3 clients, each plain, by STARTTLS, by AUTH over that, and by TLS
	lines := taken.FindAllStringSubmatch(string(output), -1)
	if skipped := strings.Count(string(output), "skipped "); len(lines)+skipped != all {
		t.Errorf("%d mails were taken and %d skipped, want %d together", len(lines), skipped, all)
	}
	for _, line := range lines {
		checkArrived(t, b, line[1], line[2], line[3])
	}
}

func checkArrived(t *testing.T, b bridge, client, way, id string) {
	t.Helper()
	var got struct {
		Subject string
		User    string
		Content struct {
			Text        struct{ Content string }
			Attachments []struct {
				Name  string
				Bytes int64
			}
		}
	}
	b.decode(t, "/api/v1/messages/"+id, &got)
	if want := client + " " + way; got.Subject != want {
		t.Errorf("%s: the subject is %q", want, got.Subject)
	}
	if user := map[string]string{"auth": "app"}[way]; got.User != user {
		t.Errorf("%s %s: the user is %q, want %q", client, way, got.User, user)
	}
	if files := got.Content.Attachments; len(files) != 1 || files[0].Name != "attachment.bin" || files[0].Bytes != 300_000 {
		t.Errorf("%s %s: attached is %v, want attachment.bin of 300,000 octets", client, way, files)
	}
	want := fmt.Sprintf("Sent by %s, %s.", client, way)
	if client != "swaks" { // which makes its own mail
		want += "\r\n.\r\n..a line that begins with dots\r\n"
	}
	if text := got.Content.Text.Content; !strings.HasPrefix(text, want) {
		t.Errorf("%s %s: the text is %q, want %q", client, way, text, want)
	}
}

// certificate makes one for 127.0.0.1 that signs itself, and its key, as files.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "the bridge under test"}, // OpenSSL wants a name
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return certFile, keyFile
}

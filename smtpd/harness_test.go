package smtpd_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/smtpd"
	"smtpbridge/translate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = time.Minute

// mail is what reached delivery.
type mail struct {
	Envelope translate.Envelope
	Raw      string
}

// delivery is the far side of the server: it keeps what it gets.
type delivery struct {
	recipient func(address string) *providers.Error
	outcome   func(ctx context.Context, m *translate.Message) providers.Outcome

	mu      sync.Mutex
	mails   []mail
	replied map[string][]bool // what was told of the replies, by bridge id
	refused []string          // of each mail that was not handed over: recipients, octets, category
}

func (d *delivery) Recipient(_ context.Context, _ translate.Envelope, address string) *providers.Error {
	if d.recipient == nil {
		return nil
	}
	return d.recipient(address)
}

func (d *delivery) Deliver(ctx context.Context, m *translate.Message) providers.Outcome {
	defer m.Close()
	raw, err := m.Raw()
	if err != nil {
		return providers.Fail(m.Envelope.Recipients, providers.Refused, &providers.Error{Category: providers.LocalFailure, Cause: err})
	}
	defer raw.Close()
	content, _ := io.ReadAll(raw)
	envelope := m.Envelope
	if late := time.Since(envelope.Complete); late < 0 || late > time.Minute {
		return providers.Fail(envelope.Recipients, providers.Refused, &providers.Error{Category: providers.Unknown, Message: "Complete is not now"})
	}
	envelope.Complete = time.Time{} // no two tests end at the same moment
	d.mu.Lock()
	d.mails = append(d.mails, mail{envelope, string(content)})
	d.mu.Unlock()
	if d.outcome != nil {
		return d.outcome(ctx, m)
	}
	return take(m.Envelope.Recipients)
}

func (d *delivery) Refused(e translate.Envelope, bytes int64, refusal *providers.Error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused = append(d.refused, fmt.Sprintf("%s %d %s", strings.Join(e.Recipients, " "), bytes, refusal.Category))
}

func (d *delivery) Replied(id string, given bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.replied == nil {
		d.replied = make(map[string][]bool)
	}
	d.replied[id] = append(d.replied[id], given)
}

// told is what was told of the reply to a mail.
func (d *delivery) told(m mail) []bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.replied[m.Envelope.BridgeID]
}

// checkTold wants one word on the reply to each mail, and to nothing else.
func (d *delivery) checkTold(t *testing.T) {
	t.Helper()
	for _, m := range d.got() {
		if told := d.told(m); len(told) != 1 {
			t.Errorf("of the reply to %s was told %v, want one word", m.Envelope.BridgeID, told)
		}
	}
	if got, want := len(d.replied), len(d.got()); got != want {
		t.Errorf("was told of the replies to %d mails, got %d", got, want)
	}
}

// take is the outcome in which the provider "esp" took everything.
func take(recipients []string) providers.Outcome {
	outcome := make(providers.Outcome, len(recipients))
	for i, recipient := range recipients {
		outcome[i] = providers.Result{Recipient: recipient, State: providers.Accepted, Provider: "esp"}
	}
	return outcome
}

func (d *delivery) got() []mail {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mails
}

// server is a running smtpd.
type server struct {
	*smtpd.Server
	*delivery
	t        *testing.T
	registry *prometheus.Registry
	spool    string
	logs     *lockedBuffer
	pool     *x509.CertPool
	// stop ends Run's context; done gives what Run returned.
	stop context.CancelFunc
	done chan error
}

// build makes a server for the configuration; each listener is one of cfg's,
// on a port of its own.
func build(t *testing.T, d *delivery, change func(*smtpd.Config)) *server {
	t.Helper()
	cfg := smtpd.DefaultConfig()
	cfg.Listeners[0].Address = "127.0.0.1:0"
	if change != nil {
		change(&cfg)
	}
	cfg.Validate(func(key, problem string) { t.Fatalf("invalid test configuration: %s: %s", key, problem) })
	s := &server{
		delivery: d, t: t, registry: prometheus.NewRegistry(), logs: new(lockedBuffer), done: make(chan error, 1),
	}
	if cfg.TLS.CertFile != "" {
		s.pool = x509.NewCertPool()
		certificate, err := os.ReadFile(cfg.TLS.CertFile)
		if err != nil || !s.pool.AppendCertsFromPEM(certificate) {
			t.Fatal("no certificate:", err)
		}
	}
	s.spool = filepath.Join(t.TempDir(), "spool")
	err := os.Mkdir(s.spool, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	s.Server, err = smtpd.New(cfg, smtpd.Options{
		Delivery: d, SpoolDir: s.spool, ShutdownTimeout: patience, Registerer: s.registry,
		Logger: slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start builds a server and runs it until the test ends.
func start(t *testing.T, change func(*smtpd.Config)) *server {
	t.Helper()
	s := build(t, new(delivery), change)
	s.run()
	return s
}

func (s *server) run() {
	s.t.Helper()
	if err := s.Listen(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.serve()
}

func (s *server) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.done <- s.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-s.done; err != nil {
			s.t.Error("Run:", err)
		}
		s.checkTold(s.t)
		if s.t.Failed() {
			s.t.Log(s.logs.String())
		}
	})
}

// wait gives what Run returned, and leaves it for the clean-up.
func (s *server) wait() error {
	err := <-s.done
	s.done <- err
	return err
}

// breakSpool takes the spool's directory away.
func (s *server) breakSpool() {
	s.t.Helper()
	if err := os.Remove(s.spool); err != nil {
		s.t.Fatal(err)
	}
}

// dial connects to the listener of that index.
func (s *server) dial(t *testing.T, index int) *client {
	t.Helper()
	address := s.Addrs()[index]
	conn, err := net.Dial(address.Network(), address.String())
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, conn)
}

// tlsConfig trusts the test's certificate.
func (s *server) tlsConfig() *tls.Config {
	return &tls.Config{RootCAs: s.pool, ServerName: "localhost"}
}

// client is one end of a dialogue, as plain as telnet.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func newClient(t *testing.T, conn net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &client{conn, t, bufio.NewReader(conn)}
}

// startTLS goes on over TLS.
func (c *client) startTLS(config *tls.Config) tls.ConnectionState {
	c.t.Helper()
	secure := tls.Client(c.Conn, config)
	if err := secure.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.Conn, c.r = secure, bufio.NewReader(secure)
	return secure.ConnectionState()
}

// send writes the text as it is.
func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, text); err != nil {
		c.t.Fatalf("sending %.60q: %v", text, err)
	}
}

// reply reads one reply with all its lines, without CRLF.
func (c *client) reply() (string, error) {
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(append(lines, line), "\n"), err
		}
		line = strings.TrimSuffix(line, "\r\n")
		lines = append(lines, line)
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "\n"), nil
		}
	}
}

// expect reads a reply, which must match one of the patterns. In them * is any
// text.
func (c *client) expect(patterns ...string) string {
	c.t.Helper()
	got, err := c.reply()
	if err != nil || !slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, got) }) {
		c.t.Fatalf("got %q and %v, want %q", got, err, patterns)
	}
	return got
}

func matches(pattern, text string) bool {
	escape := strings.NewReplacer("/", "|", "[", "(", "]", ")", `\`, "|")
	ok, err := path.Match(escape.Replace(pattern), escape.Replace(text))
	return ok && err == nil
}

// expectEnd wants the connection closed, with nothing said before.
func (c *client) expectEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || os.IsTimeout(err) {
		c.t.Fatalf("got %q and %v, want the end of the connection", rest, err)
	}
}

// talk plays a dialogue: lines that begin with "C: " are sent, those with
// "S: " are patterns of what must come back.
func (c *client) talk(script string) {
	c.t.Helper()
	for line := range strings.Lines(strings.TrimSpace(script)) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "C:"); ok {
			c.send(strings.TrimPrefix(text, " ") + "\r\n")
		} else if pattern, ok := strings.CutPrefix(line, "S: "); ok {
			c.expect(pattern)
		} else {
			c.t.Fatalf("neither C: nor S: in %q", line)
		}
	}
}

// greet takes the greeting and says EHLO.
func (c *client) greet() *client {
	c.t.Helper()
	c.talk(`
		S: 220 localhost *
		C: EHLO client.example
		S: 250-Hello*
	`)
	return c
}

// begin opens a transaction up to the 354.
func (c *client) begin() *client {
	c.t.Helper()
	c.talk(`
		C: MAIL FROM:<from@example.com>
		S: 250 *
		C: RCPT TO:<to@example.com>
		S: 250 *
		C: DATA
		S: 354 *
	`)
	return c
}

// lockedBuffer takes the log of many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// withTLS gives the configuration a certificate for localhost.
func withTLS(t *testing.T, cfg *smtpd.Config) {
	t.Helper()
	dir := t.TempDir()
	cfg.TLS = smtpd.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	writeCertificate(t, cfg.TLS, 1)
}

// writeCertificate makes a new key and a certificate with that serial number.
func writeCertificate(t *testing.T, files smtpd.TLS, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: fmt.Sprintf("serial %d", serial)},
		DNSNames:     []string{"localhost"},
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		files.CertFile: {Type: "CERTIFICATE", Bytes: der},
		files.KeyFile:  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// withUser lets alice log in.
func withUser(cfg *smtpd.Config) {
	cfg.Users = []smtpd.User{{Name: "alice", Password: config.NewSecret("wonderland")}}
}

// eventually waits for what no reply tells.
func (s *server) eventually(is func() bool) {
	s.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatal("it did not happen")
		}
	}
}

// metric reads a gauge, a counter or the number of a histogram's samples, by the
// name and the value of its only label.
func (s *server) metric(name, label string) float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	s.t.Fatalf("no metric %s{%s}", name, label)
	return 0
}

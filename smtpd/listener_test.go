package smtpd_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"

	"smtpbridge/smtpd"
)

// Several listeners serve at once, each in its own way.
func TestListeners(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) {
		withTLS(t, cfg)
		cfg.Listeners = []smtpd.Listener{
			{Address: "127.0.0.1:0"},
			{Address: "127.0.0.1:0", Protocol: "lmtp"},
			{Address: "unix:" + filepath.Join(t.TempDir(), "smtp.sock")},
			{Address: "127.0.0.1:0", TLS: "starttls"},
		}
	})
	for i, want := range []string{"220 localhost ESMTP *", "220 localhost LMTP *", "220 localhost ESMTP *", "220 localhost ESMTP *"} {
		s.dial(t, i).expect(want)
	}
	if ehlo := s.dial(t, 0).greet(); ehlo == nil {
		t.Fatal("no EHLO")
	}
}

// EHLO shows what a listener can do, and no more.
func TestExtensions(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) {
		withTLS(t, cfg)
		withUser(cfg)
		cfg.Listeners = []smtpd.Listener{
			{Address: "127.0.0.1:0"},
			{Address: "127.0.0.1:0", TLS: "starttls", Auth: "optional"},
			{Address: "127.0.0.1:0", TLS: "starttls", Auth: "optional", ProxyProtocol: true},
		}
	})
	const always = "PIPELINING 8BITMIME ENHANCEDSTATUSCODES CHUNKING SMTPUTF8 DSN SIZE_26214400 LIMITS_RCPTMAX=500"
	ehlo := func(c *client) string {
		c.send("EHLO client.example\r\n")
		_, extensions, _ := strings.Cut(c.expect("250-Hello*"), "\n")
		var names []string
		for line := range strings.Lines(extensions) {
			names = append(names, strings.ReplaceAll(strings.TrimSpace(line[len("250-"):]), " ", "_"))
		}
		return strings.Join(names, " ")
	}
	check := func(name, got, want string) {
		t.Helper()
		missing := strings.Fields(want)
		for _, extension := range missing {
			if !strings.Contains(" "+got+" ", " "+extension+" ") {
				t.Errorf("%s: no %s in %q", name, extension, got)
			}
		}
		if n := len(strings.Fields(got)); n != len(missing) {
			t.Errorf("%s: %d extensions in %q, want %d", name, n, got, len(missing))
		}
	}
	c := s.dial(t, 0)
	c.expect("220 *")
	check("plain", ehlo(c), always)

	c = s.dial(t, 1)
	c.expect("220 *")
	check("AUTH on loopback", ehlo(c), always+" STARTTLS AUTH_PLAIN_LOGIN")

	// From elsewhere AUTH needs TLS.
	c = s.dial(t, 2)
	c.send("PROXY TCP4 203.0.113.9 203.0.113.1 4711 25\r\n")
	c.expect("220 *")
	check("before TLS", ehlo(c), always+" STARTTLS")
	c.talk("C: AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nS: 523 *\nC: STARTTLS\nS: 220 *")
	c.startTLS(s.tlsConfig())
	check("over TLS", ehlo(c), always+" AUTH_PLAIN_LOGIN")
	c.talk("C: AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nS: 235 *\nC: STARTTLS\nS: 502 *")
}

// A dead socket file is replaced, a live one and a file of another kind are
// not, and nothing is left behind.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "smtp.sock")
	listen := func(cfg *smtpd.Config) { cfg.Listeners[0].Address = "unix:" + path }
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()

	s := start(t, listen)
	s.dial(t, 0).greet().begin()
	second := build(t, new(delivery), listen)
	if err := second.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "another process listens on "+path) {
		t.Errorf("on a live socket: %v", err)
	}
	s.dial(t, 0).greet()
	s.stop()
	// A transaction is open: it may end before the socket goes.
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestUnixSocketGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "smtp.sock")
	s := start(t, func(cfg *smtpd.Config) { cfg.Listeners[0].Address = "unix:" + path })
	s.stop()
	if err := s.wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other := build(t, new(delivery), func(cfg *smtpd.Config) { cfg.Listeners[0].Address = "unix:" + path })
	if err := other.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("on a plain file: %v", err)
	}
}

// Where one address cannot be bound, none is.
func TestListenAllOrNone(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := filepath.Join(t.TempDir(), "smtp.sock")
	s := build(t, new(delivery), func(cfg *smtpd.Config) {
		cfg.Listeners = []smtpd.Listener{{Address: "unix:" + path}, {Address: taken.Addr().String()}}
	})
	if err := s.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("got %v, want the address that is taken", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the first listener is still there: %v", err)
	}
}

// With proxy_protocol the address in the header is the client's, and a
// connection without one is closed.
func TestProxyProtocol(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) {
		cfg.Listeners[0].ProxyProtocol = true
		cfg.AllowNetworks = []string{"203.0.113.0/24", "2001:db8::/32", "127.0.0.0/8"}
	})
	v2 := func(source string) string {
		client, server := &net.TCPAddr{IP: net.ParseIP(source), Port: 4711}, &net.TCPAddr{IP: net.ParseIP(source), Port: 25}
		header, err := proxyproto.HeaderProxyFromAddrs(2, client, server).Format()
		if err != nil {
			t.Fatal(err)
		}
		return string(header)
	}
	for _, tt := range []struct{ name, header, mail, client string }{
		{"v1 allowed", "PROXY TCP4 203.0.113.9 203.0.113.1 4711 25\r\n", "250 *", "203.0.113.9"},
		{"v1 IPv6 allowed", "PROXY TCP6 2001:db8::1 2001:db8::2 4711 25\r\n", "250 *", "2001:db8::1"},
		{"v1 stranger", "PROXY TCP4 198.51.100.1 203.0.113.1 4711 25\r\n", "554 5.7.1 relay_denied: * id=*", ""},
		{"v2 allowed", v2("203.0.113.10"), "250 *", "203.0.113.10"},
		{"v2 stranger", v2("198.51.100.1"), "554 5.7.1 relay_denied: * id=*", ""},
		// What the proxy sends for itself or for nobody has no address, not the
		// proxy's own, which would be allowed.
		{"v1 unknown", "PROXY UNKNOWN\r\n", "554 5.7.1 relay_denied: * id=*", ""},
		{"v2 local", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "554 5.7.1 relay_denied: * id=*", ""},
		// A client of the proxy's unix socket is none of ours.
		{"v2 unix", v2Unix(t), "554 5.7.1 relay_denied: * id=*", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(s.got())
			c := s.dial(t, 0)
			c.send(tt.header)
			c.greet()
			c.talk("C: MAIL FROM:<a@example.com>\nS: " + tt.mail)
			if tt.client == "" {
				return
			}
			c.talk("C: RCPT TO:<b@example.com>\nS: 250 *\nC: DATA\nS: 354 *\nC: .\nS: 250 *")
			if got := s.got()[before].Envelope.Client; got != tt.client {
				t.Errorf("client %q, want %q", got, tt.client)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		c := s.dial(t, 0)
		c.send("EHLO client.example\r\n")
		c.expectEnd()
	})
}

func v2Unix(t *testing.T) string {
	t.Helper()
	header := proxyproto.Header{
		Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.UnixStream,
		SourceAddr: &net.UnixAddr{Name: "/a", Net: "unix"}, DestinationAddr: &net.UnixAddr{Name: "/b", Net: "unix"},
	}
	text, err := header.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A client over the limit is told so, and a place that is left is free again.
func TestConnectionLimits(t *testing.T) {
	const busy = "421 4.3.2 busy: too many connections*"
	s := start(t, func(cfg *smtpd.Config) {
		cfg.MaxConnections = 3
		cfg.MaxConnectionsPerIP = 2
		cfg.Listeners = append(cfg.Listeners,
			smtpd.Listener{Address: "127.0.0.1:0", ProxyProtocol: true},
			smtpd.Listener{Address: "unix:" + filepath.Join(t.TempDir(), "smtp.sock")})
	})
	first := s.dial(t, 0).greet()
	s.dial(t, 0).greet()
	third := s.dial(t, 0)
	third.expect("421 4.3.2 busy: too many connections from your address")
	third.expectEnd()
	s.eventually(func() bool { return s.metric("bridge_smtp_connections", "") == 2 })

	// Another address has places of its own, until there is none at all.
	other := s.dial(t, 1)
	other.send("PROXY TCP4 203.0.113.9 203.0.113.1 4711 25\r\n")
	other.greet()
	fourth := s.dial(t, 2)
	fourth.expect(busy)
	fourth.expectEnd()

	first.talk("C: QUIT\nS: 221 *")
	first.expectEnd()
	s.eventually(func() bool { return s.metric("bridge_smtp_connections", "") == 2 })
	s.dial(t, 0).greet()
}

// A certificate that is replaced is shown from the next handshake on; a broken
// one changes nothing.
func TestCertificateReload(t *testing.T) {
	var files smtpd.TLS
	s := start(t, func(cfg *smtpd.Config) {
		withTLS(t, cfg)
		files = cfg.TLS
		cfg.Listeners[0].TLS = "starttls"
	})
	serial := func() int64 {
		c := s.dial(t, 0).greet()
		c.talk("C: STARTTLS\nS: 220 *")
		config := s.tlsConfig()
		config.InsecureSkipVerify = true
		return c.startTLS(config).PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Fatalf("serial %d, want 1", got)
	}
	// It is larger, whatever its signature: its time may be that of the first.
	writeCertificate(t, files, 1_000_000_007)
	if got := serial(); got != 1_000_000_007 {
		t.Errorf("serial %d after the change, want the new one", got)
	}
	if err := os.WriteFile(files.CertFile, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := serial(); got != 1_000_000_007 {
			t.Errorf("serial %d with a broken file, want the last good one", got)
		}
	}
	if n := strings.Count(s.logs.String(), "certificate cannot be used"); n != 1 {
		t.Errorf("the broken file was logged %d times, want once", n)
	}
}

// Text that was pipelined behind STARTTLS in the clear is never a command, and
// what was said before TLS is forgotten (RFC 3207, 4.2; CVE-2011-0411).
func TestStartTLSForgets(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) {
		withTLS(t, cfg)
		withUser(cfg)
		cfg.Listeners[0].TLS = "starttls"
		cfg.Listeners[0].Auth = "required"
	})
	c := s.dial(t, 0).greet()
	c.talk("C: AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nS: 235 *\nC: MAIL FROM:<a@example.com>\nS: 250 *")
	c.talk("C: ſTARTTL\nS: 501 *")
	c.send("ſTARTTLS\r\nRCPT TO:<smuggled@example.com>\r\nDATA\r\nSubject: smuggled\r\n.\r\n")
	c.expect("220 *")
	c.startTLS(s.tlsConfig())
	c.talk(`
		C: MAIL FROM:<a@example.com>
		S: 502 *
		C: EHLO client.example
		S: 250-Hello*
		C: RCPT TO:<b@example.com>
		S: 502 *
		C: MAIL FROM:<a@example.com>
		S: 530 5.7.0 auth_required: * id=*
		C: AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=
		S: 235 *
		C: MAIL FROM:<a@example.com>
		S: 250 *
		C: RCPT TO:<b@example.com>
		S: 250 *
		C: DATA
		S: 354 *
		C: Subject: mine
		C: .
		S: 250 *
	`)
	if got := s.got(); len(got) != 1 || got[0].Raw != "Subject: mine\r\n" || fmt.Sprint(got[0].Envelope.Recipients) != "[b@example.com]" {
		t.Errorf("got %q, want one mail to b", got)
	}
}

// A word of an AUTH dialogue is no command, whatever it spells.
func TestStartTLSAsPassword(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) {
		withTLS(t, cfg)
		withUser(cfg)
		cfg.Listeners[0].TLS = "starttls"
		cfg.Listeners[0].Auth = "optional"
	})
	s.SetPause(noPause)
	s.dial(t, 0).greet().talk("C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: STARTTLS\nS: 334 UGFzc3dvcmQ6\nC: STARTTLS\nS: 535 *\nC: NOOP\nS: 250 *")
}

// A handshake that fails ends the connection, and only that.
func TestHandshakeFails(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) {
		withTLS(t, cfg)
		cfg.Listeners[0].TLS = "starttls"
		cfg.Listeners = append(cfg.Listeners, smtpd.Listener{Address: "127.0.0.1:0", TLS: "implicit"})
	})
	c := s.dial(t, 0).greet()
	c.talk("C: STARTTLS\nS: 220 *")
	c.send("EHLO client.example\r\n")
	if said, err := c.reply(); err == nil && strings.HasPrefix(said, "250") {
		t.Errorf("plain text got %q", said)
	}
	c = s.dial(t, 1)
	c.send("EHLO client.example\r\n")
	if said, err := c.reply(); err == nil && strings.HasPrefix(said, "2") {
		t.Errorf("plain text got %q", said)
	}
	s.dial(t, 0).greet()
}

// New fails on a certificate that cannot be read.
func TestNewWithoutCertificate(t *testing.T) {
	cfg := smtpd.DefaultConfig()
	cfg.TLS = smtpd.TLS{CertFile: "/nowhere/cert.pem", KeyFile: "/nowhere/key.pem"}
	if _, err := smtpd.New(cfg, smtpd.Options{}); err == nil || !strings.Contains(err.Error(), "/nowhere/cert.pem") {
		t.Errorf("got %v, want the missing file", err)
	}
}

// Run without a connection ends at once.
func TestRunEnds(t *testing.T) {
	s := build(t, new(delivery), nil)
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", s.Addrs()[0].String()); err == nil {
		conn.Close()
		t.Error("the listener is still open")
	}
}

package smtpd_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"smtpbridge/internal/config"
	"smtpbridge/smtpd"
)

func noPause(context.Context, time.Duration) {}

// Who may send depends on the address, the listener and the login.
func TestAccess(t *testing.T) {
	const (
		inside  = "PROXY TCP4 10.1.2.3 10.0.0.1 4711 25\r\n"
		outside = "PROXY TCP4 203.0.113.9 10.0.0.1 4711 25\r\n"
		denied  = "554 5.7.1 relay_denied: * id=*"
		login   = "530 5.7.0 auth_required: log in first id=*"
		secure  = "530 5.7.0 auth_required: begin TLS, then log in id=*"
	)
	for _, tt := range []struct {
		name, auth, from, want string
	}{
		{"inside, off", "off", inside, "250 *"},
		{"inside, optional", "optional", inside, "250 *"},
		{"inside, required", "required", inside, secure},
		{"outside, off", "off", outside, denied},
		{"outside, optional", "optional", outside, secure},
		{"outside, required", "required", outside, secure},
		{"loopback, not listed", "optional", "", login},
		{"loopback, not listed, off", "off", "", denied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, func(cfg *smtpd.Config) {
				withTLS(t, cfg)
				withUser(cfg)
				cfg.AllowNetworks = []string{"10.0.0.0/8"}
				cfg.Listeners[0].Auth = tt.auth
				cfg.Listeners[0].TLS = "starttls"
				cfg.Listeners[0].ProxyProtocol = tt.from != ""
			})
			c := s.dial(t, 0)
			c.send(tt.from)
			c.greet().talk("C: MAIL FROM:<a@example.com>\nS: " + tt.want)
			if tt.auth == "off" || tt.from == "" {
				return
			}
			c.talk("C: RSET\nS: 250 *\nC: STARTTLS\nS: 220 *")
			c.startTLS(s.tlsConfig())
			c.talk("C: EHLO a\nS: 250-*\nC: AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nS: 235 *\nC: MAIL FROM:<a@example.com>\nS: 250 *")
		})
	}
	t.Run("a unix socket is allowed", func(t *testing.T) {
		s := start(t, func(cfg *smtpd.Config) {
			cfg.AllowNetworks = []string{}
			cfg.Listeners[0].Address = "unix:" + filepath.Join(t.TempDir(), "smtp.sock")
		})
		s.dial(t, 0).greet().talk("C: MAIL FROM:<a@example.com>\nS: 250 *")
	})
	t.Run("a unix socket with required AUTH", func(t *testing.T) {
		s := start(t, func(cfg *smtpd.Config) {
			withUser(cfg)
			cfg.Listeners[0].Address = "unix:" + filepath.Join(t.TempDir(), "smtp.sock")
			cfg.Listeners[0].Auth = "required"
		})
		s.dial(t, 0).greet().talk("C: MAIL FROM:<a@example.com>\nS: " + login +
			"\nC: AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\nS: 235 *\nC: MAIL FROM:<a@example.com>\nS: 250 *")
	})
}

// plain and login are the two dialogues.
func plain(identity, name, password string) string {
	return "C: AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte(identity+"\x00"+name+"\x00"+password)) + "\nS: "
}

func login(name, password string) string {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	return "C: AUTH LOGIN\nS: 334 " + encode("Username:") + "\nC: " + encode(name) +
		"\nS: 334 " + encode("Password:") + "\nC: " + encode(password) + "\nS: "
}

// Passwords and bcrypt hashes are checked in both mechanisms.
func TestLogin(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("looking-glass"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, func(cfg *smtpd.Config) {
		withUser(cfg)
		cfg.Users = append(cfg.Users, smtpd.User{Name: "queen", Password: config.NewSecret(string(hash))})
		cfg.Listeners[0].Auth = "required"
	})
	s.SetPause(noPause)
	const ok, failed = "235 *", "535 5.7.8 auth_failed: *"
	for _, tt := range []struct{ name, dialogue, want string }{
		{"password", plain("", "alice", "wonderland"), ok},
		{"password by LOGIN", login("alice", "wonderland"), ok},
		{"name with the command", "C: AUTH LOGIN YWxpY2U=\nS: 334 *\nC: d29uZGVybGFuZA==\nS: ", ok},
		{"PLAIN in two steps", "C: AUTH PLAIN\nS: 334 *\nC: AGFsaWNlAHdvbmRlcmxhbmQ=\nS: ", ok},
		{"own identity", plain("alice", "alice", "wonderland"), ok},
		{"hash", plain("", "queen", "looking-glass"), ok},
		{"hash again", plain("", "queen", "looking-glass"), ok},
		{"hash by LOGIN", login("queen", "looking-glass"), ok},

		{"wrong password", plain("", "alice", "Wonderland"), failed},
		{"wrong password by LOGIN", login("alice", ""), failed},
		{"empty password", plain("", "alice", ""), failed},
		{"wrong password for a hash", plain("", "queen", "wonderland"), failed},
		{"the hash itself", plain("", "queen", string(hash)), failed},
		{"unknown user", plain("", "rabbit", "wonderland"), failed},
		{"unknown user by LOGIN", login("", ""), failed},
		{"somebody else's identity", plain("queen", "alice", "wonderland"), failed},

		{"unknown mechanism", "C: AUTH CRAM-MD5\nS: ", "504 *"},
		{"not base64", "C: AUTH PLAIN !\nS: ", "454 *"},
		{"given up", "C: AUTH LOGIN\nS: 334 *\nC: *\nS: ", "501 *"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := s.dial(t, 0).greet()
			c.talk(tt.dialogue + tt.want)
			mail := "530 *"
			if tt.want == ok {
				mail = "250 *"
			}
			c.talk("C: MAIL FROM:<a@example.com>\nS: " + mail)
		})
	}
	for _, secret := range []string{"wonderland", "looking-glass", string(hash)} {
		if strings.Contains(s.logs.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// AUTH where it is off is refused whatever is given.
func TestAuthOff(t *testing.T) {
	s := start(t, nil)
	s.dial(t, 0).greet().talk(plain("", "alice", "wonderland") + "502 *")
}

// Failures are answered later and later, per client, up to a limit; a success
// is not.
func TestLoginSlowsDown(t *testing.T) {
	s := start(t, func(cfg *smtpd.Config) {
		withTLS(t, cfg)
		withUser(cfg)
		cfg.Listeners[0].TLS = "implicit"
		cfg.Listeners[0].Auth = "required"
		cfg.Listeners[0].ProxyProtocol = true
	})
	var mu sync.Mutex
	var waited []time.Duration
	s.SetPause(func(_ context.Context, d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		waited = append(waited, d)
	})
	attempt := func(address, password, want string) {
		t.Helper()
		c := s.dial(t, 0)
		c.send("PROXY TCP6 " + address + " 2001:db8::1 4711 25\r\n")
		c.startTLS(s.tlsConfig())
		c.greet().talk(plain("", "alice", password) + want)
	}
	for i := range 8 {
		// One household has many addresses.
		attempt(fmt.Sprintf("2001:db8:1:1::%d", i+1), "wrong", "535 *")
	}
	attempt("2001:db8:1:1::1", "wonderland", "235 *")
	attempt("2001:db8:1:2::1", "wrong", "535 *")
	want := "[250ms 500ms 1s 2s 4s 8s 8s 8s 250ms]"
	if got := fmt.Sprint(waited); got != want {
		t.Errorf("waited %s, want %s", got, want)
	}
}

// A failure is forgotten in time, and no crowd can fill the memory.
func TestThrottle(t *testing.T) {
	now := time.Now()
	throttle := smtpd.NewThrottle(func() time.Time { return now })
	client := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	check := func(ip netip.Addr, want time.Duration) {
		t.Helper()
		if got := throttle.Fail(ip); got != want {
			t.Errorf("waits %v, want %v", got, want)
		}
	}
	check(client(0), 250*time.Millisecond)
	now = now.Add(9 * time.Minute)
	check(client(0), 500*time.Millisecond)
	now = now.Add(11 * time.Minute)
	check(client(0), 250*time.Millisecond)
	// Over a unix socket there is no address, and one place for all.
	check(netip.Addr{}, 250*time.Millisecond)
	check(netip.Addr{}, 500*time.Millisecond)

	// What is old goes first, then anybody.
	now = now.Add(11 * time.Minute)
	for i := range smtpd.MaxFailing + 100 {
		throttle.Fail(client(1 + i))
	}
	if got := throttle.Len(); got != smtpd.MaxFailing {
		t.Errorf("%d clients are remembered, want %d", got, smtpd.MaxFailing)
	}
	now = now.Add(11 * time.Minute)
	throttle.Fail(client(0))
	if got := throttle.Len(); got != 1 {
		t.Errorf("%d clients are remembered, want the one that is not old", got)
	}
}

// The answer to a failure waits; that to a success does not.
func TestFailureWaits(t *testing.T) {
	bubble(t, new(delivery), func(cfg *smtpd.Config) {
		withUser(cfg)
		cfg.Listeners[0].Auth = "optional"
	}, func(s *server, dial func() *client) {
		c := dial().greet()
		for _, want := range []time.Duration{250 * time.Millisecond, 500 * time.Millisecond} {
			since := time.Now()
			c.talk(plain("", "alice", "wrong") + "535 *")
			if took := time.Since(since); took != want {
				s.t.Errorf("took %v, want %v", took, want)
			}
		}
		since := time.Now()
		c.talk(plain("", "alice", "wonderland") + "235 *")
		if took := time.Since(since); took != 0 {
			s.t.Errorf("a success took %v", took)
		}
	})
}

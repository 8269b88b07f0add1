package smtpd

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"golang.org/x/crypto/bcrypt"

	"smtpbridge/providers"
)

const (
	// bcryptPrefix marks a hash among the passwords.
	bcryptPrefix = "$2"
	// firstDelay is how long the first failed login waits for its answer; it
	// doubles up to longestDelay.
	firstDelay, longestDelay = 250 * time.Millisecond, 8 * time.Second
	// forgetFailures is how long a client must behave to begin anew.
	forgetFailures = 10 * time.Minute
	// maxFailing bounds the clients that are remembered.
	maxFailing = 10_000
)

// users are those who may log in. Whether a name is known, and how its
// password is kept, does not show in the time that a failure takes.
type users struct {
	key    [sha256.Size]byte // of what is remembered
	byName map[[sha256.Size]byte]*user
	decoy  []byte // a hash as costly as the costliest, nil where nobody has one
}

// user has a password, or its bcrypt hash.
type user struct {
	password [sha256.Size]byte
	hash     []byte
	// remembered is the keyed hash of the password that passed bcrypt last, so
	// that an application that logs in for each mail pays for it once.
	remembered atomic.Pointer[[sha256.Size]byte]
}

func newUsers(configured []User) (*users, error) {
	u := &users{byName: make(map[[sha256.Size]byte]*user, len(configured))}
	if _, err := rand.Read(u.key[:]); err != nil {
		return nil, err
	}
	cost := 0
	for _, c := range configured {
		password := c.Password.Reveal()
		entry := &user{password: sha256.Sum256([]byte(password))}
		if strings.HasPrefix(password, bcryptPrefix) {
			entry.hash = []byte(password)
			own, err := bcrypt.Cost(entry.hash)
			if err != nil {
				return nil, fmt.Errorf("reading a password hash: %w", err)
			}
			cost = max(cost, own)
		}
		u.byName[sha256.Sum256([]byte(c.Name))] = entry
	}
	if cost == 0 {
		return u, nil
	}
	var err error
	u.decoy, err = bcrypt.GenerateFromPassword(u.key[:], cost)
	return u, err
}

// checkHash reports a password that begins as a bcrypt hash and is none.
func checkHash(password string) error {
	if !strings.HasPrefix(password, bcryptPrefix) {
		return nil
	}
	_, err := bcrypt.Cost([]byte(password))
	return err
}

// verify reports whether the password is the user's.
func (u *users) verify(name, password string) bool {
	entry, known := u.byName[sha256.Sum256([]byte(name))]
	if !known {
		entry = &user{hash: u.decoy}
	}
	if entry.hash == nil {
		given := sha256.Sum256([]byte(password))
		if subtle.ConstantTimeCompare(given[:], entry.password[:]) == 1 && known {
			return true
		}
		if u.decoy != nil {
			_ = bcrypt.CompareHashAndPassword(u.decoy, []byte(password))
		}
		return false
	}
	return u.verifyHash(entry, password) && known
}

func (u *users) verifyHash(entry *user, password string) bool {
	mac := hmac.New(sha256.New, u.key[:])
	mac.Write([]byte(password))
	given := [sha256.Size]byte(mac.Sum(nil))
	if last := entry.remembered.Load(); last != nil && subtle.ConstantTimeCompare(given[:], last[:]) == 1 {
		return true
	}
	if bcrypt.CompareHashAndPassword(entry.hash, []byte(password)) != nil {
		return false
	}
	entry.remembered.Store(&given)
	return true
}

// throttle counts failed logins per client.
type throttle struct {
	now func() time.Time

	mu      sync.Mutex // guards failing
	failing map[netip.Prefix]failures
}

type failures struct {
	count int
	last  time.Time
}

func newThrottle() *throttle {
	return &throttle{now: time.Now, failing: make(map[netip.Prefix]failures)}
}

// fail counts a failure and says how long its answer waits.
func (t *throttle) fail(ip netip.Addr) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, client := t.now(), household(ip)
	f := t.failing[client]
	if now.Sub(f.last) > forgetFailures {
		f.count = 0
	}
	if _, known := t.failing[client]; !known && len(t.failing) >= maxFailing {
		t.forget(now)
	}
	t.failing[client] = failures{f.count + 1, now}
	return min(firstDelay<<min(f.count, 10), longestDelay)
}

// forget makes room: all that is old goes, else whatever comes first.
func (t *throttle) forget(now time.Time) {
	for client, f := range t.failing {
		if now.Sub(f.last) > forgetFailures {
			delete(t.failing, client)
		}
	}
	for client := range t.failing {
		if len(t.failing) < maxFailing {
			return
		}
		delete(t.failing, client)
	}
}

// household is what one client can choose its addresses from: one of IPv4, a
// /64 of IPv6.
func household(ip netip.Addr) netip.Prefix {
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: a unix socket
	}
	return prefix
}

// AuthMechanisms implements [smtp.AuthSession]: none where AUTH is off.
func (s *session) AuthMechanisms() []string {
	if !s.listener.offersAuth() {
		return nil
	}
	return []string{sasl.Plain, sasl.Login}
}

// Auth implements [smtp.AuthSession].
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	if !s.listener.offersAuth() {
		return nil, smtp.ErrAuthUnsupported
	}
	switch mechanism {
	case sasl.Plain:
		return sasl.NewPlainServer(func(identity, name, password string) error {
			if identity != "" && identity != name {
				password = "" // nobody may act for somebody else
			}
			return s.login(name, password)
		}), nil
	case sasl.Login:
		return &loginServer{login: s.login}, nil
	default:
		return nil, smtp.ErrAuthUnknownMechanism
	}
}

// login answers a failure late, and later each time.
func (s *session) login(name, password string) error {
	set := s.server.settings.Load()
	if set.users.verify(name, password) {
		s.user = name
		return nil
	}
	s.server.options.Logger.Warn("login refused", "client", s.peer.String())
	s.server.pause(s.ctx, s.server.throttle.fail(s.peer.ip))
	return replyError(set.soften(&providers.Error{
		Category: providers.AuthFailed, Message: "the user name or the password is wrong",
	}), "").smtp(0)
}

// loginServer is the LOGIN mechanism, which go-sasl has for clients only
// (draft-murchison-sasl-login).
type loginServer struct {
	login func(name, password string) error
	step  int
	name  string
}

// Next implements [sasl.Server]. The name may come with the AUTH command.
func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil && l.step == 0 {
		return []byte("Username:"), false, nil
	}
	l.step++
	switch l.step {
	case 1:
		l.name = string(response)
		return []byte("Password:"), false, nil
	case 2:
		return nil, true, l.login(l.name, string(response))
	default:
		return nil, false, errors.New("login has ended")
	}
}

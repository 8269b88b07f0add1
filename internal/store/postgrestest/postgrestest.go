//go:build unix

// Package postgrestest starts a PostgreSQL server for tests: the one that is
// installed, in a directory of its own and reachable through a socket there, or
// the one that the environment names.
//
// BRIDGE_TEST_POSTGRES is the URL of a server whose user may create databases, or
// "required": then it is a failure, and not a skip, that none is installed. With
// "none" the tests skip.
package postgrestest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
)

// variable is where a server is named.
const variable = "BRIDGE_TEST_POSTGRES"

// superuser of a server of ours.
const superuser = "bridge"

// startTime bounds a start, also on a machine that is busy.
const startTime = time.Minute

// Server is a PostgreSQL server.
type Server struct {
	url      *url.URL
	dir      string // empty where it is not ours
	settings []string
	process  *process
	made     atomic.Int64
}

// Start starts a server until the test ends. The settings are those of
// postgresql.conf, "name=value", beside those that make a test quick.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	given := os.Getenv(variable) //nolint:forbidigo // so the tests are told
	if given == "none" {
		tb.Skip(variable + " is none")
	}
	if given != "" && given != "required" {
		parsed, err := url.Parse(given)
		if err != nil {
			tb.Fatalf("%s is no URL", variable)
		}
		return &Server{url: parsed}
	}
	programs, found := installed()
	if !found {
		if given == "" {
			tb.Skipf("PostgreSQL is not installed, and %s names no server", variable)
		}
		tb.Fatalf("PostgreSQL is not installed; install it, or name a server in %s", variable)
	}
	s := &Server{settings: settings}
	if err := s.initialise(tb, programs); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Stop(tb) })
	s.Restart(tb)
	return s
}

// installed gives the directory of the programs, the newest of Debian's.
func installed() (dir string, found bool) {
	const program = "initdb"
	if path, err := exec.LookPath(program); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), true
		}
	}
	all, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if err != nil || len(all) == 0 {
		return "", false
	}
	return filepath.Dir(slices.Max(all)), true
}

func (s *Server) initialise(tb testing.TB, programs string) error {
	tb.Helper()
	dir, err := os.MkdirTemp("", "pg") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		return err
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	s.dir = dir
	who, err := credential()
	if err != nil {
		return err
	}
	if who != nil {
		if err := os.Chown(dir, int(who.Uid), int(who.Gid)); err != nil {
			return err
		}
	}
	s.process = &process{programs: programs, dir: dir, who: who}
	s.url = &url.URL{
		Scheme: "postgres", User: url.User(superuser), Path: "/postgres",
		RawQuery: url.Values{"host": {dir}, "sslmode": {"disable"}}.Encode(),
	}
	words, err := s.process.command(tb.Context(), "initdb", "-D", s.data(), "-A", "trust", "-U", superuser, "-N",
		"--no-instructions", "--locale=C", "-E", "UTF8").CombinedOutput()
	if err != nil {
		return fmt.Errorf("making a database cluster: %w\n%s", err, words)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// credential is of whom the server must be where the test is root, which it
// refuses to be.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUser := strconv.ParseUint(found.Uid, 10, 32)
		gid, errGroup := strconv.ParseUint(found.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(errUser, errGroup)
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no other user: postgres or nobody")
}

// Owned reports whether the server is ours, to be stopped at will; a test that
// must do so skips where it is not.
func (s *Server) Owned() bool { return s.dir != "" }

// Restart starts the server again after Stop.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	if err := s.process.start(s.data(), s.settings); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), startTime)
	defer cancel()
	db, err := sql.Open("pgx", s.url.String())
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // what was asked was answered
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for db.PingContext(ctx) != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("PostgreSQL does not start:\n%s", s.process.words.String())
		}
	}
}

// Stop stops it at once, as a crash would; it is nothing where it has stopped.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	if err := s.process.stop(); err != nil {
		tb.Error(err)
	}
}

// Database makes an empty database and gives its URL.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	db, err := sql.Open("pgx", s.url.String())
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // what was asked was answered
	name := fmt.Sprintf("t%d_%d_%d", os.Getpid(), time.Now().UnixNano(), s.made.Add(1))
	if _, err := db.ExecContext(tb.Context(), "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		tb.Fatal(err)
	}
	if !s.Owned() {
		tb.Cleanup(func() { s.drop(tb, name) })
	}
	at := *s.url
	at.Path = "/" + name
	return at.String()
}

func (s *Server) drop(tb testing.TB, name string) {
	tb.Helper()
	db, err := sql.Open("pgx", s.url.String())
	if err != nil {
		tb.Error(err)
		return
	}
	defer db.Close() //nolint:errcheck // what was asked was answered
	if _, err := db.ExecContext(context.WithoutCancel(tb.Context()), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
		tb.Error(err)
	}
}

// process is the server's. It ends with ours, however that ends: a shell waits
// for the end of its input, which we hold open.
type process struct {
	programs, dir string
	who           *syscall.Credential

	shell *exec.Cmd // nil while it does not run
	input io.Closer
	words bytes.Buffer
}

func (p *process) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(p.programs, name), args...) //nolint:gosec // what is installed
	c.Dir = p.dir
	if p.who != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: p.who}
	}
	return c
}

// watch starts a server, and ends it at once (SIGQUIT) where nobody waits for it
// any more.
const watch = `"$@" </dev/null & server=$!; cat >/dev/null; kill -QUIT $server; wait $server; true`

func (p *process) start(data string, settings []string) error {
	args := []string{
		"-c", watch, "watch", filepath.Join(p.programs, "postgres"), "-D", data, "-k", p.dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=1000",
		"-c", "shared_buffers=16MB", "-c", "autovacuum=off", "-c", "jit=off",
	}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	p.shell = exec.Command("/bin/sh", args...) //nolint:noctx,gosec // Stop ends it; it is what is installed
	p.shell.Dir = p.dir
	if p.who != nil {
		p.shell.SysProcAttr = &syscall.SysProcAttr{Credential: p.who}
	}
	p.words.Reset()
	p.shell.Stdout, p.shell.Stderr = &p.words, &p.words
	var err error
	if p.input, err = p.shell.StdinPipe(); err != nil {
		return err
	}
	return p.shell.Start()
}

func (p *process) stop() error {
	if p.shell == nil {
		return nil
	}
	err := errors.Join(p.input.Close(), p.shell.Wait())
	p.shell = nil
	return err
}

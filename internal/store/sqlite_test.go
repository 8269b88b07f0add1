package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"smtpbridge/internal/config"
	"smtpbridge/internal/store"
	"smtpbridge/internal/store/storetest"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// run opens a store and runs it until the test ends or stop is called.
func run(t *testing.T, c store.Config, o store.Options) (s *store.Store, stop func()) {
	t.Helper()
	s, err := store.Open(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- s.Run(context.WithoutCancel(t.Context())) }()
	done := false
	stop = func() {
		if done {
			return
		}
		done = true
		if err := errors.Join(s.Close(context.WithoutCancel(t.Context())), <-ran); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

func flight(id string) delivery.Flight {
	now := time.Now()
	return delivery.Flight{
		ID: id, Time: now, Deadline: now.Add(time.Minute), Recipients: []string{"a@example.com"},
		Keys: delivery.Keys{Idempotency: id, MessageID: id},
	}
}

func accepted() providers.Outcome {
	return providers.Outcome{{Recipient: "a@example.com", State: providers.Accepted, Provider: "p"}}
}

// database opens a file beside the store.
func database(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// The URL says where the file is; it is the bridge's alone, and there is nothing
// else once the store is closed.
func TestFiles(t *testing.T) {
	for _, url := range []string{"", "sqlite:%s/other name/what?.db", "sqlite:%s/a/b/bridge%%.db"} {
		dir := t.TempDir()
		history := filepath.Join(dir, "data", "bridge.db")
		if url != "" {
			url = fmt.Sprintf(url, dir)
			history = strings.TrimPrefix(url, "sqlite:")
		}
		want := filepath.Join(filepath.Dir(history), "delivery.db")
		s, stop := run(t, store.Config{URL: url}, store.Options{DataDir: filepath.Join(dir, "data")})
		if _, err := s.Begin(t.Context(), flight("1")); err != nil {
			t.Error(err)
		}
		for name, mode := range map[string]fs.FileMode{
			want: 0o600, want + "-wal": 0o600, history: 0o600, filepath.Dir(want): fs.ModeDir | 0o700,
		} {
			if info, err := os.Stat(name); err != nil || info.Mode() != mode {
				t.Errorf("%s: %v, %v, want mode %v", name, info, err, mode)
			}
		}
		stop()
		var left []string
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if !d.IsDir() {
				left = append(left, path)
			}
			return err
		})
		slices.Sort(left)
		both := slices.Sorted(slices.Values([]string{want, history}))
		if err != nil || !slices.Equal(left, both) {
			t.Errorf("%q leaves %v, %v, want %v alone", url, left, err, both)
		}
	}
}

func TestMemoryKeepsNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	for range 2 {
		s, stop := run(t, store.Config{URL: "memory:"}, store.Options{DataDir: "data"})
		if past, err := s.Begin(t.Context(), flight("1")); past != nil || err != nil {
			t.Errorf("Begin = %v, %v", past, err)
		}
		stop()
	}
	if files, err := os.ReadDir("."); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// A database in memory forgets its oldest messages, whatever their age, before it
// grows beyond bounds; never what is in flight.
func TestMemoryIsBounded(t *testing.T) {
	s, _ := run(t, store.Config{URL: "memory:"}, store.Options{})
	if _, err := s.Begin(t.Context(), flight("in flight")); err != nil {
		t.Fatal(err)
	}
	outcome := accepted()
	outcome[0].ProviderID = strings.Repeat("x", 40_000)
	for i := range 1000 {
		id := fmt.Sprint(i)
		if _, err := s.Begin(t.Context(), flight(id)); err != nil {
			t.Fatal(err)
		}
		if err := s.Land(t.Context(), id, outcome); err != nil {
			t.Fatal(err)
		}
	}
	pages, err := s.Pages(t.Context())
	if err != nil || pages < 1000 || pages > 3500 {
		t.Errorf("%d pages in use, %v, want about 2048", pages, err)
	}
	for id, want := range map[string]bool{"in flight": true, "0": false, "999": true} {
		if past, err := s.Await(shortly(t), id); (err == nil) != want {
			t.Errorf("Await(%s) = %v, %v, want that remembered: %v", id, past, err, want)
		}
	}
}

// shortly is a context that has ended: what is known now.
func shortly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestConfigValidate(t *testing.T) {
	for url, want := range map[string]string{
		"":                           "",
		"memory:":                    "",
		"sqlite:bridge.db":           "",
		"sqlite:/data/bridge.db":     "",
		"sqlite:":                    "names no file",
		"sqlite:/data/":              "names no file",
		"sqlite:/data/delivery.db":   "takes the name",
		"memory":                     "is no store",
		"bridge.db":                  "is no store",
		"postgres://bridge@db/mail":  "",
		"postgres:bridge@db/mail":    "is no URL of PostgreSQL",
		"postgresql://b:s3cret@d:x/": "is no URL of PostgreSQL",
	} {
		got := ""
		store.Config{URL: url, Retention: config.Duration(time.Hour)}.Validate(func(key, problem string) { got = key + " " + problem })
		if want != "" {
			want = "url " + want
		}
		if !strings.HasPrefix(got, want) || (want == "" && got != "") {
			t.Errorf("%q: %q, want %q", url, got, want)
		}
	}
}

// A directory has one bridge; who comes too early waits, though not for ever.
func TestOneBridge(t *testing.T) {
	dir := t.TempDir()
	_, stop := run(t, store.Config{}, store.Options{DataDir: dir})
	waits := 0
	at := store.Options{DataDir: dir, After: func(time.Duration) <-chan time.Time {
		waits++
		return time.After(0)
	}}
	if _, err := store.Open(t.Context(), store.Config{}, at); err == nil || !strings.Contains(err.Error(), dir) || waits < 10 {
		t.Errorf("a second bridge: %v after %d tries, want an error that names %s after some", err, waits, dir)
	}
	at.After = func(time.Duration) <-chan time.Time {
		stop()
		return time.After(0)
	}
	s, err := store.Open(t.Context(), store.Config{}, at)
	if err != nil {
		t.Fatalf("after the first has stopped: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// What cannot be used is refused with the name of the file and a way out.
func TestUnusable(t *testing.T) {
	const remedy = "move it away"
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, file string) error
		want  string
	}{
		{"not a database", func(_ *testing.T, file string) error {
			return os.WriteFile(file, bytes.Repeat([]byte("no database. "), 1000), 0o600)
		}, "bridge.db messages, events and suppressions"},
		{"damaged in the middle", func(_ *testing.T, file string) error {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			clear(data[len(data)/3:])
			return os.WriteFile(file, data, 0o600)
		}, remedy},
		{"a directory", func(_ *testing.T, file string) error {
			return errors.Join(os.Remove(file), os.Mkdir(file, 0o700))
		}, "must be able to write"},
		{"newer", func(t *testing.T, file string) error {
			t.Helper()
			_, err := database(t, file).ExecContext(t.Context(), "INSERT INTO migrations (version, name) VALUES (99, 'x')")
			return err
		}, "a newer bridge has used it"},
		{"another's", func(t *testing.T, file string) error {
			t.Helper()
			_, err := database(t, file).ExecContext(t.Context(), "DROP TABLE migrations")
			return err
		}, "table messages already exists"},
	} {
		dir := t.TempDir()
		s, stop := run(t, store.Config{}, store.Options{DataDir: dir})
		for i := range 200 {
			if _, err := s.Begin(t.Context(), flight(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		file := filepath.Join(dir, "delivery.db")
		if err := tt.spoil(t, file); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the first time must leave no lock
			s, err := store.Open(t.Context(), store.Config{}, store.Options{DataDir: dir})
			if err == nil {
				_ = s.Close(t.Context())
				t.Errorf("%s: opened", tt.name)
				continue
			}
			if !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %s and %q", tt.name, err, file, tt.want)
			}
		}
	}
}

// Migrations come in order, each whole or not at all, and once.
func TestMigrations(t *testing.T) {
	db := database(t, ":memory:")
	db.SetMaxOpenConns(1)
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	files := fstest.MapFS{
		"0001_one.sql": file("CREATE TABLE one (a); INSERT INTO one VALUES (1);"),
		"0002_two.sql": file("CREATE TABLE two (a); INSERT INTO nowhere VALUES (1);"),
		"README":       file("no migration"),
	}
	tables := func() string {
		var names string
		const query = "SELECT GROUP_CONCAT(name) FROM (SELECT name FROM sqlite_schema ORDER BY name)"
		if err := db.QueryRowContext(t.Context(), query).Scan(&names); err != nil {
			t.Error(err)
		}
		return names
	}
	if err := store.Migrate(t.Context(), db, files); err == nil || !strings.Contains(err.Error(), "0002_two.sql") {
		t.Errorf("a migration that fails: %v", err)
	}
	if got := tables(); got != "migrations,one" {
		t.Errorf("tables after that: %s, want the first alone", got)
	}
	files["0002_two.sql"] = file("CREATE TABLE two (a);")
	for range 2 {
		if err := store.Migrate(t.Context(), db, files); err != nil {
			t.Error(err)
		}
	}
	if got := tables(); got != "migrations,one,two" {
		t.Errorf("tables: %s, want both", got)
	}
	delete(files, "0002_two.sql")
	if err := store.Migrate(t.Context(), db, files); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a database of a newer bridge: %v", err)
	}
	files["0004_four.sql"] = file("")
	if err := store.Migrate(t.Context(), database(t, ":memory:"), files); err == nil || !strings.Contains(err.Error(), "0004_four.sql") {
		t.Errorf("a gap: %v", err)
	}
}

// On a full disk nothing new begins, and says so; what is in flight can still
// land; all is well again once there is room.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	s, stop := run(t, store.Config{}, store.Options{DataDir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check() = %v", err)
	}
	if err := s.Pragma(t.Context(), "max_page_count = 50"); err != nil {
		t.Fatal(err)
	}
	var full error
	last := 0
	for full == nil && last < 10_000 {
		last++
		_, full = s.Begin(t.Context(), flight(fmt.Sprint(last)))
	}
	if full == nil || !strings.Contains(full.Error(), filepath.Join(dir, "delivery.db")) || !strings.Contains(full.Error(), "make room") {
		t.Errorf("Begin on a full disk: %v, want an error that names the file and says what to do", full)
	}
	if past, err := s.Await(shortly(t), fmt.Sprint(last)); err == nil {
		t.Errorf("what could not begin is on record: %v", past)
	}
	if err := s.Check(t.Context()); err == nil {
		t.Error("Check on a full disk: no error")
	}
	if err := s.Land(t.Context(), "1", accepted()); err != nil {
		t.Errorf("Land on a full disk: %v", err)
	}
	if err := s.Check(t.Context()); err == nil {
		t.Error("Check on a full disk, after something could be written: no error")
	}

	if err := s.Pragma(t.Context(), "max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check once there is room: %v", err)
	}
	if past, err := s.Begin(t.Context(), flight(fmt.Sprint(last))); past != nil || err != nil {
		t.Errorf("Begin once there is room = %v, %v", past, err)
	}
	if past, err := s.Await(shortly(t), "1"); err != nil || past.InFlight {
		t.Errorf("what has landed meanwhile: %v, %v", past, err)
	}
	stop()
	if got := log.String(); strings.Count(got, "cannot be written to") != 1 || strings.Count(got, "written to again") != 1 {
		t.Errorf("log: %s, want one line when it began and one when it ended", got)
	}
}

// What became of messages while nothing could be written is written later.
func TestWrittenLater(t *testing.T) {
	clock := storetest.NewClock()
	s, stop := run(t, store.Config{URL: "memory:"}, store.Options{Now: clock.Now, After: clock.After})
	f := flight("1")
	f.Time, f.Deadline = clock.Now(), clock.Now().Add(50*time.Second)
	if _, err := s.Begin(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	wait := make(chan *delivery.Past)
	go func() {
		past, err := s.Await(t.Context(), "1")
		if err != nil {
			t.Error(err)
		}
		wait <- past
	}()
	clock.Await(f.Deadline)
	if err := s.Pragma(t.Context(), "query_only = 1"); err != nil {
		t.Fatal(err)
	}
	outcome := accepted()
	if err := s.Land(t.Context(), "1", outcome); err == nil {
		t.Error("Land: no error")
	}
	outcome[0].State = providers.Refused // it is the caller's again
	s.Replied("1", true)
	if past, err := s.Begin(t.Context(), flight("3")); past != nil || err == nil {
		t.Errorf("Begin = %v, %v, want an error", past, err)
	}
	clock.Await(clock.Now().Add(time.Second)) // the writer is to try again
	if err := s.Pragma(t.Context(), "query_only = 0"); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Second)
	if past := <-wait; past == nil || past.InFlight || past.Outcome[0].State != providers.Accepted {
		t.Errorf("later: %+v, want it accepted", past)
	}
	f = flight("3")
	f.Time, f.Keys = clock.Now(), delivery.Keys{MessageID: "1"}
	if past, err := s.Begin(t.Context(), f); past != nil || err != nil {
		t.Errorf("Begin = %v, %v, want no repeat: the reply was given", past, err)
	}
	stop()
}

// Nothing is asked of a store that is closed, or whose Run was told to end; what
// was left behind before is on record.
func TestClosed(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Config{}, store.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	for _, id := range []string{"1", "waited for"} {
		if _, err := s.Begin(t.Context(), flight(id)); err != nil {
			t.Fatal(err)
		}
	}
	waited := make(chan error, 1)
	go func() {
		_, err := s.Await(t.Context(), "waited for")
		waited <- err
	}()
	if err := s.Run(ctx); err == nil {
		t.Error("Run a second time: no error")
	}
	if err := s.Land(t.Context(), "1", accepted()); err != nil {
		t.Error(err)
	}
	for range 100 {
		s.Replied("1", true)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run = %v", err)
	}
	if err := <-waited; !errors.Is(err, store.ErrClosed) {
		t.Errorf("Await when Run ends: %v, want ErrClosed", err)
	}
	s.Replied("1", false) // too late
	if _, err := s.Begin(t.Context(), flight("2")); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Begin after Run: %v, want ErrClosed", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Check(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Check after Close: %v, want ErrClosed", err)
	}
	if err := s.Run(t.Context()); err != nil {
		t.Errorf("Run after Close: %v", err)
	}
	s, _ = run(t, store.Config{}, store.Options{DataDir: dir})
	f := flight("3")
	f.Keys = delivery.Keys{MessageID: "1"}
	if past, err := s.Begin(t.Context(), f); past != nil || err != nil {
		t.Errorf("Begin = %v, %v, want no repeat: the reply was given", past, err)
	}
}

// A store that never ran still writes what was left behind.
func TestCloseFlushes(t *testing.T) {
	dir := t.TempDir()
	s, stop := run(t, store.Config{}, store.Options{DataDir: dir})
	if _, err := s.Begin(t.Context(), flight("1")); err != nil {
		t.Fatal(err)
	}
	if err := s.Land(t.Context(), "1", accepted()); err != nil {
		t.Fatal(err)
	}
	stop()
	s, err := store.Open(t.Context(), store.Config{}, store.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.Replied("1", true)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, _ = run(t, store.Config{}, store.Options{DataDir: dir})
	f := flight("2")
	f.Keys = delivery.Keys{MessageID: "1"}
	if past, err := s.Begin(t.Context(), f); past != nil || err != nil {
		t.Errorf("Begin = %v, %v, want no repeat: the reply was given", past, err)
	}
}

// The log is copied into the file while the store writes, and begins anew.
func TestLogIsCopied(t *testing.T) {
	dir := t.TempDir()
	s, _ := run(t, store.Config{}, store.Options{DataDir: dir})
	wal := filepath.Join(dir, "delivery.db-wal")
	for i := range 3000 {
		if _, err := s.Begin(t.Context(), flight(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	before := size(t, wal)
	deadline := time.Now().Add(time.Minute)
	for i := 3000; size(t, filepath.Join(dir, "delivery.db")) < 500_000; i++ {
		if time.Now().After(deadline) {
			t.Fatalf("the log has %d octets and nothing of it is in the file", before)
		}
		if _, err := s.Begin(t.Context(), flight(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
}

func size(t *testing.T, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// Package store remembers: what is on its way, what became of it, and what
// counts against quotas, so that a repeat is known across restarts and kills.
// It is the only package that speaks SQL.
//
// A [Store] is a [delivery.Memory] and [delivery.Quotas]. What the SMTP path
// writes lives in delivery.db, apart from whatever else the bridge stores, so
// that it never waits for another's disk. One goroutine writes, and commits what
// has come from all callers at once (writer.go); a request is what one caller
// wants of it (begin.go, land.go, quotas.go). What is asked of SQLite stands in
// statements.go and in the directory sqlite.
//
// What is known of messages beyond their reply is its [History], in bridge.db:
// their log, the events, the suppressions.
//
// Several bridges may share a PostgreSQL server instead: there both are schemas of
// one database, and bridges take turns to write (postgres.go).
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

const (
	memoryURL    = "memory:"
	sqliteScheme = "sqlite:"
	// deliveryFile is what the SMTP path writes, beside the file of the URL.
	deliveryFile = "delivery.db"
	mainFile     = "bridge.db"

	// lockInterval and lockTries bound the wait for a bridge that still stops.
	lockInterval = 250 * time.Millisecond
	lockTries    = 20
	// pollInterval is how often another bridge's flight is looked at.
	pollInterval = 250 * time.Millisecond
)

// ErrNotFound says that there is none, or no longer.
var ErrNotFound = errors.New("not found")

// errLocked says that another process has a directory.
var errLocked = errors.New("another bridge is using the directory; stop it, or give this one a data_dir of its own")

// Config is the [store] table.
type Config struct {
	// URL is empty for a file in the data directory, "sqlite:PATH", or "memory:".
	URL string `toml:"url"`
	// Password is that of the user of a "postgres:" URL, so that it need not stand
	// in there.
	Password config.Secret `toml:"password"`
	// Retention is how long messages and events are kept. Suppressions stay. With 0,
	// which is no valid configuration, all do.
	Retention config.Duration `toml:"retention"`
}

// DefaultConfig keeps everything in the data directory, for thirty days.
func DefaultConfig() Config { return Config{Retention: config.Duration(720 * time.Hour)} }

// Validate reports what is wrong.
func (c Config) Validate(report func(key, problem string)) {
	path, isFile := strings.CutPrefix(c.URL, sqliteScheme)
	switch {
	case c.URL == "" || c.URL == memoryURL:
	case c.isShared():
		if _, err := parsePostgres(c.URL, c.Password); err != nil {
			report("url", err.Error())
		}
	case !isFile:
		report("url", `is no store; write "postgres://…", "sqlite:PATH", "memory:", or nothing for a file in data_dir`)
	case path == "" || strings.HasSuffix(path, "/"):
		report("url", `names no file; write "sqlite:PATH" with a path such as "/data/bridge.db"`)
	case filepath.Base(path) == deliveryFile:
		report("url", "takes the name of the file that stands beside it; write another, such as "+mainFile)
	}
	if !c.Password.IsZero() && !c.isShared() {
		report("password", `is for a "postgres:" URL; leave it out`)
	}
	if c.Retention <= 0 {
		report("retention", `must be longer than 0, such as "720h"`)
	}
}

// InMemory reports that nothing is left after a restart, and no other process
// sees it.
func (c Config) InMemory() bool { return c.URL == memoryURL }

// isShared: other bridges may write to the same database.
func (c Config) isShared() bool { return isPostgres(c.URL) }

// file is that of the history, empty where it is in none.
func (c Config) file(dataDir string) string {
	switch {
	case c.URL == memoryURL || c.isShared():
		return ""
	case c.URL == "":
		return filepath.Join(dataDir, mainFile)
	}
	return strings.TrimPrefix(c.URL, sqliteScheme)
}

// Options are what a store needs besides its configuration. Only DataDir is
// required, where the URL is empty; the time is the real one without Now and
// After.
type Options struct {
	// DataDir holds the files where the URL is empty.
	DataDir string
	// Instance is the name of this bridge among those that share a database; what
	// was in flight of it when it was last closed or killed is not any more.
	Instance string
	Logger   *slog.Logger
	Now      func() time.Time
	// After is time.After.
	After func(time.Duration) <-chan time.Time

	// shared: others write to the database too, as with PostgreSQL.
	shared bool
	// limit is how long a transaction on a server may take, where it is not that of
	// its part.
	limit time.Duration
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = time.After
	}
	return o
}

// Store is a database. Open makes one, Run must be running while it is used, and
// Close ends it.
type Store struct {
	deliveries *deliveries
	history    *History
	lock       io.Closer // nil for memory
	logger     *slog.Logger
	now        func() time.Time
	after      func(time.Duration) <-chan time.Time
}

var (
	_ delivery.Memory = (*Store)(nil)
	_ delivery.Quotas = (*Store)(nil)
)

// Open opens the store of a valid configuration, makes its files where there are
// none, and settles what an end without warning has left in flight. A directory
// has one bridge: where another is just stopping, it is waited for, a few seconds.
func Open(ctx context.Context, c Config, o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{logger: o.Logger, now: o.Now, after: o.After}
	if err := s.prepare(ctx, c, &o); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store: %w", err), s.leave())
	}
	if err := s.open(ctx, c, o); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store: %w", err), s.leave())
	}
	return s, nil
}

// prepare makes and locks the directory that is this bridge's alone, and on a
// shared database finds its name.
func (s *Store) prepare(ctx context.Context, c Config, o *Options) error {
	if file := c.file(o.DataDir); file != "" {
		return s.enter(ctx, filepath.Dir(file), o.shared)
	}
	if !c.isShared() {
		return nil
	}
	o.shared = true
	if o.Instance != "" {
		return nil
	}
	if err := s.enter(ctx, o.DataDir, false); err != nil {
		return err
	}
	var err error
	o.Instance, err = instanceOf(o.DataDir)
	return err
}

// OpenHistory opens the history alone, beside a bridge that may be running, for
// who changes its suppressions. Only Close must be called.
func OpenHistory(ctx context.Context, c Config, o Options) (*History, error) {
	file := c.file(o.DataDir)
	if c.InMemory() {
		return nil, errors.New(`opening the store: with [store] url = "memory:" nothing is kept in a file that another process could see;` +
			` use the API of the running bridge`)
	}
	if !c.isShared() {
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, fmt.Errorf("opening the store: %w", err)
		}
	}
	h, err := openHistory(ctx, c, o.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	return h, nil
}

// History is the part that is not on the SMTP path.
func (s *Store) History() *History { return s.history }

// enter makes the directory, for the bridge's eyes only, and locks it.
func (s *Store) enter(ctx context.Context, dir string, shared bool) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory: %w", err)
	}
	for tries := 1; !shared; tries++ {
		lock, err := lockDirectory(dir)
		if err == nil {
			s.lock = lock
			return nil
		}
		if !errors.Is(err, errLocked) || tries == lockTries {
			return fmt.Errorf("%s: %w", dir, err)
		}
		select {
		case <-s.after(lockInterval):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}

func (s *Store) leave() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

func (s *Store) open(ctx context.Context, c Config, o Options) error {
	var err error
	if s.history, err = openHistory(ctx, c, o); err != nil {
		return err
	}
	if s.deliveries, err = s.openDeliveries(ctx, c, o); err != nil {
		return errors.Join(err, s.history.close())
	}
	return nil
}

func (s *Store) openDeliveries(ctx context.Context, c Config, o Options) (*deliveries, error) {
	db, err := openDatabase(ctx, c, o, deliveryPart)
	if err != nil {
		return nil, err
	}
	return openDeliveries(ctx, db, o, s.history)
}

// Run does what is asked of the store, until ctx ends or the store is closed,
// and then what was asked before.
func (s *Store) Run(ctx context.Context) error {
	w := s.deliveries.writer
	if claimed, closed := w.start(); !claimed {
		if closed {
			return nil
		}
		return errors.New("the store runs already")
	}
	stop := context.AfterFunc(ctx, w.close)
	defer stop()
	copying, done := context.WithCancel(context.WithoutCancel(ctx))
	var beside sync.WaitGroup
	if db := s.deliveries.db; db.log != nil {
		beside.Go(func() { db.copyLog(copying, s.logger) })
	}
	if db := s.deliveries.db; db.isServer() {
		beside.Go(func() { s.history.adopt(copying, db) })
	}
	s.history.ready()
	beside.Go(func() { s.history.Run(copying) })
	err := w.run(ctx)
	done()
	beside.Wait()
	if err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// Close does what was asked before, and closes the database. Nothing is asked of
// the store any more.
func (s *Store) Close(ctx context.Context) error {
	w := s.deliveries.writer
	w.close()
	var lost error
	if claimed, _ := w.start(); claimed {
		lost = w.run(ctx) // what was left behind for a Run that never came
	}
	<-w.gone
	if err := errors.Join(lost, s.history.Close(ctx), s.deliveries.close(), s.leave()); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// Check reports whether the store can be written to, as far as is known. After
// an error it tries.
func (s *Store) Check(ctx context.Context) error {
	p := &probing{writer: s.deliveries.writer}
	if err := errors.Join(s.deliveries.writer.do(ctx, p), s.history.check(ctx)); err != nil {
		return fmt.Errorf("the store: %w", err)
	}
	return nil
}

// Begin puts a flight on record, unless it repeats an earlier message.
func (s *Store) Begin(ctx context.Context, f delivery.Flight) (*delivery.Past, error) {
	b, err := newBeginning(s.deliveries, f)
	if err != nil {
		return nil, err
	}
	if err := s.deliveries.writer.do(ctx, b); err != nil {
		return nil, fmt.Errorf("putting message %s on record: %w", f.ID, err)
	}
	return b.earlier, nil
}

// Land puts on record what became of a message, also when ctx has ended. Where
// the database fails, it is tried again later although the caller is told.
// [ErrNotFound] says that the message is not remembered, or no longer.
func (s *Store) Land(ctx context.Context, id string, outcome providers.Outcome) error {
	l := &landing{d: s.deliveries, id: id, outcome: outcome}
	if err := s.deliveries.writer.do(context.WithoutCancel(ctx), l); err != nil {
		return fmt.Errorf("recording what became of message %s: %w", id, err)
	}
	return nil
}

// Learn puts on record what an event says of one recipient, also when ctx has
// ended. [ErrNotFound] says that the message is not remembered, or no longer.
func (s *Store) Learn(ctx context.Context, id string, result providers.Result) error {
	l := &learning{d: s.deliveries, id: id, result: result}
	if err := s.deliveries.writer.do(context.WithoutCancel(ctx), l); err != nil {
		return fmt.Errorf("recording what an event says of message %s: %w", id, err)
	}
	return nil
}

// Replied leaves behind whether the reply was given.
func (s *Store) Replied(id string, given bool) {
	r := &telling{d: s.deliveries, ids: []string{id}, reply: replyNotGiven}
	if given {
		r.reply = replyGiven
	}
	if err := s.deliveries.writer.post(r); err != nil {
		s.logger.Warn("whether a reply was given is not on record", slog.String("message_id", id), slog.Any("err", err))
	}
}

// Await blocks until a message that is still in flight has landed. [ErrNotFound]
// says that it is not remembered, or no longer.
func (s *Store) Await(ctx context.Context, id string) (*delivery.Past, error) {
	landed, leave := s.deliveries.waiting.join(id)
	defer leave()
	for {
		l := &looking{d: s.deliveries, id: id}
		if err := s.deliveries.writer.do(context.WithoutCancel(ctx), l); err != nil {
			return nil, fmt.Errorf("waiting for message %s: %w", id, err)
		}
		now := s.now()
		past := l.found.past(now)
		if !past.InFlight || ctx.Err() != nil {
			return past, nil
		}
		select {
		case <-landed:
			landed = nil // look again: it has
		case <-s.after(s.patience(l.found, now)):
		case <-s.deliveries.writer.gone: // nothing lands here any more
		case <-ctx.Done():
		}
	}
}

// patience is how long nothing can be news of a message in flight, unless this
// bridge lands it.
func (s *Store) patience(m *message, now time.Time) time.Duration {
	left := time.Unix(0, m.deadline).Sub(now)
	if s.deliveries.alone {
		return left
	}
	return min(left, pollInterval)
}

// probing finds out whether the database works.
type probing struct{ writer *writer }

func (p *probing) do(ctx context.Context, t *turn) error {
	if p.writer.trouble != nil {
		if _, err := t.exec(ctx, writeProbe); err != nil {
			return err
		}
		_, err := t.exec(ctx, clearProbe)
		t.grew = true
		return err
	}
	var n int
	return t.queryRow(ctx, readProbe).Scan(&n)
}

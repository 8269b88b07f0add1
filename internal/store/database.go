package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed sqlite
var sqliteFiles embed.FS

// How a file of SQLite is used.
//
// The log (WAL) with synchronous=NORMAL: a commit writes to the log and does not
// wait for the disk. What was written is the kernel's, so it survives a kill of
// the process; the loss of power may take the last commits, in order, and never
// damages the file, which synchronous=OFF would risk. The disk is waited for
// when the log is copied into the file, and a connection of its own does that
// beside the writer; the writer itself waits once for each turn of the log.
const (
	// walLimitPages bounds the log (32 MiB) where the copying never catches up,
	// under a load that leaves no gap: the writer then finishes it.
	walLimitPages = 8192
	// syncedLogPages is 8 MiB.
	syncedLogPages = 2048
	// busyTimeout is how long a lock of another process is waited for.
	busyTimeout = 5 * time.Second
	// cacheKiB is small: only the newest pages, and the oldest, are touched.
	cacheKiB       = 512
	syncedCacheKiB = 4096
	// memoryPages bounds a database in memory, to 8 MiB.
	memoryPages = 2048
)

// part is one of the databases of a store.
type part int

const (
	// deliveryPart is what the SMTP path writes.
	deliveryPart part = iota
	historyPart
)

// name is that of the directories of its migrations.
func (p part) name() string {
	if p == deliveryPart {
		return "delivery"
	}
	return "history"
}

func (p part) commits() durability {
	if p == deliveryPart {
		return kept
	}
	return synced
}

// database is one database of SQLite, a file or memory, or one schema of a server.
type database struct {
	*sql.DB

	part part
	path string // of the file, else empty
	// server is what errors call it; empty for SQLite.
	server string
	again  pgConnector   // makes more connections to it
	limit  time.Duration // how long a transaction of it may take
	// log copies the log into the file, else nil.
	log  *sql.DB
	soon chan struct{} // asks for it
}

func (d *database) isServer() bool { return d.server != "" }

func (d *database) inMemory() bool { return d.path == "" && !d.isServer() }

// openDatabase opens a part of the store of a configuration.
func openDatabase(ctx context.Context, c Config, o Options, p part) (*database, error) {
	if c.isShared() {
		return openPostgres(c, o, p)
	}
	path := c.file(o.DataDir)
	if path != "" && p == deliveryPart {
		path = filepath.Join(filepath.Dir(path), deliveryFile)
	}
	return openSQLite(ctx, path, p)
}

// migrate brings it to the newest version.
func (d *database) migrate(ctx context.Context) error {
	if d.isServer() {
		return migratePostgres(ctx, d)
	}
	files, err := fs.Sub(sqliteFiles, "sqlite/"+d.part.name())
	if err != nil {
		return fmt.Errorf("finding the migrations: %w", err)
	}
	return migrate(ctx, d.DB, files)
}

// durability is what a commit has survived: PRAGMA synchronous.
type durability string

const (
	// kept survives a kill of the process.
	kept durability = "synchronous(NORMAL)"
	// synced survives the loss of power.
	synced durability = "synchronous(FULL)"
)

// logPages is how long the log may grow before the writer copies it. Where each
// commit waits for the disk anyhow, copying does not add much.
func (d durability) logPages() int {
	if d == synced {
		return syncedLogPages
	}
	return walLimitPages
}

// cacheKiB: a transaction of the history reaches into many places of its indexes,
// and what does not fit is written more than once.
func (d durability) cacheKiB() int {
	if d == synced {
		return syncedCacheKiB
	}
	return cacheKiB
}

// openSQLite opens a database with one connection, and makes the file where there
// is none. An empty path is memory.
func openSQLite(ctx context.Context, path string, p part) (*database, error) {
	d := &database{part: p, path: path, soon: make(chan struct{}, 1)}
	commits := p.commits()
	if path == "" {
		return d, d.connect(ctx, ":memory:", commits)
	}
	// SQLite would let everybody read it: it holds who mails whom.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w; the bridge must be able to write to it and to its directory", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("creating %s: %w", path, err)
	}
	if d.log, err = openConnection(d.name(), "cache_size(-64)", string(commits)); err != nil {
		return nil, d.explain(err)
	}
	return d, d.connect(ctx, d.name(), commits)
}

// name of the file, for the driver.
func (d *database) name() string {
	return "file:" + (&url.URL{Path: filepath.ToSlash(d.path)}).EscapedPath()
}

// maxReaders is how many may read a file at once, beside the one who writes.
const maxReaders = 2

// readers are connections of their own for those who only read. The limit is how
// long an answer of a server may take.
func (d *database) readers(limit time.Duration) (*sql.DB, error) {
	if d.isServer() {
		again := d.again
		again.limit = min(limit, d.limit)
		db := sql.OpenDB(again)
		db.SetMaxOpenConns(maxReaders)
		db.SetMaxIdleConns(maxReaders)
		db.SetConnMaxIdleTime(time.Minute)
		return db, nil
	}
	db, err := openConnection(d.name(), "query_only(1)", fmt.Sprintf("cache_size(-%d)", cacheKiB))
	if err != nil {
		return nil, d.explain(err)
	}
	db.SetMaxOpenConns(maxReaders)
	return db, nil
}

// connect opens the connection that writes and proves that it can; the database
// is closed where it cannot.
func (d *database) connect(ctx context.Context, name string, commits durability) (err error) {
	d.DB, err = openConnection(name, string(commits),
		"journal_mode(WAL)",
		fmt.Sprintf("cache_size(-%d)", commits.cacheKiB()),
		fmt.Sprintf("wal_autocheckpoint(%d)", commits.logPages()),
	)
	if err != nil {
		return d.explain(err)
	}
	if err := d.PingContext(ctx); err != nil {
		return errors.Join(d.explain(err), d.close())
	}
	return nil
}

// openConnection is a pool of one connection that is kept.
func openConnection(name string, pragmas ...string) (*sql.DB, error) {
	pragmas = append(pragmas,
		"temp_store(MEMORY)",
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()))
	connector, err := sqlite.NewConnector(name + "?" + url.Values{
		"_pragma": pragmas,
		"_txlock": {"immediate"}, // the lock is taken where it can be waited for
	}.Encode())
	if err != nil {
		return nil, fmt.Errorf("naming the database: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

// copySoon asks for the log to be copied into the file.
func (d *database) copySoon() {
	select {
	case d.soon <- struct{}{}:
	default:
	}
}

// copyLog does that beside the writer, until ctx ends.
func (d *database) copyLog(ctx context.Context, logger *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.soon:
		}
		_, err := d.log.ExecContext(ctx, copyLog)
		if err != nil && ctx.Err() == nil {
			logger.LogAttrs(ctx, slog.LevelWarn, "copying the log of the store into its file", slog.Any("err", d.explain(err)))
		}
	}
}

func (d *database) close() error {
	err := d.Close()
	if d.log != nil {
		err = errors.Join(err, d.log.Close())
	}
	return d.explain(err)
}

// explain names the file and, where there is one, the remedy.
func (d *database) explain(err error) error {
	if err == nil {
		return nil
	}
	name, remedy := d.path, remedyOf(err)
	switch {
	case d.isServer():
		name = d.server
	case name == "":
		name = "the database in memory"
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		remedy = remedyFor(e.Code())
	}
	return fmt.Errorf("%s: %w%s", name, err, remedy)
}

// remedyFor a code of SQLite; the low octet is the class.
func remedyFor(code int) string {
	switch code & 0xff {
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return "; the file is damaged or no database of the bridge: move it away, with the files of its name that end" +
			" in -wal and -shm, and start again (what it knew is lost with it: delivery.db the last 24 hours, for repeats;" +
			" bridge.db messages, events and suppressions)"
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return "; the bridge must be able to write to the file and to its directory"
	case sqlite3.SQLITE_FULL:
		return "; make room on the disk"
	case sqlite3.SQLITE_BUSY:
		return "; another process uses the file"
	case sqlite3.SQLITE_IOERR:
		return "; the disk fails, or the file has gone: the log of the system says more"
	}
	return ""
}

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"smtpbridge/providers/delivery"
)

const (
	// logInterval is how long the log of messages waits for company.
	logInterval = time.Second
	// logCompany is how many do not wait any longer.
	logCompany = 512
	// maxLogBytes bounds what waits while the database cannot be written to.
	maxLogBytes = 4 << 20
)

// Outbox passes events on to the application.
type Outbox interface {
	// Enqueue takes charge of events in the transaction that stores them.
	Enqueue(ctx context.Context, tx *sql.Tx, sequences []int64) error
	// Wake says that a transaction that enqueued has been committed.
	Wake()
}

// History is what is known of messages beyond their reply: the log of messages,
// the events, who must not be mailed, and what is counted. It is a database of
// its own, so that the SMTP path never waits for its disk: a commit here has
// reached the disk.
//
// Callers share transactions: whoever comes first commits for all who wait.
// What the SMTP path leaves behind is written once a second, or with the next
// transaction, and before anything is read.
type History struct {
	db     *database
	read   *sql.DB
	now    func() time.Time
	logger *slog.Logger
	outbox Outbox // nil: nobody is told

	retention time.Duration
	held      *held
	contents

	turn sync.Mutex // whoever has it commits

	mu      sync.Mutex // guards what follows
	queue   []*change
	pending pending
	full    chan struct{} // the log need not wait any longer
}

// openHistory opens the database of a configuration. The error has closed it.
func openHistory(ctx context.Context, c Config, o Options) (*History, error) {
	h := &History{
		now: o.Now, logger: o.Logger,
		retention: c.Retention.Std(), held: newHeld(), full: make(chan struct{}, 1),
	}
	var err error
	if h.db, err = openDatabase(ctx, c, o.DataDir, historyPart); err != nil {
		return nil, err
	}
	if err := h.begin(ctx); err != nil {
		return nil, errors.Join(h.db.explain(err), h.close())
	}
	return h, nil
}

func (h *History) begin(ctx context.Context) error {
	if err := h.db.migrate(ctx); err != nil {
		return err
	}
	h.read = h.db.DB
	if h.db.log != nil {
		var err error
		if h.read, err = h.db.readers(); err != nil {
			return err
		}
	}
	return h.refreshHeld(ctx)
}

// ForwardBy has events passed on; before anything else is asked.
func (h *History) ForwardBy(o Outbox) { h.outbox = o }

// DB is the one connection that writes, for whoever stores what goes with the
// events. Within a transaction of it nothing else may be asked of it.
func (h *History) DB() *sql.DB { return h.db.DB }

// Shared: DB is that of a PostgreSQL server, and other bridges use it too.
func (h *History) Shared() bool { return h.db.isServer() }

func (h *History) close() error {
	var err error
	if h.read != nil && h.read != h.db.DB {
		err = h.read.Close()
	}
	return errors.Join(err, h.db.close())
}

// Close writes what is left and closes the database.
func (h *History) Close(ctx context.Context) error {
	return errors.Join(h.do(ctx, func(context.Context, *work) error { return nil }), h.close())
}

// change is what one caller wants done.
type change struct {
	do   func(ctx context.Context, w *work) error
	err  error
	done bool
}

// do runs f in a transaction that callers share, once more by itself where that
// fails: f must begin anew then. It waits, whatever ctx says: what was begun is
// not left half known.
func (h *History) do(ctx context.Context, f func(ctx context.Context, w *work) error) error {
	c := &change{do: f}
	h.mu.Lock()
	h.queue = append(h.queue, c)
	h.mu.Unlock()
	h.turn.Lock()
	defer h.turn.Unlock()
	if !c.done {
		h.commit(context.WithoutCancel(ctx))
	}
	return c.err
}

// commit does for all who wait.
func (h *History) commit(ctx context.Context) {
	h.mu.Lock()
	changes := h.queue
	h.queue = nil
	logged := h.pending.take()
	h.mu.Unlock()
	err := h.transact(ctx, func(ctx context.Context, w *work) error {
		if err := h.log(ctx, w, logged); err != nil {
			return err
		}
		for _, c := range changes {
			if err := c.do(ctx, w); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range changes {
		c.done = true
	}
	if err == nil {
		return
	}
	h.separately(ctx, changes, logged)
}

// separately does each by itself, so that none fails for another's sake.
func (h *History) separately(ctx context.Context, changes []*change, logged []delivery.Record) {
	err := h.transact(ctx, func(ctx context.Context, w *work) error { return h.log(ctx, w, logged) })
	if err != nil {
		h.logger.LogAttrs(ctx, slog.LevelError, "the log of messages cannot be written; it is tried again", slog.Any("err", err))
		h.mu.Lock()
		dropped := h.pending.giveBack(logged)
		h.mu.Unlock()
		if dropped > 0 {
			h.logger.LogAttrs(ctx, slog.LevelError, "messages are left out of the log", slog.Int("messages", dropped))
		}
	}
	for _, c := range changes {
		c.err = h.transact(ctx, c.do)
	}
}

func (h *History) transact(ctx context.Context, f func(ctx context.Context, w *work) error) error {
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return h.db.explain(fmt.Errorf("beginning: %w", err))
	}
	w := &work{tx: tx, outbox: h.outbox, prepared: make(map[string]*sql.Stmt), tallies: make(map[counted]tally)}
	defer w.end()
	if err := f(ctx, w); err != nil {
		return h.db.explain(err)
	}
	if err := errors.Join(w.addUp(ctx), w.enqueue(ctx)); err != nil {
		return h.db.explain(err)
	}
	if err := tx.Commit(); err != nil {
		return h.db.explain(fmt.Errorf("committing: %w", err))
	}
	for _, f := range w.after {
		f()
	}
	if len(w.sequences) > 0 && h.outbox != nil {
		h.outbox.Wake()
	}
	return nil
}

// work is one transaction, with its statements.
type work struct {
	tx        *sql.Tx
	outbox    Outbox
	prepared  map[string]*sql.Stmt
	tallies   map[counted]tally
	sequences []int64  // of the events that were stored
	after     []func() // what follows once it is committed
}

func (w *work) end() {
	for _, s := range w.prepared {
		_ = s.Close()
	}
	_ = w.tx.Rollback() // nothing after Commit
}

// then has f follow once all is committed.
func (w *work) then(f func()) { w.after = append(w.after, f) }

func (w *work) enqueue(ctx context.Context) error {
	if w.outbox == nil || len(w.sequences) == 0 {
		return nil
	}
	if err := w.outbox.Enqueue(ctx, w.tx, w.sequences); err != nil {
		return fmt.Errorf("queueing what the application is told: %w", err)
	}
	return nil
}

// statement prepares a text once for the transaction.
func (w *work) statement(ctx context.Context, text string) (*sql.Stmt, error) {
	if s, found := w.prepared[text]; found {
		return s, nil
	}
	s, err := w.tx.PrepareContext(ctx, text) //nolint:sqlclosecheck // end does
	if err != nil {
		return nil, fmt.Errorf("preparing %s: %w", text, err)
	}
	w.prepared[text] = s
	return s, nil
}

func (w *work) exec(ctx context.Context, text string, args ...any) (int64, error) {
	s, err := w.statement(ctx, text)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, fmt.Errorf("running %s: %w", text, err)
	}
	return result.RowsAffected()
}

// row reads one row into dest; false where there is none.
func (w *work) row(ctx context.Context, text string, args []any, dest ...any) (bool, error) {
	s, err := w.statement(ctx, text)
	if err != nil {
		return false, err
	}
	err = s.QueryRowContext(ctx, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("running %s: %w", text, err)
	}
	return true, nil
}

// Run writes the log, looks for what another process has suppressed, and lets go
// of what is too old, until ctx ends.
func (h *History) Run(ctx context.Context) {
	flush, refresh, tidy := time.NewTicker(logInterval), time.NewTicker(refreshInterval), time.NewTicker(h.tidyInterval())
	defer flush.Stop()
	defer refresh.Stop()
	defer tidy.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-flush.C:
			h.flush(ctx)
		case <-h.full:
			h.flush(ctx)
		case <-refresh.C:
			err = h.refreshHeld(ctx)
		case <-tidy.C:
			err = h.tidy(ctx)
		}
		if err != nil && ctx.Err() == nil {
			h.logger.LogAttrs(ctx, slog.LevelError, "the history cannot be kept in order", slog.Any("err", h.db.explain(err)))
		}
	}
}

// check reports whether it can be written to, as far as can be told.
func (h *History) check(ctx context.Context) error {
	return h.transact(ctx, func(ctx context.Context, w *work) error {
		_, err := w.exec(ctx, putProgress, checkedAt, h.now().UnixNano())
		return err
	})
}

// flush writes the log, where there is something to write.
func (h *History) flush(ctx context.Context) {
	h.mu.Lock()
	idle := h.pending.empty()
	h.mu.Unlock()
	if !idle {
		_ = h.do(ctx, func(context.Context, *work) error { return nil }) // it logs what fails
	}
}

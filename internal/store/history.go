package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers/delivery"
)

const (
	// logInterval is how long the log of messages waits for company.
	logInterval = time.Second
	// logCompany is how many do not wait any longer.
	logCompany = 2048
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
	db       *database
	prepared map[statementFor]*sql.Stmt
	read     *sql.DB
	// lookUp is for the SMTP path, which waits for no list that somebody reads.
	lookUp *sql.DB
	scopes *sql.Stmt // of lookUp
	now    func() time.Time
	logger *slog.Logger
	// instance is this bridge among those that share the database.
	instance string

	retention time.Duration
	held      *held
	contents

	heldCounts heldCounts

	turn chan struct{} // whoever has put something in commits; guards what follows
	// outbox is nil where nobody is told. While owing, somebody may be once the
	// bridge runs.
	outbox   Outbox
	told     func(provider string, t events.Type) // nil: nobody counts
	owing    bool
	names    names
	written  int     // since room was looked for in memory
	crowding trouble // with making it
	left     bool    // out of the log: what there is of it is for the next start
	closed   bool
	number   int64 // of the last transaction, among those of this bridge
	unsure   *work // its COMMIT was sent and not answered; else nil

	broken atomic.Bool // the last transaction has not committed

	mu      sync.Mutex // guards what follows
	queue   []*change
	pending pending
	writing bool          // what was taken from pending
	full    chan struct{} // the log need not wait any longer
}

// openHistory opens the database of a configuration. The error has closed it.
func openHistory(ctx context.Context, c Config, o Options) (*History, error) {
	h := &History{
		now: o.Now, logger: o.Logger, instance: o.Instance,
		retention: c.Retention.Std(), held: newHeld(), owing: true, names: make(names),
		turn: make(chan struct{}, 1), full: make(chan struct{}, 1),
	}
	var err error
	if h.db, err = openDatabase(ctx, c, o, historyPart); err != nil {
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
	if err := h.prepare(ctx); err != nil {
		return err
	}
	return h.refreshHeld(ctx)
}

// prepare makes the connections that read, and the statements.
func (h *History) prepare(ctx context.Context) (err error) {
	h.read, h.lookUp = h.db.DB, h.db.DB
	if !h.db.inMemory() {
		if h.read, err = h.db.readers(historyTime); err != nil {
			return err
		}
		if h.lookUp, err = h.db.readers(turnTime); err != nil {
			return err
		}
	}
	if h.scopes, err = h.lookUp.PrepareContext(ctx, scopesOf); err != nil {
		return fmt.Errorf("preparing %s: %w", scopesOf, err)
	}
	h.prepared = make(map[statementFor]*sql.Stmt)
	for _, text := range historyStatements() {
		for _, of := range h.db.shapes(text) {
			if h.prepared[of], err = h.db.PrepareContext(ctx, h.db.returning(of.String())); err != nil { //nolint:sqlclosecheck // close does
				return fmt.Errorf("preparing %s: %w", text, err)
			}
		}
	}
	return nil
}

// ready says that whoever is to be told is there by now: nobody owes it what is
// stored from now on.
func (h *History) ready() {
	h.turn <- struct{}{}
	defer h.next()
	h.owing = false
}

// CountBy has the bridge's own events counted as they are stored, those of a
// provider, from now on. It must not block.
func (h *History) CountBy(told func(provider string, t events.Type)) {
	h.turn <- struct{}{}
	defer h.next()
	h.told = told
}

// ForwardBy has events passed on from now on.
func (h *History) ForwardBy(o Outbox) {
	h.turn <- struct{}{}
	defer h.next()
	h.outbox = o
}

// next lets another commit.
func (h *History) next() { <-h.turn }

// DB is the one connection that writes, for whoever stores what goes with the
// events. Within a transaction of it nothing else may be asked of it.
func (h *History) DB() *sql.DB { return h.db.DB }

// Shared reports whether DB is that of a PostgreSQL server, which other bridges use
// too.
func (h *History) Shared() bool { return h.db.isServer() }

func (h *History) close() error {
	var err error
	for _, db := range []*sql.DB{h.read, h.lookUp} {
		if db != nil && db != h.db.DB {
			err = errors.Join(err, db.Close())
		}
	}
	return errors.Join(err, h.db.close())
}

// Close writes what is left, does what others wait for, and closes the database.
func (h *History) Close(ctx context.Context) error {
	h.turn <- struct{}{}
	defer h.next()
	if h.closed {
		return nil
	}
	h.commit(context.WithoutCancel(ctx))
	h.closed = true
	return h.close()
}

// change is what one caller wants done.
type change struct {
	do func(ctx context.Context, w *work) error
	// report of a provider, instead: those that come at once are taken together.
	report *report
	err    error
	done   bool
}

// do runs f in a transaction that callers share, once more by itself where that
// fails: f must begin anew then. A caller whose context ends before it is begun
// has changed nothing; later it waits: what was begun is not left half known.
func (h *History) do(ctx context.Context, f func(ctx context.Context, w *work) error) error {
	return h.change(ctx, &change{do: f})
}

func (h *History) change(ctx context.Context, c *change) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	h.mu.Lock()
	h.queue = append(h.queue, c)
	h.mu.Unlock()
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		if h.withdraw(c) {
			return context.Cause(ctx)
		}
		h.turn <- struct{}{} // it is being done
	}
	defer h.next()
	if !c.done {
		h.commit(context.WithoutCancel(ctx))
	}
	return c.err
}

// withdraw takes c back, unless it is too late.
func (h *History) withdraw(c *change) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := slices.Index(h.queue, c)
	if at < 0 {
		return false
	}
	h.queue = slices.Delete(h.queue, at, at+1)
	return true
}

// commit does for all who wait.
func (h *History) commit(ctx context.Context) {
	h.mu.Lock()
	changes, logged, dropped := h.queue, h.pending.take(), h.pending.dropped
	h.queue, h.pending.dropped = nil, 0
	h.writing = true
	h.mu.Unlock()
	defer h.wrote()
	for _, c := range changes {
		c.done = true
	}
	if h.closed {
		for _, c := range changes {
			c.err = ErrClosed
		}
		return
	}
	if dropped > 0 {
		h.left = true
		h.logger.LogAttrs(ctx, slog.LevelError, "messages are left out of the log until the next start", slog.Int("messages", dropped))
	}
	err := h.transact(ctx, func(ctx context.Context, w *work) error {
		if err := h.log(ctx, w, logged); err != nil {
			return err
		}
		return h.make(ctx, w, changes)
	})
	switch {
	case isWhole(err):
		h.refuse(ctx, changes, logged, err)
	case err != nil:
		h.separately(ctx, changes, logged)
	}
	h.makeRoom(ctx, len(logged)+len(changes))
}

func (h *History) wrote() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writing = false
}

// separately does each by itself, so that none fails for another's sake. Where
// there is not even a transaction, none is waited for again.
func (h *History) separately(ctx context.Context, changes []*change, logged []delivery.Record) {
	err := h.transact(ctx, func(ctx context.Context, w *work) error { return h.log(ctx, w, logged) })
	if err != nil {
		h.refuse(ctx, nil, logged, err)
	}
	for i, c := range changes {
		if isWhole(err) {
			h.refuse(ctx, changes[i:], nil, err)
			return
		}
		err = h.transact(ctx, func(ctx context.Context, w *work) error { return h.make(ctx, w, []*change{c}) })
		c.err = err
	}
}

// refuse answers with an error, and keeps the log.
func (h *History) refuse(ctx context.Context, changes []*change, logged []delivery.Record, err error) {
	for _, c := range changes {
		c.err = err
	}
	if len(logged) == 0 {
		return
	}
	h.logger.LogAttrs(ctx, slog.LevelError, "the log of messages cannot be written; it is tried again", slog.Any("err", err))
	h.mu.Lock()
	h.pending.giveBack(logged)
	h.mu.Unlock()
}

func (h *History) make(ctx context.Context, w *work, changes []*change) error {
	var reports []*report
	for _, c := range changes {
		if c.report != nil {
			reports = append(reports, c.report)
			continue
		}
		if err := c.do(ctx, w); err != nil {
			return err
		}
	}
	return h.take(ctx, w, reports)
}

func (h *History) transact(ctx context.Context, f func(ctx context.Context, w *work) error) error {
	h.broken.Store(true) // until it has committed
	ctx, cancel := h.db.bound(ctx)
	defer cancel()
	if err := h.settle(ctx); err != nil {
		return h.db.explain(&beginError{fmt.Errorf("finding out whether the last was committed: %w", err)})
	}
	h.number = max(h.number+1, time.Now().UnixNano())
	tx, err := h.db.beginTurn(ctx, ended{h.instance, h.number})
	if err != nil {
		return h.db.explain(&beginError{fmt.Errorf("beginning: %w", err)})
	}
	w := &work{
		tx: tx, number: h.number, server: h.db.isServer(), portions: h.db.portions(), prepared: h.prepared,
		outbox: h.outbox, owing: h.owing, names: h.names,
		statements: make(map[statementFor]*sql.Stmt), tallies: make(map[counted]tally), standings: make(map[string]*standing),
	}
	defer w.end()
	if err := f(ctx, w); err != nil {
		return h.db.explain(err)
	}
	if err := w.conclude(ctx, h.now()); err != nil {
		return h.db.explain(err)
	}
	h.held.add(w.suppressed, 0) // before it can be read: from then on nobody in it is sent to
	if err := tx.Commit(); err != nil {
		return h.db.explain(h.resolve(ctx, w, fmt.Errorf("committing: %w", err)))
	}
	h.committed(w)
	return nil
}

// resolve finds out whether a COMMIT without an answer was one; cause is what it
// has ended with. After an error nothing of it is on record, unless the error is
// an unsureError.
func (h *History) resolve(ctx context.Context, w *work, cause error) error {
	if !h.db.isServer() {
		return cause
	}
	h.unsure = w
	if err := h.db.persist(ctx, h.settle); err != nil {
		return &unsureError{cause}
	}
	if w.lost {
		return cause
	}
	return nil
}

// settle finds that out of the last transaction, where it is not known, and does
// what comes after one that was committed.
func (h *History) settle(ctx context.Context) error {
	w := h.unsure
	if w == nil {
		return nil
	}
	is, err := h.db.hasEnded(ctx, ended{h.instance, w.number})
	if err != nil {
		return err
	}
	h.unsure, w.lost = nil, !is
	if is {
		h.committed(w)
	}
	return nil
}

// committed does what comes after a transaction.
func (h *History) committed(w *work) {
	h.broken.Store(false)
	if len(w.sequences) > 0 && h.outbox != nil {
		h.outbox.Wake()
	}
	if h.told != nil {
		for _, e := range w.told {
			h.told(e.Provider, e.Type)
		}
	}
}

const (
	owe       = `INSERT INTO untold (sequence) VALUES {?} ON CONFLICT DO NOTHING`
	anyUntold = `SELECT EXISTS (SELECT 1 FROM untold)`
	// takeUntold: those that are too old are not there any more.
	takeUntold = `DELETE FROM untold WHERE sequence IN (SELECT sequence FROM untold ORDER BY sequence LIMIT 1000) RETURNING sequence`
)

// Run writes the log, looks for what another process has done, and lets go of
// what is too old, until ctx ends.
func (h *History) Run(ctx context.Context) {
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { h.watchHeld(ctx) })
	flush, tidy := time.NewTicker(logInterval), time.NewTicker(h.tidyInterval())
	defer flush.Stop()
	defer tidy.Stop()
	var trouble trouble
	for {
		select {
		case <-ctx.Done():
			return
		case <-flush.C:
			h.flush(ctx)
			h.report(ctx, &trouble, h.settleUntold(ctx))
		case <-h.full:
			h.flush(ctx)
		case <-tidy.C:
			h.report(ctx, &trouble, h.tidy(ctx))
		}
	}
}

// trouble is that of something that is tried again and again.
type trouble bool

// report says when it begins and when it ends.
func (h *History) report(ctx context.Context, t *trouble, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil && !bool(*t):
		*t = true
		h.logger.LogAttrs(ctx, slog.LevelError, "the history cannot be kept in order", slog.Any("err", h.db.explain(err)))
	case err == nil && bool(*t):
		*t = false
		h.logger.LogAttrs(ctx, slog.LevelInfo, "the history is kept in order again")
	}
}

// settleUntold passes on the events that were stored by who could not: another
// process, or this one before it ran.
func (h *History) settleUntold(ctx context.Context) error {
	for more := true; more; {
		if err := h.read.QueryRowContext(ctx, anyUntold).Scan(&more); err != nil || !more {
			return err
		}
		err := h.do(ctx, func(ctx context.Context, w *work) (err error) {
			if more = w.outbox != nil; !more {
				return nil
			}
			untold, err := w.numbers(ctx, takeUntold)
			slices.Sort(untold)                          // they are given in any order
			w.sequences = append(w.sequences, untold...) // others share the transaction
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// check reports whether it can be written to, as far as is known. After an error
// it tries.
func (h *History) check(ctx context.Context) error {
	if !h.broken.Load() {
		var n int
		return h.readError(h.read.QueryRowContext(ctx, readable).Scan(&n))
	}
	return h.do(ctx, func(ctx context.Context, w *work) error {
		_, err := w.exec(ctx, putProgress, checkedAt, h.now().UnixNano())
		return err
	})
}

const readable = `SELECT COUNT(*) FROM progress`

// flush writes the log, where there is something to write, and waits for what is
// being written.
func (h *History) flush(ctx context.Context) {
	h.mu.Lock()
	idle := h.pending.empty() && !h.writing
	h.mu.Unlock()
	if !idle {
		_ = h.do(ctx, func(context.Context, *work) error { return nil }) // it logs what fails
	}
}

// historyStatements are those of the one connection that writes.
func historyStatements() []string {
	return append(tooOld(), []string{
		owe, takeUntold,
		putMessages, putRecipients, putProgress, getProgress, lastLogged, getRecord,
		addEvents, useNonces, messagesOf, recordsOf, eventsBefore, eventsBetween,
		addSuppression, renewSuppression, liftUnsubscribe, liftAll, noteRemoval, removalsOf, suppressionsIn,
		standingsOf, putStandings, addCounts, namesIn, oldCounts, oldUntold, oldProgress,
	}...)
}

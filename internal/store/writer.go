package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// tidyInterval is how often an idle writer tidies up and tries again what it
	// could not write.
	tidyInterval = time.Minute
	// retryInterval takes its place while there is something to try again.
	retryInterval = time.Second
	// companyInterval is how long what nobody waits for waits for a turn to go with.
	companyInterval = 20 * time.Millisecond
	// maxKept bounds what waits to be written again.
	maxKept = 10_000
	// maxTurn bounds the requests of one transaction.
	maxTurn = 512
)

// ErrClosed says that the store was closed.
var ErrClosed = errors.New("the store is closed")

// request is something that a caller wants of a database.
type request interface {
	// do runs in a transaction that requests share. A refusal is for the caller; any
	// other error is the database's, and ends the transaction. It may be called
	// again after a transaction that failed.
	do(ctx context.Context, t *turn) error
}

// refusal is what is wrong with a request itself, which has changed nothing.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// keeper is a request that is tried again when the database has failed, although
// its caller was told: what it knows must not be lost.
type keeper interface {
	request

	keep()
}

// joiner is a request that can take in another that comes right after it and that
// nobody waits for either. It reports whether it has.
type joiner interface{ join(r request) bool }

// call is a request on its way.
type call struct {
	request request
	err     error
	done    chan struct{} // nil where nobody waits
}

// turn is one transaction of the writer.
type turn struct {
	*session

	after []effect
	// grew: it has needed room for something new.
	grew bool
}

// then has e come about once what the transaction has done is on record.
func (t *turn) then(e effect) { t.after = append(t.after, e) }

// effect is what a request does beside its database, often the request itself.
type effect interface{ committed() }

// effectFunc is an effect that is a function.
type effectFunc func()

func (f effectFunc) committed() { f() }

// writer is the group commit of one database: one goroutine takes all requests
// that have come and answers them once their common transaction is committed.
// So a commit costs little, however many callers there are, and what that
// goroutine alone touches needs no locks.
type writer struct {
	session *session
	// begun is told of the requests of each transaction, before them.
	begun func(ctx context.Context, t *turn, calls []*call) error
	// failed is told of a transaction that was rolled back.
	failed func()
	// tidy is called after each transaction with the number of its requests, and
	// with 0 when there is nothing else to do.
	tidy   func(ctx context.Context, requests int)
	logger *slog.Logger
	after  func(time.Duration) <-chan time.Time

	calls sync.Pool // of *call with a channel
	wake  chan struct{}
	gone  chan struct{} // closed when run has returned

	mu      sync.Mutex // guards what follows
	queue   []*call
	left    []*call // behind, by callers who do not wait
	closed  bool
	running bool

	// The goroutine's own.
	kept    []*call
	lost    int   // requests that were to be tried again and are not any more
	trouble error // of the last transaction that failed, until one has grown
}

func newWriter(db *database, o Options) *writer {
	return &writer{
		session: newSession(db, o.Instance),
		logger:  o.Logger,
		after:   o.After,
		calls:   sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }},
		wake:    make(chan struct{}, 1),
		gone:    make(chan struct{}),
	}
}

// do has a request answered. When ctx ends before its turn has come, nothing was
// done; after that the answer is waited for.
func (w *writer) do(ctx context.Context, r request) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	c, ok := w.calls.Get().(*call)
	if !ok {
		return errors.New("the pool of calls holds something else") // it has one New
	}
	c.request, c.err = r, nil
	if err := w.put(c); err != nil {
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		if w.withdraw(c) {
			return context.Cause(ctx)
		}
		<-c.done
	}
	err := c.err
	c.request = nil
	w.calls.Put(c)
	return err
}

// post leaves a request behind that nobody waits for: it goes with the next turn,
// before the requests of that, or after a while has its own.
func (w *writer) post(r request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	if n := len(w.left); n > 0 {
		if last, is := w.left[n-1].request.(joiner); is && last.join(r) {
			return nil
		}
	}
	w.left = append(w.left, &call{request: r})
	if len(w.left) == 1 {
		w.signal()
	}
	return nil
}

func (w *writer) put(c *call) error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return ErrClosed
	}
	w.queue = append(w.queue, c)
	first := len(w.queue) == 1
	w.mu.Unlock()
	if first {
		w.signal()
	}
	return nil
}

func (w *writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// withdraw takes a call back, unless its turn has come.
func (w *writer) withdraw(c *call) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := slices.Index(w.queue, c)
	if at < 0 {
		return false
	}
	w.queue = slices.Delete(w.queue, at, at+1)
	return true
}

// start claims the goroutine's part, unless somebody has it or had it.
func (w *writer) start() (claimed, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	claimed = !w.running
	w.running = true
	return claimed, w.closed
}

// close lets nothing new in.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
}

// run answers requests until the writer is closed and the last has its answer.
// The error says what could not be written in the end.
func (w *writer) run(ctx context.Context) error {
	defer close(w.gone)
	ctx = context.WithoutCancel(ctx) // a watched context costs a goroutine for each statement
	idle := w.after(tidyInterval)
	var retry, company <-chan time.Time
	for alone := false; ; {
		calls, open := w.take(alone)
		alone = false
		if len(calls) == 0 && open {
			if company == nil && w.hasLeft() {
				company = w.after(companyInterval)
			}
			select {
			case <-w.wake:
				continue
			case <-company:
				company, alone = nil, true
				continue
			case <-retry:
				retry = nil
			case <-idle:
				idle = w.after(tidyInterval)
			}
		}
		w.answer(ctx, calls)
		if len(calls) == 0 && !open {
			break
		}
		w.tidy(ctx, len(calls))
		if retry == nil && len(w.kept) > 0 {
			retry = w.after(retryInterval)
		}
	}
	if lost := w.lost + len(w.kept); lost > 0 {
		return fmt.Errorf("%d outcomes are not on record: %w", lost, w.trouble)
	}
	return nil
}

// take gives what has come, and whether more may come. Those whose answer was
// just given are on their way with their next request: it lets them run as long
// as more comes of it, which halves the transactions of a busy bridge. What was
// left behind comes first, and alone only if it is to, or at the end.
func (w *writer) take(alone bool) (calls []*call, open bool) {
	for last, n := -1, w.waiting(); n > 0 && n != last && n < maxTurn; {
		runtime.Gosched()
		last, n = n, w.waiting()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 && !alone && !w.closed {
		return nil, true
	}
	calls = append(w.left, w.queue...)
	w.left, w.queue = nil, nil
	return calls, !w.closed
}

func (w *writer) hasLeft() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.left) > 0
}

func (w *writer) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue)
}

// answer does the calls in one transaction, with what was kept. Where that fails
// each has its own, so that none fails for another's sake: on a full disk what
// became of a message can still be written while a new one cannot.
func (w *writer) answer(ctx context.Context, calls []*call) {
	if len(w.kept) > 0 {
		calls = slices.Concat(w.kept, calls)
		w.kept = nil
	}
	for turn := range slices.Chunk(calls, maxTurn) {
		err := w.commit(ctx, turn)
		if err == nil {
			continue
		}
		if isWhole(err) || len(turn) == 1 && !isLost(err) {
			w.refuse(ctx, turn, err)
			continue
		}
		w.separately(ctx, turn)
	}
}

func (w *writer) separately(ctx context.Context, calls []*call) {
	for i := range calls {
		err := w.commit(ctx, calls[i:i+1])
		switch {
		case err == nil:
		case isWhole(err):
			w.refuse(ctx, calls[i:], err)
			return
		default:
			w.refuse(ctx, calls[i:i+1], err)
		}
	}
}

// commit does the calls in one transaction and answers them, unless it fails.
func (w *writer) commit(ctx context.Context, calls []*call) error {
	ctx, cancel := w.session.db.bound(ctx)
	defer cancel()
	t := &turn{session: w.session}
	if err := w.transact(ctx, t, calls); err != nil {
		w.failed()
		return w.session.db.explain(err)
	}
	if w.trouble != nil && t.grew {
		w.trouble = nil
		w.logger.LogAttrs(ctx, slog.LevelInfo, "the store can be written to again")
	}
	for _, e := range t.after {
		e.committed()
	}
	for _, c := range calls {
		if c.done != nil {
			c.done <- struct{}{}
		}
	}
	return nil
}

func (w *writer) transact(ctx context.Context, t *turn, calls []*call) error {
	if err := t.begin(ctx); err != nil {
		return &beginError{fmt.Errorf("beginning: %w", err)}
	}
	if err := w.begun(ctx, t, calls); err != nil {
		return t.undo(ctx, err)
	}
	for _, c := range calls {
		c.err = nil
		err := c.request.do(ctx, t)
		if refused, ok := errors.AsType[*refusal](err); ok {
			c.err = refused.error
		} else if err != nil {
			return t.undo(ctx, err)
		}
	}
	if err := t.commit(ctx); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

// refuse answers with an error, and keeps what must be tried again.
func (w *writer) refuse(ctx context.Context, calls []*call, err error) {
	if w.trouble == nil {
		w.logger.LogAttrs(ctx, slog.LevelError, "the store cannot be written to", slog.Any("err", err))
	}
	w.trouble = err
	for _, c := range calls {
		w.keep(c.request, isUnsure(err))
		if c.done != nil {
			c.err = err
			c.done <- struct{}{}
		}
	}
}

// keep has what must not be lost tried again, and undoes what is not known to be
// undone.
func (w *writer) keep(r request, unsure bool) {
	again, ok := r.(keeper)
	if begun, is := r.(*beginning); is && unsure {
		again, ok = &withdrawing{d: begun.d, id: begun.flight.ID}, true
	}
	switch {
	case ok && len(w.kept) < maxKept:
		again.keep()
		w.kept = append(w.kept, &call{request: again})
	case ok:
		w.lost++
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"smtpbridge/providers/delivery"
)

const (
	// maxFlights bounds the messages in memory; of others the table is asked.
	maxFlights = 10_000
	// quotaMonths is how long counts are kept.
	quotaMonths = 2
)

// deliveries is what the SMTP path writes: flights, outcomes, quotas. Its writer
// alone touches what is not guarded.
type deliveries struct {
	db       *database
	writer   *writer
	instance string
	now      func() time.Time
	// alone: nobody else writes to the database, so that memory may answer for it.
	alone bool

	waiting waiters

	// The writer's own, where it is alone.
	index   *index
	flights map[string]*message // those whose reply is not known yet
	oldest  int64               // when the oldest message came, in Unix nanoseconds
	written int                 // requests since the log was copied, or memory looked at
	scratch []byte              // the outcome that is being written

	// absent are the keys that lead nowhere, as far as the transaction has asked. On
	// a server it has those that it lands in flights, too.
	absent map[key]bool
}

// openDeliveries brings a database up to date and puts right what an end without
// warning has left. The database is closed with it, or after an error.
// What is not yet in the history goes there.
func openDeliveries(ctx context.Context, db *database, o Options, h *History) (*deliveries, error) {
	d := &deliveries{
		db: db, writer: newWriter(db, o), instance: o.Instance, now: o.Now, alone: !o.shared,
		index: newIndex(), flights: make(map[string]*message), absent: make(map[key]bool),
	}
	d.writer.begun = d.readAhead
	d.writer.failed = func() { clear(d.flights) } // it may hold what is not on record
	d.writer.tidy = d.tidy
	if err := d.begin(ctx, h); err != nil {
		return nil, errors.Join(db.explain(err), d.close())
	}
	return d, nil
}

func (d *deliveries) begin(ctx context.Context, h *History) error {
	if err := d.db.migrate(ctx); err != nil {
		return err
	}
	if err := d.sweep(ctx); err != nil {
		return fmt.Errorf("settling what was in flight: %w", err)
	}
	if err := d.load(ctx); err != nil {
		return fmt.Errorf("loading the keys: %w", err)
	}
	if err := h.catchUp(ctx, d.db); err != nil {
		return fmt.Errorf("taking what was left over into the history: %w", err)
	}
	return d.writer.session.connect(ctx)
}

func (d *deliveries) close() error { return errors.Join(d.writer.session.close(), d.db.close()) }

// sweep lands what nobody will land any more. What is still in flight of another
// bridge is left alone until its deadline.
func (d *deliveries) sweep(ctx context.Context) error {
	now := d.now()
	if _, err := d.db.ExecContext(ctx, sweepMessages, d.instance, now.UnixNano()); err != nil {
		return err
	}
	_, month := periods(now.AddDate(0, -quotaMonths, 0))
	if _, err := d.db.ExecContext(ctx, expireQuotas, month); err != nil || !d.db.isServer() {
		return err
	}
	_, err := d.db.ExecContext(ctx, expireTurns, now.AddDate(0, -quotaMonths, 0).UnixNano())
	return err
}

// load fills the index.
func (d *deliveries) load(ctx context.Context) (err error) {
	if !d.alone {
		return nil
	}
	rows, err := d.db.QueryContext(ctx, indexedMessages)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var number int64
		var keys keyColumns
		if err := rows.Scan(&number, &keys[byIdempotency], &keys[byMessageID], &keys[byContent]); err != nil {
			return err
		}
		for _, k := range keys.keys() {
			d.index.add(k, number)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return d.loadInherited(ctx)
}

func (d *deliveries) loadInherited(ctx context.Context) (err error) {
	rows, err := d.db.QueryContext(ctx, indexedKeys)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var number int64
		var k key
		if err := rows.Scan(&number, &k.kind, &k.digest); err != nil {
			return err
		}
		d.index.add(k, number)
	}
	return rows.Err()
}

// forget has keys lead to a message no more.
func (d *deliveries) forget(number int64, keys []key) {
	for _, k := range keys {
		d.index.remove(k, number)
	}
}

// remember holds a flight in memory until it is done with.
func (d *deliveries) remember(m *message) {
	if !d.alone {
		return
	}
	for _, k := range m.keys {
		d.index.add(k, m.number)
	}
	for _, k := range m.inherited {
		d.index.add(k, m.number)
	}
	if len(d.flights) >= maxFlights {
		clear(d.flights)
	}
	d.flights[m.id] = m
}

// file keeps what memory knows of m right, once m was changed on record.
func (d *deliveries) file(ctx context.Context, t *turn, m *message) error {
	if !d.alone {
		return nil
	}
	known := d.flights[m.id] == m
	if known && (!m.landed || m.reply == replyUnknown) {
		return nil
	}
	delete(d.flights, m.id)
	if m.continuedBy != 0 {
		return nil // no key leads to it
	}
	if !known {
		var err error
		if m.inherited, err = d.inheritedKeys(ctx, t, m.number); err != nil {
			return err
		}
	}
	f := &filing{d: d, m: m, settled: m.settled()}
	if !f.settled {
		f.committed() // for the requests that follow in this turn; again after those that came before
	}
	t.then(f)
	return nil
}

// filing lets the keys of a message lead to it, or those that need not any more
// not.
type filing struct {
	d       *deliveries
	m       *message
	settled bool
}

func (f *filing) committed() {
	for _, keys := range [...][]key{f.m.keys, f.m.inherited} {
		for _, k := range keys {
			if !f.settled {
				f.d.index.add(k, f.m.number)
			} else if k.kind != byIdempotency {
				f.d.index.remove(k, f.m.number)
			}
		}
	}
}

// encode gives what is good until the next is encoded.
func (d *deliveries) encode(results []result, least int) []byte {
	d.scratch = encodeOutcome(d.scratch[:0], results, least)
	return d.scratch
}

// since is the time after which a message is remembered.
func (d *deliveries) since(now time.Time) int64 { return now.Add(-delivery.Retention).UnixNano() }

// current gives a message to be changed, nil where there is none.
func (d *deliveries) current(ctx context.Context, t *turn, id string) (*message, error) {
	now := d.now()
	if m, found := d.flights[id]; found && m.received > d.since(now) {
		return m, nil
	}
	return d.byID(ctx, t, id, now)
}

func (d *deliveries) byID(ctx context.Context, t *turn, id string, now time.Time) (*message, error) {
	return readMessage(ctx, t, messageByID, id, d.since(now))
}

// readAhead asks a server at once what the requests of a transaction would ask one
// by one. What it finds is as good as in memory until that has ended.
func (d *deliveries) readAhead(ctx context.Context, t *turn, calls []*call) error {
	if !d.db.isServer() {
		return nil
	}
	clear(d.flights)
	clear(d.absent)
	var ids []string
	var digests [][]byte
	for _, c := range calls {
		switch r := c.request.(type) {
		case *landing:
			ids = append(ids, r.id)
		case *beginning:
			for _, k := range r.keys {
				d.absent[k] = true
				digests = append(digests, []byte(k.digest))
			}
		}
	}
	if err := d.readLanding(ctx, t, ids); err != nil || len(digests) == 0 {
		return err
	}
	known, err := readKeys(ctx, t, keysKnown, digests)
	for _, k := range known {
		delete(d.absent, k)
	}
	return err
}

func (d *deliveries) readLanding(ctx context.Context, t *turn, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	found, err := readMessages(ctx, t, messagesByIDs, ids, d.since(d.now()))
	for _, m := range found {
		d.flights[m.id] = m
	}
	return err
}

// byKey gives the messages that a key leads to, the newest first.
func (d *deliveries) byKey(ctx context.Context, t *turn, k key, now time.Time) ([]*message, error) {
	if d.absent[k] {
		return nil, nil
	}
	if !d.alone {
		return readMessages(ctx, t, messagesByKey, int(k.kind), []byte(k.digest), d.since(now))
	}
	var found []*message
	for _, number := range d.index.find(k) {
		m, err := readMessage(ctx, t, messageByNumber, number, d.since(now))
		if err != nil {
			return nil, err
		}
		if leads, err := d.leads(ctx, t, k, m); err != nil {
			return nil, err
		} else if leads {
			found = append(found, m)
		}
	}
	return found, nil
}

// leads confirms what the index has found.
func (d *deliveries) leads(ctx context.Context, t *turn, k key, m *message) (bool, error) {
	if m == nil || m.continuedBy != 0 {
		return false, nil
	}
	if slices.Contains(m.keys, k) {
		return true, nil
	}
	inherited, err := d.inheritedKeys(ctx, t, m.number)
	return slices.Contains(inherited, k), err
}

// inheritedKeys are those of messages whose place a message has taken.
func (d *deliveries) inheritedKeys(ctx context.Context, t *turn, number int64) ([]key, error) {
	return readKeys(ctx, t, keysInherited, number)
}

// head gives the message that has taken m's place, m itself where none has.
func (d *deliveries) head(ctx context.Context, t *turn, m *message, now time.Time) (*message, error) {
	for m.continuedBy != 0 {
		next, err := readMessage(ctx, t, messageByNumber, m.continuedBy, d.since(now))
		if err != nil {
			return nil, err
		}
		if next == nil {
			break
		}
		m = next
	}
	return m, nil
}

// waiters are those who wait for messages to land.
type waiters struct {
	mu   sync.Mutex // guards what follows
	byID map[string]*waiter
}

type waiter struct {
	landed chan struct{}
	many   int
}

// join gives a channel that closes when the message lands, and the end of the
// wait, which must be called.
func (w *waiters) join(id string) (landed <-chan struct{}, leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one, found := w.byID[id]
	if !found {
		if w.byID == nil {
			w.byID = make(map[string]*waiter)
		}
		one = &waiter{landed: make(chan struct{})}
		w.byID[id] = one
	}
	one.many++
	return one.landed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if one.many--; one.many == 0 && w.byID[id] == one {
			delete(w.byID, id)
		}
	}
}

func (w *waiters) wake(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one, found := w.byID[id]; found {
		close(one.landed)
		delete(w.byID, id)
	}
}

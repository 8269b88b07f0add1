package store

import (
	"context"
	"database/sql"
	"io/fs"
	"time"
)

// Shared makes a database one that others write to, as PostgreSQL is.
func Shared(o Options) Options {
	o.shared = true
	return o
}

// Limited bounds how long a transaction on a server may take.
func Limited(o Options, limit time.Duration) Options {
	o.limit = limit
	return o
}

// Pragma sets something of the connection that writes.
func (s *Store) Pragma(ctx context.Context, text string) error {
	_, err := s.deliveries.writer.session.conn.ExecContext(ctx, "PRAGMA "+text)
	return err
}

// Migrate applies the migrations of a directory.
func Migrate(ctx context.Context, db *sql.DB, files fs.FS) error { return migrate(ctx, db, files) }

// Pages are those in use.
func (s *Store) Pages(ctx context.Context) (n int, err error) {
	err = s.deliveries.writer.session.prepared[pagesInUse].QueryRowContext(ctx).Scan(&n)
	return n, err
}

// DeliveryLock is the number of the lock under which bridges take turns.
func DeliveryLock() int64 { return deliveryPart.lock() }

// Flush writes what the SMTP path has left behind.
func (h *History) Flush(ctx context.Context) { h.flush(ctx) }

// Tidy lets go of what is too old.
func (h *History) Tidy(ctx context.Context) error { return h.tidy(ctx) }

// Refresh takes in what another process has suppressed.
func (h *History) Refresh(ctx context.Context) error { return h.refreshHeld(ctx) }

// SettleUntold passes on what another process has stored.
func (h *History) SettleUntold(ctx context.Context) error { return h.settleUntold(ctx) }

// RefreshInterval is how often Run refreshes.
const RefreshInterval = refreshInterval

// Waiting is how many callers wait for a commit.
func (h *History) Waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.queue)
}

// Pending are the records that wait to be written, and about what they take.
func (h *History) Pending() (records, bytes int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.pending.all), h.pending.bytes
}

// SQL is the query as the database is asked.
func (q *Query) SQL() (text string, args []any, err error) { return q.text() }

// SQL is the query as the database is asked.
func (q *EventQuery) SQL() (text string, args []any, err error) { return q.text() }

// FixedQueries are those without a choice, by what they are for.
func FixedQueries() map[string]string {
	queries := map[string]string{
		"what is held":       suppressedSince,
		"scopes":             scopesOf,
		"the event from":     eventFrom,
		"the bounds":         eventBounds,
		"the last accepted":  lastAccepted,
		"the record":         getRecord,
		"by provider id":     statementFor{messagesOf, manyRows}.String(),
		"the records":        statementFor{recordsOf, manyRows}.String(),
		"the standings":      statementFor{standingsOf, manyRows}.String(),
		"an event before":    statementFor{eventsBefore, manyRows}.String(),
		"events between":     eventsBetween,
		"the standing":       getStanding,
		"removals":           removalsOf,
		"what is suppressed": suppressionsIn,
		"what has changed":   suppressionsChanged,
		"the first event":    firstEvent,
		"the renewal":        renewSuppression,
		"the lift":           liftUnsubscribe,
		"counts":             sumCounts,
		"old counts":         oldCounts,
		"names in an hour":   namesIn,
		"what is untold":     takeUntold,
	}
	for _, text := range tooOld() {
		queries["tidying: "+text] = text
	}
	return queries
}

// Held are the addresses that may be suppressed.
type Held struct{ *held }

// NewHeld holds none.
func NewHeld() Held { return Held{newHeld()} }

// Add takes in addresses.
func (h Held) Add(addresses []string) { h.add(addresses, 0) }

// May reports whether an address may be suppressed.
func (h Held) May(address string) bool { return h.may(address) }

// Adopt takes over what bridges have left behind that are not there any more.
func (s *Store) Adopt(ctx context.Context) error {
	return s.history.adoptOnce(ctx, s.deliveries.db)
}

// Ready is what Run does first: from then on events without anybody to tell are
// for nobody.
func (h *History) Ready() { h.ready() }

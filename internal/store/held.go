package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"smtpbridge/events"
)

const (
	// refreshInterval is how often it is looked for what another process has
	// suppressed.
	refreshInterval = 500 * time.Millisecond
	// maxRecent is how many hashes wait to be sorted in.
	maxRecent = 4096
)

// held are the addresses that may be suppressed, as hashes of 8 octets: a
// million are 8 MB. A hit is confirmed in the database, so what is lifted may
// stay. It is safe for concurrent use.
type held struct {
	seed maphash.Seed

	mu     sync.RWMutex // guards what follows
	sorted []uint64
	recent map[uint64]struct{}
	change int64 // the last one taken in
}

func newHeld() *held {
	return &held{seed: maphash.MakeSeed(), recent: make(map[uint64]struct{})}
}

func (h *held) may(address string) bool {
	hash := maphash.String(h.seed, address)
	h.mu.RLock()
	defer h.mu.RUnlock()
	if _, found := h.recent[hash]; found {
		return true
	}
	_, found := slices.BinarySearch(h.sorted, hash)
	return found
}

// add takes in addresses up to a change.
func (h *held) add(addresses []string, change int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.change = max(h.change, change)
	for _, address := range addresses {
		h.recent[maphash.String(h.seed, address)] = struct{}{}
	}
	if len(h.recent) <= maxRecent {
		return
	}
	for hash := range h.recent {
		h.sorted = append(h.sorted, hash)
	}
	clear(h.recent)
	slices.Sort(h.sorted)
	h.sorted = slices.Compact(h.sorted)
}

func (h *held) last() int64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.change
}

const (
	suppressedSince = `SELECT change, address FROM suppressions WHERE change > ? ORDER BY change LIMIT 100000`
	scopesOf        = `SELECT DISTINCT scope FROM suppressions WHERE address = ? ORDER BY scope`
)

// refreshHeld takes in what was suppressed since the last time.
func (h *History) refreshHeld(ctx context.Context) error {
	for {
		before := h.held.last()
		if err := h.readHeld(ctx, before); err != nil {
			return fmt.Errorf("reading the suppressions: %w", err)
		}
		if h.held.last() == before {
			return nil
		}
	}
}

func (h *History) readHeld(ctx context.Context, after int64) error {
	rows, err := h.read.QueryContext(ctx, suppressedSince, after)
	if err != nil {
		return err //nolint:wrapcheck // refreshHeld does
	}
	defer rows.Close()
	var addresses []string
	for rows.Next() {
		var address string
		if err := rows.Scan(&after, &address); err != nil {
			return err //nolint:wrapcheck // refreshHeld does
		}
		addresses = append(addresses, address)
		if len(addresses) == maxRecent {
			h.held.add(addresses, after)
			addresses = addresses[:0]
		}
	}
	h.held.add(addresses, after)
	return rows.Err()
}

// Suppressed gives the scopes for which an address is suppressed, the empty one
// for all mail; none where it may be mailed.
func (h *History) Suppressed(ctx context.Context, address string) (scopes []string, err error) {
	address = events.Address(address)
	if !h.held.may(address) {
		return nil, nil
	}
	return h.texts(ctx, scopesOf, []any{address})
}

// readError is what a reader is told.
func (h *History) readError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	}
	return h.db.explain(err)
}

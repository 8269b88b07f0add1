package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

	"smtpbridge/events"
)

const (
	// refreshInterval is how often it is looked for what another process has
	// suppressed: it is seen within twice that.
	refreshInterval = 250 * time.Millisecond
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
	more := slices.Sorted(maps.Keys(h.recent))
	clear(h.recent)
	h.sorted = merge(h.sorted, more)
}

// merge sorts more into sorted, from the end on, so that nothing is moved twice.
func merge(sorted, more []uint64) []uint64 {
	one, other := len(sorted)-1, len(more)-1
	sorted = append(sorted, more...)
	for at := len(sorted) - 1; other >= 0; at-- {
		if one >= 0 && sorted[one] > more[other] {
			sorted[at] = sorted[one]
			one--
		} else {
			sorted[at] = more[other]
			other--
		}
	}
	return slices.Compact(sorted)
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

// watchHeld takes in what another process suppresses, until ctx ends.
func (h *History) watchHeld(ctx context.Context) {
	if h.db.inMemory() {
		return // there is no other
	}
	refresh := time.NewTicker(refreshInterval)
	defer refresh.Stop()
	var trouble trouble
	for {
		select {
		case <-ctx.Done():
			return
		case <-refresh.C:
			h.report(ctx, &trouble, h.refreshHeld(ctx))
		}
	}
}

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

func (h *History) readHeld(ctx context.Context, after int64) (err error) {
	rows, err := h.lookUp.QueryContext(ctx, suppressedSince, after)
	if err != nil {
		return err //nolint:wrapcheck // refreshHeld does
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
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
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// It is one step: to watch whether ctx ends meanwhile costs more than the answer.
	ctx = context.WithoutCancel(ctx)
	if h.db.isServer() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, min(turnTime, h.db.limit))
		defer cancel()
	}
	rows, err := h.scopes.QueryContext(ctx, address)
	return h.column(rows, err)
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

package store

import (
	"context"
	"database/sql"
)

const (
	// maxNames is how many tags, or campaigns, are counted by themselves in an hour:
	// an application may give each mail a tag of its own.
	maxNames = 1000
	// otherNames is what all others are counted as.
	otherNames = "(others)"
	// maxHours is of how many hours the names are kept in memory.
	maxHours = 64

	namesIn = `SELECT DISTINCT name FROM counts WHERE hour = ? AND dimension = ? LIMIT ?`
)

// names are those that are counted, by hour and dimension. Who commits has them;
// each bridge on a shared database has its own.
type names map[counted]map[string]bool

// bound gives what a tally is counted as.
func (n names) bound(ctx context.Context, w *work, key counted) (counted, error) {
	if key.dimension == ByProvider { // the configuration bounds those
		return key, nil
	}
	of := counted{hour: key.hour, dimension: key.dimension}
	known, found := n[of]
	if !found {
		if len(n) >= maxHours {
			clear(n)
		}
		var err error
		if known, err = w.namesIn(ctx, of); err != nil {
			return key, err
		}
		n[of] = known
	}
	if !known[key.name] && len(known) >= maxNames {
		key.name = otherNames
		return key, nil
	}
	known[key.name] = true
	return key, nil
}

func (w *work) namesIn(ctx context.Context, of counted) (map[string]bool, error) {
	known := make(map[string]bool)
	args := []any{of.hour, string(of.dimension), maxNames}
	return known, w.ask(ctx, statementFor{namesIn, 1}, args, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		known[name] = true
		return err
	})
}

package delivery

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// order gives the candidates of a route in the order in which its strategy tries
// them; the slice is its own. Ties keep the order of the configuration.
func (r *route) order(now time.Time) []*candidate {
	ordered := slices.Clone(r.candidates)
	if len(ordered) < 2 {
		return ordered
	}
	switch r.strategy {
	case strategyPriority:
		slices.SortStableFunc(ordered, func(a, b *candidate) int { return cmp.Compare(a.config.Priority, b.config.Priority) })
	case strategyCost:
		sortByCost(ordered, now)
	case strategyWeighted:
		r.wheel.turn(ordered)
	default:
		sortByScore(ordered, now)
	}
	return ordered
}

// sortByScore puts the highest first. Where none is above 0 the first whose
// breaker is closed leads, else the first.
func sortByScore(ordered []*candidate, now time.Time) {
	scores := make(map[string]float64, len(ordered))
	best := 0.0
	for _, c := range ordered {
		scores[c.Name()] = c.health.score(now)
		best = max(best, scores[c.Name()])
	}
	if best > 0 {
		slices.SortStableFunc(ordered, func(a, b *candidate) int { return cmp.Compare(scores[b.Name()], scores[a.Name()]) })
		return
	}
	slices.SortStableFunc(ordered, func(a, b *candidate) int { return compareBool(b.health.isClosed(), a.health.isClosed()) })
}

// sortByCost puts the cheapest first of those that are healthy and inside their
// quota; the others follow.
func sortByCost(ordered []*candidate, now time.Time) {
	slices.SortStableFunc(ordered, func(a, b *candidate) int {
		if byState := compareBool(b.health.isFit(now), a.health.isFit(now)); byState != 0 {
			return byState
		}
		return cmp.Compare(a.config.CostPerThousand, b.config.CostPerThousand)
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// wheel is fair over time: of all messages each provider leads its weight's share,
// evenly spread (smooth weighted round robin).
type wheel struct {
	mu      sync.Mutex // guards current
	current map[string]int
}

// turn puts the leader of this turn first, and the others behind it by what they
// are owed.
func (w *wheel) turn(ordered []*candidate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		w.current = make(map[string]int)
	}
	total := 0
	for _, c := range ordered {
		w.current[c.Name()] += c.config.Weight
		total += c.config.Weight
	}
	slices.SortStableFunc(ordered, func(a, b *candidate) int { return cmp.Compare(w.current[b.Name()], w.current[a.Name()]) })
	w.current[ordered[0].Name()] -= total
}

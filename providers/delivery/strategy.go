package delivery

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// order puts verdicts, which stand as in the configuration, in the order in which
// the strategy of the route tries their providers. Ties stay as they are.
func (r *route) order(verdicts []Verdict, now time.Time) {
	if len(verdicts) < 2 {
		return
	}
	switch r.strategy {
	case strategyPriority:
		slices.SortStableFunc(verdicts, func(a, b Verdict) int {
			return cmp.Compare(a.candidate.config.Priority, b.candidate.config.Priority)
		})
	case strategyCost:
		sortByCost(verdicts, now)
	case strategyWeighted:
		r.wheel.turn(verdicts)
	default:
		sortByScore(verdicts, now)
	}
}

// sortByScore puts the highest first. Where none is above 0 the first whose
// breaker is closed leads, else the first.
func sortByScore(verdicts []Verdict, now time.Time) {
	best := 0.0
	for i := range verdicts {
		v := &verdicts[i]
		v.score = v.candidate.health.score(now)
		best = max(best, v.score)
	}
	slices.SortStableFunc(verdicts, func(a, b Verdict) int {
		if best > 0 {
			return cmp.Compare(b.score, a.score)
		}
		return compareBool(b.candidate.health.isClosed(), a.candidate.health.isClosed())
	})
}

// sortByCost puts the cheapest first of those that are healthy and inside their
// quota; the others follow.
func sortByCost(verdicts []Verdict, now time.Time) {
	slices.SortStableFunc(verdicts, func(a, b Verdict) int {
		if byState := compareBool(b.candidate.health.isFit(now), a.candidate.health.isFit(now)); byState != 0 {
			return byState
		}
		return cmp.Compare(a.candidate.config.CostPerThousand, b.candidate.config.CostPerThousand)
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
func (w *wheel) turn(verdicts []Verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		w.current = make(map[string]int)
	}
	total := 0
	for _, v := range verdicts {
		w.current[v.Provider] += v.candidate.config.Weight
		total += v.candidate.config.Weight
	}
	slices.SortStableFunc(verdicts, func(a, b Verdict) int { return cmp.Compare(w.current[b.Provider], w.current[a.Provider]) })
	w.current[verdicts[0].Provider] -= total
}

package main

import (
	"math"
	"runtime/debug"
	"testing"
)

// The operator's GOGC and GOMEMLIMIT, which the runtime has read already, stay.
func TestTuneMemory(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	for _, c := range []struct {
		env     map[string]string
		percent int
		limit   int64
	}{
		{map[string]string{"GOGC": "100", "GOMEMLIMIT": "1GiB"}, 100, math.MaxInt64},
		{map[string]string{"GOMEMLIMIT": "1GiB"}, garbage, math.MaxInt64},
		{nil, garbage, memory},
	} {
		tuneMemory(func(name string) (string, bool) {
			value, set := c.env[name]
			return value, set
		})
		if limit := debug.SetMemoryLimit(-1); limit != c.limit {
			t.Errorf("with %v the limit is %d, want %d", c.env, limit, c.limit)
		}
		percent := debug.SetGCPercent(100)
		debug.SetGCPercent(percent)
		if percent != c.percent {
			t.Errorf("with %v garbage may be %d %%, want %d", c.env, percent, c.percent)
		}
	}
}

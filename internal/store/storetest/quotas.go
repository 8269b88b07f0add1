package storetest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"smtpbridge/providers/delivery"
)

// Counts are exact, by provider, UTC day and month.
func testQuotas(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	at := func(day, hour int) time.Time { return time.Date(2026, 1, day, hour, 59, 59, 999_999_999, time.UTC) }
	far := time.FixedZone("far away", 14*3600)
	tests := []struct {
		name       string
		n          int64
		limits     delivery.QuotaLimits
		now        time.Time
		want       bool
		day, month int64 // what counts then
	}{
		{"some", 2, delivery.QuotaLimits{Day: 3, Month: 6}, at(30, 23), true, 2, 2},
		{"too many for the day", 2, delivery.QuotaLimits{Day: 3, Month: 6}, at(30, 23), false, 2, 2},
		{"as many as may be", 1, delivery.QuotaLimits{Day: 3, Month: 6}, at(30, 23), true, 3, 3},
		{"one too many", 1, delivery.QuotaLimits{Day: 3, Month: 6}, at(30, 0), false, 3, 3},
		{"none at all", 0, delivery.QuotaLimits{Day: 3, Month: 6}, at(30, 0), true, 3, 3},
		{"the day after", 3, delivery.QuotaLimits{Day: 3, Month: 6}, at(31, 0), true, 3, 6},
		{"too many for the month", 1, delivery.QuotaLimits{Day: 9, Month: 6}, at(31, 0), false, 3, 6},
		{"no limit for the month", 1, delivery.QuotaLimits{Day: 9}, at(31, 0), true, 4, 7},
		{"no limit", 1, delivery.QuotaLimits{}, at(31, 0), true, 5, 8},
		{"over a limit that was lowered", 1, delivery.QuotaLimits{Day: 1}, at(31, 0), false, 5, 8},
		{"too many for any", 1 << 62, delivery.QuotaLimits{Day: 1 << 62}, at(31, 0), false, 5, 8},
		{"the month after", 1, delivery.QuotaLimits{Day: 3, Month: 6}, at(32, 0), true, 1, 1},
		{"the day before, by another clock", 1, delivery.QuotaLimits{Day: 9}, at(31, 1), true, 6, 9},
		{"a day is UTC's", 1, delivery.QuotaLimits{Day: 9}, at(31, 23).In(far), true, 7, 10},
	}
	for _, tt := range tests {
		taken, err := b.Take(t.Context(), "p", tt.n, tt.limits, tt.now)
		if taken != tt.want || err != nil {
			t.Errorf("%s: Take = %v, %v, want %v", tt.name, taken, err, tt.want)
		}
		b.used(tt.name, "p", tt.now, tt.day, tt.month)
	}
	b.used("another provider", "q", at(31, 0), 0, 0)

	// What is taken back no longer counts then; there is nothing below none.
	for _, n := range []int64{2, 0} {
		if err := b.Return(t.Context(), "p", n, at(30, 0)); err != nil {
			t.Error(err)
		}
		b.used("returned, that day", "p", at(30, 1), 1, 8)
		b.used("returned, the day after", "p", at(31, 1), 7, 8)
	}
	if err := b.Return(t.Context(), "p", 100, at(30, 0)); err != nil {
		t.Error(err)
	}
	b.used("more than there was", "p", at(30, 1), 0, 0)
	if err := b.Return(t.Context(), "never used", 1, at(30, 0)); err != nil {
		t.Error(err)
	}
	b.used("never used", "never used", at(30, 1), 0, 0)
	if taken, err := b.Take(t.Context(), "p", -1, delivery.QuotaLimits{}, at(31, 0)); taken || err == nil {
		t.Errorf("Take(-1) = %v, %v, want an error", taken, err)
	}
	if err := b.Return(t.Context(), "p", -1, at(31, 0)); err == nil {
		t.Error("Return(-1): no error")
	}
}

// used compares what counts.
func (b *bridge) used(when, provider string, at time.Time, day, month int64) {
	b.t.Helper()
	gotDay, gotMonth, err := b.Used(b.t.Context(), provider, at)
	if gotDay != day || gotMonth != month || err != nil {
		b.t.Errorf("%s: Used = %d, %d, %v, want %d, %d", when, gotDay, gotMonth, err, day, month)
	}
}

// A limit is never exceeded, and always reached.
func testQuotasAtOnce(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	b := open(t, create)
	takeAtOnce(t, b, b)
}

// takeAtOnce has all bridges take more than there is.
func takeAtOnce(t *testing.T, bridges ...*bridge) {
	t.Helper()
	const workers, limit = 10, 101
	now := bridges[0].clock.Now()
	var taken atomic.Int64
	var all sync.WaitGroup
	for _, b := range bridges {
		for range workers {
			all.Go(func() {
				for range limit / workers {
					ok, err := b.Take(t.Context(), "p", 1, delivery.QuotaLimits{Day: limit}, now)
					switch {
					case err != nil:
						t.Error(err)
					case ok:
						taken.Add(1)
					}
				}
			})
		}
	}
	all.Wait()
	if taken.Load() != limit {
		t.Errorf("%d recipients taken, want %d", taken.Load(), limit)
	}
	bridges[0].used("in the end", "p", now, limit, limit)
}

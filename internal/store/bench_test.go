package store_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"smtpbridge/internal/store"
	"smtpbridge/internal/store/postgrestest"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

func open(tb testing.TB, c store.Config, o store.Options) *store.Store {
	tb.Helper()
	s, err := store.Open(tb.Context(), c, o)
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(context.WithoutCancel(tb.Context())) }()
	tb.Cleanup(func() {
		if err := s.Close(context.WithoutCancel(tb.Context())); err != nil {
			tb.Error(err)
		}
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return s
}

// onServerKind stands for a PostgreSQL server that waits for its disk as one in use.
const onServerKind = "postgres"

// configOf is that of a new store.
func configOf(b *testing.B, kind string) store.Config {
	b.Helper()
	c := store.DefaultConfig()
	c.URL = kind
	if kind == onServerKind {
		c.URL = postgrestest.Start(b, "fsync=on", "full_page_writes=on", "autovacuum=on", "shared_buffers=128MB").Database(b)
	}
	return c
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What the SMTP path pays for a message: Begin, Land and Replied, twenty at once.
func BenchmarkMessage(b *testing.B) {
	const concurrency = 20
	for _, kind := range []string{"", "memory:", onServerKind} {
		b.Run("url="+kind, func(b *testing.B) {
			s := open(b, configOf(b, kind), store.Options{DataDir: b.TempDir()})
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			begun := cpuTime()
			b.ResetTimer()
			for range concurrency {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						deliver(b, s, n)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(cpuTime()-begun)/float64(b.N), "cpu-ns/msg")
		})
	}
}

// deliver is a message to one recipient that a provider takes.
func deliver(b *testing.B, s *store.Store, n int64) {
	b.Helper()
	id := ulid(n)
	now := time.Now()
	recipients := []string{"somebody@customer.example.com"}
	past, err := s.Begin(b.Context(), delivery.Flight{
		ID: id, Time: now, Deadline: now.Add(time.Minute), Recipients: recipients,
		Keys: delivery.Keys{MessageID: "a digest of <" + id + "@app.example.com>"},
	})
	if past != nil || err != nil {
		b.Error(past, err)
	}
	err = s.Land(b.Context(), id, providers.Outcome{{
		Recipient: recipients[0], State: providers.Accepted,
		Provider: "sendgrid", ProviderID: "filterdrecv-5645d9c87f-78xjz-1-5EC3B5A1-2F.0",
	}})
	if err != nil {
		b.Error(err)
	}
	s.Replied(id, true)
}

// ulid is an id in the form and order of the bridge's.
func ulid(n int64) string {
	digits := strconv.FormatInt(1e12+n, 10)
	return "01J8Z3K4M5N6P" + digits
}

package store_test

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"smtpbridge/internal/store"
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
		if err := s.Close(context.Background()); err != nil {
			tb.Error(err)
		}
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return s
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What the SMTP path pays for a message.
func BenchmarkMessage(b *testing.B) {
	for _, url := range []string{"", "memory:"} {
		b.Run("url="+url, func(b *testing.B) {
			s := open(b, store.Config{URL: url}, store.Options{DataDir: b.TempDir()})
			recipients := []string{"somebody@customer.example.com"}
			outcome := providers.Outcome{{
				Recipient: recipients[0], State: providers.Accepted,
				Provider: "sendgrid", ProviderID: "filterdrecv-5645d9c87f-78xjz-1-5EC3B5A1-2F.0",
			}}
			var n atomic.Int64
			b.SetParallelism(10)
			b.ReportAllocs()
			begun := cpuTime()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					id := "01J8Z3K4M5N6P7Q8R9" + fmt.Sprintf("%08d", n.Add(1))
					now := time.Now()
					past, err := s.Begin(b.Context(), delivery.Flight{
						ID: id, Time: now, Deadline: now.Add(time.Minute), Recipients: recipients,
						Keys: delivery.Keys{MessageID: "<" + strconv.FormatInt(n.Load(), 36) + id + "@app.example.com>"},
					})
					if past != nil || err != nil {
						b.Error(past, err)
					}
					if err := s.Land(b.Context(), id, outcome); err != nil {
						b.Error(err)
					}
					s.Replied(id, true)
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(store.Calls)/float64(store.Turns), "calls/turn")
			store.Calls, store.Turns = 0, 0
			b.ReportMetric(float64(cpuTime()-begun)/float64(b.N), "cpu-ns/msg")
		})
	}
}

package forward_test

import (
	"database/sql"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"smtpbridge/events/forward"
	"smtpbridge/internal/config"
	"smtpbridge/internal/store/postgrestest"
)

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What leaves in a second to an application that answers at once: webhooks of a
// hundred events each, one after another.
func BenchmarkForward(b *testing.B) {
	var taken atomic.Int64
	all := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if taken.Add(1) == int64(b.N) {
			close(all)
		}
	}))
	b.Cleanup(server.Close)
	bridge := newBridge(b, openFile(b, file(b)), forward.Config{URL: server.URL, Secret: config.NewSecret(secret)})
	bridge.start(b)
	taken.Store(0)
	begun := cpuTime()
	b.ResetTimer()
	for first := int64(1); first <= int64(b.N); first += 100 {
		bridge.enqueue(b, first, min(first+99, int64(b.N)))
	}
	<-all
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((cpuTime()-begun).Microseconds())/float64(b.N), "cpu-µs/event")
}

// The same on a PostgreSQL server that waits for its disk, with one bridge and with
// three.
func BenchmarkForwardShared(b *testing.B) {
	for _, bridges := range []int{1, 3} {
		b.Run("bridges="+strconv.Itoa(bridges), func(b *testing.B) {
			url := postgrestest.Start(b, "fsync=on", "full_page_writes=on", "autovacuum=on", "shared_buffers=128MB").Database(b)
			var taken atomic.Int64
			all := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				if taken.Add(1) == int64(b.N) {
					close(all)
				}
			}))
			b.Cleanup(server.Close)
			fleet := make([]*bridge, bridges)
			for i := range fleet {
				fleet[i] = newSharing(b, openServer(b, url), forward.Config{URL: server.URL, Secret: config.NewSecret(secret)})
				fleet[i].start(b)
			}
			begun := cpuTime()
			b.ResetTimer()
			for first := int64(1); first <= int64(b.N); first += 100 {
				fleet[first/100%int64(bridges)].enqueue(b, first, min(first+99, int64(b.N)))
			}
			<-all
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64((cpuTime()-begun).Microseconds())/float64(b.N), "cpu-µs/event")
		})
	}
}

// What a webhook of ten events pays for its jobs, beside few and many that wait.
func BenchmarkEnqueue(b *testing.B) {
	for _, pending := range []int64{0, 10_000, 100_000} {
		b.Run("pending="+strconv.FormatInt(pending, 10), func(b *testing.B) {
			bridge := newBridge(b, openFile(b, file(b)), forward.Config{URL: "http://127.0.0.1:1", Secret: config.NewSecret(secret)})
			if pending > 0 {
				bridge.enqueue(b, 1, pending)
			}
			b.ResetTimer()
			for range b.N {
				bridge.transaction(b, 1, 10, (*sql.Tx).Commit)
			}
		})
	}
}

// What a bridge pays for forwarding while there is nothing to forward.
func BenchmarkIdle(b *testing.B) {
	for _, url := range []string{"", "http://127.0.0.1:1"} {
		b.Run("url="+url, func(b *testing.B) {
			c := forward.Config{URL: url, Secret: config.NewSecret(secret)}
			newBridge(b, openFile(b, file(b)), c).start(b)
			begun := cpuTime()
			b.ResetTimer()
			for range b.N {
				<-time.After(time.Second)
			}
			b.ReportMetric(float64((cpuTime()-begun).Microseconds())/float64(b.N), "cpu-µs/s")
		})
	}
}

package load_test

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

// rounds are measured of the bridge and of the bare server in turn, so that a
// noisy moment of the machine meets both.
const rounds = 11

// BenchmarkCPU reports the CPU time that the bridge takes for a mail, and its
// ratio to that of the bare server: the median over rounds that alternate.
func BenchmarkCPU(b *testing.B) {
	binary := buildBridge(b)
	for _, test := range []struct {
		name string
		job  job
		bar  float64
	}{
		{"Text1KiB", job{mail: wire(textMail(1 << 10)), count: 1500}, 1.6},
		{"Text1KiBDialled", job{mail: wire(textMail(1 << 10)), count: 800, dialled: true}, 1.6},
		{"Multipart30KiB", job{mail: wire(multipartMail()), count: 500}, 1.3},
		{"Attachment1MiB", job{mail: wire(attachmentMail(1 << 20)), count: 30}, 1.15},
	} {
		b.Run(test.name, func(b *testing.B) { benchmarkCPU(b, binary, test.job, test.bar) })
	}
}

func benchmarkCPU(b *testing.B, binary string, j job, bar float64) {
	b.Helper()
	sink := newSink(b, 0, http.StatusAccepted, "")
	bridge, bare := startBridge(b, binary, heavyProviders[0].table, sink), startBare(b, sink)
	for _, p := range []process{bridge, bare} { // warm: pools, connections, page tables
		cost(b, p, job{mail: j.mail, count: concurrency * 4, dialled: j.dialled})
	}
	var bridgeCosts, bareCosts, ratios []float64
	for b.Loop() {
		for range rounds {
			ours, theirs := cost(b, bridge, j), cost(b, bare, j)
			bridgeCosts, bareCosts = append(bridgeCosts, ours), append(bareCosts, theirs)
			ratios = append(ratios, ours/theirs)
		}
	}
	ours, theirs, ratio := median(bridgeCosts), median(bareCosts), median(ratios)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours, "bridge-µs/mail")
	b.ReportMetric(theirs, "bare-µs/mail")
	b.ReportMetric(ratio, "ratio")
	if ratio > bar {
		b.Errorf("a mail costs %.0f µs, %.2f times the %.0f µs of the bare server; the bar is %.2f", ours, ratio, theirs, bar)
	}
}

// cost is the CPU time that one process takes for one mail of the job, in microseconds.
func cost(b *testing.B, p process, j job) float64 {
	b.Helper()
	before, err := p.cpu()
	if err != nil {
		b.Fatal(err)
	}
	if err := flood(b.Context(), p.address, j); err != nil {
		b.Fatal(err)
	}
	after, err := p.cpu()
	if err != nil {
		b.Fatal(err)
	}
	return float64(after-before) / float64(time.Microsecond) / float64(j.count)
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

package load_test

import (
	"testing"

	"golang.org/x/sync/errgroup"
)

const (
	// heavyMails of heavySize octets are in flight at once.
	heavyMails = 20
	heavySize  = 24 << 20
	// peakBar is the most memory that the bridge may have resident.
	peakBar = 64 << 20
)

// BenchmarkMemory sends 20 mails of 24 MiB at once to a provider that answers
// none before all are there, and reports the peak of the bridge's resident memory.
func BenchmarkMemory(b *testing.B) {
	binary := buildBridge(b)
	b.Run("Attachment", func(b *testing.B) {
		benchmarkMemory(b, binary, wire(attachmentMail(heavySize/78*57-4<<10)))
	})
	b.Run("TextBody", func(b *testing.B) { benchmarkMemory(b, binary, wire(textMail(heavySize))) })
}

func benchmarkMemory(b *testing.B, binary string, mail []byte) {
	b.Helper()
	bridge := startBridge(b, binary, newSink(b, heavyMails))
	for b.Loop() {
		var group errgroup.Group
		for range heavyMails {
			group.Go(func() error {
				c, err := dial(b.Context(), bridge.address)
				if err != nil {
					return err
				}
				defer c.close()
				return sendOne(c, mail)
			})
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	peak, err := bridge.peak()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
	if peak > peakBar {
		b.Errorf("the bridge had %d MiB resident, the bar is %d MiB", peak>>20, peakBar>>20)
	}
}

package forward

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An outage costs one try after each pause, the pauses double up to the longest,
// and what waits leaves at once when one is taken.
func TestGateLetsOneTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(time.Second, 4*time.Second)
		for n := 1; n <= closingFailures; n++ {
			if closed := g.failed(false, 0); closed != (n == closingFailures) {
				t.Fatalf("after %d failures closed is %t", n, closed)
			}
		}
		begun := time.Now()
		var tries []time.Duration
		var admitted sync.WaitGroup
		for range 10 {
			admitted.Go(func() {
				for {
					trying, err := g.enter(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if !trying {
						return
					}
					tries = append(tries, time.Since(begun))
					if len(tries) == 5 {
						if since := g.taken(); !since.Equal(begun) {
							t.Errorf("it was closed since %v, want %v", since, begun)
						}
						return
					}
					if g.failed(true, 0) {
						t.Error("a failure has closed a gate that was closed")
					}
				}
			})
		}
		admitted.Wait()
		want := []time.Duration{time.Second, 3 * time.Second, 7 * time.Second, 11 * time.Second, 15 * time.Second}
		if !slices.Equal(tries, want) {
			t.Errorf("it was tried after %v, want %v", tries, want)
		}
		if now := time.Since(begun); now != 15*time.Second {
			t.Errorf("the last one left after %v", now)
		}
	})
}

func TestGateCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(time.Second, 4*time.Second)
		for range closingFailures - 1 {
			g.failed(false, 0)
		}
		g.taken()
		if g.failed(false, 0) {
			t.Error("failures count across what was taken between them")
		}
		if !g.failed(false, time.Minute) {
			t.Fatal("Retry-After has not closed it")
		}
		// What was on its way when it closed neither prolongs nor repeats that.
		if g.failed(false, time.Hour) {
			t.Error("it was closed twice")
		}
		begun := time.Now()
		if trying, err := g.enter(t.Context()); !trying || err != nil {
			t.Errorf("trying %t, %v", trying, err)
		}
		if waited := time.Since(begun); waited != time.Minute {
			t.Errorf("it tried after %v, want a minute", waited)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.enter(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("entering beside the one that tries: %v", err)
		}
		g.gaveUp(true)
		if trying, err := g.enter(t.Context()); !trying || err != nil {
			t.Errorf("after one has given up: trying %t, %v", trying, err)
		}
		g.failed(true, time.Hour)
		g.hurry()
		if trying, err := g.enter(t.Context()); !trying || err != nil || time.Since(begun) > time.Minute {
			t.Errorf("another application: trying %t, %v, after %v", trying, err, time.Since(begun))
		}
	})
}

package forward

import (
	"context"
	"sync"
	"time"
)

// closingFailures in a row close the gate: fewer may be about the events
// themselves.
const closingFailures = 5

// gate stands before the application. It is closed while nothing is taken: then
// one event tries after each pause and the others wait, so that an outage costs
// neither their attempts nor writes to the store, however many wait.
type gate struct {
	// pause is how long it stays closed at first; it doubles up to mostPause.
	pause, mostPause time.Duration

	mu       sync.Mutex // guards what follows
	failures int        // in a row
	since    time.Time  // when it closed; zero while it is open
	until    time.Time  // when the next event may try
	next     time.Duration
	trying   bool
	moved    chan struct{} // closed when any of it changes
}

func newGate(pause, mostPause time.Duration) *gate {
	return &gate{pause: pause, mostPause: mostPause, moved: make(chan struct{})}
}

// enter waits until an event may be sent, and says whether it is the one that
// tries. Exactly one of taken, failed and gaveUp must follow, unless it fails.
func (g *gate) enter(ctx context.Context) (trying bool, err error) {
	for {
		now := g.turn()
		if now.admitted {
			return now.trying, nil
		}
		timer := time.NewTimer(now.wait)
		select {
		case <-ctx.Done():
		case <-now.moved:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
}

// turn says whether an event may be sent, and else what to wait for.
type turn struct {
	admitted, trying bool
	moved            <-chan struct{}
	wait             time.Duration
}

func (g *gate) turn() turn {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch wait := time.Until(g.until); {
	case g.since.IsZero():
		return turn{admitted: true}
	case g.trying:
		return turn{moved: g.moved, wait: g.mostPause}
	case wait > 0:
		return turn{moved: g.moved, wait: wait}
	}
	g.trying = true
	return turn{admitted: true, trying: true}
}

// taken opens the gate, and says since when it was closed where it was.
func (g *gate) taken() (since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	since = g.since
	g.failures, g.since, g.trying = 0, time.Time{}, false
	if !since.IsZero() {
		g.move()
	}
	return since
}

// failed counts a failure, and says whether it has closed the gate. An
// application that says when to come again closes it at once.
func (g *gate) failed(tried bool, after time.Duration) (closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wasOpen := g.since.IsZero()
	g.failures++
	if wasOpen && g.failures < closingFailures && after == 0 || !wasOpen && !tried {
		return false
	}
	now := time.Now()
	if wasOpen {
		g.since, g.next = now, g.pause
	}
	g.until = now.Add(max(g.next, after))
	g.next = min(2*g.next, g.mostPause)
	g.trying = false
	g.move()
	return wasOpen
}

// gaveUp ends without an answer; where it was the one that tried, another may.
func (g *gate) gaveUp(tried bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if tried {
		g.trying = false
		g.move()
	}
}

// hurry ends the pause: the application may be another one.
func (g *gate) hurry() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until, g.next, g.trying = time.Time{}, g.pause, false
	g.move()
}

func (g *gate) move() {
	close(g.moved)
	g.moved = make(chan struct{})
}

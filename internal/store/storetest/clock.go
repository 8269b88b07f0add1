package storetest

import (
	"sync"
	"time"
)

// Clock is a time that stands still until it is moved.
type Clock struct {
	mu     sync.Mutex // guards what follows
	now    time.Time
	timers []timer
	more   chan struct{} // closes when a timer is added
}

type timer struct {
	at   time.Time
	fire chan time.Time
}

// NewClock starts on a day in January.
func NewClock() *Clock {
	return &Clock{now: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), more: make(chan struct{})}
}

// Now is time.Now.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// After is time.After.
func (c *Clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	fire := make(chan time.Time, 1)
	if d <= 0 {
		fire <- c.now
		return fire
	}
	c.timers = append(c.timers, timer{c.now.Add(d), fire})
	close(c.more)
	c.more = make(chan struct{})
	return fire
}

// Advance moves the time and fires what is due.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	var later []timer
	for _, t := range c.timers {
		if t.at.After(c.now) {
			later = append(later, t)
		} else {
			t.fire <- c.now
		}
	}
	c.timers = later
}

// Await blocks until somebody waits for a time up to this one.
func (c *Clock) Await(by time.Time) {
	for {
		found, more := c.waiting(by)
		if found {
			return
		}
		<-more
	}
}

func (c *Clock) waiting(by time.Time) (found bool, more <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.timers {
		if !t.at.After(by) {
			return true, nil
		}
	}
	return false, c.more
}

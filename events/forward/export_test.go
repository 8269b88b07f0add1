package forward

import "time"

// Hurry makes everything happen in milliseconds, and gives an event up after
// that many attempts. It must be called before anything else.
func (f *Forwarder) Hurry(attempts int) {
	f.pace = pace{poll: 20 * time.Millisecond, attempts: attempts, backoff: func(int) time.Duration { return time.Millisecond }}
	f.gate.pause, f.gate.mostPause = time.Millisecond, 10*time.Millisecond
}

// Doze lets River look for events by itself once in an hour.
func (f *Forwarder) Doze() { f.pace.poll = time.Hour }

// Inside, for its tests.
var (
	Backoff    = backoff
	RetryAfter = retryAfter
)

// Attempts bound how often an event is sent.
const Attempts = attempts

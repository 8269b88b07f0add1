package delivery

import (
	"slices"
	"sync"
	"time"

	"smtpbridge/providers"
)

// ledger is what is known of each recipient of one message, and every attempt
// that was made. The sender writes it; who waits for the reply closes it, and
// from then on nothing new may be sent.
type ledger struct {
	mu       sync.Mutex // guards what follows
	outcome  providers.Outcome
	flying   []bool // whose request is under way, by place
	attempts []Attempt
	closed   bool
}

// newLedger: nobody was sent to yet.
func newLedger(recipients []string) *ledger {
	return &ledger{
		outcome: providers.Fail(recipients, providers.Refused, &providers.Error{
			Category: providers.LocalFailure, Message: "nothing was sent: there was no time left",
		}),
		flying: make([]bool, len(recipients)),
	}
}

// start notes that a request leaves for some of the recipients, and gives the
// number of the attempt. It reports false, and nothing may leave, once the
// ledger is closed.
func (l *ledger) start(provider string, recipients []string, at time.Time) (attempt int, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, false
	}
	l.each(recipients, func(place, _ int) {
		l.flying[place] = true
		l.outcome[place].Provider = provider
	})
	l.attempts = append(l.attempts, Attempt{Provider: provider, Time: at.UTC()})
	return len(l.attempts) - 1, true
}

// end takes the answer to an attempt in, and reports whether it came after the
// ledger was closed.
func (l *ledger) end(attempt int, outcome providers.Outcome, took time.Duration) (late bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := &l.attempts[attempt]
	done.Seconds, done.Category, done.Late = took.Seconds(), verdict(outcome), l.closed
	recipients := make([]string, len(outcome))
	for i := range outcome {
		recipients[i] = outcome[i].Recipient
	}
	l.each(recipients, func(place, i int) {
		l.flying[place] = false
		l.outcome[place] = outcome[i]
	})
	return l.closed
}

// close ends it for the reply: of whose request is still under way, nothing is
// known, and silence says why.
func (l *ledger) close(silence *providers.Error, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for place, flying := range l.flying {
		if flying {
			l.outcome[place].State, l.outcome[place].Err = providers.Ambiguous, silence
		}
	}
	for i := range l.attempts {
		if l.attempts[i].Category == "" {
			l.attempts[i].Category, l.attempts[i].Seconds = providers.NetworkError, at.Sub(l.attempts[i].Time).Seconds()
		}
	}
}

// snapshot is what is known now.
func (l *ledger) snapshot() (providers.Outcome, []Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.outcome), slices.Clone(l.attempts)
}

// each calls f with the place of each recipient and its index. They come in the
// order of the envelope.
func (l *ledger) each(recipients []string, f func(place, i int)) {
	place := 0
	for i, recipient := range recipients {
		for place < len(l.outcome) && l.outcome[place].Recipient != recipient {
			place++
		}
		if place == len(l.outcome) {
			return
		}
		f(place, i)
	}
}

package delivery

import (
	"errors"
	"slices"
	"sync"
	"time"

	"smtpbridge/providers"
)

// ledger is what is known of each recipient of one message, and every attempt
// that was made. Those who send write it; who waits for the reply closes it, and
// from then on nothing new may be sent.
type ledger struct {
	closing chan struct{} // closed with the ledger

	mu       sync.Mutex // guards what follows
	outcome  providers.Outcome
	asked    []bool   // somebody was asked, by place
	flying   []string // the provider whose request is under way, by place; empty for none
	attempts []Attempt
	losses   []string
	closed   bool
	silence  *providers.Error // of those whose request was under way at the end
	closedAt time.Time
}

// errNoTime is what is known of a recipient before anybody was asked.
var errNoTime = &providers.Error{
	Category: providers.LocalFailure, Message: "nothing was sent: there was no time left",
}

// newLedger: nobody was sent to yet.
func newLedger(recipients []string) *ledger {
	return &ledger{
		closing:  make(chan struct{}),
		outcome:  providers.Fail(recipients, providers.Refused, errNoTime),
		asked:    make([]bool, len(recipients)),
		flying:   make([]string, len(recipients)),
		attempts: make([]Attempt, 0, 1), // the usual number
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
	l.each(recipients, func(place, _ int) { l.flying[place] = provider })
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
	l.each(recipientsOf(outcome), func(place, i int) {
		if l.flying[place] = ""; !l.asked[place] || supersedes(outcome[i], l.outcome[place]) {
			l.outcome[place] = outcome[i]
		}
		l.asked[place] = true
	})
	return l.closed
}

// supersedes says which of two answers about a recipient counts. What was taken
// was taken; what may have been taken still may, whoever refuses it afterwards;
// and a lasting refusal of one provider does not turn a passing one of another
// into a bounce.
func supersedes(next, known providers.Result) bool {
	switch {
	case next.State == providers.Accepted:
		return true
	case known.State != providers.Refused:
		return false
	case next.State == providers.Ambiguous, errors.Is(known.Err, providers.ErrAnotherRecipient):
		return true
	}
	return known.Err.Category.Permanent() || !next.Err.Category.Permanent()
}

// preset puts in what is known of recipients who are not sent to.
func (l *ledger) preset(known providers.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.each(recipientsOf(known), func(place, i int) {
		l.outcome[place], l.asked[place] = known[i], true
	})
}

// refuse is why those were not sent to of whom nobody was asked.
func (l *ledger) refuse(recipients []string, err *providers.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.each(recipients, func(place, _ int) {
		if !l.asked[place] {
			l.outcome[place].Err = err
		}
	})
}

// lose names what a provider does not carry.
func (l *ledger) lose(losses []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, loss := range losses {
		if !slices.Contains(l.losses, loss) {
			l.losses = append(l.losses, loss)
		}
	}
}

// close ends it for the reply. Of whose request is still under way nothing is
// known, and silence says why.
func (l *ledger) close(silence *providers.Error, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.silence, l.closedAt = true, silence, at
	close(l.closing)
}

// standing is what is known of a message.
type standing struct {
	outcome  providers.Outcome
	attempts []Attempt
	losses   []string
}

// standing is what is known now.
func (l *ledger) standing() standing {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := standing{slices.Clone(l.outcome), slices.Clone(l.attempts), slices.Clone(l.losses)}
	for place, provider := range l.flying {
		if provider != "" {
			s.outcome[place] = providers.Result{
				Recipient: s.outcome[place].Recipient, State: providers.Ambiguous, Provider: provider, Err: l.silence,
			}
		}
	}
	for i := range s.attempts {
		if s.attempts[i].Category == "" {
			s.attempts[i].Category = providers.NetworkError
			s.attempts[i].Seconds = l.closedAt.Sub(s.attempts[i].Time).Seconds()
		}
	}
	return s
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

func recipientsOf(outcome providers.Outcome) []string {
	recipients := make([]string, len(outcome))
	for i := range outcome {
		recipients[i] = outcome[i].Recipient
	}
	return recipients
}

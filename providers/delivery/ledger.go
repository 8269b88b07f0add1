package delivery

import (
	"errors"
	"slices"
	"sync"
	"time"

	"smtpbridge/providers"
)

// ledger is what is known of each recipient of one message, and every attempt
// that was made. Those who send write it. It is closed when they are done or when
// who waits for the reply gives it without them: from then on nothing new may be
// sent.
type ledger struct {
	closing chan struct{} // closed with the ledger

	mu       sync.Mutex // guards what follows
	entries  []entry
	attempts []Attempt
	losses   []string
	closed   bool
	silence  *providers.Error // of those whose request was under way at the end
	closedAt time.Time

	// The usual numbers need no memory of their own.
	oneEntry   [1]entry
	oneAttempt [1]Attempt
}

// entry is what is known of one recipient.
type entry struct {
	providers.Result

	asked  bool   // somebody was, or nobody will be
	flying string // the provider whose request is under way; empty for none
}

// errNoTime is what is known of a recipient before anybody was asked.
var errNoTime = &providers.Error{
	Category: providers.LocalFailure, Message: "nothing was sent: there was no time left",
}

// open begins: nobody was sent to yet.
func (l *ledger) open(recipients []string) {
	l.closing = make(chan struct{})
	l.attempts = l.oneAttempt[:0]
	l.entries = l.oneEntry[:]
	if len(recipients) != len(l.entries) {
		l.entries = make([]entry, len(recipients))
	}
	for i, recipient := range recipients {
		l.entries[i].Result = providers.Result{Recipient: recipient, State: providers.Refused, Err: errNoTime}
	}
}

// walk finds the entries of recipients who come in the order of the envelope.
type walk struct{ rest []entry }

// to is the entry of the next one, nil where there is none.
func (w *walk) to(recipient string) *entry {
	for len(w.rest) > 0 {
		e := &w.rest[0]
		w.rest = w.rest[1:]
		if e.Recipient == recipient {
			return e
		}
	}
	return nil
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
	w := walk{l.entries}
	for _, recipient := range recipients {
		if e := w.to(recipient); e != nil {
			e.flying = provider
		}
	}
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
	w := walk{l.entries}
	for _, result := range outcome {
		if e := w.to(result.Recipient); e != nil {
			if !e.asked || supersedes(result, e.Result) {
				e.Result = result
			}
			e.asked, e.flying = true, ""
		}
	}
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
	w := walk{l.entries}
	for _, result := range known {
		if e := w.to(result.Recipient); e != nil {
			e.Result, e.asked = result, true
		}
	}
}

// settled is what preset has put in: it is known of them that they are not sent to.
func (l *ledger) settled() (known providers.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.asked {
			known = append(known, e.Result)
		}
	}
	return known
}

// refuse is why those were not sent to of whom nobody was asked.
func (l *ledger) refuse(recipients []string, err *providers.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := walk{l.entries}
	for _, recipient := range recipients {
		if e := w.to(recipient); e != nil && !e.asked {
			e.Err = err
		}
	}
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

// close ends it, unless it is closed. Of whose request is still under way nothing
// is known, and silence says why.
func (l *ledger) close(silence *providers.Error, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
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
	s := standing{make(providers.Outcome, len(l.entries)), slices.Clone(l.attempts), slices.Clone(l.losses)}
	for i, e := range l.entries {
		s.outcome[i] = e.Result
		if e.flying != "" {
			s.outcome[i] = providers.Result{
				Recipient: e.Recipient, State: providers.Ambiguous, Provider: e.flying, Err: l.silence,
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

package delivery

import (
	"context"
	"time"

	"smtpbridge/providers"
)

// Retention is how long a message can be repeated (the contract's replies: a
// repeat within 24 h is answered from what became of the first).
const Retention = 24 * time.Hour

// Memory remembers what is on its way and what became of it, so that nothing is
// sent twice: across repeats, restarts and, on a shared database, bridges. All
// methods are safe for concurrent use. What a call has put on record survives a
// kill of the process; it need not survive the loss of the machine's power.
type Memory interface {
	// Begin puts a flight on record, unless it repeats an earlier message of the
	// last 24 h: then that is what became of the earlier one, and nothing is put on
	// record. A flight that continues an earlier one takes over what was known of
	// it, and repeats of either find the new one; if another has continued that
	// one already, it repeats the other. An error means that nothing is on record
	// and nothing may be sent.
	Begin(ctx context.Context, f Flight) (earlier *Past, err error)
	// Await blocks until a message that is still in flight has landed, and gives
	// what became of it; when ctx ends first, what is known then.
	Await(ctx context.Context, id string) (*Past, error)
	// Land puts on record what became of a flight, before its reply. It may be
	// called again when more is known, by a late answer or a look-up:
	// only what was ambiguous changes then.
	Land(ctx context.Context, id string, outcome providers.Outcome) error
	// Learn puts on record what an event says of one recipient, who may be written
	// otherwise: only what was ambiguous changes, and a message in flight stays so.
	Learn(ctx context.Context, id string, result providers.Result) error
	// Replied puts on record whether the application knows what became of the
	// message: its reply was given, and left nothing open. It does not block.
	Replied(id string, given bool)
}

// Flight is a message that is about to be sent.
type Flight struct {
	// ID is the bridge id, Time when the mail came.
	ID   string
	Time time.Time
	// Deadline is when no request of it can be under way any more, whatever became
	// of the bridge: from then on what is not known is ambiguous.
	Deadline time.Time
	// Keys say what it repeats.
	Keys Keys
	// Recipients are those of the envelope, in order.
	Recipients []string
	// Continues is the ID of an earlier message of which some recipients are sent
	// to again; empty for the first.
	Continues string
	// Known is what is known of those recipients who are not sent to: refused for
	// reasons of the bridge, or what became of them as the earlier message.
	Known providers.Outcome
}

// Keys are what makes two messages of one envelope and SMTP user the same: each
// is a digest over envelope, user and what its name says, empty where the message
// has none.
type Keys struct {
	// Idempotency: an earlier message of this key is repeated, whatever became of it.
	Idempotency string
	// MessageID: repeated where the earlier one is still in flight or its reply not
	// yet known to be given, where a recipient of it is ambiguous, or where its
	// reply was not given.
	MessageID string
	// Content, only of a message without Message-ID: repeated where a recipient of
	// the earlier one is known to be ambiguous, or where its reply is known not to
	// have been given. What is in flight is not repeated: two at once are two.
	Content string
}

// Past is what is known of an earlier message.
type Past struct {
	ID   string
	Time time.Time
	// Deadline is that of its flight: since then no request of it is under way.
	Deadline time.Time
	// Alike: it has the Message-ID of the flight that repeats it, or without one the
	// same content. Not so where an idempotency key joins two messages, nor where
	// Await gives it, which sees one message only.
	Alike bool
	// InFlight: its outcome is not complete.
	InFlight bool
	// Outcome has one result per recipient, in envelope order; those of whom
	// nothing is known are ambiguous. Of each error only category, Local and words
	// are kept.
	Outcome providers.Outcome
	// Inherited are the recipients who were not sent to as this message, where it
	// continues another: of whom more is known, it is from there.
	Inherited []string
}

// Quotas count recipients per provider in a UTC day and month. All methods are
// safe for concurrent use.
type Quotas interface {
	// Take counts n recipients of now, or none where a limit would be exceeded.
	// An error means that none is counted and nothing may be sent.
	Take(ctx context.Context, provider string, n int64, limits QuotaLimits, now time.Time) (bool, error)
	// Return takes back what was counted at that time and then not accepted.
	Return(ctx context.Context, provider string, n int64, at time.Time) error
	// Used is what counts now.
	Used(ctx context.Context, provider string, now time.Time) (day, month int64, err error)
}

// QuotaLimits are in recipients; 0 means none.
type QuotaLimits struct{ Day, Month int64 }

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// reply says whether the reply to a message was given.
type reply int

const (
	replyUnknown reply = iota
	replyGiven
	replyNotGiven
)

// message is a row of messages. Times are Unix time in nanoseconds.
type message struct {
	number             int64
	id, instance       string
	received, deadline int64
	landed, ambiguous  bool
	reply              reply
	keys               []key
	// inherited are the keys of messages whose place it has taken; of a row that
	// was read they are looked up only where they matter.
	inherited   []key
	continuedBy int64 // 0: by none
	results     []result
	size        int // of the encoded results, in octets
}

// scanner is a row that was found.
type scanner interface{ Scan(dest ...any) error }

// scanMessage reads the columns of messageColumns.
func scanMessage(row scanner) (*message, error) {
	var (
		m           message
		keys        keyColumns
		continuedBy sql.NullInt64
		outcome     sql.RawBytes
	)
	err := row.Scan(&m.number, &m.id, &m.instance, &m.received, &m.deadline, &m.landed, &m.ambiguous, &m.reply,
		&keys[byIdempotency], &keys[byMessageID], &keys[byContent], &continuedBy, &outcome)
	if err != nil {
		return nil, err
	}
	m.keys, m.continuedBy, m.size = keys.keys(), continuedBy.Int64, len(outcome)
	if m.results, err = decodeOutcome(outcome); err != nil {
		return nil, fmt.Errorf("reading message %s: %w", m.id, err)
	}
	return &m, nil
}

// readMessages gives the rows of a statement that has messageColumns.
func readMessages(ctx context.Context, t *turn, s statement, args ...any) (found []*message, err error) {
	rows, err := t.query(ctx, s, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		m, err := scanMessage(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	return found, rows.Err()
}

// readMessage gives the row of such a statement, nil where there is none.
func readMessage(ctx context.Context, t *turn, s statement, args ...any) (*message, error) {
	found, err := readMessages(ctx, t, s, args...)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// inFlight: from its deadline on a message is not, although nobody has landed it.
func (m *message) inFlight(now time.Time) bool { return !m.landed && now.UnixNano() < m.deadline }

// repeats says whether a message with a key of this kind repeats m: the rules of
// delivery.Keys.
func (m *message) repeats(k kind, now time.Time) bool {
	unclear := m.ambiguous && !m.inFlight(now)
	switch k {
	case byIdempotency:
		return true
	case byMessageID:
		return m.inFlight(now) || unclear || m.reply != replyGiven
	case byContent:
		return unclear || m.reply == replyNotGiven
	case kinds:
	}
	return false
}

// settled: neither its Message-ID nor its content leads to it any more.
func (m *message) settled() bool { return m.landed && !m.ambiguous && m.reply == replyGiven }

// past is what the pipeline is told.
func (m *message) past(now time.Time) *delivery.Past {
	p := &delivery.Past{
		ID:       m.id,
		Time:     time.Unix(0, m.received).UTC(),
		Deadline: time.Unix(0, m.deadline).UTC(),
		InFlight: m.inFlight(now),
		Outcome:  make(providers.Outcome, len(m.results)),
	}
	for i, r := range m.results {
		p.Outcome[i] = r.Result
		if r.inherited {
			p.Inherited = append(p.Inherited, r.Recipient)
		}
		if r.State != providers.Accepted && r.Err == nil {
			p.Outcome[i].Err = silence(p.InFlight)
		}
	}
	return p
}

// silence stands where nobody said what became of a recipient.
func silence(inFlight bool) *providers.Error {
	err := &providers.Error{Category: providers.NetworkError, Message: "no answer was recorded"}
	if inFlight {
		err.Message = "no answer yet"
	}
	return err
}

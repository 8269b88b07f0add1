package forward

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

const (
	// maxLetters is the longest list of dead letters.
	maxLetters = 1000
	// retriedAtOnce is how many are sent again in one transaction.
	retriedAtOnce = 1000
)

var (
	// ErrNoLetter says that there is no dead letter of that id.
	ErrNoLetter = errors.New("no such dead letter")
	// ErrCursor says that a cursor is not one that Dead gave.
	ErrCursor = errors.New("the cursor is not one of this list")
)

// Letter is an event that the application has not taken in any of its attempts.
type Letter struct {
	ID       int64 `json:"id"`
	Sequence int64 `json:"sequence"`
	Attempts int   `json:"attempts"`
	// Error is what the last attempt came to.
	Error string `json:"error"`
	// Time is when it was given up.
	Time time.Time `json:"timestamp"`
}

// Dead lists the dead letters, the newest first, up to limit of them, and gives
// the cursor of the next page; it is empty after the last one.
func (f *Forwarder) Dead(ctx context.Context, limit int, cursor string) (letters []Letter, next string, err error) {
	limit = max(1, min(limit, maxLetters))
	params := river.NewJobListParams().States(rivertype.JobStateDiscarded).
		OrderBy(river.JobListOrderByFinalizedAt, river.SortOrderDesc).First(limit)
	if cursor != "" {
		var after river.JobListCursor
		if err := after.UnmarshalText([]byte(cursor)); err != nil {
			return nil, "", ErrCursor
		}
		params = params.After(&after)
	}
	page, err := f.jobs.JobList(ctx, params)
	if err != nil {
		return nil, "", fmt.Errorf("listing the dead letters: %w", err)
	}
	for _, row := range page.Jobs {
		letter, err := newLetter(row)
		if err != nil {
			return nil, "", err
		}
		letters = append(letters, letter)
	}
	if len(letters) < limit {
		return letters, "", nil
	}
	text, err := page.LastCursor.MarshalText()
	return letters, string(text), err
}

func newLetter(row *rivertype.JobRow) (Letter, error) {
	sequence, err := sequenceOf(row)
	if err != nil {
		return Letter{}, err
	}
	letter := Letter{ID: row.ID, Sequence: sequence, Attempts: row.Attempt}
	if row.FinalizedAt != nil {
		letter.Time = row.FinalizedAt.UTC()
	}
	if n := len(row.Errors); n > 0 {
		letter.Error = row.Errors[n-1].Error
	}
	return letter, nil
}

func sequenceOf(row *rivertype.JobRow) (int64, error) {
	var j job
	if err := json.Unmarshal(row.EncodedArgs, &j); err != nil {
		return 0, fmt.Errorf("reading job %d: %w", row.ID, err)
	}
	return j.Sequence, nil
}

// Retry sends one dead letter again, with all attempts before it. The error
// wraps [ErrNoLetter] where there is none of that id.
func (f *Forwarder) Retry(ctx context.Context, id int64) error {
	n, err := f.revive(ctx, river.NewJobDeleteManyParams().IDs(id))
	if err == nil && n == 0 {
		err = fmt.Errorf("%w: %d", ErrNoLetter, id)
	}
	return err
}

// RetryAll sends every dead letter again, and says how many those are.
func (f *Forwarder) RetryAll(ctx context.Context) (int, error) {
	total := 0
	for {
		n, err := f.revive(ctx, river.NewJobDeleteManyParams().First(retriedAtOnce))
		if total += n; err != nil || n < retriedAtOnce {
			return total, err
		}
	}
}

// revive puts new jobs in the place of dead ones: River would give those a
// single attempt more.
func (f *Forwarder) revive(ctx context.Context, which *river.JobDeleteManyParams) (int, error) {
	tx, err := f.options.DB.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("beginning a transaction: %w", err)
	}
	defer tx.Rollback()
	n, err := f.replace(ctx, tx, which.States(rivertype.JobStateDiscarded))
	if err != nil || n == 0 {
		return 0, err
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("committing: %w", err)
	}
	f.Wake()
	return n, nil
}

func (f *Forwarder) replace(ctx context.Context, tx *sql.Tx, which *river.JobDeleteManyParams) (int, error) {
	dead, err := f.jobs.JobDeleteManyTx(ctx, tx, which)
	if err != nil {
		return 0, fmt.Errorf("taking dead letters: %w", err)
	}
	if len(dead.Jobs) == 0 {
		return 0, nil
	}
	sequences := make([]int64, len(dead.Jobs))
	for i, row := range dead.Jobs {
		if sequences[i], err = sequenceOf(row); err != nil {
			return 0, err
		}
	}
	return len(sequences), f.insert(ctx, tx, sequences)
}

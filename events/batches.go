package events

import (
	"errors"
	"iter"
)

// batchSize is how many suppressions are handed on at once.
const batchSize = 1000

// InBatches hands on a list a part at a time, and gives the sum of what hand gave.
// What stands before an error is handed on, too.
func InBatches(all iter.Seq2[Suppression, error], hand func([]Suppression) (int, error)) (sum int, err error) {
	waiting := make([]Suppression, 0, batchSize)
	flush := func() error {
		n, err := hand(waiting)
		sum += n
		waiting = waiting[:0]
		return err
	}
	for one, err := range all {
		if err != nil {
			err = errors.Join(err, flush()) // before the sum is read
			return sum, err
		}
		if waiting = append(waiting, one); len(waiting) == batchSize {
			if err := flush(); err != nil {
				return sum, err
			}
		}
	}
	err = flush()
	return sum, err
}

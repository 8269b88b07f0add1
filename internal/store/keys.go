package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"slices"

	"smtpbridge/providers/delivery"
)

// kind says what a key is made of (delivery.Keys), in the order in which they are
// looked up.
type kind int

const (
	byIdempotency kind = iota
	byMessageID
	byContent

	kinds // how many there are
)

// digestBytes is what is kept of a key: two different ones of a day do not meet
// in 128 bits.
const digestBytes = 16

// key is a key of a message as it is kept: its kind and a digest.
type key struct {
	kind   kind
	digest string
}

// keysOf are the keys of a message, in the order in which they are looked up.
func keysOf(k delivery.Keys) []key {
	var keys []key
	for i, text := range [kinds]string{byIdempotency: k.Idempotency, byMessageID: k.MessageID, byContent: k.Content} {
		if text != "" {
			sum := sha256.Sum256([]byte(text))
			keys = append(keys, key{kind(i), string(sum[:digestBytes])})
		}
	}
	return keys
}

// keyColumns read the keys of a row.
type keyColumns [kinds]sql.RawBytes

func (c *keyColumns) keys() []key {
	var keys []key
	for i, digest := range c {
		if len(digest) > 0 {
			keys = append(keys, key{kind(i), string(digest)})
		}
	}
	return keys
}

// readKeys gives the rows of a statement that has a kind and a digest.
func readKeys(ctx context.Context, t *turn, s statement, args ...any) (keys []key, err error) {
	rows, err := t.query(ctx, s, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var k key
		if err := rows.Scan(&k.kind, &k.digest); err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, rows.Err()
}

// hash is what the index keeps of a key.
func (k key) hash() uint32 {
	const odd = 0x9e3779b9 // sets equal digests of different kinds apart
	var first [4]byte
	copy(first[:], k.digest)
	return binary.LittleEndian.Uint32(first[:]) + uint32(k.kind)*odd
}

// index says to which messages a key may lead. It keeps four octets of a key and
// four of a number, so what it finds has to be confirmed; what it does not find
// is not there. Once a message is done with, only its idempotency key leads to it
// still: the index holds what is in flight, what went wrong, and the idempotency
// keys of a day, about 15 octets for each.
type index struct {
	one  map[uint32]uint32
	more map[uint32][]uint32 // beside those of one: the rare hash that several have
	last int64               // the highest number
}

func newIndex() *index {
	return &index{one: make(map[uint32]uint32), more: make(map[uint32][]uint32)}
}

// add lets a key lead to a message, also where it does already.
func (x *index) add(k key, number int64) {
	x.last = max(x.last, number)
	h, n := k.hash(), uint32(number)
	first, found := x.one[h]
	switch {
	case !found:
		x.one[h] = n
	case first != n && !slices.Contains(x.more[h], n):
		x.more[h] = append(x.more[h], n)
	}
}

// remove ends that, also where it does not.
func (x *index) remove(k key, number int64) {
	h, n := k.hash(), uint32(number)
	rest := x.more[h]
	switch first, found := x.one[h]; {
	case found && first == n && len(rest) > 0:
		x.one[h], rest = rest[0], rest[1:]
	case found && first == n:
		delete(x.one, h)
	default:
		rest = slices.DeleteFunc(rest, func(other uint32) bool { return other == n })
	}
	if len(rest) == 0 {
		delete(x.more, h)
	} else {
		x.more[h] = rest
	}
}

// find gives the messages that a key may lead to, the newest first.
func (x *index) find(k key) []int64 {
	h := k.hash()
	first, found := x.one[h]
	if !found {
		return nil
	}
	numbers := []int64{x.number(first)}
	for _, n := range x.more[h] {
		numbers = append(numbers, x.number(n))
	}
	slices.SortFunc(numbers, func(a, b int64) int { return cmp.Compare(b, a) })
	return numbers
}

// number is the newest that ends like this.
func (x *index) number(n uint32) int64 { return x.last - int64(uint32(x.last)-n) }

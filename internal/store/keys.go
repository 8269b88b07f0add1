package store

import (
	"crypto/sha256"
	"encoding/binary"
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

// key is a key of a message as it is kept: its kind and a digest, empty where the
// message has none of that kind.
type key struct {
	kind   kind
	digest []byte
}

// keysOf are the keys of a message, by kind.
func keysOf(k delivery.Keys) [kinds]key {
	texts := [kinds]string{byIdempotency: k.Idempotency, byMessageID: k.MessageID, byContent: k.Content}
	var keys [kinds]key
	for i, text := range texts {
		keys[i].kind = kind(i)
		if text != "" {
			sum := sha256.Sum256([]byte(text))
			keys[i].digest = sum[:digestBytes]
		}
	}
	return keys
}

// hash is what the index keeps of a key. Its lowest bit tells the keys of which
// a message answers to as long as it is remembered.
func (k key) hash() uint64 {
	const odd = 0x9e3779b97f4a7c15 // sets equal digests of different kinds apart
	h := (binary.LittleEndian.Uint64(k.digest) + uint64(k.kind)*odd) &^ 1
	if k.kind == byIdempotency {
		h |= 1
	}
	return h
}

// index says to which messages a key may lead. It knows them by hash, so what it
// finds has to be confirmed; what it does not find is not there. Where a message
// is done with only its idempotency key leads to it still, so the index is small:
// it holds what is in flight, what went wrong, and the idempotency keys of a day.
type index struct {
	one  map[uint64]int64
	more map[uint64][]int64 // beside those of one: the rare hash that several have
}

func newIndex() *index {
	return &index{one: make(map[uint64]int64), more: make(map[uint64][]int64)}
}

// add lets a key lead to a message, also where it does already.
func (x *index) add(k key, number int64) {
	h := k.hash()
	first, found := x.one[h]
	switch {
	case !found:
		x.one[h] = number
	case first != number && !slices.Contains(x.more[h], number):
		x.more[h] = append(x.more[h], number)
	}
}

// remove ends that, also where it does not.
func (x *index) remove(k key, number int64) {
	h := k.hash()
	rest := x.more[h]
	switch first, found := x.one[h]; {
	case found && first == number && len(rest) > 0:
		x.one[h], rest = rest[0], rest[1:]
	case found && first == number:
		delete(x.one, h)
	default:
		rest = slices.DeleteFunc(rest, func(n int64) bool { return n == number })
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
	numbers := append([]int64{first}, x.more[h]...)
	slices.Sort(numbers)
	slices.Reverse(numbers)
	return numbers
}

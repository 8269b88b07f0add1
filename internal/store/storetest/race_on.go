//go:build race

package storetest

// manyMessages is more than a turn of tidying up deletes. The race detector
// makes each ten times as dear, and a shared database reads all of them for each
// key: it gets no more than it needs.
const manyMessages = 30

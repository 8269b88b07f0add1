//go:build race

package load_test

// share is the part of the load that the race detector is given, which makes each
// mail ten times as dear: one in so many.
const share = 5

//go:build !race

package load_test

// share is the part of the load that is sent: all.
const share = 1

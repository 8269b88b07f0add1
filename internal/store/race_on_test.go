//go:build race

package store_test

// modelChecks is how many walks are compared with the model: the race detector
// makes each ten times as dear, and has seen all there is of them soon.
const modelChecks = "15"

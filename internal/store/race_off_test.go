//go:build !race

package store_test

// modelChecks is how many walks are compared with the model.
const modelChecks = "100"

//go:build race

package providertest

// raced: the race detector takes memory of its own, and many times as long.
const raced = true

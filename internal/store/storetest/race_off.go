//go:build !race

package storetest

// manyMessages is much more than a turn of tidying up deletes.
const manyMessages = 100

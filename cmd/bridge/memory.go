package main

import "runtime/debug"

const (
	// garbage lets the heap grow to five times what lives in it before it is
	// collected, in percent. Little lives in a bridge: by Go's default of 100 it
	// collects every 4 MiB, a fifth of its CPU time.
	garbage = 400
	// memory is where the collector begins to work harder instead, in octets:
	// with the code itself the process stays below 64 MiB.
	memory = 44 << 20
)

// tuneMemory spends what a sidecar's memory leaves free on less CPU time. GOGC
// and GOMEMLIMIT, where the operator sets them, count instead.
func tuneMemory(env func(string) (string, bool)) {
	if _, set := env("GOGC"); !set {
		debug.SetGCPercent(garbage)
	}
	if _, set := env("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(memory)
	}
}

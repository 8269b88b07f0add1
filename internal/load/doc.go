// Package load holds no code, only tests that put the whole bridge under load:
// 2,000 mails at once against a provider that fails, what providers that are dead
// in each way cost, and the benchmarks of what a mail costs.
//
//	go test ./internal/load -run '^$' -bench Memory
//	go test ./internal/load -run '^$' -bench CPU
//	go test ./internal/load -run '^$' -bench Rate
//	go test ./internal/load -run Faults -v
//
// The benchmarks build the bridge and run it as a process of its own; client
// and provider are the test process. They fail beyond the bars of the README.
// Processes are measured through /proc and their CPU clocks: on Linux only.
package load

package load_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// process is a child that is measured.
type process struct {
	address string
	pid     int
}

// startBridge runs a built bridge with a provider at the given URL, all else as
// it is by default, until the benchmark ends.
func startBridge(tb testing.TB, binary, table, provider string) process {
	tb.Helper()
	address := freeAddress(tb)
	config := configure(tb, table, provider, address, freeAddress(tb), freeAddress(tb))
	output, err := os.Create(config + ".log")
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), binary, "serve", "--config", config)
	cmd.Stdout, cmd.Stderr = output, output
	pid := start(tb, cmd)
	if err := await(tb.Context(), address); err != nil {
		words, _ := os.ReadFile(output.Name())
		tb.Fatalf("the bridge does not listen: %v\n%s", err, words)
	}
	return process{address: address, pid: pid}
}

// startBare runs the bare server, posting to the given URL.
func startBare(tb testing.TB, provider string) process {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), self)
	cmd.Env = append(os.Environ(), bareVariable+"="+provider)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // the child ends with it, should we die
		tb.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	pid := start(tb, cmd)
	address, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		tb.Fatalf("the bare server does not listen: %v", err)
	}
	return process{address: strings.TrimSpace(address), pid: pid}
}

// buildBridge builds the binary as it is released.
func buildBridge(tb testing.TB) string {
	tb.Helper()
	binary := filepath.Join(tb.TempDir(), "bridge")
	cmd := exec.CommandContext(tb.Context(), "go", "build", "-trimpath", "-o", binary, "smtpbridge/cmd/bridge")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if words, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("building the bridge: %v\n%s", err, words)
	}
	return binary
}

// start runs cmd until the benchmark ends.
func start(tb testing.TB, cmd *exec.Cmd) int {
	tb.Helper()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = cmd.Wait() }) // the context has ended before
	return cmd.Process.Pid
}

// freeAddress is a port that nobody listens on, of an IP address of its own: one
// of 127.0.0.1 may be somebody else's before the bridge listens on it.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	own := make([]byte, 3)
	_, _ = rand.Read(own) // it never fails
	listener, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+own[0]%254, own[1], 1+own[2]%254))
	if err != nil {
		tb.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// await returns once somebody answers at address.
func await(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := dial(ctx, address)
		if err == nil {
			c.close()
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// cpu is the time that all threads of the process have run, those that have
// ended too: clock_getcpuclockid(3), to the nanosecond.
func (p process) cpu() (time.Duration, error) {
	const processClock = 2 // CPUCLOCK_SCHED, of the whole process
	var spec unix.Timespec
	if err := unix.ClockGettime(int32(^p.pid<<3|processClock), &spec); err != nil {
		return 0, fmt.Errorf("reading the CPU clock of a child: %w", err)
	}
	return time.Duration(spec.Nano()), nil
}

// peak is the most memory that was resident at any time, in octets: VmHWM of proc(5).
func (p process) peak() (int64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	status, err := io.ReadAll(file)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(rest)), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no VmHWM", file.Name())
}

package main_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	main "smtpbridge/cmd/bridge"
)

// patience is for what happens in milliseconds on a machine that has time.
const patience = 30 * time.Second

// TestMain lets the scripts run this binary as the command.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bridge": main.Main})
}

// Each script starts in an empty directory, with addresses of its own in
// $SMTP, $ADMIN and $WEBHOOK that nobody listens on.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command takes a second under -race
			for _, name := range []string{"SMTP", "ADMIN", "WEBHOOK"} {
				address, err := freeAddress(env.T().(testing.TB).Context())
				if err != nil {
					return err
				}
				env.Setenv(name, address)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"await":  await,
			"signal": signal,
			"expand": expand,
		},
	})
}

// freeAddress has an IP address of its own, where the system knows all of
// 127.0.0.0/8: a port of 127.0.0.1 may be somebody else's before the command
// listens on it.
func freeAddress(ctx context.Context) (string, error) {
	own := make([]byte, 3)
	_, _ = rand.Read(own) // it never fails
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+own[0]%254, own[1], 1+own[2]%254))
	if err != nil {
		listener, err = config.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// exits CODE COMMAND…: the command ends with that code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("running %v: %v", args[1:], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%v ends with %d, want %d", args[1:], got, want)
	}
}

// await PATTERN COMMAND…: the command, run again and again, prints it at last.
func await(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[0])
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		_ = ts.Exec(args[1], args[2:]...)
		output := ts.ReadFile("stdout")
		if pattern.MatchString(output) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("%v never prints %s, but:\n%s%s", args[1:], args[0], output, ts.ReadFile("stderr"))
		}
	}
}

// signal NAME: what runs in the background gets it.
func signal(ts *testscript.TestScript, _ bool, args []string) {
	number, ok := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT}[args[0]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[0])
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(number))
	}
}

// expand FILE…: $NAME in the files becomes the variable's value.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), func(name string) string {
			if value := ts.Getenv(name); value != "" {
				return value
			}
			return "$" + name
		})
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(strings.TrimSpace(text)+"\n"), 0o600))
	}
}

// Command bridge takes mail over SMTP and hands it to the HTTP API of an email
// provider. "bridge serve", the default, runs it; "bridge --help" lists the rest.
//
// Exit codes are 0 for success, 1 for failure and 2 for wrong usage.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], terminal{env: os.LookupEnv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}))
}

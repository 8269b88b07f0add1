package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"smtpbridge/internal/app"
	"smtpbridge/internal/config"
)

// The exit codes of every command.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

// errSaid fails a command that has already said why.
var errSaid = errors.New("failed")

// terminal is what a command talks to.
type terminal struct {
	env            func(string) (string, bool)
	stdin          io.Reader
	stdout, stderr io.Writer
}

// printf prints a result. Where nobody reads it, nobody misses it.
func (t terminal) printf(format string, args ...any) { _, _ = fmt.Fprintf(t.stdout, format, args...) }

// complain prints what went wrong.
func (t terminal) complain(format string, args ...any) { _, _ = fmt.Fprintf(t.stderr, format, args...) }

type commands struct {
	Serve        serve        `cmd:"" default:"withargs" help:"Run the bridge; the default."`
	Check        check        `cmd:"" help:"Print every problem of the configuration."`
	Send         send         `cmd:"" help:"Send a test message and print the reply."`
	Explain      explain      `cmd:"" help:"Show what each provider would be given of a mail in a file; nothing is sent."`
	Suppressions suppressions `cmd:"" help:"Show and change who is not mailed, beside a running bridge."`
	Health       health       `cmd:"" help:"Ask a running bridge whether it is well."`
	Version      version      `cmd:"" help:"Print version, commit and Go version."`
}

// run executes one command line and gives its exit code.
func run(ctx context.Context, args []string, t terminal) int {
	exited := -1 // set where --help has ended the parsing
	parser, err := kong.New(&commands{},
		kong.Name("bridge"),
		kong.Description("SMTP in, email provider HTTP APIs out."),
		kong.Writers(t.stdout, t.stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(t),
	)
	if err != nil {
		t.complain("bridge: %v\n", err)
		return exitFailed
	}
	command, err := parser.Parse(args)
	switch {
	case exited >= 0:
		return exited
	case err != nil:
		t.complain("bridge: %v; see bridge --help\n", err)
		return exitUsage
	}
	return t.exitCode(command.Run())
}

// exitCode says what went wrong, in as many lines as there are problems.
func (t terminal) exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if invalid, ok := errors.AsType[config.InvalidError](err); ok {
		t.complain("%v\n", invalid)
	} else if !errors.Is(err, errSaid) {
		t.complain("bridge: %v\n", err)
	}
	return exitFailed
}

// configured is part of each command that reads the configuration.
type configured struct {
	Config string `placeholder:"FILE" help:"The configuration; else $$BRIDGE_CONFIG, else ./config.toml, else the built-in default."`
}

// defaultFile is read where no other is named.
const defaultFile = "config.toml"

// path is the file to read, empty for the built-in default.
func (c configured) path(t terminal) string {
	if c.Config != "" {
		return c.Config
	}
	if path, _ := t.env("BRIDGE_CONFIG"); path != "" {
		return path
	}
	if _, err := os.Stat(defaultFile); err == nil {
		return defaultFile
	}
	return ""
}

// load reads the configuration. What could be read stands beside an error.
func (c configured) load(t terminal) (app.Config, error) {
	if path := c.path(t); path != "" {
		return app.Load(path, t.env)
	}
	return app.Default(), nil
}

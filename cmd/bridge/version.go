package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set by -ldflags "-X main.release=v1.2.3" where the build knows better.
var release string

type version struct{}

// Run prints one line.
func (version) Run(t terminal) error {
	_, err := fmt.Fprintf(t.stdout, "smtp-bridge %s, commit %s, %s\n", buildVersion(), buildCommit(), runtime.Version())
	return err
}

// buildVersion is the release, else the module's version, else "devel".
func buildVersion() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

// buildCommit is what Go noted of the repository, if it did.
func buildCommit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	commit, changed := "unknown", ""
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			commit = setting.Value
		case "vcs.modified":
			if setting.Value == "true" {
				changed = " and changes"
			}
		}
	}
	return commit + changed
}

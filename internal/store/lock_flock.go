//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockDirectory takes a directory for this process alone, until the file that it
// gives is closed or the process ends, however it ends. Where another has it,
// the error is errLocked.
func lockDirectory(path string) (*os.File, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("locking the directory: %w", err)
	}
	err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(errLocked, dir.Close())
	}
	// A file system without locks has none to offer: its user knows best.
	return dir, nil
}

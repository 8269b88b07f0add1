package store_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"smtpbridge/internal/store"
)

// A directory that the bridge may not write to is named, and what is wrong.
func TestReadOnly(t *testing.T) {
	for _, there := range []bool{false, true} {
		dir := t.TempDir()
		if there {
			_, stop := run(t, store.Config{}, store.Options{DataDir: dir})
			stop()
			if err := os.Chmod(filepath.Join(dir, "delivery.db"), 0o444); err != nil {
				t.Fatal(err)
			}
		}
		for path, mode := range map[string]os.FileMode{dir: 0o555, filepath.Dir(dir): 0o755} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		err := asNobody(func() error {
			s, err := store.Open(t.Context(), store.Config{}, store.Options{DataDir: dir})
			if err == nil {
				_ = s.Close(t.Context())
			}
			return err
		})
		if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "must be able to write") {
			t.Errorf("there already %v: %v, want an error that names %s and the permission", there, err, dir)
		}
	}
}

// asNobody runs f with the access of a user without rights, also where the tests
// have all of them: on a thread that ends with it.
func asNobody(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			if err := syscall.Setfsuid(65534); err != nil {
				done <- err
				return
			}
		}
		done <- f()
	}()
	return <-done
}

package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"smtpbridge/internal/store"
	"smtpbridge/internal/store/storetest"
)

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Database {
		t.Helper()
		return onDisk(t, false)
	})
}

// The rules between bridges, as they will hold on a database that they share.
func TestShared(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Database {
		t.Helper()
		return onDisk(t, true)
	})
}

func TestMemory(t *testing.T) { storetest.Run(t, inMemory) }

func inMemory(*testing.T) storetest.Database {
	return storetest.Database{Open: func(ctx context.Context, o storetest.Options) (storetest.Store, error) {
		return store.Open(ctx, store.Config{URL: "memory:"}, store.Options{Instance: o.Instance, Now: o.Now, After: o.After})
	}}
}

// onDisk is a database in a directory of its own. A kill leaves the files as they
// are: those of the kernel, since nothing of a commit is the process's.
func onDisk(t *testing.T, shared bool) storetest.Database {
	t.Helper()
	dir := t.TempDir()
	return storetest.Database{
		Shared: shared,
		Open: func(ctx context.Context, o storetest.Options) (storetest.Store, error) {
			options := store.Options{DataDir: dir, Instance: o.Instance, Now: o.Now, After: o.After}
			if shared {
				options = store.Shared(options)
			}
			return store.Open(ctx, store.Config{}, options)
		},
		Crash: func() error {
			left := t.TempDir()
			names, err := filepath.Glob(filepath.Join(dir, "*"))
			for _, name := range names {
				err = errors.Join(err, copyFile(name, filepath.Join(left, filepath.Base(name))))
			}
			dir = left
			return err
		},
	}
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

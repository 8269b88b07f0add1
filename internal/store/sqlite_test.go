package store_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"smtpbridge/internal/store"
	"smtpbridge/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// opener opens one database, again and again.
type opener struct {
	config store.Config
	dir    string
	stop   func()
}

func (o *opener) Open(t *testing.T, now func() time.Time) storetest.Store {
	t.Helper()
	s, err := store.Open(t.Context(), o.config, store.Options{DataDir: o.dir, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.WithoutCancel(t.Context())) }()
	closed := false
	o.stop = func() {
		if closed {
			return
		}
		closed = true
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(o.stop)
	return s
}

func (o *opener) Close(t *testing.T) bool {
	t.Helper()
	o.stop()
	return o.dir != ""
}

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener { return &opener{dir: t.TempDir()} })
}

func TestInMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Opener { return &opener{config: store.Config{URL: "memory:"}} })
}

package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// errClosing is why a request ends that Close could not wait for.
var errClosing = errors.New("the bridge is shutting down")

// sends owns the goroutines that send. A request outlives the wait for its
// answer, so that a late answer is heard; it does not outlive Close.
type sends struct {
	mu      sync.Mutex // guards cancels and closed, and that running only grows before closed
	cancels map[*transaction]context.CancelCauseFunc
	closed  bool
	running sync.WaitGroup
}

// start runs send for t in a goroutine, under a context that ends only with
// close. It reports false, and does nothing, once close was called.
func (s *sends) start(ctx context.Context, t *transaction, send func(context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	if s.cancels == nil {
		s.cancels = make(map[*transaction]context.CancelCauseFunc)
	}
	s.cancels[t] = cancel
	s.running.Go(func() {
		defer s.end(t)
		send(ctx)
	})
	return true
}

func (s *sends) end(t *transaction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancels[t](nil)
	delete(s.cancels, t)
}

// close lets nothing start any more and waits for what runs. When ctx ends
// first, the requests are cancelled and the wait goes on: providers obey.
func (s *sends) close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()

	gone := make(chan struct{})
	go func() {
		s.running.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		s.cancel()
		<-gone
		return fmt.Errorf("waiting for late answers: %w", context.Cause(ctx))
	}
}

func (s *sends) cancel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cancel := range s.cancels {
		cancel(errClosing)
	}
}

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
//
// A goroutine that has sent waits for the next message: a new one grows its
// stack twice on the way into net/http, which takes half as long as to parse a
// small mail. There are as many as ever sent at once.
type sends struct {
	//nolint:containedctx // what every request runs under: it ends with close, not with a client
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu      sync.Mutex // guards closed, and that running only grows before it is set
	closed  bool
	running sync.WaitGroup
	next    chan errand // to a goroutine that waits; closed by close
}

// errand is what such a goroutine does, under a context that ends only with close.
type errand interface{ run(ctx context.Context) }

func newSends() *sends {
	s := &sends{next: make(chan errand)}
	s.ctx, s.cancel = context.WithCancelCause(context.Background()) //nolint:forbidigo // it outlives every caller
	return s
}

// start runs an errand in a goroutine. It reports false, and does nothing, once
// close was called.
func (s *sends) start(e errand) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	select {
	case s.next <- e:
	default:
		s.running.Go(s.run)
		s.next <- e
	}
	return true
}

func (s *sends) run() {
	for e := range s.next {
		e.run(s.ctx)
	}
}

// close lets nothing start any more and waits for what runs. When ctx ends
// first, the requests are cancelled and the wait goes on: providers obey.
func (s *sends) close(ctx context.Context) error {
	s.end()
	gone := make(chan struct{})
	go func() {
		s.running.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		s.cancel(errClosing)
		<-gone
		return fmt.Errorf("waiting for late answers: %w", context.Cause(ctx))
	}
}

// end lets go of the goroutines that wait.
func (s *sends) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.next)
	}
}

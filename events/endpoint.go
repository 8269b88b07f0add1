package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/semaphore"
)

const (
	// maxCall is the longest body of a call, in octets; SendGrid's are the longest, 768 KB.
	maxCall = 10 << 20
	// maxCalls bounds the bodies that are read at once, in octets: whoever comes
	// above that comes again.
	maxCalls = 16 << 20
	// callPatience is how long a call waits for its turn.
	callPatience = 5 * time.Second
)

// Hook is where one provider calls.
type Hook struct {
	Source Source
	// Local: only who calls from this machine is heard.
	Local bool
}

// taker takes in what a call says.
type taker interface {
	Take(ctx context.Context, provider string, b Batch) error
}

// Endpoint answers POST /webhooks/{name}, the provider's configured name. It is
// safe for concurrent use.
type Endpoint struct {
	intake   taker
	logger   *slog.Logger
	rejected *prometheus.CounterVec
	hooks    atomic.Pointer[map[string]Hook]
	room     *semaphore.Weighted
}

// NewEndpoint makes an endpoint without hooks.
func NewEndpoint(intake *Intake, logger *slog.Logger, registerer prometheus.Registerer) *Endpoint {
	e := &Endpoint{intake: intake, logger: logger, room: semaphore.NewWeighted(maxCalls)}
	e.rejected = promauto.With(registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "bridge_webhook_rejected_total", Help: "Webhook calls that were not taken.",
	}, []string{"provider", "reason"})
	e.Replace(nil)
	return e
}

// Why a call is not taken.
const (
	unauthenticated = "unauthenticated"
	malformed       = "malformed"
	tooLarge        = "too_large"
	busy            = "busy"
	failure         = "failure"
)

// Replace swaps the hooks, by name.
func (e *Endpoint) Replace(hooks map[string]Hook) {
	for name := range hooks {
		for _, reason := range []string{unauthenticated, malformed, tooLarge, busy, failure} {
			e.rejected.WithLabelValues(name, reason)
		}
	}
	if old := e.hooks.Swap(&hooks); old != nil {
		for name := range *old {
			if _, kept := hooks[name]; !kept {
				e.rejected.DeletePartialMatch(prometheus.Labels{"provider": name})
			}
		}
	}
}

// Rejection is why a call was not taken.
type Rejection struct {
	// Status is the HTTP status code, Reason the label of the metric.
	Status int
	Reason string
	Cause  error
}

// Error is for the log and the caller.
func (r *Rejection) Error() string { return r.Cause.Error() }

// Unwrap gives the cause.
func (r *Rejection) Unwrap() error { return r.Cause }

// Answer takes a call in. The error is a [*Rejection]; nil is 200.
func (e *Endpoint) Answer(r *http.Request) error {
	name := r.PathValue("name")
	hook, known := (*e.hooks.Load())[name]
	if !known {
		return &Rejection{http.StatusNotFound, "unknown", fmt.Errorf("there is no provider %q with webhooks", name)}
	}
	err := e.take(r, name, hook)
	if err == nil {
		return nil
	}
	rejection := rejectionOf(err)
	e.rejected.WithLabelValues(name, rejection.Reason).Inc()
	level := slog.LevelWarn
	if rejection.Status == http.StatusServiceUnavailable {
		level = slog.LevelError
	}
	e.logger.LogAttrs(r.Context(), level, "webhook call rejected", slog.String("provider", name),
		slog.String("reason", rejection.Reason), slog.Int("status", rejection.Status),
		slog.String("remote", r.RemoteAddr), slog.Any("err", rejection.Cause))
	return rejection
}

// rejectionOf an error; what is none of the caller's is ours, and may be tried again.
func rejectionOf(err error) *Rejection {
	if rejection, ok := errors.AsType[*Rejection](err); ok {
		return rejection
	}
	var tooLong *http.MaxBytesError
	switch {
	case errors.Is(err, ErrUnauthenticated):
		return &Rejection{http.StatusUnauthorized, unauthenticated, err}
	case errors.Is(err, ErrMalformed):
		return &Rejection{http.StatusBadRequest, malformed, err}
	case errors.As(err, &tooLong):
		return &Rejection{http.StatusRequestEntityTooLarge, tooLarge, fmt.Errorf("the call is longer than %d MiB", maxCall>>20)}
	}
	return &Rejection{http.StatusServiceUnavailable, failure, err}
}

func (e *Endpoint) take(r *http.Request, name string, hook Hook) error {
	if hook.Local && !fromHere(r) {
		return fmt.Errorf("%w: it is open to this machine only; webhook_unverified = true on the sandbox opens it", ErrUnauthenticated)
	}
	weight := int64(maxCall)
	if r.ContentLength > maxCall {
		return &http.MaxBytesError{Limit: maxCall}
	} else if r.ContentLength >= 0 {
		weight = r.ContentLength
	}
	patience, cancel := context.WithTimeout(r.Context(), callPatience)
	defer cancel()
	if err := e.room.Acquire(patience, weight); err != nil {
		return &Rejection{http.StatusServiceUnavailable, busy, errors.New("too many calls at once; come again")}
	}
	defer e.room.Release(weight)
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxCall))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); err != nil && !tooLong {
		return fmt.Errorf("%w: it ended early", ErrMalformed)
	} else if tooLong {
		return err
	}
	batch, err := hook.Source.Receive(r.Context(), r.Header, body)
	if err != nil {
		return err //nolint:wrapcheck // the source says what is wrong
	}
	return e.intake.Take(r.Context(), name, batch)
}

// fromHere: from this machine, to an address of this machine, and not on behalf
// of somebody else.
func fromHere(r *http.Request) bool {
	local, known := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return known && isLoopback(local.String()) && isLoopback(r.RemoteAddr) &&
		r.Header.Get("X-Forwarded-For") == "" && r.Header.Get("Forwarded") == ""
}

func isLoopback(address string) bool {
	parsed, err := netip.ParseAddrPort(address)
	return err == nil && parsed.Addr().Unmap().IsLoopback()
}

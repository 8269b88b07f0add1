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
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/semaphore"
)

const (
	// maxCall is the longest body of a call, in octets; SendGrid's are the longest, 768 KB.
	maxCall = 10 << 20
	// maxCalls bounds the bodies that are there at once, in octets: whoever comes
	// above that comes again.
	maxCalls = 16 << 20
	// firstRead is the room that a call has at first, in octets; it doubles as its
	// octets come, so that who sends nothing holds next to nothing.
	firstRead = 4 << 10
	// callPatience is how long a call waits for room.
	callPatience = 5 * time.Second
)

// Hook is where one provider calls.
type Hook struct {
	Source Source
	// Local: only who calls from this machine is heard.
	Local bool
}

// hook is a Hook with its series, by reason: what a call of a hook that is gone
// counts is nowhere to be seen.
type hook struct {
	Hook

	rejected map[string]prometheus.Counter
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
	hooks    atomic.Pointer[map[string]hook]
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
	next := make(map[string]hook, len(hooks))
	for name, h := range hooks {
		counted := hook{h, make(map[string]prometheus.Counter)}
		for _, reason := range []string{unauthenticated, malformed, tooLarge, busy, failure} {
			counted.rejected[reason] = e.rejected.WithLabelValues(name, reason)
		}
		next[name] = counted
	}
	if old := e.hooks.Swap(&next); old != nil {
		for name := range *old {
			if _, kept := next[name]; !kept {
				e.rejected.DeletePartialMatch(prometheus.Labels{"provider": name})
			}
		}
	}
}

// Rejection is why a call was not taken.
type Rejection struct { //nolint:errname // it is an answer, and errors come with it
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
	called, known := (*e.hooks.Load())[name]
	if !known {
		return &Rejection{http.StatusNotFound, "unknown", fmt.Errorf("there is no provider %q with webhooks", name)}
	}
	err := e.take(r, name, called.Hook)
	if err == nil {
		return nil
	}
	rejection := rejectionOf(err)
	called.rejected[rejection.Reason].Inc()
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
	if r.ContentLength > maxCall {
		return &http.MaxBytesError{Limit: maxCall}
	}
	var room room
	defer func() { e.room.Release(room.held) }()
	body, err := e.read(r, &room)
	if err != nil {
		return err
	}
	batch, err := hook.Source.Receive(r.Context(), r.Header, body)
	if err != nil {
		return err //nolint:wrapcheck // the source says what is wrong
	}
	return e.intake.Take(r.Context(), name, batch)
}

// room is what a call holds of the memory that all share, in octets.
type room struct{ held int64 }

// read gives the body of a call.
func (e *Endpoint) read(r *http.Request, held *room) ([]byte, error) {
	in := http.MaxBytesReader(nil, r.Body, maxCall)
	var body []byte
	for {
		if len(body) == cap(body) {
			bigger := make([]byte, len(body), min(max(firstRead, 2*cap(body)), maxCall+1))
			if err := e.enlarge(r.Context(), held, int64(cap(bigger))); err != nil {
				return nil, err
			}
			copy(bigger, body)
			body = bigger
		}
		n, err := in.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
			return nil, err //nolint:wrapcheck // rejectionOf knows it
		}
		if err != nil {
			return nil, fmt.Errorf("%w: the body ended early", ErrMalformed)
		}
	}
}

// enlarge waits until a call may hold so many octets.
func (e *Endpoint) enlarge(ctx context.Context, held *room, octets int64) error {
	patience, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	if err := e.room.Acquire(patience, octets-held.held); err != nil {
		return &Rejection{http.StatusServiceUnavailable, busy, errors.New("too many calls at once; come again")}
	}
	held.held = octets
	return nil
}

// fromHere: from this machine, to an address of this machine by a name of this
// machine, and not on behalf of somebody else: neither of a proxy's client nor of a
// page whose name has become 127.0.0.1.
func fromHere(r *http.Request) bool {
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Via"} {
		if len(r.Header.Values(name)) > 0 {
			return false
		}
	}
	local, known := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return known && isLoopback(local.String()) && isLoopback(r.RemoteAddr) && isLocalName(r.Host)
}

// isLocalName: a name without a dot resolves nowhere in public.
func isLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || !strings.Contains(strings.TrimSuffix(host, "."), ".")
}

func isLoopback(address string) bool {
	parsed, err := netip.ParseAddrPort(address)
	return err == nil && parsed.Addr().Unmap().IsLoopback()
}

package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"smtpbridge/internal/store"
)

// handler answers a request, or says why not: a [*problem] goes to the client
// as it is, of a store that cannot be used only what to do, any other error is
// ours and stays in the log.
type handler func(w http.ResponseWriter, r *http.Request) error

// site is a set of pages for reading.
type site struct {
	mux    *http.ServeMux
	logger *slog.Logger
}

// newSite has the page that both addresses share; what it does not know is 404.
func newSite(logger *slog.Logger, now func() time.Time) *site {
	s := &site{mux: http.NewServeMux(), logger: logger}
	s.handle("/health", health(now))
	s.mux.Handle("/", s.page(func(_ http.ResponseWriter, r *http.Request) error {
		return &problem{Status: http.StatusNotFound, Detail: "there is nothing at " + r.URL.Path}
	}))
	return s
}

// ServeHTTP implements [http.Handler].
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// What is shown here is private to whoever can reach it: no sniffing, no
	// cache, no use by other sites' pages.
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	s.mux.ServeHTTP(w, r)
}

// handle registers a page that can only be read.
func (s *site) handle(path string, h handler) { s.on(path, methods{http.MethodGet: h}) }

// methods are what can be done with a page; whoever may GET it may HEAD it.
type methods map[string]handler

// on registers a page. What changes something is not for pages of other sites:
// a browser that can reach the address would carry it out for them.
func (s *site) on(path string, known methods) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if known[method] != nil {
			allowed = append(allowed, method)
		}
	}
	remedy := "use " + strings.Join(allowed, ", ")
	if known[http.MethodGet] != nil {
		allowed = slices.Insert(allowed, 1, http.MethodHead)
	}
	guard := http.NewCrossOriginProtection()
	s.mux.Handle(path, s.page(func(w http.ResponseWriter, r *http.Request) error {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		h := known[method]
		if h == nil {
			w.Header().Set("Allow", strings.Join(allowed, ", ")) // RFC 9110, 15.5.6
			return &problem{Status: http.StatusMethodNotAllowed, Detail: r.Method + " is not possible here; " + remedy}
		}
		if guard.Check(r) != nil {
			return &problem{Status: http.StatusForbidden, Detail: "the request comes from a page of another site"}
		}
		return h(w, r)
	}))
}

// errCutOff is wrapped by what fails once the head has gone out as 200.
var errCutOff = errors.New("the answer is cut off")

// page is the one place that turns errors into answers.
func (s *site) page(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := guarded(h, w, r)
		if err == nil {
			return
		}
		p := &problem{Status: http.StatusInternalServerError, Detail: "the bridge failed; its log says why"}
		level, path := slog.LevelError, r.Pattern // the path may hold an address
		if remedy, is := store.Unavailable(err); is {
			p = &problem{Status: http.StatusServiceUnavailable, Detail: "the store cannot be used now: " + remedy + "; then try again"}
		} else if errors.As(err, &p) {
			level, path = slog.LevelDebug, r.URL.Path
		}
		s.logger.LogAttrs(r.Context(), level, "request failed", slog.String("method", r.Method),
			slog.String("path", path), slog.Int("status", p.Status), slog.Any("err", err))
		if errors.Is(err, errCutOff) {
			panic(http.ErrAbortHandler) // a broken connection is the only sign left
		}
		p.write(w)
	})
}

// guarded makes an error of a mistake of ours, which net/http would answer with
// silence.
func guarded(h handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // it is panicked as it is
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		} else if p != nil {
			panic(p)
		}
	}()
	return h(w, r)
}

// problem is a refusal in the words of RFC 9457.
type problem struct {
	Status int
	Detail string
}

// Error is the detail.
func (p *problem) Error() string { return p.Detail }

func (p *problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	// The client has gone where this fails.
	_ = json.NewEncoder(w).Encode(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(p.Status), p.Status, p.Detail})
}

func notReady(problems []string) *problem {
	return &problem{Status: http.StatusServiceUnavailable, Detail: strings.Join(problems, "; ")}
}

// localNamesOnly keeps a page of somebody else's from reading a loopback
// listener through a name of its own that resolves to 127.0.0.1 (DNS
// rebinding). Behind any other address the names are the operator's.
func localNamesOnly(next *site) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if onLoopback(r) && !isLocalName(r.Host) {
			next.page(func(http.ResponseWriter, *http.Request) error {
				return &problem{
					Status: http.StatusMisdirectedRequest,
					Detail: "on a loopback address the bridge answers to localhost or an IP address only",
				}
			}).ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func onLoopback(r *http.Request) bool {
	address, known := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return known && address.IP.IsLoopback()
}

// isLocalName: a name without a dot resolves nowhere in public.
func isLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || !strings.Contains(strings.TrimSuffix(host, "."), ".")
}

package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// maxHTTPConnections bounds the memory that connections take; whoever comes above
// that waits.
const maxHTTPConnections = 256

// web is an HTTP server and the listener that it will serve.
type web struct {
	key      string // of its address
	server   *http.Server
	listener net.Listener
}

func newWeb(key, address string, handler http.Handler, logger *slog.Logger) *web {
	return &web{key: key, server: &http.Server{
		Addr:              address,
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}}
}

func (w *web) listen(ctx context.Context) error {
	var (
		config net.ListenConfig
		err    error
	)
	if w.listener, err = config.Listen(ctx, "tcp", w.server.Addr); err != nil {
		return fmt.Errorf("listening for HTTP: %w; stop what listens there, or change %s", err, w.key)
	}
	w.listener = netutil.LimitListener(w.listener, maxHTTPConnections)
	return nil
}

// addr is nil before listen.
func (w *web) addr() net.Addr {
	if w.listener == nil {
		return nil
	}
	return w.listener.Addr()
}

// serve blocks until shutdown; that is no error.
func (w *web) serve() error {
	if err := w.server.Serve(w.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving HTTP: %w", err)
	}
	return nil
}

// shutdown ends idle connections at once and the others when they are done, or
// when ctx ends.
func (w *web) shutdown(ctx context.Context) {
	if err := w.server.Shutdown(ctx); err != nil {
		_ = w.server.Close()
	}
}

func closeAll(servers []*web) {
	for _, w := range servers {
		_ = w.listener.Close()
	}
}

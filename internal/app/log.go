package app

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
)

// The values of log.format.
const (
	formatJSON = "json"
	formatText = "text"
)

// levels are the values of log.level.
func levels() map[string]slog.Level {
	return map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
}

// logSettings are what a reload changes under the loggers that exist.
type logSettings struct {
	level  slog.LevelVar
	asText atomic.Bool
}

func (s *logSettings) apply(c Log) {
	s.level.Set(levels()[c.Level])
	s.asText.Store(c.Format == formatText)
}

// logger writes to w as the settings say at that moment.
func (s *logSettings) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: &s.level}
	return slog.New(logHandler{
		json:   slog.NewJSONHandler(w, options),
		text:   slog.NewTextHandler(w, options),
		asText: &s.asText,
	})
}

// logHandler is both formats, one of which writes.
type logHandler struct {
	json, text slog.Handler
	asText     *atomic.Bool
}

// Enabled is the same for both.
func (h logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.json.Enabled(ctx, level)
}

// Handle writes in the format of the moment.
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.asText.Load() {
		return h.text.Handle(ctx, r)
	}
	return h.json.Handle(ctx, r)
}

// WithAttrs keeps both formats.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.json, h.text = h.json.WithAttrs(attrs), h.text.WithAttrs(attrs)
	return h
}

// WithGroup keeps both formats.
func (h logHandler) WithGroup(name string) slog.Handler {
	h.json, h.text = h.json.WithGroup(name), h.text.WithGroup(name)
	return h
}

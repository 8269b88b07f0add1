// Package admin is the bridge over HTTP: health, metrics and the API under
// /api/v1 on admin_address ([New]), and what webhook_address answers in public
// ([NewPublic]).
//
// A handler returns an error; one wrapper turns it into a status code, a problem
// document (RFC 9457) and a log line. What changes something is refused to pages
// of other sites.
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"smtpbridge/events"
	"smtpbridge/internal/store"
	"smtpbridge/providers/delivery"
)

// Messages are what became of messages.
type Messages interface {
	// Message gives one message, or store.ErrNotFound.
	Message(ctx context.Context, id string) (store.Message, error)
	// Messages gives a page, or store.ErrCursor.
	Messages(ctx context.Context, q store.Query) (store.Page, error)
}

// Provider is one element of /api/v1/providers.
type Provider struct {
	delivery.Status

	Type string `json:"type"`
}

// Check is one thing that must hold for the bridge to be ready.
type Check struct {
	// Name says what is looked at: "smtp", "store".
	Name string
	// Run returns what is wrong, nil where nothing is. It should be quick.
	Run func(context.Context) error
}

// Options are what the pages show. All are needed; Now gives the time of /health.
type Options struct {
	Messages Messages
	History  History
	Letters  Letters
	// Providers gives the configured providers, as they are after a reload.
	Providers func(context.Context) []Provider
	Ready     []Check
	Metrics   prometheus.Gatherer
	Logger    *slog.Logger
	Now       func() time.Time
}

// New makes the handler of admin_address. It knows no users: whoever reaches
// it may read it.
func New(o Options) http.Handler {
	site := newSite(o.Logger, o.Now)
	site.handle("/healthz", alive)
	site.handle("/readyz", ready(o.Ready, o.Providers))
	site.handle("/metrics", metrics(o.Metrics))
	site.handle("/api/v1/messages", listMessages(o.Messages))
	site.handle("/api/v1/messages/{id}", getMessage(o.Messages))
	site.handle("/api/v1/providers", listProviders(o.Providers))
	site.handle("/api/v1/events", listEvents(o.History))
	site.on("/api/v1/events/replay", methods{http.MethodPost: replay(o.History, o.Letters, o.Now)})
	site.handle("/api/v1/forward/dead", listLetters(o.Letters))
	site.on("/api/v1/forward/dead/retry", methods{http.MethodPost: retryLetters(o.Letters)})
	site.on("/api/v1/forward/dead/{id}/retry", methods{http.MethodPost: retryLetter(o.Letters)})
	site.on("/api/v1/suppressions", methods{http.MethodGet: listSuppressions(o.History), http.MethodPost: importSuppressions(o.History)})
	site.on("/api/v1/suppressions/{email}", methods{
		http.MethodGet: getSuppression(o.History), http.MethodPut: putSuppression(o.History, o.Now),
		http.MethodDelete: deleteSuppression(o.History),
	})
	site.handle("/api/v1/recipients/{email}", getRecipient(o.History))
	site.handle("/api/v1/stats", stats(o.History, o.Now))
	return localNamesOnly(site)
}

// PublicOptions are what webhook_address answers. All are needed.
type PublicOptions struct {
	// Webhooks takes the calls of the providers; nil is 200.
	Webhooks interface{ Answer(r *http.Request) error }
	Logger   *slog.Logger
	Now      func() time.Time
}

// NewPublic makes the handler of webhook_address.
func NewPublic(o PublicOptions) http.Handler {
	site := newSite(o.Logger, o.Now)
	site.on("/webhooks/{name}", methods{http.MethodPost: webhook(o.Webhooks.Answer)})
	return site
}

// webhook says to the provider in its own terms what became of its call.
func webhook(answer func(*http.Request) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := answer(r)
		rejection, ok := errors.AsType[*events.Rejection](err)
		if !ok {
			return err
		}
		switch rejection.Status {
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", `Basic realm="webhooks"`) // RFC 9110, 15.5.2
		case http.StatusServiceUnavailable:
			w.Header().Set("Retry-After", "60")
			return &problem{Status: rejection.Status, Detail: "the call could not be stored; try again"}
		}
		return &problem{Status: rejection.Status, Detail: rejection.Error()}
	}
}

func alive(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, map[string]string{"status": "alive"})
}

func health(now func() time.Time) handler {
	return func(w http.ResponseWriter, _ *http.Request) error {
		return writeJSON(w, struct {
			Status    string    `json:"status"`
			Timestamp time.Time `json:"timestamp"`
		}{"healthy", now().UTC()})
	}
}

// ready fails for what only this bridge can put right. That no provider is
// usable is a warning: it must not take the application out of service.
func ready(checks []Check, providers func(context.Context) []Provider) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		problems := []string{}
		for _, check := range checks {
			if err := check.Run(r.Context()); err != nil {
				problems = append(problems, check.Name+": "+err.Error())
			}
		}
		if len(problems) > 0 {
			return notReady(problems)
		}
		answer := struct {
			Status   string   `json:"status"`
			Warnings []string `json:"warnings,omitempty"`
		}{Status: "ready"}
		if !slices.ContainsFunc(providers(r.Context()), func(p Provider) bool { return p.Breaker != "open" }) {
			answer.Warnings = []string{"no provider is usable: mail is answered 451 4.3.2"}
		}
		return writeJSON(w, answer)
	}
}

func metrics(gatherer prometheus.Gatherer) handler {
	pages := promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{})
	return func(w http.ResponseWriter, r *http.Request) error {
		pages.ServeHTTP(w, r)
		return nil
	}
}

func listProviders(providers func(context.Context) []Provider) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := noParameters(r); err != nil {
			return err
		}
		return writeJSON(w, list[Provider]{Items: append([]Provider{}, providers(r.Context())...)})
	}
}

// list is the form of every list.
type list[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
}

// writeJSON fails before the first octet is out, or not at all: where writing
// fails the client has gone.
func writeJSON(w http.ResponseWriter, v any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // Content-Type and nosniff keep it from being HTML
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body.Bytes())
	return nil
}

package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/store"
)

func listSuppressions(history History) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		values, err := parameterValues(r)
		if err != nil {
			return err
		}
		if err := onlyParameters(values, "limit", "cursor", "email", "reason", "provider", "format"); err != nil {
			return err
		}
		q := store.SuppressionQuery{
			Address: values.Get("email"), Reason: values.Get("reason"), Provider: values.Get("provider"), Cursor: values.Get("cursor"),
		}
		if err := addressOf(values, "email"); err != nil {
			return err
		}
		if q.Reason != "" && !events.Reason(q.Reason).Known() {
			return badParameter("reason", q.Reason, "one of "+words(events.Reasons()))
		}
		if q.Limit, err = limitOf(values); err != nil {
			return err
		}
		switch values.Get("format") {
		case "csv":
			return exportSuppressions(w, r, history, q)
		case "", "json":
		default:
			return badParameter("format", values.Get("format"), "one of csv, json")
		}
		page, err := history.Suppressions(r.Context(), q)
		if err != nil {
			return listError("suppressions", q.Cursor, err)
		}
		return writeJSON(w, list[events.Suppression]{Items: page.Suppressions, NextCursor: page.Next})
	}
}

// exportSuppressions writes all of them, whatever the limit says.
func exportSuppressions(w http.ResponseWriter, r *http.Request, history History, q store.SuppressionQuery) error {
	q.Limit = maxLimit
	page, err := history.Suppressions(r.Context(), q)
	if err != nil {
		return listError("suppressions", q.Cursor, err)
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	out := events.NewCSVWriter(w)
	for {
		prolong(w)
		for _, s := range page.Suppressions {
			out.Write(s)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
		if page, err = history.Suppressions(r.Context(), q); err != nil {
			return fmt.Errorf("%w: listing suppressions: %w", errCutOff, err)
		}
	}
	_ = out.Flush() // the client has gone where this fails
	return nil
}

const (
	// maxImport is the longest CSV, in octets.
	maxImport = 64 << 20
	// partTime is what one part of a long list may take, as long as the server gives
	// a whole request.
	partTime = 30 * time.Second
)

// prolong gives the next part of a long list its time: how long the whole takes is
// a matter of its length.
func prolong(w http.ResponseWriter) {
	control, until := http.NewResponseController(w), time.Now().Add(partTime)
	_ = control.SetReadDeadline(until) // where there are none, none ends it
	_ = control.SetWriteDeadline(until)
}

// unhurried gives all the time that is needed to what is done in many parts, each of
// them bounded, until the client goes.
func unhurried(w http.ResponseWriter) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // where there are none, none ends it
	_ = control.SetWriteDeadline(time.Time{})
}

// importSuppressions takes CSV, and says how many were new.
func importSuppressions(history History) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := noParameters(r); err != nil {
			return err
		}
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "text/csv" {
			return &problem{Status: http.StatusUnsupportedMediaType, Detail: "the list must be text/csv, in the form of the export"}
		}
		body := &upload{in: http.MaxBytesReader(w, r.Body, maxImport)}
		added, err := importCSV(r.Context(), history, body, func() { prolong(w) })
		var refusal *problem
		switch {
		case err == nil:
			return writeJSON(w, map[string]int{"added": added})
		case body.err != nil:
			refusal = unread(body.err)
		case errors.Is(err, events.ErrMalformed):
			refusal = &problem{Status: http.StatusBadRequest, Detail: err.Error()}
		default:
			return fmt.Errorf("importing suppressions, of which %d were added: %w", added, err)
		}
		refusal.Detail += fmt.Sprintf("; %d were added before", added)
		return refusal
	}
}

// upload keeps why a body cannot be read.
type upload struct {
	in  io.Reader
	err error
}

// Read implements [io.Reader].
func (u *upload) Read(p []byte) (int, error) {
	n, err := u.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		u.err = err
	}
	return n, err //nolint:wrapcheck // it is the body's own
}

// importCSV adds what stands before an error, too. It calls gotOn for each part.
func importCSV(ctx context.Context, history History, body io.Reader, gotOn func()) (added int, err error) {
	return events.InBatches(events.ReadCSV(body), func(some []events.Suppression) (int, error) {
		defer gotOn()
		return history.Suppress(ctx, some...) //nolint:wrapcheck // the handler does
	})
}

// held is one address on the list: why, for the gravest reason, and for which others.
type held struct {
	events.Suppression

	Others []events.Suppression `json:"others,omitempty"`
}

func getSuppression(history History) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := noParameters(r); err != nil {
			return err
		}
		return showSuppression(w, r, history)
	}
}

func showSuppression(w http.ResponseWriter, r *http.Request, history History) error {
	if events.Address(r.PathValue("email")) == "" { // it would be no filter
		return notSuppressed(r.PathValue("email"))
	}
	page, err := history.Suppressions(r.Context(), store.SuppressionQuery{Address: r.PathValue("email"), Limit: maxLimit})
	if err != nil {
		return fmt.Errorf("getting a suppression: %w", err)
	}
	if len(page.Suppressions) == 0 {
		return notSuppressed(r.PathValue("email"))
	}
	gravest := events.Gravest(page.Suppressions)
	answer := held{Suppression: page.Suppressions[gravest]}
	answer.Others = append(page.Suppressions[:gravest:gravest], page.Suppressions[gravest+1:]...)
	return writeJSON(w, answer)
}

func notSuppressed(address string) *problem {
	return &problem{Status: http.StatusNotFound, Detail: fmt.Sprintf("%q is not on the suppression list", address)}
}

func putSuppression(history History, now func() time.Time) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := noParameters(r); err != nil {
			return err
		}
		body := struct {
			Reason events.Reason `json:"reason"`
			Scope  string        `json:"scope"`
			Detail string        `json:"detail"`
		}{Reason: events.Manual}
		if err := readJSON(w, r, &body); err != nil {
			return err
		}
		s := events.Suppression{
			Address: r.PathValue("email"), Scope: body.Scope, Reason: body.Reason, Detail: body.Detail, Since: now().UTC(),
		}
		if err := s.Validate(); err != nil {
			return &problem{Status: http.StatusBadRequest, Detail: err.Error()}
		}
		if _, err := history.Suppress(r.Context(), s); err != nil {
			return fmt.Errorf("adding a suppression: %w", err)
		}
		return showSuppression(w, r, history)
	}
}

func deleteSuppression(history History) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		values, err := parameterValues(r)
		if err != nil {
			return err
		}
		if err := onlyParameters(values, "scope"); err != nil {
			return err
		}
		var scope *string
		if values.Has("scope") {
			given := values.Get("scope")
			scope = &given
		}
		address := r.PathValue("email")
		err = history.Lift(r.Context(), address, scope)
		if errors.Is(err, store.ErrNotFound) {
			return notSuppressed(address)
		}
		if err != nil {
			return fmt.Errorf("removing a suppression: %w", err)
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"smtpbridge/events/forward"
)

// Letters are the events that the application has not taken in any attempt.
type Letters interface {
	Dead(ctx context.Context, limit int, cursor string) (letters []forward.Letter, next string, err error)
	Retry(ctx context.Context, id int64) error
	RetryAll(ctx context.Context) (int, error)
	// Forwards reports whether events are passed on at all.
	Forwards() bool
}

func listLetters(letters Letters) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		values, err := parameterValues(r)
		if err != nil {
			return err
		}
		if err := onlyParameters(values, "limit", "cursor"); err != nil {
			return err
		}
		limit, err := limitOf(values)
		if err != nil {
			return err
		}
		dead, next, err := letters.Dead(r.Context(), limit, values.Get("cursor"))
		if errors.Is(err, forward.ErrCursor) {
			return badParameter("cursor", values.Get("cursor"), "give the next_cursor of the page before")
		}
		if err != nil {
			return fmt.Errorf("listing dead letters: %w", err)
		}
		return writeJSON(w, list[forward.Letter]{Items: append([]forward.Letter{}, dead...), NextCursor: next})
	}
}

func retryLetter(letters Letters) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := noParameters(r); err != nil {
			return err
		}
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
		if err == nil {
			err = letters.Retry(r.Context(), id)
		}
		if errors.Is(err, forward.ErrNoLetter) || errors.Is(err, strconv.ErrSyntax) || errors.Is(err, strconv.ErrRange) {
			return &problem{Status: http.StatusNotFound, Detail: fmt.Sprintf("there is no dead letter %q", r.PathValue("id"))}
		}
		if err != nil {
			return fmt.Errorf("retrying a dead letter: %w", err)
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func retryLetters(letters Letters) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := noParameters(r); err != nil {
			return err
		}
		unhurried(w)
		n, err := letters.RetryAll(r.Context())
		if err != nil {
			return fmt.Errorf("retrying dead letters: %w", err)
		}
		return writeJSON(w, map[string]int{"events": n})
	}
}

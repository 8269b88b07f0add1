package admin

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"smtpbridge/internal/store"
	"smtpbridge/providers/delivery"
)

const (
	defaultLimit = 50
	maxLimit     = 500
)

// parameters are those of the list of messages, in the order of the help.
var parameters = []string{"limit", "cursor", "recipient", "provider", "state", "category", "tag", "from", "mail_from"}

// states are those of a recipient.
var states = []string{"accepted", "refused", "ambiguous"}

func listMessages(messages Messages) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		values, err := parameterValues(r)
		if err != nil {
			return err
		}
		query, err := parseQuery(values)
		if err != nil {
			return err
		}
		page, err := messages.Messages(r.Context(), query)
		if errors.Is(err, store.ErrCursor) {
			return badParameter("cursor", query.Cursor, "give the next_cursor of the page before")
		}
		if err != nil {
			return fmt.Errorf("listing messages: %w", err)
		}
		return writeJSON(w, list[delivery.Record]{Items: page.Records, NextCursor: page.Next})
	}
}

func getMessage(messages Messages) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := noParameters(r); err != nil {
			return err
		}
		id := r.PathValue("id")
		message, err := messages.Message(r.Context(), id)
		if errors.Is(err, store.ErrNotFound) {
			return &problem{
				Status: http.StatusNotFound,
				Detail: fmt.Sprintf("there is no message %q, or no longer", id),
			}
		}
		if err != nil {
			return fmt.Errorf("getting a message: %w", err)
		}
		return writeJSON(w, message)
	}
}

func parseQuery(values url.Values) (store.Query, error) {
	var query store.Query
	if err := onlyParameters(values, parameters...); err != nil {
		return query, err
	}
	query.Recipient = values.Get("recipient")
	query.Provider = values.Get("provider")
	query.State = values.Get("state")
	query.Category = values.Get("category")
	query.Tag = values.Get("tag")
	query.From = values.Get("from")
	query.MailFrom = values.Get("mail_from")
	query.Cursor = values.Get("cursor")
	if query.State != "" && !slices.Contains(states, query.State) {
		return query, badParameter("state", query.State, "one of "+strings.Join(states, ", "))
	}
	var err error
	query.Limit, err = limitOf(values)
	return query, err
}

// parameterValues are none where the query cannot be read: net/http would leave
// out what it cannot read, and a filter left out shows all.
func parameterValues(r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &problem{
			Status: http.StatusBadRequest,
			Detail: "the parameters cannot be read: " + err.Error() + "; write name=value&…, escaped by %XX",
		}
	}
	return values, nil
}

func noParameters(r *http.Request) error {
	values, err := parameterValues(r)
	if err != nil {
		return err
	}
	return onlyParameters(values)
}

// onlyParameters refuses what would be ignored: a filter misspelt shows all.
func onlyParameters(values url.Values, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case len(known) == 0:
			return badParameter(name, values.Get(name), "nothing here takes parameters")
		case !slices.Contains(known, name):
			return badParameter(name, values.Get(name), "the parameters are "+strings.Join(known, ", "))
		case len(values[name]) > 1:
			return badParameter(name, values.Get(name), "give it once")
		}
	}
	return nil
}

func badParameter(name, value, remedy string) *problem {
	return &problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("%s=%s: %s", name, strconv.Quote(value), remedy)}
}

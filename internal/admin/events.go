package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/store"
)

// History is what is known of messages beyond their reply.
type History interface {
	Suppressions

	Events(ctx context.Context, q store.EventQuery) (store.EventPage, error)
	// Replay has events passed on again, and gives their number.
	Replay(ctx context.Context, from, to time.Time) (int, error)
	Recipient(ctx context.Context, address string) (store.Recipient, error)
	Counts(ctx context.Context, q store.CountQuery) ([]store.Counts, error)
}

// Suppressions are who must not be mailed.
type Suppressions interface {
	Suppressions(ctx context.Context, q store.SuppressionQuery) (store.SuppressionPage, error)
	// Suppress gives the number of those that were not there.
	Suppress(ctx context.Context, all ...events.Suppression) (int, error)
	// Lift takes away those of a scope, all where it is nil, or gives store.ErrNotFound.
	Lift(ctx context.Context, address string, scope *string) error
}

func listEvents(history History) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		values, err := parameterValues(r)
		if err != nil {
			return err
		}
		if err := onlyParameters(values, "limit", "cursor", "type", "provider", "recipient", "message_id", "after"); err != nil {
			return err
		}
		q := store.EventQuery{
			Type: values.Get("type"), Provider: values.Get("provider"), Recipient: values.Get("recipient"),
			MessageID: values.Get("message_id"), Cursor: values.Get("cursor"), After: -1,
		}
		if err := addressOf(values, "recipient"); err != nil {
			return err
		}
		if q.Type != "" && !events.Type(q.Type).Known() {
			return badParameter("type", q.Type, "one of "+words(events.Types()))
		}
		if q.Limit, err = limitOf(values); err != nil {
			return err
		}
		if text, given := values["after"]; given {
			if q.After, err = strconv.ParseInt(text[0], 10, 64); err != nil || q.After < 0 {
				return badParameter("after", text[0], "a sequence, 0 for the beginning")
			}
		}
		page, err := history.Events(r.Context(), q)
		if err != nil {
			return listError("events", q.Cursor, err)
		}
		return writeJSON(w, list[events.Event]{Items: page.Events, NextCursor: page.Next})
	}
}

// addressOf refuses what compares as nobody: it would be no filter, and show all.
func addressOf(values url.Values, name string) error {
	if values.Has(name) && events.Address(values.Get(name)) == "" {
		return badParameter(name, values.Get(name), "an address")
	}
	return nil
}

// listError is why there is no page.
func listError(of, cursor string, err error) error {
	if errors.Is(err, store.ErrCursor) {
		return badParameter("cursor", cursor, "give the next_cursor of the page before")
	}
	return fmt.Errorf("listing %s: %w", of, err)
}

func limitOf(values url.Values) (int, error) {
	text, given := values["limit"]
	if !given {
		return defaultLimit, nil
	}
	limit, err := strconv.Atoi(text[0])
	if err != nil || limit < 1 || limit > maxLimit {
		return 0, badParameter("limit", text[0], fmt.Sprintf("a number from 1 to %d", maxLimit))
	}
	return limit, nil
}

// maxBody is the longest body of a request for one thing, in octets.
const maxBody = 64 << 10

// readJSON reads the body of a request; an empty one changes nothing of v.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)) //nolint:forbidigo // up to maxBody
	if err != nil {
		return unread(err)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err = decoder.Decode(v); err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows it")
		}
	}
	if err != nil {
		return &problem{Status: http.StatusBadRequest, Detail: "the body is not what is expected here, as JSON: " + err.Error()}
	}
	return nil
}

// unread is a body that is too long, or did not come whole.
func unread(err error) *problem {
	if tooLong, is := errors.AsType[*http.MaxBytesError](err); is {
		return &problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body is longer than %d octets", tooLong.Limit)}
	}
	return &problem{Status: http.StatusBadRequest, Detail: "the body ended early"}
}

// replay has events passed on again. Times are brought to where events can have
// come: the store counts them in nanoseconds.
func replay(history History, letters Letters, now func() time.Time) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := noParameters(r); err != nil {
			return err
		}
		var body struct{ From, To time.Time }
		if err := readJSON(w, r, &body); err != nil {
			return err
		}
		if body.From.IsZero() || !body.From.Before(body.To) {
			return &problem{
				Status: http.StatusBadRequest,
				Detail: `give the time in which the events came, such as {"from":"2026-01-02T00:00:00Z","to":"2026-01-03T00:00:00Z"}`,
			}
		}
		if !letters.Forwards() {
			return &problem{Status: http.StatusConflict, Detail: "events are not passed on; set [events] forward_url first"}
		}
		from, to := body.From, body.To
		if first := time.Unix(0, 0); from.Before(first) {
			from = first
		}
		if last := now().Add(time.Minute); to.After(last) {
			to = last
		}
		unhurried(w)
		n, err := history.Replay(r.Context(), from, to)
		if err != nil {
			return fmt.Errorf("replaying events: %w", err)
		}
		return writeJSON(w, map[string]int{"events": n})
	}
}

func getRecipient(history History) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := noParameters(r); err != nil {
			return err
		}
		address := r.PathValue("email")
		recipient, err := history.Recipient(r.Context(), address)
		if errors.Is(err, store.ErrNotFound) {
			return &problem{Status: http.StatusNotFound, Detail: fmt.Sprintf("nothing is known of %q", address)}
		}
		if err != nil {
			return fmt.Errorf("getting a recipient: %w", err)
		}
		return writeJSON(w, recipient)
	}
}

// statsWindow is the time that is counted where none is given.
const statsWindow = 24 * time.Hour

func stats(history History, now func() time.Time) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		values, err := parameterValues(r)
		if err != nil {
			return err
		}
		if err := onlyParameters(values, "by", "name", "from", "to"); err != nil {
			return err
		}
		q := store.CountQuery{By: store.ByProvider, Name: values.Get("name"), To: now()}
		if values.Has("by") {
			q.By = store.Dimension(values.Get("by"))
		}
		if !slices.Contains(store.Dimensions(), q.By) {
			return badParameter("by", string(q.By), "one of "+words(store.Dimensions()))
		}
		if err := timeOf(values, "to", &q.To); err != nil {
			return err
		}
		q.From = q.To.Add(-statsWindow)
		if err := timeOf(values, "from", &q.From); err != nil {
			return err
		}
		if !q.From.Before(q.To) {
			return badParameter("from", q.From.Format(time.RFC3339), "a time before "+q.To.Format(time.RFC3339))
		}
		counts, err := history.Counts(r.Context(), q)
		if err != nil {
			return fmt.Errorf("counting: %w", err)
		}
		return writeJSON(w, list[map[string]any]{Items: countItems(q.By, counts)})
	}
}

func timeOf(values url.Values, name string, into *time.Time) error {
	if !values.Has(name) {
		return nil
	}
	t, err := time.Parse(time.RFC3339, values.Get(name))
	if err != nil {
		return badParameter(name, values.Get(name), "a time such as 2026-01-02T03:00:00Z")
	}
	*into = t
	return nil
}

// countItems have each type that there can be, and of what can happen twice to
// one recipient of a message, how many recipients of messages it was.
func countItems(by store.Dimension, counts []store.Counts) []map[string]any {
	items := make([]map[string]any, len(counts))
	for i, c := range counts {
		items[i] = map[string]any{string(by): c.Name}
		for _, t := range events.Types() {
			if !strings.HasPrefix(string(t), "suppression_") {
				items[i][string(t)] = c.Total[t]
			}
		}
		for _, t := range []events.Type{events.Opened, events.Clicked} {
			items[i]["unique_"+string(t)] = c.Unique[t]
		}
	}
	return items
}

// words joins what a parameter may be.
func words[T ~string](all []T) string {
	texts := make([]string, 0, len(all))
	for _, one := range slices.Sorted(slices.Values(all)) {
		texts = append(texts, string(one))
	}
	return strings.Join(texts, ", ")
}

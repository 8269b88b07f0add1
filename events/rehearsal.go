package events

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
)

// Rehearsal is a [Source] of normalised events, for applications that rehearse
// what they do about them. It authenticates nobody.
type Rehearsal struct {
	// Provider is the name of the events that give none.
	Provider string
}

// maxIDBytes is more than an id of an event has.
const maxIDBytes = 128

// Receive reads one event. Its id, where it has one, stays; without one it is a new
// event each time.
func (r Rehearsal) Receive(_ context.Context, _ http.Header, body []byte) (Batch, error) {
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		return Batch{}, fmt.Errorf("%w: it is not one event as JSON: %w", ErrMalformed, err)
	}
	switch {
	case !e.Type.Known():
		return Batch{}, fmt.Errorf("%w: type %q is unknown; it is one of %v", ErrMalformed, e.Type, Types())
	case e.Type == Bounced && e.Bounce != Hard && e.Bounce != Soft:
		return Batch{}, fmt.Errorf("%w: bounce %q is unknown; it is %s or %s", ErrMalformed, e.Bounce, Hard, Soft)
	case len(e.ID) > maxIDBytes:
		return Batch{}, fmt.Errorf("%w: id has more than %d octets", ErrMalformed, maxIDBytes)
	case e.Type != Bounced && e.Bounce != "":
		return Batch{}, fmt.Errorf("%w: bounce is for type %s only", ErrMalformed, Bounced)
	}
	if e.Provider == "" {
		e.Provider = r.Provider
	}
	if e.ID == "" {
		e.Key = rand.Text()
	}
	if len(e.Raw) == 0 {
		e.Raw = body
	}
	e.Raw, e.Sequence = Raw(e.Raw), 0
	return Batch{Events: []Event{e}}, nil
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"smtpbridge/events"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

const (
	// useNonces: two providers may share the key of one account, and who has seen a call
	// of one could bring it to the other. So a nonce is of no provider.
	useNonces = `INSERT INTO nonces (provider, nonce, received) VALUES {'', ?, ?} ON CONFLICT DO NOTHING RETURNING nonce`
	// messagesOf are those to which a provider gave ids: with the same recipient, else
	// any; the newest, should it have used an id again. That the id is not empty must
	// be said for the index.
	messagesOf = `SELECT column1, column2, column3, COALESCE(
			(SELECT message_id FROM message_recipients WHERE provider_id = column2 AND provider_id <> '' AND provider = column1
				AND address = column3 ORDER BY message_id DESC LIMIT 1),
			(SELECT message_id FROM message_recipients WHERE provider_id = column2 AND provider_id <> '' AND provider = column1
				ORDER BY message_id DESC LIMIT 1), '')
		FROM (VALUES {?, ?, ?}) AS asked`
)

// report is a call of a provider, which tells of events.
type report struct {
	batch events.Batch
	rules events.Rules
	added []events.Added // what was new of it
}

// arrival is one event of a report.
type arrival struct {
	events.Added

	report *report
	record *delivery.Record // of its message; nil where there is none
}

// Add stores the events of a call by a provider, with what they do by the rules,
// all or nothing, and gives those that are new. A nonce that was used at any
// provider stores nothing.
func (h *History) Add(ctx context.Context, b events.Batch, rules events.Rules) ([]events.Added, error) {
	c := &report{batch: b, rules: rules}
	if err := h.change(ctx, &change{report: c}); err != nil {
		return nil, fmt.Errorf("storing events: %w", err)
	}
	return c.added, nil
}

// take stores what reports tell, as if each had come after the other.
func (h *History) take(ctx context.Context, w *work, reports []*report) error {
	all, err := h.arrivals(ctx, w, reports)
	if err != nil || len(all) == 0 {
		return err
	}
	if err := w.correlate(ctx, all); err != nil {
		return err
	}
	fresh, err := h.store(ctx, w, all)
	if err != nil {
		return err
	}
	for _, a := range fresh {
		if a.Recipient != "" {
			if err := h.act(ctx, w, a.Event, a.report.rules); err != nil {
				return err
			}
		}
		a.report.added = append(a.report.added, a.Added)
	}
	return nil
}

// arrivals are the events of those reports whose nonce is not used.
func (h *History) arrivals(ctx context.Context, w *work, reports []*report) (all []*arrival, err error) {
	var rows [][]any
	for _, c := range reports {
		if c.batch.Nonce != "" {
			rows = append(rows, []any{c.batch.Nonce, h.now().UnixNano()})
		}
	}
	unused := make(map[string]bool)
	err = w.askRows(ctx, useNonces, rows, func(rows *sql.Rows) error {
		var nonce string
		err := rows.Scan(&nonce)
		unused[nonce] = true
		return err
	})
	for _, c := range reports {
		c.added = nil
		if c.batch.Nonce != "" && !unused[c.batch.Nonce] {
			continue
		}
		delete(unused, c.batch.Nonce) // the same again is used
		for _, e := range c.batch.Events {
			e.Recipient = storable(e.Recipient) // it is what standings are found by
			all = append(all, &arrival{Added: events.Added{Event: e}, report: c})
		}
	}
	return all, err
}

// correlate finds the messages of events, and takes in what an event says of its
// message.
func (w *work) correlate(ctx context.Context, all []*arrival) error {
	if err := w.findMessages(ctx, all); err != nil {
		return err
	}
	var ids []string
	for _, a := range all {
		if a.MessageID != "" {
			ids = append(ids, a.MessageID)
		}
	}
	slices.Sort(ids)
	records, err := w.records(ctx, slices.Compact(ids))
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.record = records[a.MessageID]; a.record == nil {
			continue
		}
		if err := w.settle(ctx, a.record, a.Event); err != nil {
			return err
		}
		a.describe()
	}
	return nil
}

// describe gives an event what its message was given by the application, whole,
// whatever the provider could carry of it.
func (a *arrival) describe() {
	a.Mailed = a.record.Time
	if len(a.record.Tags) > 0 {
		a.Tags = a.record.Tags
	}
	if len(a.record.Metadata) > 0 {
		a.Metadata = a.record.Metadata
	}
}

// findMessages finds the messages of events that do not name them, by the id that
// the provider gave.
func (w *work) findMessages(ctx context.Context, all []*arrival) error {
	type key struct{ provider, id, recipient string }
	keyOf := func(a *arrival) key { return key{a.Provider, a.ProviderMessageID, a.Recipient} }
	found := make(map[key]string)
	var rows [][]any
	for _, a := range all {
		if a.MessageID == "" && a.ProviderMessageID != "" {
			rows = append(rows, []any{a.Provider, a.ProviderMessageID, a.Recipient})
		}
	}
	err := w.askRows(ctx, messagesOf, rows, func(rows *sql.Rows) error {
		var (
			k  key
			id string
		)
		if err := rows.Scan(&k.provider, &k.id, &k.recipient, &id); err != nil {
			return err
		}
		found[k] = id
		return nil
	})
	for _, a := range all {
		if a.MessageID == "" {
			a.MessageID = found[keyOf(a)]
		}
	}
	return err
}

// settle puts right what the log says of a recipient: the provider that tells of
// a message has it.
func (w *work) settle(ctx context.Context, r *delivery.Record, e events.Event) error {
	changed := false
	for i := range r.Recipients {
		to := &r.Recipients[i]
		asked := to.Provider == "" || to.Provider == e.Provider
		if to.State == providers.Ambiguous && asked && events.Address(to.Recipient) == e.Recipient {
			*to = delivery.Recipient{
				Recipient: to.Recipient, State: providers.Accepted, Provider: e.Provider, ProviderID: e.ProviderMessageID,
			}
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return w.putRecords(ctx, []*delivery.Record{r})
}

// store writes events, counts them, and gives those that were not known, with what
// is known of their recipients at hand.
func (h *History) store(ctx context.Context, w *work, all []*arrival) (fresh []*arrival, err error) {
	told := make([]*events.Event, len(all))
	of := make(map[*events.Event]*arrival, len(all))
	for i, a := range all {
		told[i] = &a.Event
		of[told[i]] = a
	}
	added, err := w.putEvents(ctx, told, h.now())
	if err != nil {
		return nil, err
	}
	if err := w.count(ctx, added); err != nil {
		return nil, err
	}
	addresses := make([]string, 0, len(added))
	for _, e := range added {
		fresh = append(fresh, of[e])
		if e.Recipient != "" {
			addresses = append(addresses, e.Recipient)
		}
	}
	return fresh, w.loadStandings(ctx, addresses)
}

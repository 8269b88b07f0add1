package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"smtpbridge/events"
)

// Dimension is what is counted by.
type Dimension string

// The dimensions.
const (
	ByProvider Dimension = "provider"
	ByTag      Dimension = "tag"
	// ByCampaign is by the metadata key "campaign".
	ByCampaign Dimension = "campaign"
)

// Dimensions are all of them.
func Dimensions() []Dimension { return []Dimension{ByProvider, ByTag, ByCampaign} }

const campaignKey = "campaign"

const (
	addCounts = `INSERT INTO counts (hour, dimension, name, type, total, uniques) VALUES {?, ?, ?, ?, ?, ?}
		ON CONFLICT (hour, dimension, name, type) DO UPDATE SET total = counts.total + excluded.total, uniques = counts.uniques + excluded.uniques`
	sumCounts = `SELECT name, type, CAST(SUM(total) AS BIGINT), CAST(SUM(uniques) AS BIGINT) FROM counts
		WHERE hour >= ? AND hour < ? AND dimension = ? AND (? = '' OR name = ?) GROUP BY name, type ORDER BY name, type`
	// eventsBefore are those of events, by their sequence, that are not the first of
	// their kind to a recipient of a message. OFFSET keeps a server from reading all
	// events at once, as it would while there are few.
	eventsBefore = `SELECT column4 FROM (VALUES {?, ?, ?, CAST(? AS BIGINT)}) AS asked WHERE EXISTS (SELECT 1 FROM events
		WHERE message_id = column1 AND message_id <> '' AND recipient || '' = column2 AND type || '' = column3 AND sequence < column4 LIMIT 1 OFFSET 0)`
)

// counted is what a count is of.
type counted struct {
	hour      int64
	dimension Dimension
	name      string
	of        events.Type
}

// tally is what a transaction adds to a count.
type tally struct{ total, unique int64 }

func (t tally) plus(more tally) tally { return tally{t.total + more.total, t.unique + more.unique} }

// count adds events to the counts. A provider's own "accepted" is none: the
// bridge counts its 250.
func (w *work) count(ctx context.Context, all []*events.Event) error {
	repeated, err := w.repeated(ctx, all)
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.Type == events.Accepted && len(e.Raw) > 0 {
			continue
		}
		unique := int64(1)
		if repeated[e.Sequence] {
			unique = 0
		}
		if e.Provider != "" {
			w.tally(e, ByProvider, e.Provider, unique)
		}
		for _, tag := range e.Tags {
			w.tally(e, ByTag, tag, unique)
		}
		if campaign := e.Metadata[campaignKey]; campaign != "" {
			w.tally(e, ByCampaign, campaign, unique)
		}
	}
	return nil
}

// repeated are those, by their sequence, that tell again what a recipient has done
// with a message.
func (w *work) repeated(ctx context.Context, all []*events.Event) (map[int64]bool, error) {
	var rows [][]any
	for _, e := range all {
		if e.Type == events.Opened || e.Type == events.Clicked {
			rows = append(rows, []any{e.MessageID, e.Recipient, string(e.Type), e.Sequence})
		}
	}
	repeated := make(map[int64]bool)
	return repeated, w.askRows(ctx, eventsBefore, rows, func(rows *sql.Rows) error {
		var sequence int64
		err := rows.Scan(&sequence)
		repeated[sequence] = true
		return err
	})
}

func (w *work) tally(e *events.Event, d Dimension, name string, unique int64) {
	key := counted{hour(e.Timestamp), d, w.kept(name), e.Type}
	w.tallies[key] = w.tallies[key].plus(tally{1, unique})
}

// addUp writes what was counted.
func (w *work) addUp(ctx context.Context) error {
	sums := make(map[counted]tally, len(w.tallies))
	for key, sum := range w.tallies {
		key, err := w.names.bound(ctx, w, key)
		if err != nil {
			return err
		}
		sums[key] = sums[key].plus(sum)
	}
	rows := make([][]any, 0, len(sums))
	for key, sum := range sums {
		rows = append(rows, []any{key.hour, string(key.dimension), key.name, string(key.of), sum.total, sum.unique})
	}
	return w.putRows(ctx, addCounts, rows)
}

func hour(t time.Time) int64 { return t.Unix() / int64(time.Hour/time.Second) }

// CountQuery asks for counts.
type CountQuery struct {
	By Dimension
	// Name is the only one asked for; empty for all.
	Name string
	// From and To bound the time of the events, in whole hours; To is not in.
	From, To time.Time
}

// Counts are the events of one provider, tag or campaign.
type Counts struct {
	Name string
	// Total by type; Unique counts each recipient of a message once.
	Total, Unique map[events.Type]int64
}

// Counts gives what q asks for, by name.
func (h *History) Counts(ctx context.Context, q CountQuery) (all []Counts, err error) {
	h.flush(ctx)
	args := []any{hour(q.From), hour(q.To.Add(time.Hour - time.Nanosecond)), string(q.By), q.Name, q.Name}
	err = h.ask(ctx, sumCounts, args, func(rows *sql.Rows) error {
		var (
			name          string
			of            events.Type
			total, unique int64
		)
		if err := rows.Scan(&name, &of, &total, &unique); err != nil {
			return err
		}
		at := len(all) - 1
		if at < 0 || all[at].Name != name { // they come in order
			at++
			all = append(all, Counts{Name: name, Total: make(map[events.Type]int64), Unique: make(map[events.Type]int64)})
		}
		all[at].Total[of], all[at].Unique[of] = total, unique
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Complaints counts what a provider has told since the hour of a time.
func (h *History) Complaints(ctx context.Context, provider string, since time.Time) (complained, delivered int64, err error) {
	all, err := h.Counts(ctx, CountQuery{By: ByProvider, Name: provider, From: since, To: h.now().Add(time.Hour)})
	if err != nil || len(all) == 0 {
		return 0, 0, err
	}
	return all[0].Total[events.Complained], all[0].Total[events.Delivered], nil
}

const (
	// historyTidyInterval is how often is looked for what is too old; with a short
	// retention it is more often.
	historyTidyInterval = time.Minute
	// tidyRows is how many rows of a table one transaction lets go of.
	tidyRows = 1000
	// nonceRetention is longer than any provider repeats a call.
	nonceRetention = 7 * 24 * time.Hour
	// memoryHistoryPages bounds a history in memory, to 16 MiB.
	memoryHistoryPages = 4096
)

// tooOld deletes rows up to a time, a bounded number at once, of those that are
// oldest by their key: so nothing is searched where nothing is too old.
func tooOld() []string {
	return []string{
		`DELETE FROM message_recipients WHERE message_id IN
			(SELECT id FROM (SELECT id, received FROM messages ORDER BY id LIMIT ?2) AS oldest WHERE received <= ?1)`,
		`DELETE FROM messages WHERE id IN (SELECT id FROM messages ORDER BY id LIMIT ?2) AND received <= ?1`,
		`DELETE FROM events WHERE sequence IN (SELECT sequence FROM events ORDER BY sequence LIMIT ?2) AND received <= ?1`,
		`DELETE FROM recipients WHERE address IN (SELECT address FROM recipients WHERE touched <= ?1 ORDER BY touched LIMIT ?2)`,
		oldNonces,
	}
}

const (
	oldNonces = `DELETE FROM nonces WHERE (provider, nonce) IN
		(SELECT provider, nonce FROM nonces WHERE received <= ?1 ORDER BY received LIMIT ?2)`
	// oldCounts: an hour goes once all of it is too old; those by what an application
	// has named, without end perhaps, sooner where memory is crowded.
	oldCounts = `DELETE FROM counts WHERE hour <= ?1 AND (hour < ?1 OR ?2 AND dimension <> 'provider')`
	// oldProgress is that of bridges that have not written for long: they are gone.
	oldProgress = `DELETE FROM progress WHERE value < ?`
	oldUntold   = `DELETE FROM untold WHERE sequence < (SELECT COALESCE(MIN(sequence), 0) FROM events)`
	pagesUsed   = `SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count`
	// firstTenth is when the oldest tenth of the rows had come.
	firstTenth = `SELECT MAX(
		COALESCE((SELECT received FROM events ORDER BY sequence LIMIT 1 OFFSET (SELECT COUNT(*) / 10 FROM events)), 0),
		COALESCE((SELECT received FROM messages ORDER BY id LIMIT 1 OFFSET (SELECT COUNT(*) / 10 FROM messages)), 0))`
)

func (h *History) tidyInterval() time.Duration {
	return min(historyTidyInterval, max(h.retention/2, time.Second))
}

// tidy lets go of what is older than the retention, of nothing where there is none.
func (h *History) tidy(ctx context.Context) error {
	if h.retention <= 0 {
		return nil
	}
	now := h.now()
	a := age{until: now.Add(-h.retention), nonces: now.Add(-nonceRetention), bridges: now.AddDate(0, -quotaMonths, 0)}
	for more := true; more && ctx.Err() == nil; {
		err := h.do(ctx, func(ctx context.Context, w *work) (err error) {
			more, err = w.tidy(ctx, a)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// age says what is too old.
type age struct {
	until, nonces, bridges time.Time
	crowded                bool
}

func (w *work) tidy(ctx context.Context, a age) (more bool, err error) {
	for _, text := range tooOld() {
		until := a.until
		if text == oldNonces {
			until = a.nonces
		}
		gone, err := w.exec(ctx, text, until.UnixNano(), tidyRows)
		if err != nil {
			return false, err
		}
		more = more || gone >= tidyRows
	}
	if _, err := w.exec(ctx, oldCounts, hour(a.until), a.crowded); err != nil {
		return false, err
	}
	if _, err := w.exec(ctx, oldProgress, a.bridges.UnixNano()); err != nil {
		return false, err
	}
	_, err = w.exec(ctx, oldUntold)
	return more, err
}

// memoryLook is how many changes are written to memory before its size is looked at.
const memoryLook = 256

// makeRoom forgets the oldest tenth of a history in memory where there is too
// much, whatever its age. Only who commits may call it.
func (h *History) makeRoom(ctx context.Context, changes int) {
	if h.written += changes; !h.db.inMemory() || h.written < memoryLook {
		return
	}
	h.written = 0
	until, err := h.crowded(ctx)
	for more := !until.IsZero(); more && err == nil; {
		err = h.transact(ctx, func(ctx context.Context, w *work) (err error) {
			more, err = w.tidy(ctx, age{until: until, nonces: until, crowded: true})
			return err
		})
	}
	h.report(ctx, &h.crowding, err)
}

// crowded is the time up to which a history in memory is forgotten, the zero time
// where there is room.
func (h *History) crowded(ctx context.Context) (time.Time, error) {
	var pages, received int64
	if err := h.read.QueryRowContext(ctx, pagesUsed).Scan(&pages); err != nil {
		return time.Time{}, fmt.Errorf("looking for room: %w", err)
	}
	if pages < memoryHistoryPages {
		return time.Time{}, nil
	}
	if err := h.read.QueryRowContext(ctx, firstTenth).Scan(&received); err != nil {
		return time.Time{}, fmt.Errorf("looking for the oldest: %w", err)
	}
	return moment(received), nil
}

package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/config"
	"smtpbridge/internal/store"
	"smtpbridge/internal/store/storetest"
	"smtpbridge/providers/delivery"
)

func event(key string, of events.Type, recipient string) events.Event {
	return events.Event{
		ID: events.ID("p", key), Provider: "p", Type: of, Recipient: recipient, Timestamp: time.Now(), Bounce: events.Hard,
		Raw: []byte(`{"key":"` + key + `"}`),
	}
}

func add(t *testing.T, h *store.History, all ...events.Event) error {
	t.Helper()
	_, err := h.Add(t.Context(), events.Batch{Events: all}, events.Rules{SoftBounceLimit: 5})
	return err
}

// count asks the database itself.
func count(t *testing.T, h *store.History, query string, args ...any) (n int) {
	t.Helper()
	if err := h.DB().QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// gate is an Outbox that holds up commits while it is shut.
type gate struct {
	shut      chan struct{}
	mu        sync.Mutex // guards what follows
	sequences []int64
}

func (g *gate) Enqueue(_ context.Context, _ *sql.Tx, sequences []int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sequences = append(g.sequences, sequences...)
	return nil
}

func (g *gate) Wake() { <-g.shut }

// told reports that something is being committed.
func (g *gate) told() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.sequences) > 0
}

// A statement that fails in the middle of a call leaves nothing of it, and those
// who share the transaction are stored.
func TestHistoryAllOrNothing(t *testing.T) {
	s, _ := run(t, store.Config{}, store.Options{DataDir: t.TempDir()})
	h := s.History()
	_, err := h.DB().ExecContext(t.Context(), `CREATE TRIGGER broken BEFORE INSERT ON events WHEN NEW.recipient = 'broken@example.com'
		BEGIN SELECT RAISE(ABORT, 'the disk is broken'); END`)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{shut: make(chan struct{})}
	h.ForwardBy(g)
	var all sync.WaitGroup
	all.Go(func() {
		if err := add(t, h, event("first", events.Opened, "first@example.com")); err != nil {
			t.Error(err)
		}
	})
	for !g.told() { // from then on whoever comes waits
		runtime.Gosched()
	}
	const callers = 10
	for i := range callers {
		all.Go(func() {
			one := fmt.Sprintf("%d@example.com", i)
			batch := []events.Event{event("1"+one, events.Bounced, one), event("2"+one, events.Opened, one), event("3"+one, events.Complained, one)}
			if i == 5 {
				batch[1].Recipient = "broken@example.com"
			}
			err := add(t, h, batch...)
			if failed := err != nil && strings.Contains(err.Error(), "the disk is broken"); failed != (i == 5) {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	for h.Waiting() < callers {
		runtime.Gosched()
	}
	close(g.shut)
	all.Wait()
	// Bounced, opened, complained, and two suppressions that were added.
	if n, want := count(t, h, `SELECT COUNT(*) FROM events`), 1+5*(callers-1); n != want {
		t.Errorf("%d events are stored, want %d", n, want)
	}
	if n := count(t, h, `SELECT COUNT(*) FROM suppressions WHERE address = '5@example.com'`); n != 0 {
		t.Errorf("%d suppressions of the call that failed", n)
	}
	if n := count(t, h, `SELECT SUM(total) FROM counts WHERE type = 'bounced' AND dimension = 'provider'`); n != callers-1 {
		t.Errorf("%d bounces are counted, want %d", n, callers-1)
	}
	if scopes, err := h.Suppressed(t.Context(), "5@example.com"); err != nil || len(scopes) > 0 {
		t.Errorf("Suppressed after the call that failed = %v, %v", scopes, err)
	}
	page, err := h.Events(t.Context(), store.EventQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Events {
		if !slices.Contains(g.sequences, e.Sequence) {
			t.Errorf("the outbox was not told of event %d", e.Sequence)
		}
	}
}

// slow is an Outbox that holds up a commit before it is one.
type slow struct{ begun, release chan struct{} }

func (s *slow) Enqueue(context.Context, *sql.Tx, []int64) error {
	close(s.begun)
	<-s.release
	return nil
}

func (s *slow) Wake() {}

// Who reads waits for what is being written.
func TestHistoryReadWaits(t *testing.T) {
	s, _ := run(t, store.Config{}, store.Options{DataDir: t.TempDir()})
	h := s.History()
	o := &slow{make(chan struct{}), make(chan struct{})}
	h.ForwardBy(o)
	r := logged(1, time.Now())
	h.Record(r)
	go h.Flush(context.WithoutCancel(t.Context()))
	<-o.begun
	read := make(chan error, 1)
	go func() {
		_, err := h.Message(t.Context(), r.ID)
		read <- err
	}()
	for h.Waiting() == 0 && len(read) == 0 {
		runtime.Gosched()
	}
	close(o.release)
	if err := <-read; err != nil {
		t.Errorf("Message while it is written: %v", err)
	}
}

// What is older than the retention goes, and nothing else; suppressions stay, and
// so does what was removed.
func TestHistoryRetention(t *testing.T) {
	for _, url := range []string{"", "memory:"} {
		clock := storetest.NewClock()
		c := store.Config{URL: url, Retention: config.Duration(48 * time.Hour)}
		s, _ := run(t, c, store.Options{DataDir: t.TempDir(), Now: clock.Now, After: clock.After})
		h := s.History()
		const old, young = 2500, 40
		fill := func(from, to int) {
			t.Helper()
			batch := events.Batch{Nonce: fmt.Sprint(from)}
			for i := from; i < to; i++ {
				r := logged(int64(i), clock.Now())
				h.Record(r)
				e := event(fmt.Sprint(i), events.Opened, r.Recipients[0].Recipient)
				e.Timestamp = clock.Now()
				batch.Events = append(batch.Events, e)
			}
			if _, err := h.Add(t.Context(), batch, events.Rules{SoftBounceLimit: 5}); err != nil {
				t.Fatal(err)
			}
		}
		fill(0, old)
		for _, address := range []string{"stays@example.com", "lifted@example.com"} {
			e := event(address, events.Bounced, address)
			e.Timestamp = clock.Now()
			if err := add(t, h, e); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Lift(t.Context(), "lifted@example.com", nil); err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Nanosecond)
		fill(old, old+young)
		tables := map[string]int{"messages": young, "message_recipients": young, "events": 2 * young, "recipients": young}
		for step, after := range []time.Duration{48*time.Hour - 2, 1} { // nothing is too old; all but the last
			clock.Advance(after)
			if err := h.Tidy(t.Context()); err != nil {
				t.Fatal(err)
			}
			for table, want := range tables {
				got := count(t, h, `SELECT COUNT(*) FROM `+table)
				if step == 0 && got < old || step == 1 && got != want {
					t.Errorf("%q, step %d: %d rows of %s, want %d at the end", url, step, got, table, want)
				}
			}
		}
		if n := count(t, h, `SELECT COUNT(*) FROM counts`); n == 0 {
			t.Errorf("%q: the counts of the hour that is not over are gone", url)
		}
		clock.Advance(9 * 24 * time.Hour)
		if err := h.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		for table, want := range map[string]int{
			"messages": 0, "message_recipients": 0, "events": 0, "recipients": 0, "nonces": 0, "counts": 0, "suppressions": 1, "removals": 1,
		} {
			if got := count(t, h, `SELECT COUNT(*) FROM `+table); got != want {
				t.Errorf("%q, long after: %d rows of %s, want %d", url, got, table, want)
			}
		}
		if scopes, err := h.Suppressed(t.Context(), "stays@example.com"); err != nil || len(scopes) != 1 {
			t.Errorf("%q: Suppressed = %v, %v", url, scopes, err)
		}
		if again, err := h.Pull(t.Context(), events.Suppression{Address: "lifted@example.com", Reason: events.HardBounce}); err != nil || again != 0 {
			t.Errorf("%q: what was removed is pulled again: %d, %v", url, again, err)
		}
	}
}

// A history in memory forgets the oldest before it grows beyond bounds, never a
// suppression.
func TestHistoryMemoryIsBounded(t *testing.T) {
	const bound = 5120 // pages; it begins to forget at 4096
	s, _ := run(t, store.Config{URL: "memory:", Retention: config.Duration(time.Hour)}, store.Options{})
	h := s.History()
	if _, err := h.Suppress(t.Context(), events.Suppression{Address: "first@example.com", Reason: events.Manual}); err != nil {
		t.Fatal(err)
	}
	most := 0
	for i := range 20_000 {
		r := logged(int64(i), time.Now())
		r.Tags = []string{fmt.Sprint("tag ", i)}
		r.Subject = strings.Repeat("x", 900)
		h.Record(r)
		if i%100 == 99 {
			batch := events.Batch{Events: []events.Event{event(fmt.Sprint(i), events.Delivered, "a@example.com")}, Nonce: fmt.Sprint(i)}
			if _, err := h.Add(t.Context(), batch, events.Rules{SoftBounceLimit: 5}); err != nil {
				t.Fatal(err)
			}
			most = max(most, count(t, h, `SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count`))
		}
	}
	if most < 4096 || most > bound {
		t.Errorf("%d pages at most, want it to forget between 4096 and %d", most, bound)
	}
	page, err := h.Messages(t.Context(), store.Query{Limit: 1})
	if err != nil || len(page.Records) != 1 || page.Records[0].ID != ulid(19_999) {
		t.Errorf("Messages = %+v, %v, want the newest", page, err)
	}
	if scopes, err := h.Suppressed(t.Context(), "first@example.com"); err != nil || len(scopes) != 1 {
		t.Errorf("Suppressed = %v, %v", scopes, err)
	}
}

// A process beside the bridge adds and removes, and the bridge sees it; its events
// are passed on by the bridge.
func TestHistoryBeside(t *testing.T) {
	dir := t.TempDir()
	s, _ := run(t, store.Config{}, store.Options{DataDir: dir})
	h := s.History()
	g := &gate{shut: make(chan struct{})}
	close(g.shut)
	h.ForwardBy(g)
	beside, err := store.OpenHistory(t.Context(), store.Config{}, store.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	suppressed := func(when string, want bool) {
		t.Helper()
		if scopes, err := h.Suppressed(t.Context(), "a@example.com"); err != nil || (len(scopes) == 1) != want {
			t.Errorf("%s: Suppressed = %q, %v, want %v", when, scopes, err, want)
		}
	}
	for range 2 {
		if _, err := beside.Suppress(t.Context(), events.Suppression{Address: "A@example.com", Reason: events.Manual}); err != nil {
			t.Fatal(err)
		}
		if err := h.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		suppressed("added beside", true)
		if err := beside.Lift(t.Context(), "a@example.com", nil); err != nil {
			t.Fatal(err)
		}
		suppressed("removed beside", false) // at once
	}
	if store.RefreshInterval > 500*time.Millisecond/2 {
		t.Errorf("it is looked every %s, so a change may be seen after more than 500ms", store.RefreshInterval)
	}
	if err := h.SettleUntold(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := h.Events(t.Context(), store.EventQuery{Limit: 10})
	if err != nil || len(page.Events) != 4 {
		t.Fatalf("Events = %+v, %v, want two added and two removed", page, err)
	}
	for i, e := range page.Events {
		if len(g.sequences) != 4 || g.sequences[i] != e.Sequence {
			t.Errorf("passed on: %v, event %d is %d", g.sequences, i, e.Sequence)
		}
	}
	if err := beside.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Two who write at once wait for each other.
func TestHistoryBesideAtOnce(t *testing.T) {
	dir := t.TempDir()
	s, _ := run(t, store.Config{}, store.Options{DataDir: dir})
	beside, err := store.OpenHistory(t.Context(), store.Config{}, store.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	const each = 100
	var all sync.WaitGroup
	for name, h := range map[string]*store.History{"bridge": s.History(), "beside": beside} {
		all.Go(func() {
			for i := range each {
				one := fmt.Sprintf("%d@%s.example", i, name)
				if _, err := h.Suppress(t.Context(), events.Suppression{Address: one, Reason: events.Manual}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if err := add(t, h, event(one, events.Opened, one)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if i%10 == 0 {
					if _, err := h.Events(t.Context(), store.EventQuery{Limit: 10, After: -1}); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		})
	}
	all.Wait()
	if n := count(t, s.History(), `SELECT COUNT(*) FROM events`); n != 4*each {
		t.Errorf("%d events, want %d", n, 4*each)
	}
	if err := beside.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := add(t, s.History(), event("after", events.Opened, "a@example.com")); err != nil {
		t.Errorf("once the other has closed: %v", err)
	}
}

// While nothing can be written, what becomes of messages waits, as far as there is
// room; all is well again afterwards, and what found no room is told after the
// next start.
func TestHistoryFull(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	clock := storetest.NewClock()
	options := store.Options{DataDir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: clock.Now, After: clock.After}
	s, stop := run(t, store.Config{}, options)
	h := s.History()
	pages := count(t, h, `PRAGMA page_count`)
	pragma := func(text string) {
		t.Helper()
		if _, err := h.DB().ExecContext(t.Context(), "PRAGMA "+text); err != nil {
			t.Fatal(err)
		}
	}
	pragma(fmt.Sprint("max_page_count = ", pages))
	large := func(i int) delivery.Record {
		r := logged(int64(i), time.Now())
		r.Subject, r.Metadata = strings.Repeat("x", 998), map[string]string{"more": strings.Repeat("y", 4000)}
		return r
	}
	const many = 3000 // of 6 KB
	for i := range many {
		f := flight(ulid(int64(i)))
		f.Time, f.Deadline = clock.Now(), clock.Now().Add(time.Second)
		if _, err := s.Begin(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if err := s.Land(t.Context(), f.ID, accepted()); err != nil {
			t.Fatal(err)
		}
		h.Record(large(i))
		if i%500 == 0 {
			if err := add(t, h, event(fmt.Sprint(i), events.Delivered, strings.Repeat("z", 9000))); err == nil {
				t.Error("Add while nothing can be written: no error")
			} else if remedy, is := store.Unavailable(err); !is || remedy != "make room on the disk" {
				t.Errorf("Unavailable(%v) = %q, %v", err, remedy, is)
			}
		}
	}
	h.Flush(t.Context()) // what is being tried is given back
	waiting, octets := h.Pending()
	if waiting < 100 || waiting > many/2 || octets > 5<<20 {
		t.Errorf("%d records wait, about %d octets, want as many as fit in 4 MiB", waiting, octets)
	}
	h.Record(large(0)) // of what waits there may be news
	if now, _ := h.Pending(); now != waiting && now != 0 {
		t.Errorf("news of what waits makes %d of %d", now, waiting)
	}
	clock.Advance(time.Hour)
	pragma("max_page_count = 1000000")
	h.Flush(t.Context())
	h.Flush(t.Context())
	if n := count(t, h, `SELECT COUNT(*) FROM messages`); n < waiting {
		t.Errorf("%d messages are written, want the %d that waited", n, waiting)
	}
	if left, octets := h.Pending(); left != 0 || octets != 0 {
		t.Errorf("%d records still wait, %d octets", left, octets)
	}
	stop()
	s, _ = run(t, store.Config{}, options)
	if n := count(t, s.History(), `SELECT COUNT(*) FROM events WHERE type = 'accepted'`); n != many {
		t.Errorf("after a restart %d of %d messages have their event", n, many)
	}
	for _, want := range []string{"it is tried again", "left out of the log", "make room on the disk"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// Nothing that is asked with a filter looks at everything.
func TestHistoryPlans(t *testing.T) {
	s, _ := run(t, store.Config{URL: "memory:"}, store.Options{})
	queries := store.FixedQueries()
	for name, q := range map[string]store.EventQuery{
		"events":                          {},
		"events after":                    {After: 7},
		"events by type":                  {Type: "bounced", After: -1},
		"events by recipient":             {Recipient: "a@example.com"},
		"events by message":               {MessageID: "01J"},
		"events by provider":              {Provider: "p", Cursor: "7"},
		"events of a type to a recipient": {Type: "accepted", Recipient: "a@example.com", Provider: "p", After: -1},
		"events of a type by a provider":  {Type: "bounced", Provider: "p"},
		"events by all":                   {Type: "bounced", Recipient: "a@example.com", Provider: "p", MessageID: "01J", After: -1, Cursor: "7"},
	} {
		queries[name], _, _ = q.SQL()
	}
	for name, q := range map[string]store.Query{
		"messages":              {},
		"messages by recipient": {Recipient: "a@example.com", State: "accepted"},
		"messages on a page":    {Cursor: "01J"},
	} {
		queries[name], _, _ = q.SQL()
	}
	// What stands in the order of a key is read until there is enough.
	inOrder := []string{"messages", "events", "what is untold"}
	for name, query := range queries {
		for step := range strings.Lines(explain(t, s.History(), query)) {
			ordered := strings.HasPrefix(name, "tidying") || slices.Contains(inOrder, name)
			given := strings.Contains(step, "CONSTANT") || strings.Contains(step, "VALUES CLAUSE") || strings.Contains(step, "SCAN asked")
			scans := strings.HasPrefix(step, "SCAN") && !ordered && !given
			sorts := strings.Contains(step, "TEMP B-TREE FOR ORDER BY") && !strings.Contains(name, "recipient") && name != "by provider id"
			if scans || sorts {
				t.Errorf("%s: %s%s", name, step, query)
			}
		}
	}
	// The index is that of what the fewest rows have in common.
	for name, index := range map[string]string{
		"events by type": "events_type", "events by recipient": "events_recipient", "events by message": "events_message",
		"events by provider": "events_provider", "events by all": "events_message",
		"events of a type to a recipient": "events_recipient", "events of a type by a provider": "events_type",
		"the last accepted": "events_recipient", "an event before": "events_message",
		"messages by recipient": "message_recipients_address", "by provider id": "message_recipients_provider_id",
	} {
		if plan := explain(t, s.History(), queries[name]); !strings.Contains(plan, "INDEX "+index+" ") {
			t.Errorf("%s does not use the index %s: %s", name, index, plan)
		}
	}
}

func explain(t *testing.T, h *store.History, query string) (plan string) {
	t.Helper()
	args := make([]any, strings.Count(query, "?"))
	for n := len(args); strings.Contains(query, "?1") && !strings.Contains(query, fmt.Sprint("?", n)); n-- {
		args = args[:n-1] // some more than once
	}
	rows, err := h.DB().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatalf("%v: %s", err, query)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		plan += step + "\n"
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}

// All that was taken in is held, however it came, and next to nothing else.
func TestHeld(t *testing.T) {
	h := store.NewHeld()
	address := func(i int) string { return fmt.Sprintf("%d@example.com", i) }
	const many = 30_000
	for i := 0; i < many; {
		var some []string
		for range 1 + i%977 {
			some = append(some, address(i), address(i/2))
			i++
		}
		h.Add(some)
	}
	for i := range many {
		if !h.May(address(i)) {
			t.Fatalf("%s is not held", address(i))
		}
		if h.May(address(-1 - i)) {
			t.Fatalf("%s is held", address(-1-i))
		}
	}
}

// What is tried four times a second and fails is told once, and so is its end.
func TestHistoryTroubleIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s, stop := run(t, store.Config{}, store.Options{DataDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for _, query := range []string{`ALTER TABLE suppressions RENAME TO away`, `ALTER TABLE away RENAME TO suppressions`} {
			if _, err := s.History().DB().ExecContext(t.Context(), query); err != nil {
				t.Fatal(err)
			}
			<-time.After(10 * time.Second)
		}
		stop()
		for _, words := range []string{"cannot be kept in order", "is kept in order again"} {
			if n := strings.Count(log.String(), words); n != 1 {
				t.Errorf("%q is in the log %d times, want once: %s", words, n, log.String())
			}
		}
	})
}

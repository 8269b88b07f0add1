package store_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/store"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// logged is the record of a mail to one recipient that a provider has taken.
func logged(n int64, now time.Time) delivery.Record {
	return delivery.Record{
		ID: ulid(n), Time: now, MailFrom: "bounces@app.example.com", From: "hello@app.example.com",
		Subject: "Your receipt for order 4711", MessageID: fmt.Sprintf("<%d@app.example.com>", n), Bytes: 4096,
		Tags: []string{"receipt"}, Metadata: map[string]string{"user_id": "12345", "campaign": "autumn"},
		Recipients: []delivery.Recipient{{
			Recipient: fmt.Sprintf("customer%d@example.com", n*7919%1_000_003), State: providers.Accepted, Provider: "sendgrid",
			ProviderID: fmt.Sprintf("filterdrecv-%d-78xjz-1-5EC3B5A1-2F.0", n*104729%15485863),
		}},
		Attempts: []delivery.Attempt{{Provider: "sendgrid", Time: now, Seconds: 0.08, Category: "ok"}},
	}
}

// What the log of messages costs for each, written 500 at once.
func BenchmarkRecord(b *testing.B) {
	const company = 2000
	s, err := store.Open(b.Context(), store.Config{}, store.Options{DataDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(b.Context())
	h := s.History()
	begun, n := cpuTime(), int64(0)
	for b.Loop() {
		if n++; n%company == 0 {
			h.Flush(b.Context())
		}
		h.Record(logged(n, time.Now()))
	}
	h.Flush(b.Context())
	b.ReportMetric(float64(cpuTime()-begun)/float64(n), "cpu-ns/msg")
}

// Events stored in a second, each call having reached the disk.
func BenchmarkAdd(b *testing.B) {
	for _, kind := range []string{"", onServerKind} {
		b.Run("url="+kind, func(b *testing.B) { benchmarkAdd(b, kind) })
	}
}

func benchmarkAdd(b *testing.B, kind string) {
	b.Helper()
	for _, callers := range []int{1, 20} {
		for _, size := range []int{1, 10, 1000} {
			b.Run(fmt.Sprintf("callers=%d/batch=%d", callers, size), func(b *testing.B) {
				h := open(b, configOf(b, kind), store.Options{DataDir: b.TempDir()}).History()
				var next atomic.Int64
				var all sync.WaitGroup
				begun := time.Now()
				b.ResetTimer()
				for range callers {
					all.Go(func() {
						for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
							batch := events.Batch{Events: make([]events.Event, size)}
							for i := range batch.Events {
								key := fmt.Sprint(n, "-", i)
								batch.Events[i] = event(key, events.Delivered, key+"@customer.example.com")
							}
							if _, err := h.Add(b.Context(), batch, events.Rules{SoftBounceLimit: 5}); err != nil {
								b.Error(err)
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64(b.N*size)/time.Since(begun).Seconds(), "events/s")
			})
		}
	}
}

// fill makes a history with so many messages, each with its accepted event, that
// came a nanosecond apart from a time on, at once: the indexes are made at the end.
func fill(b *testing.B, s *store.Store, rows int, from time.Time) {
	b.Helper()
	db := s.History().DB()
	exec := func(query string, args ...any) {
		b.Helper()
		if _, err := db.ExecContext(b.Context(), query, args...); err != nil {
			b.Fatalf("%s: %v", query, err)
		}
	}
	indexes := indexesOf(b, db)
	for name := range indexes {
		exec(`DROP INDEX ` + name)
	}
	exec(`PRAGMA cache_size = -65536`)
	const numbers = `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1) `
	exec(numbers+`INSERT INTO messages SELECT printf('01J%023d', n), ?2 + n, 'a@app.example', 'a@app.example',
		json_object('id', printf('01J%023d', n), 'recipients', json_array(), 'attempts', json_array()) FROM numbers`, rows, from.UnixNano())
	exec(numbers+`INSERT INTO message_recipients SELECT printf('01J%023d', n), 0, printf('%d@example.com', n * 7919 % 1000003), 'accepted',
		'p', printf('id-%d', n * 104729 % 15485863), 'ok' FROM numbers`, rows)
	exec(numbers+`INSERT INTO events (id, received, provider, type, message_id, recipient, event)
		SELECT printf('evt_%032d', n), ?2 + n, 'p', CASE n % 1000 WHEN 0 THEN 'bounced' ELSE 'accepted' END, printf('01J%023d', n),
			printf('%d@example.com', n * 7919 % 1000003), json_object('id', printf('evt_%032d', n), 'provider', 'p') FROM numbers`, rows, from.UnixNano())
	for _, text := range indexes {
		exec(text)
	}
	exec(`PRAGMA cache_size = -4096`)
}

// fillServer is fill for PostgreSQL.
func fillServer(b *testing.B, s *store.Store, rows int, from time.Time) {
	b.Helper()
	conn, err := s.History().DB().Conn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	for _, query := range []string{
		`SET statement_timeout = 0`,
		`INSERT INTO messages SELECT '01J' || lpad(n::text, 23, '0'), %[2]d + n, 'a@app.example', 'a@app.example',
			json_build_object('id', '01J' || lpad(n::text, 23, '0'), 'recipients', '[]'::json, 'attempts', '[]'::json)::text FROM generate_series(1, %[1]d) AS n`,
		`INSERT INTO message_recipients SELECT '01J' || lpad(n::text, 23, '0'), 0, n * 7919 %% 1000003 || '@example.com', 'accepted',
			'p', 'id-' || n * 104729 %% 15485863, 'ok' FROM generate_series(1::bigint, %[1]d) AS n`,
		`INSERT INTO events (id, received, provider, type, message_id, recipient, event)
			SELECT 'evt_' || lpad(n::text, 32, '0'), %[2]d + n, 'p', CASE n %% 1000 WHEN 0 THEN 'bounced' ELSE 'accepted' END, '01J' || lpad(n::text, 23, '0'),
				n * 7919 %% 1000003 || '@example.com', json_build_object('id', 'evt_' || lpad(n::text, 32, '0'), 'provider', 'p')::text
			FROM generate_series(1::bigint, %[1]d) AS n`,
		`ANALYZE`,
		`RESET statement_timeout`,
	} {
		if strings.Contains(query, "%[1]d") {
			query = fmt.Sprintf(query, rows, from.UnixNano())
		}
		if _, err := conn.ExecContext(b.Context(), query); err != nil {
			b.Fatalf("%s: %v", query, err)
		}
	}
}

func indexesOf(b *testing.B, db *sql.DB) map[string]string {
	b.Helper()
	rows, err := db.QueryContext(b.Context(), `SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL`)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	indexes := make(map[string]string)
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			b.Fatal(err)
		}
		indexes[name] = text
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	return indexes
}

// What is looked up among ten thousand events and among a million.
func BenchmarkLookUp(b *testing.B) {
	for _, kind := range []string{"", onServerKind} {
		b.Run("url="+kind, func(b *testing.B) { benchmarkLookUp(b, kind) })
	}
}

func benchmarkLookUp(b *testing.B, kind string) {
	b.Helper()
	for _, rows := range []int{10_000, 1_000_000} {
		s := open(b, configOf(b, kind), store.Options{DataDir: b.TempDir()})
		h, from := s.History(), time.Now()
		if kind == onServerKind {
			fillServer(b, s, rows, from)
		} else {
			fill(b, s, rows, from)
		}
		random := func() int { return 1 + rand.IntN(rows) }
		message := func() string { return fmt.Sprintf("01J%023d", random()) }
		recipient := func() string { return fmt.Sprintf("%d@example.com", random()*7919%1000003) }
		n := 0
		for _, tt := range []struct {
			name string
			ask  func() error
		}{
			{"message", func() error { _, err := h.Message(b.Context(), message()); return err }},
			{"messages of a recipient", func() error {
				_, err := h.Messages(b.Context(), store.Query{Recipient: recipient(), Limit: 50})
				return err
			}},
			{"recipient", func() error {
				if _, err := h.Recipient(b.Context(), recipient()); !errors.Is(err, store.ErrNotFound) {
					return err
				}
				return nil // all that is known of it are bounces that have no standing here
			}},
			{"events of a recipient", func() error {
				_, err := h.Events(b.Context(), store.EventQuery{Recipient: recipient(), After: -1, Limit: 50})
				return err
			}},
			{"events of a type", func() error {
				_, err := h.Events(b.Context(), store.EventQuery{Type: "bounced", After: -1, Limit: 10})
				return err
			}},
			{"events after", func() error {
				_, err := h.Events(b.Context(), store.EventQuery{After: int64(random()), Limit: 10})
				return err
			}},
			{"replay of nothing", func() error {
				at := from.Add(time.Duration(random()))
				_, err := h.Replay(b.Context(), at, at)
				return err
			}},
			{"store an event", func() error {
				n++
				e := event(fmt.Sprint(n), events.Opened, recipient())
				e.Provider, e.ProviderMessageID = "p", fmt.Sprintf("id-%d", random()*104729%15485863)
				_, err := h.Add(b.Context(), events.Batch{Events: []events.Event{e}}, events.Rules{SoftBounceLimit: 5})
				return err
			}},
		} {
			b.Run(fmt.Sprintf("rows=%d/%s", rows, tt.name), func(b *testing.B) {
				for b.Loop() {
					if err := tt.ask(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// What the SMTP path pays to ask whether an address is suppressed, among a million.
func BenchmarkSuppressed(b *testing.B) {
	const rows = 1_000_000
	dir := b.TempDir()
	first, err := store.Open(b.Context(), store.Config{}, store.Options{DataDir: dir})
	if err != nil {
		b.Fatal(err)
	}
	_, err = first.History().DB().ExecContext(b.Context(), `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
		INSERT INTO suppressions (address, scope, reason, provider, detail, since)
		SELECT printf('%07d@example.com', n), '', 'hard_bounce', 'p', '550 5.1.1 no such user', n FROM numbers`, rows)
	if err := errors.Join(err, first.Close(b.Context())); err != nil {
		b.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begun := time.Now()
	h := open(b, store.Config{}, store.Options{DataDir: dir}).History()
	took := time.Since(begun)
	runtime.GC()
	runtime.ReadMemStats(&after)
	for name, address := range map[string]func() string{
		"hit":  func() string { return fmt.Sprintf("%07d@example.com", 1+rand.IntN(rows)) },
		"miss": func() string { return fmt.Sprintf("%07d@example.org", 1+rand.IntN(rows)) },
	} {
		b.Run(name, func(b *testing.B) {
			begun, asked := cpuTime(), 0
			for b.Loop() {
				asked++
				scopes, err := h.Suppressed(b.Context(), address())
				if err != nil || (len(scopes) == 1) != (name == "hit") {
					b.Fatal(scopes, err)
				}
			}
			b.ReportMetric(float64(cpuTime()-begun)/float64(asked), "cpu-ns/op")
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-held")
			b.ReportMetric(took.Seconds(), "s-to-open")
		})
	}
}

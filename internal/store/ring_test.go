package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/internal/store"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// record is a message to one recipient, a@example.com.
func record(id string) delivery.Record {
	return delivery.Record{ID: id, Recipients: []delivery.Recipient{{Recipient: "a@example.com"}}}
}

// filled is a ring that was told of messages 1 to n.
func filled(capacity, n int) *store.Ring {
	ring := store.NewRing(capacity)
	for i := range n {
		ring.Record(record(fmt.Sprint(i + 1)))
	}
	return ring
}

// ids are the messages that q asks for, a page as one text.
func ids(t *testing.T, ring *store.Ring, q store.Query) (string, string) {
	t.Helper()
	page, err := ring.List(t.Context(), q)
	if err != nil {
		t.Fatalf("List(%+v): %v", q, err)
	}
	var list []string
	for _, r := range page.Records {
		list = append(list, r.ID)
	}
	return strings.Join(list, " "), page.Next
}

// The last messages stay, and only they.
func TestRingForgetsTheOldest(t *testing.T) {
	ring := filled(3, 5)
	if got, _ := ids(t, ring, store.Query{Limit: 10}); got != "5 4 3" {
		t.Errorf("List() = %s, want 5 4 3", got)
	}
	if _, err := ring.Get(t.Context(), "2"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get(2): error %v, want ErrNotFound", err)
	}
	if got, err := ring.Get(t.Context(), "3"); err != nil || got.ID != "3" {
		t.Errorf("Get(3) = %v, %v", got, err)
	}
}

// What is known later takes the place of what was known before.
func TestRingCorrects(t *testing.T) {
	ring := filled(3, 2)
	ring.Keep("1", json.RawMessage(`{"text":"kept"}`))
	later := record("1")
	later.Recipients[0].State = providers.Accepted
	ring.Record(later)

	if got, _ := ids(t, ring, store.Query{Limit: 10}); got != "2 1" {
		t.Errorf("List() = %s, want 2 1: the order stays", got)
	}
	want := store.Message{Record: later, Content: json.RawMessage(`{"text":"kept"}`)}
	got, err := ring.Get(t.Context(), "1")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Get(1): error %v (-want +got):\n%s", err, diff)
	}
}

func TestRingPages(t *testing.T) {
	ring := filled(10, 5)
	first, next := ids(t, ring, store.Query{Limit: 2})
	if first != "5 4" {
		t.Errorf("first page %s, want 5 4", first)
	}
	// What comes in between moves no page; what was forgotten leaves a gap.
	for i := range 7 {
		ring.Record(record(fmt.Sprint(i + 6)))
	}
	second, next := ids(t, ring, store.Query{Limit: 2, Cursor: next})
	if second != "3" || next != "" {
		t.Errorf("second page %s, then %q, want 3 and the end", second, next)
	}
	// A page that ends with the list has no next.
	if all, next := ids(t, filled(10, 5), store.Query{Limit: 5}); all != "5 4 3 2 1" || next != "" {
		t.Errorf("whole list %s, then %q, want all and the end", all, next)
	}
}

func TestRingPagesWithFilter(t *testing.T) {
	ring := store.NewRing(10)
	for i := range 6 {
		r := record(fmt.Sprint(i + 1))
		r.Tags = []string{[]string{"even", "odd"}[(i+1)%2]}
		ring.Record(r)
	}
	first, next := ids(t, ring, store.Query{Limit: 2, Tag: "odd"})
	second, end := ids(t, ring, store.Query{Limit: 2, Tag: "odd", Cursor: next})
	if first != "5 3" || second != "1" || end != "" {
		t.Errorf("pages %s, %s, then %q, want 5 3, 1 and the end", first, second, end)
	}
}

func TestRingCursor(t *testing.T) {
	ring := filled(3, 3)
	for _, cursor := range []string{"x", "-1", "1.5", " 1", "99999999999999999999"} {
		if _, err := ring.List(t.Context(), store.Query{Limit: 1, Cursor: cursor}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("cursor %q: error %v, want ErrCursor", cursor, err)
		}
	}
}

func TestRingFilters(t *testing.T) {
	ring := store.NewRing(10)
	ring.Record(delivery.Record{
		ID: "1", From: "shop@example.com", MailFrom: "bounces@example.com", Tags: []string{"welcome", "de"},
		Recipients: []delivery.Recipient{
			{Recipient: "a@example.com", State: providers.Accepted, Provider: "sandbox"},
			{Recipient: "b@example.com", State: providers.Refused, Provider: "sandbox", Category: providers.InvalidRecipient},
		},
	})
	ring.Record(delivery.Record{ID: "2", Recipients: []delivery.Recipient{
		{Recipient: "a@example.com", State: providers.Refused, Category: providers.NoProvider},
	}})
	tests := []struct {
		query store.Query
		want  string
	}{
		{store.Query{}, "2 1"},
		{store.Query{Recipient: "A@Example.com"}, "2 1"},
		{store.Query{Recipient: "b@example.com"}, "1"},
		{store.Query{Recipient: "c@example.com"}, ""},
		{store.Query{Provider: "sandbox"}, "1"},
		{store.Query{State: "refused"}, "2 1"},
		{store.Query{State: "ambiguous"}, ""},
		{store.Query{Category: "invalid_recipient"}, "1"},
		{store.Query{Tag: "de"}, "1"},
		{store.Query{Tag: "d"}, ""},
		{store.Query{From: "SHOP@example.com"}, "1"},
		{store.Query{MailFrom: "Bounces@example.com"}, "1"},
		{store.Query{From: "bounces@example.com"}, ""},
		// All must hold, of one and the same recipient.
		{store.Query{Recipient: "a@example.com", State: "refused"}, "2"},
		{store.Query{Recipient: "b@example.com", State: "refused", Provider: "sandbox", Tag: "welcome"}, "1"},
	}
	for _, tt := range tests {
		tt.query.Limit = 10
		if got, _ := ids(t, ring, tt.query); got != tt.want {
			t.Errorf("List(%+v) = %q, want %q", tt.query, got, tt.want)
		}
	}
}

// Contents together stay under 4 MiB; the oldest go, their records stay.
func TestRingBoundsContents(t *testing.T) {
	ring := filled(10, 6)
	content := json.RawMessage(`"` + strings.Repeat("x", 1<<20-2) + `"`)
	for i := range 5 {
		ring.Keep(fmt.Sprint(i+1), content)
	}
	kept := func() string {
		var list string
		for i := range 6 {
			if m, err := ring.Get(t.Context(), fmt.Sprint(i+1)); err == nil && m.Content != nil {
				list += m.ID
			}
		}
		return list
	}
	if got := kept(); got != "2345" {
		t.Errorf("contents of %s, want 2345", got)
	}
	ring.Keep("3", content[:2]) // a smaller one in its place makes room
	ring.Keep("6", content[:1<<19])
	if got := kept(); got != "23456" {
		t.Errorf("contents of %s, want 23456", got)
	}
	ring.Keep("6", json.RawMessage(`"`+strings.Repeat("x", 5<<20)+`"`)) // too large for any ring
	if got := kept(); got != "" {
		t.Errorf("contents of %s, want none", got)
	}
	ring.Keep("1", content)
	if got := kept(); got != "1" {
		t.Errorf("contents of %s, want 1: nothing is counted that is gone", got)
	}
	ring.Keep("unheard of", content)
	if _, err := ring.Get(t.Context(), "unheard of"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: error %v, want ErrNotFound: content alone is no message", err)
	}
}

// Contents that leave with their message leave the count.
func TestRingForgetsContents(t *testing.T) {
	ring := store.NewRing(1)
	content := json.RawMessage(`"` + strings.Repeat("x", 3<<20) + `"`)
	for i := range 3 {
		id := fmt.Sprint(i)
		ring.Record(record(id))
		ring.Keep(id, content)
		if m, err := ring.Get(t.Context(), id); err != nil || m.Content == nil {
			t.Errorf("Get(%s) has no content, error %v", id, err)
		}
	}
}

// Records together stay near 4 MiB, however many recipients they have.
func TestRingBoundsRecords(t *testing.T) {
	ring := store.NewRing(1000)
	for i := range 100 {
		r := record(fmt.Sprint(i + 1))
		r.Recipients[0].Reason = strings.Repeat("x", 1<<18)
		ring.Record(r)
	}
	page, err := ring.List(t.Context(), store.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(page.Records); n != 15 || page.Records[0].ID != "100" {
		t.Errorf("%d records of 256 KiB, the newest %s, want 15 and 100", n, page.Records[0].ID)
	}
	// A record that is corrected counts once.
	for range 100 {
		ring.Record(page.Records[0])
	}
	if corrected, _ := ids(t, ring, store.Query{Limit: 1000}); len(strings.Fields(corrected)) != 15 {
		t.Errorf("after corrections of the newest the ring has %s, want 15 records", corrected)
	}
	// Each kind of field counts.
	small := record("small")
	ring.Record(small)
	huge := strings.Repeat("x", 5<<20)
	for _, r := range []delivery.Record{
		{ID: "tags", Tags: []string{huge}},
		{ID: "metadata", Metadata: map[string]string{"a": huge}},
		{ID: "losses", Losses: []string{huge}},
		{ID: "attempts", Attempts: make([]delivery.Attempt, 1<<17)},
	} {
		ring.Record(r)
		if _, err := ring.Get(t.Context(), r.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("huge %s: error %v, want ErrNotFound", r.ID, err)
		}
		if _, err := ring.Get(t.Context(), "small"); err != nil {
			t.Errorf("huge %s has emptied the ring", r.ID)
		}
	}
	// What was known of a message is wrong once it cannot be corrected.
	small.Tags = []string{huge}
	ring.Record(small)
	if _, err := ring.Get(t.Context(), "small"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a record that grew too large: error %v, want ErrNotFound", err)
	}
}

// The race detector is the judge; the count is what must hold besides.
func TestRingConcurrently(t *testing.T) {
	ring := store.NewRing(50)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 100 {
				id := fmt.Sprint(worker, i)
				ring.Record(record(id))
				ring.Keep(id, json.RawMessage(`{}`))
				_, _ = ring.Get(t.Context(), id)
				_, _ = ring.List(t.Context(), store.Query{Limit: 10})
			}
		})
	}
	wg.Wait()
	if page, err := ring.List(t.Context(), store.Query{Limit: 1000}); err != nil || len(page.Records) != 50 {
		t.Errorf("%d records, error %v, want 50", len(page.Records), err)
	}
}

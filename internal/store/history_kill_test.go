package store_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"smtpbridge/events"
	"smtpbridge/internal/store"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// historyVictim stores events and delivers for ever, and says what is on record.
func historyVictim(dir string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{}, store.Options{DataDir: dir})
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards the output
	say := func(what, id string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(what, id)
	}
	failed := make(chan error, 1)
	go func() { failed <- s.Run(ctx) }()
	for worker := range 10 {
		go func() {
			for i := range 1 << 30 {
				var b events.Batch
				for n := range 1 + i%3 {
					key := fmt.Sprint(worker, "-", i, "-", n)
					b.Events = append(b.Events, event(key, events.Types()[i%11], key+"@example.com"))
				}
				if _, err := s.History().Add(ctx, b, events.Rules{SoftBounceLimit: 5}); err != nil {
					failed <- err
				}
				for _, e := range b.Events {
					say("added", e.ID)
				}
			}
		}()
		go func() {
			for i := range 1 << 30 {
				id := ulid(int64(worker)*1e9 + int64(i))
				f := flight(id)
				if past, err := s.Begin(ctx, f); past != nil || err != nil {
					failed <- fmt.Errorf("Begin(%s) = %v, %w", id, past, err)
				}
				r := logged(0, time.Now())
				r.ID, r.Recipients[0].Recipient = id, f.Recipients[0]
				silent := r
				silent.Recipients = []delivery.Recipient{{Recipient: f.Recipients[0], State: providers.Ambiguous}}
				s.History().Record(silent)
				if err := s.Land(ctx, id, accepted()); err != nil {
					failed <- err
				}
				say("landed", id)
				s.History().Record(r)
			}
		}()
	}
	return <-failed
}

// After a kill every event is there of which it was said that it is, once, and
// every message that was taken has its event, once.
func TestHistoryKill(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		dir := t.TempDir()
		said := kill(t, exe, historyVictimDir+"="+dir)
		if len(said["added"]) == 0 {
			t.Fatal("the victim has stored nothing")
		}
		s, stop := run(t, store.Config{}, store.Options{DataDir: dir})
		h := s.History()
		for _, id := range said["added"] {
			if n := count(t, h, `SELECT COUNT(*) FROM events WHERE id = ?`, id); n != 1 {
				t.Errorf("event %s is there %d times", id, n)
			}
		}
		for _, id := range said["landed"] {
			if n := count(t, h, `SELECT COUNT(*) FROM events WHERE message_id = ? AND type = 'accepted'`, id); n != 1 {
				t.Errorf("message %s has %d accepted events", id, n)
			}
			if m, err := h.Message(t.Context(), id); err != nil || m.Recipients[0].State != providers.Accepted {
				t.Errorf("Message(%s) = %+v, %v", id, m, err)
			}
		}
		if n := count(t, h, `SELECT COUNT(*) FROM suppressions`); n != count(t, h, `SELECT COUNT(*) FROM events WHERE type = 'suppression_added'`) {
			t.Errorf("%d suppressions, and not as many events of them", n)
		}
		stop()
	}
}

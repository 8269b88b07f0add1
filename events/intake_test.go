package events_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"smtpbridge/events"
	"smtpbridge/internal/config"
)

// world is what an intake works with: store, learner and alarm, and what they were
// told, in order.
type world struct {
	mu         sync.Mutex // guards what follows
	did        []string
	stored     map[string]events.Event
	nonces     map[string]bool
	rules      events.Rules
	mailed     time.Time
	complained int64
	delivered  int64
	asked      time.Time // since when complaints were asked for

	storeFails, learnerFails, countFails error
}

func (w *world) note(format string, args ...any) { w.did = append(w.did, fmt.Sprintf(format, args...)) }

func (w *world) Add(_ context.Context, b events.Batch, rules events.Rules) ([]events.Added, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.storeFails != nil {
		return nil, w.storeFails
	}
	w.note("add %d", len(b.Events))
	if b.Nonce != "" && w.nonces[b.Nonce] {
		return nil, nil
	}
	if w.stored == nil {
		w.stored, w.nonces = make(map[string]events.Event), make(map[string]bool)
	}
	w.nonces[b.Nonce], w.rules = true, rules
	var added []events.Added
	for _, e := range b.Events {
		if _, known := w.stored[e.ID]; !known {
			w.stored[e.ID] = e
			added = append(added, events.Added{Event: e, Mailed: w.mailed})
		}
	}
	return added, nil
}

func (w *world) Complaints(_ context.Context, provider string, since time.Time) (complained, delivered int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("complaints of %s", provider)
	w.asked = since
	return w.complained, w.delivered, w.countFails
}

func (w *world) Learn(_ context.Context, e events.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.learnerFails != nil {
		return w.learnerFails
	}
	w.note("learn %s", e.MessageID)
	return nil
}

func (w *world) Complained(provider string, complained, delivered int64, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note("alarm %s %d of %d since %s", provider, complained, delivered, since.Format(time.TimeOnly))
}

// intake is one with its world, its metrics and its log, at noon, that knows the
// providers mail and other.
type intake struct {
	*events.Intake
	*world

	registry *prometheus.Registry
	lines    *bytes.Buffer
}

func newIntake() *intake {
	i := &intake{world: new(world), registry: prometheus.NewPedanticRegistry(), lines: new(bytes.Buffer)}
	c := events.DefaultConfig()
	i.Intake = events.NewIntake(c, events.IntakeOptions{
		Store: i.world, Learner: i.world, Alarm: i.world, Logger: slog.New(slog.NewJSONHandler(i.lines, nil)),
		Registerer: i.registry, Now: func() time.Time { return noon },
	})
	i.Replace(c, []string{"mail", "other"})
	return i
}

// series gives what one metric has counted, the series at 0 left out.
func (i *intake) series(t *testing.T, name string) map[string]float64 {
	t.Helper()
	families, err := i.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var labels []string
			for _, label := range m.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			value := m.GetCounter().GetValue()
			if h := m.GetHistogram(); h != nil {
				value = h.GetSampleSum()
			}
			if value != 0 {
				got[strings.Join(labels, " ")] = value
			}
		}
	}
	return got
}

func batch(all ...events.Event) events.Batch { return events.Batch{Events: all} }

// keyed makes the key of an event.
func keyed(key string) func(*events.Event) { return func(e *events.Event) { e.Key = key } }

func of(message string) func(*events.Event) { return func(e *events.Event) { e.MessageID = message } }

// by is nobody's word but the caller's.
func by(provider string) func(*events.Event) { return func(e *events.Event) { e.Provider = provider } }

// An event is completed, settled, stored and counted, in this order.
func TestTake(t *testing.T) {
	i := newIntake()
	east := time.FixedZone("", 3600)
	err := i.Take(t.Context(), "mail", batch(
		events.Event{Type: events.Delivered, Recipient: "<Ann@EXÄMPLE.com>", Timestamp: noon.In(east), MessageID: "01A", Key: "1"},
		events.Event{Type: events.Opened, Recipient: ann, MessageID: "", Key: "2"},
		events.Event{Type: events.Unknown, MessageID: "01B", Key: "3", Timestamp: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)},
		events.Event{Type: events.Clicked, Recipient: ann, ID: "evt_kept", Provider: "other", Timestamp: noon.Add(-time.Hour)},
	))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"learn 01A", "add 4"}, i.did); diff != "" {
		t.Errorf("-want +did:\n%s", diff)
	}
	want := map[string]events.Event{
		events.ID("mail", "1"): {Provider: "mail", Type: events.Delivered, Recipient: "ann@xn--exmple-cua.com", Timestamp: noon, MessageID: "01A"},
		events.ID("mail", "2"): {Provider: "mail", Type: events.Opened, Recipient: ann, Timestamp: noon},
		// What is no time of mail would not be stored, and come again for ever.
		events.ID("mail", "3"): {Provider: "mail", Type: events.Unknown, MessageID: "01B", Timestamp: noon},
		"evt_kept":             {Provider: "other", Type: events.Clicked, Recipient: ann, Timestamp: noon.Add(-time.Hour)},
	}
	for id, e := range i.stored {
		if e.ID != id {
			t.Errorf("stored %s as %s", e.ID, id)
		}
		e.ID, e.Key = "", ""
		if diff := cmp.Diff(want[id], e); diff != "" {
			t.Errorf("%s -want +stored:\n%s", id, diff)
		}
	}
	if len(i.stored) != len(want) || i.rules.SoftBounceLimit != 5 {
		t.Errorf("%d stored by %+v", len(i.stored), i.rules)
	}
	counted := map[string]float64{"mail delivered": 1, "mail opened": 1, "mail unknown": 1, "other clicked": 1}
	if diff := cmp.Diff(counted, i.series(t, "bridge_events_total")); diff != "" {
		t.Errorf("-want +counted:\n%s", diff)
	}
	if n := strings.Count(i.lines.String(), `"msg":"event"`); n != 4 {
		t.Errorf("%d lines, want one for each event:\n%s", n, i.lines)
	}
}

// An event that comes again is one: stored, counted and logged once.
func TestTakeAgain(t *testing.T) {
	i := newIntake()
	for range 3 {
		if err := i.Take(t.Context(), "mail", batch(told(events.Opened, 0, keyed("1"), of("01A")))); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(i.lines.String(), "\n"); len(i.stored) != 1 || n != 1 {
		t.Errorf("%d stored, %d lines", len(i.stored), n)
	}
	if diff := cmp.Diff(map[string]float64{"mail opened": 1}, i.series(t, "bridge_events_total")); diff != "" {
		t.Errorf("-want +counted:\n%s", diff)
	}
}

// What fails leaves nothing behind: it is told again.
func TestTakeFails(t *testing.T) {
	disk := errors.New("disk is full")
	for name, broken := range map[string]func(*world){
		"store":   func(w *world) { w.storeFails = disk },
		"learner": func(w *world) { w.learnerFails = disk },
	} {
		i := newIntake()
		broken(i.world)
		event := told(events.Complained, 0, keyed("1"), of("01A"))
		if err := i.Take(t.Context(), "mail", batch(event)); !errors.Is(err, disk) {
			t.Errorf("%s: %v", name, err)
		}
		if len(i.series(t, "bridge_events_total")) > 0 || len(i.stored) > 0 || i.lines.Len() > 0 {
			t.Errorf("%s: stored %v, logged %s", name, i.stored, i.lines)
		}
		i.storeFails, i.learnerFails = nil, nil
		if err := i.Take(t.Context(), "mail", batch(event)); err != nil || len(i.stored) != 1 {
			t.Errorf("%s: when it is told again %v, stored %v", name, err, i.stored)
		}
	}
}

// A used nonce may stand beside anybody's words: what they settle counts only once
// they are stored.
func TestTakeWithANonce(t *testing.T) {
	i := newIntake()
	for _, key := range []string{"1", "forged"} {
		b := events.Batch{Events: []events.Event{told(events.Delivered, 0, keyed(key), of(key))}, Nonce: "token"}
		if err := i.Take(t.Context(), "mail", b); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"add 1", "learn 1", "add 1"}, i.did); diff != "" {
		t.Errorf("-want +did:\n%s", diff)
	}
	// It is stored and will not be told again: that it settles nothing is no failure.
	i.learnerFails = errors.New("disk is full")
	b := events.Batch{Events: []events.Event{told(events.Delivered, 0, keyed("2"), of("01B"))}, Nonce: "another"}
	if err := i.Take(t.Context(), "mail", b); err != nil || !strings.Contains(i.lines.String(), "event settles nothing") {
		t.Errorf("%v, log:\n%s", err, i.lines)
	}
}

// Only configured providers have series: anybody's name may stand in what nobody
// has signed.
func TestTakeOfAnybody(t *testing.T) {
	i := newIntake()
	i.complained = 1000
	series, err := testutil.GatherAndCount(i.registry)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		e := told(events.Complained, 0, by(fmt.Sprint("somebody", n)), keyed(fmt.Sprint(n)))
		if err := i.Take(t.Context(), "test", batch(e)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := testutil.GatherAndCount(i.registry); err != nil || n != series {
		t.Errorf("%d series, %v; before %d", n, err, series)
	}
	if got := strings.Join(i.did, " "); strings.Contains(got, "alarm") || strings.Contains(got, "complaints") {
		t.Errorf("it was asked for complaints of somebody")
	}
	if len(i.stored) != 100 {
		t.Errorf("%d stored, want all", len(i.stored))
	}
}

// The log says what happened and not to whom, in few words.
func TestTakeLogs(t *testing.T) {
	i := newIntake()
	long := strings.Repeat("x", 10_000)
	err := i.Take(t.Context(), "mail", batch(
		told(events.Bounced, 0, soft, of("01A"), keyed("1"), said("mailbox of <ann@example.com> full", `452 4.2.2 "a b"@example.com: full`)),
		told(events.Deferred, 0, keyed("2"), said(long, long)),
	))
	if err != nil {
		t.Fatal(err)
	}
	first, second, _ := strings.Cut(strings.TrimSpace(i.lines.String()), "\n")
	want := `"level":"INFO","msg":"event","message_id":"01A","provider":"mail","type":"bounced","event_id":"` + events.ID("mail", "1") +
		`","bounce":"soft","reason":"mailbox of <[address]> full","response":"452 4.2.2 [address]: full"}`
	if !strings.HasSuffix(first, want) {
		t.Errorf("got  %s\nwant %s", first, want)
	}
	if strings.Contains(first+second, "example.com") || len(second) > 1500 {
		t.Errorf("shows an address, or too much: %d octets\n%s", len(second), first)
	}
}

// The time from the mail to its delivered event; a clock that is behind counts as 0.
func TestDeliveredLatency(t *testing.T) {
	i := newIntake()
	take := func(key string, mailed time.Time, change ...func(*events.Event)) {
		t.Helper()
		i.mailed = mailed
		e := told(events.Delivered, 0, append(change, keyed(key))...)
		if err := i.Take(t.Context(), "mail", batch(e)); err != nil {
			t.Fatal(err)
		}
	}
	take("1", noon.Add(-90*time.Second))
	take("2", noon.Add(-10*time.Second))
	take("3", noon.Add(time.Minute))                                                  // it was delivered before it came
	take("4", time.Time{})                                                            // nobody knows when it came
	take("5", noon.Add(-time.Hour), func(e *events.Event) { e.Type = events.Opened }) // another event
	take("6", noon.Add(-7*time.Second), by("other"))                                  // of another
	if diff := cmp.Diff(map[string]float64{"mail": 100, "other": 7}, i.series(t, "bridge_delivered_latency_seconds")); diff != "" {
		t.Errorf("-want +sum:\n%s", diff)
	}
	families, err := i.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "bridge_delivered_latency_seconds" {
			if n := family.GetMetric()[0].GetHistogram().GetSampleCount(); n != 3 {
				t.Errorf("%d were measured, want 3", n)
			}
		}
	}
}

// From two complaints on, and above the rate only; once for a call.
func TestComplaintAlarm(t *testing.T) {
	tests := []struct {
		name                  string
		complained, delivered int64
		alarm                 bool
	}{
		{"one alone", 1, 0, false},
		{"one of ten", 1, 10, false},
		{"two of nothing", 2, 0, true},
		{"two of 1999", 2, 1999, true},
		{"two of 2000: exactly the rate", 2, 2000, false},
		{"three of 2000", 3, 2000, true},
		{"none", 0, 100, false},
	}
	for _, tt := range tests {
		i := newIntake()
		i.complained, i.delivered = tt.complained, tt.delivered
		err := i.Take(t.Context(), "mail", batch(
			told(events.Complained, 0, keyed("1")), told(events.Complained, 1, keyed("2")), told(events.Opened, 1, keyed("3")),
		))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"add 3", "complaints of mail"}
		if tt.alarm {
			want = append(want, fmt.Sprintf("alarm mail %d of %d since 12:00:00", tt.complained, tt.delivered))
		}
		if diff := cmp.Diff(want, i.did); diff != "" {
			t.Errorf("%s: -want +did:\n%s", tt.name, diff)
		}
		if since := noon.Add(-24 * time.Hour); !i.asked.Equal(since) {
			t.Errorf("%s: asked since %s, want %s", tt.name, i.asked, since)
		}
	}
}

// That complaints cannot be counted is logged; the event is stored.
func TestComplaintsCannotBeCounted(t *testing.T) {
	i := newIntake()
	i.countFails = errors.New("disk is full")
	if err := i.Take(t.Context(), "mail", batch(told(events.Complained, 0, keyed("1")))); err != nil || len(i.stored) != 1 {
		t.Errorf("%v, stored %v", err, i.stored)
	}
	if log := i.lines.String(); !strings.Contains(log, `"level":"ERROR","msg":"complaints cannot be counted","err":"disk is full"`) {
		t.Errorf("log:\n%s", log)
	}
}

// A reload counts for the next call, and takes the series of who is gone.
func TestIntakeReplace(t *testing.T) {
	i := newIntake()
	const each = 11 // types that a provider can tell
	if n, err := testutil.GatherAndCount(i.registry, "bridge_events_total"); err != nil || n != 2*each {
		t.Errorf("%d series at first, %v", n, err)
	}
	c := events.Config{SoftBounceLimit: 2, ComplaintRateAlert: 0.5, ComplaintWindow: config.Duration(time.Hour)}
	i.Replace(c, []string{"mail", "new"})
	if n, err := testutil.GatherAndCount(i.registry, "bridge_events_total"); err != nil || n != 2*each {
		t.Errorf("%d series after, %v", n, err)
	}
	i.complained, i.delivered = 5, 10
	for n, name := range []string{"mail", "new", "other"} {
		if err := i.Take(t.Context(), name, batch(told(events.Complained, n, by(name), keyed("1")))); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]float64{"mail complained": 1, "new complained": 1}, i.series(t, "bridge_events_total")); diff != "" {
		t.Errorf("-want +counted:\n%s", diff)
	}
	if i.rules.SoftBounceLimit != 2 || !i.asked.Equal(noon.Add(-time.Hour)) || strings.Contains(strings.Join(i.did, " "), "alarm") {
		t.Errorf("the old configuration counts: %+v, %s, %v", i.rules, i.asked, i.did)
	}
}

// Calls and reloads at once: the race detector looks on.
func TestIntakeAtOnce(t *testing.T) {
	i := newIntake()
	var calls sync.WaitGroup
	for n := range 8 {
		calls.Go(func() {
			for k := range 50 {
				e := told(events.Delivered, 0, keyed(fmt.Sprint(n, " ", k)))
				if err := i.Take(t.Context(), "mail", batch(e)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n := range 50 {
		i.Replace(events.DefaultConfig(), []string{"mail", "other", "third"}[:1+n%3])
	}
	calls.Wait()
	if got := i.series(t, "bridge_events_total")["mail delivered"]; len(i.stored) != 400 || got != 400 {
		t.Errorf("%d stored, %v counted", len(i.stored), got)
	}
}

func TestConfigValidate(t *testing.T) {
	events.DefaultConfig().Validate(func(key, problem string) { t.Errorf("%s: %s", key, problem) })
	var keys []string
	events.Config{ComplaintRateAlert: 1.5}.Validate(func(key, _ string) { keys = append(keys, key) })
	if got := strings.Join(keys, " "); got != "complaint_rate_alert complaint_window soft_bounce_limit" {
		t.Errorf("problems of %s", got)
	}
}

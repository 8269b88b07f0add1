// Package storetest is the suite that every database passes: what the pipeline
// must remember so that nothing is sent twice, and what counts against quotas.
package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// Store is what the suite tests.
type Store interface {
	delivery.Memory
	delivery.Quotas
}

// Opener opens a store with a clock. A second call, while the first store is
// closed or killed, finds what that has put on record.
type Opener interface {
	// Open runs the store until the test ends or Close.
	Open(t *testing.T, now func() time.Time) Store
	// Close ends the store that was opened last; where it keeps nothing across that
	// it reports false.
	Close(t *testing.T) (keeps bool)
}

// Run runs the whole suite; open gives each test a database of its own.
func Run(t *testing.T, open func(t *testing.T) Opener) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Opener){
		"keys": testKeys, "retention": testRetention, "landing": testLanding, "continues": testContinues,
		"await": testAwait, "restart": testRestart, "deadline": testDeadline, "at once": testAtOnce, "quotas": testQuotas,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

var start = time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func newClock() *clock { return &clock{now: start} }

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func flight(id string, at time.Time, k delivery.Keys) delivery.Flight {
	return delivery.Flight{ID: id, Time: at, Deadline: at.Add(time.Minute), Keys: k, Recipients: []string{"a@x.test", "b@x.test"}}
}

func outcome(state providers.State) providers.Outcome {
	var err *providers.Error
	if state != providers.Accepted {
		err = &providers.Error{Category: providers.NetworkError, Local: true, Message: "no answer"}
	}
	o := providers.Fail([]string{"a@x.test", "b@x.test"}, state, err)
	for i := range o {
		o[i].Provider, o[i].ProviderID = "mail", fmt.Sprintf("id-%d", i)
	}
	return o
}

func begin(t *testing.T, s Store, f delivery.Flight) *delivery.Past {
	t.Helper()
	past, err := s.Begin(t.Context(), f)
	if err != nil {
		t.Fatalf("Begin(%s): %v", f.ID, err)
	}
	return past
}

func land(t *testing.T, s Store, id string, o providers.Outcome) {
	t.Helper()
	if err := s.Land(t.Context(), id, o); err != nil {
		t.Fatalf("Land(%s): %v", id, err)
	}
}

// testKeys: what a second message repeats, by what became of the first.
func testKeys(t *testing.T, open Opener) {
	c := newClock()
	s := open.Open(t, c.read)
	all := delivery.Keys{Idempotency: "k", MessageID: "m", Content: "c"}
	for i, tt := range []struct {
		name   string
		first  delivery.Keys
		state  *providers.State // nil: in flight
		reply  string           // given, lost, nothing
		second delivery.Keys
		want   bool
	}{
		{"key, whatever became of it", all, new(providers.Refused), "given", delivery.Keys{Idempotency: "k"}, true},
		{"key, in flight", all, nil, "", delivery.Keys{Idempotency: "k"}, true},
		{"another key", all, new(providers.Accepted), "given", delivery.Keys{Idempotency: "other"}, false},
		{"message id, in flight", all, nil, "", delivery.Keys{MessageID: "m"}, true},
		{"message id, reply not known", all, new(providers.Accepted), "", delivery.Keys{MessageID: "m"}, true},
		{"message id, reply lost", all, new(providers.Accepted), "lost", delivery.Keys{MessageID: "m"}, true},
		{"message id, reply given", all, new(providers.Accepted), "given", delivery.Keys{MessageID: "m"}, false},
		{"message id, another", all, new(providers.Accepted), "lost", delivery.Keys{MessageID: "other"}, false},
		{"content, in flight", all, nil, "", delivery.Keys{Content: "c"}, false},
		{"content, reply not known", all, new(providers.Accepted), "", delivery.Keys{Content: "c"}, false},
		{"content, reply lost", all, new(providers.Accepted), "lost", delivery.Keys{Content: "c"}, true},
		{"content, reply given", all, new(providers.Accepted), "given", delivery.Keys{Content: "c"}, false},
		{"content, ambiguous", all, new(providers.Ambiguous), "", delivery.Keys{Content: "c"}, true},
		{"nothing", delivery.Keys{}, new(providers.Accepted), "lost", delivery.Keys{}, false},
	} {
		first, second := fmt.Sprintf("first-%d", i), fmt.Sprintf("second-%d", i)
		own := func(k delivery.Keys) delivery.Keys { // each case is alone
			for _, text := range []*string{&k.Idempotency, &k.MessageID, &k.Content} {
				if *text != "" {
					*text += fmt.Sprint(i)
				}
			}
			return k
		}
		begin(t, s, flight(first, c.read(), own(tt.first)))
		if tt.state != nil {
			land(t, s, first, outcome(*tt.state))
		}
		if tt.reply != "" {
			s.Replied(first, tt.reply == "given")
		}
		past := begin(t, s, flight(second, c.read(), own(tt.second)))
		switch {
		case (past != nil) != tt.want:
			t.Errorf("%s: repeats %+v, want a repeat %v", tt.name, past, tt.want)
		case past == nil:
		case past.ID != first || past.InFlight != (tt.state == nil) || !past.Time.Equal(c.read()):
			t.Errorf("%s: repeats %+v, want %s", tt.name, past, first)
		case tt.state != nil:
			checkOutcome(t, tt.name, past.Outcome, outcome(*tt.state))
		}
	}
}

// checkOutcome compares what is kept of a result.
func checkOutcome(t *testing.T, name string, got, want providers.Outcome) {
	t.Helper()
	kept := func(o providers.Outcome) []string {
		var lines []string
		for _, r := range o {
			line := fmt.Sprint(r.Recipient, " ", r.State, " ", r.Provider)
			if r.State == providers.Accepted {
				line += " " + r.ProviderID
			}
			if r.Err != nil {
				line += fmt.Sprint(" ", r.Err.Category, r.Err.Local, r.Err.Message)
			}
			lines = append(lines, line)
		}
		return lines
	}
	if diff := cmp.Diff(kept(want), kept(got)); diff != "" {
		t.Errorf("%s: outcome (-want +got):\n%s", name, diff)
	}
}

func testRetention(t *testing.T, open Opener) {
	c := newClock()
	s := open.Open(t, c.read)
	k := delivery.Keys{Idempotency: "k"}
	begin(t, s, flight("1", c.read(), k))
	land(t, s, "1", outcome(providers.Accepted))
	c.move(delivery.Retention - time.Second)
	if past := begin(t, s, flight("2", c.read(), k)); past == nil {
		t.Error("within 24 h nothing is repeated")
	}
	c.move(2 * time.Second)
	if past := begin(t, s, flight("3", c.read(), k)); past != nil {
		t.Errorf("after 24 h %s is repeated", past.ID)
	}
}

// testLanding: later answers settle what was ambiguous, and nothing else.
func testLanding(t *testing.T, open Opener) {
	c := newClock()
	s := open.Open(t, c.read)
	k := delivery.Keys{Idempotency: "k"}
	begin(t, s, flight("1", c.read(), k))
	first := outcome(providers.Ambiguous)
	first[0] = outcome(providers.Accepted)[0]
	land(t, s, "1", first)
	refused := outcome(providers.Refused)
	land(t, s, "1", refused[:1])
	checkOutcome(t, "accepted stays", begin(t, s, flight("2", c.read(), k)).Outcome, first)
	accepted := outcome(providers.Accepted)
	land(t, s, "1", accepted[1:])
	checkOutcome(t, "ambiguous is settled", begin(t, s, flight("3", c.read(), k)).Outcome, accepted)
	land(t, s, "1", refused)
	checkOutcome(t, "settled stays", begin(t, s, flight("4", c.read(), k)).Outcome, accepted)
}

// testContinues: a flight takes an earlier one's place, once.
func testContinues(t *testing.T, open Opener) {
	c := newClock()
	s := open.Open(t, c.read)
	k := delivery.Keys{MessageID: "m"}
	begin(t, s, flight("1", c.read(), k))
	first := outcome(providers.Refused)
	first[0] = outcome(providers.Accepted)[0]
	land(t, s, "1", first)
	s.Replied("1", false)
	again := flight("2", c.read(), k)
	again.Continues, again.Known = "1", first[:1]
	if past := begin(t, s, again); past != nil {
		t.Fatalf("the continuation repeats %s", past.ID)
	}
	other := again
	other.ID = "3"
	if past := begin(t, s, other); past == nil || past.ID != "2" || !past.InFlight {
		t.Errorf("a second continuation finds %+v, want 2 in flight", past)
	}
	if past := begin(t, s, flight("4", c.read(), k)); past == nil || past.ID != "2" {
		t.Errorf("a repeat finds %+v, want 2", past)
	}
	done := outcome(providers.Accepted)
	land(t, s, "2", done)
	checkOutcome(t, "the whole", begin(t, s, flight("5", c.read(), k)).Outcome, done)
}

// testAwait: whoever waits is woken by the landing, and by the end of its own time.
func testAwait(t *testing.T, open Opener) {
	c := newClock()
	s := open.Open(t, c.read)
	begin(t, s, flight("1", c.read(), delivery.Keys{MessageID: "m"}))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if past, err := s.Await(ended, "1"); err != nil || !past.InFlight || past.Outcome[0].State != providers.Ambiguous {
		t.Errorf("at the end of the wait: %+v, %v; want in flight and ambiguous", past, err)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			past, err := s.Await(t.Context(), "1")
			if err != nil || past.InFlight || past.Outcome.Accepted() != 2 {
				t.Errorf("after the landing: %+v, %v; want both accepted", past, err)
			}
		})
	}
	land(t, s, "1", outcome(providers.Accepted))
	wg.Wait()
}

// testRestart: what was in flight is ambiguous afterwards, what was told stays so.
func testRestart(t *testing.T, open Opener) {
	c := newClock()
	s := open.Open(t, c.read)
	for _, id := range []string{"flying", "landed", "told"} {
		begin(t, s, flight(id, c.read(), delivery.Keys{MessageID: id}))
	}
	land(t, s, "landed", outcome(providers.Accepted))
	land(t, s, "told", outcome(providers.Accepted))
	s.Replied("told", true)
	if ok, err := s.Take(t.Context(), "mail", 7, delivery.QuotaLimits{Day: 10}, c.read()); err != nil || !ok {
		t.Fatalf("Take() = %v, %v", ok, err)
	}
	if !open.Close(t) {
		return
	}
	s = open.Open(t, c.read)
	for id, want := range map[string]providers.State{"flying": providers.Ambiguous, "landed": providers.Accepted} {
		past := begin(t, s, flight(id+"-again", c.read(), delivery.Keys{MessageID: id}))
		if past == nil || past.InFlight || past.Outcome[1].State != want {
			t.Errorf("%s: after the restart %+v, want %v", id, past, want)
		}
	}
	if past := begin(t, s, flight("told-again", c.read(), delivery.Keys{MessageID: "told"})); past != nil {
		t.Errorf("what was told is repeated: %+v", past)
	}
	if day, month, err := s.Used(t.Context(), "mail", c.read()); err != nil || day != 7 || month != 7 {
		t.Errorf("after the restart %d and %d count, %v; want 7", day, month, err)
	}
}

// testDeadline: a flight of which nobody can hear any more is ambiguous.
func testDeadline(t *testing.T, open Opener) {
	c := newClock()
	s := open.Open(t, c.read)
	begin(t, s, flight("1", c.read(), delivery.Keys{MessageID: "m", Content: "c"}))
	c.move(time.Minute + time.Second)
	past := begin(t, s, flight("2", c.read(), delivery.Keys{MessageID: "m"}))
	if past == nil || past.InFlight || past.Outcome[0].State != providers.Ambiguous {
		t.Errorf("past its deadline it is %+v, want landed and ambiguous", past)
	}
}

// testAtOnce: of many repeats at once one is sent.
func testAtOnce(t *testing.T, open Opener) {
	c := newClock()
	s := open.Open(t, c.read)
	for round := range 20 {
		var (
			mu   sync.Mutex
			sent []string
			wg   sync.WaitGroup
		)
		for i := range 10 {
			wg.Go(func() {
				f := flight(fmt.Sprintf("%d-%d", round, i), c.read(), delivery.Keys{MessageID: fmt.Sprint("m", round)})
				past, err := s.Begin(t.Context(), f)
				if err != nil {
					t.Error(err)
					return
				}
				if past == nil {
					mu.Lock()
					sent = append(sent, f.ID)
					mu.Unlock()
					if err := s.Land(t.Context(), f.ID, outcome(providers.Accepted)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if len(sent) != 1 {
			t.Errorf("round %d: %q were sent, want one", round, sent)
		}
	}
}

// testQuotas: exact, by UTC day and month, also at once.
func testQuotas(t *testing.T, open Opener) {
	c := newClock()
	s := open.Open(t, c.read)
	limits := delivery.QuotaLimits{Day: 10, Month: 12}
	take := func(n int64) bool {
		t.Helper()
		ok, err := s.Take(t.Context(), "mail", n, limits, c.read())
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var got []bool
	for range 20 {
		wg.Go(func() {
			ok, err := s.Take(t.Context(), "mail", 1, limits, c.read())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, ok)
		})
	}
	wg.Wait()
	if n := len(slices.DeleteFunc(got, func(ok bool) bool { return !ok })); n != 10 {
		t.Errorf("%d of 20 at once were counted, want 10", n)
	}
	if err := s.Return(t.Context(), "mail", 4, c.read()); err != nil {
		t.Fatal(err)
	}
	if take(5) || !take(4) || take(1) {
		t.Error("after 4 were given back, 4 fit and no more")
	}
	if ok, err := s.Take(t.Context(), "other", 10, limits, c.read()); err != nil || !ok {
		t.Errorf("another provider's quota is %v, %v", ok, err)
	}
	c.move(time.Hour) // midnight, and the end of the month
	if !take(10) {
		t.Error("on a new day of a new month nothing fits")
	}
	c.move(24 * time.Hour)
	if take(3) || !take(2) {
		t.Error("on the second day two are left of the month")
	}
	if day, month, err := s.Used(t.Context(), "mail", c.read()); err != nil || day != 2 || month != 12 {
		t.Errorf("%d and %d count, %v; want 2 and 12", day, month, err)
	}
}

package store_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"smtpbridge/events"
	"smtpbridge/internal/store"
	"smtpbridge/internal/store/storetest"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// tale is what happens: the log of messages, and what a provider tells after it.
type tale []chapter

type chapter struct {
	records []delivery.Record
	told    []events.Event
}

// tales are of a few messages and recipients, of a run's own, by a provider whose
// name is the run's own, too.
type tales struct {
	run       int
	now       time.Time
	keys      int
	addresses []string
	own       bool // each recipient has messages of its own
}

func (s *tales) provider() string { return fmt.Sprintf("p%d", s.run) }

func (s *tales) message(n int) string { return id(s.run*100 + n) }

func (s *tales) draw(rt *rapid.T) tale {
	all := make(tale, rapid.IntRange(1, 3).Draw(rt, "chapters"))
	var before []events.Event
	for i := range all {
		for range rapid.IntRange(0, 3).Draw(rt, "records") {
			r := s.record(rt)
			if !slices.ContainsFunc(all[i].records, func(o delivery.Record) bool { return o.ID == r.ID }) {
				all[i].records = append(all[i].records, r)
			}
		}
		for range rapid.IntRange(1, 80).Draw(rt, "events") {
			e := s.event(rt)
			if again := rapid.IntRange(0, 200).Draw(rt, "again"); again < len(before) {
				e = before[again]
			}
			before = append(before, e)
			all[i].told = append(all[i].told, e)
		}
	}
	return all
}

// record is of a message to all, or to one where each has its own.
func (s *tales) record(rt *rapid.T) delivery.Record {
	n := rapid.IntRange(0, 3).Draw(rt, "message")
	to := s.addresses
	if s.own {
		to = to[n%len(to) : n%len(to)+1]
	}
	r := delivery.Record{ID: s.message(n), Time: s.now, MailFrom: "b@app.example", From: "h@app.example", Attempts: []delivery.Attempt{}}
	if rapid.Bool().Draw(rt, "tagged") {
		r.Tags, r.Metadata = []string{s.provider() + "-tag"}, map[string]string{"campaign": s.provider() + "-campaign"}
	}
	for _, address := range to {
		one := answer(address, rapid.SampledFrom([]providers.State{providers.Accepted, providers.Refused, providers.Ambiguous}).Draw(rt, "state"))
		knows := rapid.Bool().Draw(rt, "the provider is known")
		d := delivery.Recipient{Recipient: address, State: one.State}
		if knows || one.State != providers.Ambiguous {
			d.Provider = s.provider()
		}
		if one.State == providers.Accepted {
			d.ProviderID = s.providerID(n)
		}
		r.Recipients = append(r.Recipients, d)
	}
	return r
}

func (s *tales) providerID(n int) string { return fmt.Sprintf("%s id %d", s.provider(), n) }

func (s *tales) event(rt *rapid.T) events.Event {
	s.keys++
	at := rapid.IntRange(0, len(s.addresses)).Draw(rt, "recipient")
	e := events.Event{
		ID: events.ID(s.provider(), fmt.Sprint(s.keys)), Provider: s.provider(), Type: rapid.SampledFrom(events.Types()[:11]).Draw(rt, "type"),
		Timestamp: s.now.Add(time.Duration(rapid.IntRange(0, 6).Draw(rt, "at")) * time.Minute),
		Bounce:    rapid.SampledFrom([]events.Bounce{events.Hard, events.Soft, events.Soft, events.Soft, ""}).Draw(rt, "bounce"),
		Scope:     rapid.SampledFrom([]string{"", "", "tag:news"}).Draw(rt, "scope"), Raw: []byte(`{}`), Reason: "words",
	}
	n := rapid.IntRange(0, 3).Draw(rt, "message")
	if s.own {
		at %= len(s.addresses)
		n = at
	}
	if at < len(s.addresses) {
		e.Recipient = s.addresses[at]
	}
	switch rapid.IntRange(0, 4).Draw(rt, "names") {
	case 0:
		e.MessageID = s.message(n)
	case 1:
		e.ProviderMessageID = s.providerID(n)
	case 2, 3:
		e.MessageID, e.ProviderMessageID = s.message(n), s.providerID(n)
	}
	return e
}

// remains is what there is of a tale in the end.
type remains struct {
	Added        []events.Added
	Told, Own    []events.Event
	Suppressions []events.Suppression
	Recipients   []store.Recipient
	Counts       map[store.Dimension][]store.Counts
	Records      []delivery.Record
}

func (b *bridge) remains(s *tales, added []events.Added) remains {
	b.t.Helper()
	r := remains{Counts: make(map[store.Dimension][]store.Counts)}
	for _, a := range added {
		a.Sequence = 0
		r.Added = append(r.Added, a)
	}
	for _, e := range b.events(store.EventQuery{Provider: s.provider()}) {
		e.Sequence = 0
		if e.Type == events.SuppressionAdded || e.Type == events.SuppressionRemoved {
			e.ID = "" // made of the place in the table
			r.Own = append(r.Own, e)
			continue
		}
		r.Told = append(r.Told, e)
	}
	for _, address := range s.addresses {
		page, err := b.History().Suppressions(b.t.Context(), store.SuppressionQuery{Address: address, Limit: 100})
		if err != nil {
			b.t.Fatal(err)
		}
		r.Suppressions = append(r.Suppressions, page.Suppressions...)
		one, _ := b.History().Recipient(b.t.Context(), address)
		r.Recipients = append(r.Recipients, one)
	}
	for _, by := range store.Dimensions() {
		all, err := b.History().Counts(b.t.Context(), store.CountQuery{By: by, From: s.now.Add(-time.Hour), To: s.now.Add(2 * time.Hour)})
		if err != nil {
			b.t.Fatal(err)
		}
		for _, c := range all {
			if strings.HasPrefix(c.Name+"-", s.provider()+"-") {
				r.Counts[by] = append(r.Counts[by], c)
			}
		}
	}
	for n := range 4 {
		if m, err := b.History().Message(b.t.Context(), s.message(n)); err == nil {
			r.Records = append(r.Records, m.Record)
		}
	}
	return r
}

// sorted has no order, for callers that have none.
func (r remains) sorted() remains {
	for _, all := range [][]events.Event{r.Told, r.Own} {
		slices.SortFunc(all, func(a, b events.Event) int {
			return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Recipient+a.Reason+a.Scope+string(a.Type), b.Recipient+b.Reason+b.Scope+string(b.Type)))
		})
	}
	slices.SortFunc(r.Added, func(a, b events.Added) int { return cmp.Compare(a.ID, b.ID) })
	return r
}

func (b *bridge) take(all ...events.Event) []events.Added {
	added, err := b.History().Add(b.t.Context(), events.Batch{Events: all}, events.Rules{SoftBounceLimit: limit})
	if err != nil {
		b.t.Errorf("Add: %v", err)
	}
	return added
}

// Events that come together do what they do one by one.
func testTogether(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	sameAsOneByOne(t, create, 3, false, func(b *bridge, _ *tales, told []events.Event) []events.Added {
		return b.take(told...)
	})
}

// Callers at once, each of whom tells of a recipient of its own, twice, do what
// they do one after the other, in an order of theirs.
func testTogetherAtOnce(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	sameAsOneByOne(t, create, 4, true, (*bridge).atOnce)
}

// sameAsOneByOne has take store what another bridge stores one by one, for so many
// recipients, and compares what is left. Own: each caller has its recipient.
func sameAsOneByOne(
	t *testing.T, create func(t *testing.T) storetest.Database, recipients int, own bool,
	take func(b *bridge, s *tales, told []events.Event) []events.Added,
) {
	t.Helper()
	together, alone := opened(t, create), opened(t, create)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		s := &tales{run: run, now: together.clock.Now(), own: own}
		for i := range recipients {
			s.addresses = append(s.addresses, fmt.Sprintf("%d-%d@example.com", run, i))
		}
		var at, one []events.Added
		for _, c := range s.draw(rt) {
			for _, r := range c.records {
				together.History().Record(r)
				alone.History().Record(r)
			}
			for _, e := range c.told {
				one = append(one, alone.take(e)...)
			}
			at = append(at, take(together, s, c.told)...)
		}
		want, got := alone.remains(s, one), together.remains(s, at)
		if own { // who comes first is not said
			want, got = want.sorted(), got.sorted()
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			rt.Errorf("together (+) is not one by one (-):\n%s", diff)
		}
	})
}

func (b *bridge) atOnce(s *tales, told []events.Event) (added []events.Added) {
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	for _, address := range s.addresses {
		for range 2 {
			all.Go(func() {
				for _, e := range told {
					if e.Recipient != address {
						continue
					}
					fresh := b.take(e)
					mu.Lock()
					added = append(added, fresh...)
					mu.Unlock()
				}
			})
		}
	}
	all.Wait()
	return added
}

// Texts that a database keeps as one and the same are no reason to refuse a call.
func testTogetherOdd(t *testing.T, create func(t *testing.T) storetest.Database) {
	t.Helper()
	b := opened(t, create)
	var odd []string
	for c := 'a'; c < 'a'+10; c++ { // so many that statements take several at once
		odd = append(odd, string(c), string(c)+"\x00", string(c)+"\ufffd")
	}
	r := b.record(id(1))
	r.Tags = odd
	for i, text := range odd {
		r.Recipients = append(r.Recipients, delivery.Recipient{
			Recipient: text + "@example.com", State: providers.Accepted, Provider: "p", ProviderID: fmt.Sprint(i, text, "\xff"),
		})
	}
	b.History().Record(r)
	var all []events.Event
	for i, text := range odd {
		for n := range 2 {
			e := b.event(fmt.Sprint(i, "-", n, text), events.Bounced, text+"@example.com", time.Duration(n)*time.Minute)
			e.Bounce, e.ProviderMessageID, e.Tags, e.Metadata = events.Soft, fmt.Sprint(i, text, "\xff"), odd, map[string]string{"campaign": text}
			all = append(all, e)
		}
	}
	for n, want := range []int{len(all), 0} {
		added, err := b.History().Add(t.Context(), events.Batch{Events: all, Nonce: fmt.Sprint(n, "\x00")}, events.Rules{SoftBounceLimit: limit})
		if err != nil || len(added) != want {
			t.Errorf("call %d: %d are new, %v, want %d", n, len(added), err, want)
		}
		for _, a := range added {
			if a.MessageID != id(1) {
				t.Errorf("%q is of message %q, want %q", a.ProviderMessageID, a.MessageID, id(1))
			}
		}
	}
	if m, err := b.History().Message(t.Context(), id(1)); err != nil || len(m.Events) != len(odd)+len(all) {
		t.Errorf("Message: %d events, %v, want that all were accepted and bounced twice", len(m.Events), err)
	}
	b.add(all[0], with(b.event("third", events.Bounced, "a\x00@example.com", time.Hour), soft))
	for _, text := range odd {
		if r, err := b.History().Recipient(t.Context(), text+"@example.com"); err != nil || r.SoftBounces < 2 {
			t.Errorf("Recipient(%q) = %+v, %v, want its soft bounces", text, r, err)
		}
	}
}

package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// Whatever is done in whatever order, the store answers as the model does.
func testModel(t *testing.T, create func(t *testing.T) Database) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		w := &walk{t: t, rt: rt, model: model{clock: NewClock(), counts: make(map[string]int64)}}
		w.open(create(t), "a")
		defer w.close()
		rt.Repeat(map[string]func(*rapid.T){
			"begin":    w.begin,
			"continue": w.carryOn,
			"land":     w.land,
			"reply":    w.reply,
			"await":    w.await,
			"advance":  w.advance,
			"restart":  w.restart,
			"take":     w.take,
			"return":   w.giveBack,
		})
	})
}

// model is what is to be remembered, in the simplest form.
type model struct {
	clock    *Clock
	instance string
	messages []*remembered // in the order in which they began
	counts   map[string]int64
}

// remembered is a message of the model.
type remembered struct {
	flight  delivery.Flight
	by      string // the instance
	keys    map[string]bool
	results []knowledge
	landed  bool
	reply   string // "", "given" or "not given"
	next    *remembered
}

// knowledge is what is known of a recipient.
type knowledge struct {
	providers.Result

	inherited bool
}

// keysOf lists the keys, the idempotency key first.
func keysOf(k delivery.Keys) []string {
	return []string{"i" + k.Idempotency, "m" + k.MessageID, "c" + k.Content}
}

func (m *model) find(id string) *remembered {
	for _, r := range m.messages {
		if r.flight.ID == id && m.fresh(r) {
			return r
		}
	}
	return nil
}

func (m *model) fresh(r *remembered) bool {
	return m.clock.Now().Sub(r.flight.Time) < delivery.Retention
}

func (m *model) inFlight(r *remembered) bool {
	return !r.landed && m.clock.Now().Before(r.flight.Deadline)
}

func ambiguous(r *remembered) bool {
	return slices.ContainsFunc(r.results, func(k knowledge) bool { return k.State == providers.Ambiguous })
}

// repeats are the rules of delivery.Keys.
func (m *model) repeats(r *remembered, key string) bool {
	unclear := !m.inFlight(r) && ambiguous(r)
	switch key[0] {
	case 'i':
		return true
	case 'm':
		return m.inFlight(r) || r.reply != "given" || unclear
	default:
		return unclear || r.reply == "not given"
	}
}

// begin gives the message that the flight repeats, nil where it is on record.
func (m *model) begin(f delivery.Flight) *remembered {
	keys := keysOf(f.Keys)
	earlier := m.find(f.Continues)
	if earlier != nil {
		if earlier.next != nil {
			head := earlier
			for head.next != nil {
				head = head.next
			}
			return head
		}
		keys = keys[:1]
	}
	for _, key := range keys {
		if len(key) == 1 {
			continue
		}
		for _, r := range slices.Backward(m.messages) {
			if r != earlier && r.next == nil && r.keys[key] && m.fresh(r) && m.repeats(r, key) {
				return r
			}
		}
	}
	m.record(f, earlier)
	return nil
}

func (m *model) record(f delivery.Flight, earlier *remembered) {
	r := &remembered{flight: f, by: m.instance, keys: make(map[string]bool)}
	for _, key := range keysOf(f.Keys) {
		r.keys[key] = len(key) > 1
	}
	for _, recipient := range f.Recipients {
		k := knowledge{Result: providers.Result{Recipient: recipient}}
		for _, known := range f.Known {
			if known.Recipient == recipient {
				k = knowledge{known, f.Continues != ""}
			}
		}
		r.results = append(r.results, k)
	}
	if earlier != nil {
		for key, has := range earlier.keys {
			r.keys[key] = r.keys[key] || has
		}
		earlier.next = r
		pass(earlier)
	}
	m.messages = append(m.messages, r)
}

// pass tells those that have taken a message's place what became known of it.
func pass(earlier *remembered) {
	for r := earlier.next; r != nil; earlier, r = r, r.next {
		for i := range r.results {
			for _, k := range earlier.results {
				mine := &r.results[i]
				if k.Recipient == mine.Recipient && mine.State == providers.Ambiguous && k.State != providers.Ambiguous &&
					(k.State == providers.Accepted || mine.inherited) {
					*mine = knowledge{k.Result, true}
				}
			}
		}
	}
}

func (m *model) land(r *remembered, outcome providers.Outcome) {
	r.landed = true
	for i := range r.results {
		for _, result := range outcome {
			if result.Recipient == r.results[i].Recipient && r.results[i].State == providers.Ambiguous {
				r.results[i].Result = result
			}
		}
	}
	pass(r)
}

// sweep is what a start does.
func (m *model) sweep() {
	for _, r := range m.messages {
		if r.by != m.instance && m.clock.Now().Before(r.flight.Deadline) {
			continue
		}
		if !r.landed || r.reply == "" {
			r.landed = true
			if r.reply == "" {
				r.reply = "not given"
			}
		}
	}
}

// past is what is told of a message. Words that nobody has said are left out.
func (m *model) past(r *remembered) string {
	if r == nil {
		return "nothing"
	}
	var words strings.Builder
	fmt.Fprintf(&words, "%s %s in flight %v", r.flight.ID, r.flight.Time.UTC(), m.inFlight(r))
	for _, k := range r.results {
		words.WriteString(describe(k.Result))
	}
	return words.String()
}

// describe shows all that is kept of a result.
func describe(r providers.Result) string {
	words := fmt.Sprintf("; %s %s %q %q", r.Recipient, r.State, r.Provider, r.ProviderID)
	if r.Err != nil && r.Err.Category != providers.NetworkError {
		words += fmt.Sprintf(" %s %v %q", r.Err.Category, r.Err.Local, r.Err.Message)
	}
	return words
}

// walk does the same to a store and to the model.
type walk struct {
	model

	t      *testing.T
	rt     *rapid.T
	bridge *bridge
	begun  int
}

func (w *walk) open(db Database, instance string) {
	var err error
	if w.bridge, err = start(w.t.Context(), db, w.clock, instance); err != nil {
		w.rt.Fatal(err)
	}
	w.instance = instance
	w.sweep()
}

func (w *walk) close() {
	if err := w.bridge.stop(); err != nil {
		w.rt.Fatal(err)
	}
	if done := w.bridge.database.Done; done != nil {
		done()
	}
}

// told compares what the store says with what the model does.
func (w *walk) told(rt *rapid.T, past *delivery.Past, err error, want *remembered) {
	got := "nothing"
	if err != nil {
		got = err.Error()
	} else if past != nil {
		got = fmt.Sprintf("%s %s in flight %v", past.ID, past.Time, past.InFlight)
		for _, r := range past.Outcome {
			if (r.Err == nil) != (r.State == providers.Accepted) {
				rt.Fatalf("result %+v: an error where it was accepted, or none where not", r)
			}
			got += describe(r)
		}
	}
	if want := w.past(want); got != want {
		rt.Fatalf("told\n%s, want\n%s", got, want)
	}
}

func (w *walk) flight(rt *rapid.T) delivery.Flight {
	w.begun++
	now := w.clock.Now()
	key := rapid.SampledFrom([]string{"", "", "1", "2"})
	return delivery.Flight{
		ID:         fmt.Sprint(w.begun),
		Time:       now.Add(-time.Duration(rapid.IntRange(0, 3).Draw(rt, "age")) * time.Second),
		Deadline:   now.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Hour}).Draw(rt, "patience")),
		Recipients: some(rt, "recipients", "a", "b", "c"),
		Keys: delivery.Keys{
			Idempotency: key.Draw(rt, "idempotency"), MessageID: key.Draw(rt, "message id"), Content: key.Draw(rt, "content"),
		},
	}
}

// some are texts of a list, in order, in rare cases none.
func some(rt *rapid.T, label string, of ...string) []string {
	if len(of) == 0 {
		return nil
	}
	chosen := rapid.SliceOfNDistinct(rapid.SampledFrom(of), 0, len(of), rapid.ID[string]).Draw(rt, label)
	slices.Sort(chosen)
	return chosen
}

func (w *walk) begin(rt *rapid.T) {
	f := w.flight(rt)
	if rapid.IntRange(0, 3).Draw(rt, "some are not sent to") == 0 {
		f.Known = outcome(rt, f.Recipients)
	}
	past, err := w.bridge.Begin(w.t.Context(), f)
	w.told(rt, past, err, w.model.begin(f))
}

// carryOn begins a flight that continues another, or what never was.
func (w *walk) carryOn(rt *rapid.T) {
	f := w.flight(rt)
	f.Continues = w.message(rt)
	if rapid.Bool().Draw(rt, "same recipients") {
		if r := w.find(f.Continues); r != nil {
			f.Recipients = r.flight.Recipients
		}
	}
	f.Known = outcome(rt, f.Recipients)
	past, err := w.bridge.Begin(w.t.Context(), f)
	w.told(rt, past, err, w.model.begin(f))
}

// message is the ID of one, often a late one, or of none.
func (w *walk) message(rt *rapid.T) string {
	back := rapid.IntRange(0, min(w.begun, 12)).Draw(rt, "back")
	return fmt.Sprint(w.begun - back)
}

// outcome is something about some of the recipients.
func outcome(rt *rapid.T, recipients []string) providers.Outcome {
	var o providers.Outcome
	for _, recipient := range some(rt, "of", recipients...) {
		r := providers.Result{
			Recipient: recipient,
			State:     rapid.SampledFrom([]providers.State{providers.Ambiguous, providers.Accepted, providers.Refused}).Draw(rt, "state"),
			Provider:  rapid.SampledFrom([]string{"", "p", "q"}).Draw(rt, "provider"),
		}
		r.ProviderID = rapid.StringN(0, 4, 80).Draw(rt, "provider id")
		if r.State != providers.Accepted {
			r.Err = &providers.Error{
				Category: rapid.SampledFrom([]providers.Category{providers.Unknown, providers.NoProvider}).Draw(rt, "category"),
				Local:    rapid.Bool().Draw(rt, "local"),
				Message:  rapid.StringN(0, 4, 512).Draw(rt, "words"),
			}
		}
		o = append(o, r)
	}
	return o
}

func (w *walk) land(rt *rapid.T) {
	id := w.message(rt)
	r := w.find(id)
	recipients := []string{"a"}
	if r != nil {
		recipients = r.flight.Recipients
	}
	o := outcome(rt, recipients)
	err := w.bridge.Land(w.t.Context(), id, o)
	if (err == nil) != (r != nil) {
		rt.Fatalf("Land(%s): %v, want an error only where it is not remembered", id, err)
	}
	if r != nil {
		w.model.land(r, o)
	}
}

func (w *walk) reply(rt *rapid.T) {
	id := w.message(rt)
	given := rapid.Bool().Draw(rt, "given")
	w.bridge.Replied(id, given)
	if r := w.find(id); r != nil {
		r.reply = map[bool]string{true: "given", false: "not given"}[given]
	}
}

func (w *walk) await(rt *rapid.T) {
	id := w.message(rt)
	ctx, cancel := context.WithCancel(w.t.Context())
	cancel()
	past, err := w.bridge.Await(ctx, id)
	if r := w.find(id); r != nil {
		w.told(rt, past, err, r)
	} else if err == nil {
		rt.Fatalf("Await(%s) = %+v, want an error", id, past)
	}
}

func (w *walk) advance(rt *rapid.T) {
	steps := []time.Duration{time.Second, time.Minute, time.Hour, 11 * time.Hour, 23 * time.Hour}
	w.clock.Advance(rapid.SampledFrom(steps).Draw(rt, "step"))
}

func (w *walk) restart(rt *rapid.T) {
	if w.bridge.database.Crash == nil {
		return
	}
	killed := rapid.Bool().Draw(rt, "killed")
	if err := w.bridge.end(w.t.Context(), killed); err != nil {
		rt.Fatal(err)
	}
	w.open(w.bridge.database, rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "instance"))
}

func (w *walk) take(rt *rapid.T) {
	provider := rapid.SampledFrom([]string{"p", "q"}).Draw(rt, "provider")
	n := rapid.Int64Range(0, 3).Draw(rt, "n")
	limits := delivery.QuotaLimits{
		Day: rapid.Int64Range(0, 5).Draw(rt, "day limit"), Month: rapid.Int64Range(0, 9).Draw(rt, "month limit"),
	}
	now := w.clock.Now()
	day, month := periods(provider, now)
	want := (limits.Day == 0 || w.counts[day]+n <= limits.Day) && (limits.Month == 0 || w.counts[month]+n <= limits.Month)
	got, err := w.bridge.Take(w.t.Context(), provider, n, limits, now)
	if got != want || err != nil {
		rt.Fatalf("Take = %v, %v, want %v", got, err, want)
	}
	if want {
		w.counts[day] += n
		w.counts[month] += n
	}
	w.counted(rt, provider)
}

func (w *walk) giveBack(rt *rapid.T) {
	provider := rapid.SampledFrom([]string{"p", "q"}).Draw(rt, "provider")
	n := rapid.Int64Range(0, 3).Draw(rt, "n")
	at := w.clock.Now().Add(-time.Duration(rapid.IntRange(0, 30).Draw(rt, "hours")) * time.Hour)
	if err := w.bridge.Return(w.t.Context(), provider, n, at); err != nil {
		rt.Fatal(err)
	}
	day, month := periods(provider, at)
	w.counts[day] = max(w.counts[day]-n, 0)
	w.counts[month] = max(w.counts[month]-n, 0)
	w.counted(rt, provider)
}

func (w *walk) counted(rt *rapid.T, provider string) {
	now := w.clock.Now()
	day, month := periods(provider, now)
	gotDay, gotMonth, err := w.bridge.Used(w.t.Context(), provider, now)
	if gotDay != w.counts[day] || gotMonth != w.counts[month] || err != nil {
		rt.Fatalf("Used = %d, %d, %v, want %d, %d", gotDay, gotMonth, err, w.counts[day], w.counts[month])
	}
}

// periods are under what the model counts.
func periods(provider string, at time.Time) (day, month string) {
	at = at.UTC()
	return provider + at.Format(" 2006-01-02"), provider + at.Format(" 2006-01")
}

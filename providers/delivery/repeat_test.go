package delivery_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
	"smtpbridge/translate"
)

// memory is the contract of delivery.Memory in its plainest form.
type memory struct {
	mu      sync.Mutex // guards what follows
	flights []*flight
	fails   error
	landed  []string // ids, each time
}

type flight struct {
	delivery.Flight

	outcome providers.Outcome // nil in flight
	reply   string            // "", given, lost
	done    chan struct{}
	next    string // who continues it
}

func (m *memory) Begin(_ context.Context, f delivery.Flight) (*delivery.Past, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails != nil {
		return nil, m.fails
	}
	if f.Continues != "" {
		at := m.find(f.Continues)
		if at.next == "" {
			at.next = f.ID
			m.add(f)
			return nil, nil
		}
		return m.find(at.next).repeated(f.Keys), nil
	}
	for _, e := range slices.Backward(m.flights) {
		if e.next == "" && f.Time.Sub(e.Time) < delivery.Retention && e.repeatedBy(f.Keys) {
			return e.repeated(f.Keys), nil
		}
	}
	m.add(f)
	return nil, nil
}

func (m *memory) add(f delivery.Flight) {
	m.flights = append(m.flights, &flight{Flight: f, done: make(chan struct{})})
}

func (m *memory) find(id string) *flight {
	return m.flights[slices.IndexFunc(m.flights, func(f *flight) bool { return f.ID == id })]
}

func (f *flight) repeatedBy(k delivery.Keys) bool {
	open := f.outcome == nil || f.reply == ""
	unsure := slices.ContainsFunc(f.outcome, func(r providers.Result) bool { return r.State == providers.Ambiguous })
	switch {
	case k.Idempotency != "" && k.Idempotency == f.Keys.Idempotency:
		return true
	case k.MessageID != "" && k.MessageID == f.Keys.MessageID:
		return open || unsure || f.reply == "lost"
	case k.Content != "" && k.Content == f.Keys.Content:
		return f.outcome != nil && (unsure || f.reply == "lost")
	}
	return false
}

func (f *flight) repeated(k delivery.Keys) *delivery.Past {
	p := f.past()
	p.Alike = k.MessageID == f.Keys.MessageID && k.Content == f.Keys.Content
	return p
}

func (f *flight) past() *delivery.Past {
	p := &delivery.Past{ID: f.ID, Time: f.Time, Deadline: f.Deadline, InFlight: f.outcome == nil, Outcome: slices.Clone(f.outcome)}
	for _, result := range f.Known {
		p.Inherited = append(p.Inherited, result.Recipient)
	}
	if p.InFlight {
		p.Outcome = providers.Fail(f.Recipients, providers.Ambiguous, &providers.Error{Category: providers.NetworkError, Message: "in flight"})
	}
	return p
}

func (m *memory) Await(ctx context.Context, id string) (*delivery.Past, error) {
	m.mu.Lock()
	f := m.find(id)
	m.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return f.past(), nil
}

func (m *memory) Land(_ context.Context, id string, outcome providers.Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.landed = append(m.landed, id)
	f := m.find(id)
	if f.outcome == nil {
		f.outcome = slices.Clone(outcome)
		close(f.done)
		return nil
	}
	for _, result := range outcome {
		at := slices.IndexFunc(f.outcome, func(r providers.Result) bool { return r.Recipient == result.Recipient })
		if f.outcome[at].State == providers.Ambiguous {
			f.outcome[at] = result
		}
	}
	return nil
}

func (m *memory) Learn(_ context.Context, id string, result providers.Result) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, known := range m.find(id).outcome {
		if known.Recipient == result.Recipient && known.State == providers.Ambiguous {
			m.find(id).outcome[i] = result
		}
	}
	return nil
}

func (m *memory) Replied(id string, given bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := slices.IndexFunc(m.flights, func(f *flight) bool { return f.ID == id })
	if at < 0 {
		return
	}
	m.flights[at].reply = map[bool]string{true: "given", false: "lost"}[given]
}

// again is the mail a second time, as it comes with another id.
func again(t *testing.T, id string, headers ...string) *translate.Message {
	t.Helper()
	m := mail(t, headers...)
	m.Envelope.BridgeID = id
	return m
}

const messageID = "Message-ID: <7@example.com>"

// Two messages: what the provider said to the first, whether its reply was given,
// and whether the second is sent.
func TestRepeats(t *testing.T) {
	const key = "X-Bridge-Idempotency-Key: order-7"
	for _, tt := range []struct {
		name    string
		headers []string
		first   answer
		reply   string // of the first: given, lost, or nothing yet
		change  func(second *translate.Message)
		sent    int // requests in all
		want    []result
	}{
		// (b) The same Message-ID, where the reply was not given or nothing is known.
		{"the reply was given", []string{messageID}, taken, "given", nil, 2, both(providers.Accepted, "first", "")},
		{"the reply was lost", []string{messageID}, taken, "lost", nil, 1, both(providers.Accepted, "first", "")},
		{"nothing is known of it", []string{messageID}, taken, "", nil, 1, both(providers.Accepted, "first", "")},
		{"ambiguous", []string{messageID}, unknown, "given", nil, 1, both(providers.Ambiguous, "first", providers.NetworkError)},
		{"refused: tried again", []string{messageID}, refused(providers.ContentRejected), "lost", nil, 2, both(providers.Accepted, "first", "")},
		{"another id", []string{messageID}, taken, "lost", func(m *translate.Message) { m.MessageID = "<8@example.com>" }, 2, both(providers.Accepted, "first", "")},
		{"other recipients", []string{messageID}, taken, "lost", func(m *translate.Message) { m.Envelope.Recipients = []string{"a@example.com"} }, 2, both(providers.Accepted, "first", "")[:1]},
		{"other case and order", []string{messageID}, taken, "lost", func(m *translate.Message) {
			m.Envelope.Recipients = []string{"B@example.com", "a@Example.com"}
		}, 1, []result{{"B@example.com", providers.Accepted, "first", ""}, {"a@Example.com", providers.Accepted, "first", ""}}},
		{"another sender", []string{messageID}, taken, "lost", func(m *translate.Message) { m.Envelope.MailFrom = "x@example.com" }, 2, both(providers.Accepted, "first", "")},
		{"another user", []string{messageID}, taken, "lost", func(m *translate.Message) { m.Envelope.User = "x" }, 2, both(providers.Accepted, "first", "")},
		// (c) Without Message-ID the same content, where the first is known to need it.
		{"content, given", nil, taken, "given", nil, 2, both(providers.Accepted, "first", "")},
		{"content, not yet known", nil, taken, "", nil, 2, both(providers.Accepted, "first", "")},
		{"content, lost", nil, taken, "lost", nil, 1, both(providers.Accepted, "first", "")},
		{"content, ambiguous", nil, unknown, "given", nil, 1, both(providers.Ambiguous, "first", providers.NetworkError)},
		{"other content", nil, taken, "lost", func(m *translate.Message) { m.Subject = "x" }, 2, both(providers.Accepted, "first", "")},
		{"content, another date", []string{"Date: Fri, 2 Jan 2026 15:04:05 +0000"}, taken, "lost", func(m *translate.Message) { m.Date = time.Now() }, 1, both(providers.Accepted, "first", "")},
		// (a) The same key, whatever became of the first.
		{"key", []string{key}, taken, "given", func(m *translate.Message) { m.Subject = "x" }, 1, both(providers.Accepted, "first", "")},
		{"key, refused", []string{key}, refused(providers.ContentRejected), "given", nil, 2, both(providers.Accepted, "first", "")},
		{"another key", []string{key}, taken, "given", func(m *translate.Message) { m.Directives.IdempotencyKey = "order-8" }, 2, both(providers.Accepted, "first", "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, remembered := says("first", tt.first, taken), new(memory)
				p, _ := pipeline(t, nil, func(o *delivery.Options) { o.Memory = remembered }, api)
				p.Deliver(t.Context(), again(t, "01A", tt.headers...))
				if tt.reply != "" {
					p.Replied("01A", tt.reply == "given")
				}
				second := again(t, "01B", tt.headers...)
				if tt.change != nil {
					tt.change(second)
				}
				outcome := p.Deliver(t.Context(), second)
				closePipeline(t, p)
				if diff := cmp.Diff(tt.want, results(outcome)); diff != "" {
					t.Errorf("outcome (-want +got):\n%s", diff)
				}
				if api.requests() != tt.sent {
					t.Errorf("%d requests were made, want %d", api.requests(), tt.sent)
				}
				if !isClosed(second) {
					t.Error("the message is still open")
				}
			})
		})
	}
}

// After 24 h nothing is a repeat any more, and a repeat that was answered ends it.
func TestRepeatsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, remembered := says("first", taken), new(memory)
		p, j := pipeline(t, nil, func(o *delivery.Options) { o.Memory = remembered }, api)
		deliver := func(id string) { p.Deliver(t.Context(), again(t, id, messageID)) }
		deliver("01A")
		p.Replied("01A", false)
		deliver("01B")
		if got := j.last(t); got.ID != "01B" || got.RepeatOf != "01A" || len(got.Attempts) != 0 {
			t.Errorf("the record is %+v, want a repeat of 01A without attempts", got)
		}
		p.Replied("01B", true) // the application has been told
		deliver("01C")
		if api.requests() != 2 {
			t.Errorf("%d requests were made, want 2: the third message is one of its own", api.requests())
		}
		p.Replied("01C", false)
		<-time.After(delivery.Retention)
		deliver("01D")
		if api.requests() != 3 {
			t.Errorf("%d requests were made, want 3", api.requests())
		}
		closePipeline(t, p)
	})
}

// A repeat while the first is in flight waits for it and gets its result; two of
// the same content at once, without a Message-ID, are two.
func TestRepeatInFlight(t *testing.T) {
	for _, tt := range []struct {
		name    string
		headers []string
		sent    int
	}{{"Message-ID", []string{messageID}, 1}, {"content", nil, 2}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := says("first", taken)
				api.took = 10 * time.Second
				p, _ := pipeline(t, nil, func(o *delivery.Options) { o.Memory = new(memory) }, api)
				start := time.Now()
				var wg sync.WaitGroup
				for _, id := range []string{"01A", "01B", "01C"}[:tt.sent+1] {
					m := again(t, id, tt.headers...)
					wg.Go(func() {
						if got := p.Deliver(t.Context(), m).Accepted(); got != 2 || time.Since(start) != 10*time.Second {
							t.Errorf("%s: %d were taken after %v, want 2 after 10s", id, got, time.Since(start))
						}
					})
				}
				wg.Wait()
				if want := map[string]int{"Message-ID": 1, "content": tt.sent + 1}[tt.name]; api.requests() != want {
					t.Errorf("%d requests were made, want %d", api.requests(), want)
				}
				closePipeline(t, p)
			})
		})
	}
}

// An answer that comes after the reply settles what was ambiguous.
func TestRepeatAfterALateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := says("first", taken)
		api.took = budget + 10*time.Second
		remembered := new(memory)
		p, _ := pipeline(t, nil, func(o *delivery.Options) { o.Memory = remembered }, api)
		if outcome := p.Deliver(t.Context(), again(t, "01A", messageID)); outcome[0].State != providers.Ambiguous {
			t.Fatalf("the outcome is %+v, want ambiguous", outcome)
		}
		p.Replied("01A", true)
		outcome := p.Deliver(t.Context(), again(t, "01B", messageID))
		if outcome[0].State != providers.Ambiguous || api.requests() != 1 {
			t.Errorf("before the answer: %v after %d requests, want ambiguous and 1", outcome[0].State, api.requests())
		}
		p.Replied("01B", true)
		<-time.After(10 * time.Second)
		synctest.Wait()
		outcome = p.Deliver(t.Context(), again(t, "01C", messageID))
		if outcome.Accepted() != 2 || api.requests() != 1 {
			t.Errorf("after it: %d taken after %d requests, want 2 and 1", outcome.Accepted(), api.requests())
		}
		closePipeline(t, p)
	})
}

// Of several recipients only those are sent to again who were refused.
func TestRepeatSendsToTheRefusedAlone(t *testing.T) {
	bad := true
	var sent [][]string
	api := fake{"first", func(_ context.Context, m *translate.Message) providers.Outcome {
		sent = append(sent, m.Envelope.Recipients)
		outcome := providers.Fail(m.Envelope.Recipients, providers.Accepted, nil)
		for i := range outcome {
			if outcome[i].Recipient == "b@example.com" && bad {
				outcome[i].State, outcome[i].Err = providers.Refused, &providers.Error{Category: providers.InvalidRecipient}
			}
		}
		return outcome
	}}
	p, _ := pipeline(t, nil, func(o *delivery.Options) { o.Memory = new(memory) }, api)
	p.Deliver(t.Context(), again(t, "01A", messageID))
	p.Replied("01A", false)
	bad = false
	outcome := p.Deliver(t.Context(), again(t, "01B", messageID))
	p.Replied("01B", false)
	p.Deliver(t.Context(), again(t, "01C", messageID))
	closePipeline(t, p)
	want := [][]string{{"a@example.com", "b@example.com"}, {"b@example.com"}}
	if diff := cmp.Diff(want, sent); diff != "" || outcome.Accepted() != 2 {
		t.Errorf("%d taken, sent (-want +got):\n%s", outcome.Accepted(), diff)
	}
}

// findable is a provider that can be asked what became of a message.
type findable struct {
	*script

	found answer
	asked []providers.Sent
}

func (*findable) Capabilities() providers.Capabilities {
	return providers.Capabilities{ScheduleHorizon: 24 * time.Hour}
}

func (f *findable) Find(_ context.Context, s providers.Sent) providers.Outcome {
	f.asked = append(f.asked, s)
	return providers.Fail(s.Recipients, f.found.state, f.found.err)
}

// Before anything ambiguous is sent again, the provider is asked, if it can be.
func TestRepeatLooksUp(t *testing.T) {
	for _, tt := range []struct {
		name  string
		found answer
		sent  int
		want  []result
	}{
		{"it has it", taken, 1, both(providers.Accepted, "first", "")},
		{"it has not", refused(providers.Unknown), 2, both(providers.Accepted, "first", "")},
		{"it does not know", unknown, 1, both(providers.Ambiguous, "first", providers.NetworkError)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := &findable{script: says("first", unknown, taken), found: tt.found}
			remembered := new(memory)
			p, _ := pipeline(t, nil, func(o *delivery.Options) { o.Memory = remembered }, api)
			p.Deliver(t.Context(), again(t, "01A", messageID))
			p.Replied("01A", true)
			outcome := p.Deliver(t.Context(), again(t, "01B", messageID))
			closePipeline(t, p)
			for i := range outcome { // a result of the look-up names no provider in this fake
				outcome[i].Provider = "first"
			}
			if diff := cmp.Diff(tt.want, results(outcome)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if api.requests() != tt.sent {
				t.Errorf("%d requests were made, want %d", api.requests(), tt.sent)
			}
			if len(api.asked) != 1 || api.asked[0].BridgeID != "01A" || api.asked[0].MessageID != "<7@example.com>" || len(api.asked[0].Recipients) != 2 {
				t.Errorf("asked for %+v, want the first message, once", api.asked)
			}
		})
	}
}

// What a provider is asked is what it was sent: of another mail under the same
// idempotency key only the id is known, and those who were sent to under an
// earlier id are not asked about.
func TestRepeatAsksForWhatWasSent(t *testing.T) {
	const key, later = "X-Bridge-Idempotency-Key: k", "X-Bridge-Send-At: 2000-01-01T02:00:00Z"
	began := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of a synctest bubble
	over := began.Add(budget + 10*time.Second)
	for _, tt := range []struct {
		name          string
		first, second []string
		want          providers.Sent
	}{
		{"the same Message-ID", []string{messageID}, []string{messageID}, providers.Sent{MessageID: "<7@example.com>", Over: over}},
		{"the same content", nil, nil, providers.Sent{Over: over}},
		{"later", []string{messageID, later}, []string{messageID, later}, providers.Sent{MessageID: "<7@example.com>", Over: began.Add(2 * time.Hour)}},
		{"the same key", []string{messageID, key}, []string{messageID, key}, providers.Sent{MessageID: "<7@example.com>", Over: over}},
		{"another mail of the key", []string{messageID, key}, []string{"Message-ID: <8@example.com>", key}, providers.Sent{}},
		{"another mail of the key, without Message-ID", []string{messageID, key}, []string{key}, providers.Sent{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &findable{script: says("first", unknown, taken), found: unknown}
				p, _ := pipeline(t, nil, func(o *delivery.Options) { o.Memory = new(memory) }, api)
				p.Deliver(t.Context(), again(t, "01A", tt.first...))
				p.Replied("01A", true)
				p.Deliver(t.Context(), again(t, "01B", tt.second...))
				closePipeline(t, p)
				tt.want.BridgeID, tt.want.Recipients, tt.want.Time = "01A", []string{"a@example.com", "b@example.com"}, began
				if len(api.asked) != 1 {
					t.Fatalf("asked %d times, want once", len(api.asked))
				}
				if diff := cmp.Diff(tt.want, api.asked[0]); diff != "" {
					t.Errorf("asked (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A mail that the guard sent elsewhere is not found by those it was meant for.
func TestRepeatAsksNotForTheRedirected(t *testing.T) {
	api := &findable{script: says("first", unknown, taken), found: refused(providers.NetworkError)}
	guarded := func(s *delivery.Settings) {
		s.Guard = delivery.GuardConfig{AllowRecipients: []string{"example.org"}, RedirectTo: []string{"all@example.org"}}
	}
	p, _ := pipeline(t, guarded, func(o *delivery.Options) { o.Memory = new(memory) }, api)
	p.Deliver(t.Context(), again(t, "01A", messageID))
	p.Replied("01A", true)
	p.Deliver(t.Context(), again(t, "01B", messageID))
	closePipeline(t, p)
	if len(api.asked) != 0 || api.requests() != 1 {
		t.Errorf("asked %d times, sent %d times, want 0 and 1", len(api.asked), api.requests())
	}
}

// b was sent to as 01A and never answered, a as 01B: asked about 01B the provider
// knows nothing of b, which proves nothing.
func TestRepeatAsksNotForTheInherited(t *testing.T) {
	api := &partly{found: refused(providers.NetworkError)}
	p, _ := pipeline(t, nil, func(o *delivery.Options) { o.Memory = new(memory) }, api)
	for _, id := range []string{"01A", "01B", "01C"} {
		p.Deliver(t.Context(), again(t, id, messageID))
		p.Replied(id, false)
	}
	closePipeline(t, p)
	want := [][]string{{"a@example.com", "b@example.com"}, {"a@example.com"}, {"a@example.com"}}
	if diff := cmp.Diff(want, api.sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
}

// partly refuses a and says nothing of b, of whom it cannot be asked at first.
type partly struct {
	found answer
	sent  [][]string
	asked int
}

func (*partly) Name() string { return "first" }

func (*partly) Capabilities() providers.Capabilities { return providers.Capabilities{} }

func (p *partly) Send(_ context.Context, m *translate.Message) providers.Outcome {
	p.sent = append(p.sent, m.Envelope.Recipients)
	outcome := providers.Fail(m.Envelope.Recipients, unknown.state, unknown.err)
	for i := range outcome {
		if outcome[i].Provider = "first"; outcome[i].Recipient == "a@example.com" {
			outcome[i].State, outcome[i].Err = providers.Refused, &providers.Error{Category: providers.ContentRejected}
		}
	}
	return outcome
}

func (p *partly) Find(_ context.Context, s providers.Sent) providers.Outcome {
	if p.asked++; p.asked == 1 {
		return providers.Fail(s.Recipients, unknown.state, unknown.err)
	}
	return providers.Fail(s.Recipients, p.found.state, p.found.err)
}

// What cannot be put on record is not sent.
func TestDeliverWithoutMemory(t *testing.T) {
	p, _ := pipeline(t, nil, func(o *delivery.Options) { o.Memory = &memory{fails: errors.New("disk full")} }, forbidden(t, "first"))
	outcome := p.Deliver(t.Context(), mail(t))
	closePipeline(t, p)
	if diff := cmp.Diff(both(providers.Refused, "", providers.LocalFailure), results(outcome)); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
}

// An event says what became of an ambiguous message.
func TestLearn(t *testing.T) {
	api, remembered := says("first", unknown, taken), new(memory)
	p, _ := pipeline(t, nil, func(o *delivery.Options) { o.Memory = remembered }, api)
	p.Deliver(t.Context(), again(t, "01A", messageID))
	p.Replied("01A", true)
	for _, recipient := range []string{"a@example.com", "b@example.com"} {
		if err := p.Learn(t.Context(), "01A", providers.Result{Recipient: recipient, State: providers.Accepted, Provider: "first"}); err != nil {
			t.Fatal(err)
		}
	}
	outcome := p.Deliver(t.Context(), again(t, "01B", messageID))
	closePipeline(t, p)
	if outcome.Accepted() != 2 || api.requests() != 1 {
		t.Errorf("%d taken after %d requests, want 2 and 1", outcome.Accepted(), api.requests())
	}
}

// While a message is in flight an event about one of several recipients must not
// end the wait of a repeat: the others may still be taken.
func TestLearnInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, remembered := says("first", taken), new(memory)
		api.took = 10 * time.Second
		p, _ := pipeline(t, nil, func(o *delivery.Options) { o.Memory = remembered }, api)
		first := make(chan providers.Outcome, 1)
		go func() { first <- p.Deliver(t.Context(), again(t, "01A", messageID)) }()
		synctest.Wait()
		if err := p.Learn(t.Context(), "01A", providers.Result{Recipient: "a@example.com", State: providers.Accepted, Provider: "first"}); err != nil {
			t.Error(err)
		}
		second := p.Deliver(t.Context(), again(t, "01B", messageID))
		if outcome := <-first; outcome.Accepted() != 2 || second.Accepted() != 2 || api.requests() != 1 {
			t.Errorf("%v and %v after %d requests", results(outcome), results(second), api.requests())
		}
		closePipeline(t, p)
	})
}

// What never became a message is on record with its envelope alone.
func TestRefused(t *testing.T) {
	p, j := pipeline(t, nil, nil, forbidden(t, "first"))
	defer closePipeline(t, p)
	m := mail(t)
	defer m.Close()
	p.Refused(m.Envelope, 77, &providers.Error{Category: providers.Malformed, Message: "line 1: no header"})
	refused := func(recipient string) delivery.Recipient {
		return delivery.Recipient{Recipient: recipient, State: providers.Refused, Category: providers.Malformed, Reason: "line 1: no header"}
	}
	got := j.last(t)
	if time.Since(got.Time) > time.Minute {
		t.Errorf("recorded at %s", got.Time)
	}
	want := delivery.Record{
		ID: "01J", Time: got.Time, MailFrom: "bounces@example.com", User: "shop", Bytes: 77,
		Recipients: []delivery.Recipient{refused("a@example.com"), refused("b@example.com")}, Attempts: []delivery.Attempt{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

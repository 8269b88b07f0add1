package providertest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/events"
)

// Source is what the tests must know of a source of events.
type Source struct {
	// Open asks nobody for a key: it takes a body as the provider writes it.
	Open events.Source
	// Calls are signed in every way that is right and wrong.
	Calls []Call
	// Secret is what no error shows.
	Secret string
	// Nest writes a call that has JSON nested inside an event.
	Nest func(nested string) string
	// Largest are the calls that take most of what is allowed.
	Largest []string
}

// Call is one call, and how it ends.
type Call struct {
	Name   string
	Source events.Source
	Header http.Header
	Body   string
	// At is when it comes; now where that does not matter.
	At time.Time
	// Want is the kind of the error; nil where the call is taken, with one event.
	Want error
}

// Webhook runs the tests that every source passes.
func Webhook(t *testing.T, s Source) {
	t.Helper()
	t.Run("calls", s.testCalls)
	t.Run("again", s.testAgain)
	t.Run("body", s.testBody)
	t.Run("nested", s.testNested)
	t.Run("memory", s.testMemory)
}

// testCalls: who is known is heard, nobody else.
func (s Source) testCalls(t *testing.T) {
	for _, c := range s.Calls {
		t.Run(c.Name, func(t *testing.T) {
			if c.At.IsZero() {
				s.testCall(t, c)
				return
			}
			synctest.Test(t, func(t *testing.T) {
				<-time.After(time.Until(c.At)) // the clock of a bubble starts in 2000
				s.testCall(t, c)
			})
		})
	}
}

func (s Source) testCall(t *testing.T, c Call) {
	t.Helper()
	batch, err := c.Source.Receive(t.Context(), c.Header, []byte(c.Body))
	CheckReceived(t, batch, err)
	if !errors.Is(err, c.Want) || (err == nil) != (len(batch.Events) == 1) {
		t.Errorf("%d events and the error %v, want %v", len(batch.Events), err, c.Want)
	}
	if err != nil && s.Secret != "" && strings.Contains(err.Error(), s.Secret) {
		t.Errorf("the error shows the secret: %v", err)
	}
}

// testAgain: what comes again has the keys that it had.
func (s Source) testAgain(t *testing.T) {
	for _, body := range Bodies(t) {
		first, err := s.Open.Receive(t.Context(), http.Header{}, body)
		if err != nil {
			continue
		}
		again, err := s.Open.Receive(t.Context(), http.Header{}, append(body, "\r\n"...))
		if diff := cmp.Diff(keys(first), keys(again)); err != nil || diff != "" {
			t.Errorf("%.200s: again it has other keys (%v)\n%s", body, err, diff)
		}
		seen := make(map[string]bool)
		for _, e := range first.Events {
			if seen[e.Key] {
				t.Errorf("%.200s: two events have the key %s", body, e.Key)
			}
			seen[e.Key] = true
		}
	}
}

func keys(batch events.Batch) []string {
	all := make([]string, len(batch.Events))
	for i, e := range batch.Events {
		all[i] = e.Key
	}
	return all
}

// testBody: the caller may use it again.
func (s Source) testBody(t *testing.T) {
	for _, body := range Bodies(t) {
		before, err := s.Open.Receive(t.Context(), http.Header{}, body)
		if err != nil {
			continue
		}
		kept := show(t, before, nil)
		clear(body)
		if diff := cmp.Diff(kept, show(t, before, nil)); diff != "" {
			t.Errorf("events change with the body:\n%s", diff)
		}
	}
}

// testNested: an event is JSON inside other JSON, and encoding/json ends at 10,000
// levels.
func (s Source) testNested(t *testing.T) {
	for _, levels := range []int{10, 200, 9_900} {
		body := s.Nest(strings.Repeat("[", levels) + strings.Repeat("]", levels))
		batch, err := s.Open.Receive(t.Context(), http.Header{}, []byte(body))
		if err != nil || len(batch.Events) == 0 {
			t.Fatalf("%d levels: %d events, %v", levels, len(batch.Events), err)
		}
		around := strings.Repeat("[", 200) + show(t, batch, nil) + strings.Repeat("]", 200)
		if !json.Valid([]byte(around)) {
			t.Errorf("%d levels do not go into other JSON", levels)
		}
	}
	body := s.Nest(strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20))
	batch, err := s.Open.Receive(t.Context(), http.Header{}, []byte(body))
	CheckReceived(t, batch, err)
}

// maxHeld is how much of the memory that a call has its events may hold, and
// maxTaken how much may be taken on the way to them: the endpoint reads 16 MiB of
// calls at once.
const (
	maxHeld  = 4
	maxTaken = 24
)

// testMemory: the largest calls become no more than a few times as much.
func (s Source) testMemory(t *testing.T) {
	if raced {
		t.Skip("under the race detector memory is not what it is")
	}
	for i, call := range s.Largest {
		body := []byte(call)
		var before, after, held runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		batch, err := s.Open.Receive(t.Context(), http.Header{}, body)
		runtime.ReadMemStats(&after)
		runtime.GC()
		runtime.ReadMemStats(&held)
		if err != nil || len(batch.Events) == 0 {
			t.Errorf("call %d: %d events, %v", i, len(batch.Events), err)
		}
		size := uint64(max(len(body), 1<<20)) // small ones may cost what they cost
		taken, kept := after.TotalAlloc-before.TotalAlloc, int64(held.HeapAlloc)-int64(before.HeapAlloc)
		t.Logf("call %d of %d KiB: %d events, %d KiB taken, %d KiB held", i, size>>10, len(batch.Events), taken>>10, kept>>10)
		if taken > maxTaken*size || kept > int64(maxHeld*size) {
			t.Errorf("call %d of %d octets takes %d and holds %d", i, size, taken, kept)
		}
		runtime.KeepAlive(batch)
		runtime.KeepAlive(body)
	}
}

// Bodies are those of testdata/webhooks.
func Bodies(tb testing.TB) [][]byte {
	tb.Helper()
	entries, err := os.ReadDir(webhooks)
	if err != nil {
		tb.Fatal(err)
	}
	var bodies [][]byte
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == ".golden" {
			continue
		}
		body, err := os.ReadFile(filepath.Join(webhooks, entry.Name()))
		if err != nil {
			tb.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// FuzzWebhook holds that whatever a call says, it is malformed or events that can
// be stored, the same each time, and that JSON of any form is at least one.
func FuzzWebhook(f *testing.F, open events.Source, seeds ...string) {
	f.Helper()
	for _, body := range Bodies(f) {
		f.Add(body)
	}
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		batch, err := open.Receive(t.Context(), http.Header{}, bytes.Clone(body))
		CheckReceived(t, batch, err)
		if err != nil && json.Valid(body) {
			t.Errorf("%q is JSON and refused: %v", body, err)
		}
		if again, _ := open.Receive(t.Context(), http.Header{}, body); !cmp.Equal(batch, again) {
			t.Errorf("twice: %s", cmp.Diff(batch, again))
		}
	})
}

// BasicAuth are the calls of a source that knows its provider by user name and
// password.
func BasicAuth(source func(username, password string, unverified bool) events.Source, body string) []Call {
	const user, password = "bridge", "s3cret:with:colon"
	basic := func(credentials string) http.Header {
		return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))}}
	}
	good := basic(user + ":" + password)
	bearer := http.Header{"Authorization": {strings.Replace(good.Get("Authorization"), "Basic", "Bearer", 1)}}
	twice := http.Header{"Authorization": append(good["Authorization"], good["Authorization"]...)}
	both, no := source(user, password, false), events.ErrUnauthenticated
	// A key that is there is asked for, whatever webhook_unverified says.
	strict := source(user, password, true)
	return []Call{
		{Name: "good", Source: both, Header: good, Body: body},
		{Name: "good, unverified", Source: strict, Header: good, Body: body},
		{Name: "UTF-8", Source: source("brücke", "pässwort", false), Header: basic("brücke:pässwort"), Body: body},
		{Name: "missing", Source: strict, Body: body, Want: no},
		{Name: "wrong password", Source: strict, Header: basic(user + ":s3cret"), Body: body, Want: no},
		{Name: "wrong user", Source: strict, Header: basic("Bridge:" + password), Body: body, Want: no},
		{Name: "bearer", Source: strict, Header: bearer, Body: body, Want: no},
		{Name: "twice", Source: strict, Header: twice, Body: body, Want: no},
		{Name: "half a key", Source: source(user, "", true), Header: basic(user + ":"), Body: body, Want: no},
		{Name: "the other half", Source: source("", password, true), Header: basic(":" + password), Body: body, Want: no},
		{Name: "no key", Source: source("", "", false), Header: good, Body: body, Want: no},
		{Name: "no key, empty credentials", Source: source("", "", false), Header: basic(":"), Body: body, Want: no},
		{Name: "unverified", Source: source("", "", true), Body: body},
		// Nobody learns what can be read who is not known.
		{Name: "empty", Source: both, Want: no},
		{Name: "malformed", Source: both, Body: "<html>", Want: no},
	}
}

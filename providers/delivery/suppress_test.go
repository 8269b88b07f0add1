package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
	"smtpbridge/translate"
)

// heldFor is a suppression list: the scopes by address.
type heldFor map[string][]string

var errDisk = errors.New("disk is full")

// Suppressed implements [delivery.Suppressions]; the scope "fails" is an error.
func (h heldFor) Suppressed(_ context.Context, address string) ([]string, error) {
	scopes := h[address]
	if slices.Contains(scopes, "fails") {
		return nil, errDisk
	}
	return scopes, nil
}

// streamed is a provider whose mail belongs to a stream.
type streamed struct {
	*post

	stream string
}

func (s streamed) Capabilities() providers.Capabilities {
	return providers.Capabilities{Stream: s.stream, MaxTags: 9, MaxTagRunes: 99}
}

// post is a provider that takes everything and says to whom it was.
type post struct {
	name string

	mu   sync.Mutex // guards sent
	sent []string
}

func (p *post) Name() string { return p.name }

func (p *post) Capabilities() providers.Capabilities {
	return providers.Capabilities{MaxTags: 9, MaxTagRunes: 99}
}

func (p *post) Send(_ context.Context, m *translate.Message) providers.Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, m.Envelope.Recipients...)
	return providers.Fail(m.Envelope.Recipients, providers.Accepted, nil)
}

func suppressing(held delivery.Suppressions) func(*delivery.Options) {
	return func(o *delivery.Options) { o.Suppressions = held }
}

func suppressed(how string) func(*delivery.Settings) {
	return func(s *delivery.Settings) { s.Config.Suppressed = how }
}

// At RCPT the mail is not known: only who gets none at all is refused there.
func TestRecipientWhoIsSuppressed(t *testing.T) {
	held := heldFor{
		"all@example.com": {""}, "some@example.com": {"group:10", "tag:news"}, "both@example.com": {"", "group:10"},
		"broken@example.com": {"fails"},
	}
	tests := []struct {
		how, address string
		want         providers.Category
	}{
		{"reject", "nobody@example.com", ""},
		{"reject", "all@example.com", providers.Suppressed},
		{"reject", "both@example.com", providers.Suppressed},
		{"reject", "some@example.com", ""},
		{"reject", "broken@example.com", providers.LocalFailure},
		{"discard", "all@example.com", ""},
		{"discard", "broken@example.com", providers.LocalFailure},
		{"ignore", "all@example.com", ""},
		{"ignore", "broken@example.com", ""},
	}
	for _, tt := range tests {
		p, _ := pipeline(t, suppressed(tt.how), suppressing(held), forbidden(t, "first"))
		err := p.Recipient(t.Context(), translate.Envelope{}, tt.address)
		closePipeline(t, p)
		got := providers.Category("")
		if err != nil {
			got = err.Category
		}
		if got != tt.want {
			t.Errorf("%s, %s: %v, want %q", tt.how, tt.address, err, tt.want)
		}
		if err != nil && strings.Contains(err.Message, "disk") {
			t.Errorf("%s, %s: the client is told of our disk: %s", tt.how, tt.address, err.Message)
		}
	}
}

// Once the mail is known: what becomes of each recipient, and who is sent to.
func TestDeliverToWhoIsSuppressed(t *testing.T) {
	takenBy := func(provider string) result { return result{"b@example.com", providers.Accepted, provider, ""} }
	refusedA := result{"a@example.com", providers.Refused, "", providers.Suppressed}
	droppedA := result{"a@example.com", providers.Accepted, "", ""}
	sentA := result{"a@example.com", providers.Accepted, "first", ""}
	tests := []struct {
		name, how string
		held      heldFor
		headers   []string
		want      []result
		sent      string
	}{
		{"reject", "reject", heldFor{"a@example.com": {""}}, nil, []result{refusedA, takenBy("first")}, "b"},
		{"reject all", "reject", heldFor{"a@example.com": {""}, "b@example.com": {""}}, nil, both(providers.Refused, "", providers.Suppressed), ""},
		{"discard", "discard", heldFor{"a@example.com": {""}}, nil, []result{droppedA, takenBy("first")}, "b"},
		{"discard all", "discard", heldFor{"a@example.com": {""}, "b@example.com": {""}}, nil, both(providers.Accepted, "", ""), ""},
		{"ignore", "ignore", heldFor{"a@example.com": {""}}, nil, []result{sentA, takenBy("first")}, "a b"},
		// Scopes: mail of the group, tag or stream does not leave, other mail does.
		{"another scope", "reject", heldFor{"a@example.com": {"group:10", "tag:news", "stream:broadcast"}}, nil, []result{sentA, takenBy("first")}, "a b"},
		{"tag", "reject", heldFor{"a@example.com": {"tag:news"}}, []string{"X-Bridge-Tag: welcome", "X-Bridge-Tag: news"}, []result{refusedA, takenBy("first")}, "b"},
		{"tag in another case", "reject", heldFor{"a@example.com": {"tag:News"}}, []string{"X-Mailgun-Tag: nEWS"}, []result{refusedA, takenBy("first")}, "b"},
		{"another tag", "reject", heldFor{"a@example.com": {"tag:news"}}, []string{"X-Bridge-Tag: newsletter"}, []result{sentA, takenBy("first")}, "a b"},
		{"tag, discarded", "discard", heldFor{"a@example.com": {"tag:news"}}, []string{"X-Bridge-Tag: news"}, []result{droppedA, takenBy("first")}, "b"},
		{"group as a number", "reject", heldFor{"a@example.com": {"group:10"}}, []string{`X-SMTPAPI: {"asm_group_id": 10}`}, []result{refusedA, takenBy("first")}, "b"},
		{"group as a text", "reject", heldFor{"a@example.com": {"group:10"}}, []string{`X-SMTPAPI: {"asm_group_id": "10"}`}, []result{refusedA, takenBy("first")}, "b"},
		{"another group", "reject", heldFor{"a@example.com": {"group:10"}}, []string{`X-SMTPAPI: {"asm_group_id": 100}`}, []result{sentA, takenBy("first")}, "a b"},
		{"groups are no tags", "reject", heldFor{"a@example.com": {"group:10"}}, []string{"X-Bridge-Tag: group:10"}, []result{sentA, takenBy("first")}, "a b"},
		{"contact list", "reject", heldFor{"a@example.com": {"list:news"}}, []string{"X-SES-LIST-MANAGEMENT-OPTIONS: news; topic=sports"}, []result{refusedA, takenBy("first")}, "b"},
		{"its topic", "reject", heldFor{"a@example.com": {"list:news/sports"}}, []string{"X-SES-List-Management-Options: contactListName={news};topicName={sports}"}, []result{refusedA, takenBy("first")}, "b"},
		{"another topic", "reject", heldFor{"a@example.com": {"list:news/sports"}}, []string{"X-SES-LIST-MANAGEMENT-OPTIONS: news; topic=arts"}, []result{sentA, takenBy("first")}, "a b"},
		{"a list without a topic", "reject", heldFor{"a@example.com": {"list:news"}}, []string{"X-SES-LIST-MANAGEMENT-OPTIONS: {news}"}, []result{refusedA, takenBy("first")}, "b"},
		{"stream in another case of the name", "reject", heldFor{"a@example.com": {"stream:broadcast"}}, []string{"x-pm-message-stream: broadcast"}, []result{refusedA, takenBy("first")}, "b"},
		{"stream", "reject", heldFor{"a@example.com": {"stream:broadcast"}}, []string{"X-PM-Message-Stream: broadcast"}, []result{refusedA, takenBy("first")}, "b"},
		{"another stream", "reject", heldFor{"a@example.com": {"stream:broadcast"}}, []string{"X-PM-Message-Stream: outbound"}, []result{sentA, takenBy("first")}, "a b"},
	}
	for _, tt := range tests {
		api := &post{name: "first"}
		p, j := pipeline(t, suppressed(tt.how), suppressing(tt.held), api)
		outcome := p.Deliver(t.Context(), mail(t, tt.headers...))
		closePipeline(t, p)
		if diff := cmp.Diff(tt.want, results(outcome)); diff != "" {
			t.Errorf("%s: outcome (-want +got):\n%s", tt.name, diff)
		}
		if got := strings.ReplaceAll(strings.Join(api.sent, " "), "@example.com", ""); got != tt.sent {
			t.Errorf("%s: sent to %q, want %q", tt.name, got, tt.sent)
		}
		checkHeld(t, tt.name, j, outcome)
	}
}

// checkHeld: the record says whom it did not reach, the log only that.
func checkHeld(t *testing.T, name string, j *journal, outcome providers.Outcome) {
	t.Helper()
	r := j.last(t)
	for i, result := range outcome {
		if got := r.Recipients[i]; got.State != result.State || result.Err != nil && got.Category != result.Err.Category {
			t.Errorf("%s: recorded %+v, said %+v", name, got, result)
		}
		dropped := result.State == providers.Accepted && result.Provider == ""
		if lost := slices.ContainsFunc(r.Losses, func(l string) bool { return strings.HasPrefix(l, "not sent to "+result.Recipient) }); lost != dropped {
			t.Errorf("%s: losses %q", name, r.Losses)
		}
	}
	if strings.Contains(j.log.String(), "@example.com") {
		t.Errorf("%s: the log shows an address:\n%s", name, j.log.String())
	}
}

// Mail that names no stream is in that of the accounts that may carry it: leaving
// one's newsletters does not hold a password reset that goes another way.
func TestDeliverInTheStreamOfTheAccounts(t *testing.T) {
	held := heldFor{"a@example.com": {"stream:broadcast"}}
	routes := func(s *delivery.Settings) {
		s.Routes = []delivery.RouteConfig{{Name: "resets", Header: map[string]string{"X-Kind": "reset"}, Providers: []string{"plain"}}}
	}
	for _, tt := range []struct {
		headers []string
		want    string
	}{
		{nil, "b"},
		{[]string{"X-Kind: reset"}, "a b"},
		{[]string{"X-Bridge-Provider: plain"}, "a b"},
		{[]string{"X-Bridge-Provider: streams"}, "b"},
		{[]string{"X-PM-Message-Stream: outbound"}, "a b"},
	} {
		streams, plain := &post{name: "streams"}, &post{name: "plain"}
		p, _ := pipeline(t, routes, suppressing(held), streamed{streams, "broadcast"}, plain)
		p.Deliver(t.Context(), mail(t, tt.headers...))
		closePipeline(t, p)
		sent := append(streams.sent, plain.sent...)
		slices.Sort(sent)
		if got := strings.ReplaceAll(strings.Join(sent, " "), "@example.com", ""); got != tt.want {
			t.Errorf("%q: sent to %q, want %q", tt.headers, got, tt.want)
		}
	}
}

// Where it cannot be known of somebody, nobody is sent to, and the application
// tries again.
func TestDeliverWhenTheListCannotBeRead(t *testing.T) {
	for _, how := range []string{"reject", "discard"} {
		held := heldFor{"a@example.com": {""}, "b@example.com": {"fails"}}
		p, j := pipeline(t, suppressed(how), suppressing(held), forbidden(t, "first"))
		m := mail(t)
		outcome := p.Deliver(t.Context(), m)
		closePipeline(t, p)
		if diff := cmp.Diff(both(providers.Refused, "", providers.LocalFailure), results(outcome)); diff != "" {
			t.Errorf("%s: outcome (-want +got):\n%s", how, diff)
		}
		if !errors.Is(outcome[0].Err, errDisk) || !isClosed(m) || len(j.last(t).Attempts) > 0 {
			t.Errorf("%s: %v, recorded %+v", how, outcome[0].Err, j.last(t))
		}
	}
}

// What the guard sends elsewhere does not reach who is suppressed.
func TestGuardRedirectsWhoIsSuppressed(t *testing.T) {
	api := &post{name: "first"}
	guarded := func(s *delivery.Settings) {
		s.Guard = delivery.GuardConfig{AllowRecipients: []string{"b@example.com"}, RedirectTo: []string{"qa@example.com"}}
	}
	p, _ := pipeline(t, guarded, suppressing(heldFor{"a@example.com": {"", "fails"}, "b@example.com": {""}}), api)
	if err := p.Recipient(t.Context(), translate.Envelope{}, "a@example.com"); err != nil {
		t.Errorf("refused: %v", err)
	}
	outcome := p.Deliver(t.Context(), mail(t))
	closePipeline(t, p)
	want := []result{{"a@example.com", providers.Accepted, "first", ""}, {"b@example.com", providers.Refused, "", providers.Suppressed}}
	if diff := cmp.Diff(want, results(outcome)); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
	if got := fmt.Sprint(api.sent); got != "[qa@example.com]" {
		t.Errorf("sent to %s", got)
	}
}

// A repeat: who was taken is answered from memory, who was suppressed is tried
// again, by the list as it is then.
func TestRepeatToWhoWasSuppressed(t *testing.T) {
	held := heldFor{"a@example.com": {"tag:news"}}
	api := &post{name: "first"}
	p, _ := pipeline(t, nil, func(o *delivery.Options) { o.Memory, o.Suppressions = new(memory), held }, api)
	headers := []string{"X-Bridge-Idempotency-Key: order-7", "X-Bridge-Tag: news"}
	deliver := func(id string) []result {
		t.Helper()
		outcome := p.Deliver(t.Context(), again(t, id, headers...))
		p.Replied(id, true)
		return results(outcome)
	}
	first := []result{{"a@example.com", providers.Refused, "", providers.Suppressed}, {"b@example.com", providers.Accepted, "first", ""}}
	for _, id := range []string{"01A", "01B"} {
		if diff := cmp.Diff(first, deliver(id)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	delete(held, "a@example.com")
	held["b@example.com"] = []string{"tag:news"} // has left since
	want := both(providers.Accepted, "first", "")
	for _, id := range []string{"01C", "01D"} {
		if diff := cmp.Diff(want, deliver(id)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	closePipeline(t, p)
	if got := fmt.Sprint(api.sent); got != "[b@example.com a@example.com]" {
		t.Errorf("sent to %s, want each once", got)
	}
}

// A repeat of what was sent before its recipients were suppressed is answered from
// what became of it, whatever the list says by then, and sent to nobody.
func TestRepeatToWhoIsSuppressedSince(t *testing.T) {
	lost := result{"a@example.com", providers.Ambiguous, "first", providers.NetworkError}
	for _, how := range []string{"reject", "discard"} {
		for _, tt := range []struct {
			name  string
			first answer
			given bool
			want  []result
		}{
			{"accepted, and its reply lost", taken, false, both(providers.Accepted, "first", "")},
			{"ambiguous", unknown, true, []result{lost, {"b@example.com", providers.Ambiguous, "first", providers.NetworkError}}},
		} {
			held, api, remembered := heldFor{}, says("first", tt.first), new(memory)
			p, j := pipeline(t, suppressed(how), func(o *delivery.Options) { o.Memory, o.Suppressions = remembered, held }, api)
			p.Deliver(t.Context(), again(t, "01A", messageID, "X-Bridge-Tag: news"))
			p.Replied("01A", tt.given)
			held["a@example.com"], held["b@example.com"] = []string{""}, []string{"tag:news"}
			outcome := p.Deliver(t.Context(), again(t, "01B", messageID, "X-Bridge-Tag: news"))
			if diff := cmp.Diff(tt.want, results(outcome)); diff != "" || api.requests() != 1 {
				t.Errorf("%s, %s: %d requests (-want +got):\n%s", how, tt.name, api.requests(), diff)
			}
			if r := j.last(t); r.RepeatOf != "01A" {
				t.Errorf("%s, %s: recorded as a repeat of %q", how, tt.name, r.RepeatOf)
			}
			// Where it cannot be known whether it is one, nobody is told that it is refused.
			remembered.fails = errDisk
			outcome = p.Deliver(t.Context(), again(t, "01C", messageID, "X-Bridge-Tag: news"))
			if diff := cmp.Diff(both(providers.Refused, "", providers.LocalFailure), results(outcome)); diff != "" {
				t.Errorf("%s, %s, without memory (-want +got):\n%s", how, tt.name, diff)
			}
			closePipeline(t, p)
		}
	}
}

// What is on record before a request leaves says whom it is not for: of them
// nothing is unknown, whatever becomes of the bridge.
func TestFlightOfWhoIsSuppressed(t *testing.T) {
	held := heldFor{"a@example.com": {"tag:news"}}
	for how, want := range map[string]result{
		"reject":  {"a@example.com", providers.Refused, "", providers.Suppressed},
		"discard": {"a@example.com", providers.Accepted, "", ""},
	} {
		remembered := new(memory)
		p, _ := pipeline(t, suppressed(how), func(o *delivery.Options) { o.Memory, o.Suppressions = remembered, held }, says("first", taken))
		p.Deliver(t.Context(), mail(t, "X-Bridge-Tag: news"))
		closePipeline(t, p)
		if diff := cmp.Diff([]result{want}, results(remembered.find("01J").Known)); diff != "" {
			t.Errorf("%s: known in flight (-want +got):\n%s", how, diff)
		}
	}
}

// A reload changes what becomes of suppressed recipients.
func TestReplaceSuppressed(t *testing.T) {
	held := heldFor{"a@example.com": {""}}
	p, _ := pipeline(t, nil, suppressing(held), &post{name: "first"})
	for _, how := range []string{"reject", "ignore", "discard", "reject"} {
		s := settings(&post{name: "first"})
		s.Config.Suppressed = how
		p.Replace(s)
		err := p.Recipient(t.Context(), translate.Envelope{}, "a@example.com")
		if (err != nil) != (how == "reject") {
			t.Errorf("%s: %v", how, err)
		}
	}
	closePipeline(t, p)
}

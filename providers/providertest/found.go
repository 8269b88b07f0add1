package providertest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers"
)

// Answer is one to a look-up, and the states of the recipients that it shows, with
// a slash between them.
type Answer struct {
	Name string
	// Change makes another question or answer of it; nil for the usual ones.
	Change func(*providers.Sent, *providers.Response)
	Body   string
	Want   string
}

// LookUp is the question what became of a message.
type LookUp struct {
	Finder providers.Finder
	Sent   providers.Sent
	// At is the time of the answers, Lag how long the provider takes to know.
	At  time.Time
	Lag time.Duration
	// ID is the provider's, of those who were accepted.
	ID string
}

// Found reads answers to a look-up.
func Found(t *testing.T, l LookUp, answers []Answer) {
	t.Helper()
	for _, a := range answers {
		t.Run(a.Name, func(t *testing.T) {
			s, resp := l.Sent, providers.Response{Status: 200, Body: []byte(a.Body), Time: l.At}
			if a.Change != nil {
				a.Change(&s, &resp)
			}
			var states []string
			for _, result := range l.Finder.Found(s, resp) {
				states = append(states, result.State.String())
				if (result.State == providers.Accepted) != (result.Err == nil) || (result.State == providers.Accepted) != (result.ProviderID == l.ID) {
					t.Errorf("%+v does not agree with itself", result)
				}
			}
			if got := strings.Join(states, "/"); got != a.Want {
				t.Errorf("they are %s, want %s", got, a.Want)
			}
		})
	}
}

// FuzzFound holds of every answer that nobody is refused by one that is not whole,
// or comes within the provider's lag.
func FuzzFound(f *testing.F, l LookUp, bodies ...string) {
	f.Helper()
	for _, body := range bodies {
		for _, status := range []uint16{200, 400, 401, 403, 404, 422, 429, 500} {
			f.Add(status, body, false, int64(7200))
		}
		f.Add(uint16(200), body, true, int64(-1))
	}
	f.Fuzz(func(t *testing.T, status uint16, body string, truncated bool, seconds int64) {
		s := l.Sent
		s.Over = l.At.Add(-time.Duration(seconds%(24*60*60)) * time.Second)
		resp := providers.Response{Status: int(status), Body: []byte(body), Truncated: truncated, Time: l.At}
		checkFound(t, s, resp, l.Finder.Found(s, resp), l.Lag)
	})
}

// checkFound holds what every look-up must: one result for each recipient, and
// nobody refused by an answer that is no success, not whole, or of too early a
// time; nor accepted by one that does not show the bridge id.
func checkFound(t *testing.T, s providers.Sent, resp providers.Response, results []providers.Result, lag time.Duration) {
	t.Helper()
	if len(results) != len(s.Recipients) {
		t.Fatalf("%d results for %d recipients", len(results), len(s.Recipients))
	}
	whole := resp.Status == 200 && !resp.Truncated && json.Valid(resp.Body)
	for i, result := range results {
		switch {
		case result.Recipient != s.Recipients[i]:
			t.Errorf("result %d is of %s, want %s", i, result.Recipient, s.Recipients[i])
		case (result.State == providers.Accepted) != (result.Err == nil):
			t.Errorf("%s is %v with the error %v", result.Recipient, result.State, result.Err)
		case result.State != providers.Ambiguous && !whole:
			t.Errorf("%s is %v by the answer %d %q", result.Recipient, result.State, resp.Status, resp.Body)
		case result.State == providers.Refused && (s.Over.IsZero() || resp.Time.Sub(s.Over) <= lag):
			t.Errorf("%s is refused after %v", result.Recipient, resp.Time.Sub(s.Over))
		case result.State == providers.Accepted && !strings.Contains(string(resp.Body), s.BridgeID) && !strings.Contains(string(resp.Body), `\u`):
			t.Errorf("%s is accepted by an answer without the bridge id: %q", result.Recipient, resp.Body)
		}
	}
}

package providertest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers"
)

// CheckFound holds what every look-up must: one result for each recipient, and
// nobody refused by an answer that is no success, not whole, or of too early a
// time; nor accepted by one that does not show the bridge id.
func CheckFound(t *testing.T, s providers.Sent, resp providers.Response, results []providers.Result, lag time.Duration) {
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

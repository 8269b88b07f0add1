package providertest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/events"
	"smtpbridge/providers/httpapi"
)

// Lists is what the tests must know of a lister.
type Lists struct {
	// New makes the lister of an API at a URL, under the name "main".
	New func(url string, transport http.RoundTripper) events.Lister
	// Secret is what no error shows.
	Secret string
	// Fake has entries of all kinds, of which Want comes.
	Fake http.Handler
	Want []events.Suppression
	// Pages are lists that are long, or end too early; the first has several whole pages.
	Pages []Pages
}

// Pages is a list, how many entries of it come, and what an error behind them says;
// empty for none.
type Pages struct {
	Name  string
	Fake  http.Handler
	Count int
	Says  string
}

// Later is a fault behind the first page of a list: a GET on a connection that dies
// is asked again.
func Later[F any](fault F) func(n int) F {
	return func(n int) (none F) {
		if n == 0 {
			return none
		}
		return fault
	}
}

// Lister runs the tests that every lister passes.
func Lister(t *testing.T, l Lists) {
	t.Helper()
	t.Run("entries", func(t *testing.T) {
		got, err := l.read(t.Context(), t, l.Fake, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(l.Want, got); diff != "" {
			t.Errorf("suppressions (-want +got):\n%s", diff)
		}
	})
	for _, p := range l.Pages {
		t.Run(p.Name, func(t *testing.T) { l.testPages(t, p) })
	}
	t.Run("seen enough", l.testEnough)
	t.Run("wait ended", l.testCancelled)
}

func (l Lists) testPages(t *testing.T, p Pages) {
	t.Helper()
	list, err := l.read(t.Context(), t, p.Fake, nil)
	seen := make(map[string]bool, len(list))
	for _, s := range list {
		seen[s.Address] = true
	}
	if len(list) != p.Count || len(seen) != p.Count || (err == nil) != (p.Says == "") {
		t.Errorf("%d were read, %d of them different, then %v; want %d and %q", len(list), len(seen), err, p.Count, p.Says)
	}
	if err != nil && (!strings.Contains(err.Error(), p.Says) || strings.Contains(err.Error(), l.Secret)) {
		t.Errorf("the error is %v, want it to say %q and no secret", err, p.Says)
	}
}

// testEnough: who has seen enough asks for no further page.
func (l Lists) testEnough(t *testing.T) {
	var asked atomic.Int64
	lister := l.over(t, count(&asked, l.Pages[0].Fake))
	var first int64
	for _, err := range lister.Suppressions(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		first = asked.Load()
		break
	}
	if asked.Load() != first {
		t.Errorf("%d pages were asked for behind the first entry", asked.Load()-first)
	}
	for _, err := range lister.Suppressions(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if whole := asked.Load() - first; whole <= first {
		t.Errorf("the whole list is %d pages, and %d for the first entry: nothing is shown", whole, first)
	}
}

// testCancelled: who ends the wait gets an error and no further page.
func (l Lists) testCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	list, err := l.read(ctx, t, l.Pages[0].Fake, cancel)
	if err == nil || len(list) == 0 || len(list) >= l.Pages[0].Count {
		t.Errorf("%d of %d were read, then %v; want those of a page, and an error", len(list), l.Pages[0].Count, err)
	}
}

// read gives what is listed before the first error, which is the last thing.
func (l Lists) read(ctx context.Context, t *testing.T, fake http.Handler, first func()) (list []events.Suppression, failed error) {
	t.Helper()
	for s, err := range l.over(t, fake).Suppressions(ctx) {
		switch {
		case failed != nil:
			t.Error("it goes on after an error")
		case err != nil:
			failed = err
		default:
			list = append(list, s)
		}
		if len(list) == 1 && first != nil {
			first()
		}
	}
	return list, failed
}

// over reads the fake over a socket.
func (l Lists) over(t *testing.T, fake http.Handler) events.Lister {
	t.Helper()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	return l.New(server.URL, transport)
}

func count(n *atomic.Int64, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h.ServeHTTP(w, r)
	})
}

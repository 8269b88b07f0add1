package load_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"smtpbridge/providers/sendgrid/sendgridtest"
)

const (
	// threshold failures open a breaker, which then stays open.
	threshold = 3
	// hungTimeout is the time-out of a provider that does not answer, and time
	// enough to hand it a mail on a machine that is busy: else it has not got it.
	hungTimeout = 2 * time.Second
	// mailsAfter are sent by clientsAfter clients once the breakers are open.
	mailsAfter   = 50
	clientsAfter = 5
)

// fault is a way in which a provider is dead.
type fault struct {
	name string
	// serve gives the URL of such a provider, until the test ends.
	serve func(t *testing.T) string
	// silent: nobody can know whether it has taken the mail. Such a mail goes to
	// another provider only where on_ambiguous says so.
	silent bool
	// large: the mail is more than all buffers on the way hold.
	large bool
}

func faults() []fault {
	return []fault{
		{name: "connection refused", serve: serveRefused},
		{name: "TLS failure", serve: serveNoTLS},
		{name: "reset mid-body", serve: serveReset, large: true},
		{name: "500 storm", serve: serveFailed},
		{name: "502 storm", serve: serveGateway, silent: true},
		{name: "hang, request not read", serve: serveDeaf, silent: true},
		{name: "hang, request read", serve: serveMute, silent: true},
		{name: "trickled response", serve: serveTrickle, silent: true},
	}
}

// failing is one case: so many providers of a fault before one that works.
type failing struct {
	fault

	dead      int
	ambiguous string
}

// allFailing puts each fault before one that works, once and twice.
func allFailing() []failing {
	var cases []failing
	for _, f := range faults() {
		if f.silent {
			cases = append(cases, failing{f, 1, "defer"}, failing{f, 1, "failover"}, failing{f, 2, "failover"})
		} else {
			cases = append(cases, failing{f, 1, "defer"}, failing{f, 2, "defer"})
		}
	}
	return cases
}

// row is what was seen of a case.
type row struct {
	failing

	deferred      int           // mails answered 451
	first         time.Duration // to the first reply
	later         time.Duration // the median once the breakers are open
	before, after int           // requests to each dead provider, until its breaker opened and then
}

// A dead provider costs threshold requests and then nothing: every mail that it
// is known not to have is taken by the next, once, and none reaches it any more.
func TestFaultsFailOver(t *testing.T) {
	t.Parallel()
	cases := allFailing()
	rows := make([]row, len(cases))
	t.Cleanup(func() { t.Log("\n" + table(rows)) })
	for i, c := range cases {
		t.Run(fmt.Sprintf("%s, %d dead, %s", c.name, c.dead, c.ambiguous), func(t *testing.T) {
			t.Parallel()
			rows[i] = c.run(t)
		})
	}
}

// table is what the documentation shows.
func table(rows []row) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\tproviders\ton_ambiguous\tdeferred\tfirst reply\tlater, median\trequests to the dead\tthen")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%v\t%v\t%d\t%d\n", r.name, r.dead+1, r.ambiguous, r.deferred,
			r.first.Round(time.Millisecond), r.later.Round(100*time.Microsecond), r.before, r.after)
	}
	_ = w.Flush()
	return text.String()
}

func (c failing) run(t *testing.T) row {
	t.Helper()
	spare := sendgridtest.New(apiKey, func(int) sendgridtest.Fault { return sendgridtest.None })
	server := httptest.NewServer(spare)
	t.Cleanup(server.Close)
	at := startTables(t, c.configuration(t, server.URL))

	deferred := 0
	if c.silent && c.ambiguous == "defer" {
		deferred = threshold
	}
	codes, times := c.send(t, at, 0, threshold, 1)
	r := row{failing: c, deferred: codes[451], first: times[0], before: requests(t, at, "dead0")}
	if codes[451] != deferred || codes[250] != threshold-deferred {
		t.Errorf("the replies were %v, want 451 %d times of %d", codes, deferred, threshold)
	}
	for i := range c.dead {
		if got := requests(t, at, fmt.Sprint("dead", i)); got != threshold {
			t.Errorf("dead%d was asked %d times until its breaker opened, want %d", i, got, threshold)
		}
	}

	codes, times = c.send(t, at, threshold, mailsAfter, clientsAfter)
	if codes[250] != mailsAfter {
		t.Errorf("the replies once the breakers were open were %v", codes)
	}
	slices.Sort(times)
	r.later = times[len(times)/2]
	for i := range c.dead {
		r.after = max(r.after, requests(t, at, fmt.Sprint("dead", i))-threshold)
	}
	if r.after != 0 {
		t.Errorf("%d requests reached a provider whose breaker was open", r.after)
	}
	if got, want := len(spare.Count()), threshold-deferred+mailsAfter; got != want || len(spare.Taken()) != want {
		t.Errorf("the spare provider took %d mails, %d of them different, want each of %d once", len(spare.Taken()), got, want)
	}
	return r
}

func (c failing) configuration(t *testing.T, spare string) string {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "[delivery]\nstrategy = \"priority\"\nmax_attempts = 1\non_ambiguous = %q\n", c.ambiguous)
	const table = "[[provider]]\ntype = \"sendgrid\"\nname = %q\napi_key = %q\nbase_url = %q\npriority = %d\n"
	for i := range c.dead {
		fmt.Fprintf(&text, table+"failure_threshold = %d\nrecovery_timeout = \"1h\"\n",
			fmt.Sprint("dead", i), apiKey, c.serve(t), i, threshold)
		if c.silent {
			fmt.Fprintf(&text, "timeout = %q\n", hungTimeout)
		}
	}
	fmt.Fprintf(&text, table, "spare", apiKey, spare, c.dead)
	return text.String()
}

// send gives the codes of the replies, and how long each took.
func (c failing) send(t *testing.T, at addresses, from, mails, clients int) (codes map[int]int, times []time.Duration) {
	t.Helper()
	codes, times = make(map[int]int), make([]time.Duration, mails)
	var mu sync.Mutex // guards codes
	var group errgroup.Group
	for n := range clients {
		group.Go(func() error {
			client, err := dial(t.Context(), at.smtp)
			if err != nil {
				return err
			}
			defer client.close()
			for i := n; i < mails; i += clients {
				start := time.Now()
				code, _, err := client.send("app@example.com", recipient(from+i), c.mail(from+i))
				if err != nil {
					return err
				}
				times[i] = time.Since(start)
				mu.Lock()
				codes[code]++
				mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return codes, times
}

// mail is that of a number, each with a Message-ID of its own. Only those that a
// dead provider sees have to be large.
func (c failing) mail(n int) []byte {
	id := fmt.Appendf(nil, "Message-ID: <%d@app.example.com>\r\n", n)
	if c.large && n < threshold {
		return wire(append(id, attachmentMail(6<<20)...))
	}
	return wire(append(id, textMail(2<<10)...))
}

// A provider that fails ten times, takes ten, and so on, loses no mail and
// doubles none, whatever its breaker makes of it.
func TestFaultsFlapping(t *testing.T) {
	t.Parallel()
	const mails = 400
	flapping := sendgridtest.New(apiKey, func(n int) sendgridtest.Fault {
		if n/10%2 == 0 {
			return sendgridtest.Failed
		}
		return sendgridtest.None
	})
	spare := sendgridtest.New(apiKey, func(int) sendgridtest.Fault { return sendgridtest.None })
	text := "[delivery]\nstrategy = \"priority\"\nmax_attempts = 1\n"
	for i, fake := range []*sendgridtest.Fake{flapping, spare} {
		server := httptest.NewServer(fake)
		t.Cleanup(server.Close)
		text += fmt.Sprintf("[[provider]]\ntype = \"sendgrid\"\nname = \"p%d\"\napi_key = %q\nbase_url = %q\npriority = %d\nrecovery_timeout = \"5ms\"\n",
			i, apiKey, server.URL, i)
	}
	at := startTables(t, text)
	codes, _ := failing{}.send(t, at, 0, mails, clientsAfter)
	if codes[250] != mails {
		t.Errorf("the replies were %v, want 250 for all", codes)
	}
	taken := flapping.Count()
	for key, n := range spare.Count() {
		taken[key] += n
	}
	for key, n := range taken {
		if n != 1 {
			t.Errorf("%s was taken %d times", key, n)
		}
	}
	if len(taken) != mails {
		t.Errorf("%d mails were taken, want %d", len(taken), mails)
	}
	t.Logf("of %d mails the flapping provider was asked for %d and took %d", mails, flapping.Requests(), len(flapping.Taken()))
}

const (
	// ratePerMinute and rateBurst are the limit that BenchmarkRate holds the bridge to.
	ratePerMinute = 600
	rateBurst     = 10
)

// BenchmarkRate sends for a minute what a limit of 600 requests a minute lets
// through. In that minute the provider must see the burst and, within 2 %, the limit.
func BenchmarkRate(b *testing.B) {
	var mu sync.Mutex // guards come
	var come []time.Time
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		come = append(come, time.Now())
		mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	b.Cleanup(server.Close)
	at := startTables(b, fmt.Sprintf("[[provider]]\ntype = \"sendgrid\"\nname = \"p\"\napi_key = %q\nbase_url = %q\nrate_limit = %d\nburst_limit = %d\n",
		apiKey, server.URL, ratePerMinute, rateBurst))
	for b.Loop() {
		come = nil
		mail := textMail(2 << 10)
		if err := flood(b.Context(), at.smtp, job{mail: wire(mail), count: rateBurst + ratePerMinute*11/10}); err != nil {
			b.Fatal(err)
		}
		end := come[0].Add(time.Minute)
		inside := slices.IndexFunc(come, func(at time.Time) bool { return at.After(end) })
		off := 100 * float64(inside-rateBurst-ratePerMinute) / ratePerMinute
		b.ReportMetric(float64(inside-rateBurst), "requests/min")
		b.ReportMetric(off, "%off")
		if off < -2 || off > 2 {
			b.Errorf("%d requests in a minute, want %d and the burst of %d", inside, ratePerMinute, rateBurst)
		}
	}
}

var requestsOf = regexp.MustCompile(`(?m)^bridge_provider_requests_total\{category="[a-z_]+",provider="([^"]+)"\} (\d+)$`)

// requests is how many the bridge has sent to a provider.
func requests(t *testing.T, at addresses, provider string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at.admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := new(http.Client).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, found := range requestsOf.FindAllSubmatch(text, -1) {
		if n, err := strconv.Atoi(string(found[2])); err == nil && string(found[1]) == provider {
			total += n
		}
	}
	return total
}

// serveRefused: nobody listens there, nor can while the test runs, for the port
// is that of a connection.
func serveRefused(t *testing.T) string {
	t.Helper()
	l := listen(t)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		_ = l.Close()
	})
	return "http://" + conn.LocalAddr().String()
}

// serveNoTLS answers a TLS handshake in plain text.
func serveNoTLS(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return "https://" + server.Listener.Addr().String()
}

// serveReset reads the beginning of a request and resets the connection.
func serveReset(t *testing.T) string {
	t.Helper()
	return serveEach(t, func(conn net.Conn) {
		_, _ = io.CopyN(io.Discard, conn, 4<<10)
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	})
}

// serveDeaf takes connections and reads nothing.
func serveDeaf(t *testing.T) string {
	t.Helper()
	return serveEach(t, func(net.Conn) {})
}

// serveMute reads requests and says nothing.
func serveMute(t *testing.T) string {
	t.Helper()
	return serveEach(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
}

// serveTrickle reads a request and answers an octet at a time, for ever.
func serveTrickle(t *testing.T) string {
	t.Helper()
	return serveEach(t, func(conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, request.Body)
		_, err = io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nX-Endless: ")
		for tick := time.NewTicker(10 * time.Millisecond); err == nil; <-tick.C {
			_, err = io.WriteString(conn, "x")
		}
	})
}

// serveFailed is the provider's own server error.
func serveFailed(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(sendgridtest.New(apiKey, func(int) sendgridtest.Fault { return sendgridtest.Failed }))
	t.Cleanup(server.Close)
	return server.URL
}

// serveGateway is a gateway that has lost its server.
func serveGateway(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// serveEach gives each connection to serve, and closes all when the test ends.
func serveEach(t *testing.T, serve func(conn net.Conn)) string {
	t.Helper()
	l := listen(t)
	var mu sync.Mutex // guards conns
	var conns []net.Conn
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			running.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return "http://" + l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

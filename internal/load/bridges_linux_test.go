package load_test

import (
	"context"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"smtpbridge/internal/store/postgrestest"
	"smtpbridge/providers/sendgrid/sendgridtest"
)

var shared = flag.Int("shared", 1000, "how many messages go through three bridges on one database")

// clientsEach is how many clients each bridge has at once.
const clientsEach = 10

// Three bridges on one PostgreSQL, three providers that fail at random, and one
// bridge that is killed and started again twice on the way: every 250 is a mail
// that one provider has taken, once, whatever bridge was asked and how often; no
// mail is taken twice; no quota is exceeded; and the application is told of each,
// by a sequence that rises.
func TestBridgesOnOneDatabase(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	mails := make([]string, *shared)
	var next, done atomic.Int64
	milestones := []chan struct{}{make(chan struct{}), make(chan struct{})}
	var group errgroup.Group
	for worker := range len(f.bridges) * clientsEach {
		group.Go(func() error {
			c := &sender{bridges: f.addresses(), at: worker % len(f.bridges)}
			defer c.close()
			for i := int(next.Add(1)) - 1; i < len(mails); i = int(next.Add(1)) - 1 {
				mails[i] = c.deliver(t.Context(), i)
				if n := int(done.Add(1)); n == len(mails)/4 || n == len(mails)/2 {
					close(milestones[4*n/len(mails)-1])
				}
			}
			return nil
		})
	}
	for _, reached := range milestones {
		<-reached
		f.bridges[0].restart(t)
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	accepted := f.checkTaken(t, mails)
	f.checkQuotas(t)
	f.checkEvents(t, accepted)
}

// fleet is what the test is about.
type fleet struct {
	fakes   []*sendgridtest.Fake
	quotas  []int
	bridges []*member
	app     *application
}

// member is one bridge.
type member struct {
	binary, config, smtp, admin string
	process                     *exec.Cmd
}

func (m *member) restart(t *testing.T) {
	t.Helper()
	if err := m.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = m.process.Wait()
	m.process = serve(t, m.binary, m.config, m.smtp)
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	url := postgrestest.Start(t).Database(t)
	f := &fleet{app: newApplication(t), quotas: []int{*shared / 5, *shared / 3, 0}}
	tables := fmt.Sprintf("[store]\nurl = %q\n[smtp]\ndelivery_timeout = \"10s\"\n[delivery]\ninitial_backoff = \"1ms\"\nstrategy = \"priority\"\n"+
		"[events]\nforward_url = %q\nforward_secret = %q\n", url, f.app.URL, forwardSecret)
	for i, quota := range f.quotas {
		f.fakes = append(f.fakes, sendgridtest.New(apiKey, func(n int) sendgridtest.Fault { return fate(n*7 + i*3) }))
		server := httptest.NewServer(f.fakes[i])
		t.Cleanup(server.Close)
		tables += fmt.Sprintf("[[provider]]\ntype = \"sendgrid\"\nname = \"p%d\"\napi_key = %q\nbase_url = %q\ntimeout = \"3s\"\n"+
			"recovery_timeout = \"100ms\"\npriority = %[1]d\ndaily_quota = %[4]d\n", i, apiKey, server.URL, quota)
	}
	binary := buildBridge(t)
	for range 3 {
		m := &member{binary: binary, smtp: freeAddress(t), admin: freeAddress(t), config: filepath.Join(t.TempDir(), "config.toml")}
		text := fmt.Sprintf("data_dir = \"data\"\n[[smtp.listener]]\naddress = %q\n[http]\nwebhook_address = %q\nadmin_address = %q\n",
			m.smtp, freeAddress(t), m.admin) + tables
		if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m.process = serve(t, binary, m.config, m.smtp)
		f.bridges = append(f.bridges, m)
	}
	return f
}

func (f *fleet) addresses() []string {
	var all []string
	for _, m := range f.bridges {
		all = append(all, m.smtp)
	}
	return all
}

// sender is a client as an application is one: what was refused for now, and what
// got no reply, it sends again, to the next bridge.
type sender struct {
	bridges []string
	at      int
	c       *client
}

// attempts of one mail. What may have been taken is answered 451 whenever it is
// sent again, so there is an end.
const attempts = 4

func (s *sender) deliver(ctx context.Context, i int) (reply string) {
	mail := fmt.Appendf(nil, "From: app@example.com\r\nTo: %s\r\nSubject: %d\r\nMessage-ID: <%[2]d@example.com>\r\n\r\ntext\r\n.\r\n", to(i), i)
	for range attempts {
		code, text, err := s.send(ctx, i, mail)
		if err != nil {
			reply = err.Error()
		} else if reply = fmt.Sprintf("%d %s", code, text); code == 250 {
			break
		}
		s.close()
		s.at = (s.at + 1) % len(s.bridges)
	}
	return reply
}

func (s *sender) send(ctx context.Context, i int, mail []byte) (code int, text string, err error) {
	if s.c == nil {
		if s.c, err = dial(ctx, s.bridges[s.at]); err != nil {
			s.c = nil
			return 0, "", err
		}
	}
	return s.c.send("app@example.com", to(i), mail)
}

func (s *sender) close() {
	if s.c != nil {
		s.c.close()
		s.c = nil
	}
}

func to(i int) string { return fmt.Sprintf("user%06d@example.net", i) }

// checkTaken holds every reply against how often its mail was taken, and gives the
// recipients of those that were accepted.
func (f *fleet) checkTaken(t *testing.T, replies []string) (accepted map[string]bool) {
	t.Helper()
	taken := make(map[string]int)
	for _, fake := range f.fakes {
		for key, n := range fake.Count() {
			_, recipient, _ := strings.Cut(key, " ")
			taken[recipient] += n
		}
	}
	accepted = make(map[string]bool)
	for i, reply := range replies {
		n := taken[to(i)]
		ok := strings.HasPrefix(reply, "250 ")
		if ok {
			accepted[to(i)] = true
		}
		if ok && n != 1 || n > 1 {
			t.Errorf("mail %d was taken %d times, the last reply is %q", i, n, reply)
		}
	}
	if len(accepted) < len(replies)*8/10 {
		t.Errorf("%d of %d were accepted, want most", len(accepted), len(replies))
	}
	t.Logf("%d of %d were accepted", len(accepted), len(replies))
	return accepted
}

// checkQuotas: no provider took more than its quota, and the first, which is asked
// before all others, took nearly all of it: what is missing may have been taken.
func (f *fleet) checkQuotas(t *testing.T) {
	t.Helper()
	for i, quota := range f.quotas {
		n := len(f.fakes[i].Taken())
		if quota > 0 && n > quota || i == 0 && n < quota*8/10 {
			t.Errorf("provider %d took %d mails, its quota is %d", i, n, quota)
		}
		t.Logf("provider %d took %d mails, its quota is %d", i, n, quota)
	}
}

// checkEvents: of each mail that was accepted there is one event, at whatever
// bridge one looks, and the application is told of it.
func (f *fleet) checkEvents(t *testing.T, accepted map[string]bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for { // the log is a second behind
		ids, missing := f.eventsOf(t, accepted)
		if missing == 0 {
			if err := f.app.await(ctx, ids); err != nil {
				t.Error(err)
			}
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("of %d mails that were accepted there is no event", missing)
		}
	}
}

func (f *fleet) eventsOf(t *testing.T, accepted map[string]bool) (ids []string, missing int) {
	t.Helper()
	seen, last := make(map[string]int), int64(0)
	for cursor := ""; ; {
		page := readEvents(t, "http://"+f.bridges[1].admin+"/api/v1/events?limit=100&type=accepted&after=0&cursor="+cursor)
		for _, e := range page.Items {
			if e.Sequence <= last {
				t.Errorf("event %s has the sequence %d after %d", e.ID, e.Sequence, last)
			}
			last = e.Sequence
			ids = append(ids, e.ID)
			if seen[e.Recipient]++; seen[e.Recipient] > 1 {
				t.Errorf("%s was accepted %d times", e.Recipient, seen[e.Recipient])
			}
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	for recipient := range accepted {
		if seen[recipient] == 0 {
			missing++
		}
	}
	return ids, missing
}

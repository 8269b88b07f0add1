package load_test

import (
	"flag"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"smtpbridge/providers/sendgrid/sendgridtest"
)

var messages = flag.Int("messages", 2000/share, "how many messages go through three providers that fail")

// Through three providers that fail at random, every 250 is a mail that exactly one
// of them has taken, once; and nothing is taken twice, whatever the reply.
func TestManyThroughThreeFailingProviders(t *testing.T) {
	t.Parallel()
	fakes := make([]*sendgridtest.Fake, 3)
	var tables strings.Builder
	for i := range fakes {
		fakes[i] = sendgridtest.New(apiKey, func(n int) sendgridtest.Fault { return fate(n*7 + i*3) })
		server := httptest.NewServer(fakes[i])
		t.Cleanup(server.Close)
		fmt.Fprintf(&tables, "[[provider]]\ntype = \"sendgrid\"\nname = \"p%d\"\napi_key = %q\nbase_url = %q\nrecovery_timeout = \"100ms\"\n", i, apiKey, server.URL)
	}
	address := startTables(t, "[delivery]\ninitial_backoff = \"1ms\"\n"+tables.String()).smtp
	replies := make([]string, *messages)
	var next atomic.Int64
	var group errgroup.Group
	for range 50 {
		group.Go(func() error {
			c, err := dial(t.Context(), address)
			if err != nil {
				return err
			}
			defer c.close()
			for i := int(next.Add(1)) - 1; i < *messages; i = int(next.Add(1)) - 1 {
				mail := fmt.Sprintf("From: app@example.com\r\nTo: %s\r\nSubject: %d\r\nMessage-ID: <%[2]d@example.com>\r\n\r\ntext\r\n.\r\n", recipient(i), i)
				code, text, err := c.send("app@example.com", recipient(i), []byte(mail))
				if err != nil {
					return err
				}
				replies[i] = fmt.Sprintf("%d %s", code, text)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	taken := make(map[string]int)
	for _, fake := range fakes {
		for key, n := range fake.Count() {
			taken[key] += n
		}
	}
	accepted := 0
	for i, reply := range replies {
		_, id, _ := strings.Cut(reply, " id=")
		n := taken[id+" "+recipient(i)]
		ok := strings.HasPrefix(reply, "250 ")
		if ok {
			accepted++
		}
		if ok && n != 1 || n > 1 {
			t.Errorf("mail %d was taken %d times, the reply is %q", i, n, reply)
		}
	}
	if accepted < *messages*8/10 {
		t.Errorf("%d of %d were accepted, want most: there are three providers", accepted, *messages)
	}
	t.Logf("%d of %d were accepted", accepted, *messages)
}

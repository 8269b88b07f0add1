package postmark_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers"
	"smtpbridge/providers/postmark/postmarktest"
	"smtpbridge/providers/providertest"
)

// addressList gives n addresses.
func addressList(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("r%d@example.org", i)
	}
	return list
}

// shape is how many messages each request has.
func shape(requests [][]postmarktest.Message) []int {
	var counts []int
	for _, messages := range requests {
		counts = append(counts, len(messages))
	}
	return counts
}

func TestSplit(t *testing.T) {
	const hidden = "To: undisclosed-recipients:;"
	shown := func(n int) string { return "To: " + strings.Join(addressList(n), ", ") }
	for _, c := range []struct {
		name, header string
		recipients   []string
		want         []int // the messages of each request
	}{
		{"1 shown", shown(1), addressList(1), []int{1}},
		{"1 hidden", hidden, addressList(1), []int{1}},
		{"50 shown", shown(50), addressList(50), []int{1}},
		{"51 shown", shown(51), addressList(51), []int{2}},
		{"1000 shown", shown(1000), addressList(1000), []int{20}},
		{"1001 shown", shown(1001), addressList(1001), []int{21}},
		{"50 hidden", hidden, addressList(50), []int{50}},
		{"51 hidden", hidden, addressList(51), []int{51}},
		{"500 hidden", hidden, addressList(500), []int{500}},
		{"501 hidden", hidden, addressList(501), []int{500, 1}},
		{"1000 hidden", hidden, addressList(1000), []int{500, 500}},
		{"1001 hidden", hidden, addressList(1001), []int{500, 500, 1}},
		// 49 go as Bcc of the first, the others alone.
		{"1 shown, 1000 hidden", shown(1), addressList(1001), []int{500, 452}},
		{"apart", "X-SMTPAPI: {\"to\":[\"r0@example.org\",\"r1@example.org\"]}\n" + shown(2), addressList(2), []int{2}},
		{"differing in case", shown(1), []string{"r0@example.org", "R0@example.org"}, []int{2}},
		{"only in the header", "To: r0@example.org, stranger@example.net\nCc: other@example.net", addressList(1), []int{1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			requests, _ := renderAll(t, newAdapter(), "From: a@example.com\n"+c.header+"\n\nx\n", c.recipients...)
			if got := shape(requests); !slices.Equal(got, c.want) {
				t.Errorf("the requests have %v messages, want %v", got, c.want)
			}
			var all []string
			for _, m := range slices.Concat(requests...) {
				all = append(all, m.Recipients()...)
			}
			if !slices.Equal(slices.Sorted(slices.Values(all)), slices.Sorted(slices.Values(c.recipients))) {
				t.Errorf("%d recipients get it, want the %d of the envelope, once each", len(all), len(c.recipients))
			}
		})
	}
}

// A batch is no larger than a message may be; a message that is too large stands
// alone, and httpapi refuses it before it is sent.
func TestSplitBySize(t *testing.T) {
	const limit = 10 << 20
	a := newAdapter()
	for _, c := range []struct {
		octets, recipients int
		want               []int
	}{
		{3 << 20, 7, []int{3, 3, 1}},
		{5 << 20, 3, []int{1, 1, 1}},
		{limit - 200_000, 2, []int{1, 1}},
		{limit + 1, 2, []int{1, 1}},
	} {
		mail := "From: a@example.com\n\n" + strings.Repeat("x", c.octets)
		if c.octets > 5<<20 { // as a file, which grows by a third
			mail = "From: a@example.com\nContent-Type: a/b\n\n" + strings.Repeat("x", c.octets/4*3)
		}
		m := providertest.Message(t, mail, addressList(c.recipients)...)
		var got []int
		for _, r := range a.Requests(m) {
			got = append(got, len(r.Recipients))
			if tooLarge := r.Body.Len() > a.Capabilities().MaxRequestBytes; tooLarge != (c.octets > limit) {
				t.Errorf("%d octets: a request has %d, too many is %v", c.octets, r.Body.Len(), tooLarge)
			}
			if c.octets <= limit {
				decode(t, r)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%d octets: the requests have %v messages, want %v", c.octets, got, c.want)
		}
		_, refusal := providers.Check(a.Capabilities(), m, time.Now())
		if (refusal != nil) != (c.octets > limit) || refusal != nil && refusal.Category != providers.TooLarge {
			t.Errorf("%d octets: Check says %v", c.octets, refusal)
		}
	}
}

func TestCheckOfLimits(t *testing.T) {
	file := func(name string) string {
		return multipart("Content-Type: application/octet-stream; name=" + name + "\n\nx")
	}
	for _, c := range []struct {
		name, mail string
		want       providers.Category
	}{
		{"text of 5 MiB", addressed + "\n" + strings.Repeat("x", 5<<20), ""},
		{"text of more", addressed + "\n" + strings.Repeat("x", 5<<20+1), providers.TooLarge},
		{"HTML of more", addressed + "Content-Type: text/html\n\n" + strings.Repeat("x", 5<<20+1), providers.TooLarge},
		{"a program", file("run.EXE"), providers.ContentRejected},
		{"octets", file("data.bin"), providers.ContentRejected},
		{"a name without extension", file("exe"), ""},
		{"a send time", addressed + "X-Bridge-Send-At: 2099-01-01T00:00:00Z\n\nx\n", providers.NotFaithful},
		{"a send time that has passed", addressed + "X-Bridge-Send-At: 2020-01-01T00:00:00Z\n\nx\n", ""},
		{"a merge", addressed + `X-SMTPAPI: {"sub":{"-n-":["x"]}}` + "\n\nx\n", providers.Malformed},
		{"a signed mail", addressed + "Content-Type: multipart/signed; boundary=s\n\n--s\n\nx\n--s--\n", providers.NotFaithful},
		{"a long From", "From: " + strings.Repeat("a", 250) + "@example.com\n\nx\n", providers.NotFaithful},
	} {
		m := providertest.Message(t, c.mail, "a@example.org")
		_, refusal := providers.Check(newAdapter().Capabilities(), m, time.Now())
		if (refusal == nil) != (c.want == "") || refusal != nil && refusal.Category != c.want {
			t.Errorf("%s: Check says %v, want %q", c.name, refusal, c.want)
		}
	}
}

// The mail is counted once, whatever the number of its messages, and nothing of
// it is held.
func TestLargeMailToManyIsCheap(t *testing.T) {
	took := func(recipients int) time.Duration {
		m := providertest.Message(t, "From: a@example.com\n\n"+strings.Repeat("x\n", 2<<20), addressList(recipients)...)
		start := time.Now()
		newAdapter().Requests(m)
		return time.Since(start)
	}
	if one, many := took(1), took(2000); many > 500*one {
		t.Errorf("for one recipient it takes %v, for 2000 %v, want far less than 2000 times as much", one, many)
	}
}

// net/http closes a body when the connection has failed, while it is read or not.
func TestClosedBody(t *testing.T) {
	m := providertest.Message(t, addressed+"\nx\n", "a@example.org")
	body, err := newAdapter().Requests(m)[0].Body.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := body.Read(make([]byte, 10)); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed body gives %d octets, %v", n, err)
	}
}

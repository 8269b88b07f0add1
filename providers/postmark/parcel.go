package postmark

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// Requests renders the message: one message to everybody, or one to each who is
// hidden, in as few batches as the limits allow.
func (a *Adapter) Requests(m *translate.Message) []providers.Request {
	var requests []providers.Request
	next := &parcel{rest: a.render(m)}
	for _, group := range providers.Copies(m, maxRecipients) {
		for _, one := range group {
			head := renderHead(one)
			if !next.fits(head) {
				requests = append(requests, next.request())
				next = &parcel{rest: next.rest}
			}
			next.add(head, one.Recipients())
		}
	}
	if len(next.heads) == 0 { // nobody receives it
		return requests
	}
	return append(requests, next.request())
}

// renderHead is the beginning of a message: who gets it.
func renderHead(one providers.Copy) []byte {
	var head bytes.Buffer
	encoder := json.NewEncoder(&head)
	encoder.SetEscapeHTML(false) // as in the rest, and shorter
	//nolint:errcheck // strings can be written, and a buffer takes them
	encoder.Encode(struct {
		To  string `json:"To"`
		Cc  string `json:"Cc,omitempty"`
		Bcc string `json:"Bcc,omitempty"`
	}{addresses(one.To), addresses(one.Cc), addresses(one.Bcc)})
	return append(bytes.TrimSuffix(head.Bytes(), []byte("}\n")), ',')
}

// addresses are comma-separated in one string, a name with a comma in quotes.
func addresses(list []translate.Address) string {
	var out strings.Builder
	for i, address := range list {
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString(address.String())
	}
	return out.String()
}

// parcel is the body of one request: a message, or an array of several that
// differ in their recipients. What they have in common is rendered, and counted,
// once for all of them.
type parcel struct {
	rest   providers.Body // the members of a message behind its recipients
	heads  [][]byte
	copies [][]string // the recipients of each message
	length int64      // without the brackets of an array
}

// fits reports whether one more message has room. One that is too large stands
// alone: it is refused then, and no other with it.
func (p *parcel) fits(head []byte) bool {
	return len(p.heads) == 0 ||
		len(p.heads) < maxMessages && p.length+p.messageLen(head)+int64(len("[,]")) <= maxBatchBytes
}

func (p *parcel) add(head []byte, recipients []string) {
	if len(p.heads) > 0 {
		p.length += int64(len(","))
	}
	p.heads, p.copies = append(p.heads, head), append(p.copies, recipients)
	p.length += p.messageLen(head)
}

func (p *parcel) messageLen(head []byte) int64 { return int64(len(head)+len("}")) + p.rest.Len() }

func (p *parcel) request() providers.Request {
	url := sendURL
	if p.isBatch() {
		url = batchURL
	}
	var recipients []string
	for _, list := range p.copies {
		recipients = append(recipients, list...)
	}
	return providers.Request{
		Method: http.MethodPost,
		URL:    url,
		// Without either the answer is 415.
		Header:     http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}},
		Body:       p,
		Recipients: recipients,
	}
}

func (p *parcel) isBatch() bool { return len(p.heads) > 1 }

// Len is the exact number of octets that Open gives.
func (p *parcel) Len() int64 {
	if p.isBatch() {
		return p.length + int64(len("[]"))
	}
	return p.length
}

// Open may be called any number of times, concurrently.
func (p *parcel) Open() (io.ReadCloser, error) { return &parcelReader{parcel: p}, nil }

// piece opens the n-th part of the body: before each message a literal, then the
// rest of it, and a literal at the end.
func (p *parcel) piece(n int) (io.ReadCloser, error) {
	at, last := n/2, len(p.heads)
	if n%2 == 1 {
		return p.rest.Open()
	}
	var literal []byte
	switch {
	case at == 0 && p.isBatch():
		literal = append([]byte("["), p.heads[at]...)
	case at == 0:
		literal = p.heads[at]
	case at < last:
		literal = append([]byte("},"), p.heads[at]...)
	case p.isBatch():
		literal = []byte("}]")
	default:
		literal = []byte("}")
	}
	return io.NopCloser(bytes.NewReader(literal)), nil
}

// parcelReader reads the pieces one after another, each opened when its turn
// comes.
type parcelReader struct {
	parcel *parcel

	mu      sync.Mutex // guards what follows: net/http may close while it reads
	next    int
	current io.ReadCloser
	closed  bool
}

// Read implements [io.Reader].
func (r *parcelReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if err := r.advance(); err != nil {
			return 0, err
		}
		n, err := r.current.Read(b)
		if errors.Is(err, io.EOF) {
			err = r.current.Close()
			r.current = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// advance opens the next piece where none is open.
func (r *parcelReader) advance() (err error) {
	switch {
	case r.closed:
		return os.ErrClosed
	case r.current != nil:
		return nil
	case r.next > 2*len(r.parcel.heads):
		return io.EOF
	}
	r.current, err = r.parcel.piece(r.next)
	r.next++
	return err
}

// Close closes the piece that is open; net/http may call it more than once.
func (r *parcelReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.current == nil {
		return nil
	}
	current := r.current
	r.current = nil
	return current.Close()
}

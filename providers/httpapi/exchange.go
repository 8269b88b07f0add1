package httpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync/atomic"
	"time"

	"smtpbridge/providers"
)

const (
	// maxAnswer is how much of an answer's body is read, in octets.
	maxAnswer = 1 << 20
	// maxAnswerTime is how long a body is read after its header, which has said
	// most: a client waits for the reply.
	maxAnswerTime = 5 * time.Second
	// maxAtOnce is how much of a body leaves in one write with its header, in octets.
	maxAtOnce = writeBufferSize - 4<<10
)

// errTimeout is the cause of a request that ran out of its own time.
var errTimeout = errors.New("the provider's timeout ran out")

// answer is a response, and the secrets that the request to it held.
type answer struct {
	providers.Response

	secrets secrets
}

// exchange makes one request and reads its answer. Without an answer the error
// says why and the state whether the request may have been read.
func (p *Provider) exchange(ctx context.Context, r providers.Request) (answer, providers.State, *providers.Error) {
	return p.exchangeWithin(ctx, r, maxAnswer, maxAnswerTime)
}

// exchangeWithin reads no more of the body than so many octets, and no longer than
// so long.
func (p *Provider) exchangeWithin(ctx context.Context, r providers.Request, octets int64, patience time.Duration) (answer, providers.State, *providers.Error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.config.Timeout.Std(), errTimeout)
	defer cancel()
	sent := newHandover(r.Body)
	req, secrets, err := p.request(sent.follow(ctx), r, sent)
	if err != nil {
		return answer{}, providers.Refused, err
	}
	response, failure := p.transport.RoundTrip(req)
	if failure != nil {
		state, err := sent.unanswered(ctx, failure)
		return answer{}, state, err
	}
	defer response.Body.Close() //nolint:errcheck // what was read of the answer is all there is
	if response.StatusCode < 300 && sent.giveUp() {
		return answer{}, providers.Refused,
			&providers.Error{Category: providers.NetworkError, Message: "answered before the whole mail was sent"}
	}
	if response.Body != http.NoBody {
		defer time.AfterFunc(patience, cancel).Stop()
	}
	return answer{read(response, octets), secrets}, providers.Refused, nil
}

// request authorises r and gives it its body.
func (p *Provider) request(ctx context.Context, r providers.Request, sent *handover) (*http.Request, secrets, *providers.Error) {
	req, err := p.address(ctx, r)
	if err != nil {
		return nil, nil, &providers.Error{Category: providers.ConfigurationError, Local: true, Message: err.Error(), Cause: err}
	}
	maps.Copy(req.Header, r.Header)
	maps.Copy(req.Header, p.header)
	if r.Body != nil {
		req.ContentLength, req.GetBody = r.Body.Len(), r.Body.Open
	}
	if err := p.adapter.Authorize(ctx, req); err != nil {
		return nil, nil, unauthorised(err)
	}
	if r.Body == nil {
		return req, secretsIn(req, r.Header, p.header), nil
	}
	req.GetBody = sent.open
	if req.Body, err = sent.open(); err != nil {
		return nil, nil, unreadable(err)
	}
	return req, secretsIn(req, r.Header, p.header), nil
}

func unauthorised(err error) *providers.Error {
	if known, ok := errors.AsType[*providers.Error](err); ok {
		return known
	}
	return &providers.Error{Category: providers.Authentication, Message: "the request could not be authorised", Cause: err}
}

func unreadable(err error) *providers.Error {
	return &providers.Error{Category: providers.LocalFailure, Message: "the mail could not be read from the spool", Cause: err}
}

// handover follows a body into the transport.
//
// A body that is streamed is followed octet by octet. One that fits the write
// buffer beside its header is not: it leaves with the header in one write, for
// which net/http must see a reader that it knows. It counts as handed over as
// soon as there is a connection that takes it.
type handover struct {
	body   providers.Body
	octets []byte // of the body, where it leaves in one write
	stage  atomic.Int32
	// failure is why the body could not be read to its end.
	failure atomic.Pointer[error]
}

// The stages of a body. It leaves the first one once.
const (
	underWay int32 = iota
	whole          // the last octet was handed over
	givenUp        // it never will be
)

// errGivenUp ends a body that the transport reads on although nobody waits for
// the answer any more.
var errGivenUp = errors.New("the request was given up")

func newHandover(b providers.Body) *handover {
	h := &handover{body: b}
	if b, ok := b.(*body); ok && b.length <= maxAtOnce {
		h.octets = b.literal()
	}
	return h
}

// follow has the transport tell when a body that leaves in one write has got its
// connection. Where that had died before anything was written, the transport
// looks for another, and there may be none.
func (h *handover) follow(ctx context.Context) context.Context {
	if h.octets == nil {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { h.stage.Store(underWay) },
		GotConn: func(httptrace.GotConnInfo) { h.stage.Store(whole) },
	})
}

// open starts the body. The transport calls it again only where nothing of
// the request was written yet.
func (h *handover) open() (io.ReadCloser, error) {
	if h.octets != nil {
		return io.NopCloser(bytes.NewReader(h.octets)), nil
	}
	if h.stage.Load() == givenUp {
		return nil, errGivenUp
	}
	h.stage.Store(underWay)
	src, err := h.body.Open()
	if err != nil {
		return nil, err
	}
	return &handoverReader{ReadCloser: src, left: h.body.Len(), to: h}, nil
}

// giveUp holds the last octet back from now on, unless it was handed over: what
// is called refused stays unread.
func (h *handover) giveUp() bool {
	return h.body != nil && h.body.Len() > 0 && h.stage.CompareAndSwap(underWay, givenUp)
}

// unanswered says what is known of a request that got no answer.
func (h *handover) unanswered(ctx context.Context, err error) (providers.State, *providers.Error) {
	state := providers.Ambiguous
	if h.giveUp() {
		state = providers.Refused
		if failure := h.failure.Load(); failure != nil {
			return state, unreadable(*failure)
		}
	}
	return state, &providers.Error{Category: providers.NetworkError, Message: describe(ctx, err), Cause: err}
}

// handoverReader counts what the transport takes.
type handoverReader struct {
	io.ReadCloser

	left int64
	to   *handover
}

// Read notes the last octet, and a body that ends before it.
func (r *handoverReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.left -= int64(n)
	if r.left > 0 {
		return n, r.unfinished(err)
	}
	if r.to.stage.CompareAndSwap(underWay, whole) || r.to.stage.Load() == whole {
		return n, err
	}
	return 0, errGivenUp
}

// unfinished keeps an error that comes before the last octet, but for the one
// of a body that the transport has closed because the network failed.
func (r *handoverReader) unfinished(err error) error {
	if err == nil {
		return nil
	}
	if err == io.EOF { //nolint:errorlint // an io.Reader ends with the bare value
		err = io.ErrUnexpectedEOF
	}
	if !errors.Is(err, os.ErrClosed) {
		r.to.failure.Store(&err)
	}
	return err
}

// describe says why there is no answer, without the URL, which may hold a
// proxy's password, and without addresses of this host.
func describe(ctx context.Context, err error) string {
	var (
		dns  *net.DNSError
		cert *tls.CertificateVerificationError
		op   *net.OpError
	)
	switch {
	case errors.Is(context.Cause(ctx), errTimeout):
		return "no answer within the timeout"
	case ctx.Err() != nil:
		return "no answer before the request was given up"
	case errors.As(err, &dns):
		return "dns error: " + dns.Err
	case errors.As(err, &cert):
		return "tls: " + cert.Err.Error()
	case errors.As(err, &op):
		op = innermost(op)
		return op.Op + ": " + op.Err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed without an answer"
	}
	return "no answer in HTTP"
}

// innermost is the operation that failed first: the text of those around it
// repeats its addresses.
func innermost(op *net.OpError) *net.OpError {
	for {
		inner, ok := errors.AsType[*net.OpError](op.Err)
		if !ok {
			return op
		}
		op = inner
	}
}

// read takes the answer in, up to so many octets of its body.
func read(response *http.Response, most int64) providers.Response {
	out := providers.Response{Status: response.StatusCode, Header: response.Header}
	if response.Body != http.NoBody {
		out.Body, out.Truncated = readBody(response.Body, most)
	}
	out.Time = time.Now()
	return out
}

// readBody reads up to the cap.
func readBody(body io.Reader, most int64) (octets []byte, truncated bool) {
	var content bytes.Buffer
	_, err := content.ReadFrom(io.LimitReader(body, most+1))
	truncated = err != nil || int64(content.Len()) > most
	content.Truncate(min(content.Len(), int(most)))
	return content.Bytes(), truncated
}

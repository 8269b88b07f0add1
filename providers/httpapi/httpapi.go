// Package httpapi makes a provider of an adapter and HTTP: it runs the
// adapter's requests with streamed bodies, authorises them, bounds their time
// and their answers, and says what is ambiguous.
//
// A request that got no answer is ambiguous as soon as the last octet of its
// body was handed to the transport, or where it leaves in one write as soon as
// there was a connection: before that nobody can have read it whole.
// Redirects are never followed, and nothing that may have been read is sent
// again: no request carries an Idempotency-Key, with which net/http would
// repeat it by itself.
package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"time"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

var (
	errBaseURL  = errors.New("base_url is not scheme and host alone")
	errEndpoint = errors.New("the endpoint is no URL, or its method none of HTTP")
)

// Provider is one configured account of a provider. It is safe for concurrent
// use; it starts no goroutine.
type Provider struct {
	config    Config
	base      *url.URL // of base_url; nil without one, and where it cannot be read
	adapter   providers.Adapter
	transport http.RoundTripper
	header    http.Header // that every request has
}

// New joins an adapter and a transport, which providers may share. The
// configuration must be valid.
func New(c Config, a providers.Adapter, transport http.RoundTripper) *Provider {
	base, _ := parseBase(c.BaseURL)
	return &Provider{config: c, base: base, adapter: a, transport: transport, header: http.Header{
		"User-Agent":      {"smtp-bridge/" + version()},
		"Accept-Encoding": {"identity"}, // the octets of an answer are read as they come
	}}
}

// version is that of the build; "devel" outside a release.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// Name is the configured name.
func (p *Provider) Name() string { return p.config.Name }

// Capabilities are the adapter's.
func (p *Provider) Capabilities() providers.Capabilities { return p.adapter.Capabilities() }

// Requests are what Send would send, without credentials.
func (p *Provider) Requests(m *translate.Message) []providers.Request {
	requests := p.adapter.Requests(m)
	for i := range requests {
		if target, err := url.Parse(requests[i].URL); err == nil && p.base != nil {
			target.Scheme, target.Host = p.base.Scheme, p.base.Host
			requests[i].URL = target.String()
		}
	}
	return requests
}

// Send runs the adapter's requests one after another and blocks until all are
// answered or given up. Once an answer says that the account or the provider is
// unavailable, the rest of the requests stays unsent.
func (p *Provider) Send(ctx context.Context, m *translate.Message) providers.Outcome {
	outcome := make(providers.Outcome, len(m.Envelope.Recipients))
	places := make(map[string]int)
	for i, recipient := range m.Envelope.Recipients {
		places[recipient] = i
	}
	var given *providers.Error
	for _, r := range p.adapter.Requests(m) {
		var results providers.Outcome
		if given != nil {
			results = providers.Fail(r.Recipients, providers.Refused, given)
		} else {
			results = p.send(ctx, r)
			given = hopeless(results)
		}
		for _, result := range results {
			if i, known := places[result.Recipient]; known {
				outcome[i] = result
			}
		}
	}
	for i, recipient := range m.Envelope.Recipients {
		if outcome[i].Recipient != recipient {
			outcome[i] = providers.Result{Recipient: recipient, State: providers.Refused, Err: &providers.Error{
				Category: providers.LocalFailure, Message: "no request was made for this recipient",
			}}
		}
		outcome[i].Provider = p.config.Name
	}
	return outcome
}

// hopeless is the error that the next request would meet as well.
func hopeless(outcome providers.Outcome) *providers.Error {
	beyondOneRequest := []providers.Category{
		providers.Authentication, providers.RateLimit, providers.QuotaExceeded, providers.NetworkError,
		providers.ServiceUnavailable, providers.ConfigurationError, providers.LocalFailure,
	}
	for _, result := range outcome {
		if result.Err != nil && slices.Contains(beyondOneRequest, result.Err.Category) {
			return result.Err
		}
	}
	return nil
}

// send makes one request: one result for each of its recipients.
func (p *Provider) send(ctx context.Context, r providers.Request) providers.Outcome {
	if limit := p.Capabilities().MaxRequestBytes; limit > 0 && r.Body != nil && r.Body.Len() > limit {
		return providers.Fail(r.Recipients, providers.Refused, &providers.Error{
			Category: providers.TooLarge, Local: true, Message: "the request is larger than the provider takes",
		})
	}
	answer, state, err := p.exchange(ctx, r)
	if err != nil {
		return providers.Fail(r.Recipients, state, err)
	}
	outcome := complete(r.Recipients, p.adapter.Results(r, answer.Response))
	answer.secrets.clean(outcome)
	return outcome
}

// complete gives exactly one result per recipient, each with an error unless
// it was accepted. Of what the adapter says nothing, nothing is known.
func complete(recipients []string, results []providers.Result) providers.Outcome {
	outcome := make(providers.Outcome, len(recipients))
	for i, recipient := range recipients {
		at := i // the usual order
		if i >= len(results) || results[i].Recipient != recipient {
			at = slices.IndexFunc(results, func(r providers.Result) bool { return r.Recipient == recipient })
		}
		if at >= 0 && (results[at].State == providers.Accepted) == (results[at].Err == nil) {
			outcome[i] = results[at]
			continue
		}
		outcome[i] = providers.Result{Recipient: recipient, Err: &providers.Error{
			Category: providers.ServiceUnavailable, Message: "the answer says nothing of this recipient",
		}}
	}
	return outcome
}

// probeReader is an adapter that reads more out of the answer to its probe
// than the status.
type probeReader interface {
	// Probed gives nil where the credentials can send.
	Probed(resp providers.Response) *providers.Error
}

// secondProbe is an adapter with a second question, for credentials that may
// send but not ask the first one.
type secondProbe interface {
	// ProbeAgain gives it where the first answer leaves it open.
	ProbeAgain(first providers.Response) (second providers.Request, open bool)
}

// Probe asks the provider whether the credentials work, without sending. The
// error is a [*providers.Error].
func (p *Provider) Probe(ctx context.Context) error {
	answer, _, refusal := p.exchange(ctx, p.adapter.Probe())
	if refusal != nil {
		return refusal
	}
	if asker, ok := p.adapter.(secondProbe); ok {
		if second, open := asker.ProbeAgain(answer.Response); open {
			if answer, _, refusal = p.exchange(ctx, second); refusal != nil {
				return refusal
			}
		}
	}
	if reader, ok := p.adapter.(probeReader); ok {
		refusal = reader.Probed(answer.Response)
	} else if answer.Status < 200 || answer.Status > 299 {
		refusal = providers.Refusal(answer.Status, string(answer.Body))
	}
	if refusal != nil {
		return answer.secrets.cleanError(refusal)
	}
	return nil
}

// Timeout bounds one request.
func (p *Provider) Timeout() time.Duration { return p.config.Timeout.Std() }

// Find asks what became of a message: one result per recipient. Where the API
// cannot be asked, or does not answer, all are ambiguous.
func (p *Provider) Find(ctx context.Context, s providers.Sent) providers.Outcome {
	unknown := providers.Fail(s.Recipients, providers.Ambiguous,
		&providers.Error{Category: providers.NetworkError, Message: "it is not known whether the provider took it"})
	if finder, ok := p.adapter.(providers.Finder); ok {
		if answer, _, err := p.exchange(ctx, finder.Find(s)); err == nil {
			unknown = complete(s.Recipients, finder.Found(s, answer.Response))
			answer.secrets.clean(unknown)
		}
	}
	for i := range unknown {
		unknown[i].Provider = p.config.Name
	}
	return unknown
}

// address makes a request of r, without header and body, to where base_url says
// instead of the real scheme and host.
func (p *Provider) address(ctx context.Context, r providers.Request) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, http.NoBody)
	switch {
	case err != nil:
		return nil, errEndpoint
	case p.config.BaseURL == "":
		return req, nil
	case p.base == nil:
		return nil, errBaseURL
	}
	req.URL.Scheme, req.URL.Host, req.Host = p.base.Scheme, p.base.Host, p.base.Host
	return req, nil
}

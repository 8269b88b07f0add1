package ses

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"smtpbridge/events"
)

const (
	// fetchTimeout bounds each of the two questions that a call may cost; SNS waits
	// 15 s for its answer.
	fetchTimeout = 5 * time.Second
	// maxFetched bounds what is read of an answer, in octets: a certificate has 2 KiB.
	maxFetched = 16 << 10
	// maxCertificates bounds those that are kept. A region has one at a time.
	maxCertificates = 64
)

// certificateName is whom SNS signs as. The name depends on the region: sns,
// sns-cn-north-1, sns-signing.me-south-1.
var certificateName = regexp.MustCompile(`^sns(-[a-z0-9-]+)?(\.[a-z0-9-]+)?\.amazonaws\.(com|com\.cn|eu)$`)

// newClient follows no redirect: what is asked of is a host of AWS alone.
func newClient(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// fetch gets what stands under an address that was checked before. No error shows
// the address: that of a confirmation holds a token.
func fetch(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, errors.New("the address cannot be asked")
	}
	resp, err := client.Do(r)
	if failure, ok := errors.AsType[*url.Error](err); ok {
		err = failure.Err
	}
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", r.URL.Host, err)
	}
	defer resp.Body.Close() //nolint:errcheck // reading is done
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d", r.URL.Host, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFetched+1)) //nolint:forbidigo // bounded by maxFetched
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", r.URL.Host, err)
	}
	if len(body) > maxFetched {
		return nil, fmt.Errorf("%s answers with more than %d octets", r.URL.Host, maxFetched)
	}
	return body, nil
}

// certificates are those that SNS signs with, by address.
type certificates struct {
	client *http.Client
	flight singleflight.Group

	mu    sync.Mutex // guards what follows
	known map[string]*x509.Certificate
}

// get fetches a certificate once. Those who wait for the same one share the
// question, which outlives the call that asked it. Failures are not kept.
func (c *certificates) get(ctx context.Context, address string) (*x509.Certificate, error) {
	c.mu.Lock()
	known := c.known[address]
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	asked, err, _ := c.flight.Do(address, func() (any, error) {
		content, err := fetch(context.WithoutCancel(ctx), c.client, address)
		if err != nil {
			return nil, fmt.Errorf("getting the certificate of SNS: %w", err)
		}
		certificate, err := readCertificate(content)
		if err != nil {
			return nil, err
		}
		c.keep(address, certificate)
		return certificate, nil
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // it is from above
	}
	certificate, _ := asked.(*x509.Certificate)
	return certificate, nil
}

// keep forgets all others when they are too many: they are fetched again.
func (c *certificates) keep(address string, certificate *x509.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= maxCertificates {
		c.known = make(map[string]*x509.Certificate)
	}
	c.known[address] = certificate
}

// readCertificate: what is no certificate is an answer of somebody between, and as
// good as none.
func readCertificate(content []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(content)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("getting the certificate of SNS: the answer is none; does a proxy stand between?")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("getting the certificate of SNS: %w", err)
	}
	return certificate, nil
}

// verify checks the signature, and that the certificate is one to sign with now.
// Who issued it is not asked: it came from AWS' own host.
func (s signature) verify(certificate *x509.Certificate, now time.Time) error {
	_, isRSA := certificate.PublicKey.(*rsa.PublicKey)
	names := append(slices.Clip(certificate.DNSNames), certificate.Subject.CommonName)
	switch {
	case !isRSA || !slices.ContainsFunc(names, certificateName.MatchString):
		return fmt.Errorf("%w: the certificate is not one that SNS signs with", events.ErrUnauthenticated)
	case now.Before(certificate.NotBefore) || now.After(certificate.NotAfter):
		return fmt.Errorf("%w: the certificate is valid from %s to %s; is the clock of this host right?", events.ErrUnauthenticated,
			certificate.NotBefore.Format(time.DateOnly), certificate.NotAfter.Format(time.DateOnly))
	case certificate.CheckSignature(s.algorithm, []byte(s.text), s.octets) != nil:
		return fmt.Errorf("%w: the signature is wrong", events.ErrUnauthenticated)
	}
	return nil
}

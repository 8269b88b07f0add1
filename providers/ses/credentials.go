package ses

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"

	"smtpbridge/providers"
)

const (
	// askTimeout bounds one question for credentials, which outlives the request
	// that asks it: others may wait for the same answer.
	askTimeout = 10 * time.Second
	// renewBefore is how long before they expire credentials are renewed: longer
	// than a request is under way.
	renewBefore = time.Minute
)

// chain is the AWS default chain. It is set up when the first credentials are
// asked for; what it gives is kept until shortly before it expires.
type chain struct {
	region string

	mu     sync.Mutex // guards what follows
	loaded aws.CredentialsProvider
}

// Retrieve gives the credentials as they are now. Every failure is tried anew
// with the next call.
func (c *chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	loaded, err := c.load(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	return loaded.Retrieve(ctx) //nolint:wrapcheck // withoutKeys reads it
}

// load reads environment and shared files; the network is asked later. The SDK's
// own retries are off: who retries is decided in one place. The region is only for
// those who ask STS and name none of their own.
func (c *chain) load(ctx context.Context) (aws.CredentialsProvider, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded != nil {
		return c.loaded, nil
	}
	client := awshttp.NewBuildableClient().WithTimeout(askTimeout).
		WithTransportOptions(func(t *http.Transport) { t.DisableKeepAlives = true })
	loaded, err := awsconfig.LoadDefaultConfig(ctx,
		awsconfig.WithDefaultRegion(c.region),
		awsconfig.WithHTTPClient(client),
		awsconfig.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient = client }),
		awsconfig.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		awsconfig.WithCredentialsCacheOptions(func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewBefore }),
	)
	if err != nil {
		return nil, err //nolint:wrapcheck // withoutKeys reads it
	}
	c.loaded = loaded.Credentials
	return c.loaded, nil
}

const (
	noKeys = "there are no AWS credentials"
	remedy = "; set access_key_id and secret_access_key, or give the bridge a role or a profile that the AWS default chain finds"
)

// withoutKeys classifies a chain that gave nothing; nothing was sent. The SDK's own
// words are not repeated: they may hold what a credential process or a token file
// said.
func withoutKeys(err error) *providers.Error {
	switch {
	case isPassing(err):
		return &providers.Error{Category: providers.ServiceUnavailable, Message: "AWS gives no credentials at present" + reasonOf(err)}
	case isUnanswered(err):
		return &providers.Error{Category: providers.NetworkError, Message: noKeys + ": who should give them does not answer" + remedy}
	}
	return &providers.Error{Category: providers.Authentication, Message: noKeys + reasonOf(err) + remedy}
}

// isPassing: an answer that says to try again.
func isPassing(err error) bool {
	var answered interface{ HTTPStatusCode() int }
	if errors.As(err, &answered) && (answered.HTTPStatusCode() >= 500 || answered.HTTPStatusCode() == http.StatusTooManyRequests) {
		return true
	}
	code := strings.TrimSuffix(codeOf(err), "Exception")
	return slices.Contains(throttled, code) || code == "IDPCommunicationError"
}

// isUnanswered: no answer came.
func isUnanswered(err error) bool {
	var (
		unconnected interface{ ConnectionError() bool }
		network     net.Error
	)
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &unconnected) && unconnected.ConnectionError() || errors.As(err, &network)
}

// reasonOf is what can be said of an error without repeating a secret.
func reasonOf(err error) string {
	if profile, ok := errors.AsType[awsconfig.SharedConfigProfileNotExistError](err); ok {
		return ": the profile " + providers.Words(profile.Profile) + " does not exist"
	}
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return ": " + providers.Words(file.Error())
	}
	if code := codeOf(err); code != "" {
		return ": " + code
	}
	return ""
}

// codeOf is the name of an error that AWS answered, empty where it is none.
func codeOf(err error) string {
	var coded interface{ ErrorCode() string }
	if errors.As(err, &coded) && isName(coded.ErrorCode()) {
		return coded.ErrorCode()
	}
	return ""
}

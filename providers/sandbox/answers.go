package sandbox

import (
	"context"
	"strings"
	"time"

	"smtpbridge/providers"
)

const (
	// domain is where recipients are answered by their local part (RFC 6761,
	// 6.2: nobody ever receives mail under .test).
	domain = "sandbox.test"
	// slow is the local part that is taken after slowness.
	slow     = "slow"
	slowness = 5 * time.Second
)

// refusals are the errors by local part, in the words of real providers.
var refusals = map[string]providers.Error{
	"bounce": {
		Category: providers.InvalidRecipient, ProviderCode: "550",
		Message: "550 5.1.1 user unknown",
	},
	"ratelimit": {
		Category: providers.RateLimit, ProviderCode: "429", RetryAfter: time.Minute,
		Message: "429 too many requests, try again in a minute",
	},
	"quota": {
		Category: providers.QuotaExceeded, ProviderCode: "402", Local: true,
		Message: "402 daily limit reached",
	},
	"auth": {
		Category: providers.Authentication, ProviderCode: "401",
		Message: "401 the API key is invalid",
	},
	"spam": {
		Category: providers.ContentRejected, ProviderCode: "400",
		Message: "400 message rejected as spam",
	},
	"config": {
		Category: providers.ConfigurationError, ProviderCode: "404",
		Message: "404 the sender's domain is not configured",
	},
	"down": {
		Category: providers.ServiceUnavailable, ProviderCode: "503",
		Message: "503 service unavailable",
	},
	"network": {
		Category: providers.NetworkError,
		Message:  "connection refused",
	},
	"ambiguous": {
		Category: providers.NetworkError,
		Message:  "connection reset after the request was written",
	},
}

// localPart is the local part that decides, lower-cased and without a +tag;
// empty outside sandbox.test.
func localPart(recipient string) string {
	local, at, found := strings.Cut(strings.ToLower(recipient), "@")
	if !found || at != domain {
		return ""
	}
	local, _, _ = strings.Cut(local, "+")
	return local
}

func isSlow(recipient string) bool { return localPart(recipient) == slow }

// answer is what becomes of one recipient. Each has an error of its own: who
// gets it may add to it.
func answer(recipient string) providers.Result {
	local := localPart(recipient)
	refusal, found := refusals[local]
	if !found {
		return providers.Result{Recipient: recipient, State: providers.Accepted}
	}
	refusal.Message += " (simulated by the sandbox)"
	refusal.Simulated = true
	state := providers.Refused
	if local == "ambiguous" {
		state = providers.Ambiguous
	}
	return providers.Result{Recipient: recipient, State: state, Err: &refusal}
}

// linger waits for as long as slow@ takes, or until ctx ends: that is returned.
func linger(ctx context.Context) *providers.Error {
	timer := time.NewTimer(slowness)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return &providers.Error{
			Category:  providers.NetworkError,
			Simulated: true,
			Message:   "no answer from slow@" + domain + " (simulated by the sandbox)",
			Cause:     context.Cause(ctx),
		}
	}
}

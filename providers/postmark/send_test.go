package postmark_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/providers/postmark"
	"smtpbridge/providers/postmark/postmarktest"
	"smtpbridge/providers/providertest"
	"smtpbridge/translate"
)

// connect makes a provider of the fake, until the test ends.
func connect(t *testing.T, a *postmark.Adapter, fake *postmarktest.Fake) *httpapi.Provider {
	t.Helper()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c := httpapi.DefaultConfig("postmark")
	c.BaseURL = server.URL
	return httpapi.New(c, a, transport)
}

// Whatever fails, what is said of a mail agrees with what Postmark saw: what was
// accepted was sent once, what was refused never, and nothing twice; alone, with
// others in one message, and in a batch.
func TestSendAgreesWithPostmark(t *testing.T) {
	faults := []postmarktest.Fault{
		postmarktest.None, postmarktest.Throttled, postmarktest.None, postmarktest.Maintenance, postmarktest.None,
		postmarktest.Gateway, postmarktest.ResetBefore, postmarktest.None, postmarktest.ResetAfter, postmarktest.Lost,
	}
	fake := postmarktest.New(token, func(n int) postmarktest.Fault { return faults[n%len(faults)] })
	fake.Suppress("gone@example.org")
	provider := connect(t, newAdapter(), fake)
	recipients := []string{"a@example.org", "gone@example.org", "B@example.org"}
	mails := []*translate.Message{
		providertest.Message(t, addressed+"\nHello\n", recipients...),
		providertest.Message(t, "From: a@example.com\n\nHello\n", recipients...),
	}

	const workers, each = 8, 25
	outcomes := make([]providers.Outcome, workers*each)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w * each; i < (w+1)*each; i++ {
				outcomes[i] = provider.Send(t.Context(), numbered(mails[i%2], i))
			}
		})
	}
	wg.Wait()
	count, states := fake.Count(), make(map[providers.State]int)
	for i, outcome := range outcomes {
		for _, result := range outcome {
			sent := count[numbered(mails[0], i).Envelope.BridgeID+" "+result.Recipient]
			states[result.State]++
			switch {
			case sent > 1:
				t.Errorf("mail %d was sent to %s %d times", i, result.Recipient, sent)
			case result.State == providers.Accepted && sent != 1:
				t.Errorf("mail %d is accepted, and was never sent to %s", i, result.Recipient)
			case result.State == providers.Refused && sent != 0:
				t.Errorf("mail %d is refused (%v), and was sent to %s", i, result.Err, result.Recipient)
			}
		}
	}
	for _, state := range []providers.State{providers.Accepted, providers.Refused, providers.Ambiguous} {
		if states[state] == 0 {
			t.Errorf("no mail is %v, the faults were not met: %v", state, states)
		}
	}
}

// numbered is the same mail with a bridge id of its own.
func numbered(m *translate.Message, i int) *translate.Message {
	one := m.For(m.Envelope.Recipients)
	one.Envelope.BridgeID = string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + "-bridge-id"
	return one
}

// One bad address in a message refuses it: the others may be sent to without it.
func TestSendNamesTheBadAddress(t *testing.T) {
	provider := connect(t, newAdapter(), postmarktest.New(token, nil))
	m := providertest.Message(t, addressed+"\nHello\n", "a@example.org", "nobody", "b@example.org")
	for _, result := range provider.Send(t.Context(), m) {
		bad := result.Recipient == "nobody"
		if result.State != providers.Refused || (result.Err.Category == providers.InvalidRecipient) != bad || errors.Is(result.Err, providers.ErrAnotherRecipient) == bad {
			t.Errorf("%s is %v, %v", result.Recipient, result.State, result.Err)
		}
	}
}

// A message that is too large is not even begun; a stream that does not exist
// is a matter of the configuration.
func TestSendOfWhatCannotBe(t *testing.T) {
	fake := postmarktest.New(token, nil)
	provider := connect(t, newAdapter(), fake)
	// Each octet takes six in JSON.
	large := providertest.Message(t, addressed+"\n"+strings.Repeat("\x01", 2<<20), "a@example.org")
	if got := provider.Send(t.Context(), large)[0]; got.State != providers.Refused || got.Err.Category != providers.TooLarge || !got.Err.Local || fake.Requests() != 0 {
		t.Errorf("a large mail is %v, %v after %d requests", got.State, got.Err, fake.Requests())
	}
	stream := providertest.Message(t, addressed+"X-PM-Message-Stream: nobody\n\nx\n", "a@example.org")
	if got := provider.Send(t.Context(), stream)[0]; got.State != providers.Refused || got.Err.Category != providers.ConfigurationError || got.Err.ProviderCode != "1235" {
		t.Errorf("an unknown stream is %v, %v", got.State, got.Err)
	}
}

func TestProbeAsksForTheServer(t *testing.T) {
	fake := postmarktest.New(token, nil)
	if err := connect(t, newAdapter(), fake).Probe(t.Context()); err != nil {
		t.Errorf("a good token is refused: %v", err)
	}
	if err := connect(t, postmark.New(postmark.DefaultConfig()), fake).Probe(t.Context()); err == nil {
		t.Error("no token is taken")
	}
}

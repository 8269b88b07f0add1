package smtp2go_test

import (
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/smtp2go/smtp2gotest"
	"smtpbridge/translate"
)

// provider joins the adapter and a fake.
func provider(t *testing.T, fake *smtp2gotest.Fake) *httpapi.Provider {
	t.Helper()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c := httpapi.DefaultConfig("smtp2go")
	c.BaseURL = server.URL
	return httpapi.New(c, newAdapter(), transport)
}

// Whatever fails, what is said of a mail agrees with what SMTP2GO saw: what was
// accepted was taken once, what was refused never, and nothing twice.
func TestSendAgreesWithSMTP2GO(t *testing.T) {
	faults := []smtp2gotest.Fault{
		smtp2gotest.None, smtp2gotest.Throttled, smtp2gotest.Unverified, smtp2gotest.Failed, smtp2gotest.None,
		smtp2gotest.Gateway, smtp2gotest.ResetBefore, smtp2gotest.None, smtp2gotest.ResetAfter, smtp2gotest.Unavailable,
	}
	fake := smtp2gotest.New(key, func(n int) smtp2gotest.Fault { return faults[n%len(faults)] })
	p := provider(t, fake)

	const workers, each = 8, 25
	outcomes := make([]providers.Outcome, workers*each)
	mails := []*translate.Message{
		providertest.Message(t, addressed+"\nHello\n", "a@example.org"),
		providertest.Message(t, addressed+invitation, "a@example.org"),
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w * each; i < (w+1)*each; i++ {
				outcomes[i] = p.Send(t.Context(), numbered(mails[i%2], i))
			}
		})
	}
	wg.Wait()
	count, states := fake.Count(), make(map[providers.State]int)
	for i, outcome := range outcomes {
		taken := count[strconv.Itoa(i)+" a@example.org"]
		result := outcome[0]
		states[result.State]++
		switch {
		case taken > 1:
			t.Errorf("mail %d was taken %d times", i, taken)
		case result.State == providers.Accepted && (taken != 1 || result.ProviderID == ""):
			t.Errorf("mail %d is accepted as %q, and was taken %d times", i, result.ProviderID, taken)
		case result.State == providers.Refused && taken != 0:
			t.Errorf("mail %d is refused (%v), and was taken", i, result.Err)
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
	one.Envelope.BridgeID = strconv.Itoa(i)
	return one
}

// A refused address takes nobody with it: it is named, and the others are told
// that they were not sent.
func TestSendNamesTheRefused(t *testing.T) {
	fake := smtp2gotest.New(key, nil)
	m := providertest.Message(t, "From: shop@example.com\nSubject: s\nTo: a@example.org, b@example.org\n\nx\n", "a@example.org", "b@example.org", "bro ken@example.org")
	outcome := provider(t, fake).Send(t.Context(), m)
	if outcome.Accepted() != 0 || outcome[2].Err.Category != providers.InvalidRecipient || outcome[0].Err.Category != providers.Unknown {
		t.Errorf("the outcome is %+v", outcome)
	}
	outcome = provider(t, fake).Send(t.Context(), m.For([]string{"a@example.org", "b@example.org"}))
	if outcome.Accepted() != 2 || len(fake.Taken()) != 1 {
		t.Errorf("without it the outcome is %+v", outcome)
	}
}

func TestProbeAsksForThePermissions(t *testing.T) {
	fake := smtp2gotest.New(key, nil)
	p := provider(t, fake)
	if err := p.Probe(t.Context()); err != nil {
		t.Errorf("a good key is refused: %v", err)
	}
	fake.Permit("/email/send")
	if err := p.Probe(t.Context()); err == nil {
		t.Error("a key that may not send raw mails passes")
	}
	if err := provider(t, smtp2gotest.New("api-another", nil)).Probe(t.Context()); err == nil {
		t.Error("a wrong key passes")
	}
}

package ses_test

import (
	"net/http/httptest"
	"sync"
	"testing"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/ses/sestest"
	"smtpbridge/translate"
)

// connect joins the adapter and a fake.
func connect(t *testing.T, fake *sestest.Fake) *httpapi.Provider {
	t.Helper()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	transport := httpapi.NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	c := httpapi.DefaultConfig("ses")
	c.BaseURL = server.URL
	return httpapi.New(c, newAdapter(), transport)
}

// Whatever fails, what is said of a mail agrees with what SES saw: what was
// accepted was taken once, what was refused never, and nothing twice.
func TestSendAgreesWithSES(t *testing.T) {
	faults := []sestest.Fault{
		sestest.None, sestest.Throttled, sestest.None, sestest.Failed, sestest.CloseAfter, sestest.DailyQuota,
		sestest.None, sestest.Gateway, sestest.ResetBefore, sestest.None, sestest.ResetAfter,
	}
	fake := sestest.New(account(), func(n int) sestest.Fault { return faults[n%len(faults)] })
	provider := connect(t, fake)

	const workers, each = 8, 25
	outcomes := make([]providers.Outcome, workers*each)
	mail := providertest.Message(t, addressed+"\nHello\n", "a@example.org")
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w * each; i < (w+1)*each; i++ {
				outcomes[i] = provider.Send(t.Context(), numbered(mail, i))
			}
		})
	}
	wg.Wait()
	count, states := fake.Count(), make(map[providers.State]int)
	for i, outcome := range outcomes {
		m := numbered(mail, i)
		taken := count[m.Envelope.BridgeID+" "+m.Envelope.Recipients[0]]
		result := outcome[0]
		states[result.State]++
		switch {
		case taken > 1:
			t.Errorf("mail %d was taken %d times", i, taken)
		case result.State == providers.Accepted && taken != 1:
			t.Errorf("mail %d is accepted, and was never taken", i)
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
	one.Envelope.BridgeID = string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + "-bridge-id"
	return one
}

func TestProbe(t *testing.T) {
	if err := connect(t, sestest.New(account(), nil)).Probe(t.Context()); err != nil {
		t.Errorf("good keys are refused: %v", err)
	}
	narrow := account()
	narrow.MayNotRead = true
	if err := connect(t, sestest.New(narrow, nil)).Probe(t.Context()); err != nil {
		t.Errorf("keys that may only send are refused: %v", err)
	}
	other := account()
	other.SecretAccessKey += "x"
	err := connect(t, sestest.New(other, nil)).Probe(t.Context())
	if known, ok := err.(*providers.Error); !ok || known.Category != providers.Authentication { //nolint:errorlint // Probe gives the bare type
		t.Errorf("a wrong key is %v, want authentication", err)
	}
}

// SES names no recipient: the one whose address is none is refused, the others may
// be sent to without it, and are.
func TestSendToABadAddressAmongGoodOnes(t *testing.T) {
	fake := sestest.New(account(), nil)
	provider := connect(t, fake)
	m := providertest.Message(t, "From: shop@example.com\nTo: a@example.org, b..c@example.org\n\nx\n", "a@example.org", "b..c@example.org", "d@example.org")
	var again []string
	for _, result := range provider.Send(t.Context(), m) {
		if result.State != providers.Refused {
			t.Errorf("%s is %v, want refused", result.Recipient, result.State)
		}
		if result.Err.Category != providers.InvalidRecipient {
			again = append(again, result.Recipient)
		}
	}
	if outcome := provider.Send(t.Context(), m.For(again)); len(again) != 2 || outcome.Accepted() != 2 {
		t.Errorf("without it %q are %+v, want both accepted", again, outcome)
	}
}

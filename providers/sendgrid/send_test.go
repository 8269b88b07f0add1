package sendgrid_test

import (
	"net/http/httptest"
	"sync"
	"testing"

	"smtpbridge/providers"
	"smtpbridge/providers/httpapi"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/sendgrid/sendgridtest"
	"smtpbridge/translate"
)

// Whatever fails, what is said of a mail agrees with what SendGrid saw: what
// was accepted was taken once, what was refused never, and nothing twice.
func TestSendAgreesWithSendGrid(t *testing.T) {
	faults := []sendgridtest.Fault{
		sendgridtest.None, sendgridtest.Throttled, sendgridtest.None, sendgridtest.Failed, sendgridtest.CloseAfter,
		sendgridtest.None, sendgridtest.Gateway, sendgridtest.ResetBefore, sendgridtest.None, sendgridtest.ResetAfter,
	}
	fake := sendgridtest.New(key, func(n int) sendgridtest.Fault { return faults[n%len(faults)] })
	server := httptest.NewServer(fake)
	defer server.Close()
	transport := httpapi.NewTransport()
	defer transport.CloseIdleConnections()
	c := httpapi.DefaultConfig("sendgrid")
	c.BaseURL = server.URL
	provider := httpapi.New(c, newAdapter(), transport)

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

func TestProbeAsksForTheScope(t *testing.T) {
	server := httptest.NewServer(sendgridtest.New(key, nil))
	defer server.Close()
	transport := httpapi.NewTransport()
	defer transport.CloseIdleConnections()
	c := httpapi.DefaultConfig("sendgrid")
	c.BaseURL = server.URL
	if err := httpapi.New(c, newAdapter(), transport).Probe(t.Context()); err != nil {
		t.Errorf("a good key is refused: %v", err)
	}
}

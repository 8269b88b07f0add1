package mailgun_test

import (
	"sync"
	"testing"

	"smtpbridge/providers"
	"smtpbridge/providers/mailgun/mailguntest"
	"smtpbridge/providers/providertest"
	"smtpbridge/translate"
)

// Whatever fails, what is said of a mail agrees with what Mailgun saw: what was
// accepted was taken once, what was refused never, and nothing twice.
func TestSendAgreesWithMailgun(t *testing.T) {
	faults := []mailguntest.Fault{
		mailguntest.None, mailguntest.Throttled, mailguntest.None, mailguntest.Failed, mailguntest.CloseAfter,
		mailguntest.Unavailable, mailguntest.Gateway, mailguntest.ResetBefore, mailguntest.None, mailguntest.ResetAfter,
	}
	for _, format := range []string{"mime", "fields"} {
		t.Run(format, func(t *testing.T) {
			failing := account
			failing.Fault = func(n int) mailguntest.Fault { return faults[n%len(faults)] }
			fake := mailguntest.New(failing)
			c := newConfig()
			c.Format = format
			provider := provider(t, c, fake)

			const workers, each = 8, 25
			outcomes := make([]providers.Outcome, workers*each)
			mail := providertest.Message(t, addressed+"\nHello\n", "a@example.org")
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for i := w * each; i < (w+1)*each; i++ {
						outcomes[i] = provider.Send(t.Context(), named(mail, i))
					}
				})
			}
			wg.Wait()
			compare(t, fake.Count(), mail, outcomes)
		})
	}
}

func compare(t *testing.T, count map[string]int, mail *translate.Message, outcomes []providers.Outcome) {
	t.Helper()
	states := make(map[providers.State]int)
	for i, outcome := range outcomes {
		m, result := named(mail, i), outcome[0]
		taken := count[m.Envelope.BridgeID+" "+m.Envelope.Recipients[0]]
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

// named is the same mail with a bridge id of its own.
func named(m *translate.Message, i int) *translate.Message {
	one := m.For(m.Envelope.Recipients)
	one.Envelope.BridgeID = string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + "-bridge-id"
	return one
}

// The id that is kept is the one that events bring.
func TestSendKeepsTheID(t *testing.T) {
	fake := mailguntest.New(account)
	outcome := provider(t, newConfig(), fake).Send(t.Context(), providertest.Message(t, addressed+"\nx\n", "a@example.org", "h@example.org"))
	for _, result := range outcome {
		if taken := fake.Taken(); result.State != providers.Accepted || result.ProviderID != taken[0].ID || result.ProviderID == "" {
			t.Errorf("%+v, want it accepted with the id %q", result, taken[0].ID)
		}
	}
}

package delivery_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
	"smtpbridge/translate"
)

type forgetful struct{}

func (forgetful) Record(delivery.Record) {}

// BenchmarkDeliver is the pipeline's own cost: the provider takes everything at
// once. The bar is 5 µs and 10 allocations a message, the store and the
// outcome that the provider makes apart.
func BenchmarkDeliver(b *testing.B) {
	take := fake{"first", func(_ context.Context, m *translate.Message) providers.Outcome {
		return providers.Fail(m.Envelope.Recipients, providers.Accepted, nil)
	}}
	all := providers.Capabilities{RawMIME: true, MessageID: true, Date: true, Sender: true}
	s := settings(able{take, all}, able{fake{"second", take.send}, all})
	s.Config.Strategy = "score"
	p := delivery.New(s, delivery.Options{Recorder: forgetful{}, Logger: slog.New(slog.DiscardHandler)})
	b.ReportAllocs()
	for left := b.N; left > 0; left -= batch {
		b.StopTimer()
		messages := parsed(b, min(left, batch))
		b.StartTimer()
		for _, m := range messages {
			if outcome := p.Deliver(b.Context(), m); outcome.Accepted() != 1 {
				b.Fatalf("the outcome is %+v", outcome)
			}
		}
	}
	b.StopTimer()
	if err := p.Close(b.Context()); err != nil {
		b.Error(err)
	}
}

// batch is how many mails are there at once: more would be work for the collector.
const batch = 1000

// parsed are mails as they come: a message is delivered once.
func parsed(b *testing.B, n int) []*translate.Message {
	b.Helper()
	limits := translate.Limits{SpoolDir: b.TempDir()}
	messages := make([]*translate.Message, n)
	for i := range messages {
		mail := strings.NewReader("From: shop@example.com\r\nTo: a@example.org\r\nSubject: s\r\nMessage-ID: <7@example.com>\r\n\r\ntext\r\n")
		spool, err := translate.NewSpool(mail, limits)
		if err != nil {
			b.Fatal(err)
		}
		messages[i], err = translate.Parse(spool, translate.Envelope{
			BridgeID: "01JGABCDEFGHJKMNPQRSTVWXYZ", MailFrom: "sender@example.com", Recipients: []string{"a@example.org"},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return messages
}

package delivery_test

import (
	"context"
	"log/slog"
	"testing"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
	"smtpbridge/providers/providertest"
	"smtpbridge/translate"
)

type forgetful struct{}

func (forgetful) Record(delivery.Record) {}

// BenchmarkDeliver is the pipeline's own cost: the provider takes everything at
// once. The bar is 5 µs and 10 allocations a message, the record apart.
func BenchmarkDeliver(b *testing.B) {
	take := fake{"first", func(_ context.Context, m *translate.Message) providers.Outcome {
		return providers.Fail(m.Envelope.Recipients, providers.Accepted, nil)
	}}
	all := providers.Capabilities{RawMIME: true, MessageID: true, Date: true, Sender: true}
	s := settings(able{take, all}, able{fake{"second", take.send}, all})
	s.Config.Strategy = "score"
	p := delivery.New(s, delivery.Options{Recorder: forgetful{}, Logger: slog.New(slog.DiscardHandler)})
	messages := make([]*translate.Message, b.N)
	for i := range messages {
		messages[i] = providertest.Message(b, "From: shop@example.com\nTo: a@example.org\nSubject: s\nMessage-ID: <7@example.com>\n\ntext\n", "a@example.org")
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, m := range messages {
		if outcome := p.Deliver(b.Context(), m); outcome.Accepted() != 1 {
			b.Fatalf("the outcome is %+v", outcome)
		}
	}
	b.StopTimer()
	if err := p.Close(b.Context()); err != nil {
		b.Error(err)
	}
}

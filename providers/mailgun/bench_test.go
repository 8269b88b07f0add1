package mailgun_test

import (
	"testing"

	"smtpbridge/providers/mailgun"
	"smtpbridge/providers/providertest"
)

func BenchmarkRequests(b *testing.B) {
	m := providertest.Message(b, addressed+"Message-ID: <7@example.com>\nX-Order: 7\nX-Bridge-Tag: order\n\nHello\n", "a@example.org", "b@example.org")
	for format, a := range map[string]*mailgun.Adapter{"mime": newAdapter(), "fields": newFields()} {
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a.Requests(m)
			}
		})
	}
}

package smtpd

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are what the package counts.
type metrics struct {
	connections prometheus.Gauge
	messages    *prometheus.CounterVec
	bytes       prometheus.Histogram
}

// The values of the label reply.
const (
	replyOK        = "250"
	replyTransient = "4xx"
	replyPermanent = "5xx"
)

func newMetrics(r prometheus.Registerer) metrics {
	factory := promauto.With(r)
	m := metrics{
		connections: factory.NewGauge(prometheus.GaugeOpts{
			Name: "bridge_smtp_connections",
			Help: "SMTP and LMTP connections that are open.",
		}),
		messages: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "bridge_smtp_messages_total",
			Help: "Messages received whole, by the reply they got.",
		}, []string{"reply"}),
		bytes: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "bridge_smtp_message_bytes",
			Help:    "Size of the messages received, in octets.",
			Buckets: prometheus.ExponentialBuckets(1<<10, 4, 9), // 1 KiB to 64 MiB
		}),
	}
	for _, reply := range []string{replyOK, replyTransient, replyPermanent} {
		m.messages.WithLabelValues(reply)
	}
	return m
}

// answered counts the reply to a mail that came whole.
func (m metrics) answered(s status) {
	reply := replyPermanent
	switch s.code / 100 {
	case 2:
		reply = replyOK
	case 4:
		reply = replyTransient
	}
	m.messages.WithLabelValues(reply).Inc()
}

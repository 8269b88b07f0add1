package smtpd

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are what the package counts.
type metrics struct {
	connections prometheus.Gauge
	// The messages by the class of their reply: 250, 4xx, 5xx.
	accepted, deferred, refused prometheus.Counter
	bytes                       prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) metrics {
	factory := promauto.With(r)
	messages := factory.NewCounterVec(prometheus.CounterOpts{
		Name: "bridge_smtp_messages_total",
		Help: "Messages received whole, by the reply they got.",
	}, []string{"reply"})
	return metrics{
		connections: factory.NewGauge(prometheus.GaugeOpts{
			Name: "bridge_smtp_connections",
			Help: "SMTP and LMTP connections that are open.",
		}),
		accepted: messages.WithLabelValues("250"),
		deferred: messages.WithLabelValues("4xx"),
		refused:  messages.WithLabelValues("5xx"),
		bytes: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "bridge_smtp_message_bytes",
			Help:    "Size of the messages received, in octets.",
			Buckets: prometheus.ExponentialBuckets(1<<10, 4, 9), // 1 KiB to 64 MiB
		}),
	}
}

// answered counts the reply to a mail that came whole.
func (m metrics) answered(s status) {
	switch s.code / 100 {
	case 2:
		m.accepted.Inc()
	case 4:
		m.deferred.Inc()
	default:
		m.refused.Inc()
	}
}

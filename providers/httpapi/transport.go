package httpapi

import (
	"net"
	"net/http"
	"time"
)

const (
	connectTimeout = 10 * time.Second
	// idleTimeout is shorter than the keep-alive of the usual load balancer (60
	// s): who closes first decides whether a request can meet a dying connection.
	idleTimeout     = 30 * time.Second
	maxIdle         = 100
	maxIdlePerHost  = 20
	writeBufferSize = 64 << 10
	// maxResponseHeader bounds the header of an answer, in octets.
	maxResponseHeader = 64 << 10
)

// NewTransport is the connection pool that all providers share. It speaks
// HTTP/1.1 only: there one request is one stream of octets, so that what the
// other side can have read is known.
func NewTransport() *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialPatiently(&net.Dialer{Timeout: connectTimeout}),
		TLSHandshakeTimeout:    connectTimeout,
		Protocols:              &protocols,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		WriteBufferSize:        writeBufferSize,
		MaxResponseHeaderBytes: maxResponseHeader,
		DisableCompression:     true,
	}
}

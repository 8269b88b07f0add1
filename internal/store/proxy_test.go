package store_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
)

// proxy stands between a store and a server, and may lose what is said.
type proxy struct {
	url, server string

	mu sync.Mutex // guards what follows
	// cut is what happens to the next COMMIT, once.
	cut   cut
	conns []net.Conn
}

type cut int

const (
	cutNothing cut = iota
	cutAnswer      // it comes, and is not answered
	cutRequest     // it never comes
)

// newProxy listens until the test ends.
func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	at, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	network := "unix"
	if dir := at.Query().Get("host"); dir != "" {
		p.server = filepath.Join(dir, ".s.PGSQL.5432")
	} else {
		network, p.server = "tcp", at.Host
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	query := at.Query()
	query.Del("host")
	query.Set("sslmode", "disable")
	at.Host, at.RawQuery = listener.Addr().String(), query.Encode()
	p.url = at.String()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.serve(client, network) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		all.Wait()
	})
	return p
}

// cutCommit has the next COMMIT come to the server or not; it is not answered.
func (p *proxy) cutCommit(comes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cutRequest
	if comes {
		p.cut = cutAnswer
	}
}

func (p *proxy) serve(client net.Conn, network string) {
	server, err := net.Dial(network, p.server)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	var mute sync.Once
	muted := make(chan struct{})
	go func() {
		defer client.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if err != nil {
				return
			}
			select {
			case <-muted:
				return
			default:
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	defer server.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		switch p.fate(buffer[:n]) {
		case cutNothing:
		case cutAnswer:
			mute.Do(func() { close(muted) })
		case cutRequest:
			client.Close()
			return
		}
		if _, err := server.Write(buffer[:n]); err != nil && !errors.Is(err, io.EOF) {
			return
		}
	}
}

func (p *proxy) fate(request []byte) cut {
	if !bytes.Contains(request, []byte("INTO turns")) {
		return cutNothing
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fate := p.cut
	p.cut = cutNothing
	return fate
}

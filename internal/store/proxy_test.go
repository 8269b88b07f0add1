package store_test

import (
	"bytes"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// proxy stands between a store and a server, and may lose what is said.
type proxy struct {
	url, server string
	address     string
	network     string
	done        chan struct{} // closed when the test ends

	mu sync.Mutex // guards what follows
	// cut is what happens to the next COMMIT, once, by what is in it.
	cut    cut
	marker string
	mode   mode
	delay  time.Duration // of each answer
	links  []*link
}

type cut int

const (
	cutNothing cut = iota
	cutAnswer      // it comes, and is not answered
	cutRequest     // it never comes
)

// mode is what the network is like.
type mode int

const (
	working mode = iota
	silent       // nothing comes through, and nobody is told
	away         // nobody is there
)

// link is a connection through the proxy.
type link struct {
	client, server net.Conn
	lost           bool // nothing comes through any more; guarded by the proxy's mu
}

func (l *link) close() {
	l.client.Close()
	if l.server != nil {
		l.server.Close()
	}
}

// newProxy listens until the test ends.
func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	at, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{network: "unix", done: make(chan struct{})}
	if dir := at.Query().Get("host"); dir != "" {
		p.server = filepath.Join(dir, ".s.PGSQL.5432")
	} else {
		p.network, p.server = "tcp", at.Host
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = listener.Addr().String()
	query := at.Query()
	query.Del("host")
	query.Set("sslmode", "disable")
	at.Host, at.RawQuery = p.address, query.Encode()
	p.url = at.String()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		close(p.done)
		listener.Close()
		p.become(away)
		all.Wait()
	})
	return p
}

// become changes the network, for the connections that are there too: what was
// lost on them does not come back.
func (p *proxy) become(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	for _, l := range p.links {
		switch m {
		case working:
		case silent:
			l.lost = true
		case away:
			l.close()
		}
	}
}

// slow has each answer take its time.
func (p *proxy) slow(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// What is in the COMMIT of deliveries and of the history.
const (
	turnCommit    = "INTO turns"
	historyCommit = "commit\x00"
)

// cutCommit has the next COMMIT come to the server or not; it is not answered.
func (p *proxy) cutCommit(marker string, comes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.marker, p.cut = marker, cutRequest
	if comes {
		p.cut = cutAnswer
	}
}

// join makes a link of a connection, nil where there is nobody.
func (p *proxy) join(client net.Conn) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &link{client: client, lost: p.mode == silent}
	var err error
	if p.mode != away {
		l.server, err = net.Dial(p.network, p.server)
	}
	if l.server == nil || err != nil {
		client.Close()
		return nil
	}
	p.links = append(p.links, l)
	return l
}

func (p *proxy) serve(client net.Conn) {
	l := p.join(client)
	if l == nil {
		return
	}
	defer l.close()
	var answers sync.WaitGroup
	answers.Go(func() { p.answer(l) })
	defer answers.Wait()
	defer l.close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		lost, fate := p.fate(l, buffer[:n])
		switch {
		case lost:
			continue
		case fate == cutRequest:
			return
		}
		if _, err := l.server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// answer passes on what the server says.
func (p *proxy) answer(l *link) {
	defer l.close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := l.server.Read(buffer)
		if err != nil {
			return
		}
		if !p.await() {
			return
		}
		p.mu.Lock()
		lost := l.lost
		p.mu.Unlock()
		if lost {
			continue
		}
		if _, err := l.client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// await lets the time of an answer pass; false once the test has ended.
func (p *proxy) await() bool {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if delay == 0 {
		return true
	}
	select {
	case <-time.After(delay):
		return true
	case <-p.done:
		return false
	}
}

// fate is what happens to a request.
func (p *proxy) fate(l *link, request []byte) (lost bool, fate cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == cutNothing || !bytes.Contains(request, []byte(p.marker)) {
		return l.lost, cutNothing
	}
	fate, p.cut = p.cut, cutNothing
	if fate == cutAnswer { // what it is answered is lost, and then the connection ends
		l.client.Close()
	}
	return l.lost, fate
}

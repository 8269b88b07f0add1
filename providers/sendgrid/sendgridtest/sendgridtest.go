// Package sendgridtest is a strict fake of SendGrid's Mail Send: it refuses
// what the real one refuses, keeps what it took, and fails on demand.
package sendgridtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// maxBody is the limit of a request (manual, "Limitations").
const maxBody = 30_000_000

// Fault is what goes wrong with one request.
type Fault uint8

// The faults.
const (
	// None: the request is answered as the real API would.
	None Fault = iota
	// Throttled: 429, nothing is taken.
	Throttled
	// Failed: 500 in SendGrid's own form, nothing is taken.
	Failed
	// Gateway: 502 in HTML; the request was taken.
	Gateway
	// ResetBefore: the connection is reset before the body is read.
	ResetBefore
	// ResetAfter: the mail is taken and the connection reset without an answer.
	ResetAfter
	// CloseAfter: the answer is given and the connection closed behind it,
	// though the answer promised to keep it.
	CloseAfter
)

// Fake is an http.Handler. It is safe for concurrent use.
type Fake struct {
	key   string
	fault func(n int) Fault

	mu       sync.Mutex // guards what follows
	requests int
	taken    []Mail
	// Of the suppression lists, by path.
	lists     map[string][]map[string]any
	forbidden []string
	stuck     bool
}

// New makes a fake that knows one API key. fault chooses what happens to the
// n-th request, counted from 0; nil means that nothing goes wrong.
func New(key string, fault func(n int) Fault) *Fake { return &Fake{key: key, fault: fault} }

// Requests is how many requests came, refused ones too.
func (f *Fake) Requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// Taken are the mails that were taken, in order.
func (f *Fake) Taken() []Mail {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Mail(nil), f.taken...)
}

// Count is how often each recipient was taken, by bridge id and address:
// "01J… a@example.org".
func (f *Fake) Count() map[string]int {
	count := make(map[string]int)
	for _, mail := range f.Taken() {
		for _, p := range mail.Personalizations {
			for _, recipient := range p.Recipients() {
				count[p.CustomArgs["bridge_id"]+" "+recipient]++
			}
		}
	}
	return count
}

// ServeHTTP answers POST /v3/mail/send, GET /v3/scopes and the suppression lists.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	n := f.requests
	f.requests++
	f.mu.Unlock()
	fault := None
	if f.fault != nil {
		fault = f.fault(n)
	}
	switch fault {
	case ResetBefore:
		drop(w)
		return
	case Throttled:
		discard(r.Body)
		refuse(w, http.StatusTooManyRequests, []fieldFault{{Message: "too many requests"}})
		return
	case Failed:
		discard(r.Body)
		refuse(w, http.StatusInternalServerError, []fieldFault{{Message: "internal server error"}})
		return
	case None, Gateway, ResetAfter, CloseAfter:
	}
	if mail, status, faults := f.receive(r); len(faults) > 0 {
		discard(r.Body)
		refuse(w, status, faults)
	} else if isList(r) {
		f.list(w, r)
	} else {
		f.take(w, mail, n, fault)
	}
}

// receive gives the mail, or nothing for a probe; or the faults.
func (f *Fake) receive(r *http.Request) (*Mail, int, []fieldFault) {
	say := func(status int, message string) (*Mail, int, []fieldFault) {
		return nil, status, []fieldFault{{Message: message}}
	}
	route := r.Method + " " + r.URL.Path
	switch {
	case r.Header.Get("Authorization") != "Bearer "+f.key:
		return say(http.StatusUnauthorized, "The provided authorization grant is invalid, expired, or revoked")
	case route == "GET /v3/scopes", isList(r):
		return nil, 0, nil
	case r.URL.Path != "/v3/mail/send":
		return say(http.StatusNotFound, "not found")
	case r.Method != http.MethodPost:
		return say(http.StatusMethodNotAllowed, "method not allowed")
	case r.Header.Get("Accept") == "":
		return say(http.StatusNotAcceptable, "not acceptable")
	case r.Header.Get("Content-Type") != "application/json":
		return say(http.StatusUnsupportedMediaType, "unsupported media type")
	case r.ContentLength < 0:
		return say(http.StatusLengthRequired, "a length is required")
	}
	mail, err := decode(http.MaxBytesReader(nil, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return say(http.StatusRequestEntityTooLarge, "payload too large")
	case err != nil:
		return say(http.StatusBadRequest, "Bad Request")
	}
	return mail, http.StatusBadRequest, mail.faults()
}

// decode reads one JSON document and nothing behind it.
func decode(r io.Reader) (*Mail, error) {
	decoder := json.NewDecoder(r)
	decoder.DisallowUnknownFields()
	var mail Mail
	if err := decoder.Decode(&mail); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("something follows the document: %w", err)
	}
	return &mail, nil
}

// take keeps the mail and answers, or does not.
func (f *Fake) take(w http.ResponseWriter, mail *Mail, n int, fault Fault) {
	if mail == nil {
		w.Write([]byte(`{"scopes":["mail.send"]}`))
		return
	}
	mail.ID = fmt.Sprintf("fake%018d", n)
	f.mu.Lock()
	f.taken = append(f.taken, *mail)
	f.mu.Unlock()
	switch fault {
	case ResetAfter:
		drop(w)
		return
	case Gateway:
		w.WriteHeader(http.StatusBadGateway)
		w.Write([]byte("<html><h1>502 Bad Gateway</h1></html>"))
		return
	case CloseAfter:
		closeBehind(w, mail.ID)
		return
	case None, Throttled, Failed, ResetBefore:
	}
	w.Header().Set("X-Message-Id", mail.ID)
	if mail.sandboxed() {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// drop resets the connection.
func drop(w http.ResponseWriter) {
	if conn := hijack(w); conn != nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0) //nolint:errcheck // the close below is what counts
		}
		conn.Close() //nolint:errcheck // nothing was written
	}
}

func closeBehind(w http.ResponseWriter, id string) {
	if conn := hijack(w); conn != nil {
		fmt.Fprintf(conn, "HTTP/1.1 202 Accepted\r\nX-Message-Id: %s\r\nContent-Length: 0\r\n\r\n", id) //nolint:errcheck // the client may have gone
		conn.Close()                                                                                    //nolint:errcheck // nothing more to say
	}
}

func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	return conn
}

func discard(r io.Reader) {
	io.Copy(io.Discard, io.LimitReader(r, 2*maxBody)) //nolint:errcheck // the client may have gone
}

// fieldFault is one entry of the list of errors.
type fieldFault struct {
	Message string  `json:"message"`
	Field   *string `json:"field"`
	Help    *string `json:"help"`
}

func refuse(w http.ResponseWriter, status int, faults []fieldFault) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"errors": faults}) //nolint:errcheck // the client may have gone
}

// fold compares addresses as the API does.
func fold(address string) string { return strings.ToLower(address) }

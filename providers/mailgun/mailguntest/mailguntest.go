// Package mailguntest is a strict fake of Mailgun's Messages API: it refuses what
// the real one refuses or drops without a word, keeps what it took, and fails on
// demand.
package mailguntest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxRequest is the limit of a request: 52.4 MiB.
const maxRequest = 524 << 20 / 10

// Fault is what goes wrong with one request.
type Fault uint8

// The faults.
const (
	// None: the request is answered as the real API would.
	None Fault = iota
	// Throttled: 429 with the time of the next try, nothing is taken.
	Throttled
	// Unavailable: 503, nothing is taken.
	Unavailable
	// Failed: 500 in Mailgun's own form; the request was taken.
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

// Account is what the fake knows.
type Account struct {
	// Key is the API key, Domain the only domain.
	Key, Domain string
	// SendingKey: the key may send and nothing else.
	SendingKey bool
	// State is that of the domain; empty means active.
	State string
	// PageSize is how many entries of a suppression list a page has at most; 0 for
	// as many as are asked for.
	PageSize int
	// Next changes the URL of the next page; nil leaves it.
	Next func(url string) string
	// Fault chooses what happens to the n-th request, counted from 0; nil means
	// that nothing goes wrong.
	Fault func(n int) Fault
}

// Fake is an http.Handler. It is safe for concurrent use.
type Fake struct {
	account Account

	mu       sync.Mutex // guards what follows
	requests int
	taken    []Mail
	lists    map[string][]map[string]any
}

// New makes a fake.
func New(a Account) *Fake { return &Fake{account: a} }

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
		for _, recipient := range mail.Recipients() {
			count[strings.Join(mail.Fields["v:bridge_id"], "")+" "+recipient]++
		}
	}
	return count
}

// ServeHTTP answers what sends, and GET of the domain, its events and its
// suppression lists.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	n := f.requests
	f.requests++
	f.mu.Unlock()
	fault := None
	if f.account.Fault != nil {
		fault = f.account.Fault(n)
	}
	switch fault {
	case ResetBefore:
		drop(w)
		return
	case Throttled:
		discard(r.Body)
		say(w, http.StatusTooManyRequests, "Domain "+f.account.Domain+
			" is not allowed to send: request limit exceeded, try again after Mon, 20 Dec 2021 20:33:21 UTC")
		return
	case Unavailable:
		discard(r.Body)
		say(w, http.StatusServiceUnavailable, "Service Unavailable")
		return
	case None, Failed, Gateway, ResetAfter, CloseAfter:
	}
	f.answer(w, r, n, fault)
}

// answer looks at credentials, then at the path, then at the body.
func (f *Fake) answer(w http.ResponseWriter, r *http.Request, n int, fault Fault) {
	user, password, _ := r.BasicAuth()
	reading := r.Method == http.MethodGet
	send := r.URL.EscapedPath() == "/v3/"+f.account.Domain+"/messages"
	sendMIME := r.URL.EscapedPath() == "/v3/"+f.account.Domain+"/messages.mime"
	switch {
	case user != "api" || password != f.account.Key || reading && f.account.SendingKey:
		discard(r.Body)
		w.WriteHeader(http.StatusUnauthorized)
		w.Write([]byte("Forbidden"))
	case reading:
		f.read(w, r)
	case isSend(r.URL.Path) && !send && !sendMIME:
		discard(r.Body)
		say(w, http.StatusNotFound, "Domain not found: "+strings.Split(r.URL.Path+"///", "/")[2])
	case !send && !sendMIME || r.Method != http.MethodPost:
		discard(r.Body)
		w.Write([]byte("Mailgun Magnificent API"))
	default:
		f.receive(w, r, n, fault)
	}
}

// isSend: the path of any domain.
func isSend(path string) bool {
	steps := strings.Split(path, "/")
	return len(steps) == 4 && steps[1] == "v3" && (steps[3] == "messages" || steps[3] == "messages.mime")
}

func (f *Fake) describe(w http.ResponseWriter) {
	state := f.account.State
	if state == "" {
		state = "active"
	}
	writeJSON(w, http.StatusOK, map[string]any{"domain": map[string]any{"name": f.account.Domain, "state": state}})
}

// refusedError is the API's own words.
type refusedError string

func (e refusedError) Error() string { return string(e) }

// receive takes the mail, or says what is wrong.
func (f *Fake) receive(w http.ResponseWriter, r *http.Request, n int, fault Fault) {
	if r.ContentLength < 0 {
		discard(r.Body)
		say(w, http.StatusLengthRequired, "a length is required")
		return
	}
	body := http.MaxBytesReader(nil, r.Body, maxRequest)
	mail, err := read(strings.HasSuffix(r.URL.Path, ".mime"), r.Header.Get("Content-Type"), body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		discard(r.Body)
		say(w, http.StatusRequestEntityTooLarge, "request size exceeds 52.4MiB limit")
	case err != nil:
		discard(r.Body)
		say(w, http.StatusBadRequest, err.Error())
	default:
		f.take(w, mail, n, fault)
	}
}

// take keeps the mail and answers, or does not.
func (f *Fake) take(w http.ResponseWriter, mail *Mail, n int, fault Fault) {
	if mail.ID = mail.messageID(); mail.ID == "" {
		mail.ID = fmt.Sprintf("20260102030405.%016x@%s", n, f.account.Domain)
	}
	mail.Time = time.Now()
	f.mu.Lock()
	f.taken = append(f.taken, *mail)
	f.mu.Unlock()
	success := map[string]any{"id": "<" + mail.ID + ">", "message": "Queued. Thank you."}
	switch fault {
	case ResetAfter:
		drop(w)
	case Failed:
		say(w, http.StatusInternalServerError, "Internal Server Error")
	case Gateway:
		w.WriteHeader(http.StatusBadGateway)
		w.Write([]byte("<html><h1>502 Bad Gateway</h1></html>"))
	case CloseAfter:
		closeBehind(w, success)
	case None, Throttled, Unavailable, ResetBefore:
		writeJSON(w, http.StatusOK, success)
	}
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

func closeBehind(w http.ResponseWriter, content map[string]any) {
	text, err := json.Marshal(content)
	if conn := hijack(w); conn != nil && err == nil {
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text) //nolint:errcheck // the client may have gone
		conn.Close()                                                                                                            //nolint:errcheck // nothing more to say
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
	io.Copy(io.Discard, io.LimitReader(r, 2*maxRequest)) //nolint:errcheck // the client may have gone
}

func say(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]any{"message": message})
}

func writeJSON(w http.ResponseWriter, status int, content map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(content) //nolint:errcheck // the client may have gone
}

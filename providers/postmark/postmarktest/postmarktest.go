// Package postmarktest is a strict fake of Postmark's Email API: it refuses what
// the real one refuses, keeps what it took, and fails on demand.
package postmarktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Limits of a request (manual, "Email API"; article 1056).
const (
	maxMessage  = 10 << 20
	maxBatch    = 50 << 20
	maxMessages = 500
)

// Fault is what goes wrong with one request.
type Fault uint8

// The faults.
const (
	// None: the request is answered as the real API would.
	None Fault = iota
	// Throttled: 429, nothing is taken.
	Throttled
	// Maintenance: 503 in Postmark's own form, nothing is taken.
	Maintenance
	// Gateway: 502 in HTML; the request was taken.
	Gateway
	// Lost: 500 in Postmark's own form, which leaves open whether it was taken; it was.
	Lost
	// ResetBefore: the connection is reset before the body is read.
	ResetBefore
	// ResetAfter: the request is taken and the connection reset without an answer.
	ResetAfter
)

// Fake is an http.Handler. It is safe for concurrent use.
type Fake struct {
	token string
	fault func(n int) Fault

	mu       sync.Mutex // guards what follows
	requests int
	taken    []Message
	inactive map[string]bool
	streams  []string
	// suppressed are the entries of each stream's list.
	suppressed map[string][]Suppression
}

// New makes a fake of a server with one token and the streams outbound and
// broadcast. fault chooses what happens to the n-th request, counted from 0; nil
// means that nothing goes wrong.
func New(token string, fault func(n int) Fault) *Fake {
	return &Fake{token: token, fault: fault, inactive: make(map[string]bool), streams: []string{"outbound", "broadcast"}}
}

// Suppress makes addresses inactive: they are not delivered to any more.
func (f *Fake) Suppress(addresses ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, address := range addresses {
		f.inactive[fold(address)] = true
	}
}

// Requests is how many requests came, refused ones too.
func (f *Fake) Requests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// Taken are the messages that were taken, in order. Their Delivered are those of
// their recipients who were not inactive.
func (f *Fake) Taken() []Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.taken)
}

// Count is how often a message was delivered to each recipient, by bridge id and
// address: "01J… a@example.org".
func (f *Fake) Count() map[string]int {
	count := make(map[string]int)
	for _, message := range f.Taken() {
		for _, recipient := range message.Delivered {
			count[message.Metadata["bridge_id"]+" "+recipient]++
		}
	}
	return count
}

// ServeHTTP answers POST /email, POST /email/batch, GET /server, the search of
// messages, the streams and their suppression lists.
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
		refuse(w, http.StatusTooManyRequests, complaint{429, "Rate limit exceeded."})
		return
	case Maintenance:
		discard(r.Body)
		refuse(w, http.StatusServiceUnavailable, complaint{100, "The API is offline for maintenance."})
		return
	case None, Gateway, Lost, ResetAfter:
	}
	answer, status, refusal := f.answer(r, n)
	if refusal != nil {
		discard(r.Body)
		refuse(w, status, *refusal)
		return
	}
	write(w, fault, answer)
}

// answer takes what can be taken.
func (f *Fake) answer(r *http.Request, n int) (body any, status int, refusal *complaint) {
	if status, refusal := f.admit(r); refusal != nil {
		return nil, status, refusal
	}
	if r.URL.Path == "/server" {
		return map[string]any{"ID": 1, "Name": "fake", "ApiTokens": []string{f.token}, "SmtpApiActivated": true, "DeliveryType": "Live"}, 0, nil
	}
	if body, refusal, ok := f.list(r.URL.Path, r.URL.Query()); ok {
		return body, http.StatusUnprocessableEntity, refusal
	}
	limit := int64(maxMessage)
	if r.URL.Path == "/email/batch" {
		limit = maxBatch
	}
	var content bytes.Buffer
	if _, err := content.ReadFrom(http.MaxBytesReader(nil, r.Body, limit)); err != nil {
		return nil, http.StatusRequestEntityTooLarge, &complaint{0, "payload too large"}
	}
	if r.URL.Path == "/email" {
		one := f.send(content.Bytes(), strconv.Itoa(n))
		if one.ErrorCode != 0 {
			return nil, http.StatusUnprocessableEntity, &complaint{one.ErrorCode, one.Message}
		}
		return one, 0, nil
	}
	items, err := split(content.Bytes())
	if err != nil {
		return nil, http.StatusUnprocessableEntity, err
	}
	results := make([]result, len(items))
	for i, item := range items {
		results[i] = f.send(item, fmt.Sprintf("%d-%d", n, i))
	}
	return results, 0, nil
}

// admit checks what comes before the body.
func (f *Fake) admit(r *http.Request) (status int, refusal *complaint) {
	route := r.Method + " " + r.URL.Path
	switch {
	case !isList(r) && !slices.Contains([]string{"/server", "/email", "/email/batch"}, r.URL.Path):
		return http.StatusNotFound, &complaint{0, "not found"}
	case r.Header.Get("X-Postmark-Server-Token") != f.token:
		return http.StatusUnauthorized, &complaint{10, "Request does not contain a valid Server token."}
	case !isList(r) && !slices.Contains([]string{"GET /server", "POST /email", "POST /email/batch"}, route):
		return http.StatusMethodNotAllowed, &complaint{0, "method not allowed"}
	case r.Header.Get("Accept") != "application/json",
		r.Method == http.MethodPost && r.Header.Get("Content-Type") != "application/json":
		return http.StatusUnsupportedMediaType, &complaint{0, "unsupported media type"}
	case r.Method == http.MethodPost && r.ContentLength < 0:
		return http.StatusLengthRequired, &complaint{0, "a length is required"}
	}
	return 0, nil
}

// split gives the messages of a batch.
func split(body []byte) ([]json.RawMessage, *complaint) {
	var items []json.RawMessage
	if json.Unmarshal(body, &items) != nil || items == nil {
		return nil, &complaint{402, "Invalid JSON."}
	}
	if len(items) > maxMessages {
		return nil, &complaint{410, "You may only send up to 500 messages in a single batched request."}
	}
	return items, nil
}

// result is the answer to one message.
type result struct {
	To          string `json:"To,omitempty"`
	SubmittedAt string `json:"SubmittedAt,omitempty"`
	MessageID   string `json:"MessageID,omitempty"`
	ErrorCode   int    `json:"ErrorCode"`
	Message     string `json:"Message"`
}

// send takes one message, or says why not.
func (f *Fake) send(body []byte, id string) result {
	message, refusal := decode(body)
	f.mu.Lock()
	defer f.mu.Unlock()
	if refusal == nil && message.MessageStream != "" && !slices.Contains(f.streams, message.MessageStream) {
		refusal = &complaint{1235, "The stream provided: '" + message.MessageStream + "' does not exist on this server."}
	}
	if refusal != nil {
		return result{ErrorCode: refusal.code, Message: refusal.message}
	}
	var refused []string
	for _, recipient := range message.Recipients() {
		if f.inactive[fold(recipient)] {
			refused = append(refused, fold(recipient))
		} else {
			message.Delivered = append(message.Delivered, recipient)
		}
	}
	const why = "Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression."
	list := strings.Join(refused, ", ")
	if len(message.Delivered) == 0 {
		return result{ErrorCode: 406, Message: "You tried to send to recipient(s) that have been marked as inactive. Found inactive addresses: " + list + ". " + why}
	}
	message.ID = "fake-" + id
	f.taken = append(f.taken, *message)
	answer := result{To: message.To, SubmittedAt: "2026-01-02T03:04:05.1234567-05:00", MessageID: message.ID, Message: "OK"}
	if list != "" {
		answer.Message = "Message OK, but will not deliver to these inactive addresses: " + list + "."
	}
	return answer
}

// complaint is why something is refused.
type complaint struct {
	code    int
	message string
}

// Error makes it an error, for those who decode without a server.
func (c *complaint) Error() string { return fmt.Sprintf("%d: %s", c.code, c.message) }

// write answers a request that was taken, or does not.
func write(w http.ResponseWriter, fault Fault, answer any) {
	switch fault {
	case ResetAfter:
		drop(w)
		return
	case Gateway:
		w.WriteHeader(http.StatusBadGateway)
		w.Write([]byte("<html><h1>502 Bad Gateway</h1></html>"))
		return
	case Lost:
		refuse(w, http.StatusInternalServerError, complaint{101, "An unexpected error occurred. Error ID: 550-553."})
		return
	case None, Throttled, Maintenance, ResetBefore:
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer) //nolint:errcheck // the client may have gone
}

// refuse answers in Postmark's form; a code 0 is what stands before its API.
func refuse(w http.ResponseWriter, status int, c complaint) {
	if c.code == 0 {
		http.Error(w, "<html><h1>"+c.message+"</h1></html>", status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-PM-ApiErrorCode", strconv.Itoa(c.code))
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(result{ErrorCode: c.code, Message: c.message}) //nolint:errcheck // the client may have gone
}

// drop resets the connection.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck // the close below is what counts
	}
	conn.Close() //nolint:errcheck // nothing was written
}

func discard(r io.Reader) {
	io.Copy(io.Discard, io.LimitReader(r, 2*maxBatch)) //nolint:errcheck // the client may have gone
}

// Decode reads and checks the messages of a request as the API would: path is
// that of the request.
func Decode(path string, body []byte) ([]Message, error) {
	items := []json.RawMessage{body}
	switch {
	case path == "/email/batch" && len(body) > maxBatch:
		return nil, errors.New("the batch is larger than 50 MB")
	case path == "/email/batch":
		var refusal *complaint
		if items, refusal = split(body); refusal != nil {
			return nil, refusal
		}
	case path != "/email":
		return nil, fmt.Errorf("%s sends no messages", path)
	}
	messages := make([]Message, 0, len(items))
	for _, item := range items {
		message, refusal := decode(item)
		if refusal != nil {
			return nil, refusal
		}
		messages = append(messages, *message)
	}
	return messages, nil
}

// fold compares addresses as the API does.
func fold(address string) string { return strings.ToLower(address) }

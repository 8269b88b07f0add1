// Package smtp2gotest is a strict fake of the SMTP2GO API: it refuses what the
// real one refuses, or may refuse, keeps what it took, and fails on demand.
package smtp2gotest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The endpoints that the fake has.
const (
	SendPath        = "/v3/email/send"
	MIMEPath        = "/v3/email/mime"
	PermissionsPath = "/v3/api_keys/permissions"
)

// maxBody is the limit of a request to /v3/email* in octets.
const maxBody = 50_000_000

// Fault is what goes wrong with one request.
type Fault uint8

// The faults.
const (
	// None: the request is answered as the real API would.
	None Fault = iota
	// Throttled: 429, nothing is taken.
	Throttled
	// Unverified: a 200 that says that the mail failed; nothing is taken.
	Unverified
	// Failed: 500 in SMTP2GO's own form; the mail was taken.
	Failed
	// Gateway: 502 in HTML; the mail was taken.
	Gateway
	// Unavailable: 503, nothing is taken.
	Unavailable
	// ResetBefore: the connection is reset before the body is read.
	ResetBefore
	// ResetAfter: the mail is taken and the connection reset without an answer.
	ResetAfter
)

// Fake is an http.Handler. It is safe for concurrent use.
type Fake struct {
	key   string
	fault func(n int) Fault

	mu          sync.Mutex // guards what follows
	requests    int
	taken       []Mail
	permissions []string
	suppressed  []Suppression
	pageSize    int
	stuck       bool
}

// New makes a fake that knows one API key, which may send in both ways. fault
// chooses what happens to the n-th request, counted from 0; nil means that
// nothing goes wrong.
func New(key string, fault func(n int) Fault) *Fake {
	return &Fake{key: key, fault: fault, permissions: []string{"/email/send", "/email/mime"}}
}

// Permit says which endpoints the key may use, without /v3.
func (f *Fake) Permit(paths ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.permissions = append([]string{}, paths...)
}

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
			count[mail.Header("X-Bridge-Id")+" "+recipient]++
		}
	}
	return count
}

// ServeHTTP answers the endpoints.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	n := f.requests
	f.requests++
	f.mu.Unlock()
	fault := None
	if f.fault != nil {
		fault = f.fault(n)
	}
	if fault == ResetBefore {
		drop(w)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody)) //nolint:forbidigo // bounded, and a test's
	switch tooLarge := new(http.MaxBytesError); {
	case errors.As(err, &tooLarge):
		http.Error(w, "<html>413 Request Entity Too Large</html>", http.StatusRequestEntityTooLarge)
	case err != nil:
		return
	case fault == Throttled:
		refuse(w, http.StatusTooManyRequests, complaint{code: "REQ_LIMIT_EXCEEDED", text: "Too many requests"})
	case fault == Unavailable:
		http.Error(w, "<html>503 Service Unavailable</html>", http.StatusServiceUnavailable)
	default:
		f.serve(w, r, body, answering{n, fault})
	}
}

// answering is how one request is to be answered.
type answering struct {
	n     int
	fault Fault
}

func (f *Fake) serve(w http.ResponseWriter, r *http.Request, body []byte, how answering) {
	status, wrong := f.admit(r)
	if wrong == nil && r.URL.Path == PermissionsPath {
		wrong = readPermissions(body)
		if status = http.StatusBadRequest; wrong == nil {
			answer(w, f.permitted())
			return
		}
	}
	if data, faulty, ok := f.read(r.URL.Path, body); wrong == nil && ok {
		if status, wrong = http.StatusBadRequest, faulty; wrong == nil {
			answer(w, data)
			return
		}
	}
	if wrong != nil {
		refuse(w, status, *wrong)
		return
	}
	read := DecodeSend
	if r.URL.Path == MIMEPath {
		read = DecodeMIME
	}
	mail, err := read(body)
	var faulty complaint
	switch {
	case errors.As(err, &faulty):
		refuse(w, http.StatusBadRequest, faulty)
	case err != nil:
		refuse(w, http.StatusBadRequest, complaint{code: "NON_VALIDATING_IN_PAYLOAD", text: err.Error()})
	default:
		f.take(w, mail, how)
	}
}

// admit checks what stands around the body.
func (f *Fake) admit(r *http.Request) (int, *complaint) {
	path := strings.TrimPrefix(r.URL.Path, "/v3")
	switch {
	case r.Header.Get("X-Smtp2go-Api-Key") != f.key:
		return http.StatusUnauthorized, &complaint{text: "No valid API key was provided"}
	case r.URL.Path != SendPath && r.URL.Path != MIMEPath && r.URL.Path != PermissionsPath && !isRead(r), r.URL.RawQuery != "":
		return http.StatusNotFound, &complaint{text: "not found"}
	case r.Method != http.MethodPost:
		return http.StatusMethodNotAllowed, &complaint{text: "every call is POST"}
	case r.Header.Get("Content-Type") != "application/json":
		return http.StatusBadRequest, &complaint{code: "NON_VALIDATING_IN_PAYLOAD", text: "Don't forget to set Content-Type to 'application/json'."}
	case r.ContentLength < 0:
		return http.StatusLengthRequired, &complaint{text: "a length is required"}
	case path == "/api_keys/permissions", slices.Contains(f.permitted(), path):
		return 0, nil
	}
	return http.StatusBadRequest, &complaint{code: "ENDPOINT_PERMISSION_DENIED", text: "You do not have permission to access this API endpoint"}
}

func (f *Fake) permitted() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.permissions...)
}

func readPermissions(body []byte) *complaint {
	if string(body) != "{}" {
		return &complaint{code: "NON_VALIDATING_IN_PAYLOAD", text: "the payload is not empty"}
	}
	return nil
}

// take keeps the mail and answers, or does not.
func (f *Fake) take(w http.ResponseWriter, mail *Mail, how answering) {
	mail.ID, mail.Time = fmt.Sprintf("1u0SwL-B9zBpi%06d-JAB2", how.n), time.Now()
	if how.fault == Unverified {
		answer(w, map[string]any{"succeeded": 0, "failed": 1, "failures": []string{"unable to verify sender address " + mail.Sender}})
		return
	}
	f.mu.Lock()
	f.taken = append(f.taken, *mail)
	f.mu.Unlock()
	switch {
	case how.fault == ResetAfter:
		drop(w)
	case how.fault == Gateway:
		http.Error(w, "<html><h1>502 Bad Gateway</h1></html>", http.StatusBadGateway)
	case how.fault == Failed:
		refuse(w, http.StatusInternalServerError, complaint{code: "API_EXCEPTION", text: "internal error"})
	case mail.Schedule != "":
		answer(w, map[string]any{"succeeded": 1, "failed": 0, "failures": []string{}, "schedule_id": mail.ID})
	case mail.Raw != nil: // the manual's example has no id
		answer(w, map[string]any{"succeeded": 1, "failed": 0, "failures": []string{}})
	default:
		answer(w, map[string]any{"succeeded": 1, "failed": 0, "failures": []string{}, "email_id": mail.ID})
	}
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

const requestID = "aa253464-0bd0-467a-b24b-6159dcd7be60"

func answer(w http.ResponseWriter, data any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"request_id": requestID, "data": data}) //nolint:errcheck // the client may have gone
}

// complaint is why a request is refused.
type complaint struct{ code, field, text string }

// Error says what is wrong with which field.
func (c complaint) Error() string { return c.field + ": " + c.text }

func refuse(w http.ResponseWriter, status int, c complaint) {
	data := map[string]any{"error": c.text}
	if c.code != "" {
		data["error_code"] = "E_ApiResponseCodes." + c.code
	}
	if c.field != "" {
		data["error"] = "An error occurred processing the json data you sent with the request, please make sure the data conforms to the specification for this call"
		data["field_validation_errors"] = map[string]string{"fieldname": c.field, "message": c.text}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"request_id": requestID, "data": data}) //nolint:errcheck // the client may have gone
}

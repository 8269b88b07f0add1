// Package sestest is a strict fake of Amazon SES' SendEmail and GetAccount (API
// v2): it verifies the signature as AWS does, refuses what the real one refuses,
// keeps what it took, and fails on demand.
package sestest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// maxBody is the largest request body that is read: 40 MB in base64, and what
// stands around it, in octets.
const maxBody = 54_000_000

// Fault is what goes wrong with one request.
type Fault uint8

// The faults.
const (
	// None: the request is answered as the real API would.
	None Fault = iota
	// Throttled: 429 for the rate, nothing is taken.
	Throttled
	// DailyQuota: 429 for the quota of 24 hours, nothing is taken.
	DailyQuota
	// Failed: 500 in SES' own form; the mail may have been taken, and was not.
	Failed
	// Gateway: 502 in HTML; the mail was taken.
	Gateway
	// ResetBefore: the connection is reset before the body is read.
	ResetBefore
	// ResetAfter: the mail is taken and the connection reset without an answer.
	ResetAfter
	// CloseAfter: the answer is given and the connection closed behind it,
	// though the answer promised to keep it.
	CloseAfter
)

// Account is what the fake knows of the one account that it serves.
type Account struct {
	Region, AccessKeyID, SecretAccessKey string
	// SessionToken belongs to temporary keys; empty for lasting ones.
	SessionToken string
	// ConfigurationSets that exist; nil for any.
	ConfigurationSets []string
	// MayNotRead: the keys may send and nothing else.
	MayNotRead bool
	// Now is the clock of AWS; nil for the real one.
	Now func() time.Time
}

// Fake is an http.Handler. It is safe for concurrent use.
type Fake struct {
	account Account
	fault   func(n int) Fault

	mu       sync.Mutex // guards what follows
	requests int
	taken    []Mail
	// Of the suppression list.
	suppressed []Suppression
	pageSize   int
	stuck      bool
}

// New makes a fake of one account. fault chooses what happens to the n-th
// request, counted from 0; nil means that nothing goes wrong.
func New(account Account, fault func(n int) Fault) *Fake {
	if account.Now == nil {
		account.Now = time.Now
	}
	if fault == nil {
		fault = func(int) Fault { return None }
	}
	return &Fake{account: account, fault: fault}
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
			count[mail.Tags()["bridge_id"]+" "+recipient]++
		}
	}
	return count
}

// refusal is an answer that says no.
type refusal struct {
	status        int
	name, message string
}

// Error is the name and the message.
func (r *refusal) Error() string { return r.name + ": " + r.message }

func bad(format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, "BadRequestException", fmt.Sprintf(format, args...)}
}

// ServeHTTP answers POST /v2/email/outbound-emails, GET /v2/email/account and GET
// /v2/email/suppression/addresses.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	n := f.requests
	f.requests++
	f.mu.Unlock()
	fault := f.fault(n)
	if fault == ResetBefore {
		drop(w)
		return
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(io.LimitReader(r.Body, maxBody+1)); err != nil {
		return // nobody waits for the answer
	}
	if said := faultRefusal(fault); said != nil {
		answer(w, said)
		return
	}
	if said := f.authenticate(r, body.Bytes()); said != nil {
		answer(w, said)
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /v2/email/account":
		f.describe(w)
	case "GET /v2/email/suppression/addresses":
		f.list(w, r)
	case "POST /v2/email/outbound-emails":
		f.receive(w, r, body.Bytes(), n, fault)
	default:
		answer(w, &refusal{http.StatusNotFound, "UnknownOperationException", "no such operation"})
	}
}

func faultRefusal(fault Fault) *refusal {
	switch fault {
	case Throttled:
		return &refusal{http.StatusTooManyRequests, "TooManyRequestsException", "Maximum sending rate exceeded."}
	case DailyQuota:
		return &refusal{http.StatusTooManyRequests, "TooManyRequestsException", "Daily message quota exceeded."}
	case Failed:
		return &refusal{http.StatusInternalServerError, "InternalServiceErrorException", "internal failure"}
	case None, Gateway, ResetBefore, ResetAfter, CloseAfter:
	}
	return nil
}

func (f *Fake) describe(w http.ResponseWriter) {
	if f.account.MayNotRead {
		answer(w, &refusal{
			http.StatusForbidden, "AccessDeniedException",
			"User: arn:aws:iam::111122223333:user/bridge is not authorized to perform: ses:GetAccount",
		})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write([]byte(`{"SendingEnabled":true,"ProductionAccessEnabled":true,"EnforcementStatus":"HEALTHY",` +
		`"SendQuota":{"Max24HourSend":50000,"MaxSendRate":14,"SentLast24Hours":12}}`))
}

func (f *Fake) receive(w http.ResponseWriter, r *http.Request, body []byte, n int, fault Fault) {
	switch {
	case r.ContentLength < 0:
		answer(w, &refusal{http.StatusLengthRequired, "MissingContentLength", "a length is required"})
		return
	case r.Header.Get("Content-Type") != "application/json":
		answer(w, &refusal{http.StatusUnsupportedMediaType, "UnsupportedMediaTypeException", "JSON is wanted"})
		return
	}
	mail, said := decode(body)
	if said == nil {
		said = f.known(mail)
	}
	if said != nil {
		answer(w, said)
		return
	}
	f.take(w, mail, n, fault)
}

// known: what the request names exists.
func (f *Fake) known(mail *Mail) *refusal {
	set := mail.ConfigurationSetName
	if set == "" || f.account.ConfigurationSets == nil || slices.Contains(f.account.ConfigurationSets, set) {
		return nil
	}
	return &refusal{http.StatusNotFound, "NotFoundException", "Configuration set <" + set + "> does not exist."}
}

// take keeps the mail and answers, or does not.
func (f *Fake) take(w http.ResponseWriter, mail *Mail, n int, fault Fault) {
	mail.ID = fmt.Sprintf("010001890123%04x-00000000-0000-0000-0000-000000000000-000000", n)
	f.mu.Lock()
	f.taken = append(f.taken, *mail)
	f.mu.Unlock()
	said := fmt.Sprintf(`{"MessageId":%q}`, mail.ID)
	switch fault {
	case ResetAfter:
		drop(w)
	case Gateway:
		w.WriteHeader(http.StatusBadGateway)
		w.Write([]byte("<html><h1>502 Bad Gateway</h1></html>"))
	case CloseAfter:
		closeBehind(w, said)
	case None, Throttled, DailyQuota, Failed, ResetBefore:
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(said))
	}
}

func answer(w http.ResponseWriter, said *refusal) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", said.name+":http://internal.amazon.com/coral/com.amazonaws.sesv2/")
	w.WriteHeader(said.status)
	json.NewEncoder(w).Encode(map[string]string{"message": said.message}) //nolint:errcheck // the client may have gone
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

func closeBehind(w http.ResponseWriter, said string) {
	if conn := hijack(w); conn != nil {
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(said), said) //nolint:errcheck // the client may have gone
		conn.Close()                                                                          //nolint:errcheck // nothing more to say
	}
}

func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	return conn
}

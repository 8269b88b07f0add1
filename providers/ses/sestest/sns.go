package sestest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // SNS signs with it unless told otherwise
	_ "crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// CertificateURL is where the SNS of eu-west-1 has its certificate.
const CertificateURL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"

// Notice is a call of SNS, as it stands in the body. Without Subject there is none.
type Notice struct {
	Type             string `json:"Type"`
	MessageID        string `json:"MessageId"`
	Token            string `json:"Token,omitempty"`
	TopicARN         string `json:"TopicArn"`
	Subject          string `json:"Subject,omitempty"`
	Message          string `json:"Message"`
	SubscribeURL     string `json:"SubscribeURL,omitempty"`
	Timestamp        string `json:"Timestamp"`
	SignatureVersion string `json:"SignatureVersion"`
	Signature        string `json:"Signature"`
	SigningCertURL   string `json:"SigningCertURL"`
	UnsubscribeURL   string `json:"UnsubscribeURL,omitempty"`
}

// SNS signs notices and answers what is asked of it: its certificate, and
// confirmations of the tokens that it gave. It is an http.RoundTripper without a
// network, and safe for concurrent use.
type SNS struct {
	key         *rsa.PrivateKey
	certificate []byte
	answer      func(*http.Request) *Said

	mu    sync.Mutex // guards what follows
	asked []string
}

// NewSNS makes one with a key of its own, which takes a while, and a certificate
// that is valid from 2020 to 2099.
func NewSNS() *SNS {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	s := &SNS{key: key}
	s.certificate = s.Certificate("sns.amazonaws.com", date(2020), date(2099), key)
	return s
}

// Anew is one with the same key, of which nothing was asked. answer is asked first;
// nil, or an answer of nil, is what the real SNS does.
func (s *SNS) Anew(answer func(*http.Request) *Said) *SNS {
	return &SNS{key: s.key, certificate: s.certificate, answer: answer}
}

func date(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }

// Certificate is one for a name and a time, in PEM; nil is the key of SNS.
func (s *SNS) Certificate(name string, from, to time.Time, key crypto.Signer) []byte {
	if key == nil {
		key = s.key
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: from, NotAfter: to,
	}
	content, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: content})
}

// Sign gives the body of a call, with what is missing in the notice.
func (s *SNS) Sign(n Notice) []byte {
	n.SigningCertURL = fill(n.SigningCertURL, CertificateURL)
	n.SignatureVersion = fill(n.SignatureVersion, "2")
	hash := crypto.SHA256
	if n.SignatureVersion == "1" {
		hash = crypto.SHA1
	}
	sum := hash.New()
	sum.Write([]byte(n.canonical()))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, hash, sum.Sum(nil))
	if err != nil {
		panic(err)
	}
	n.Signature = fill(n.Signature, base64.StdEncoding.EncodeToString(signature))
	body, err := json.Marshal(n)
	if err != nil {
		panic(err)
	}
	return body
}

func fill(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// canonical is what is signed ("Verifying the signatures of Amazon SNS messages" in
// the SNS guide).
func (n Notice) canonical() string {
	var out strings.Builder
	add := func(name, value string) { fmt.Fprintf(&out, "%s\n%s\n", name, value) }
	add("Message", n.Message)
	add("MessageId", n.MessageID)
	if n.Type == "Notification" {
		if n.Subject != "" {
			add("Subject", n.Subject)
		}
		add("Timestamp", n.Timestamp)
	} else {
		add("SubscribeURL", n.SubscribeURL)
		add("Timestamp", n.Timestamp)
		add("Token", n.Token)
	}
	add("TopicArn", n.TopicARN)
	add("Type", n.Type)
	return out.String()
}

// Asked are the addresses that were asked for, in order.
func (s *SNS) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// RoundTrip answers one request.
func (s *SNS) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.String())
	s.mu.Unlock()
	if s.answer != nil {
		if said := s.answer(r); said != nil {
			return said.response(r), nil
		}
	}
	switch query := r.URL.Query(); {
	case r.Method == http.MethodGet && r.URL.String() == CertificateURL:
		return (&Said{Status: http.StatusOK, Body: string(s.certificate)}).response(r), nil
	case r.Method == http.MethodGet && query.Get("Action") == "ConfirmSubscription" && query.Get("Token") != "":
		return (&Said{Status: http.StatusOK, Body: confirmed(query.Get("TopicArn"))}).response(r), nil
	}
	return (&Said{Status: http.StatusForbidden, Body: "<Error><Code>AccessDenied</Code></Error>"}).response(r), nil
}

func confirmed(topic string) string {
	return `<ConfirmSubscriptionResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><ConfirmSubscriptionResult>` +
		`<SubscriptionArn>` + topic + `:s1</SubscriptionArn></ConfirmSubscriptionResult></ConfirmSubscriptionResponse>`
}

// SubscribeURL confirms a subscription to a topic of eu-west-1.
func SubscribeURL(topic, token string) string {
	return "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=" + topic + "&Token=" + url.QueryEscape(token)
}

// Said is an answer.
type Said struct {
	Status int
	Body   string
	// Location is where a redirect leads.
	Location string
	// Cut: the connection breaks off behind the body.
	Cut bool
}

func (s *Said) response(r *http.Request) *http.Response {
	content := io.Reader(strings.NewReader(s.Body))
	if s.Cut {
		content = io.MultiReader(content, cut{})
	}
	header := http.Header{}
	if s.Location != "" {
		header.Set("Location", s.Location)
	}
	return &http.Response{
		StatusCode: s.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Body: io.NopCloser(content), ContentLength: -1, Request: r,
	}
}

// cut is where a connection breaks off.
type cut struct{}

// Read fails.
func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

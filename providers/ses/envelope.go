package ses

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"smtpbridge/events"
)

// The types of a call (SNS guide, "Parsing Amazon SNS message formats").
const (
	typeNotification = "Notification"
	typeSubscription = "SubscriptionConfirmation"
	typeUnsubscribed = "UnsubscribeConfirmation"
)

// topicPattern: a standard topic in any partition; the region is captured.
const topicPattern = `^arn:aws[a-z-]*:sns:(` + regionPattern + `):[0-9]{12}:[A-Za-z0-9_-]{1,256}`

var (
	topicForm        = regexp.MustCompile(topicPattern + `$`)
	subscriptionForm = regexp.MustCompile(topicPattern + `:[0-9a-f-]+$`)
)

// certificatePath is where SNS keeps the certificates that it signs with.
var certificatePath = regexp.MustCompile(`^/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem$`)

// envelope is one call of SNS.
type envelope struct {
	Type             string  `json:"Type"`
	MessageID        string  `json:"MessageId"`
	TopicARN         string  `json:"TopicArn"`
	Subject          *string `json:"Subject"`
	Message          string  `json:"Message"`
	Timestamp        string  `json:"Timestamp"`
	SignatureVersion string  `json:"SignatureVersion"`
	Signature        string  `json:"Signature"`
	SigningCertURL   string  `json:"SigningCertURL"`
	// Token and SubscribeURL are those of a confirmation.
	Token        string `json:"Token"`
	SubscribeURL string `json:"SubscribeURL"`
	// Mail stands in what SES writes, and in no envelope.
	Mail json.RawMessage `json:"mail"`

	sent time.Time
	// host of SNS in the region of the topic: the only one that is asked.
	host string
}

// readEnvelope reads a call and checks its form.
func readEnvelope(h http.Header, body []byte) (*envelope, error) {
	if strings.EqualFold(h.Get("X-Amz-Sns-Rawdelivery"), "true") {
		return nil, errRaw()
	}
	e := &envelope{}
	if json.Unmarshal(body, e) != nil {
		return nil, fmt.Errorf("%w: the body is no notification of Amazon SNS", events.ErrMalformed)
	}
	if e.Type == "" && e.Mail != nil {
		return nil, errRaw()
	}
	topic := topicForm.FindStringSubmatch(e.TopicARN)
	sent, err := time.Parse(time.RFC3339, e.Timestamp)
	switch {
	case e.Type != typeNotification && e.Type != typeSubscription && e.Type != typeUnsubscribed:
		return nil, fmt.Errorf("%w: the Type is none that Amazon SNS has", events.ErrMalformed)
	case topic == nil || err != nil || e.MessageID == "":
		return nil, fmt.Errorf("%w: TopicArn, Timestamp or MessageId is missing, or not as Amazon SNS writes it", events.ErrMalformed)
	case !e.isOneLineEach():
		return nil, fmt.Errorf("%w: a field is not one line", events.ErrMalformed)
	}
	if types := h.Values("X-Amz-Sns-Message-Type"); len(types) > 1 || len(types) == 1 && types[0] != e.Type {
		return nil, fmt.Errorf("%w: the header has another type than the body", events.ErrUnauthenticated)
	}
	e.sent, e.host = sent.UTC(), "sns."+topic[1]+"."+domain(topic[1])
	return e, nil
}

func errRaw() error {
	return fmt.Errorf("%w: raw message delivery carries no signature; switch it off in the subscription (RawMessageDelivery = false)",
		events.ErrMalformed)
}

// isOneLineEach: what is signed are lines. If another field than Message could have
// a line break, a signed text could be read as other fields than SNS wrote.
func (e *envelope) isOneLineEach() bool {
	fields := e.MessageID + e.Token + e.SubscribeURL
	if e.Subject != nil {
		fields += *e.Subject
	}
	return !strings.ContainsFunc(fields, unicode.IsControl)
}

// text is what SNS signs: names and values, each on a line (SNS guide, "Verifying
// the signatures of Amazon SNS messages").
func (e *envelope) text() string {
	fields := []string{"Message", e.Message, "MessageId", e.MessageID}
	switch {
	case e.Type != typeNotification:
		fields = append(fields, "SubscribeURL", e.SubscribeURL, "Timestamp", e.Timestamp, "Token", e.Token)
	case e.Subject != nil:
		fields = append(fields, "Subject", *e.Subject, "Timestamp", e.Timestamp)
	default:
		fields = append(fields, "Timestamp", e.Timestamp)
	}
	return strings.Join(append(fields, "TopicArn", e.TopicARN, "Type", e.Type, ""), "\n")
}

// algorithms by SignatureVersion; the first is the default of a topic.
var algorithms = map[string]x509.SignatureAlgorithm{"1": x509.SHA1WithRSA, "2": x509.SHA256WithRSA}

// signature is one that can be checked.
type signature struct {
	algorithm x509.SignatureAlgorithm
	octets    []byte
	text      string
}

// readSignature checks all that can be without the certificate, whose address is
// the exact one of SNS, in the region of the topic.
func (e *envelope) readSignature() (signature, error) {
	algorithm, known := algorithms[e.SignatureVersion]
	octets, err := base64.StdEncoding.Strict().DecodeString(e.Signature)
	switch at, _ := url.Parse(e.SigningCertURL); {
	case !known:
		return signature{}, fmt.Errorf("%w: the SignatureVersion is neither 1 nor 2", events.ErrUnauthenticated)
	case err != nil || len(octets) == 0:
		return signature{}, fmt.Errorf("%w: the Signature is missing or no base64", events.ErrUnauthenticated)
	case at == nil || e.SigningCertURL != "https://"+e.host+at.Path || !certificatePath.MatchString(at.Path):
		return signature{}, fmt.Errorf("%w: the SigningCertURL does not lead to a certificate of SNS at %s", events.ErrUnauthenticated, e.host)
	}
	return signature{algorithm, octets, e.text()}, nil
}

// confirms reports whether an address does nothing but confirm the subscription.
func (e *envelope) confirms(address string) bool {
	at, err := url.Parse(address)
	if err != nil || address != "https://"+e.host+"/?"+at.RawQuery {
		return false
	}
	query, err := url.ParseQuery(at.RawQuery)
	only := func(key, value string) bool { return len(query[key]) == 1 && query[key][0] == value }
	return err == nil && only("Action", "ConfirmSubscription") && only("TopicArn", e.TopicARN) && only("Token", e.Token)
}

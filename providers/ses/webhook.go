package ses

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"smtpbridge/events"
)

// maxAge is how long after SNS took a notification it is believed. SNS tries for
// an hour at most (SNS guide, "Message delivery retries"), but begins later where
// the subscription is throttled.
const maxAge = 24 * time.Hour

// Webhook is the end of a subscription of Amazon SNS, through which SES tells its
// events. What SNS signs proves only that some account of AWS sent it: that it is
// ours says the topic, which is why the topics are the key to configure.
//
// Facts cite the developer guide of SNS at https://docs.aws.amazon.com/sns/latest/dg/
// ("SNS guide").
type Webhook struct {
	topics []string
	// anyTopic: there is no topic to check, and none is wanted.
	anyTopic     bool
	client       *http.Client
	certificates *certificates
	now          func() time.Time
}

// NewWebhook makes the source of one account. The transport gets the certificates
// of SNS, and confirms subscriptions.
func NewWebhook(c Config, transport http.RoundTripper) *Webhook {
	client := newClient(transport)
	return &Webhook{
		topics:       c.SNSTopicARNs,
		anyTopic:     len(c.SNSTopicARNs) == 0 && c.WebhookUnverified,
		client:       client,
		certificates: &certificates{client: client},
		now:          time.Now,
	}
}

// Receive authenticates one call of SNS and gives the events in it. A call that
// asks to confirm a subscription is done what it asks. One that tells of an ended
// subscription says nothing: its SubscribeURL would begin it again.
func (w *Webhook) Receive(ctx context.Context, h http.Header, body []byte) (events.Batch, error) {
	e, err := readEnvelope(h, body)
	if err != nil {
		return events.Batch{}, err
	}
	if err := w.authenticate(ctx, e); err != nil {
		return events.Batch{}, err
	}
	switch e.Type {
	case typeSubscription:
		return events.Batch{}, w.confirm(ctx, e)
	case typeNotification:
		return events.Batch{Events: readMessage(e)}, nil
	}
	return events.Batch{}, nil
}

// authenticate asks the network last: a stranger, who does not know the topics,
// cannot have us fetch anything.
func (w *Webhook) authenticate(ctx context.Context, e *envelope) error {
	if err := w.checkTopic(e); err != nil {
		return err
	}
	if age := w.now().Sub(e.sent); age > maxAge {
		return fmt.Errorf("%w: the notification is of %s; is it repeated, or the clock of this host wrong?",
			events.ErrUnauthenticated, e.sent.Format(time.RFC3339))
	}
	signed, err := e.readSignature()
	if err != nil {
		return err
	}
	certificate, err := w.certificates.get(ctx, e.SigningCertURL)
	if err != nil {
		return err
	}
	return signed.verify(certificate, w.now())
}

func (w *Webhook) checkTopic(e *envelope) error {
	switch {
	case slices.Contains(w.topics, e.TopicARN):
		return nil
	case len(w.topics) > 0:
		return fmt.Errorf("%w: the topic %s is not one of sns_topic_arns", events.ErrUnauthenticated, e.TopicARN)
	case !w.anyTopic:
		return fmt.Errorf("%w: there is no topic to check it with; add %s to sns_topic_arns if it is yours", events.ErrUnauthenticated, e.TopicARN)
	case e.Type == typeSubscription:
		return fmt.Errorf("%w: a subscription is confirmed only where sns_topic_arns names the topic; add %s if it is yours",
			events.ErrUnauthenticated, e.TopicARN)
	}
	return nil
}

// confirm visits the address that SNS gave for it. What is wrong with the answer
// is tried again when SNS asks again.
func (w *Webhook) confirm(ctx context.Context, e *envelope) error {
	if !e.confirms(e.SubscribeURL) {
		return fmt.Errorf("%w: the SubscribeURL does not lead to SNS, to confirm a subscription to %s", events.ErrUnauthenticated, e.TopicARN)
	}
	answer, err := fetch(ctx, w.client, e.SubscribeURL)
	switch {
	case err != nil:
		return fmt.Errorf("confirming the subscription to %s: %w", e.TopicARN, err)
	case !bytes.Contains(answer, []byte("<SubscriptionArn>")):
		return fmt.Errorf("confirming the subscription to %s: the answer is not that of SNS; does a proxy stand between?", e.TopicARN)
	}
	return nil
}

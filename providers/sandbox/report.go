package sandbox

import (
	"encoding/json"
	"time"

	"smtpbridge/events"
)

// Reporter passes on what a real provider would tell by its webhook. It must not
// block.
type Reporter interface {
	// Report is told of one event of the provider of that name.
	Report(provider string, e events.Event)
}

// reports are the events that follow, by local part, in the words of real
// providers.
func reports(local string) (e events.Event, follows bool) {
	switch local {
	case "delivered":
		return events.Event{Type: events.Delivered, Response: "250 2.0.0 OK"}, true
	case "hardbounce":
		return events.Event{Type: events.Bounced, Bounce: events.Hard, Response: "550 5.1.1 user unknown"}, true
	case "softbounce":
		return events.Event{Type: events.Bounced, Bounce: events.Soft, Response: "452 4.2.2 mailbox full"}, true
	case "complaint":
		return events.Event{Type: events.Complained}, true
	case "unsubscribe":
		return events.Event{Type: events.Unsubscribed}, true
	case "open":
		return events.Event{Type: events.Opened}, true
	case "click":
		return events.Event{Type: events.Clicked, URL: "https://" + domain + "/"}, true
	}
	return events.Event{}, false
}

// report tells what follows for a recipient who was taken.
func (p *Provider) report(id, providerID, recipient string) {
	e, follows := reports(localPart(recipient))
	if !follows {
		return
	}
	e.MessageID, e.ProviderMessageID, e.Recipient, e.Timestamp = id, providerID, recipient, time.Now().UTC()
	e.Reason = "simulated by the sandbox"
	e.Key = events.Key(id, recipient, string(e.Type))
	e.Raw, _ = json.Marshal(map[string]string{"simulated": string(e.Type), "recipient": recipient}) // strings always can
	p.reporter.Report(p.name, e)
}

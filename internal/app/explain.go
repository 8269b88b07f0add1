package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/mail"
	"os"
	"slices"

	"github.com/oklog/ulid/v2"
	"golang.org/x/text/transform"

	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
	"smtpbridge/providers/httpapi"
	"smtpbridge/translate"
)

// Explanation is what one provider could make of a message, and the requests
// that it would get, without credentials. A sandbox gets none.
type Explanation struct {
	delivery.Verdict

	// Way is where it stands, at Place, counted from 1.
	Way   delivery.Way
	Place int

	Requests []Request
}

// Request is one call of a provider's API.
type Request = providers.Request

// Explain asks every provider of the configuration in the order in which they
// would be tried, and sends nothing. The error says why none would be asked.
func Explain(c Config, m *translate.Message) ([]Explanation, *providers.Error) {
	transport := httpapi.NewTransport()
	accounts := make([]delivery.Account, len(c.Providers))
	rendering := make(map[string]func(*translate.Message) []Request, len(c.Providers))
	for i, p := range c.Providers {
		built := p.build(parts{transport: transport})
		accounts[i] = delivery.Account{Provider: built, Config: p.account}
		if over, ok := built.(*httpapi.Provider); ok {
			rendering[p.Name] = over.Requests
		}
	}
	pipeline := delivery.New(c.settings(accounts), delivery.Options{Logger: slog.New(slog.DiscardHandler)})
	ways, refusal := pipeline.Verdicts(m)
	if refusal != nil {
		return nil, refusal
	}
	var explanations []Explanation
	for _, way := range ways {
		for i, v := range way.Verdicts {
			x := Explanation{Verdict: v, Way: way, Place: i + 1}
			if render := rendering[v.Provider]; render != nil && v.Refusal == nil {
				x.Requests = render(v.Message.For(way.Recipients))
			}
			explanations = append(explanations, x)
		}
	}
	return explanations, nil
}

// ReadMail reads a mail as it would come over SMTP; lines may end in LF. What is
// not given of its envelope is that of its header: the author sends, and To, Cc
// and Bcc receive. The message must be closed.
func ReadMail(content io.ReadSeeker, from string, to []string) (*translate.Message, error) {
	envelope, err := readEnvelope(content, from, to)
	if err != nil {
		return nil, err
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return nil, err //nolint:wrapcheck // it stands for the content
	}
	spool, err := translate.NewSpool(transform.NewReader(content, translate.CRLF{}), translate.Limits{SpoolDir: os.TempDir()})
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it did
	}
	message, err := translate.Parse(spool, envelope)
	if err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	return message, nil
}

func readEnvelope(content io.Reader, from string, to []string) (translate.Envelope, error) {
	envelope := translate.Envelope{BridgeID: ulid.Make().String(), MailFrom: from}
	if parsed, err := mail.ReadMessage(bufio.NewReader(content)); err == nil {
		if authors := headerAddresses(parsed.Header, "From"); from == "" && len(authors) > 0 {
			envelope.MailFrom = authors[0]
		}
		if len(to) == 0 {
			to = headerAddresses(parsed.Header, "To", "Cc", "Bcc")
		}
	}
	for _, text := range to {
		address, ok := translate.ParseAddress(text)
		switch {
		case !ok || address.Domain() == "":
			return envelope, fmt.Errorf("%q is no address; write --to a@example.com", text)
		case !slices.Contains(envelope.Recipients, address.Email):
			envelope.Recipients = append(envelope.Recipients, address.Email)
		}
	}
	if len(envelope.Recipients) == 0 {
		return envelope, errors.New("its header names no recipients; give --to")
	}
	return envelope, nil
}

func headerAddresses(header mail.Header, names ...string) []string {
	var found []string
	for _, name := range names {
		list, err := header.AddressList(name)
		if err != nil {
			continue
		}
		for _, a := range list {
			found = append(found, a.Address)
		}
	}
	return found
}

package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"smtpbridge/internal/app"
)

type explain struct {
	configured

	File string   `arg:"" help:"The mail, as it would come over SMTP."`
	From string   `placeholder:"A" help:"The envelope sender; else the address of the From header."`
	To   []string `sep:"none" placeholder:"B" help:"An envelope recipient, may be repeated; else those of the To, Cc and Bcc headers."`
}

// Run prints each provider in the order in which they would be tried: what it
// would lose, and the exact requests, or why it cannot carry the mail.
func (e explain) Run(t terminal) error {
	configuration, err := e.load(t)
	if err != nil {
		return err
	}
	content, err := os.Open(e.File)
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	defer content.Close() //nolint:errcheck // it is only read
	mail, err := app.ReadMail(content, e.From, e.To)
	if err != nil {
		return fmt.Errorf("reading %s: %w", e.File, err)
	}
	defer mail.Close() //nolint:errcheck // nothing reads it any more
	explanations, refusal := app.Explain(configuration, mail)
	if refusal != nil {
		t.printf("nobody would be asked: %v\n", refusal)
		return errSaid
	}
	t.printf("from %s to %s, %d octets\n", mail.Envelope.MailFrom, strings.Join(mail.Envelope.Recipients, ", "), mail.Size)
	var failed error
	for _, x := range explanations {
		if err := t.explain(x); err != nil {
			return err
		}
		if x.Place == 1 && x.Refusal != nil { // nobody can: those who can stand first
			failed = errSaid
		}
	}
	return failed
}

// explain prints one provider, and before the first of a route whom it is for.
func (t terminal) explain(x app.Explanation) error {
	if x.Place == 1 {
		route := x.Way.Route
		if route == "" {
			route = "none, all providers"
		}
		t.printf("\nroute %s, for %s\n", route, strings.Join(x.Way.Recipients, ", "))
	}
	switch {
	case x.Refusal != nil:
		t.printf("\n%d. %s cannot carry it: %v\n", x.Place, x.Provider, x.Refusal)
	case len(x.Losses) > 0:
		t.printf("\n%d. %s carries it and loses: %s\n", x.Place, x.Provider, strings.Join(x.Losses, ", "))
	default:
		t.printf("\n%d. %s carries it faithfully\n", x.Place, x.Provider)
	}
	for _, r := range x.Requests {
		if err := t.request(r); err != nil {
			return fmt.Errorf("rendering the request to %s: %w", x.Provider, err)
		}
	}
	return nil
}

// request prints the octets that would leave.
func (t terminal) request(r app.Request) error {
	t.printf("\n%s %s\n", r.Method, r.URL)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		t.printf("%s: %s\n", name, strings.Join(r.Header[name], ", "))
	}
	t.printf("Content-Length: %d\n(and the credentials, which are not shown)\n\n", r.Body.Len())
	body, err := r.Body.Open()
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // reading is done
	if _, err := io.Copy(t.stdout, body); err != nil {
		return err
	}
	t.printf("\n")
	return nil
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"time"

	message "github.com/emersion/go-message/mail"
	"github.com/emersion/go-smtp"
)

// connectTimeout bounds the wait for a server that does not answer.
const connectTimeout = 10 * time.Second

type send struct {
	To      []string `required:"" sep:"none" placeholder:"A" help:"A recipient; may be repeated."`
	From    string   `default:"bridge@sandbox.test" placeholder:"B" help:"The sender."`
	Subject string   `default:"Test from smtp-bridge" placeholder:"S" help:"The subject."`
	Text    string   `help:"The text body."`
	HTML    string   `name:"html" help:"The HTML body."`
	Attach  []string `sep:"none" placeholder:"F" help:"A file to attach; may be repeated."`
	Server  string   `default:"127.0.0.1:2525" placeholder:"HOST:PORT" help:"The server."`
}

// Run prints the server's reply, and fails where it is a refusal.
func (s send) Run(ctx context.Context, t terminal) error {
	from, to, err := s.addresses()
	if err != nil {
		return err
	}
	var content bytes.Buffer
	if err := s.compose(&content, from, to); err != nil {
		return err
	}
	reply, err := s.submit(ctx, from, to, &content)
	if refusal, ok := errors.AsType[*smtp.SMTPError](err); ok {
		t.printf("%s\n", replyLine(refusal))
		return errSaid
	}
	if err != nil {
		return fmt.Errorf("sending to %s: %w", s.Server, err)
	}
	t.printf("250 %s\n", oneLine(reply))
	return nil
}

func (s send) addresses() (*mail.Address, []*mail.Address, error) {
	from, err := mail.ParseAddress(s.From)
	if err != nil {
		return nil, nil, fmt.Errorf("reading --from %q: %w", s.From, err)
	}
	to := make([]*mail.Address, len(s.To))
	for i, written := range s.To {
		if to[i], err = mail.ParseAddress(written); err != nil {
			return nil, nil, fmt.Errorf("reading --to %q: %w", written, err)
		}
	}
	return from, to, nil
}

// compose writes the whole mail, so that nothing is sent of one whose
// attachment cannot be read.
func (s send) compose(w io.Writer, from *mail.Address, to []*mail.Address) error {
	var header message.Header
	header.SetDate(time.Now())
	header.SetSubject(s.Subject)
	header.SetAddressList("From", []*mail.Address{from})
	header.SetAddressList("To", to)
	if err := header.GenerateMessageIDWithHostname("bridge.localhost"); err != nil {
		return fmt.Errorf("composing the message: %w", err)
	}
	writer, err := message.CreateWriter(w, header)
	if err != nil {
		return fmt.Errorf("composing the message: %w", err)
	}
	if err := errors.Join(s.writeBodies(writer), s.writeAttachments(writer), writer.Close()); err != nil {
		return fmt.Errorf("composing the message: %w", err)
	}
	return nil
}

func (s send) writeBodies(w *message.Writer) error {
	text := s.Text
	if text == "" && s.HTML == "" {
		text = "This is a test message."
	}
	bodies, err := w.CreateInline()
	if err != nil {
		return err
	}
	return errors.Join(writeBody(bodies, "text/plain", text), writeBody(bodies, "text/html", s.HTML), bodies.Close())
}

// writeBody leaves out what is empty.
func writeBody(bodies *message.InlineWriter, mediaType, body string) error {
	if body == "" {
		return nil
	}
	var header message.InlineHeader
	header.SetContentType(mediaType, map[string]string{"charset": "utf-8"})
	return writePart(strings.NewReader(body), func() (io.WriteCloser, error) { return bodies.CreatePart(header) })
}

func (s send) writeAttachments(w *message.Writer) error {
	for _, path := range s.Attach {
		if err := writeAttachment(w, path); err != nil {
			return err
		}
	}
	return nil
}

func writeAttachment(w *message.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	var header message.AttachmentHeader
	header.SetFilename(filepath.Base(path))
	mediaType := mime.TypeByExtension(filepath.Ext(path))
	if mediaType == "" {
		mediaType = "application/octet-stream"
	}
	header.Set("Content-Type", mediaType)
	return writePart(file, func() (io.WriteCloser, error) { return w.CreateAttachment(header) })
}

func writePart(content io.Reader, create func() (io.WriteCloser, error)) error {
	part, err := create()
	if err != nil {
		return err
	}
	_, err = io.Copy(part, content)
	return errors.Join(err, part.Close())
}

// submit gives the text of the reply to the data; a refusal is an *smtp.SMTPError.
func (s send) submit(ctx context.Context, from *mail.Address, to []*mail.Address, body io.Reader) (string, error) {
	dialer := net.Dialer{Timeout: connectTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", s.Server)
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	client := smtp.NewClient(conn)
	defer func() { _ = client.Close() }()
	if err := client.Mail(from.Address, nil); err != nil {
		return "", err
	}
	for _, recipient := range to {
		if err := client.Rcpt(recipient.Address, nil); err != nil {
			return "", err
		}
	}
	data, err := client.Data()
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(data, body); err != nil {
		return "", err
	}
	response, err := data.CloseWithResponse()
	if err != nil {
		return "", err
	}
	_ = client.Quit() // the mail is taken whatever becomes of the farewell
	return response.StatusText, nil
}

func replyLine(refusal *smtp.SMTPError) string {
	code := fmt.Sprint(refusal.Code)
	if e := refusal.EnhancedCode; e != smtp.NoEnhancedCode && e != smtp.EnhancedCodeNotSet {
		code += fmt.Sprintf(" %d.%d.%d", e[0], e[1], e[2])
	}
	return code + " " + oneLine(refusal.Message)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

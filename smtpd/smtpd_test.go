package smtpd_test

import (
	"crypto/tls"
	"net"
	"net/smtp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"smtpbridge/smtpd"
	"smtpbridge/translate"
)

const text = "From: from@example.com\r\nSubject: hello\r\n\r\nThe text.\r\n"

// Go's own client sends a mail in each of the ways that a listener offers.
func TestStandardClient(t *testing.T) {
	auth := smtp.PlainAuth("", "alice", "wonderland", "localhost")
	for _, tt := range []struct {
		name     string
		listener smtpd.Listener
		auth     smtp.Auth
		user     string
	}{
		{"plain", smtpd.Listener{}, nil, ""},
		{"plain with AUTH on loopback", smtpd.Listener{Auth: "required"}, auth, "alice"},
		{"starttls", smtpd.Listener{TLS: "starttls"}, nil, ""},
		{"starttls with AUTH", smtpd.Listener{TLS: "starttls", Auth: "required"}, auth, "alice"},
		{"implicit TLS", smtpd.Listener{TLS: "implicit"}, nil, ""},
		{"implicit TLS with AUTH", smtpd.Listener{TLS: "implicit", Auth: "optional"}, auth, "alice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, func(cfg *smtpd.Config) {
				withTLS(t, cfg)
				withUser(cfg)
				tt.listener.Address = "127.0.0.1:0"
				cfg.Listeners = []smtpd.Listener{tt.listener}
			})
			conn, err := net.Dial("tcp", s.Addrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if tt.listener.TLS == "implicit" {
				conn = tls.Client(conn, s.tlsConfig())
			}
			client, err := smtp.NewClient(conn, "localhost")
			if err != nil {
				t.Fatal(err)
			}
			if tt.listener.TLS == "starttls" {
				if err := client.StartTLS(s.tlsConfig()); err != nil {
					t.Fatal(err)
				}
			}
			if tt.auth != nil {
				if err := client.Auth(tt.auth); err != nil {
					t.Fatal(err)
				}
			}
			sendTwo(t, client)
			want := []mail{
				{translate.Envelope{MailFrom: "from@example.com", Recipients: []string{"a@example.com"}, User: tt.user, Client: "127.0.0.1"}, text},
				{translate.Envelope{MailFrom: "", Recipients: []string{"b@example.com", "c@example.com"}, User: tt.user, Client: "127.0.0.1"}, "." + text},
			}
			if diff := cmp.Diff(want, s.got(), cmpopts.IgnoreFields(translate.Envelope{}, "BridgeID")); diff != "" {
				t.Error(diff)
			}
			if a, b := s.got()[0].Envelope.BridgeID, s.got()[1].Envelope.BridgeID; len(a) != 26 || len(b) != 26 || a == b {
				t.Errorf("ids %q and %q, want two different ULIDs", a, b)
			}
		})
	}
}

// sendTwo sends two mails on one connection.
func sendTwo(t *testing.T, client *smtp.Client) {
	t.Helper()
	for _, m := range []struct {
		from, text string
		to         []string
	}{
		{"from@example.com", text, []string{"a@example.com"}},
		{"", "." + text, []string{"b@example.com", "c@example.com"}},
	} {
		if err := client.Mail(m.from); err != nil {
			t.Fatal(err)
		}
		for _, to := range m.to {
			if err := client.Rcpt(to); err != nil {
				t.Fatal(err)
			}
		}
		w, err := client.Data()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := strings.NewReader(m.text).WriteTo(w); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Quit(); err != nil {
		t.Fatal(err)
	}
}

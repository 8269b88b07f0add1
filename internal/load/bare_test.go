package load_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/emersion/go-smtp"
)

// bareVariable names the environment variable that makes this binary the bare
// server; it holds the URL to post to.
const bareVariable = "LOAD_BARE_PROVIDER"

// bare is the least that a bridge can be, and what ours is measured against:
// go-smtp as it comes, posting the bytes unchanged as they arrive.
type bare struct {
	client *http.Client
	url    string
}

// serveBare prints the address it listens on and serves until stdin ends.
func serveBare(provider string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := smtp.NewServer(bare{
		// The default of 2 idle connections would make the bare server dial
		// for nearly every mail.
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: concurrency}},
		url:    provider,
	})
	go func() {
		fmt.Println(listener.Addr())
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	if err := server.Serve(listener); err != nil {
		panic(err)
	}
}

func (b bare) NewSession(*smtp.Conn) (smtp.Session, error) { return b, nil }
func (bare) Mail(string, *smtp.MailOptions) error          { return nil }
func (bare) Rcpt(string, *smtp.RcptOptions) error          { return nil }
func (bare) Reset()                                        {}
func (bare) Logout() error                                 { return nil }

func (b bare) Data(r io.Reader) error {
	resp, err := b.client.Post(b.url, "message/rfc822", r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("provider answered %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

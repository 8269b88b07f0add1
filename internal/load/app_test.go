package load_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"smtpbridge/internal/app"
)

// apiKey is what the bridge shows the provider.
const apiKey = "SG.load"

// configure writes a configuration with a provider at the given URL, all else but
// the addresses as it is by default: only that every mail is one request, whatever
// became of those before.
func configure(tb testing.TB, table, provider, smtp, webhook, admin string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "config.toml")
	text := fmt.Sprintf(`data_dir = "data"
[[smtp.listener]]
address = %q
[http]
webhook_address = %q
admin_address = %q
[[provider]]
%s
base_url = %q
failure_threshold = 1000000
[delivery]
max_attempts = 1
`, smtp, webhook, admin, table, provider)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}

// startApp runs the bridge with one provider, and gives its SMTP address.
func startApp(t *testing.T, provider string) string {
	t.Helper()
	const anyPort = "127.0.0.1:0"
	return run(t, configure(t, `type = "sendgrid"`+"\napi_key = \""+apiKey+`"`, provider, anyPort, anyPort, anyPort)).smtp
}

// startTables runs the bridge with these tables.
func startTables(tb testing.TB, tables string) addresses {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "config.toml")
	const head = "data_dir = \"data\"\n[[smtp.listener]]\naddress = \"127.0.0.1:0\"\n[http]\nwebhook_address = \"127.0.0.1:0\"\nadmin_address = \"127.0.0.1:0\"\n"
	if err := os.WriteFile(file, []byte(head+tables), 0o600); err != nil {
		tb.Fatal(err)
	}
	return run(tb, file)
}

// addresses are where a bridge listens.
type addresses struct{ smtp, admin, webhook string }

// run runs the bridge of a configuration in this process until the test ends.
func run(tb testing.TB, file string) addresses {
	tb.Helper()
	config, err := app.Load(file, os.LookupEnv)
	if err != nil {
		tb.Fatal(err)
	}
	bridge, err := app.New(config, app.Options{Log: io.Discard})
	if err != nil {
		tb.Fatal(err)
	}
	if err := bridge.Listen(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context())) // which ends before the clean-up
	ended := make(chan error, 1)
	go func() { ended <- bridge.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			tb.Errorf("the bridge ended with %v", err)
		}
	})
	all := bridge.Addrs()
	return addresses{all.SMTP[0].String(), all.Admin.String(), all.Webhook.String()}
}

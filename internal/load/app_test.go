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

// startApp runs the bridge in this process until the test ends, and gives its
// SMTP address.
func startApp(t *testing.T, provider string) string {
	t.Helper()
	const anyPort = "127.0.0.1:0"
	config, err := app.Load(configure(t, `type = "sendgrid"`+"\napi_key = \""+apiKey+`"`, provider, anyPort, anyPort, anyPort), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	bridge, err := app.New(config, app.Options{Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := bridge.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context())) // which ends before the clean-up
	ended := make(chan error, 1)
	go func() { ended <- bridge.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the bridge ended with %v", err)
		}
	})
	return bridge.Addrs().SMTP[0].String()
}

package load_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also runs the bare server: a child process is this binary again.
func TestMain(m *testing.M) {
	if provider := os.Getenv(bareVariable); provider != "" {
		serveBare(provider)
		return
	}
	goleak.VerifyTestMain(m)
}

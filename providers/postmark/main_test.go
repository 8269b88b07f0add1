package postmark_test

import (
	"testing"

	"go.uber.org/goleak"

	"smtpbridge/internal/config"
	"smtpbridge/providers/postmark"
)

const token = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newAdapter() *postmark.Adapter {
	c := postmark.DefaultConfig()
	c.APIKey = config.NewSecret(token)
	return postmark.New(c)
}

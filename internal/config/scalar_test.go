package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"smtpbridge/internal/config"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"30s": 30 * time.Second, "1h30m": 90 * time.Minute, "0s": 0, "0": 0} {
		var d config.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Std() != want {
			t.Errorf("%q: got %v, %v, want %v", text, d, err, want)
		}
	}
	for _, text := range []string{"", "30", "-1s", "1 s", "soon"} {
		d := config.Duration(time.Minute)
		if err := d.UnmarshalText([]byte(text)); err == nil || d.Std() != time.Minute {
			t.Errorf("%q: got %v, %v, want an error and the old value", text, d, err)
		}
	}
}

func TestSize(t *testing.T) {
	tests := []struct {
		text string
		want config.Size
		back string
	}{
		{"0", 0, "0"},
		{"1000", 1000, "1000"},
		{"64KiB", 64 << 10, "64KiB"},
		{"25 MiB", 25 << 20, "25MiB"},
		{"1GiB", 1 << 30, "1GiB"},
		{"2048", 2048, "2KiB"},
		{"1048576GiB", 1 << 50, "1048576GiB"},
	}
	for _, test := range tests {
		var s config.Size
		if err := s.UnmarshalText([]byte(test.text)); err != nil || s != test.want || s.String() != test.back {
			t.Errorf("%q: got %d %q, %v, want %d %q", test.text, s, s.String(), err, test.want, test.back)
		}
	}
	for _, text := range []string{"", "MiB", "25MB", "25mib", "-1", "1.5MiB", "1048577GiB", "9223372036854775807KiB"} {
		s := config.Size(7)
		if err := s.UnmarshalText([]byte(text)); err == nil || s != 7 {
			t.Errorf("%q: got %d, %v, want an error and the old value", text, s, err)
		}
	}
}

// What a scalar writes it reads again.
func TestScalarsRoundTrip(t *testing.T) {
	for _, want := range []config.Duration{0, 1, config.Duration(90 * time.Second)} {
		text, err := want.MarshalText()
		var got config.Duration
		if err != nil || got.UnmarshalText(text) != nil || got != want {
			t.Errorf("%s: got %d, want %d (%v)", text, got, want, err)
		}
	}
	for _, want := range []config.Size{0, 1, 1 << 10, 3 << 20, 1<<30 + 1} {
		text, err := want.MarshalText()
		var got config.Size
		if err != nil || got.UnmarshalText(text) != nil || got != want {
			t.Errorf("%s: got %d, want %d (%v)", text, got, want, err)
		}
	}
}

// However a secret is printed, it does not show.
func TestSecretHides(t *testing.T) {
	const value = "hunter2"
	secret := config.NewSecret(value)
	holder := struct{ Key config.Secret }{secret}
	encoded, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "key", secret, "all", holder)
	for _, printed := range []string{
		secret.String(), fmt.Sprintf("%v %+v %#v %s %q %x", holder, holder, holder, secret, secret, secret), string(encoded), log.String(),
	} {
		if strings.Contains(printed, value) || strings.Contains(printed, fmt.Sprintf("%x", value)) {
			t.Errorf("shows the secret: %s", printed)
		}
	}
	if secret.Reveal() != value || secret.IsZero() || !config.NewSecret("").IsZero() {
		t.Error("the secret got lost")
	}
	if got := config.NewSecret("").String(); got != "" {
		t.Errorf("no secret prints as %q", got)
	}
}

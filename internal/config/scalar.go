package config

import (
	"encoding"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span written as "30s", "5m" or "1h30m".
type Duration time.Duration

var _ encoding.TextUnmarshaler = (*Duration)(nil)

// UnmarshalText reads Go's duration syntax; a bare number has no unit and is refused.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is not a duration; write a number with a unit such as \"30s\", \"5m\" or \"1h\"", text)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is Go's duration syntax.
func (d Duration) String() string { return time.Duration(d).String() }

// Std is the duration in the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Size is a number of octets, written as a number or as "64KiB", "25MiB" or "1GiB".
type Size int64

var _ encoding.TextUnmarshaler = (*Size)(nil)

// UnmarshalText reads a number of octets, with or without a binary unit.
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSpace(string(text)), int64(1)
	for _, u := range [...]struct {
		suffix string
		octets int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}} {
		if cut, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(cut), u.octets
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<50)/unit {
		return fmt.Errorf("%q is not a size; write octets or a number with KiB, MiB or GiB such as \"25MiB\"", text)
	}
	*s = Size(n * unit)
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the largest binary unit that divides the size.
func (s Size) String() string {
	switch n := int64(s); {
	case n > 0 && n%(1<<30) == 0:
		return strconv.FormatInt(n>>30, 10) + "GiB"
	case n > 0 && n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + "MiB"
	case n > 0 && n%(1<<10) == 0:
		return strconv.FormatInt(n>>10, 10) + "KiB"
	default:
		return strconv.FormatInt(n, 10)
	}
}

// Secret is a resolved secret. It prints as a placeholder wherever it is
// formatted, logged or marshalled; only Reveal gives the value.
type Secret struct{ value string }

// NewSecret wraps a literal value, for tests and for code that resolved it.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal is the secret itself: for the call that authenticates, nothing else.
func (s Secret) Reveal() string { return s.value }

// IsZero reports that no secret was configured.
func (s Secret) IsZero() bool { return s.value == "" }

// String hides the value.
func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return "[redacted]"
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the value from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the value from every encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

package smtpbridge_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/providers/mailgun"
	"smtpbridge/providers/postmark"
	"smtpbridge/providers/sendgrid"
	"smtpbridge/providers/ses"
	"smtpbridge/providers/smtp2go"
)

var update = flag.Bool("update", false, "rewrite the table of capabilities in README.md")

// carriers are the adapters as they are by default, in the order of the README.
func carriers() []struct {
	name    string
	adapter providers.Adapter
} {
	region := ses.DefaultConfig()
	region.Region = "eu-west-1"
	fields := mailgun.DefaultConfig()
	fields.Format = "fields"
	return []struct {
		name    string
		adapter providers.Adapter
	}{
		{"SendGrid", sendgrid.New(sendgrid.DefaultConfig())},
		{"Mailgun", mailgun.New(mailgun.DefaultConfig())},
		{"Mailgun, fields", mailgun.New(fields)},
		{"Amazon SES", ses.New(region)},
		{"Postmark", postmark.New(postmark.DefaultConfig())},
		{"SMTP2GO", smtp2go.New(smtp2go.DefaultConfig())},
	}
}

// capabilityRows say what is shown of the capabilities.
func capabilityRows() []struct {
	what string
	of   func(providers.Capabilities) string
} {
	type c = providers.Capabilities
	return []struct {
		what string
		of   func(c) string
	}{
		{"the application's own bytes (signed and encrypted mail, too, where tracking can be switched off)", func(c c) string {
			if c.RawMIME && c.Raw != nil {
				return "where it loses less"
			}
			return yes(c.RawMIME)
		}},
		{"largest mail", func(c c) string { return megabytes(cmp.Or(c.MaxSize, c.MaxRequestBytes)) }},
		{"recipients of one request; more are split", func(c c) string { return number(c.MaxRecipients, "any") }},
		{"envelope sender", func(c c) string { return yes(c.EnvelopeSender) }},
		{"send time, ahead", func(c c) string {
			if c.ScheduleHorizon == 0 {
				return "no"
			}
			return fmt.Sprintf("%d h", c.ScheduleHorizon/time.Hour)
		}},
		{"tags", func(c c) string { return number(c.MaxTags, "no") }},
		{"metadata", func(c c) string {
			switch {
			case c.MaxMetadataBytes == 0:
				return "no"
			case c.MaxPairs > 0:
				return fmt.Sprintf("%d pairs", c.MaxPairs)
			}
			return fmt.Sprintf("%d octets", c.MaxMetadataBytes)
		}},
		{"tags and metadata of any characters", func(c c) string { return yes(c.MaxMetadataBytes > 0 && !c.TokensOnly) }},
		{"open tracking on and off", func(c c) string { return yes(c.TrackOpens) }},
		{"click tracking on and off", func(c c) string { return yes(c.TrackClicks) }},
		{"merges per recipient", func(c c) string { return cmp.Or(strings.Join(c.Merges, ", "), "no") }},
		{"inline images", func(c c) string { return yes(c.InlineImages) }},
		{"AMP", func(c c) string { return yes(c.AMP) }},
		{"invitations as such, not as a file", func(c c) string { return yes(c.Calendar) }},
		{"empty files", func(c c) string { return yes(c.EmptyFiles || c.RawMIME && c.Raw == nil) }},
		{"files of any type", func(c c) string { return yes(len(c.ForbiddenFiles) == 0) }},
		{"repeated headers", func(c c) string { return yes(c.RepeatedHeaders || c.RawMIME && c.Raw == nil) }},
		{"Message-ID", func(c c) string { return yes(c.MessageID) }},
		{"Date", func(c c) string { return yes(c.Date) }},
		{"Sender", func(c c) string { return yes(c.Sender) }},
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func number(n int, none string) string {
	if n == 0 {
		return none
	}
	return fmt.Sprint(n)
}

func megabytes(n int64) string {
	if n == 0 {
		return "not known"
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// The README's table of what each provider carries is what the code says.
func TestReadmeCapabilities(t *testing.T) {
	all := carriers()
	var table strings.Builder
	table.WriteString("| |")
	for _, p := range all {
		table.WriteString(" " + p.name + " |")
	}
	table.WriteString("\n|---|" + strings.Repeat("---|", len(all)) + "\n")
	for _, row := range capabilityRows() {
		table.WriteString("| " + row.what + " |")
		for _, p := range all {
			table.WriteString(" " + row.of(p.adapter.Capabilities()) + " |")
		}
		table.WriteString("\n")
	}
	const begin, end = "<!-- capabilities: written by go test . -update -->\n", "<!-- end of capabilities -->"
	readme := read(t, "README.md")
	before, rest, found := strings.Cut(readme, begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatal("README.md has no place for the table of capabilities")
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(before+begin+table.String()+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := gocmp.Diff(table.String(), got); diff != "" {
		t.Errorf("README.md, capabilities (-code +README):\n%s", diff)
	}
}

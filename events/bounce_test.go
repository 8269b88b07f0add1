package events_test

import (
	"strings"
	"testing"

	"smtpbridge/events"
)

func TestBounceOf(t *testing.T) {
	for _, c := range []struct {
		words string
		want  events.Bounce
	}{
		// An enhanced code decides alone.
		{"550 5.1.1 user unknown", events.Hard},
		{"550-5.1.1 The email account that you tried to reach does not exist", events.Hard},
		{"smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound", events.Hard},
		{"554 #5.1.2#SMTP#", events.Hard},
		{"550 (5.1.0)", events.Hard},
		{"550 5.7.1 message blocked", events.Soft},
		{"550 5.2.2 user unknown", events.Soft},
		{"554 5.0.0 mailbox unavailable", events.Soft},
		{"550 5.11.1 odd", events.Soft},
		{"451 4.1.1 recipient rejected", events.Soft},
		{"452 4.2.2 mailbox full", events.Soft},
		{"550 5.7.1 see rule 5.1.1", events.Soft},
		{"2.0.0 then 5.1.1", events.Hard},

		// What only looks like one decides nothing.
		{"connection to 5.1.1.1 timed out", events.Soft},
		{"550 from 4.5.6.7", events.Hard},
		{"version 14.1.1 is busy", events.Soft},
		{"since 5.1.2026", events.Soft},

		// Else words and codes, whole ones.
		{"User Unknown", events.Hard},
		{"user\r\n unknown", events.Hard},
		{"mailbox unavailable", events.Hard},
		{"invalid recipient", events.Hard},
		{"Recipient rejected.", events.Hard},
		{"domain not found", events.Hard},
		{"550", events.Hard},
		{"551 no", events.Hard},
		{"553-no", events.Hard},
		{"failed with 554.", events.Hard},
		{"failed with 554. Bye", events.Hard},
		{"smtp;550 no", events.Hard},
		{"(550)", events.Hard},
		{"552 too large", events.Soft},
		{"452 mailbox full", events.Soft},
		{"5500", events.Soft},
		{"1.550 octets", events.Soft},
		{"550.5 seconds", events.Soft},
		{"mx550 is busy", events.Soft},
		{"550mx is busy", events.Soft},
		{"ü550 550ü _550", events.Soft},
		{"host 550.example.org is busy", events.Soft},
		{"id ab-550", events.Soft},
		{"superuser unknowns", events.Soft},
		{"the user is unknown to us", events.Soft},
		{"", events.Soft},

		// What is repeated of the mail says nothing.
		{"421 try later: <550@example.org>", events.Soft},
		{"421 550@example.org is busy", events.Soft},
		{`421 "550 a"@example.org is busy`, events.Soft},
		{`421 "x"@550.example.org is busy`, events.Soft},
		{`subject "user unknown" is spam`, events.Soft},
		{"<5.1.1@example.org> has a full mailbox", events.Soft},
		{"for 5.1.1@example.org: mailbox full", events.Soft},
		// But what touches an address does.
		{"550 5.7.1<jo@example.org>: blocked", events.Soft},
		{"550 5.1.1<jo@example.org>: no such user", events.Hard},
		{"550 5.7.1:jo@example.org blocked", events.Soft},
		{"550,jo@example.org", events.Hard},
	} {
		if got := events.BounceOf(c.words); got != c.want {
			t.Errorf("%q is %s, want %s", c.words, got, c.want)
		}
	}
}

// The words of several places are read as one.
func TestBounceOfSeveral(t *testing.T) {
	for _, c := range []struct {
		words []string
		want  events.Bounce
	}{
		{nil, events.Soft},
		{[]string{"", "RCPT TO:<jo@example.org>"}, events.Soft},
		{[]string{"user unknown", "DATA: 452 4.2.2 Mailbox full"}, events.Soft},
		{[]string{"Mailbox full", "550"}, events.Hard},
		{[]string{"55", "0"}, events.Soft},
	} {
		if got := events.BounceOf(c.words...); got != c.want {
			t.Errorf("%q is %s, want %s", c.words, got, c.want)
		}
	}
}

// FuzzBounceOf: a bounce is hard or soft; an enhanced code in front decides, and
// what stands in brackets does not.
func FuzzBounceOf(f *testing.F) {
	for _, words := range []string{
		"550 5.1.1 user unknown", "smtp;550-5.7.1<a@b>", `"550"@a`, "<<550>>", `"a" 550 "b`, "5.1.1.1", "1.550 554.", "\xff550\xff", "５５０", "@@", "",
	} {
		f.Add(words)
	}
	f.Fuzz(func(t *testing.T, words string) {
		got := events.BounceOf(words)
		if got != events.Hard && got != events.Soft {
			t.Fatalf("%q is %q", words, got)
		}
		if events.BounceOf("550 5.1.1", words) != events.Hard || events.BounceOf("550 5.7.1", words) != events.Soft {
			t.Errorf("before %q a code does not decide", words)
		}
		if bare := strings.NewReplacer("<", "", ">", "").Replace(words); events.BounceOf("421 <"+bare+"> is busy") != events.Soft {
			t.Errorf("%q is hard in brackets", bare)
		}
		if got == events.Hard && !strings.ContainsAny(words, "15") && !strings.ContainsAny(strings.ToLower(words), "kcdb") {
			t.Errorf("%q is hard without a reason", words)
		}
	})
}

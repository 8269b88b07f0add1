package events_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"smtpbridge/events"
)

func TestAddress(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a@example.org", "a@example.org"},
		{"A.B+Tag@Example.ORG", "a.b+tag@example.org"},
		{"Ü@example.org", "ü@example.org"},

		// Brackets, names and space are no part of an address.
		{"<a@example.org>", "a@example.org"},
		{" \t<a@example.org>\r\n", "a@example.org"},
		{"< a@example.org >", "a@example.org"},
		{`"Doe, Jo" <jo@example.org>`, "jo@example.org"},
		{`A <b@c> <a@example.org>`, "a@example.org"},
		{`"a<b>"@example.org`, `"a<b>"@example.org`},

		// Quotes that nothing needs are none of the mailbox.
		{`"a.b+c"@example.org`, "a.b+c@example.org"},
		{`"A\b"@Example.org`, "ab@example.org"},
		{`"ü"@example.org`, "ü@example.org"},
		{`<"a"@example.org>`, "a@example.org"},
		{`"a."@example.org`, `"a."@example.org`},
		{`".a"@example.org`, `".a"@example.org`},
		{`"a..b"@example.org`, `"a..b"@example.org`},
		{`""@example.org`, `""@example.org`},
		{`"a\\b"@example.org`, `"a\\b"@example.org`},
		{`"a\"b"@example.org`, `"a\"b"@example.org`},
		{`"a\"@example.org`, `"a\"@example.org`},
		{`"a,b"@example.org`, `"a,b"@example.org`},
		{`"a@b"@example.org`, `"a@b"@example.org`},
		{`"x  y"@example.org`, `"x  y"@example.org`},

		// The domain is in punycode: of each spelling the same.
		{"a@bücher.example", "a@xn--bcher-kva.example"},
		{"a@BÜCHER.example", "a@xn--bcher-kva.example"},
		{"a@bu\u0308cher.example", "a@xn--bcher-kva.example"},
		{"a@XN--BCHER-KVA.example", "a@xn--bcher-kva.example"},
		{"a@straße.example", "a@xn--strae-oqa.example"},
		{"a@ｅｘａｍｐｌｅ.org", "a@example.org"},
		{"a@example。org", "a@example.org"},

		// A final dot is the root's, in any script.
		{"a@example.org.", "a@example.org"},
		{"a@example.org。", "a@example.org"},
		{"a@bücher.example.", "a@xn--bcher-kva.example"},

		// What has no domain in the sense of IDNA keeps what it has.
		{"a@[192.0.2.1]", "a@[192.0.2.1]"},
		{"a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]"},
		{"a@My_Host.example", "a@my_host.example"},
		{"a@-b-.example", "a@-b-.example"},

		// What is no address is only lower-cased.
		{"", ""},
		{" ", ""},
		{"<>", ""},
		{"Root", "root"},
		{"a@", "a@"},
		{"@example.org", "@example.org"},
		{"+49 123 456", "+49 123 456"},
	} {
		if got := events.Address(c.text); got != c.want {
			t.Errorf("the address of %q is %q, want %q", c.text, got, c.want)
		}
	}
}

// Nobody's domain is that long: it is not looked at.
func TestAddressIsBounded(t *testing.T) {
	long := "a@" + strings.Repeat("ü", 5<<20) + ".example"
	if got := events.Address(long); got != long {
		t.Errorf("a domain of %d octets is not left alone", len(long))
	}
}

// FuzzAddress: the form of an address is its own form, whoever wrote it how.
func FuzzAddress(f *testing.F) {
	for _, text := range []string{
		"a@example.org", " <A@Bücher.Example.> ", "a@b。", "a@b..", "a@b。.", "x <b@c>.", "<<a@b>>", "a@<b>", "< a> >", "a@xn--a",
		"a@ẞ.example", "İ@İ.example", "a@\u200d.example", "a@xn--", "a@", "@", "<", ">", "\xff@\xff", "a@b\x00", "a@[::1]", "a@K.example",
		"a @ b . c", "A <a@b> ", `"a"@b`, `"\a"@b`, `""a""@b`, `"a"b"@c`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := events.Address(text)
		if again := events.Address(got); again != got {
			t.Errorf("%q is %q, which is %q", text, got, again)
		}
		if got != strings.TrimSpace(got) || got != strings.ToLower(got) {
			t.Errorf("%q is %q, which has space around it or capitals in it", text, got)
		}
		if utf8.ValidString(text) && !strings.ContainsAny(text, "<>") {
			if bracketed := events.Address("Name <" + text + ">"); bracketed != got {
				t.Errorf("%q is %q, in brackets %q", text, got, bracketed)
			}
		}
	})
}

func TestKey(t *testing.T) {
	// Taken down once: events in a store are told by it.
	if got, want := events.Key("a", "b"), "8fb20ef63ced4145fc2e983ffe597d1d"; !strings.HasPrefix(got, want) || len(got) != 64 {
		t.Errorf("the key of a and b is %q, want 64 digits from %s on", got, want)
	}
	keys := make(map[string][]string)
	for _, parts := range [][]string{
		{},
		{""},
		{"", ""},
		{"a"},
		{"a", ""},
		{"", "a"},
		{"a", "b"},
		{"ab"},
		{"a,b"},
		{"a\x00b"},
		{"a\x00", "b"},
		{"a", "\x00b"},
		{"a\x01", "b"},
		{"a", "\x01b"},
		{"a\x01\x01b"},
		{"a\x01\x02b"},
		{"a\x00\x01"},
		{"a\x01\x00"},
	} {
		key := events.Key(parts...)
		if other, taken := keys[key]; taken {
			t.Errorf("%q and %q have one key", parts, other)
		}
		keys[key] = parts
	}
}

// Keys are the same exactly where the parts are.
func TestKeyTellsApart(t *testing.T) {
	parts := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune{0, 1, 2, 'a', ','}), 0, 3, -1), 0, 3)
	rapid.Check(t, func(rt *rapid.T) {
		a, b := parts.Draw(rt, "a"), parts.Draw(rt, "b")
		if same := strings.Join(a, "|") == strings.Join(b, "|") && len(a) == len(b); same != (events.Key(a...) == events.Key(b...)) {
			rt.Errorf("%q and %q: keys %s and %s", a, b, events.Key(a...), events.Key(b...))
		}
	})
}

func TestID(t *testing.T) {
	id := events.ID("mailgun", "key")
	if !strings.HasPrefix(id, "evt_") || len(id) != len("evt_")+32 {
		t.Errorf("the id is %q", id)
	}
	if id != events.ID("mailgun", "key") {
		t.Error("an event that comes again has another id")
	}
	for _, other := range [][2]string{{"mailgun", "key2"}, {"mailgun-eu", "key"}, {"mailgunk", "ey"}, {"key", "mailgun"}} {
		if events.ID(other[0], other[1]) == id {
			t.Errorf("%q have the id of another event", other)
		}
	}
}

// Tags compare without case, all other scopes as they are.
func TestScope(t *testing.T) {
	for scope, want := range map[string]string{
		"tag:News": "tag:news", "": "", "group:10": "group:10", "stream:Broadcast": "stream:Broadcast", "list:News": "list:News",
	} {
		if got := events.Scope(scope); got != want {
			t.Errorf("Scope(%q) = %q, want %q", scope, got, want)
		}
	}
}

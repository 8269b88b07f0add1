package providers_test

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// plain is a mail that every provider carries.
func plain() *translate.Message {
	return &translate.Message{
		From: &translate.Address{Email: "shop@example.com"}, Subject: "s", Date: now,
		Text: &translate.Part{Type: "text/plain", Size: 10}, Size: 100,
	}
}

// anew is an API that builds the mail anew and takes a little of everything.
var anew = providers.Capabilities{
	MaxSize: 1000, ScheduleHorizon: time.Hour, MaxTags: 2, MaxTagRunes: 5, ASCIITags: true, MaxMetadataBytes: 30,
	Merges: []string{"sendgrid"}, FileNameStops: ";", ForbiddenHeaders: []string{"Received"},
	MessageID: true, Calendar: true, InlineImages: true,
}

// bytes is an API that is given the application's own.
var bytes = providers.Capabilities{RawMIME: true, TrackOpens: true, TrackClicks: true, MessageID: true, Date: true, Sender: true}

func never(*translate.Message) bool { return false }

func TestCheckRefuses(t *testing.T) {
	raw := bytes
	for _, c := range []struct {
		name   string
		c      providers.Capabilities
		change func(*translate.Message)
		want   providers.Category // empty: carried
		local  bool
	}{
		{"plain", anew, func(*translate.Message) {}, "", false},
		{"no From", raw, func(m *translate.Message) { m.From = nil }, providers.Malformed, false},
		{"From that is no address", anew, func(m *translate.Message) { m.From.Email = `"@example.com` }, providers.Malformed, false},
		{"odd From", anew, func(m *translate.Message) { m.From.Email = `"a b"@example.com` }, "", false},
		{"From with a quote that opens another", anew, func(m *translate.Message) { m.From.Email = `"a"b"@example.com` }, providers.Malformed, false},
		{"From with a quote that never closes", anew, func(m *translate.Message) { m.From.Email = `"a\"@example.com` }, providers.Malformed, false},
		{"From with a quote inside", anew, func(m *translate.Message) { m.From.Email = `"a\"b"@example.com` }, "", false},
		{"odd dots", anew, func(m *translate.Message) { m.From.Email = "a..b.@example.com" }, "", false},
		{"local part", anew, func(m *translate.Message) { m.From.Email = "ü@example.com" }, providers.NotFaithful, true},

		// What must not be changed leaves raw or not at all.
		{"signed", anew, func(m *translate.Message) { m.Opaque = translate.OpaqueSigned }, providers.NotFaithful, true},
		{"encrypted", anew, func(m *translate.Message) { m.Opaque = translate.OpaqueEncrypted }, providers.NotFaithful, true},
		{"signed, tracked", providers.Capabilities{RawMIME: true, TrackOpens: true}, func(m *translate.Message) { m.Opaque = translate.OpaqueSigned }, providers.NotFaithful, true},
		{"signed, rough lines", raw, func(m *translate.Message) { m.Opaque, m.RoughLines = translate.OpaqueSigned, true }, providers.NotFaithful, true},
		{"rough lines", raw, func(m *translate.Message) { m.RoughLines = true }, "", false},
		{"signed where it leaves anew", providers.Capabilities{RawMIME: true, Raw: never, TrackOpens: true, TrackClicks: true}, func(m *translate.Message) { m.Opaque = translate.OpaqueSigned }, providers.NotFaithful, true},
		{"signed, raw", raw, func(m *translate.Message) { m.Opaque = translate.OpaqueSigned }, "", false},
		{"encoding", anew, func(m *translate.Message) { m.UnknownEncoding = "x-own" }, providers.NotFaithful, true},
		{"encoding, raw", raw, func(m *translate.Message) { m.UnknownEncoding = "x-own" }, "", false},

		// The horizon itself is inside; a time that has passed is now.
		{"at the horizon", anew, func(m *translate.Message) { m.Directives.SendAt = now.Add(time.Hour) }, "", false},
		{"beyond it", anew, func(m *translate.Message) { m.Directives.SendAt = now.Add(time.Hour + 1) }, providers.NotFaithful, true},
		{"no schedule", raw, func(m *translate.Message) { m.Directives.SendAt = now.Add(1) }, providers.NotFaithful, true},
		{"passed", raw, func(m *translate.Message) { m.Directives.SendAt = now }, "", false},

		// Size: raw as received, else what the API is given.
		{"exactly", anew, func(m *translate.Message) { m.Text.Size = 1000 }, "", false},
		{"one more", anew, func(m *translate.Message) { m.Text.Size = 1001 }, providers.TooLarge, true},
		{"in base64", anew, func(m *translate.Message) { m.Parts = []translate.Part{{Size: 750}} }, providers.TooLarge, true},
		{"received in quoted-printable", anew, func(m *translate.Message) { m.Size = 3000 }, "", false},
		{"raw", providers.Capabilities{RawMIME: true, MaxSize: 99}, func(*translate.Message) {}, providers.TooLarge, true},

		{"long From", providers.Capabilities{MaxFromUnits: 16}, func(*translate.Message) {}, "", false},
		{"too long From", providers.Capabilities{MaxFromUnits: 15}, func(*translate.Message) {}, providers.NotFaithful, true},
		{"too long From, raw", providers.Capabilities{RawMIME: true, MaxFromUnits: 15}, func(*translate.Message) {}, "", false},

		{"body", providers.Capabilities{MaxBodyBytes: 9}, func(*translate.Message) {}, providers.TooLarge, true},
		{"file of a forbidden type", providers.Capabilities{ForbiddenFiles: []string{"exe"}}, func(m *translate.Message) { m.Parts = []translate.Part{{Name: "a.EXE", Size: 1}} }, providers.ContentRejected, true},
		{"empty file of a forbidden type, which is dropped", providers.Capabilities{ForbiddenFiles: []string{"exe"}}, func(m *translate.Message) { m.Parts = []translate.Part{{Name: "a.exe"}} }, "", false},
		{"file of another type", providers.Capabilities{ForbiddenFiles: []string{"exe"}}, func(m *translate.Message) { m.Parts = []translate.Part{{Name: "exe", Size: 1}} }, "", false},

		{"own merge", anew, func(m *translate.Message) { m.Directives.Merges = []translate.Merge{{Dialect: "sendgrid"}} }, "", false},
		{"foreign merge", anew, func(m *translate.Message) {
			m.Directives.Merges = []translate.Merge{{Dialect: "sendgrid"}, {Dialect: "mailgun"}}
		}, providers.Malformed, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := plain()
			c.change(m)
			_, err := providers.Check(c.c, m, now)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused with %v, want it carried", err)
			case c.want != "" && (err == nil || err.Category != c.want || err.Local != c.local || err.Message == ""):
				t.Errorf("refused with %+v, want %s, local %v, and why", err, c.want, c.local)
			}
		})
	}
}

func TestCheckNamesLosses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*translate.Message)
		want   []string
		raw    []string // where the application's bytes leave
	}{
		{"nothing", func(*translate.Message) {}, nil, nil},
		{"flaws", func(m *translate.Message) { m.Flaws = []string{"nested signature"} }, []string{"nested signature"}, nil},
		{"AMP", func(m *translate.Message) { m.AMP = &translate.Part{Size: 1} }, []string{"AMP"}, nil},
		{"empty files", func(m *translate.Message) { m.Parts = []translate.Part{{}, {}} }, []string{"empty file"}, nil},
		{"file name", func(m *translate.Message) { m.Parts = []translate.Part{{Name: "a;b", Size: 1}} }, []string{"file name"}, nil},
		{"date", func(m *translate.Message) { m.Date = now.Add(-time.Hour) }, []string{"date"}, nil},
		{"date of a slow clock", func(m *translate.Message) { m.Date = now.Add(-5 * time.Minute) }, nil, nil},
		{"no date", func(m *translate.Message) { m.Date = time.Time{} }, nil, nil},
		{"sender", func(m *translate.Message) { m.Sender = &translate.Address{Email: "bot@example.com"} }, []string{"sender"}, nil},
		{"sender as From", func(m *translate.Message) { m.Sender = &translate.Address{Email: "Shop@example.com"} }, nil, nil},
		{
			"headers", func(m *translate.Message) {
				m.Headers = []translate.Header{{Name: "X-A", Value: "1"}, {Name: "received", Value: "x"}, {Name: "x-a", Value: "2"}, {Name: "Ü", Value: "3"}, {Name: "X B", Value: "4"}}
			},
			[]string{"header received", "repeated header x-a", "header Ü", "header X B"},
			nil,
		},
		{"reply-to", func(m *translate.Message) { m.ReplyTo = []translate.Address{{Email: "root"}} }, []string{"reply-to address"}, nil},
		{
			"references", func(m *translate.Message) {
				m.References = strings.Fields(strings.Repeat("<1234567@example.com> ", 60))
			},
			[]string{"references"},
			nil,
		},
		{
			"flaws of the bytes", func(m *translate.Message) { m.RawFlaws = []string{"second header Subject"} },
			nil,
			[]string{"second header Subject"},
		},
		{
			"tracking", func(m *translate.Message) {
				m.Directives.TrackOpens, m.Directives.TrackClicks = translate.Off, translate.On
			},
			[]string{"open tracking", "click tracking"},
			nil,
		},
		{"tags", func(m *translate.Message) { m.Directives.Tags = []string{"ü"} }, []string{"tags"}, []string{"tags"}},
		{
			"metadata", func(m *translate.Message) { m.Directives.Metadata = map[string]string{"k": strings.Repeat("v", 30)} },
			[]string{"metadata"},
			[]string{"metadata"},
		},
		{
			"options", func(m *translate.Message) {
				m.Directives.Options = []translate.Option{{Dialect: "mailgun", Name: "X-Mailgun-Dkim"}, {Name: "X-SMTPAPI section"}}
			},
			[]string{"option mailgun:X-Mailgun-Dkim", "option X-SMTPAPI section"},
			[]string{"option mailgun:X-Mailgun-Dkim", "option X-SMTPAPI section"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := plain()
			c.change(m)
			for name, carrier := range map[string]struct {
				c    providers.Capabilities
				want []string
			}{"anew": {anew, c.want}, "raw": {bytes, c.raw}} {
				got, err := providers.Check(carrier.c, m, now)
				if err != nil {
					t.Fatalf("%s: refused with %v", name, err)
				}
				if diff := cmp.Diff(carrier.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

// What one API lacks another has: each loss of a narrow one by its name.
func TestCheckNamesLossesOfNarrowAPIs(t *testing.T) {
	narrow := providers.Capabilities{
		MaxSubjectUnits: 3, MaxMetadataBytes: 1000, MaxPairs: 1, MaxHeaderBytes: 20, TokensOnly: true, MaxTags: 5,
		CarriesHeader: func(h translate.Header) bool { return h.Name != "Organisation" },
	}
	m := plain()
	m.Subject, m.MessageID = "a\U0001F600b", "<1@example.com>"
	m.Parts = []translate.Part{
		{Size: 1, Role: translate.Inline},
		{Size: 1, Role: translate.Alternative, Type: "text/calendar"},
		{Size: 1, Role: translate.Alternative, Type: "text/enriched"},
	}
	m.References = []string{"<123456789@x>", "<987654321@x>"}
	m.Headers = []translate.Header{{Name: "Organisation", Value: "x"}}
	m.Directives.Tags = []string{"with blank", "token"}
	m.Directives.Metadata = map[string]string{"a": "1", "b": "2"}
	want := []string{
		"tags", "metadata", "inline image as file", "calendar as file", "alternative as file", "end of the subject",
		"header Organisation", "references", "message id",
	}
	got, err := providers.Check(narrow, m, now)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("refused with %v (-want +got):\n%s", err, diff)
	}
	single := bytes
	single.SingleHeaders = []string{"comments"}
	m = plain()
	m.Headers = []translate.Header{{Name: "Comments"}, {Name: "comments"}, {Name: "X-A"}, {Name: "X-A"}}
	if got, _ := providers.Check(single, m, now); !cmp.Equal(got, []string{"repeated header comments"}) {
		t.Errorf("the losses are %q, want the second of the single header", got)
	}
}

// What is cut is the name; quotes and backslashes count.
func TestFitFrom(t *testing.T) {
	c := providers.Capabilities{MaxFromUnits: len("123456 <a@example.com>")}
	for name, want := range map[string]string{
		"123456":            "123456 <a@example.com>",
		"1234567":           "1234 <a@example.com>",
		"12\U0001F60034567": "12\U0001F600 <a@example.com>",
		"123\U0001F600456":  "123 <a@example.com>",
		"1,345678":          `"1,34" <a@example.com>`,
		`1"34567`:           `"1\"3" <a@example.com>`,
	} {
		got, lost := providers.FitFrom(c, translate.Address{Name: name, Email: "a@example.com"})
		if got.String() != want || lost == strings.HasPrefix(want, name) {
			t.Errorf("of %q %s is left, lost %v; want %s", name, got, lost, want)
		}
	}
	m := plain()
	m.From.Name = "somebody with a long name"
	losses, _ := providers.Check(providers.Capabilities{MaxFromUnits: 30}, m, now)
	if !cmp.Equal(losses, []string{"end of the author's name"}) || !providers.IsVisible(losses[0]) {
		t.Errorf("the losses are %q, want the end of the name, which is seen", losses)
	}
}

// An API that parses the header refuses the whole mail for one address in it.
func TestCheckOfShownAddresses(t *testing.T) {
	strict := bytes
	strict.ShowsAddress = func(a translate.Address) bool { return strings.Contains(a.Email, "@") && len(a.Name) < 5 }
	for _, c := range []struct {
		name   string
		change func(*translate.Message)
		want   []string
	}{
		{"nothing", func(m *translate.Message) { m.To = []translate.Address{{Name: "A", Email: "a@example.org"}} }, nil},
		{"To", func(m *translate.Message) { m.To = []translate.Address{{Email: "root"}} }, []string{"shown address"}},
		{"Cc", func(m *translate.Message) { m.Cc = []translate.Address{{Email: "root"}} }, []string{"shown address"}},
		{"Reply-To", func(m *translate.Message) { m.ReplyTo = []translate.Address{{Email: "root"}} }, []string{"shown address"}},
		{"Sender", func(m *translate.Message) { m.Sender = &translate.Address{Email: "root"} }, []string{"shown address"}},
		{"name of From", func(m *translate.Message) { m.From.Name = "A long one" }, []string{"shown address"}},
		{"outside ASCII", func(m *translate.Message) { m.To = []translate.Address{{Email: "ü"}} }, nil},
	} {
		m := plain()
		c.change(m)
		if got, err := providers.Check(strict, m, now); !cmp.Equal(got, c.want) || err != nil {
			t.Errorf("%s: the losses are %q (%v), want %q", c.name, got, err, c.want)
		}
		if got, err := providers.Check(bytes, m, now); got != nil || err != nil {
			t.Errorf("%s: where every address may be shown the losses are %q (%v)", c.name, got, err)
		}
	}
	strict.ShowsAddress = func(translate.Address) bool { return false }
	if _, err := providers.Check(strict, plain(), now); err == nil || err.Category != providers.NotFaithful || !err.Local {
		t.Errorf("a From that may not be shown is refused with %v, want not_faithful, local", err)
	}
}

func TestFitShown(t *testing.T) {
	c := providers.Capabilities{ShowsAddress: func(a translate.Address) bool { return a.Email != "root" && len(a.Name) < 5 }}
	kept, lost := providers.FitShown(c, []translate.Address{
		{Name: "A", Email: "a@example.org"}, {Name: "A long one", Email: "b@example.org"}, {Email: "root"}, {Email: "ü@example.org"},
	})
	if diff := cmp.Diff([]translate.Address{{Name: "A", Email: "a@example.org"}, {Email: "b@example.org"}}, kept); diff != "" || !lost {
		t.Errorf("lost %v (-want +got):\n%s", lost, diff)
	}
	list := []translate.Address{{Email: "root"}}
	if kept, lost := providers.FitShown(providers.Capabilities{}, list); !cmp.Equal(kept, list) || lost {
		t.Errorf("where every address may be shown %v is kept, lost %v", kept, lost)
	}
}

// An API may take some inline images and not others, as by their names.
func TestLeavesInline(t *testing.T) {
	some := anew
	some.CarriesInline = func(parts []translate.Part, i int) bool { return parts[i].ContentID != parts[0].ContentID }
	m := plain()
	m.Parts = []translate.Part{{Size: 1, ContentID: "a"}, {Size: 1, ContentID: "b", Role: translate.Inline}}
	if losses, _ := providers.Check(some, m, now); losses != nil {
		t.Errorf("the losses are %q, want none", losses)
	}
	m.Parts[1].ContentID = "a"
	if losses, _ := providers.Check(some, m, now); !cmp.Equal(losses, []string{"inline image as file"}) {
		t.Errorf("the losses are %q, want the image", losses)
	}
	for i, want := range []bool{false, true} {
		if got := providers.LeavesInline(anew, m.Parts, i); got != want {
			t.Errorf("part %d leaves inline: %v, want %v", i, got, want)
		}
	}
	if providers.LeavesInline(providers.Capabilities{CarriesInline: some.CarriesInline}, m.Parts, 1) {
		t.Error("an API without inline images takes one")
	}
}

func TestFitSubject(t *testing.T) {
	for subject, want := range map[string]string{"abc": "abc", "abcd": "abc", "a\U0001F600b": "a\U0001F600", "ab\U0001F600": "ab", "a\nb": "a b"} {
		if got, lost := providers.FitSubject(providers.Capabilities{MaxSubjectUnits: 3}, subject); got != want || lost != (len(want) < len(subject)) {
			t.Errorf("of %q %q is left, lost %v; want %q", subject, got, lost, want)
		}
	}
}

func TestCheckCarriesAMPOnlyWithHTML(t *testing.T) {
	c := anew
	c.AMP = true
	m := plain()
	m.AMP = &translate.Part{Size: 1}
	if losses, _ := providers.Check(c, m, now); !cmp.Equal(losses, []string{"AMP"}) {
		t.Errorf("without HTML the losses are %q, want AMP", losses)
	}
	m.HTML = &translate.Part{Size: 1}
	if losses, _ := providers.Check(c, m, now); losses != nil {
		t.Errorf("with HTML the losses are %q, want none", losses)
	}
}

func TestCheckAsksForLostOptions(t *testing.T) {
	c := anew
	c.LostOptions = func(options []translate.Option) []string { return []string{options[0].Name} }
	m := plain()
	m.Directives.Options = []translate.Option{{Name: "one"}, {Name: "two"}}
	if losses, _ := providers.Check(c, m, now); !cmp.Equal(losses, []string{"one"}) {
		t.Errorf("the losses are %q, want those of the provider", losses)
	}
}

// Some directives depend on who receives, or on what is sent.
func TestCheckAsksForLostDirectives(t *testing.T) {
	c := bytes
	c.LostDirectives = func(m *translate.Message) []string { return m.Envelope.Recipients }
	m := plain()
	m.Envelope.Recipients = []string{"a@example.org"}
	m.Directives.Options = []translate.Option{{Name: "one"}}
	if losses, _ := providers.Check(c, m, now); !cmp.Equal(losses, []string{"a@example.org", "option one"}) {
		t.Errorf("the losses are %q, want those of the provider, and the option", losses)
	}
}

func TestFitTags(t *testing.T) {
	kept, lost := providers.FitTags(anew, []string{"", "a", "a", "sixsix", "ü", "b", "c"})
	if diff := cmp.Diff([]string{"a", "b"}, kept); diff != "" || !lost {
		t.Errorf("lost %v (-want +got):\n%s", lost, diff)
	}
	if _, lost := providers.FitTags(anew, []string{"a", "a"}); lost {
		t.Error("a tag given twice is lost, want it once")
	}
}

// A sandbox takes any number of tags: the time must not grow with its square.
func TestFitTagsOfMany(t *testing.T) {
	tags := make([]string, 300_000)
	for i := range tags {
		tags[i] = strconv.Itoa(i)
	}
	start := time.Now()
	kept, _ := providers.FitTags(providers.Capabilities{MaxTags: math.MaxInt}, tags)
	if took := time.Since(start); len(kept) != len(tags) || took > 30*time.Second {
		t.Errorf("%d of %d tags in %v, want all, in far less than 30 s", len(kept), len(tags), took)
	}
}

func TestFitMetadata(t *testing.T) {
	// Of 30 octets of JSON three short pairs take 26; the long one does not fit.
	kept, lost := providers.FitMetadata(anew, map[string]string{
		"b": "x", "a": "1", "bridge_id": "forged", "c": strings.Repeat("y", 30), "d": "z",
	})
	if diff := cmp.Diff([]providers.Pair{{Key: "a", Value: "1"}, {Key: "b", Value: "x"}, {Key: "d", Value: "z"}}, kept); diff != "" || !lost {
		t.Errorf("lost %v (-want +got):\n%s", lost, diff)
	}
	// Escapes count: {"k":"…"} with 11 quotes takes 31 octets and a comma.
	if _, lost := providers.FitMetadata(anew, map[string]string{"k": strings.Repeat(`"`, 11)}); !lost {
		t.Error("what is too long once escaped is kept")
	}
	// What the provider's events use themselves would come back as something else.
	reserving := anew
	reserving.ReservedMetadata = []string{"email"}
	kept, lost = providers.FitMetadata(reserving, map[string]string{"email": "x", "a": "1"})
	if diff := cmp.Diff([]providers.Pair{{Key: "a", Value: "1"}}, kept); diff != "" || !lost {
		t.Errorf("reserved: lost %v (-want +got):\n%s", lost, diff)
	}
	// Keys that differ in case only are one, that of our own id too.
	folding := providers.Capabilities{MaxMetadataBytes: 1000, FoldedKeys: true}
	kept, lost = providers.FitMetadata(folding, map[string]string{"Color": "1", "color": "2", "Bridge_ID": "forged", "ſ": "3", "s": "4"})
	if diff := cmp.Diff([]providers.Pair{{Key: "Color", Value: "1"}, {Key: "s", Value: "4"}}, kept); diff != "" || !lost {
		t.Errorf("folded: lost %v (-want +got):\n%s", lost, diff)
	}
	if kept, lost := providers.FitMetadata(anew, nil); len(kept) != 0 || lost {
		t.Errorf("of nothing %v is kept, lost %v", kept, lost)
	}
}

// A character outside the basic plane is two code units.
func TestFitCountsUTF16(t *testing.T) {
	c := providers.Capabilities{MaxTags: 9, MaxTagRunes: 2, MaxMetadataBytes: 1000, MaxKeyRunes: 2, MaxValueRunes: 2, UTF16: true}
	const one, two = "\U0001F600", "a\U0001F600"
	if kept, _ := providers.FitTags(c, []string{one, two, "ab"}); !cmp.Equal(kept, []string{one, "ab"}) {
		t.Errorf("the tags %q are kept, want those of two code units", kept)
	}
	kept, _ := providers.FitMetadata(c, map[string]string{one: one, two: "k", "v": two})
	if !cmp.Equal(kept, []providers.Pair{{Key: one, Value: one}}) {
		t.Errorf("the pairs %q are kept, want that of two code units", kept)
	}
}

func TestFitHeaders(t *testing.T) {
	headers := []translate.Header{{Name: "X-A", Value: "1\r\nBcc: x"}, {Name: "X-B", Value: "2"}, {Name: "x-a", Value: "3", Raw: "=?utf-8?q?3?="}}
	kept, _ := providers.FitHeaders(anew, headers)
	if diff := cmp.Diff([]translate.Header{
		{Name: "X-A", Value: "1  Bcc: x, 3", Raw: "1  Bcc: x, =?utf-8?q?3?="}, {Name: "X-B", Value: "2", Raw: "2"},
	}, kept); diff != "" {
		t.Errorf("joined (-want +got):\n%s", diff)
	}
	c := anew
	c.RepeatedHeaders = true
	if kept, losses := providers.FitHeaders(c, headers); len(kept) != 3 || losses != nil {
		t.Errorf("of repeated headers %v is kept with the losses %q, want all", kept, losses)
	}
}

// A field that is taken alone may be too long once it is joined.
func TestFitHeadersThatAreTooLongTogether(t *testing.T) {
	c := anew
	c.CarriesHeader = func(h translate.Header) bool { return len(h.Raw) <= 3 }
	kept, losses := providers.FitHeaders(c, []translate.Header{
		{Name: "X-A", Value: "1", Raw: "1"}, {Name: "x-a", Value: "23", Raw: "23"}, {Name: "X-B", Value: "1234", Raw: "1234"},
	})
	if !cmp.Equal(kept, []translate.Header{{Name: "X-A", Value: "1", Raw: "1"}}) || !cmp.Equal(losses, []string{"repeated header x-a", "header X-B"}) {
		t.Errorf("%v is kept with the losses %q", kept, losses)
	}
}

// Where an API bounds the values of fields, those of the model are fields too.
func TestFitFieldsOfTheModel(t *testing.T) {
	narrow := anew
	narrow.MaxHeaderBytes = 20
	long := "<" + strings.Repeat("x", 20) + ">"
	for _, c := range []struct {
		ids, narrow string
		lost        bool
	}{
		{"", "", false},
		{"<1@example.com>", "<1@example.com>", false},
		{"<1 2  3@x>", "<1 2  3@x>", false},
		{long, "", true},
		{"<1@x> <2@x> <3@x> <4@x>", "<1@x> <3@x> <4@x>", true},
	} {
		if value, lost := providers.FitIDs(narrow, c.ids); value != c.narrow || lost != c.lost {
			t.Errorf("of %q %q is left, lost %v; want %q, %v", c.ids, value, lost, c.narrow, c.lost)
		}
		if value, lost := providers.FitIDs(anew, c.ids); value != c.ids || lost {
			t.Errorf("without a bound %q becomes %q, lost %v", c.ids, value, lost)
		}
	}
	list := []translate.Address{{Name: "Ann", Email: "a@x"}, {Name: "Jörg", Email: "b@x"}, {Email: "c@example.com"}, {Email: "d@x"}}
	for bound, want := range map[int]string{0: "Ann <a@x>, =?utf-8?q?J=C3=B6rg?= <b@x>, c@example.com, d@x", 19: "Ann <a@x>, b@x, d@x", 8: "a@x, b@x", 2: ""} {
		narrow.MaxHeaderBytes = bound
		if value, lost := providers.FitReplyToField(narrow, list); value != want || lost != (bound > 0) {
			t.Errorf("in %d octets Reply-To is %q, lost %v; want %q", bound, value, lost, want)
		}
	}
	narrow.MaxHeaderBytes = 20
	m := plain()
	m.MessageID, m.InReplyTo, m.ReplyTo = long, long, list
	if losses, err := providers.Check(narrow, m, now); err != nil || !cmp.Equal(losses, []string{"in-reply-to", "message id", "reply-to address"}) {
		t.Errorf("the losses are %q (%v)", losses, err)
	}
}

func TestFitReferences(t *testing.T) {
	id := func(i int) string { return "<" + strings.Repeat("x", 90) + string(rune('a'+i)) + "@h>" }
	var ids []string
	for i := range 26 {
		ids = append(ids, id(i))
	}
	value, lost := providers.FitReferences(anew, ids)
	kept := strings.Fields(value)
	if !lost || len(value) > 998 || kept[0] != id(0) || kept[len(kept)-1] != id(25) || len(kept) < 9 {
		t.Errorf("kept %d ids in %d octets, lost %v; want the first and the last ones", len(kept), len(value), lost)
	}
	if value, lost := providers.FitReferences(anew, []string{strings.Repeat("x", 2000)}); value != "" || !lost {
		t.Errorf("an id longer than a line is kept: %d octets", len(value))
	}
	if value, lost := providers.FitReferences(anew, nil); value != "" || lost {
		t.Errorf("no references are %q, lost %v", value, lost)
	}
}

func TestFitFileName(t *testing.T) {
	if got, lost := providers.FitFileName(anew, "a;b\r\nc.txt"); got != "a_b__c.txt" || !lost {
		t.Errorf("the name is %q, lost %v", got, lost)
	}
	if got, lost := providers.FitFileName(anew, "Größe, März.pdf"); got != "Größe, März.pdf" || lost {
		t.Errorf("the name is %q, lost %v, want it as it was", got, lost)
	}
}

package translate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/translate"
)

// Which links are tracked is more than a switch holds: the rest is Postmark's
// own option, a loss elsewhere.
func TestPostmarkTrackLinks(t *testing.T) {
	t.Parallel()
	only := func(name, value string) []translate.Option {
		return []translate.Option{{Dialect: "postmark", Name: name, Value: value}}
	}
	for _, c := range []struct {
		header  string
		clicks  translate.Switch
		options []translate.Option
	}{
		{"X-PM-TrackLinks: HtmlAndText", translate.On, nil},
		{"X-PM-TrackLinks: none", translate.Off, nil},
		{"X-PM-TrackLinks: HtmlOnly", translate.On, only("X-PM-TrackLinks", "HtmlOnly")},
		{"X-PM-Track-Links: textonly", translate.On, only("X-PM-Track-Links", "textonly")},
	} {
		m, err := parse(t, []byte("From: a@example.com\r\n"+c.header+"\r\n\r\nx\r\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.options, m.Directives.Options); diff != "" || m.Directives.TrackClicks != c.clicks {
			t.Errorf("%s: clicks %v, want %v; options (-want +got):\n%s", c.header, m.Directives.TrackClicks, c.clicks, diff)
		}
	}
}

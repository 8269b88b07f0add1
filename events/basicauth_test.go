package events_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"smtpbridge/events"
)

func TestBasicAuth(t *testing.T) {
	const user, password = "bridge", "s3cret:with:colon"
	basic := func(credentials string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
	}
	good := "Basic YnJpZGdlOnMzY3JldDp3aXRoOmNvbG9u"
	for _, c := range []struct {
		name           string
		user, password string
		header         []string
		passes         bool
	}{
		{"good", user, password, []string{good}, true},
		{"scheme in capitals", user, password, []string{strings.Replace(good, "Basic", "BASIC", 1)}, true},
		{"UTF-8", "brücke", "pässwort", []string{"Basic YnLDvGNrZTpww6Rzc3dvcnQ="}, true},

		{"none", user, password, nil, false},
		{"empty", user, password, []string{""}, false},
		{"scheme alone", user, password, []string{"Basic "}, false},
		{"another scheme", user, password, []string{strings.Replace(good, "Basic", "Bearer", 1)}, false},
		{"no scheme", user, password, []string{strings.TrimPrefix(good, "Basic ")}, false},
		{"bad base64", user, password, []string{good + "!"}, false},
		{"truncated", user, password, []string{good[:len(good)-4]}, false},
		{"of no colon", user, password, []string{basic("bridge")}, false},
		{"empty password", user, password, []string{basic("bridge:")}, false},
		{"password cut at its colon", user, password, []string{basic("bridge:s3cret")}, false},
		{"another user", user, password, []string{basic("Bridge:" + password)}, false},
		{"another password", user, password, []string{basic("bridge:S3cret:with:colon")}, false},
		{"longer password", user, password, []string{basic("bridge:" + password + "x")}, false},
		{"colon elsewhere", "bridge:s3cret", "with:colon", []string{good}, false},
		{"oversized", user, password, []string{basic("bridge:" + strings.Repeat("x", 60<<10))}, false},
		{"twice", user, password, []string{good, good}, false},
		{"good after bad", user, password, []string{basic("a:b"), good}, false},
		{"bad after good", user, password, []string{good, basic("a:b")}, false},
		{"after an empty one", user, password, []string{"", good}, false},

		// Without a key nothing passes, not even nothing.
		{"no key", "", "", []string{good}, false},
		{"no key, empty credentials", "", "", []string{basic(":")}, false},
		{"no key, no header", "", "", nil, false},
		{"no user name", "", password, []string{basic(":" + password)}, false},
		{"no password", user, "", []string{basic("bridge:")}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := events.BasicAuth(http.Header{"Authorization": c.header}, c.user, c.password, false)
			if (err == nil) != c.passes || err != nil && !errors.Is(err, events.ErrUnauthenticated) {
				t.Fatalf("the error is %v, passes: %v", err, c.passes)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "YnJp")) {
				t.Errorf("the error shows a secret: %v", err)
			}
			if err != nil && (c.user == "" || c.password == "") && !strings.Contains(err.Error(), "set webhook_username and webhook_password") {
				t.Errorf("the error does not name the keys: %v", err)
			}
		})
	}
}

func TestValidateBasicAuth(t *testing.T) {
	const name, word = "webhook_username", "webhook_password"
	for _, c := range []struct {
		user, password string
		want           []string
	}{
		{"", "", nil},
		{"bridge", "s3cret:with:colon", nil},
		{"brücke", " pässwort ", nil},
		{"bridge", "", []string{word}},
		{"", "s3cret", []string{name}},
		{"bri:dge", "s3cret", []string{name}},
		{"bridge\n", "s3cret", []string{name}},
		{"bridge", "s3cret\nword", []string{word}},
		{"bridge", "s3cret\x7f", []string{word}},
		{"bri:dge", "", []string{name, word}},
		{"", "s3cret\t", []string{name, word}},
	} {
		var got []string
		events.ValidateBasicAuth(c.user, c.password, func(key, problem string) {
			got = append(got, key)
			if problem == "" || strings.Contains(problem, "s3cret") {
				t.Errorf("%s: the problem is %q", key, problem)
			}
		})
		if !slices.Equal(got, c.want) {
			t.Errorf("%q and %q have problems in %q, want %q", c.user, c.password, got, c.want)
		}
	}
}

// Unverified is what has no key at all; one that is there is always asked for.
func TestBasicAuthUnverified(t *testing.T) {
	good := http.Header{"Authorization": {"Basic YnJpZGdlOnMzY3JldDp3aXRoOmNvbG9u"}}
	for _, c := range []struct {
		name, user, password string
		header               http.Header
		passes               bool
	}{
		{"no key", "", "", nil, true},
		{"no key, with credentials", "", "", good, true},
		{"a key", "bridge", "s3cret:with:colon", good, true},
		{"a key, no credentials", "bridge", "s3cret:with:colon", nil, false},
		{"no user name", "", "s3cret:with:colon", nil, false},
		{"no password", "bridge", "", nil, false},
	} {
		if err := events.BasicAuth(c.header, c.user, c.password, true); (err == nil) != c.passes {
			t.Errorf("%s: the error is %v, passes: %v", c.name, err, c.passes)
		}
	}
}

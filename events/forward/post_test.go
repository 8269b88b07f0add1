package forward_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"smtpbridge/events/forward"
	"smtpbridge/internal/config"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"120":                           2 * time.Minute,
		"-1":                            0,
		"1.5":                           0,
		"86400":                         time.Hour, // the longest backoff
		"99999999999999999999":          0,
		"Fri, 02 Jan 2026 12:00:30 GMT": 30 * time.Second,
		"Fri, 02 Jan 2026 11:00:00 GMT": 0,
		"Fri, 02 Jan 2099 12:00:00 GMT": time.Hour,
		"soon":                          0,
	} {
		if got := forward.RetryAfter(http.Header{"Retry-After": {text}}, noon); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, text := range []string{"120", "Fri, 02 Jan 2026 12:00:30 GMT", "2147483647", "Friday, 02-Jan-69 12:00:30 GMT"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := forward.RetryAfter(http.Header{"Retry-After": {text}}, noon); got < 0 || got > time.Hour {
			t.Errorf("%q is %v", text, got)
		}
	})
}

// Seconds at first, an hour at most, and never given up within three days, not
// even where the end of an outage has each event sent twice as often.
func TestBackoff(t *testing.T) {
	if first := forward.Backoff(1); first < time.Second || first > 2*time.Second {
		t.Errorf("the first is %v", first)
	}
	total := time.Duration(0)
	for n := 1; n < forward.Attempts/2; n++ {
		wait := forward.Backoff(n)
		if wait <= 0 || wait > time.Hour {
			t.Errorf("after attempt %d: %v", n, wait)
		}
		total += wait
	}
	if total < 3*24*time.Hour {
		t.Errorf("half of them last for %v, want three days", total)
	}
	if forward.Backoff(forward.Attempts) < 48*time.Minute {
		t.Error("the last backoff is shorter than an hour less its jitter")
	}
}

func TestRefusals(t *testing.T) {
	elsewhere := newApplication(t)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"gone":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }, "HTTP 410 Gone"},
		"mistaken": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hunter2", http.StatusBadRequest) }, "HTTP 400 Bad Request"},
		"moved": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, "HTTP 307: redirects are not followed"},
		"silent": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			app := newApplication(t)
			app.answer.Store(&c.answer)
			b := newBridge(t, openFile(t, file(t)), app.config())
			b.Hurry(1)
			b.start(t)
			b.enqueue(t, 7, 7)
			if letters := b.awaitDead(t, 1); letters[0].Error != c.want {
				t.Errorf("the error is %q, want %q", letters[0].Error, c.want)
			}
		})
	}
	if n := elsewhere.calls.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// Who knows the URL may be the application's only guard.
func TestSecretsStaySecret(t *testing.T) {
	for name, target := range map[string]string{
		"nobody listens": "http://user:hunter2@127.0.0.1:1/?token=hunter2",
		"no TLS there":   "https://user:hunter2@" + strings.TrimPrefix(newApplication(t).URL, "http://") + "/?token=hunter2",
	} {
		t.Run(name, func(t *testing.T) {
			b := newBridge(t, openFile(t, file(t)), forward.Config{URL: target, Secret: config.NewSecret(secret)})
			b.Hurry(2)
			b.start(t)
			b.enqueue(t, 1, 3) // enough failures for the log to tell of them
			stored := b.awaitDead(t, 3)[0].Error
			for _, text := range []string{stored, b.log.String()} {
				if strings.Contains(text, "hunter2") || strings.Contains(text, secret) || text == "" {
					t.Errorf("a secret is told, or nothing: %q", text)
				}
			}
		})
	}
}

func TestUserAndPasswordOfTheURL(t *testing.T) {
	app := newApplication(t)
	given := make(chan string, 1)
	answer := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		given <- user + " " + password + " " + r.URL.String()
	})
	app.answer.Store(&answer)
	c := app.config()
	c.URL = strings.Replace(app.URL, "http://", "http://user:hunter2@", 1) + "/events?token=t"
	b := newBridge(t, openFile(t, file(t)), c)
	b.start(t)
	b.enqueue(t, 1, 1)
	if got := <-given; got != "user hunter2 /events?token=t" {
		t.Error(got)
	}
}

// An answer without end holds up nothing.
func TestLongAnswer(t *testing.T) {
	app := newApplication(t)
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 32<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	app.answer.Store(&answer)
	b := newBridge(t, openFile(t, file(t)), app.config())
	b.start(t)
	b.enqueue(t, 1, 3)
	b.awaitPending(t, 0)
}

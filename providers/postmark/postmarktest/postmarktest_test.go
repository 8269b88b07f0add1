package postmarktest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"smtpbridge/providers/postmark/postmarktest"
)

const token = "server-token"

// good is a message that is taken; change replaces members of it.
func good(change map[string]any) map[string]any {
	m := map[string]any{"From": "Shop <shop@example.com>", "To": "a@example.org", "Subject": "s", "TextBody": "x"}
	for key, value := range change {
		if m[key] = value; value == nil {
			delete(m, key)
		}
	}
	return m
}

func encode(t *testing.T, v any) string {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// post gives the status and the answer, an object as a list of one.
func post(t *testing.T, f http.Handler, path, body string) (int, []map[string]any) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("X-Postmark-Server-Token", token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	var items []map[string]any
	if json.Unmarshal(w.Body.Bytes(), &items) != nil {
		one := map[string]any{}
		json.Unmarshal(w.Body.Bytes(), &one)
		items = []map[string]any{one}
	}
	return w.Code, items
}

func list(n int) string {
	addresses := make([]string, n)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("r%d@example.org", i)
	}
	return strings.Join(addresses, ", ")
}

func attachment(change map[string]any) map[string]any {
	a := map[string]any{"Name": "a.txt", "Content": "eA==", "ContentType": "text/plain"}
	for key, value := range change {
		if a[key] = value; value == nil {
			delete(a, key)
		}
	}
	return map[string]any{"Attachments": []any{a}}
}

func header(name, value string) map[string]any {
	return map[string]any{"Headers": []any{map[string]any{"Name": name, "Value": value}}}
}

func TestRefusesWhatPostmarkRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change map[string]any
		code   float64
	}{
		{"wrong type", map[string]any{"Subject": 7}, 403},
		{"unknown field", map[string]any{"Colour": "red"}, 403},
		{"unknown stream", map[string]any{"MessageStream": "nobody"}, 1235},
		{"stream too long", map[string]any{"MessageStream": strings.Repeat("s", 31)}, 1235},

		// Addresses.
		{"no From", map[string]any{"From": nil}, 300},
		{"bad From", map[string]any{"From": "shop"}, 300},
		{"two From", map[string]any{"From": "a@example.com, b@example.com"}, 300},
		{"long From", map[string]any{"From": strings.Repeat("n", 240) + " <shop@example.com>"}, 300},
		{"From outside ASCII", map[string]any{"From": "ü@example.com"}, 300},
		{"no To", map[string]any{"To": nil, "Cc": "a@example.org"}, 300},
		{"bad To", map[string]any{"To": "World"}, 300},
		{"bad Cc", map[string]any{"Cc": "b@"}, 300},
		{"bad Bcc", map[string]any{"Bcc": "b@example.org, "}, 300},
		{"bad Reply-To", map[string]any{"ReplyTo": "root"}, 300},
		{"open quote", map[string]any{"To": `"A <a@example.org>`}, 300},
		{"comma in a name", map[string]any{"To": "Doe, Jo <a@example.org>"}, 300},
		{"twice", map[string]any{"Bcc": "A@example.org"}, 300},
		{"51 recipients", map[string]any{"To": list(30), "Bcc": strings.ReplaceAll(list(21), "r", "b")}, 300},

		// Content.
		{"no body", map[string]any{"TextBody": nil}, 300},
		{"empty body", map[string]any{"TextBody": "", "HtmlBody": ""}, 300},
		{"large text", map[string]any{"TextBody": strings.Repeat("x", 5<<20+1)}, 300},
		{"large HTML", map[string]any{"HtmlBody": strings.Repeat("x", 5<<20+1)}, 300},
		{"long subject", map[string]any{"Subject": strings.Repeat("\U0001F600", 1001)}, 300},
		{"subject of two lines", map[string]any{"Subject": "a\nb"}, 300},
		{"long tag", map[string]any{"Tag": strings.Repeat("t", 1001)}, 300},
		{"eleven pairs", map[string]any{"Metadata": map[string]string{
			"a": "", "b": "", "c": "", "d": "", "e": "", "f": "", "g": "", "h": "", "i": "", "j": "", "k": "",
		}}, 300},
		{"long key", map[string]any{"Metadata": map[string]string{strings.Repeat("k", 21): ""}}, 300},
		{"no key", map[string]any{"Metadata": map[string]string{"": ""}}, 300},
		{"long value", map[string]any{"Metadata": map[string]string{"k": strings.Repeat("v", 81)}}, 300},
		{"keys equal but for case", map[string]any{"Metadata": map[string]string{"Color": "", "color": ""}}, 403},
		{"value of a number", map[string]any{"Metadata": map[string]int{"k": 1}}, 403},
		{"track links", map[string]any{"TrackLinks": "yes"}, 403},
		{"track opens", map[string]any{"TrackOpens": "true"}, 403},

		// Headers.
		{"reserved header", header("Reply-To", "a@example.com"), 300},
		{"header without a name", header("", "x"), 300},
		{"header with a colon", header("X:A", "x"), 300},
		{"header of two lines", header("X-A", "1\r\nBcc: b@example.org"), 300},
		{"header outside ASCII", header("X-A", "ü"), 300},
		{"directive", header("X-PM-Tag", "x"), 300},
		{"directive of the bridge", header("X-Bridge-Tag", "x"), 300},
		{"Message-ID that is not kept", header("Message-ID", "<7@example.com>"), 300},
		{"header twice", map[string]any{"Headers": []any{map[string]string{"Name": "X-A"}, map[string]string{"Name": "x-a"}}}, 300},

		// Files.
		{"forbidden file", attachment(map[string]any{"Name": "run.EXE"}), 411},
		{"no name", attachment(map[string]any{"Name": nil}), 300},
		{"no base64", attachment(map[string]any{"Content": "x"}), 403},
		{"lines in base64", attachment(map[string]any{"Content": "eA=\n="}), 403},
		{"empty file", attachment(map[string]any{"Content": ""}), 300},
		{"no type", attachment(map[string]any{"ContentType": nil}), 300},
		{"bad type", attachment(map[string]any{"ContentType": "text"}), 300},
		{"bad ContentID", attachment(map[string]any{"ContentID": "logo"}), 300},
		{"empty ContentID", attachment(map[string]any{"ContentID": "cid:"}), 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := postmarktest.New(token, nil)
			body := encode(t, good(c.change))
			if status, answer := post(t, f, "/email", body); status != http.StatusUnprocessableEntity || answer[0]["ErrorCode"] != c.code {
				t.Errorf("alone: %d %v, want 422 with %v", status, answer, c.code)
			}
			status, answers := post(t, f, "/email/batch", "["+body+","+encode(t, good(nil))+"]")
			if status != http.StatusOK || len(answers) != 2 || answers[0]["ErrorCode"] != c.code || answers[0]["MessageID"] != nil || answers[1]["ErrorCode"] != 0.0 {
				t.Errorf("in a batch: %d %v, want 200 with %v and 0", status, answers, c.code)
			}
			if taken := f.Taken(); len(taken) != 1 {
				t.Errorf("%d messages were taken, want the good one", len(taken))
			}
			if _, err := postmarktest.Decode("/email", []byte(body)); err == nil && c.code != 1235 {
				t.Error("Decode takes it")
			}
		})
	}
}

func TestRefusesRequests(t *testing.T) {
	one := encode(t, good(nil))
	large := "{" + strings.Repeat(" ", 10<<20) + one[1:]
	for _, c := range []struct {
		name, path, body string
		status           int
		code             any
	}{
		{"no JSON", "/email", "{", 422, 402.0},
		{"nothing", "/email", "", 422, 402.0},
		{"an array alone", "/email", "[" + one + "]", 422, 403.0},
		{"two documents", "/email", one + one, 422, 403.0},
		{"an object as a batch", "/email/batch", one, 422, 402.0},
		{"501 messages", "/email/batch", "[" + strings.Repeat(one+",", 500) + one + "]", 422, 410.0},
		{"more than 10 MB", "/email", large, 413, nil},
		{"more than 50 MB", "/email/batch", strings.Repeat(" ", 50<<20) + "[" + one + "]", 413, nil},
		{"more than 10 MB in a batch", "/email/batch", "[" + large + "]", 200, 300.0},
		{"elsewhere", "/emails", one, 404, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := postmarktest.New(token, nil)
			if status, answer := post(t, f, c.path, c.body); status != c.status || answer[0]["ErrorCode"] != c.code {
				t.Errorf("%d %v, want %d with %v", status, answer[0]["ErrorCode"], c.status, c.code)
			}
			if len(f.Taken()) != 0 {
				t.Error("it was taken")
			}
			if _, err := postmarktest.Decode(c.path, []byte(c.body)); err == nil {
				t.Error("Decode takes it")
			}
		})
	}
}

func TestRefusesStrangers(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		want   int
	}{
		{"nothing wrong", func(*http.Request) {}, 200},
		{"no token", func(r *http.Request) { r.Header.Del("X-Postmark-Server-Token") }, 401},
		{"wrong token", func(r *http.Request) { r.Header.Set("X-Postmark-Server-Token", "x") }, 401},
		{"no content type", func(r *http.Request) { r.Header.Del("Content-Type") }, 415},
		{"no Accept", func(r *http.Request) { r.Header.Del("Accept") }, 415},
		{"no length", func(r *http.Request) { r.ContentLength = -1 }, 411},
		{"GET", func(r *http.Request) { r.Method = http.MethodGet }, 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/email", strings.NewReader(encode(t, good(nil))))
			r.Header.Set("X-Postmark-Server-Token", token)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Accept", "application/json")
			c.change(r)
			w := httptest.NewRecorder()
			postmarktest.New(token, nil).ServeHTTP(w, r)
			if w.Code != c.want {
				t.Errorf("%d, want %d", w.Code, c.want)
			}
		})
	}
}

// Who is inactive is left out; where nobody is left nothing is sent.
func TestLeavesOutTheInactive(t *testing.T) {
	f := postmarktest.New(token, nil)
	f.Suppress("Gone@example.org")
	_, answer := post(t, f, "/email", encode(t, good(map[string]any{"Cc": "C <c@example.org>", "Bcc": "gone@example.org"})))
	if answer[0]["ErrorCode"] != 0.0 || !strings.Contains(fmt.Sprint(answer[0]["Message"]), "inactive addresses: gone@example.org.") {
		t.Errorf("the answer is %v", answer)
	}
	if taken := f.Taken(); len(taken) != 1 || !slices.Equal(taken[0].Delivered, []string{"a@example.org", "c@example.org"}) {
		t.Errorf("%v was taken", taken)
	}
	status, answer := post(t, f, "/email", encode(t, good(map[string]any{"To": "gone@example.org"})))
	if status != 422 || answer[0]["ErrorCode"] != 406.0 || len(f.Taken()) != 1 {
		t.Errorf("%d %v, want 422 with 406 and nothing sent", status, answer)
	}
	if n := f.Requests(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

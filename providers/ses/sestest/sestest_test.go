package sestest_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"smtpbridge/providers/ses/sestest"
)

// The vectors of a request that AWS takes, made by two independent programs.
const (
	vectorBody = `{"Content":{"Raw":{"Data":"RnJvbTogYUBtZy50ZXN0DQoNCmhpDQo="}},"Destination":{"ToAddresses":["ann@x.test"]}}`
	plainSign  = "a855a29a2e95eaf9f24a893e3ab34240509d397ff457687f30a21e484c3f8255"
	tokenSign  = "a0948b2bd7fe81ec5485edfe7bbb7fbe727946a31f1341f147f8ef1c8ad6d643"
)

var vectorTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func account(now time.Time) sestest.Account {
	return sestest.Account{
		Region: "eu-west-1", AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
		Now: func() time.Time { return now },
	}
}

// signed is the request of the vector.
func signed(t *testing.T) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://email.eu-west-1.amazonaws.com/v2/email/outbound-emails", strings.NewReader(vectorBody))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Amz-Date", "20260102T030405Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/eu-west-1/ses/aws4_request, "+
		"SignedHeaders=content-length;content-type;host;x-amz-date, Signature="+plainSign)
	return r
}

// ask gives the status and the name of the error.
func ask(fake *sestest.Fake, r *http.Request) (int, string) {
	w := httptest.NewRecorder()
	fake.ServeHTTP(w, r)
	name, _, _ := strings.Cut(w.Header().Get("X-Amzn-Errortype"), ":")
	return w.Code, name
}

func TestTakesTheVectors(t *testing.T) {
	fake := sestest.New(account(vectorTime), nil)
	if status, name := ask(fake, signed(t)); status != 200 || len(fake.Taken()) != 1 || fake.Taken()[0].MIME.Get("From") != "a@mg.test" {
		t.Errorf("the vector is answered with %d %s, %d mails are taken", status, name, len(fake.Taken()))
	}
	temporary := account(vectorTime)
	temporary.SessionToken = "TOKEN"
	r := signed(t)
	r.Header.Set("X-Amz-Security-Token", "TOKEN")
	r.Header.Set("Authorization", strings.NewReplacer(plainSign, tokenSign, "x-amz-date,", "x-amz-date;x-amz-security-token,").Replace(r.Header.Get("Authorization")))
	if status, name := ask(sestest.New(temporary, nil), r); status != 200 {
		t.Errorf("the vector with a token is answered with %d %s", status, name)
	}
	r = httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://email.eu-west-1.amazonaws.com/v2/email/suppression/addresses/a%40b.test", http.NoBody)
	r.Header.Set("X-Amz-Date", "20260102T030405Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/eu-west-1/ses/aws4_request, "+
		"SignedHeaders=host;x-amz-date, Signature=16cb224402cc017beb60b4dfb9fa0cdc0cb3752db74b010a0c29edf5096e9300")
	if status, name := ask(fake, r); status != 404 || name != "UnknownOperationException" {
		t.Errorf("the vector of a path is answered with %d %s, want its signature taken", status, name)
	}
}

func TestRefusesSignatures(t *testing.T) {
	replace := func(old, with string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, with, 1))
		}
	}
	for name, c := range map[string]struct {
		change func(*http.Request)
		now    time.Time
		want   string
	}{
		"late":              {func(*http.Request) {}, vectorTime.Add(15*time.Minute + time.Second), "InvalidSignatureException"},
		"early":             {func(*http.Request) {}, vectorTime.Add(-15*time.Minute - time.Second), "InvalidSignatureException"},
		"none":              {func(r *http.Request) { r.Header.Del("Authorization") }, vectorTime, "MissingAuthenticationTokenException"},
		"another algorithm": {replace("AWS4-HMAC-SHA256", "Basic"), vectorTime, "IncompleteSignatureException"},
		"no signature":      {replace(", Signature="+plainSign, ""), vectorTime, "IncompleteSignatureException"},
		"no date":           {func(r *http.Request) { r.Header.Del("X-Amz-Date") }, vectorTime, "IncompleteSignatureException"},
		"another date":      {replace("/20260102/", "/20260103/"), vectorTime, "IncompleteSignatureException"},
		"another key":       {replace("AKIDEXAMPLE", "AKIDOTHER"), vectorTime, "UnrecognizedClientException"},
		"another region":    {replace("eu-west-1", "us-east-1"), vectorTime, "InvalidSignatureException"},
		"another service":   {replace("/ses/", "/email/"), vectorTime, "InvalidSignatureException"},
		"unsigned host":     {replace("host;", ""), vectorTime, "InvalidSignatureException"},
		"unsigned type":     {replace("content-type;", ""), vectorTime, "InvalidSignatureException"},
		"unsigned field":    {func(r *http.Request) { r.Header.Set("X-Amz-Other", "x") }, vectorTime, "InvalidSignatureException"},
		"another host":      {func(r *http.Request) { r.Host = "email.eu-west-1.amazonaws.com:444" }, vectorTime, "InvalidSignatureException"},
		"another body": {func(r *http.Request) {
			r.Body = http.NoBody
		}, vectorTime, "InvalidSignatureException"},
		"a token too many": {func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "x") }, vectorTime, "UnrecognizedClientException"},
		"unsorted":         {replace("content-length;content-type;host", "host;content-length;content-type"), vectorTime, "IncompleteSignatureException"},
	} {
		fake := sestest.New(account(c.now), nil)
		r := signed(t)
		c.change(r)
		if status, got := ask(fake, r); got != c.want || status < 400 || len(fake.Taken()) != 0 {
			t.Errorf("%s: answered with %d %s, want %s", name, status, got, c.want)
		}
	}
}

// request is a body whose mail is this; more are further members.
func request(mail, more string) []byte {
	data := base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(mail, "\n", "\r\n")))
	return fmt.Appendf(nil, `{"Content":{"Raw":{"Data":%q}},"Destination":{"ToAddresses":["a@example.org"]}%s}`, data, more)
}

const good = "From: Shop <shop@example.com>\nTo: \"A, B\" <a@example.org>, \"b c\"@example.org\nSubject: s\n\ntext\n"

func TestDecodes(t *testing.T) {
	mail, err := sestest.Decode(request(good, `,"EmailTags":[{"Name":"a","Value":"b"}],"ConfigurationSetName":"x","TenantName":"y",
		"ConfigurationOverrides":{"Tracking":{"OpenTrackingEnabled":"DISABLED"}},"ListManagementOptions":{"ContactListName":"l"},
		"FromEmailAddressIdentityArn":"arn:aws:ses:eu-west-1:111122223333:identity/example.com"`))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(mail.Recipients(), mail.MIME.Shown(), mail.Tags()); got != `[a@example.org] [a@example.org "b c"@example.org] map[a:b]` {
		t.Errorf("the mail is read as %s", got)
	}
}

func TestRefusesRequests(t *testing.T) {
	tags := make([]string, 51)
	for i := range tags {
		tags[i] = fmt.Sprintf(`{"Name":"n%d","Value":"v"}`, i)
	}
	to, err := json.Marshal(strings.Fields(strings.Repeat("a@example.org ", 51)))
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"no JSON":             "{",
		"two documents":       string(request(good, "")) + "{}",
		"unknown member":      string(request(good, `,"FromEmailAddress":"a@example.com"`)),
		"bounce address":      string(request(good, `,"FeedbackForwardingEmailAddress":"a@example.com"`)),
		"no content":          `{"Destination":{"ToAddresses":["a@example.org"]}}`,
		"simple content":      `{"Content":{"Simple":{}},"Destination":{"ToAddresses":["a@example.org"]}}`,
		"no base64":           `{"Content":{"Raw":{"Data":"x"}},"Destination":{"ToAddresses":["a@example.org"]}}`,
		"base64 of two lines": `{"Content":{"Raw":{"Data":"RnJv\r\nbTog"}},"Destination":{"ToAddresses":["a@example.org"]}}`,
		"no destination":      strings.Replace(string(request(good, "")), `"a@example.org"`, "", 1),
		"51 recipients":       strings.Replace(string(request(good, "")), `["a@example.org"]`, string(to), 1),
		"recipient":           strings.Replace(string(request(good, "")), "a@example.org", "a..b@example.org", 1),
		"local part":          strings.Replace(string(request(good, "")), "a@example.org", "ü@example.org", 1),
		"no domain":           strings.Replace(string(request(good, "")), "a@example.org", "root", 1),
		"domain":              strings.Replace(string(request(good, "")), "a@example.org", "a@exam_ple.org", 1),
		"51 tags":             string(request(good, `,"EmailTags":[`+strings.Join(tags, ",")+`]`)),
		"tag twice":           string(request(good, `,"EmailTags":[`+tags[0]+","+tags[0]+`]`)),
		"tag name":            string(request(good, `,"EmailTags":[{"Name":"a b","Value":"v"}]`)),
		"tag value":           string(request(good, `,"EmailTags":[{"Name":"a","Value":""}]`)),
		"long tag":            string(request(good, `,"EmailTags":[{"Name":"a","Value":"`+strings.Repeat("v", 256)+`"}]`)),
		"set":                 string(request(good, `,"ConfigurationSetName":"a b"`)),
		"tenant":              string(request(good, `,"TenantName":"a.b"`)),
		"ARN":                 string(request(good, `,"FromEmailAddressIdentityArn":"example.com"`)),
		"list":                string(request(good, `,"ListManagementOptions":{"ContactListName":""}`)),
		"list of two":         strings.Replace(string(request(good, `,"ListManagementOptions":{"ContactListName":"l"}`)), `["a@`, `["b@x.test","a@`, 1),
		"override of nothing": string(request(good, `,"ConfigurationOverrides":{}`)),
		"tracking":            string(request(good, `,"ConfigurationOverrides":{"Tracking":{"OpenTrackingEnabled":"no"}}`)),
		"no From":             string(request("To: a@example.org\n\nx\n", "")),
		"From":                string(request("From: root\n\nx\n", "")),
		"no blank line":       string(request("From: a@example.com\n", "")),
		"bare LF":             bareLF(),
		"long line":           string(request("From: a@example.com\n\n"+strings.Repeat("x", 999)+"\n", "")),
		"empty name":          string(request("From: a@example.com\n: nameless\n\nx\n", "")),
		"twice":               string(request("From: a@example.com\nDKIM-Signature: a\ndkim-signature: b\n\nx\n", "")),
		"Bcc":                 string(request("From: a@example.com\nBcc: b@example.org\n\nx\n", "")),
		"Return-Path":         string(request("From: a@example.com\nReturn-Path: <b@example.org>\n\nx\n", "")),
		"directive":           string(request("From: a@example.com\nX-Bridge-Tag: b\n\nx\n", "")),
		"directive of SES":    string(request("From: a@example.com\nX-SES-TENANT: b\n\nx\n", "")),
		"header of 8 bit":     string(request("From: a@example.com\nSubject: ü\n\nx\n", "")),
		"shown":               string(request("From: a@example.com\nTo: root\n\nx\n", "")),
		"shown badly":         string(request("From: a@example.com\nTo: John Doe john@example.org\n\nx\n", "")),
		"reply":               string(request("From: a@example.com\nReply-To: a.@example.org\n\nx\n", "")),
		"long name":           string(request("From: a@example.com\nTo: "+strings.Repeat("x ", 160)+"<a@example.org>\n\nx\n", "")),
		"program":             string(request("From: a@example.com\nContent-Type: application/x; name=a.EXE\n\nx\n", "")),
		"program inside":      string(request("From: a@example.com\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: attachment; filename=a.vbs\n\nx\n--b--\n", "")),
		"too large":           string(request("From: a@example.com\n\n"+strings.Repeat(strings.Repeat("x", 98)+"\n", 400_001), "")),
	} {
		if _, err := sestest.Decode([]byte(body)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func bareLF() string {
	return `{"Content":{"Raw":{"Data":"` + base64.StdEncoding.EncodeToString([]byte("From: a@example.com\r\n\r\nx\ny\r\n")) + `"}},"Destination":{"ToAddresses":["a@example.org"]}}`
}

func TestKnowsItsConfigurationSets(t *testing.T) {
	known := account(vectorTime)
	known.ConfigurationSets = []string{"main"}
	fake := sestest.New(known, nil)
	if status, name := ask(fake, signed(t)); status != 200 {
		t.Errorf("a request without one is answered with %d %s", status, name)
	}
	if fake.Requests() != 1 || fake.Count()[" ann@x.test"] != 1 {
		t.Errorf("%d requests took %v", fake.Requests(), fake.Count())
	}
}

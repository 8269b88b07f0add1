package sendgrid_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/internal/config"
	"smtpbridge/providers"
	"smtpbridge/providers/providertest"
	"smtpbridge/providers/sendgrid"
	"smtpbridge/providers/sendgrid/sendgridtest"
)

// render gives the only request of a mail, as the strict fake reads it.
func render(t *testing.T, a *sendgrid.Adapter, mail string, recipients ...string) *sendgridtest.Mail {
	t.Helper()
	m := providertest.Message(t, mail, recipients...)
	if _, refusal := providers.Check(a.Capabilities(), m, time.Now()); refusal != nil {
		t.Fatalf("the mail is not carried: %v", refusal)
	}
	requests := a.Requests(m)
	if len(requests) != 1 {
		t.Fatalf("there are %d requests, want 1", len(requests))
	}
	body, err := requests[0].Body.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := sendgridtest.Decode(content)
	if err != nil {
		t.Fatalf("SendGrid would refuse: %v\n%s", err, content)
	}
	return parsed
}

const addressed = "From: \"Shop, Inc.\" <shop@example.com>\nTo: A <a@example.org>\nSubject: Order 7\n"

func TestRequestOfAWholeMail(t *testing.T) {
	sendAt := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	got := render(t, newAdapter(), addressed+"Cc: b@example.org\nReply-To: help@example.com\n"+
		"Message-ID: <7@example.com>\nIn-Reply-To: <6@example.com>\nReferences: <5@example.com> <6@example.com>\n"+
		"X-Order: 7\nX-Shop: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nX-Bridge-Tag: order\nX-Bridge-Metadata: user_id=12345\n"+
		"X-Bridge-Send-At: "+sendAt.Format(time.RFC3339)+"\nX-Bridge-Track-Opens: no\nX-Bridge-Track-Clicks: yes\n"+
		"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n"+
		"--m\nContent-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain\n\nHi\n"+
		"--a\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n<img src=\"cid:logo\">\n"+
		"--r\nContent-Type: image/png\nContent-ID: <logo>\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--r--\n"+
		"--a\nContent-Type: text/calendar; method=request; charset=utf-8\n\nBEGIN:VCALENDAR\n--a--\n"+
		"--m\nContent-Type: application/pdf; name=\"bill, March;.pdf\"\nContent-Disposition: attachment\n\nPDF\n--m--\n",
		"a@example.org", "b@example.org", "audit@example.net")
	at := sendAt.Unix()
	want := &sendgridtest.Mail{
		From:    sendgridtest.Address{Email: "shop@example.com", Name: "Shop, Inc."},
		ReplyTo: &sendgridtest.Address{Email: "help@example.com"},
		Subject: "Order 7",
		Content: []sendgridtest.Content{
			{Type: "text/plain", Value: "Hi"},
			{Type: "text/html", Value: `<img src="cid:logo">`},
			{Type: "text/calendar; method=REQUEST", Value: "BEGIN:VCALENDAR"},
		},
		Attachments: []sendgridtest.Attachment{
			{Type: "image/png", Filename: "attachment", Disposition: "inline", ContentID: "logo", Content: "iVBORw0KGgo="},
			{Type: "application/pdf", Filename: "bill_ March_.pdf", Disposition: "attachment", Content: base64.StdEncoding.EncodeToString([]byte("PDF"))},
		},
		Headers: sendgridtest.Strings{
			"X-Order": "7", "X-Shop": "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Message-ID": "<7@example.com>",
			"In-Reply-To": "<6@example.com>", "References": "<5@example.com> <6@example.com>",
		},
		Categories: []string{"order"},
		CustomArgs: sendgridtest.Strings{"user_id": "12345"},
		SendAt:     &at,
		Personalizations: []sendgridtest.Personalization{{
			To:         []sendgridtest.Address{{Email: "a@example.org", Name: "A"}},
			Cc:         []sendgridtest.Address{{Email: "b@example.org"}},
			Bcc:        []sendgridtest.Address{{Email: "audit@example.net"}},
			CustomArgs: sendgridtest.Strings{"bridge_id": "01JGABCDEFGHJKMNPQRSTVWXYZ"},
		}},
		TrackingSettings: map[string]rawJSON{
			"open_tracking":  rawJSON(`{"enable":false}`),
			"click_tracking": rawJSON(`{"enable":true,"enable_text":true}`),
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRequestDetails(t *testing.T) {
	calendarOnly := "MIME-Version: 1.0\nContent-Type: text/calendar; method=\"a;b\"\n\nBEGIN:VCALENDAR\n"
	for _, c := range []struct {
		name, mail string
		got        func(*sendgridtest.Mail) any
		want       any
	}{
		{"no subject", "From: a@example.com\n\nx\n", func(m *sendgridtest.Mail) any { return m.Subject }, "(no subject)"},
		{"blank subject", "From: a@example.com\nSubject: =?utf-8?q?_=09?=\n\nx\n", func(m *sendgridtest.Mail) any { return m.Subject }, "(no subject)"},
		{"subject of two lines", "From: a@example.com\nSubject: =?utf-8?q?a=0D=0ABcc:_b?=\n\nx\n", func(m *sendgridtest.Mail) any {
			return strings.ContainsAny(m.Subject, "\r\n")
		}, false},
		{"no body", addressed + "\n", func(m *sendgridtest.Mail) any { return m.Content }, []sendgridtest.Content{{Type: "text/plain", Value: " "}}},
		{"calendar alone", addressed + calendarOnly, func(m *sendgridtest.Mail) any { return m.Content[0].Type }, "text/calendar"},
		{
			"several Reply-To", addressed + "Reply-To: x@example.com, Y <y@example.com>, X@example.com, root\n\nx\n",
			func(m *sendgridtest.Mail) any { return m.ReplyToList },
			[]sendgridtest.Address{{Email: "x@example.com"}, {Email: "y@example.com", Name: "Y"}},
		},
		{
			"a header twice", addressed + "X-A: 1\nX-B: 2\nx-a: 3\n\nx\n", func(m *sendgridtest.Mail) any { return m.Headers },
			sendgridtest.Strings{"X-A": "1, 3", "X-B": "2"},
		},
		{
			"an encoded name", addressed + "Disposition-Notification-To: =?utf-8?q?J=C3=B6rg?= <j@example.com>\nX-Raw: Gr\xc3\xbc\xc3\x9fe\n\nx\n",
			func(m *sendgridtest.Mail) any { return m.Headers },
			sendgridtest.Strings{"Disposition-Notification-To": "=?utf-8?q?J=C3=B6rg?= <j@example.com>", "X-Raw": "=?utf-8?q?Gr=C3=BC=C3=9Fe?="},
		},
		{
			"a reserved custom arg", addressed + "X-Bridge-Metadata: email=x\nX-Bridge-Metadata: order=7\n\nx\n",
			func(m *sendgridtest.Mail) any { return m.CustomArgs },
			sendgridtest.Strings{"order": "7"},
		},
		{"a forbidden header", addressed + "DKIM-Signature: v=1\n\nx\n", func(m *sendgridtest.Mail) any { return len(m.Headers) }, 0},
		{
			"an empty file", addressed + "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: application/pdf; name=a.pdf\n\n--m--\n",
			func(m *sendgridtest.Mail) any { return len(m.Attachments) }, 0,
		},
		{
			"options", addressed + `X-SMTPAPI: {"asm_group_id":10,"asm_groups_to_display":[10,11],"ip_pool":"mine","batch_id":"b","filters":{"templates":{"settings":{"enable":1,"template_id":"t-1"}}}}` + "\n\nx\n",
			func(m *sendgridtest.Mail) any { return []any{*m.ASM, *m.IPPoolName, *m.BatchID, *m.TemplateID} },
			[]any{sendgridtest.ASM{GroupID: 10, GroupsToDisplay: []int64{10, 11}}, "mine", "b", "t-1"},
		},
		{
			"mail filters", addressed + `X-SMTPAPI: {"filters":{"footer":{"settings":{"enable":1,"text/plain":"bye"}},"bypass_list_management":{"settings":{"enable":"0"}}}}` + "\n\nx\n",
			func(m *sendgridtest.Mail) any { return m.MailSettings },
			map[string]rawJSON{"footer": rawJSON(`{"enable":true,"text":"bye"}`), "bypass_list_management": rawJSON(`{"enable":false}`)},
		},
		{
			"tracking filters", addressed + `X-SMTPAPI: {"filters":{"ganalytics":{"settings":{"enable":true,"utm_source":"s"}},"subscriptiontrack":{"settings":{"enable":1,"replace":"[u]"}},"opentrack":{"settings":{"enable":0}}}}` + "\n\nx\n",
			func(m *sendgridtest.Mail) any { return m.TrackingSettings },
			map[string]rawJSON{
				"ganalytics":            rawJSON(`{"enable":true,"utm_source":"s"}`),
				"subscription_tracking": rawJSON(`{"enable":true,"substitution_tag":"[u]"}`), "open_tracking": rawJSON(`{"enable":false}`),
			},
		},
		{
			"tracking with settings", addressed + `X-SMTPAPI: {"filters":{"opentrack":{"settings":{"enable":1,"replace":"[o]"}},"clicktrack":{"settings":{"enable":1,"enable_text":false}}}}` + "\n\nx\n",
			func(m *sendgridtest.Mail) any { return m.TrackingSettings },
			map[string]rawJSON{
				"open_tracking":  rawJSON(`{"enable":true,"substitution_tag":"[o]"}`),
				"click_tracking": rawJSON(`{"enable":true,"enable_text":false}`),
			},
		},
		{
			"tracking switched off", addressed + `X-Bridge-Track-Opens: no` + "\n" + `X-Bridge-Track-Clicks: no` + "\n" + `X-SMTPAPI: {"filters":{"opentrack":{"settings":{"enable":1,"replace":"[o]"}},"clicktrack":{"settings":{"enable":1,"enable_text":1}}}}` + "\n\nx\n",
			func(m *sendgridtest.Mail) any { return m.TrackingSettings },
			map[string]rawJSON{
				"open_tracking":  rawJSON(`{"enable":false,"substitution_tag":"[o]"}`),
				"click_tracking": rawJSON(`{"enable":false,"enable_text":false}`),
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.got(render(t, newAdapter(), c.mail, "a@example.org"))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// With substitutions, and where X-SMTPAPI lists them, recipients are apart.
func TestRequestPerRecipient(t *testing.T) {
	got := render(t, newAdapter(), addressed+`X-SMTPAPI: {"to":["b@example.org","a@example.org"],"sub":{"-n-":["Bo","Al"]}}`+"\n\nHi -n-\n",
		"a@example.org", "b@example.org")
	args := sendgridtest.Strings{"bridge_id": "01JGABCDEFGHJKMNPQRSTVWXYZ"}
	want := []sendgridtest.Personalization{
		{To: []sendgridtest.Address{{Email: "a@example.org", Name: "A"}}, CustomArgs: args, Substitutions: sendgridtest.Strings{"-n-": "Al"}},
		{To: []sendgridtest.Address{{Email: "b@example.org"}}, CustomArgs: args, Substitutions: sendgridtest.Strings{"-n-": "Bo"}},
	}
	if diff := cmp.Diff(want, got.Personalizations); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLostOptions(t *testing.T) {
	for options, want := range map[string][]string{
		`{"asm_group_id":10}`:                                                       nil,
		`{"asm_group_id":"ten"}`:                                                    {"option sendgrid:asm_group_id"},
		`{"asm_group_id":-1}`:                                                       {"option sendgrid:asm_group_id"},
		`{"asm_groups_to_display":[1]}`:                                             {"option sendgrid:asm_groups_to_display"},
		`{"ip_pool":"x"}`:                                                           {"option sendgrid:ip_pool"},
		`{"batch_id":""}`:                                                           {"option sendgrid:batch_id"},
		`{"filters":{"dkim":{"settings":{}}}}`:                                      {"option sendgrid:filters.dkim"},
		`{"filters":{"footer":{"settings":{"text/plain":7}}}}`:                      {"option sendgrid:filters.footer"},
		`{"filters":{"footer":{"settings":{"colour":"red"}}}}`:                      {"option sendgrid:filters.footer"},
		`{"filters":{"opentrack":{"settings":{"enable":1,"colour":"red"}}}}`:        {"option sendgrid:filters.opentrack"},
		`{"filters":{"clicktrack":{"settings":{"enable":1,"colour":"red"}}}}`:       {"option sendgrid:filters.clicktrack"},
		`{"filters":{"clicktrack":{"settings":{"enable":1,"enable_text":"on"}}}}`:   nil,
		`{"filters":{"templates":{"settings":{"enable":1,"template_id":"d-1"}}}}`:   {"option sendgrid:filters.templates"},
		`{"filters":{"spamcheck":{"settings":{"enable":1}}},"section":{"-s-":"x"}}`: {"option X-SMTPAPI section", "option X-SMTPAPI filters.spamcheck"},
	} {
		m := providertest.Message(t, addressed+"X-SMTPAPI: "+options+"\n\nx\n", "a@example.org")
		losses, refusal := providers.Check(newAdapter().Capabilities(), m, time.Now())
		if refusal != nil || !slices.Equal(losses, want) {
			t.Errorf("%s: the losses are %q (%v), want %q", options, losses, refusal, want)
		}
		// What is lost is left out: the rest is still a request that is taken.
		render(t, newAdapter(), addressed+"X-SMTPAPI: "+options+"\n\nx\n", "a@example.org")
	}
}

func TestSandboxMode(t *testing.T) {
	c := sendgrid.DefaultConfig()
	c.APIKey, c.SandboxMode = config.NewSecret(key), true
	a := sendgrid.New(c)
	got := render(t, a, addressed+"\nx\n", "a@example.org")
	if string(got.MailSettings["sandbox_mode"]) != `{"enable":true}` {
		t.Errorf("the mail settings are %s", got.MailSettings)
	}
	r := providers.Request{Recipients: []string{"a@example.org"}}
	if got := a.Results(r, providers.Response{Status: http.StatusOK}); got[0].State != providers.Accepted {
		t.Errorf("200 in sandbox mode is %+v, want accepted", got[0])
	}
	if got := newAdapter().Results(r, providers.Response{Status: http.StatusOK}); got[0].State != providers.Ambiguous {
		t.Errorf("200 outside sandbox mode is %+v, want ambiguous: nothing says that it was sent", got[0])
	}
}

func TestConfigValidate(t *testing.T) {
	for value, want := range map[string][]string{key: nil, "": {"api_key"}, "SG.a\n": {"api_key"}, "SG.ü": {"api_key"}} {
		c := sendgrid.DefaultConfig()
		c.APIKey = config.NewSecret(value)
		var got []string
		c.Validate(func(name, problem string) {
			got = append(got, name)
			if value != "" && strings.Contains(problem, value) {
				t.Errorf("the problem repeats the key: %s", problem)
			}
		})
		if !slices.Equal(got, want) {
			t.Errorf("%q: the problems are of %q, want %q", value, got, want)
		}
	}
}

package load_test

import (
	"net/http"
	"testing"

	"golang.org/x/sync/errgroup"
)

const (
	// heavyMails of heavySize octets are in flight at once.
	heavyMails = 20
	heavySize  = 24 << 20
	// peakBar is the most memory that the bridge may have resident.
	peakBar = 64 << 20
)

// BenchmarkMemory sends 20 mails of 24 MiB at once, or of 95 % of what a provider
// takes, to a provider that answers none before all are there, and reports the
// peak of the bridge's resident memory: once with a large file, once with a large
// text.
func BenchmarkMemory(b *testing.B) {
	binary := buildBridge(b)
	for _, p := range heavyProviders {
		size := min(heavySize, p.limit/100*95)
		b.Run(p.name+"/Attachment", func(b *testing.B) {
			benchmarkMemory(b, binary, p, wire(attachmentMail(size/78*57-4<<10)))
		})
		b.Run(p.name+"/TextBody", func(b *testing.B) {
			benchmarkMemory(b, binary, p, wire(textMail(min(size, p.textLimit/100*95))))
		})
	}
}

// heavyProvider is what a provider is configured by, what it takes in octets, and
// how it says that it has a mail. A text of 8 bit grows where it leaves raw.
type heavyProvider struct {
	name, table      string
	limit, textLimit int
	status           int
	answer           string
}

var heavyProviders = []heavyProvider{
	{"SendGrid", "type = \"sendgrid\"\napi_key = \"SG.load\"", 29_900_000, 29_900_000, http.StatusAccepted, ""},
	{
		"Mailgun", "type = \"mailgun\"\napi_key = \"key\"\ndomain = \"mg.example.com\"", 25_000_000, 20_000_000,
		http.StatusOK, `{"id":"<1@mg.example.com>","message":"Queued. Thank you."}`,
	},
	{
		"MailgunFields", "type = \"mailgun\"\napi_key = \"key\"\ndomain = \"mg.example.com\"\nformat = \"fields\"", 25_000_000, 20_000_000,
		http.StatusOK, `{"id":"<1@mg.example.com>","message":"Queued. Thank you."}`,
	},
	{
		"SES", "type = \"ses\"\nregion = \"eu-west-1\"\naccess_key_id = \"AKIDEXAMPLE\"\nsecret_access_key = \"secret\"", 39_900_000, 39_900_000,
		http.StatusOK, `{"MessageId":"1"}`,
	},
	{
		"Postmark", "type = \"postmark\"\napi_key = \"00000000-0000-0000-0000-000000000000\"", 10_000_000, 4_900_000,
		http.StatusOK, `{"ErrorCode":0,"Message":"OK","MessageID":"b7bc2f4a-e38e-4336-af7d-e6c392c2f817"}`,
	},
	{
		"SMTP2GO", "type = \"smtp2go\"\napi_key = \"api-0123456789ABCDEF0123456789ABCDEF\"", 37_000_000, 37_000_000,
		http.StatusOK, `{"request_id":"r","data":{"succeeded":1,"failed":0,"failures":[],"email_id":"1u0SwL-B9zBpi9ffUq-JAB2"}}`,
	},
}

func benchmarkMemory(b *testing.B, binary string, p heavyProvider, mail []byte) {
	b.Helper()
	bridge := startBridge(b, binary, p.table, newSink(b, heavyMails, p.status, p.answer))
	for b.Loop() {
		var group errgroup.Group
		for n := range int64(heavyMails) {
			group.Go(func() error {
				c, err := dial(b.Context(), bridge.address)
				if err != nil {
					return err
				}
				defer c.close()
				return sendOne(c, n, mail)
			})
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	peak, err := bridge.peak()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
	if peak > peakBar {
		b.Errorf("the bridge had %d MiB resident, the bar is %d MiB", peak>>20, peakBar>>20)
	}
}

package smtpbridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/smtp"
	"net/textproto"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"smtpbridge/events"
	"smtpbridge/providers"
	"smtpbridge/smtpd"
	"smtpbridge/translate"
)

// anyPort is a listener as by default, but for its port.
const anyPort = `[[smtp.listener]]
address = "127.0.0.1:0"
`

// What .ci/run tests is what the README promises.
func TestReadmeTestCommand(t *testing.T) {
	if text := section(t, "README.md", "## Tests"); !strings.Contains(text, "```sh\ngo test ./...\n```") {
		t.Errorf("README.md, Tests: no block with go test ./... in\n%s", text)
	}
}

// Each category has its row, with the reply that a client really sees and
// whether trying again makes sense.
func TestReadmeReplies(t *testing.T) {
	got := make(map[string][]string)
	for _, row := range table(t, "README.md", "## Replies") {
		got[row[1]] = []string{row[0], row[2]}
	}
	want := map[string][]string{"accepted": {"250 2.0.0", "no"}}
	address := serveRefusals(t)
	for _, category := range providers.Categories() {
		again := map[bool]string{true: "no", false: "yes"}[category.Permanent()]
		want[string(category)] = []string{refusalAtRcpt(t, address, category), again}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the replies of the bridge and of README.md (-want +got):\n%s", diff)
	}
}

// refuser refuses each recipient for the reason that is its local part.
type refuser struct{ smtpd.Delivery }

func (refuser) Recipient(_ context.Context, _ translate.Envelope, address string) *providers.Error {
	local, _, _ := strings.Cut(address, "@")
	return &providers.Error{Category: providers.Category(local)}
}

// serveRefusals runs an SMTP server over refuser until the test ends.
func serveRefusals(t *testing.T) string {
	t.Helper()
	c := smtpd.DefaultConfig()
	c.Listeners[0].Address = "127.0.0.1:0"
	server, err := smtpd.New(c, smtpd.Options{
		Delivery:   refuser{},
		Logger:     slog.New(slog.DiscardHandler),
		Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return server.Addrs()[0].String()
}

// refusalAtRcpt gives the codes of the refusal, once its token has been checked.
func refusalAtRcpt(t *testing.T, address string, category providers.Category) string {
	t.Helper()
	err := submit(t, address, string(category)+"@example.com", "")
	reply := replyOf(t, err)
	codes, rest, _ := strings.Cut(reply, " "+string(category)+": ")
	if rest == "" {
		t.Fatalf("the reply %q does not name %s", reply, category)
	}
	return codes
}

// The sandbox answers as its table says.
func TestReadmeSandbox(t *testing.T) {
	t.Parallel()
	b := start(t, anyPort)
	for _, row := range table(t, "README.md", "## The sandbox") {
		t.Run(row[0], func(t *testing.T) {
			t.Parallel()
			want, _, _ := strings.Cut(row[1], ",")
			if err := submit(t, b.smtp[0], row[0], "Subject: x"); want == "250 2.0.0" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
			} else if got := replyOf(t, err); !strings.HasPrefix(got, want+": ") {
				t.Errorf("the reply is %q, README.md says %q", got, want)
			}
		})
	}
}

// call is a question to the API in a document, and the answer: method, page, body.
var call = regexp.MustCompile(`(?m)^\$ curl (?:-X ([A-Z]+) )?localhost:9090(\S+)(?: -d '(.*)')?\n(\{.*\})$`)

// The API answers in the shapes that the README shows.
func TestReadmeAPI(t *testing.T) {
	b := start(t, anyPort)
	if err := submit(t, b.smtp[0], "you@sandbox.test", "Subject: Hello\r\nMessage-ID: <1@bridge.localhost>"); err != nil {
		t.Fatal(err)
	}
	var list struct{ Items []struct{ ID string } }
	b.decode(t, "/api/v1/messages", &list)
	calls := call.FindAllStringSubmatch(section(t, "README.md", "## API"), -1)
	if len(calls) != 13 {
		t.Errorf("README.md shows %d answers, want one of each page and a problem", len(calls))
	}
	for _, c := range calls {
		page := strings.Replace(c[2], "01M85B3DJ7G9WW1S9ZN55EN77X", list.Items[0].ID, 1)
		if diff := cmp.Diff(shapeOf(t, c[4]), shapeOf(t, string(b.do(t, c[1], page, c[3])))); diff != "" {
			t.Errorf("%s (-README.md +bridge):\n%s", page, diff)
		}
	}
}

// shapeOf keeps the keys of a JSON document, and the kinds of its values.
func shapeOf(t *testing.T, document string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	return shape(v)
}

func shape(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = shape(value)
		}
		return v
	case []any:
		for i, value := range v {
			v[i] = shape(value)
		}
		return v
	default:
		return fmt.Sprint(reflect.TypeOf(v))
	}
}

// metric is the name of one of ours, in a document or on the page.
var metric = regexp.MustCompile(`\bbridge_(?:suppressions\b|(?:smtp|delivery|provider|breaker|limiter|failovers|quota|escalations|events|delivered|webhook|forward)_[a-z_]+[a-z])`)

// docs/monitoring.md explains all metrics of ours, and no other.
func TestMonitoringKnowsTheMetrics(t *testing.T) {
	b := start(t, anyPort+"[[provider]]\ntype = \"sandbox\"\n[[provider]]\ntype = \"sandbox\"\nname = \"second\"\ndaily_quota = 10\n")
	var exist []string
	for line := range strings.Lines(string(b.get(t, "/metrics"))) {
		if name, isType := strings.CutPrefix(line, "# TYPE bridge_"); isType {
			name, _, _ = strings.Cut(name, " ")
			exist = append(exist, "bridge_"+name)
		}
	}
	var explained []string
	for _, row := range table(t, "docs/monitoring.md", "## Metrics") {
		explained = append(explained, metric.FindAllString(row[0], -1)...)
	}
	slices.Sort(explained)
	if diff := cmp.Diff(exist, explained); diff != "" {
		t.Errorf("the metrics (-bridge +docs/monitoring.md):\n%s", diff)
	}
	for _, name := range metric.FindAllString(section(t, "docs/monitoring.md", "## Categories"), -1) {
		if !slices.Contains(exist, strings.TrimSuffix(name, "_bucket")) {
			t.Errorf("docs/monitoring.md alerts on %s, which does not exist", name)
		}
	}
}

// docs/events.md explains each type of an event, and what of it suppresses.
func TestEventsKnowsTheTypes(t *testing.T) {
	var explained []string
	for _, row := range table(t, "docs/events.md", "## The event") {
		for name := range strings.SplitSeq(row[0], ", ") {
			explained = append(explained, strings.Trim(name, "`"))
		}
	}
	var exist []string
	for _, kind := range events.Types() {
		exist = append(exist, string(kind))
	}
	if diff := cmp.Diff(exist, explained); diff != "" {
		t.Errorf("the types (-bridge +docs/events.md):\n%s", diff)
	}
	for _, reason := range events.Reasons() {
		if !strings.Contains(section(t, "docs/events.md", "## The suppression list"), "`"+string(reason)+"`") {
			t.Errorf("docs/events.md does not name the reason %s", reason)
		}
	}
}

// What docs/events.md shows of an event can be posted as it stands.
func TestEventsShowsAnEvent(t *testing.T) {
	_, text, _ := strings.Cut(section(t, "docs/events.md", "## The event"), "```json\n")
	text, _, _ = strings.Cut(text, "\n```")
	if b, err := (events.Rehearsal{}).Receive(t.Context(), nil, []byte(text)); err != nil || b.Events[0].Type != events.Bounced {
		t.Errorf("%s: %v", text, err)
	}
	_, text, _ = strings.Cut(section(t, "docs/events.md", "## Rehearsing it"), "/webhooks/test -d '")
	text, _, _ = strings.Cut(text, "'")
	if b, err := (events.Rehearsal{}).Receive(t.Context(), nil, []byte(text)); err != nil || b.Events[0].Scope != "tag:news" {
		t.Errorf("%s: %v", text, err)
	}
}

// docs/monitoring.md has a line on each category.
func TestMonitoringKnowsTheCategories(t *testing.T) {
	text := section(t, "docs/monitoring.md", "## Categories")
	for _, category := range providers.Categories() {
		if !strings.Contains(text, "`"+string(category)+"`") {
			t.Errorf("docs/monitoring.md does not say what to do about %s", category)
		}
	}
}

// submit sends a mail with net/smtp; the error is the bridge's refusal.
func submit(t *testing.T, address, to, headers string) error {
	t.Helper()
	body := "From: bridge@sandbox.test\r\nTo: " + to + "\r\n" + headers + "\r\n\r\nIt works."
	return smtp.SendMail(address, nil, "bridge@sandbox.test", []string{to}, []byte(body))
}

// replyOf is the line of a refusal.
func replyOf(t *testing.T, err error) string {
	t.Helper()
	refusal, isReply := errors.AsType[*textproto.Error](err)
	if !isReply {
		t.Fatalf("got %v, want a refusal", err)
	}
	return fmt.Sprintf("%d %s", refusal.Code, refusal.Msg)
}

// section is the text of a Markdown file below a heading, up to the next of its level.
func section(t *testing.T, file, heading string) string {
	t.Helper()
	_, text, found := strings.Cut("\n"+read(t, file), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", file, heading)
	}
	level, _, _ := strings.Cut(heading, " ")
	text, _, _ = strings.Cut(text, "\n"+level+" ")
	return text
}

// table gives the cells of the first table in a section, without its head.
func table(t *testing.T, file, heading string) [][]string {
	t.Helper()
	var rows [][]string
	for line := range strings.Lines(section(t, file, heading)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) < 2 {
			if len(rows) > 0 {
				break
			}
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if len(rows) < 3 {
		t.Fatalf("%s, %s: no table", file, heading)
	}
	return rows[2:]
}

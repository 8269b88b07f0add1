package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"smtpbridge/internal/config"
)

// settings has a field of each kind that configurations are made of.
type settings struct {
	Name    string          `toml:"name"`
	Port    int             `toml:"port"`
	Debug   bool            `toml:"debug"`
	Wait    config.Duration `toml:"wait"`
	Limit   config.Size     `toml:"limit"`
	Key     config.Secret   `toml:"key"`
	Peers   []string        `toml:"peers"`
	Server  server          `toml:"server"`
	Clients []client        `toml:"client"`
	Hidden  string
}

type server struct {
	base    `toml:",squash"`
	Address string `toml:"address"`
}

type base struct {
	Region string `toml:"region"`
}

type client struct {
	Name string        `toml:"name"`
	Pass config.Secret `toml:"pass"`
}

func options() config.Options {
	variables := map[string]string{"KEY": "s3cret-of-env", "BLANK": ""}
	return config.Options{
		Env: func(name string) (string, bool) { v, ok := variables[name]; return v, ok },
	}
}

func defaults() settings {
	return settings{
		Name: "bridge", Port: 25, Wait: config.Duration(time.Second), Peers: []string{"a", "b"},
		Clients: []client{{Name: "default"}},
	}
}

// decode gives what became of the settings and the lines of all problems.
func decode(t *testing.T, name, text string) (settings, []string) {
	t.Helper()
	doc, err := config.Read(name, []byte(text), options())
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	s := defaults()
	doc.Root().Decode(&s)
	if err := doc.Err(); err != nil {
		return s, strings.Split(err.Error(), "\n")
	}
	return s, nil
}

var compareSecrets = cmp.Comparer(func(a, b config.Secret) bool { return a.Reveal() == b.Reveal() })

func TestDecode(t *testing.T) {
	got, problems := decode(t, "c.toml", `
port = 0
debug = true
wait = "2m"
limit = 1024
key = "env:KEY"
peers = ["c"]

[server]
region = "eu"
address = "localhost"

[[client]]
name = "one"

[[client]]
pass = "literal"
`)
	if problems != nil {
		t.Fatalf("problems: %v", problems)
	}
	want := settings{
		Name: "bridge", Port: 0, Debug: true, Wait: config.Duration(2 * time.Minute), Limit: 1024,
		Key: config.NewSecret("s3cret-of-env"), Peers: []string{"c"},
		Server:  server{base{"eu"}, "localhost"},
		Clients: []client{{Name: "one"}, {Pass: config.NewSecret("literal")}},
	}
	if diff := cmp.Diff(want, got, compareSecrets, cmp.AllowUnexported(server{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDecodeKeepsEmptyArrays(t *testing.T) {
	got, problems := decode(t, "c.toml", "peers = []\nclient = []\n")
	if problems != nil {
		t.Fatal(problems)
	}
	if got.Peers == nil || len(got.Peers) != 0 || len(got.Clients) != 0 {
		t.Errorf("peers %#v, clients %#v; an empty array says none, which is not the default", got.Peers, got.Clients)
	}
}

func TestDecodeReportsEverything(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		// Every value of a wrong type is named, not only the first.
		{"types", "name = 1\nport = 2.5\ndebug = \"yes\"\npeers = \"a\"\nserver = true\nclient = 3\n", []string{
			`c.toml:1: name: is a whole number, must be a string in quotes`,
			`c.toml:2: port: is a number with a fraction, must be a whole number`,
			`c.toml:3: debug: is a string, must be true or false`,
			`c.toml:4: peers: is a string, must be an array`,
			`c.toml:5: server: is a boolean, must be a table`,
			`c.toml:6: client: is a whole number, must be an array of tables, each under its own [[header]]`,
		}},
		{"elements", "peers = [\n  \"a\",\n  2,\n]\n", []string{
			`c.toml:1: peers[1]: is a whole number, must be a string in quotes`,
		}},
		{"dates", "name = 2026-01-02\nkey = 10:00:00\n", []string{
			`c.toml:1: name: is a date or time, must be a string in quotes`,
			`c.toml:2: key: is a date or time, must be a string: the secret itself, "env:NAME" or "file:PATH"`,
		}},
		{"tables for arrays", "[client]\nname = \"a\"\n[[server]]\n", []string{
			`c.toml:1: client: is a table, must be an array of tables, each under its own [[header]]`,
			`c.toml:3: server: is an array, must be a table`,
		}},
		// Scalars explain themselves; a bare number has no unit of time.
		{"scalars", "wait = 30\nlimit = \"25MB\"\n", []string{
			`c.toml:1: wait: "30" is not a duration; write a number with a unit such as "30s", "5m" or "1h"`,
			`c.toml:2: limit: "25MB" is not a size; write octets or a number with KiB, MiB or GiB such as "25MiB"`,
		}},
		{"negative", "limit = -1\nwait = \"-1s\"\n", []string{
			`c.toml:1: limit: "-1" is not a size; write octets or a number with KiB, MiB or GiB such as "25MiB"`,
			`c.toml:2: wait: "-1s" is not a duration; write a number with a unit such as "30s", "5m" or "1h"`,
		}},
		{"tables for scalars", "wait = { s = 1 }\nkey = { env = \"KEY\" }\nlimit = [1]\n", []string{
			`c.toml:1: wait: is a table, must be a string in quotes`,
			`c.toml:2: key: is a table, must be a string: the secret itself, "env:NAME" or "file:PATH"`,
			`c.toml:3: limit: is an array, must be a string in quotes`,
		}},
		// An unknown key gets a hint: the nearest known one of its table, else all.
		{"unknown", "nam = \"x\"\nPort = 1\nHidden = \"x\"\n[server]\naddresss = \"x\"\nregionn = \"x\"\nxyz = 1\n[[client]]\n[[client]]\nzzz = 1\n", []string{
			`c.toml:1: nam: unknown key; did you mean "name"?`,
			`c.toml:2: Port: unknown key; did you mean "port"?`,
			`c.toml:3: Hidden: unknown key; known here: client, debug, key, limit, name, peers, port, server, wait`,
			`c.toml:5: server.addresss: unknown key; did you mean "address"?`,
			`c.toml:6: server.regionn: unknown key; did you mean "region"?`,
			`c.toml:7: server.xyz: unknown key; known here: address, region`,
			`c.toml:10: client[1].zzz: unknown key; known here: name, pass`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, got := decode(t, "c.toml", test.text)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s\n-want +got:\n%s", test.text, diff)
			}
		})
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"key": "s3cret-of-file\r\n", "empty": "\n", "inner": " two\nlines \n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ written, want, problem string }{
		{"s3cret", "s3cret", ""},
		{"env:KEY", "s3cret-of-env", ""},
		{"file:key", "s3cret-of-file", ""},
		{"file:" + filepath.Join(dir, "key"), "s3cret-of-file", ""},
		{"file:inner", " two\nlines ", ""}, // only the last line's end is not the secret's
		{"", "", ""},
		{"env:", "", `names no variable; write "env:NAME"`},
		{"env:NOBODY", "", "the environment variable NOBODY is not set; set it to the secret"},
		{"env:BLANK", "", "the environment variable BLANK is empty; set it to the secret"},
		{"file:", "", `names no file; write "file:PATH"`},
		{"file:empty", "", "the file " + filepath.Join(dir, "empty") + " is empty; it must hold the secret alone"},
		{"file:gone", "", "its file cannot be read: open " + filepath.Join(dir, "gone") +
			": no such file or directory; the file must hold the secret alone"},
	}
	for _, test := range tests {
		t.Run(test.written, func(t *testing.T) {
			name := filepath.Join(dir, "c.toml")
			s, problems := decode(t, name, `key = "`+test.written+`"`)
			if s.Key.Reveal() != test.want {
				t.Errorf("got %q, want %q", s.Key.Reveal(), test.want)
			}
			var want []string
			if test.problem != "" {
				want = []string{name + ":1: key: " + test.problem}
			}
			if diff := cmp.Diff(want, problems); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Whoever reads the files knows what stood in them, even where one is missing.
func TestReadFile(t *testing.T) {
	var files []string
	o := options()
	o.ReadFile = func(name string) ([]byte, error) {
		files = append(files, name)
		if name == "/run/b" {
			return nil, os.ErrNotExist
		}
		return []byte("from the file\n"), nil
	}
	doc, err := config.Read("/etc/bridge/c.toml", []byte("key = \"file:a\"\n[[client]]\npass = \"file:/run/b\"\n"), o)
	if err != nil {
		t.Fatal(err)
	}
	var s settings
	doc.Root().Decode(&s)
	if diff := cmp.Diff([]string{"/etc/bridge/a", "/run/b"}, files); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if s.Key.Reveal() != "from the file" || doc.Err() == nil {
		t.Errorf("the key is read: %v, the missing file is a problem: %v", s.Key.Reveal() != "", doc.Err() != nil)
	}
}

func TestPath(t *testing.T) {
	for _, test := range []struct{ name, path, want string }{
		{"/etc/bridge/c.toml", "./data", "/etc/bridge/data"},
		{"/etc/bridge/c.toml", "/data", "/data"},
		{"c.toml", "data", "data"},
		{"/etc/bridge/c.toml", "", ""}, // nothing is not the directory
	} {
		doc, err := config.Read(test.name, nil, options())
		if err != nil {
			t.Fatal(err)
		}
		if got := doc.Path(test.path); got != test.want {
			t.Errorf("Path(%q) of %s: got %q, want %q", test.path, test.name, got, test.want)
		}
	}
}

// A syntax error ends the reading. Its message shows where, and no more of the
// line than one character, for the line may hold a secret.
func TestSyntax(t *testing.T) {
	tests := []struct{ text, want string }{
		{"port = 1\nkey = s3cret\n", "c.toml:2: TOML syntax: unexpected character U+0073 's' at start of value"},
		{"key = \"s3cret\n", "c.toml:1: TOML syntax: basic strings cannot have new lines"},
		{"[server]\nregion = \"a\"\nregion = \"s3cret\"\n", "c.toml:3: region: key region is already defined"},
		{"[server]\n[server]\n", "c.toml:2: server: table server already exists"},
	}
	for _, test := range tests {
		_, err := config.Read("c.toml", []byte(test.text), options())
		if _, ok := errors.AsType[config.InvalidError](err); !ok {
			t.Errorf("%q: got %T, want an InvalidError", test.text, err)
			continue
		}
		if err.Error() != test.want {
			t.Errorf("%q:\n got %s\nwant %s", test.text, err, test.want)
		}
	}
}

// What validation reports stands at the line of its key, else of the table
// around it; it does not repeat what decoding has said about the same key.
func TestReport(t *testing.T) {
	doc, err := config.Read("c.toml", []byte(`port = "x"
[server]
region = "eu"

[[client]]
name = "a"

  [[client]]
  name = "b"
`), options())
	if err != nil {
		t.Fatal(err)
	}
	root := doc.Root()
	clients := root.Cut("client")
	var s settings
	root.Decode(&s)
	root.Report("port", "must be more than 0")
	root.Report("name", "is missing")
	root.Report("server.address", "is missing")
	root.Report("server.region", "is unknown")
	clients[1].Report("pass", "is missing")
	clients[0].Report("name", "is short")

	want := config.InvalidError{
		{File: "c.toml", Line: 1, Key: "name", Text: "is missing"},
		{File: "c.toml", Line: 1, Key: "port", Text: "is a string, must be a whole number"},
		{File: "c.toml", Line: 2, Key: "server.address", Text: "is missing"},
		{File: "c.toml", Line: 3, Key: "server.region", Text: "is unknown"},
		{File: "c.toml", Line: 6, Key: "client[0].name", Text: "is short"},
		{File: "c.toml", Line: 8, Key: "client[1].pass", Text: "is missing"},
	}
	if diff := cmp.Diff(error(want), doc.Err()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLines(t *testing.T) {
	const text = `# a comment
dotted.below = 1
"quoted" = 2

[outer.inner]
key = 1

[[list]]
[list.sub]
key = 1
[[list.deep]]
[[list]]
[[list.deep]]
key = 1
[[list.deep]]
key = 2

[inline]
table = { a = 1, b = { c = 2 } }
array = [
  { a = 1 },
  { a = 2 },
]
`
	tests := map[string]int{
		"dotted.below":         2,
		"dotted.other":         2,
		"quoted":               3,
		"outer":                5,
		"outer.inner.key":      6,
		"outer.inner.none":     5,
		"list":                 8,
		"list[0]":              8,
		"list[0].sub.key":      10,
		"list[0].deep[0].none": 11,
		"list[1]":              12,
		"list[1].deep[0].key":  14,
		"list[1].deep[1].key":  16,
		"inline.table.b.c":     19,
		"inline.array[1].a":    22,
		"inline.array[1].none": 20,
		"nowhere":              1,
	}
	for key, want := range tests {
		doc, err := config.Read("c.toml", []byte(text), options())
		if err != nil {
			t.Fatal(err)
		}
		doc.Root().Report(key, "is wrong")
		problems, _ := errors.AsType[config.InvalidError](doc.Err())
		if len(problems) != 1 || problems[0].Line != want {
			t.Errorf("%s: got %v, want line %d", key, problems, want)
		}
	}
}

func TestCut(t *testing.T) {
	tests := []struct {
		name, text string
		types      []string
		problem    string
	}{
		{"two", "[[client]]\nname = \"a\"\n[[client]]\n", []string{"a", ""}, ""},
		{"none", "", nil, ""},
		{"inline", "client = [{ name = \"a\" }]", []string{"a"}, ""},
		{"one table", "[client]\nname = \"a\"\n", nil, "c.toml:1: client: is a table, must be an array of tables, [[client]]"},
		{"no tables", "client = [1]", nil, "c.toml:1: client[0]: is a whole number, must be a table, [[client]]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			doc, err := config.Read("c.toml", []byte(test.text), options())
			if err != nil {
				t.Fatal(err)
			}
			root := doc.Root()
			var got []string
			for _, table := range root.Cut("client") {
				got = append(got, table.Text("name"))
			}
			var s settings
			root.Decode(&s)
			if diff := cmp.Diff(test.types, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if len(s.Clients) != 0 {
				t.Errorf("what was cut was decoded too: %v", s.Clients)
			}
			problem := ""
			if err := doc.Err(); err != nil {
				problem = err.Error()
			}
			if problem != test.problem {
				t.Errorf("got problem %q, want %q", problem, test.problem)
			}
		})
	}
}

// An editor on Windows puts a byte order mark before the first line.
func TestByteOrderMark(t *testing.T) {
	got, problems := decode(t, "c.toml", "\ufeffname = \"x\"\nnam = 1\n")
	want := []string{`c.toml:2: nam: unknown key; did you mean "name"?`}
	if diff := cmp.Diff(want, problems); diff != "" || got.Name != "x" {
		t.Errorf("name %q, problems (-want +got):\n%s", got.Name, diff)
	}
}

// Package config reads TOML into the configuration structs of other packages
// and finds every mistake at once, each with its line.
//
// A [Document] is read with [Read]. Its [Table]s are decoded strictly into
// structs whose fields carry a `toml` tag and hold their defaults already: a
// key that no field has, and a value of the wrong type, is a [Problem], and so
// is whatever a package's own validation reports to [Table.Report]. None of
// them ends the reading; [Document.Err] gives all of them.
//
// [Duration], [Size] and [Secret] are the scalars of a configuration. They
// depend on nothing, so that any package may use them.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Options are what a document is read with.
type Options struct {
	// Env looks up an environment variable, as os.LookupEnv does.
	Env func(name string) (value string, ok bool)
	// ReadFile reads the files of secrets; nil stands for os.ReadFile.
	ReadFile func(name string) ([]byte, error)
}

// Document is a configuration file that has been parsed.
type Document struct {
	name     string
	options  Options
	values   map[string]any
	lines    lines
	problems InvalidError
}

// Read parses a TOML document. The name is the file's: it stands in front of
// every problem, and relative paths are relative to its directory. An error is
// an [InvalidError].
func Read(name string, data []byte, o Options) (*Document, error) {
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // editors on Windows write one; TOML knows none
	d := &Document{name: name, options: o, values: map[string]any{}, lines: lines{}}
	if err := toml.Unmarshal(data, &d.values); err != nil {
		return nil, InvalidError{syntaxProblem(name, err)}
	}
	d.lines.read(data)
	return d, nil
}

// syntaxProblem takes the parser's message, never its excerpt: that may show a
// secret.
func syntaxProblem(name string, err error) Problem {
	p := Problem{File: name, Line: 1, Text: strings.TrimPrefix(err.Error(), "toml: ")}
	if decode, ok := errors.AsType[*toml.DecodeError](err); ok {
		p.Line, _ = decode.Position()
		p.Key = strings.Join(decode.Key(), ".")
	}
	if p.Key == "" {
		p.Key = "TOML syntax"
	}
	return p
}

// Root is the table that holds all others.
func (d *Document) Root() *Table { return &Table{doc: d, values: d.values} }

// Path makes a relative path relative to the document's directory.
func (d *Document) Path(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(d.name), path)
}

// Err is nil or an [InvalidError] with everything that was found so far.
func (d *Document) Err() error {
	if len(d.problems) == 0 {
		return nil
	}
	sorted := slices.Clone(d.problems)
	slices.SortStableFunc(sorted, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), strings.Compare(a.Key, b.Key))
	})
	return sorted
}

// add keeps the first problem of a key: whoever validates a value that could
// not be decoded sees only that it is not there.
func (d *Document) add(key, text string) {
	if slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Key == key && key != "" }) {
		return
	}
	d.problems = append(d.problems, Problem{File: d.name, Line: d.lines.of(key), Key: key, Text: text})
}

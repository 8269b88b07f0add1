package events

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"
)

// columns of the suppression list as CSV (RFC 4180), under a line that names
// them. The first alone would do.
var columns = [...]string{"email", "scope", "reason", "provider", "detail", "since"}

// CSVWriter writes the suppression list. Flush says whether it could.
type CSVWriter struct {
	out   *csv.Writer
	begun bool
}

// NewCSVWriter writes to w.
func NewCSVWriter(w io.Writer) *CSVWriter { return &CSVWriter{out: csv.NewWriter(w)} }

// Write adds a line.
func (w *CSVWriter) Write(s Suppression) {
	w.head()
	_ = w.out.Write([]string{ // Flush says what fails
		plain(s.Address), plain(s.Scope), string(s.Reason), plain(s.Provider), plain(s.Detail), s.Since.UTC().Format(time.RFC3339Nano),
	})
}

func (w *CSVWriter) head() {
	if !w.begun {
		w.begun = true
		_ = w.out.Write(columns[:])
	}
}

// Flush writes what is left.
func (w *CSVWriter) Flush() error {
	w.head()
	w.out.Flush()
	if err := w.out.Error(); err != nil {
		return fmt.Errorf("writing the suppression list: %w", err)
	}
	return nil
}

// formulas are what a spreadsheet would compute: addresses and texts are anybody's.
const formulas = "=+-@\t\r"

// plain puts a ' before what a spreadsheet would take for a formula.
func plain(text string) string {
	if text != "" && strings.ContainsRune(formulas, rune(text[0])) {
		return "'" + text
	}
	return text
}

// asWritten takes it away again.
func asWritten(text string) string {
	if len(text) > 1 && text[0] == '\'' && strings.ContainsRune(formulas, rune(text[1])) {
		return text[1:]
	}
	return text
}

// ReadCSV reads a suppression list: with a first line that names the columns, in
// any order, or addresses alone. An error wraps [ErrMalformed], names the line,
// and is the last.
func ReadCSV(r io.Reader) iter.Seq2[Suppression, error] {
	return func(yield func(Suppression, error) bool) {
		in := csv.NewReader(r)
		in.FieldsPerRecord, in.TrimLeadingSpace, in.ReuseRecord = -1, true, true
		order := []string{columns[0]}
		for first := true; ; first = false {
			fields, err := in.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Suppression{}, fmt.Errorf("%w: the CSV: %w", ErrMalformed, err))
				return
			}
			if first && isHead(fields) {
				order = head(fields)
				continue
			}
			s, err := suppressionOf(order, fields)
			if err != nil {
				line, _ := in.FieldPos(0)
				err = fmt.Errorf("%w: line %d: %w", ErrMalformed, line, err)
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// isHead: the line names columns. An address has an @.
func isHead(fields []string) bool {
	return !slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(f, "@") })
}

func head(fields []string) []string {
	order := make([]string, len(fields))
	for i, field := range fields {
		order[i] = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(field, "\ufeff")))
	}
	return order
}

func suppressionOf(order, fields []string) (Suppression, error) {
	s := Suppression{Reason: Manual}
	for i, name := range order {
		if i >= len(fields) || fields[i] == "" {
			continue
		}
		value := strings.Clone(asWritten(strings.TrimPrefix(fields[i], "\ufeff")))
		switch name {
		case "email":
			s.Address = value
		case "scope":
			s.Scope = value
		case "reason":
			s.Reason = Reason(value)
		case "provider":
			s.Provider = value
		case "detail":
			s.Detail = value
		case "since":
			since, err := time.Parse(time.RFC3339, value)
			if err != nil {
				return s, fmt.Errorf("since %q is no time such as 2026-01-02T03:04:05Z", value)
			}
			s.Since = since.UTC()
		}
	}
	return s, s.Validate()
}

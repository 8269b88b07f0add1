package events

import (
	"bufio"
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

// plain puts a ' before what a spreadsheet would take for a formula, and before what
// looks as if one stood there already.
func plain(text string) string {
	if isFormula(text) {
		return "'" + text
	}
	return text
}

// asWritten takes it away again.
func asWritten(text string) string {
	if bare, quoted := strings.CutPrefix(text, "'"); quoted && isFormula(bare) {
		return bare
	}
	return text
}

func isFormula(text string) bool {
	bare := strings.TrimLeft(text, "'")
	return bare != "" && strings.ContainsRune(formulas, rune(bare[0]))
}

// ReadCSV reads a suppression list: with a first line that names the columns, in
// any order, or addresses alone. An error wraps [ErrMalformed], names the line,
// and is the last.
func ReadCSV(r io.Reader) iter.Seq2[Suppression, error] {
	return func(yield func(Suppression, error) bool) {
		lines := &lineLimit{in: withoutMark(r)}
		in := csv.NewReader(lines)
		in.FieldsPerRecord, in.TrimLeadingSpace, in.ReuseRecord = -1, true, true
		order := []string{columns[0]}
		line := 0
		for first := true; ; first = false {
			lines.left = maxLineBytes
			fields, err := in.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Suppression{}, unread(line, err))
				return
			}
			line, _ = in.FieldPos(0)
			var s Suppression
			if first && isHead(fields) {
				if order, err = head(fields); err == nil {
					continue
				}
			} else {
				s, err = suppressionOf(order, fields)
			}
			if err != nil {
				err = fmt.Errorf("%w: line %d: %w", ErrMalformed, line, err)
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// unread says why nothing comes after a line. What is wrong with the reader is not
// the CSV's fault.
func unread(line int, err error) error {
	if _, wrong := errors.AsType[*csv.ParseError](err); wrong {
		return fmt.Errorf("%w: the CSV: %w", ErrMalformed, err)
	}
	if errors.Is(err, errLine) {
		return fmt.Errorf("%w: after line %d: %w", ErrMalformed, line, err)
	}
	return fmt.Errorf("reading the CSV: %w", err)
}

// withoutMark leaves out the byte order mark that spreadsheets write.
func withoutMark(r io.Reader) io.Reader {
	const mark = "\ufeff"
	in := bufio.NewReader(r)
	if first, err := in.Peek(len(mark)); err == nil && string(first) == mark {
		_, _ = in.Discard(len(mark)) // it is there
	}
	return in
}

// maxLineBytes is more than a line can hold, and less than what a quote that is
// never closed would.
const maxLineBytes = 64 << 10

var errLine = errors.New("a line is too long, or a quote is never closed")

// lineLimit ends where a line takes more than what is left.
type lineLimit struct {
	in   io.Reader
	left int
}

// Read implements [io.Reader].
func (l *lineLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errLine
	}
	n, err := l.in.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err //nolint:wrapcheck // it is the reader's own
}

// isHead: the line names columns. An address has an @.
func isHead(fields []string) bool {
	return !slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(f, "@") })
}

func head(fields []string) ([]string, error) {
	order := make([]string, len(fields))
	for i, field := range fields {
		order[i] = strings.ToLower(strings.TrimSpace(field))
	}
	if !slices.Contains(order, columns[0]) {
		return nil, fmt.Errorf("%.80q is neither an address nor names the column %s; commas separate columns", fields[0], columns[0])
	}
	return order, nil
}

func suppressionOf(order, fields []string) (Suppression, error) {
	s := Suppression{Reason: Manual}
	for i, name := range order {
		if i >= len(fields) || fields[i] == "" {
			continue
		}
		value := strings.Clone(asWritten(fields[i]))
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
				return s, fmt.Errorf("since %.40q is no time such as 2026-01-02T03:04:05Z", value)
			}
			s.Since = since.UTC()
		}
	}
	return s, s.Validate()
}

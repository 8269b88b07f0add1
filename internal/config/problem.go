package config

import (
	"strconv"
	"strings"
)

// Problem is one mistake in a configuration file.
type Problem struct {
	File string
	Line int
	// Key is the whole path of the key: smtp.listener[1].tls.
	Key string
	// Text says what is wrong and what would be right, and never a secret.
	Text string
}

// String is the problem in one line, as editors and compilers write it.
func (p Problem) String() string {
	at := p.File + ":" + strconv.Itoa(p.Line) + ": "
	if p.Key != "" {
		at += p.Key + ": "
	}
	return at + p.Text
}

// InvalidError has the mistakes of a configuration file, by line.
type InvalidError []Problem

// Error has a line for each problem.
func (e InvalidError) Error() string {
	all := make([]string, len(e))
	for i, problem := range e {
		all[i] = problem.String()
	}
	return strings.Join(all, "\n")
}

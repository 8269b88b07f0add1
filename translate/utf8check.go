package translate

import (
	"bytes"
	"unicode/utf8"
)

// utf8Check learns from what is written to it whether it is UTF-8, and how much
// of it is the character that stands for octets without a meaning.
type utf8Check struct {
	bad      bool
	n        int64  // octets
	foreign  int64  // characters beyond ASCII
	replaced int64  // of these, U+FFFD
	held     []byte // of a character cut in two
}

// Write implements [io.Writer].
func (c *utf8Check) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	data := p
	if len(c.held) > 0 {
		data = append(c.held, p...)
		c.held = nil
	}
	if cut := incompleteTail(data); cut > 0 {
		c.held = bytes.Clone(data[len(data)-cut:])
		data = data[:len(data)-cut]
	}
	c.bad = c.bad || !utf8.Valid(data)
	c.replaced += int64(bytes.Count(data, []byte("\uFFFD")))
	for _, octet := range data {
		if octet >= 0xC0 { // a character begins
			c.foreign++
		}
	}
	return len(p), nil
}

func (c *utf8Check) invalid() bool { return c.bad || len(c.held) > 0 }

// fits: the label that the text was decoded by is its own. One octet in twenty
// may be broken, as where a program has cut a character in two.
func (c *utf8Check) fits() bool { return !c.invalid() && c.replaced*20 <= c.foreign }

// incompleteTail counts the octets of a character that data ends in the middle of.
func incompleteTail(data []byte) int {
	for back := 1; back <= min(utf8.UTFMax-1, len(data)); back++ {
		if c := data[len(data)-back]; utf8.RuneStart(c) {
			if !utf8.FullRune(data[len(data)-back:]) {
				return back
			}
			return 0
		}
	}
	return 0
}

package translate

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// maxContentID is the longest Content-ID that is looked for in HTML, in octets
// (RFC 5322, 2.1.1: no line is longer).
const maxContentID = 998

// findIDs sets those of shown, lower-cased Content-IDs, to which the HTML
// refers by cid: URLs (RFC 2392). The HTML streams.
func (b *builder) findIDs(shown map[string]bool) error {
	html, err := b.m.HTML.Open()
	if err != nil {
		return err
	}
	defer html.Close() //nolint:errcheck // reading is done
	r := bufio.NewReaderSize(html, 8<<10)
	for {
		chunk, err := r.Peek(r.Size())
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		markIDs(chunk, shown)
		// The end is looked at again, since a reference may be cut there.
		keep := len("cid:") + maxContentID
		if errors.Is(err, io.EOF) || len(chunk) <= keep {
			return nil
		}
		if _, err := r.Discard(len(chunk) - keep); err != nil {
			return err
		}
	}
}

// mark sets id, with percent signs undone or, as some write it, not.
func mark(shown map[string]bool, id string) {
	for _, id := range [...]string{id, strings.ToLower(string(percentDecode(id)))} {
		if _, wanted := shown[id]; wanted {
			shown[id] = true
		}
	}
}

// markIDs sets those of shown to which chunk refers.
func markIDs(chunk []byte, shown map[string]bool) {
	lower := bytes.ToLower(chunk)
	for {
		start := bytes.Index(lower, []byte("cid:"))
		if start < 0 {
			return
		}
		lower = lower[start+len("cid:"):]
		end := bytes.IndexAny(lower[:min(len(lower), maxContentID)], "\"' \t\r\n>)\\<")
		if end < 0 {
			if len(lower) <= maxContentID {
				return
			}
			// No id ends here: the next one to look at is the last that begins.
			lower = lower[max(bytes.LastIndex(lower[:maxContentID], []byte("cid:")), 1):]
			continue
		}
		mark(shown, strings.ReplaceAll(string(lower[:end]), "&amp;", "&"))
		lower = lower[end:]
	}
}

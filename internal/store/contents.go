package store

import (
	"encoding/json"
	"sync"
)

// maxContentBytes bounds the contents together, in octets: the whole bridge lives
// in 64 MiB.
const maxContentBytes = 4 << 20

// contents are those of the last mails of a sandbox, in memory. It is safe for
// concurrent use.
type contents struct {
	mu    sync.Mutex // guards what follows
	byID  map[string]json.RawMessage
	order []string // oldest first
	bytes int
}

// Keep keeps the content of a message for the API. The oldest contents go where
// they are too large together.
func (c *contents) Keep(id string, content json.RawMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID = make(map[string]json.RawMessage)
	}
	if _, found := c.byID[id]; !found {
		c.order = append(c.order, id)
	}
	c.bytes += len(content) - len(c.byID[id])
	c.byID[id] = content
	for c.bytes > maxContentBytes {
		c.bytes -= len(c.byID[c.order[0]])
		delete(c.byID, c.order[0])
		c.order = c.order[1:]
	}
}

func (c *contents) get(id string) json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byID[id]
}

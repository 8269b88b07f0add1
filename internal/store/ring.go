package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"smtpbridge/providers/delivery"
)

const (
	// maxContentBytes bounds the contents in a ring together, in octets: the
	// whole bridge lives in 64 MiB.
	maxContentBytes = 4 << 20
	// maxRecordBytes bounds the records in a ring together, in octets.
	maxRecordBytes = 4 << 20
)

var (
	// ErrNotFound says that there is no such message, or no longer.
	ErrNotFound = errors.New("no such message")
	// ErrCursor says that the cursor of a query is none that a page has given.
	ErrCursor = errors.New("not a cursor")
)

// Message is a record with the content that a sandbox has added to it.
type Message struct {
	delivery.Record

	Content json.RawMessage `json:"content,omitempty"`
}

// Query asks for messages. Empty fields ask for nothing; all others must hold.
// Recipient, Provider, State and Category must hold for one and the same
// recipient. Addresses compare lower-cased.
type Query struct {
	Recipient, Provider, State, Category string
	Tag, From, MailFrom                  string
	// Limit is the most records of a page; it must be positive.
	Limit int
	// Cursor is the Next of the page before; empty for the newest.
	Cursor string
}

// Page is a part of a list, newest first.
type Page struct {
	Records []delivery.Record
	// Next is the cursor of the next page, empty on the last.
	Next string
}

// Ring keeps the last messages in memory: so many, and so many octets. It is
// safe for concurrent use.
type Ring struct {
	capacity int

	mu           sync.RWMutex // guards what follows
	entries      []*entry     // oldest first
	byID         map[string]*entry
	last         uint64 // the newest number
	recordBytes  int
	contentBytes int
}

// entry is one message. The number rises with each message and makes cursors
// that hold while messages come and go.
type entry struct {
	Message

	number uint64
	bytes  int // of the record, about
}

// NewRing makes a ring of the last capacity messages.
func NewRing(capacity int) *Ring {
	return &Ring{capacity: capacity, byID: make(map[string]*entry)}
}

// Record keeps r in place of what was known of the message. The oldest
// messages go where there are too many; one that would fill the ring alone is
// not kept.
func (g *Ring) Record(r delivery.Record) {
	bytes := weigh(r)
	g.mu.Lock()
	defer g.mu.Unlock()
	if bytes > maxRecordBytes {
		g.forget(g.byID[r.ID])
		return
	}
	e, found := g.byID[r.ID]
	if !found {
		g.last++
		e = &entry{number: g.last}
		g.entries = append(g.entries, e)
		g.byID[r.ID] = e
	}
	g.recordBytes += bytes - e.bytes
	e.Record, e.bytes = r, bytes
	for len(g.entries) > g.capacity || g.recordBytes > maxRecordBytes {
		g.forget(g.entries[0])
	}
}

// forget drops a message; nil is none.
func (g *Ring) forget(e *entry) {
	if e == nil {
		return
	}
	g.recordBytes -= e.bytes
	g.contentBytes -= len(e.Content)
	delete(g.byID, e.ID)
	if e == g.entries[0] { // nearly always: the others stay where they are
		g.entries[0] = nil
		g.entries = g.entries[1:]
		return
	}
	at := slices.Index(g.entries, e)
	g.entries = slices.Delete(g.entries, at, at+1)
}

// Keep adds content to a message that has a record. The oldest contents go
// where they are too large together.
func (g *Ring) Keep(id string, content json.RawMessage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, found := g.byID[id]
	if !found {
		return
	}
	g.contentBytes += len(content) - len(e.Content)
	e.Content = content
	for _, oldest := range g.entries {
		if g.contentBytes <= maxContentBytes {
			break
		}
		g.contentBytes -= len(oldest.Content)
		oldest.Content = nil
	}
}

// Get gives one message, or [ErrNotFound].
func (g *Ring) Get(_ context.Context, id string) (Message, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	e, found := g.byID[id]
	if !found {
		return Message{}, ErrNotFound
	}
	return e.Message, nil
}

// List gives the records that q asks for, newest first, or [ErrCursor].
func (g *Ring) List(_ context.Context, q Query) (Page, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	from, err := g.seek(q.Cursor)
	if err != nil {
		return Page{}, err
	}
	page := Page{Records: []delivery.Record{}}
	for i := from - 1; i >= 0; i-- {
		if !q.matches(&g.entries[i].Record) {
			continue
		}
		if len(page.Records) == q.Limit {
			// One more is there: the next page begins below the last of this one.
			page.Next = cursorOf(g.byID[page.Records[q.Limit-1].ID])
			break
		}
		page.Records = append(page.Records, g.entries[i].Record)
	}
	return page, nil
}

// seek gives the index behind the first entry of a page.
func (g *Ring) seek(cursor string) (int, error) {
	if cursor == "" {
		return len(g.entries), nil
	}
	number, err := strconv.ParseUint(cursor, 10, 64)
	if err != nil {
		return 0, ErrCursor
	}
	i, _ := slices.BinarySearchFunc(g.entries, number, func(e *entry, n uint64) int {
		return cmp.Compare(e.number, n)
	})
	return i, nil
}

// cursorOf is the place below e.
func cursorOf(e *entry) string { return strconv.FormatUint(e.number, 10) }

func (q *Query) matches(r *delivery.Record) bool {
	return (q.From == "" || strings.EqualFold(q.From, r.From)) &&
		(q.MailFrom == "" || strings.EqualFold(q.MailFrom, r.MailFrom)) &&
		(q.Tag == "" || slices.Contains(r.Tags, q.Tag)) &&
		slices.ContainsFunc(r.Recipients, q.matchesRecipient)
}

func (q *Query) matchesRecipient(r delivery.Recipient) bool {
	return (q.Recipient == "" || strings.EqualFold(q.Recipient, r.Recipient)) &&
		(q.Provider == "" || q.Provider == r.Provider) &&
		(q.State == "" || q.State == r.State.String()) &&
		(q.Category == "" || q.Category == string(r.Category))
}

// weigh is about what r takes in memory, in octets.
func weigh(r delivery.Record) int {
	const fixed, perItem = 400, 120 // structs and headers of strings and slices
	bytes := fixed + len(r.ID) + len(r.MailFrom) + len(r.From) + len(r.Subject) + len(r.MessageID) + len(r.User)
	for _, tag := range r.Tags {
		bytes += perItem + len(tag)
	}
	for key, value := range r.Metadata {
		bytes += perItem + len(key) + len(value)
	}
	for _, loss := range r.Losses {
		bytes += perItem + len(loss)
	}
	for _, to := range r.Recipients {
		bytes += perItem + len(to.Recipient) + len(to.Provider) + len(to.ProviderID) + len(to.Reason)
	}
	return bytes + perItem*len(r.Attempts)
}

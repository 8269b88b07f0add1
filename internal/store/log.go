package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"smtpbridge/events"
	"smtpbridge/providers"
	"smtpbridge/providers/delivery"
)

// pending are the records that wait to be written, each message once.
type pending struct {
	byID  map[string]int
	all   []delivery.Record
	bytes int
}

func (p *pending) put(r delivery.Record) {
	if p.byID == nil {
		p.byID = make(map[string]int)
	}
	at, found := p.byID[r.ID]
	if !found {
		at = len(p.all)
		p.byID[r.ID] = at
		p.all = append(p.all, delivery.Record{})
	}
	p.bytes += weigh(r) - weigh(p.all[at])
	p.all[at] = r
}

func (p *pending) empty() bool { return len(p.all) == 0 }

func (p *pending) take() []delivery.Record {
	taken := p.all
	*p = pending{}
	return taken
}

// giveBack puts back what could not be written, as far as there is room, and
// gives the number of those that are left out.
func (p *pending) giveBack(records []delivery.Record) (dropped int) {
	newer := p.take()
	for _, r := range slices.Concat(records, newer) {
		if _, known := p.byID[r.ID]; !known && p.bytes > maxLogBytes {
			dropped++
			continue
		}
		p.put(r)
	}
	return dropped
}

// Record leaves behind what became of a message, in place of what was known of it.
func (h *History) Record(r delivery.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending.put(r)
	if len(h.pending.all) >= logCompany || h.pending.bytes > maxLogBytes/2 {
		select {
		case h.full <- struct{}{}:
		default:
		}
	}
}

// maxIDBytes is more than a message id has.
const maxIDBytes = 64

// ErrCursor says that the cursor of a query is none that a page has given.
var ErrCursor = errors.New("not a cursor")

const (
	putMessage = `INSERT INTO messages (id, received, mail_from, sender, record) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET record = excluded.record`
	putRecipient = `INSERT INTO message_recipients (message_id, place, address, state, provider, provider_id, category)
		VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (message_id, place) DO UPDATE SET state = excluded.state, provider = excluded.provider,
			provider_id = excluded.provider_id, category = excluded.category`
	putProgress = `INSERT INTO progress (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	getProgress = `SELECT value FROM progress WHERE name = ?`

	// loggedUpTo is when outcomes were last written: those that landed before are in.
	loggedUpTo = "logged"
	// checkedAt is when it was last tried to write.
	checkedAt = "checked"
)

// log writes what became of messages, and the events that come of it.
func (h *History) log(ctx context.Context, w *work, records []delivery.Record) error {
	if len(records) == 0 {
		return nil
	}
	now := h.now()
	for i := range records {
		if err := w.putRecord(ctx, &records[i]); err != nil {
			return err
		}
		if err := h.tell(ctx, w, &records[i], now); err != nil {
			return err
		}
	}
	_, err := w.exec(ctx, putProgress, loggedUpTo, now.UnixNano())
	return err
}

func (w *work) putRecord(ctx context.Context, r *delivery.Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding the record of message %s: %w", r.ID, err)
	}
	_, err = w.exec(ctx, putMessage, r.ID, r.Time.UnixNano(), events.Address(r.MailFrom), events.Address(r.From), string(text))
	if err != nil {
		return err
	}
	for i, to := range r.Recipients {
		_, err := w.exec(ctx, putRecipient, r.ID, i, events.Address(to.Recipient), to.State.String(),
			to.Provider, to.ProviderID, string(to.Category))
		if err != nil {
			return err
		}
	}
	return nil
}

// tell stores the bridge's own events of a message that was answered 250: what
// became of each of its recipients, once.
func (h *History) tell(ctx context.Context, w *work, r *delivery.Record, now time.Time) error {
	took := func(to delivery.Recipient) bool { return to.State == providers.Accepted }
	if !slices.ContainsFunc(r.Recipients, took) {
		return nil // the application was told
	}
	origin := r.ID
	if r.RepeatOf != "" {
		var err error
		if origin, err = w.origin(ctx, r.RepeatOf); err != nil {
			return err
		}
	}
	for _, to := range r.Recipients {
		e, worth := ownEvent(r, to, now)
		if !worth {
			continue
		}
		e.ID = events.ID("", events.Key(origin, e.Recipient, string(e.Type)))
		if _, err := h.add(ctx, w, e, events.Rules{}, r); err != nil {
			return err
		}
	}
	return nil
}

// ownEvent is what the bridge itself knows of a recipient.
func ownEvent(r *delivery.Record, to delivery.Recipient, now time.Time) (e events.Event, worth bool) {
	e = events.Event{
		Provider: to.Provider, Type: events.Unknown, MessageID: r.ID, ProviderMessageID: to.ProviderID,
		Recipient: events.Address(to.Recipient), Timestamp: now.UTC(), Reason: to.Reason,
	}
	switch to.State {
	case providers.Accepted:
		e.Type = events.Accepted
		return e, to.Provider != "" // else nothing was sent
	case providers.Refused:
		e.Type = events.Rejected
	case providers.Ambiguous:
	}
	return e, true
}

// maxRepeats bounds a chain of repeats.
const maxRepeats = 10

// origin is the first message of a chain of repeats.
func (w *work) origin(ctx context.Context, id string) (string, error) {
	for range maxRepeats {
		r, found, err := w.record(ctx, id)
		if err != nil || !found || r.RepeatOf == "" {
			return id, err
		}
		id = r.RepeatOf
	}
	return id, nil
}

const getRecord = `SELECT record FROM messages WHERE id = ?`

// record is what is in the log of a message.
func (w *work) record(ctx context.Context, id string) (r delivery.Record, found bool, err error) {
	var text string
	found, err = w.row(ctx, getRecord, []any{id}, &text)
	if err != nil || !found {
		return r, false, err
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return r, false, fmt.Errorf("reading the record of message %s: %w", id, err)
	}
	return r, true, nil
}

// Query asks for messages. Empty fields ask for nothing; all others must hold.
// Recipient, Provider, State and Category must hold for one and the same
// recipient. Addresses compare as events.Address makes them.
type Query struct {
	Recipient, Provider, State, Category string
	Tag, From, MailFrom                  string
	// Limit is the most records of a page; it must be positive.
	Limit int
	// Cursor is the Next of the page before; empty for the newest.
	Cursor string
}

// Page is a part of a list of messages, newest first.
type Page struct {
	Records []delivery.Record
	// Next is the cursor of the next page, empty on the last.
	Next string
}

// conditions makes the WHERE of a query.
type conditions struct {
	texts []string
	args  []any
}

func (c *conditions) add(text string, args ...any) {
	c.texts = append(c.texts, text)
	c.args = append(c.args, args...)
}

// equal asks for a value, where one is given.
func (c *conditions) equal(column, value string) {
	if value != "" {
		c.add(column+" = ?", value)
	}
}

func (c *conditions) where() string {
	if len(c.texts) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.texts, " AND ")
}

// Message is what became of one message, with its events, oldest first, and with
// the content that a sandbox has kept.
type Message struct {
	delivery.Record

	Events  []events.Event  `json:"events"`
	Content json.RawMessage `json:"content,omitempty"`
}

// maxTimeline is the most events of a message that are shown, the first ones.
const maxTimeline = 1000

// Message gives one message, or [ErrNotFound].
func (h *History) Message(ctx context.Context, id string) (Message, error) {
	h.flush(ctx)
	m := Message{Content: h.contents.get(id)}
	var text string
	if err := h.read.QueryRowContext(ctx, getRecord, id).Scan(&text); err != nil {
		return m, h.readError(err)
	}
	if err := json.Unmarshal([]byte(text), &m.Record); err != nil {
		return m, fmt.Errorf("reading the record of message %s: %w", id, err)
	}
	page, err := h.Events(ctx, EventQuery{MessageID: id, Limit: maxTimeline})
	m.Events = page.Events
	return m, err
}

// Messages gives the records that q asks for, newest first, or [ErrCursor].
func (h *History) Messages(ctx context.Context, q Query) (Page, error) {
	h.flush(ctx)
	var c conditions
	if q.Cursor != "" {
		if len(q.Cursor) > maxIDBytes || strings.ContainsFunc(q.Cursor, notInID) {
			return Page{}, ErrCursor
		}
		c.add("id < ?", q.Cursor)
	}
	c.equal("mail_from", events.Address(q.MailFrom))
	c.equal("sender", events.Address(q.From))
	if q.Tag != "" {
		c.add("EXISTS (SELECT 1 FROM json_each(record, '$.tags') WHERE value = ?)", q.Tag)
	}
	q.recipient(&c)
	texts, err := h.texts(ctx, `SELECT record FROM messages`+c.where()+` ORDER BY id DESC LIMIT ?`, append(c.args, q.Limit+1))
	if err != nil {
		return Page{}, err
	}
	page := Page{Records: make([]delivery.Record, 0, len(texts))}
	for _, text := range texts {
		if len(page.Records) == q.Limit {
			page.Next = page.Records[q.Limit-1].ID
			break
		}
		var r delivery.Record
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			return Page{}, fmt.Errorf("reading a record: %w", err)
		}
		page.Records = append(page.Records, r)
	}
	return page, nil
}

// notInID: ids are ULIDs.
func notInID(r rune) bool { return (r < '0' || r > '9') && (r < 'A' || r > 'Z') }

// recipient asks for what must hold for one recipient. With an address the index
// leads to the messages, else each message is looked at.
func (q *Query) recipient(c *conditions) {
	var to conditions
	to.equal("address", events.Address(q.Recipient))
	to.equal("provider", q.Provider)
	to.equal("state", q.State)
	to.equal("category", q.Category)
	switch {
	case len(to.texts) == 0:
	case q.Recipient != "":
		c.add("id IN (SELECT message_id FROM message_recipients"+to.where()+")", to.args...)
	default:
		to.add("message_id = messages.id")
		c.add("EXISTS (SELECT 1 FROM message_recipients"+to.where()+")", to.args...)
	}
}

// texts reads rows of one column.
func (h *History) texts(ctx context.Context, query string, args []any) (texts []string, err error) {
	rows, err := h.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, h.readError(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, h.readError(err)
		}
		texts = append(texts, text)
	}
	return texts, h.readError(rows.Err())
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

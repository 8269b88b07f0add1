package store

import (
	"context"
	"database/sql"
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
	byID    map[string]int
	all     []delivery.Record
	bytes   int
	dropped int // those for which there was no room
}

// put keeps r in place of what is known of its message; for a new one there must
// be room.
func (p *pending) put(r delivery.Record) {
	at, found := p.byID[r.ID]
	if !found && p.bytes > maxLogBytes {
		p.dropped++
		return
	}
	if found {
		p.bytes -= weigh(&p.all[at])
		p.all[at] = r
	} else {
		p.add(r)
	}
	p.bytes += weigh(&r)
}

func (p *pending) add(r delivery.Record) {
	if p.byID == nil {
		p.byID = make(map[string]int)
	}
	p.byID[r.ID] = len(p.all)
	p.all = append(p.all, r)
}

func (p *pending) empty() bool { return len(p.all) == 0 }

func (p *pending) take() []delivery.Record {
	taken := p.all
	*p = pending{dropped: p.dropped}
	return taken
}

// giveBack puts back what could not be written, as far as there is room.
func (p *pending) giveBack(records []delivery.Record) {
	for _, r := range slices.Concat(records, p.take()) {
		p.put(r)
	}
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
	putMessages = `INSERT INTO messages (id, received, mail_from, sender, record) VALUES {?, ?, ?, ?, ?}
		ON CONFLICT (id) DO UPDATE SET record = excluded.record`
	putRecipients = `INSERT INTO message_recipients (message_id, place, address, state, provider, provider_id, category)
		VALUES {?, ?, ?, ?, ?, ?, ?}
		ON CONFLICT (message_id, place) DO UPDATE SET state = excluded.state, provider = excluded.provider,
			provider_id = excluded.provider_id, category = excluded.category`
	putProgress = `INSERT INTO progress (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
	getProgress = `SELECT value FROM progress WHERE name = ?`

	// loggedUpTo is when a bridge last wrote outcomes: its own that landed before are in.
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
	for some := range slices.Chunk(pointers(records), manyRows) {
		if err := h.logSome(ctx, w, some, now); err != nil {
			return err
		}
	}
	if h.left {
		return nil // the next start looks for what was left out
	}
	_, err := w.exec(ctx, putProgress, h.progress(), now.UnixNano())
	return err
}

func pointers[T any](values []T) []*T {
	all := make([]*T, len(values))
	for i := range values {
		all[i] = &values[i]
	}
	return all
}

// logSome replaces some of the records that it is given by what it has written.
func (h *History) logSome(ctx context.Context, w *work, some []*delivery.Record, now time.Time) (err error) {
	for i, r := range some {
		if some[i], err = w.withSettled(ctx, r); err != nil {
			return err
		}
	}
	if err := w.putRecords(ctx, some); err != nil {
		return err
	}
	return h.tell(ctx, w, some, now)
}

// withSettled keeps what is known by an event of recipients of whom the SMTP path
// knows nothing; r stays as it was.
func (w *work) withSettled(ctx context.Context, r *delivery.Record) (*delivery.Record, error) {
	if !slices.ContainsFunc(r.Recipients, unsettled) {
		return r, nil
	}
	known, found, err := w.record(ctx, r.ID)
	if err != nil || !found || len(known.Recipients) != len(r.Recipients) {
		return r, err
	}
	merged := *r
	merged.Recipients = slices.Clone(r.Recipients)
	for i, to := range known.Recipients {
		if unsettled(merged.Recipients[i]) && to.Recipient == merged.Recipients[i].Recipient {
			merged.Recipients[i] = to
		}
	}
	return &merged, nil
}

func unsettled(to delivery.Recipient) bool { return to.State == providers.Ambiguous }

func (w *work) putRecords(ctx context.Context, records []*delivery.Record) error {
	messages := make([][]any, 0, len(records))
	recipients := make([][]any, 0, len(records))
	for _, r := range records {
		text, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encoding the record of message %s: %w", r.ID, err)
		}
		messages = append(messages,
			[]any{r.ID, r.Time.UnixNano(), events.Address(r.MailFrom), events.Address(r.From), string(text)})
		for i, to := range r.Recipients {
			recipients = append(recipients,
				[]any{r.ID, i, events.Address(to.Recipient), to.State.String(), to.Provider, to.ProviderID, string(to.Category)})
		}
	}
	if err := w.putRows(ctx, putMessages, messages); err != nil {
		return err
	}
	return w.putRows(ctx, putRecipients, recipients)
}

// tell stores the bridge's own events of messages that were answered 250: what
// became of each of their recipients, once.
func (h *History) tell(ctx context.Context, w *work, records []*delivery.Record, now time.Time) error {
	var own []*events.Event
	for _, r := range records {
		took := func(to delivery.Recipient) bool { return to.State == providers.Accepted }
		if !slices.ContainsFunc(r.Recipients, took) {
			continue // the application was told
		}
		origin := r.ID
		if r.RepeatOf != "" {
			var err error
			if origin, err = w.origin(ctx, r.RepeatOf); err != nil {
				return err
			}
		}
		for _, to := range r.Recipients {
			if e, worth := ownEvent(r, to); worth {
				e.ID = ownID(origin, e)
				own = append(own, &e)
			}
		}
	}
	fresh, err := w.putEvents(ctx, own, now)
	if err != nil {
		return err
	}
	for _, e := range fresh {
		w.told = append(w.told, *e)
	}
	return w.count(ctx, fresh)
}

// ownID is that of an event of the bridge: it begins with the id of the message,
// so that those of messages that come together lie together in the index.
func ownID(origin string, e events.Event) string {
	const hashed = 16
	return "evt_" + strings.ToLower(origin) + "_" + events.Key(origin, e.Recipient, string(e.Type))[:hashed]
}

// ownEvent is what the bridge itself knows of a recipient.
func ownEvent(r *delivery.Record, to delivery.Recipient) (e events.Event, worth bool) {
	e = events.Event{
		Provider: to.Provider, Type: events.Unknown, MessageID: r.ID, ProviderMessageID: to.ProviderID,
		Recipient: events.Address(to.Recipient), Timestamp: answered(r, to.Provider), Reason: to.Reason,
		Tags: r.Tags, Metadata: r.Metadata,
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

// answered is when the last answer of a provider came.
func answered(r *delivery.Record, provider string) time.Time {
	for _, a := range slices.Backward(r.Attempts) {
		if a.Provider == provider {
			return a.Time.Add(time.Duration(a.Seconds * float64(time.Second))).UTC()
		}
	}
	return r.Time.UTC()
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

const (
	getRecord = `SELECT record FROM messages WHERE id = ?`
	recordsOf = `SELECT record FROM messages WHERE id IN (VALUES {?})`
)

// record is what is in the log of a message.
func (w *work) record(ctx context.Context, id string) (r delivery.Record, found bool, err error) {
	all, err := w.records(ctx, []string{id})
	if r, found := all[id]; found {
		return *r, true, nil
	}
	return r, false, err
}

// records are what is in the log of messages, by id.
func (w *work) records(ctx context.Context, ids []string) (map[string]*delivery.Record, error) {
	all := make(map[string]*delivery.Record, len(ids))
	err := w.askRows(ctx, recordsOf, column(ids), func(rows *sql.Rows) error {
		var text []byte
		r := new(delivery.Record)
		if err := rows.Scan(&text); err != nil {
			return err
		}
		if err := json.Unmarshal(text, r); err != nil {
			return fmt.Errorf("the record of a message: %w", err)
		}
		all[r.ID] = r
		return nil
	})
	return all, err
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
	led   bool // there is one that an index may lead to
}

func (c *conditions) add(text string, args ...any) {
	c.texts = append(c.texts, text)
	c.args = append(c.args, args...)
}

// equal asks for a value, where one is given. Only the first may lead through an
// index, so it must be what the fewest rows have in common: a database does not
// know, and may well read all events of a type to find those of a recipient.
func (c *conditions) equal(column, value string) {
	switch {
	case value == "":
	case c.led:
		c.add(column+" || '' = ?", value)
	default:
		c.add(column+" = ?", value)
		c.led = true
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
	m := Message{Content: h.get(id)}
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
	query, args, err := q.text()
	if err != nil {
		return Page{}, err
	}
	texts, err := h.texts(ctx, query, args)
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

// text is the query in SQL, for one record more than a page has.
func (q *Query) text() (text string, args []any, err error) {
	var c conditions
	if q.Cursor != "" {
		if len(q.Cursor) > maxIDBytes || strings.ContainsFunc(q.Cursor, notInID) {
			return "", nil, ErrCursor
		}
		c.add("id < ?", q.Cursor)
	}
	c.equal("mail_from", events.Address(q.MailFrom))
	c.equal("sender", events.Address(q.From))
	if q.Tag != "" {
		c.add("EXISTS (SELECT 1 FROM json_each(record, '$.tags') WHERE value = ?)", q.Tag)
	}
	q.recipient(&c)
	return `SELECT record FROM messages` + c.where() + ` ORDER BY id DESC LIMIT ?`, append(c.args, q.Limit+1), nil
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
	return h.column(rows, err)
}

// ask has each row scanned that a query gives to those who only read.
func (h *History) ask(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) (err error) {
	rows, err := h.read.QueryContext(ctx, query, args...)
	if err != nil {
		return h.readError(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return h.readError(err)
		}
	}
	return h.readError(rows.Err())
}

// column reads what a query has given.
func (h *History) column(rows *sql.Rows, asked error) (texts []string, err error) {
	if asked != nil {
		return nil, h.readError(asked)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
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
func weigh(r *delivery.Record) int {
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

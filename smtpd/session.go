package smtpd

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/oklog/ulid/v2"

	"smtpbridge/providers"
	"smtpbridge/translate"
)

// session is one client between EHLO and the end of its connection, or of its
// life without TLS.
type session struct {
	//nolint:containedctx // go-smtp gives its sessions none; Logout cancels this one
	ctx      context.Context
	cancel   context.CancelFunc
	server   *Server
	listener *listener
	conn     *conn
	peer     peer
	secure   bool
	user     string
	looks    sync.WaitGroup // the second looks that are to come

	// open is the transaction, nil between two. Data may find another one than
	// its own when BDAT is given up; it then touches nothing that changes.
	open atomic.Pointer[transaction]
}

// transaction is one mail from MAIL to its reply.
type transaction struct {
	settings *settings
	started  time.Time
	envelope translate.Envelope
	given    []given
	index    map[string]int // by lower-cased address, where it is in the envelope
	size     int64          // in octets, once the mail is kept
	progress progress
	before   ending // of the client's side, before the reply
}

// given is one RCPT that was taken: its address as go-smtp knows it, and where
// it is in the envelope. Repeated ones share a place.
type given struct {
	address string
	place   int
}

// id is the open transaction's, empty without one.
func (s *session) id() string {
	if tx := s.open.Load(); tx != nil {
		return tx.envelope.BridgeID
	}
	return ""
}

// Mail implements [smtp.Session]: it begins a transaction and gives it its id.
func (s *session) Mail(from string, options *smtp.MailOptions) error {
	if s.open.Load() != nil {
		return reply{badSequence, "a mail is open; RSET gives it up", s.id()}.smtp(0)
	}
	id := ulid.MustNew(ulid.Now(), rand.Reader).String()
	set := s.server.settings.Load()
	if refusal := s.refuse(set); refusal != nil {
		return s.refused(set.soften(refusal), id)
	}
	if options.Size > set.limits.Size { // RFC 1870, 6.1
		return s.refused(set.soften(refusalOf(translate.ErrTooLarge)), id)
	}
	sender, err := normalise(from, s.conn.command)
	if err != nil {
		return s.misread(badSender, err, id)
	}
	s.open.Store(&transaction{
		settings: set,
		started:  time.Now(),
		envelope: translate.Envelope{
			BridgeID: id, MailFrom: sender, User: s.user, Route: set.routes[s.user], Client: s.peer.String(),
		},
		index: make(map[string]int),
	})
	s.conn.begin(id)
	return nil
}

// refused answers a refusal at MAIL or RCPT.
func (s *session) refused(refusal *providers.Error, id string) error {
	s.logRefused(id, statusOf(refusal), refusal)
	return replyError(refusal, id).smtp(0)
}

// misread answers an address that is none, which is no category.
func (s *session) misread(status status, err error, id string) error {
	s.logRefused(id, status, err)
	return reply{status, err.Error(), id}.smtp(0)
}

// logRefused writes the line of a mail or recipient that is not taken: no other
// line has its id. The words of a refusal are for the client alone, since they
// may hold an address.
func (s *session) logRefused(id string, status status, err error) {
	level, attrs := slog.LevelInfo, []slog.Attr{
		slog.String("message_id", id), slog.Int("status", status.code), slog.String("client", s.peer.String()),
	}
	if refusal, ok := errors.AsType[*providers.Error](err); ok {
		level = refusal.Category.Level()
		attrs = append(attrs, slog.String("category", string(refusal.Category)), slog.String("class", refusal.Class()))
	} else {
		attrs = append(attrs, slog.Any("err", err))
	}
	s.server.options.Logger.LogAttrs(s.ctx, level, "mail refused", attrs...)
}

// refuse says why this client may not send, nil where it may.
func (s *session) refuse(set *settings) *providers.Error {
	switch {
	case s.user != "":
		return nil
	case s.listener.Auth != authRequired && set.allows(s.peer):
		return nil
	case !s.listener.offersAuth():
		return &providers.Error{Category: providers.RelayDenied, Message: "your address may not send here"}
	case !s.secure && !s.peer.isLocal():
		return &providers.Error{Category: providers.AuthRequired, Message: "begin TLS, then log in"}
	default:
		return &providers.Error{Category: providers.AuthRequired, Message: "log in first"}
	}
}

// Rcpt implements [smtp.Session].
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	tx := s.open.Load()
	if len(tx.given) >= tx.settings.maxRecipients {
		return s.refused(&providers.Error{
			Category: providers.TooManyRecipients, Message: "send the mail to the others in a second transaction",
		}, s.id())
	}
	address, err := normalise(to, s.conn.command)
	if err != nil {
		return s.misread(badRecipient, err, s.id())
	}
	key := address
	if isASCII(address) { // beyond ASCII two letters that fold are two
		key = strings.ToLower(address)
	}
	place, known := tx.index[key]
	if !known {
		if refusal := s.server.options.Delivery.Recipient(s.ctx, tx.envelope, address); refusal != nil {
			return s.refused(tx.settings.soften(refusal), s.id())
		}
		place = len(tx.envelope.Recipients)
		tx.index[key] = place
		tx.envelope.Recipients = append(tx.envelope.Recipients, address)
	}
	tx.given = append(tx.given, given{to, place})
	return nil
}

// Data implements [smtp.Session].
func (s *session) Data(r io.Reader) error {
	tx, outcome, err := s.take(r)
	if err != nil {
		return replyLost(err, s.id()).smtp(0) // Reset, which follows, writes its line
	}
	return replyOutcome(outcome, tx.envelope.BridgeID).smtp(0)
}

// LMTPData implements [smtp.LMTPSession]: one reply for each RCPT (RFC 2033, 4.2).
func (s *session) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	tx, outcome, err := s.take(r)
	if err != nil {
		return replyLost(err, s.id()).smtp(0)
	}
	for _, rcpt := range tx.given {
		own := outcome[rcpt.place : rcpt.place+1]
		status.SetStatus(rcpt.address, replyOutcome(own, tx.envelope.BridgeID).smtp(len("<> ")+len(rcpt.address)))
	}
	return nil
}

// take reads the mail and sees it through. On an error it did not come whole,
// nothing was sent, and nobody listens any more.
func (s *session) take(r io.Reader) (*transaction, providers.Outcome, error) {
	if !s.conn.enterData() {
		abandon()
	}
	defer s.conn.leaveData()
	tx := s.open.Load()
	if tx == nil {
		abandon()
	}
	limits := tx.settings.limits
	limits.SpoolDir = s.server.options.SpoolDir
	writer := translate.NewSpoolWriter(limits)
	if err := s.read(r, patient{writer}); err != nil {
		err = errors.Join(err, writer.Abort())
		if errors.Is(err, smtp.ErrDataReset) {
			abandon()
		}
		return nil, nil, err
	}
	var outcome providers.Outcome
	spool, err := writer.Spool()
	if err == nil {
		outcome, err = s.deliver(spool, tx)
	}
	if err != nil {
		outcome = s.turnDown(tx, refusalOf(err))
	}
	for i := range outcome {
		outcome[i].Err = tx.settings.soften(outcome[i].Err)
	}
	s.record(tx, outcome)
	return tx, outcome, nil
}

// abandon ends the goroutine that go-smtp runs for a mail by BDAT, once RSET or
// the end of the connection has given that up. Its result must not come: go-smtp
// looks up late where results go, and would take it for that of the next mail.
func abandon() { runtime.Goexit() }

// read copies the mail to its end.
func (s *session) read(r io.Reader, dst io.Writer) error {
	if _, chunked := r.(*io.PipeReader); !chunked && s.conn.takesMail() {
		return s.conn.readMail(dst)
	}
	_, err := io.Copy(dst, r) // go-smtp pipes the chunks of BDAT
	return err
}

// deliver parses the mail and hands it over; on an error the spool is gone.
func (s *session) deliver(spool *translate.Spool, tx *transaction) (providers.Outcome, error) {
	tx.envelope.Complete = time.Now()
	tx.size = spool.Size()
	s.server.metrics.bytes.Observe(float64(tx.size))
	message, err := translate.Parse(spool, tx.envelope)
	if err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	_ = s.conn.flush() // the client hears of all before: the answer to this may be long in coming
	tx.progress = handed
	outcome := s.server.options.Delivery.Deliver(s.ctx, message)
	tx.progress = delivered
	if s.server.witness != nil {
		tx.before = s.conn.socket.look()
	}
	return outcome, nil
}

// turnDown refuses a mail that is not handed over.
func (s *session) turnDown(tx *transaction, refusal *providers.Error) providers.Outcome {
	if s.server.witness != nil {
		s.server.witness.Refused(tx.envelope, tx.size, refusal)
	}
	return providers.Fail(tx.envelope.Recipients, providers.Refused, refusal)
}

// refusalOf classifies what kept a mail from being handed over.
func refusalOf(err error) *providers.Error {
	switch {
	case errors.Is(err, translate.ErrTooLarge):
		return &providers.Error{Category: providers.TooLarge, Message: "larger than max_message_size", Cause: err}
	case errors.Is(err, translate.ErrMalformed):
		return &providers.Error{Category: providers.Malformed, Message: err.Error(), Cause: err}
	default:
		return &providers.Error{Category: providers.LocalFailure, Message: "the mail cannot be stored", Cause: err}
	}
}

// patient takes all: a [translate.SpoolWriter] keeps its first error for the
// end, and until then the mail must be read.
type patient struct{ writer *translate.SpoolWriter }

// Write implements [io.Writer].
func (p patient) Write(data []byte) (int, error) {
	_, _ = p.writer.Write(data)
	return len(data), nil
}

// record writes one line and counts once for each mail that came whole.
func (s *session) record(tx *transaction, outcome providers.Outcome) {
	status, level := accepted, slog.LevelInfo
	attrs := append(make([]slog.Attr, 0, 9), // nine, where a refusal has a cause
		slog.String("message_id", tx.envelope.BridgeID),
		slog.Int("recipients", len(tx.envelope.Recipients)),
		slog.Int64("bytes", tx.size),
		slog.Duration("dur", time.Since(tx.started)),
		slog.String("provider", outcome.Providers()),
	)
	if refusal := deciding(outcome); refusal != nil {
		status, level = statusOf(refusal), refusal.Category.Level()
		attrs = append(attrs, slog.String("category", string(refusal.Category)), slog.String("class", refusal.Class()))
		if refusal.Cause != nil && refusal.Category == providers.LocalFailure {
			attrs = append(attrs, slog.Any("err", refusal.Cause))
		}
	}
	s.log(level, "message answered", append(attrs, slog.Int("status", status.code)))
	s.server.metrics.answered(status)
}

// log writes the line that every mail has, without looking for the caller: that
// takes as long as to write the line, in which it does not show.
func (s *session) log(level slog.Level, msg string, attrs []slog.Attr) {
	handler := s.server.options.Logger.Handler()
	if !handler.Enabled(s.ctx, level) {
		return
	}
	line := slog.NewRecord(time.Now(), level, msg, 0)
	line.AddAttrs(attrs...)
	_ = handler.Handle(s.ctx, line) // the logger drops it, too
}

// Reset implements [smtp.Session]: nothing of one mail is there for the next.
// Nor does the reply to one wait for the next (RFC 2920, 3.2): it is on its way
// when go-smtp calls this.
func (s *session) Reset() {
	s.brokenOff()
	tx := s.open.Swap(nil)
	s.conn.finish()
	err := s.conn.flush() // the next read fails, too
	s.replied(tx, err == nil)
}

// Logout implements [smtp.Session]. A mail that is still open got no reply.
func (s *session) Logout() error {
	s.brokenOff()
	s.replied(s.open.Load(), false)
	_ = s.conn.flush() // the last words do not wait for a look
	s.looks.Wait()
	s.cancel()
	return nil
}

// brokenOff writes the line of an open transaction of which the rest did not come.
func (s *session) brokenOff() {
	err := s.conn.lost
	switch {
	case err == nil || s.open.Load() == nil:
		return
	case errors.Is(err, errShutdown):
		err = shuttingDown()
	}
	s.logRefused(s.id(), silent, err)
}

package smtpd

import "time"

// lookAgain is when a connection is looked at again whose client had closed its
// side before the reply was written: if it has gone altogether, the reply meets
// a reset, a round trip later.
const lookAgain = 50 * time.Millisecond

// progress is how far Delivery is with a mail.
type progress uint8

const (
	notHanded progress = iota // Delivery does not know it
	handed                    // Deliver has been called
	delivered                 // Deliver has returned
)

// replied tells Delivery whether the client was given its reply to tx, as soon
// as that is known. Written: all of it has left.
//
// A client that still had its side open when its reply was about to be written
// was there. So says one look, before the reply: after it, a client that has read
// it and left at once would look like one that had left without. A client that
// gave up waiting has closed the connection by then, and answers what it is sent
// with a reset. One that has closed only its own direction, as in printf | nc,
// looks the same until the reset comes, or does not. For these there is a second
// look, by a goroutine that the end of the session waits for, so that the socket
// stays open until then.
func (s *session) replied(tx *transaction, written bool) {
	witness := s.server.witness
	if witness == nil || tx == nil || tx.progress == notHanded {
		return
	}
	id := tx.envelope.BridgeID
	switch {
	case !written, tx.progress != delivered:
		witness.Replied(id, false)
	case tx.before == stillOpen:
		witness.Replied(id, true)
	case s.conn.socket.look() == wasReset:
		witness.Replied(id, false)
	default:
		s.looks.Go(func() {
			s.server.pause(s.ctx, lookAgain)
			witness.Replied(id, s.conn.socket.look() != wasReset)
		})
	}
}

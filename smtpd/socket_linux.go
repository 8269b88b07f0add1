package smtpd

import (
	"errors"

	"golang.org/x/sys/unix"
)

// look says what the client did, at the price of one system call. It takes
// nothing: no octets, and not the error that the next read or write is to meet.
// It sees an end that octets lie before, which a peek would not.
func (s socket) look() ending {
	if s.raw == nil {
		return stillOpen
	}
	poll := []unix.PollFd{{Events: unix.POLLRDHUP}}
	_ = s.raw.Control(func(fd uintptr) {
		poll[0].Fd = int32(fd)
		for {
			if _, err := unix.Poll(poll, 0); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	seen := poll[0].Revents
	switch {
	case seen&unix.POLLERR != 0:
		return wasReset
	case seen&unix.POLLHUP != 0 && !s.unix:
		// Both directions have ended, and we end none: a reset, of which a later
		// write has met the error. A unix socket has this, without an error, when
		// the client has closed it and left nothing unread.
		return wasReset
	case seen&unix.POLLRDHUP != 0:
		return halfClosed
	default:
		return stillOpen
	}
}

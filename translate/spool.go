package translate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	// memoryLimit is how much of a mail stays on the heap, in octets.
	memoryLimit = 256 << 10
	// readBuffer is how much NewSpool reads at once, in octets.
	readBuffer = 4 << 10
	// fileBuffer gathers what goes to a file, in octets.
	fileBuffer = 64 << 10
)

var (
	// ErrTooLarge says that the mail has more octets than the limit allows.
	ErrTooLarge = errors.New("message is larger than the limit")
	// ErrMalformed says that nobody could read the mail, or a directive in it.
	ErrMalformed = errors.New("message cannot be read")
)

// Limits bound what one mail may cost.
type Limits struct {
	// Size is the largest mail in octets, CRLF counted; 0 means no limit.
	Size int64
	// SpoolDir is where mails beyond 256 KiB go; it must exist.
	SpoolDir string
}

// Spool holds the bytes of one mail as received: in memory up to 256 KiB,
// beyond that in a file that is unlinked as soon as it is open, so that a crash
// leaves nothing behind. It goes with its last reader. Reads are safe for
// concurrent use.
type Spool struct {
	memory []byte
	file   *os.File
	size   int64

	mu   sync.Mutex // guards refs
	refs int        // the owner's, and one for each open reader
}

// NewSpool reads r to its end. It returns [ErrTooLarge] as soon as r has given
// more than limits.Size octets, without reading on; any other error is r's own
// or the disk's. After an error nothing is left behind.
func NewSpool(r io.Reader, limits Limits) (*Spool, error) {
	w := NewSpoolWriter(limits)
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, readBuffer)); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w.Spool()
}

// Size is the number of octets held.
func (s *Spool) Size() int64 { return s.size }

// Open gives n octets from off; what lies past the end is not there. The
// reader holds the spool until it is closed. Open fails with [os.ErrClosed]
// once the spool is gone.
func (s *Spool) Open(off, n int64) (io.ReadCloser, error) {
	if err := s.hold(); err != nil {
		return nil, err
	}
	return &spoolReader{SectionReader: *io.NewSectionReader(s, off, n), spool: s}, nil
}

// hold keeps the spool until a Close of its own.
func (s *Spool) hold() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs == 0 {
		return os.ErrClosed
	}
	s.refs++
	return nil
}

// ReadAt reads like [io.ReaderAt]. The caller must hold the spool open.
func (s *Spool) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	if off >= int64(len(s.memory)) {
		return 0, io.EOF
	}
	n := copy(p, s.memory[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// at is one octet.
func (s *Spool) at(off int64) (byte, error) {
	var octet [1]byte
	if _, err := s.ReadAt(octet[:], off); err != nil && err != io.EOF { //nolint:errorlint // ReadAt promises the bare value
		return 0, err
	}
	return octet[0], nil
}

// Close drops the owner's hold, or one of hold. It may be called once for each.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refs == 0 {
		return os.ErrClosed
	}
	s.refs--
	if s.refs > 0 {
		return nil
	}
	s.memory = nil
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// spoolReader reads a range and holds the spool until it is closed.
type spoolReader struct {
	io.SectionReader

	spool *Spool
	once  sync.Once
}

// Close may be called more than once: net/http does.
func (r *spoolReader) Close() error {
	var err error
	r.once.Do(func() { err = r.spool.Close() })
	return err
}

// SpoolWriter gathers a mail that arrives in blocks. Exactly one of Spool and
// Abort must be called.
type SpoolWriter struct {
	limits Limits
	buffer []byte
	file   *os.File
	size   int64
	err    error // the first failure; it stays
}

// NewSpoolWriter starts an empty mail.
func NewSpoolWriter(limits Limits) *SpoolWriter { return &SpoolWriter{limits: limits} }

// Write takes the next octets. After the first error, [ErrTooLarge] or the
// disk's, nothing more is kept and every call returns that error.
func (w *SpoolWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.size += int64(len(p))
	switch {
	case w.limits.Size > 0 && w.size > w.limits.Size:
		w.err = ErrTooLarge
	case w.file == nil && w.size <= memoryLimit:
		w.remember(p)
	default:
		w.err = w.toFile(p)
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// Spool hands the mail over. The writer must not be used afterwards.
func (w *SpoolWriter) Spool() (*Spool, error) {
	if w.err == nil && w.file != nil {
		w.err = w.flush()
	}
	if w.err != nil {
		return nil, errors.Join(w.err, w.Abort())
	}
	s := &Spool{file: w.file, size: w.size, refs: 1}
	if w.file == nil {
		s.memory = w.buffer
	}
	return s, nil
}

// Abort lets everything go.
func (w *SpoolWriter) Abort() error {
	w.buffer = nil
	if w.file == nil {
		return nil
	}
	file := w.file
	w.file = nil
	return file.Close()
}

// remember keeps p in memory. A short mail comes in one piece and takes no more
// than it needs; what goes on coming doubles, up to the limit.
func (w *SpoolWriter) remember(p []byte) {
	if need := len(w.buffer) + len(p); need > cap(w.buffer) {
		buffer := make([]byte, len(w.buffer), min(max(need, 2*cap(w.buffer)), memoryLimit))
		copy(buffer, w.buffer)
		w.buffer = buffer
	}
	w.buffer = append(w.buffer, p...)
}

func (w *SpoolWriter) toFile(p []byte) error {
	if w.file == nil {
		if err := w.spill(); err != nil {
			return err
		}
	}
	if len(w.buffer)+len(p) > cap(w.buffer) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(p) >= cap(w.buffer) {
		_, err := w.file.Write(p)
		return err
	}
	w.buffer = append(w.buffer, p...)
	return nil
}

// spill moves what is in memory to a new file without a name.
func (w *SpoolWriter) spill() error {
	file, err := os.CreateTemp(w.limits.SpoolDir, "mail-*")
	if err != nil {
		return fmt.Errorf("creating a spool file: %w", err)
	}
	w.file = file
	if err := os.Remove(file.Name()); err != nil {
		return fmt.Errorf("unlinking the spool file: %w", err)
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.buffer = make([]byte, 0, fileBuffer)
	return nil
}

func (w *SpoolWriter) flush() error {
	_, err := w.file.Write(w.buffer)
	w.buffer = w.buffer[:0]
	return err
}

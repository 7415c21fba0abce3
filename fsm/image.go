package fsm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/confman/confman/faultpoint"
)

// Image is the database as of its newest commit, pinned while it is being read.
// Its bytes make a file that Open opens at State.
//
// Until it is closed, bbolt uses none of its pages again, and of those that later
// commits add to the file, none either: meanwhile the database grows by every page
// written. Whoever holds an image bounds the time.
//
// Every reading gives the same bytes, whatever is applied and flushed beside it:
// the meta pages are made from the pinned commit, since those in the file are
// overwritten, and free pages, which later commits use, read as zeros. An image
// holds nothing in memory that grows with the database.
type Image struct {
	base   *base
	state  State
	metas  [2 * pageBytes]byte
	closed atomic.Bool
}

// OpenImage pins the newest commit. What was applied since is not in the image.
// Any goroutine. The image must be closed; Close of the store waits for that.
// ErrClosed; ErrDamaged if the state record is.
func (s *Store) OpenImage() (*Image, error) {
	p := s.acquire()
	if p == nil {
		return nil, ErrClosed
	}
	l, err := p.base.logical()
	if err != nil {
		p.base.release()
		return nil, fmt.Errorf("open image: %w", err)
	}
	i := &Image{base: p.base, state: l.state()}
	// Both lead to the same commit: should one be damaged later, the other does.
	// bbolt writes transaction n to meta page n%2, so the next one leaves the newer.
	m := p.base.pages.meta
	newer := m.txid % 2
	m.put(i.metas[newer*pageBytes:][:pageBytes], newer)
	m.txid--
	m.put(i.metas[(1-newer)*pageBytes:][:pageBytes], 1-newer)
	return i, nil
}

// State is the state that the image holds.
func (i *Image) State() State { return i.state }

// Size is the image's length in bytes, a multiple of the page size. The file may
// be longer: bbolt makes room ahead, and later commits grow it.
func (i *Image) Size() int64 { return int64(len(i.base.pages.mem)) }

// ReadAt reads from the image as io.ReaderAt does; io.EOF at its end. It reads
// the file, not the mapping, so what is streamed does not count as memory of this
// process. Any goroutine. ErrClosed; ErrDamaged if the file is too short; what
// the file system says.
func (i *Image) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("fsm: image: read at %d", off)
	}
	// The reference keeps the commit pinned should Close come meanwhile.
	if i.closed.Load() || !i.base.acquire() {
		return 0, ErrClosed
	}
	defer i.base.release()
	rest := max(i.Size()-off, 0)
	var end error
	if int64(len(p)) > rest {
		p, end = p[:rest], io.EOF
	}
	if off < int64(len(i.metas)) {
		n = copy(p, i.metas[off:])
	}
	if n < len(p) {
		m, err := i.base.of.file.ReadAt(p[n:], off+int64(n))
		if errors.Is(err, io.EOF) {
			err = damaged("the file ends before its %d pages", i.base.pages.meta.pages)
		}
		if err != nil {
			return n, fmt.Errorf("fsm: image: read at %d: %w", off+int64(n+m), err)
		}
		i.clearFree(p[n:], off+int64(n))
	}
	return len(p), end
}

// clearFree makes zeros of the free pages' bytes in p, read at off.
func (i *Image) clearFree(p []byte, off int64) {
	for len(p) > 0 {
		n := min(len(p), int(pageBytes-off%pageBytes))
		if i.base.pages.isFree(uint64(off / pageBytes)) {
			clear(p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

// Close unpins the commit. A second call does nothing. Any goroutine.
func (i *Image) Close() {
	if i.closed.CompareAndSwap(false, true) {
		i.base.release()
	}
}

// VerifyImage checks all of the database file at path, which nobody writes to,
// against its own state record, and returns that state: every page in use, every
// record's checksum, the tallies, the chain of the change log, the windows, the
// freelist and both meta pages. It reads the whole file once, with a few bits of
// memory for each page, and neither changes nor locks it. An image that it passes
// opens at the state returned.
//
// Errors: ErrDamaged, with the place; fs.ErrNotExist and what else the file
// system says.
func VerifyImage(path string, opts Options) (State, error) {
	st, err := verifyImage(path, opts.withDefaults())
	if err != nil {
		return State{}, fmt.Errorf("fsm: verify image %s: %w", path, err)
	}
	return st, nil
}

func verifyImage(path string, opts Options) (_ State, err error) {
	if err := faultpoint.Hit("fsm/before-verify"); err != nil {
		return State{}, err
	}
	file, err := os.Open(path) //nolint:gosec // the operator's data directory
	if err != nil {
		return State{}, err
	}
	s := &Store{opts: opts, database: newDatabase(file)}
	defer s.abandon()
	defer catchFault(debug.SetPanicOnFault(true), &err)
	txid, err := s.mapFile(unix.MADV_NORMAL)
	if err != nil {
		return State{}, err
	}
	b, err := s.readBase(txid)
	if err != nil {
		return State{}, err
	}
	if err := b.pages.verifyMetas(); err != nil {
		return State{}, err
	}
	l, err := b.logical()
	if err != nil {
		return State{}, err
	}
	var pass scrubber
	for {
		done, err := pass.step(b, verifyStepBytes)
		if err != nil {
			return State{}, err
		}
		if done {
			return l.state(), faultpoint.Hit("fsm/after-verify")
		}
		if opts.Pause != nil {
			opts.Pause()
		}
	}
}

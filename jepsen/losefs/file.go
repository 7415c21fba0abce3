package losefs

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// file is the content of an object, and what of it is not durable.
type file struct {
	syncing sync.Mutex // held by the one who syncs

	mu       sync.Mutex
	size     int64 // as it is
	kept     int64 // the durable length
	unlinked bool  // it has no name any more, and takes no room

	// What was overwritten, from the newest on: since the last sync began; since the one before, while it is under way; and by what a
	// sync that failed did not bring to the disk. nil: nothing.
	fresh, passing, doomed *layer
}

// layer is what writes have changed in some time.
type layer struct {
	size   int64            // of the file in the beginning
	low    int64            // its least size since
	pieces map[int64][]byte // what was there in the beginning, by number of the piece; nil: zeros, or beyond the end
}

// change begins a layer unless there is one. It needs mu.
func (f *file) change() *layer {
	if f.fresh == nil {
		f.fresh = &layer{size: f.size, low: f.size, pieces: map[int64][]byte{}}
	}
	return f.fresh
}

// remember notes what is in [from, to) now, before it is overwritten. It needs mu.
func (f *file) remember(in *os.File, from, to int64) error {
	l := f.change()
	first, end := from/PieceBytes, (to+PieceBytes-1)/PieceBytes
	var old []byte
	if known := min(end*PieceBytes, l.size); known > first*PieceBytes {
		old = make([]byte, known-first*PieceBytes)
		n, err := in.ReadAt(old, first*PieceBytes)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		old = old[:n]
	}
	for i := first; i < end; i++ {
		if _, ok := l.pieces[i]; ok {
			continue
		}
		at := (i - first) * PieceBytes
		if at >= int64(len(old)) {
			l.pieces[i] = nil
			continue
		}
		l.pieces[i] = nonZero(old[at:min(at+PieceBytes, int64(len(old)))])
	}
	return nil
}

// nonZero is a copy of b; nil if it is zeros only.
func nonZero(b []byte) []byte {
	for _, x := range b {
		if x != 0 {
			return append([]byte(nil), b...)
		}
	}
	return nil
}

// write is pwrite. A write for which there is no room is refused as a whole.
func (o *object) write(in *os.File, data []byte, off int64) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	end := off + int64(len(data))
	if err := o.grow(end); err != nil {
		return 0, err
	}
	if err := o.remember(in, off, end); err != nil {
		return 0, err
	}
	n, err := in.WriteAt(data, off)
	o.size = max(o.size, off+int64(n))
	return n, err
}

// allocate is fallocate that makes the file longer, or leaves it alone.
func (o *object) allocate(in *os.File, off, n int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.grow(off + n); err != nil {
		return err
	}
	o.change()
	if err := unix.Fallocate(int(in.Fd()), 0, off, n); err != nil {
		return err
	}
	o.size = max(o.size, off+n)
	return nil
}

// truncate is ftruncate.
func (o *object) truncate(in *os.File, size int64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.grow(size); err != nil {
		return err
	}
	l := o.change()
	if size < o.size {
		if err := o.remember(in, size, o.size); err != nil {
			return err
		}
	}
	if err := in.Truncate(size); err != nil {
		return err
	}
	if size < o.size && !o.unlinked {
		_ = o.disk.take(size - o.size) // what is given back is never refused
	}
	o.size = size
	l.low = min(l.low, size)
	return nil
}

// grow takes the room for a length. It needs mu.
func (o *object) grow(size int64) error {
	if size <= o.size || o.unlinked {
		return nil
	}
	if errno := o.disk.take(size - o.size); errno != 0 {
		return errno
	}
	return nil
}

// unlink gives back the room: the last name is gone.
func (o *object) unlink() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.unlinked {
		o.unlinked = true
		_ = o.disk.take(-o.size) // what is given back is never refused
	}
}

// sync is fsync.
func (o *object) sync(ctx context.Context) syscall.Errno {
	o.syncing.Lock()
	defer o.syncing.Unlock()
	o.mu.Lock()
	size := o.size
	o.passing, o.fresh = o.fresh, nil
	o.mu.Unlock()
	var names uint64
	if o.disk.o.KeepNames {
		names = o.parent.allChanges()
	}

	errno := o.disk.awaitSync(ctx)

	o.mu.Lock()
	switch {
	case errno == 0:
		o.kept = size
		if o.doomed != nil && o.passing != nil {
			maps.DeleteFunc(o.doomed.pieces, func(i int64, _ []byte) bool { _, again := o.passing.pieces[i]; return again })
		}
	case errno == syscall.EINTR || o.disk.powered() != 0:
		o.fresh = older(o.passing, o.fresh) // nothing became of it
	default:
		o.doomed = older(o.doomed, o.passing)
	}
	o.passing = nil
	o.mu.Unlock()
	if errno == 0 && o.disk.o.KeepNames {
		return o.parent.keep(names)
	}
	return errno
}

// older makes one layer of two, of which before is the older one.
func older(before, after *layer) *layer {
	if before == nil || after == nil {
		if before == nil {
			return after
		}
		return before
	}
	l := &layer{size: before.size, low: min(before.low, after.low), pieces: maps.Clone(after.pieces)}
	maps.Copy(l.pieces, before.pieces)
	return l
}

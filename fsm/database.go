package fsm

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// database is one bbolt file that is open, locked and mapped. A store has one, and while
// a Repack is under way a second, which then takes the place of the first: that is closed
// when nobody reads from it any more.
type database struct {
	db       *bbolt.DB // nil if it is only read
	file     *os.File
	mem      []byte       // mapped for reading, as long as Options.MmapBytes
	broken   atomic.Bool  // bbolt panicked: it is not called again
	refs     atomic.Int64 // the store's, and one for each base that is pinned
	verified bool         // the freelist names no page in use; of the goroutine that commits
}

// newDatabase takes file over. The caller holds the reference.
func newDatabase(file *os.File) *database {
	d := &database{file: file}
	d.refs.Store(1)
	return d
}

// mapMemory maps the file for reading. advice tells the kernel how it is read.
func (d *database) mapMemory(size, advice int) (err error) {
	if d.mem, err = unix.Mmap(int(d.file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map %d bytes: %w", size, err)
	}
	if err := unix.Madvise(d.mem, advice); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("madvise: %w", err)
	}
	return nil
}

func (d *database) openBolt(path string, opts Options) (err error) {
	defer d.catchBolt(debug.SetPanicOnFault(true), &err)
	d.db, err = bbolt.Open(path, 0o600, boltOptions(opts, d.file))
	return err
}

// release gives a reference back; the last one closes the file.
func (d *database) release() error {
	if d.refs.Add(-1) != 0 {
		return nil
	}
	var err error
	if d.db == nil || d.broken.Load() {
		// bbolt may hold its own locks, and is not asked to let go of its mapping, which keeps the file open.
		err = errors.Join(unix.Flock(int(d.file.Fd()), unix.LOCK_UN), d.file.Close())
	} else {
		err = d.db.Close()
	}
	if d.mem != nil {
		err = errors.Join(err, unix.Munmap(d.mem))
	}
	return err
}

// begin starts a bbolt transaction. bbolt panics with its locks held when no meta
// page is valid any more; the database is broken from then on.
func (d *database) begin(writable bool) (tx *bbolt.Tx, err error) {
	if d.broken.Load() {
		return nil, damaged("bbolt failed before")
	}
	defer d.catchBolt(debug.SetPanicOnFault(true), &err)
	return d.db.Begin(writable)
}

// update does all of do in one transaction.
func (d *database) update(do func(tx *bbolt.Tx) error) (err error) {
	tx, err := d.begin(true)
	if err != nil {
		return err
	}
	defer d.catchBolt(debug.SetPanicOnFault(true), &err)
	if err := do(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

// catchBolt turns any panic of bbolt into ErrDamaged and marks the database broken:
// bbolt may hold its locks, and is not called again.
func (d *database) catchBolt(before bool, err *error) {
	debug.SetPanicOnFault(before)
	if r := recover(); r != nil {
		d.broken.Store(true)
		*err = damaged("bbolt: %v", r)
	}
}

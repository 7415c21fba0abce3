package fsm

import (
	"runtime/debug"
	"sync/atomic"

	"go.etcd.io/bbolt"
)

// base is one committed transaction of the database, pinned by a bbolt read
// transaction that all its readers share: a read costs no transaction of its own.
//
// Invariant: while refs > 0, bbolt writes to none of its pages.
type base struct {
	store      *Store
	tx         *bbolt.Tx
	pages      *pages
	current    tree
	superseded tree
	answers    tree
	namespaces tree
	former     tree
	denied     tree
	changes    tree
	used       int64 // bytes of the pages in use
	refs       atomic.Int64
}

// openBase pins the newest transaction, which must be txid. The caller holds one
// reference.
func (s *Store) openBase(txid uint64) (b *base, err error) {
	tx, err := s.begin(false)
	if err != nil {
		return nil, err
	}
	if got := uint64(tx.ID()); got != txid {
		_ = tx.Rollback()
		return nil, damaged("the newest transaction is %d, not %d", got, txid)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
		}
	}()
	if b, err = s.readBase(txid); err != nil {
		return nil, err
	}
	b.tx = tx
	b.refs.Store(1)
	s.open.Add(1)
	return b, nil
}

// readBase reads transaction txid, which the caller has pinned or nobody writes
// to. There is no reference to give back.
func (s *Store) readBase(txid uint64) (_ *base, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	b := &base{store: s}
	size, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	if b.pages, err = newPages(s.mem[:min(int64(len(s.mem)), size.Size())], txid); err != nil {
		return nil, err
	}
	b.used = (int64(b.pages.meta.pages) - int64(b.pages.freeCount())) * pageBytes
	for in := current; in <= changes; in++ {
		if *b.tree(in), err = b.pages.openTree(in); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// acquire takes a reference, unless the last one is gone.
func (b *base) acquire() bool {
	for {
		n := b.refs.Load()
		if n == 0 {
			return false
		}
		if b.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release gives a reference back; the last one unpins the transaction, unless
// bbolt may hold the lock that it takes for that.
func (b *base) release() {
	if b.refs.Add(-1) == 0 {
		if !b.store.broken.Load() {
			_ = b.tx.Rollback() // fails only if it was done before
		}
		b.store.open.Done()
	}
}

// tree returns the tree of one of records, or of changes; the others are opened where they
// are needed.
func (b *base) tree(in bucket) *tree {
	must(in >= current && in <= changes, "bucket %s is not kept open", in)
	return [...]*tree{&b.current, &b.superseded, &b.answers, &b.namespaces, &b.former, &b.denied, &b.changes}[in-current]
}

// catchFault turns a fault of the mapped file, as when it was cut short under
// the mapping, into ErrDamaged, and sets back what SetPanicOnFault was. Other
// panics go on. Use: defer catchFault(debug.SetPanicOnFault(true), &err).
func catchFault(before bool, err *error) {
	debug.SetPanicOnFault(before)
	r := recover()
	if r == nil {
		return
	}
	fault, ok := r.(interface {
		error
		Addr() uintptr
	})
	if !ok {
		panic(r)
	}
	*err = damaged("the mapped file is not readable: %v", fault)
}

// begin starts a bbolt transaction. bbolt panics with its locks held when no meta
// page is valid any more; the store is broken from then on.
func (s *Store) begin(writable bool) (tx *bbolt.Tx, err error) {
	if s.broken.Load() {
		return nil, damaged("bbolt failed before")
	}
	defer s.catchBolt(debug.SetPanicOnFault(true), &err)
	return s.db.Begin(writable)
}

// catchBolt turns any panic of bbolt into ErrDamaged and marks the store broken:
// bbolt may hold its locks, and is not called again.
func (s *Store) catchBolt(before bool, err *error) {
	debug.SetPanicOnFault(before)
	if r := recover(); r != nil {
		s.broken.Store(true)
		*err = damaged("bbolt: %v", r)
	}
}

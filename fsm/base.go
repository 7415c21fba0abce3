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
	of         *database
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
func (s *Store) openBase(txid uint64) (b *base, err error) { return s.openBaseOf(s.database, txid) }

func (s *Store) openBaseOf(d *database, txid uint64) (b *base, err error) {
	tx, err := d.begin(false)
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
	if b, err = d.readBase(txid); err != nil {
		return nil, err
	}
	b.store, b.tx = s, tx
	b.refs.Store(1)
	d.refs.Add(1)
	s.open.Add(1)
	return b, nil
}

// readBase reads transaction txid, which the caller has pinned or nobody writes
// to. There is no reference to give back.
func (d *database) readBase(txid uint64) (_ *base, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	b := &base{of: d}
	size, err := d.file.Stat()
	if err != nil {
		return nil, err
	}
	if b.pages, err = newPages(d.mem[:min(int64(len(d.mem)), size.Size())], txid); err != nil {
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
		if !b.of.broken.Load() {
			_ = b.tx.Rollback() // fails only if it was done before
		}
		_ = b.of.release() // the last one of a file that another took the place of closes it
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

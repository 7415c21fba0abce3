package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/confman/confman/faultpoint"
)

// repackSuffix is what is added to the database's name for the copy that a Repack makes.
// It is worth nothing after a crash, and the next Open removes it.
const repackSuffix = ".pack"

// Repack makes a new file of the database in which no page is free, a part at a time,
// beside everything else, and then puts it in the place of the old one. bbolt never gives a
// file's pages back: without it, the file stays as large as it ever was.
//
// Invariant: of the buckets before in, and of in below next, the copy holds what the
// database's newest commit does. A step goes on from there by what the newest commit then
// is, and a Commit brings what it changes there into both. So there is no state of the past
// to be kept, in memory or in pages that could be free, however long it takes.
type Repack struct {
	s    *Store
	copy *database

	// Guarded by Store.packing:
	in      bucket // current and up while copying, 0 from then on
	next    string
	tallies map[bucket][]rangeTally // the copy's, once it is whole
	pass    scrubber                // over the copy
	ready   bool                    // all of the copy was checked
	failed  error                   // a Commit could not follow
}

// BeginRepack begins a copy beside the database. At most one is under way. Any goroutine.
// ErrClosed.
func (s *Store) BeginRepack() (*Repack, error) {
	s.packing.Lock()
	defer s.packing.Unlock()
	must(s.repack == nil, "BeginRepack while a repack is under way")
	if s.published.Load() == nil {
		return nil, ErrClosed
	}
	r := &Repack{s: s, in: current}
	if err := r.create(); err != nil {
		return nil, fmt.Errorf("fsm: repack %s: %w", s.path, err)
	}
	s.repack = r
	return r, nil
}

func (r *Repack) path() string { return r.s.path + repackSuffix }

// create makes the file, locked as the database's is, and the empty buckets in it.
func (r *Repack) create() (err error) {
	if err := os.Remove(r.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(r.path(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	r.copy = newDatabase(file)
	defer func() {
		if err != nil {
			err = errors.Join(err, r.copy.release(), os.Remove(r.path()))
		}
	}()
	opts := r.s.opts
	opts.NoSync = true // until it takes the other's place, nothing depends on it
	if err := r.copy.openBolt(r.path(), opts); err != nil {
		return err
	}
	if err := r.copy.mapMemory(opts.MmapBytes, unix.MADV_RANDOM); err != nil {
		return err
	}
	return r.copy.update(func(tx *bbolt.Tx) error {
		for in := current; in <= metadata; in++ {
			if _, err := tx.CreateBucket([]byte(in.String())); err != nil {
				return err
			}
		}
		return nil
	})
}

// Of tells whether r is a repack of s that is under way.
func (r *Repack) Of(s *Store) bool {
	if r == nil || r.s != s {
		return false
	}
	s.packing.Lock()
	defer s.packing.Unlock()
	return s.repack == r
}

// Step copies, or checks, about budget bytes; done says that nothing but Swap is left. Any
// goroutine; a Commit waits for it. After an error only Drop is left.
//
// Errors: ErrDamaged, if the database is, with the place; ErrClosed; ErrRepack, if the copy
// does not come out as the database is; what the file system says.
func (r *Repack) Step(budget int) (done bool, err error) {
	s := r.s
	s.packing.Lock()
	defer s.packing.Unlock()
	p := s.acquire()
	if p == nil || s.repack != r {
		return false, ErrClosed
	}
	defer p.base.release()
	switch {
	case r.failed != nil:
		return false, r.failed
	case r.ready:
		return true, nil
	case r.in != 0:
		err = r.extend(p.base, budget)
	default:
		err = r.check(budget)
	}
	if err != nil {
		return false, fmt.Errorf("fsm: repack %s: %w", s.path, err)
	}
	return r.ready, nil
}

// extend copies from where the last step stopped. What is small, and depends on all else,
// comes last, at once, so that flushes find the copy either whole or without any of it.
func (r *Repack) extend(b *base, budget int) error {
	in, next := r.in, r.next
	err := r.copy.update(func(tx *bbolt.Tx) (err error) {
		for ; in <= changes; in++ {
			if next, err = copyBucket(tx, b.tree(in), next, &budget); err != nil || next != "" {
				return err
			}
		}
		for ; in <= metadata; in++ {
			t, err := b.pages.openTree(in)
			if err != nil {
				return err
			}
			if _, err := copyBucket(tx, &t, "", nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.writeBehind(); err != nil {
		return err
	}
	if r.in, r.next = in, next; in <= metadata {
		return nil
	}
	r.in = 0
	return r.settle()
}

// copyBucket copies the records of t from key from on, and returns the key to go on with, ""
// at the end. budget is what is left of it; nil: there is no bound.
func copyBucket(tx *bbolt.Tx, t *tree, from string, budget *int) (next string, err error) {
	out := tx.Bucket([]byte(t.in.String()))
	out.FillPercent = fillOf(t.in)
	c := cursor{t: t, strict: true}
	for ok, err := c.seek([]byte(from)); ; ok, err = c.next() {
		if err != nil || !ok {
			return "", err
		}
		if budget != nil {
			if *budget <= 0 {
				return string(c.key), nil
			}
			*budget -= elementBytes + len(c.key) + len(c.val)
		}
		if _, err := unseal(t.in, string(c.key), c.val); err != nil {
			return "", err
		}
		if err := out.Put(c.key, c.val); err != nil {
			return "", err
		}
	}
}

// fillOf is how full the pages of a bucket are left that are split: what grows only at its
// end needs no room between.
func fillOf(in bucket) float64 {
	if in.hasTally() {
		return recordFill
	}
	return 1
}

// settle makes a second commit of what the first one made whole: if the newest meta page is
// lost, bbolt falls back to the commit before, and that must not be a part of a copy.
func (r *Repack) settle() error {
	err := r.copy.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(metadata.String()))
		return b.Put([]byte(metaKey), bytes.Clone(b.Get([]byte(metaKey))))
	})
	if err != nil {
		return err
	}
	b, err := r.open()
	if err != nil {
		return err
	}
	defer b.release()
	l, err := b.logical()
	if err != nil {
		return errRepack(err)
	}
	if r.tallies, err = b.tallies(&l); err != nil {
		return errRepack(err)
	}
	return nil
}

// open pins the copy's newest commit.
func (r *Repack) open() (*base, error) {
	tx, err := r.copy.begin(false)
	if err != nil {
		return nil, errRepack(err)
	}
	txid := uint64(tx.ID())
	if err := tx.Rollback(); err != nil {
		return nil, err
	}
	b, err := r.s.openBaseOf(r.copy, txid)
	return b, errRepack(err)
}

// writeBehind has the kernel begin to write what was copied, and does not wait: one sync of
// all of it at the end would hold up those of the log, on the same disk.
func (r *Repack) writeBehind() error {
	if r.s.opts.NoSync {
		return nil
	}
	return startWriting(r.copy.file)
}

// check does a step of what VerifyImage does at once, over the copy's newest commit. What
// it finds is no damage of the database: the copy is of no use.
func (r *Repack) check(budget int) error {
	b, err := r.open()
	if err != nil {
		return err
	}
	defer b.release()
	done, err := r.pass.step(b, budget)
	if err != nil || !done {
		return errRepack(err)
	}
	if err := b.pages.verifyMetas(); err != nil {
		return errRepack(err)
	}
	if err := r.sync(); err != nil { // most of it; Swap has little left to wait for
		return err
	}
	r.ready = true
	return nil
}

func (r *Repack) sync() error {
	if r.s.opts.NoSync {
		return nil
	}
	return r.copy.db.Sync()
}

// errRepack is err, of the copy, as what it says of the database: nothing.
func errRepack(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %v", ErrRepack, err) //nolint:errorlint // it must not be ErrDamaged
}

// follow brings into the copy what f, just committed, changed of what was copied.
// Store.packing is held.
func (r *Repack) follow(f *Flush) {
	if r.failed != nil {
		return
	}
	err := r.copy.update(func(tx *bbolt.Tx) error {
		if r.in == 0 {
			same := *f
			same.tallies = r.tallies
			return same.fill(tx)
		}
		for in := current; in <= min(r.in, denied); in++ {
			if err := r.followRecords(tx, f, in); err != nil {
				return err
			}
		}
		if r.in == changes {
			return r.followChanges(tx, f)
		}
		return nil
	})
	if err != nil {
		r.failed = fmt.Errorf("fsm: repack %s: following a flush: %w", r.s.path, errRepack(err))
	}
}

func (r *Repack) followRecords(tx *bbolt.Tx, f *Flush, in bucket) (err error) {
	b := tx.Bucket([]byte(in.String()))
	b.FillPercent = recordFill
	f.frozen.tree(in).Scan(func(e *entry) bool {
		switch {
		case in == r.in && e.key >= r.next:
			return false
		case e.value == nil:
			err = b.Delete([]byte(e.key))
		default:
			err = b.Put([]byte(e.key), e.value)
		}
		return err == nil
	})
	return err
}

// followChanges takes out what was copied of the change log and is compacted; what it grows
// by is yet to be copied.
func (r *Repack) followChanges(tx *bbolt.Tx, f *Flush) error {
	log := tx.Bucket([]byte(changes.String()))
	for rev := range f.compacted() {
		key := changeKey(rev)
		if key >= r.next {
			return nil
		}
		if err := log.Delete([]byte(key)); err != nil {
			return err
		}
	}
	return nil
}

// Swap puts the copy, which Step said is done, in the database's place, durably: a crash
// leaves the one or the other, of the same state. Called by the goroutine that commits, with
// no flush under way, beside Apply and readers; those read on from the file that they began
// with. Before it did anything of consequence, it fails with ErrRepack or ErrClosed; after any
// other error the node must stop, since nobody knows which file the next Open finds.
func (r *Repack) Swap() error {
	s := r.s
	s.packing.Lock()
	defer s.packing.Unlock()
	if s.repack != r {
		return ErrClosed
	}
	if r.failed != nil {
		return r.failed
	}
	must(r.ready, "a copy that is not whole is to be the database")
	next, err := r.open()
	if err != nil {
		return err
	}
	if err := r.equals(next); err != nil {
		next.release()
		return err
	}
	if err := r.rename(); err != nil {
		next.release()
		return fmt.Errorf("fsm: repack %s: %w", s.path, err)
	}
	r.copy.verified = true // as part of the check
	r.copy.db.NoSync, r.copy.db.NoGrowSync = s.opts.NoSync, s.opts.NoSync
	s.mu.Lock()
	old := s.base
	s.base = next
	if p := s.published.Load(); p != nil {
		s.publishLocked(&snapshot{state: p.state, policy: p.policy, denials: p.denials, active: p.active})
	}
	s.mu.Unlock()
	before := s.database
	s.database, s.tallies, s.repack = r.copy, r.tallies, nil
	old.release()
	_ = before.release() // it was read only, lately, and has no name any more
	return nil
}

// equals checks that b, the copy's, holds the state that the database does.
func (r *Repack) equals(b *base) error {
	got, err := b.logical()
	if err != nil {
		return errRepack(err)
	}
	want, err := r.s.base.logical()
	if err != nil {
		return err
	}
	if !slices.Equal(got.encode(), want.encode()) {
		return fmt.Errorf("fsm: repack %s: %w: it is at index %d, the database at %d, or their hashes differ", r.s.path, ErrRepack, got.applied, want.applied)
	}
	return nil
}

// rename makes the copy the database: durable first, then under its name.
func (r *Repack) rename() error {
	if err := r.sync(); err != nil {
		return err
	}
	if err := faultpoint.Hit("fsm/before-repack-rename"); err != nil {
		return err
	}
	if err := faultpoint.Rename(r.path(), r.s.path); err != nil {
		return err
	}
	if r.s.opts.NoSync {
		return nil
	}
	if err := syncDir(filepath.Dir(r.s.path)); err != nil {
		return err
	}
	return faultpoint.Hit("fsm/after-repack-rename")
}

// Drop gives the copy up. It does nothing if that was swapped, or its store is closed.
func (r *Repack) Drop() error {
	r.s.packing.Lock()
	defer r.s.packing.Unlock()
	if r.s.repack != r {
		return nil
	}
	r.s.repack = nil
	return errors.Join(r.copy.release(), os.Remove(r.path()))
}

// leaveRepack closes the copy with its store. The file is for the next Open to remove: by
// then its name may be that of another's.
func (s *Store) leaveRepack() {
	s.packing.Lock()
	defer s.packing.Unlock()
	if s.repack != nil {
		_ = s.repack.copy.release()
		s.repack = nil
	}
}

// PageBytes is what one page of the database takes.
const PageBytes = pageBytes

// Pages is how many pages the database has, and how many of them are free. Any goroutine.
func (s *Store) Pages() (all, free int) {
	p := s.acquire()
	if p == nil {
		return 0, 0
	}
	defer p.base.release()
	return int(p.base.pages.meta.pages), p.base.pages.freeCount()
}

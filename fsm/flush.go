package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"runtime/debug"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/confman/confman/faultpoint"
)

// Flush is a frozen overlay on its way into bbolt.
type Flush struct {
	s       *Store
	frozen  *overlay
	state   logical
	windows [][2][]byte // key and value of those that changed
	durable logical     // what the database holds; once Commit began
	written int         // pages, by Commit
	// tallies are those of the database that it is written to.
	tallies map[bucket][]rangeTally
}

// BeginFlush freezes the overlay. It is called by the goroutine that applies,
// with no other flush under way. It encodes the windows that changed, and takes
// no longer for a large overlay.
func (s *Store) BeginFlush() *Flush {
	f := &Flush{s: s, state: s.state}
	for _, node := range slices.Sorted(maps.Keys(s.windows)) {
		if w := s.windows[node]; w.dirty {
			f.windows = append(f.windows, [2][]byte{[]byte(windowKey(node)), w.encode()})
			w.dirty = false
		}
	}
	f.frozen = s.active.snapshot()
	s.active = newOverlay()
	active := s.active.snapshot()
	state := s.state.state()
	s.mu.Lock()
	defer s.mu.Unlock()
	must(s.frozen == nil, "BeginFlush while a flush is under way")
	s.frozen = f.frozen
	if s.published.Load() != nil {
		s.publishLocked(&snapshot{state: state, policy: s.policy, denials: s.state.denials, active: active})
	}
	return f
}

// Applied is the index that the database holds once Commit returned.
func (f *Flush) Applied() Index { return f.state.applied }

// Bytes is what the frozen overlay takes in memory.
func (f *Flush) Bytes() int { return f.frozen.bytes }

// Written is how many pages Commit wrote. Those that held the same before are free now.
func (f *Flush) Written() int { return f.written }

// Term is that of the entry at Applied.
func (f *Flush) Term() uint64 { return f.state.term }

// Commit writes the frozen overlay in one synced transaction, together with the
// applied index and all else the state is made of. Any goroutine, beside Apply
// and readers. After an error the node must stop: what a failed sync left on the
// disk is not known. IsFull tells an error for want of room.
func (f *Flush) Commit() error {
	s := f.s
	s.packing.Lock()
	defer s.packing.Unlock()
	f.tallies = s.tallies
	b := s.base // only Commit and Swap replace it, and Close, which comes after
	var err error
	if f.durable, err = b.logical(); err != nil {
		return fmt.Errorf("flush to index %d: %w", f.state.applied, err)
	}
	if f.durable.applied == f.state.applied {
		s.flushed(nil)
		return nil
	}
	if err := f.check(b); err != nil {
		return fmt.Errorf("flush to index %d: %w", f.state.applied, err)
	}
	txid := b.pages.meta.txid + 1
	if err := faultpoint.Hit("fsm/before-flush"); err != nil {
		return fmt.Errorf("flush to index %d: %w", f.state.applied, err)
	}
	if err := f.write(txid); err != nil {
		return fmt.Errorf("flush to index %d: %w", f.state.applied, err)
	}
	if err := faultpoint.Hit("fsm/after-flush"); err != nil {
		return fmt.Errorf("flush to index %d: %w", f.state.applied, err)
	}
	next, err := s.openBase(txid)
	if err != nil {
		return fmt.Errorf("flush to index %d: %w", f.state.applied, err)
	}
	s.flushed(next)
	if s.repack != nil {
		s.repack.follow(f)
	}
	return nil
}

// flushed lets readers go from the frozen overlay to next, which holds it; nil
// if the base held it all along.
func (s *Store) flushed(next *base) {
	s.mu.Lock()
	old := s.base
	if next != nil {
		s.base = next
	}
	s.frozen = nil
	if p := s.published.Load(); p != nil {
		s.publishLocked(&snapshot{state: p.state, policy: p.policy, denials: p.denials, active: p.active})
	}
	s.mu.Unlock()
	if next != nil {
		old.release()
	}
}

// check looks at every page that bbolt will go through to write, since it trusts
// them: a circle of pages would never end, and a page that claims too many
// overflow pages frees those of others. Before the first commit it also checks
// that the freelist names no page in use.
func (f *Flush) check(b *base) (err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	header := b.pages.mem[b.pages.meta.freelist*pageBytes:][:pageHeaderBytes]
	if !bytes.Equal(header, b.pages.freelist[:]) {
		return damaged("page %d: the freelist's header changed", b.pages.meta.freelist)
	}
	if !f.s.verified {
		if err := b.pages.verifyUse(); err != nil {
			return err
		}
		f.s.verified = true
	}
	if err := b.verifySmall(); err != nil {
		return err
	}
	for _, in := range records {
		v := pathVerifier{t: b.tree(in)}
		key := make([]byte, 0, MaxKeyBytes+endedBytes+1)
		f.frozen.tree(in).Scan(func(e *entry) bool {
			key = append(key[:0], e.key...)
			err = v.verify(key, e.value == nil)
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	v := pathVerifier{t: &b.changes}
	for rev := range f.compacted() {
		if err := v.verify([]byte(changeKey(rev)), true); err != nil {
			return err
		}
	}
	if len(f.frozen.changes) > 0 {
		return v.verify([]byte(changeKey(f.frozen.changes[0].revision)), false)
	}
	return nil
}

// compacted are the changes that the database holds and that go, in their order.
func (f *Flush) compacted() iter.Seq[Revision] {
	return func(yield func(Revision) bool) {
		next := gaps(f.state.gaps).after
		for rev := next(f.durable.floor); rev <= min(f.state.floor, f.durable.revision) && yield(rev); rev = next(rev) {
			continue
		}
	}
}

// verifySmall checks all pages of what is small: the root bucket, the windows,
// the tallies and the state record.
func (b *base) verifySmall() error {
	for _, in := range [...]bucket{names, windows, ranges, metadata} {
		t := b.pages.names()
		if in != names {
			var err error
			if t, err = b.pages.openTree(in); err != nil {
				return err
			}
		}
		c := cursor{t: &t, strict: true}
		ok, err := c.seek(nil)
		for ; ok && err == nil; ok, err = c.next() {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// write puts everything into one bbolt transaction, which must be txid.
func (f *Flush) write(txid uint64) (err error) {
	s := f.s
	tx, err := s.begin(true)
	if err != nil {
		return err
	}
	if got := uint64(tx.ID()); got != txid {
		_ = tx.Rollback()
		return damaged("bbolt began transaction %d instead of %d: the newest meta page is lost", got, txid)
	}
	defer s.catchBolt(debug.SetPanicOnFault(true), &err)
	err = f.fill(tx)
	if err == nil {
		err = faultpoint.Hit("fsm/inside-flush")
	}
	if err != nil {
		_ = tx.Rollback()
		return err
	}
	err = f.commit(tx)
	stats := tx.Stats()
	f.written = int(stats.GetPageAlloc() / pageBytes)
	return err
}

func (f *Flush) fill(tx *bbolt.Tx) error {
	for _, in := range records {
		if err := f.records(tx, in); err != nil {
			return err
		}
	}
	log := tx.Bucket([]byte(changes.String()))
	log.FillPercent = 1 // it only grows at its end
	for rev := range f.compacted() {
		if err := log.Delete([]byte(changeKey(rev))); err != nil {
			return err
		}
	}
	var key [8]byte
	for _, ch := range f.frozen.changes {
		if ch.revision <= f.state.floor {
			continue
		}
		binary.BigEndian.PutUint64(key[:], uint64(ch.revision))
		if err := log.Put(key[:], ch.value); err != nil {
			return err
		}
	}
	ws := tx.Bucket([]byte(windows.String()))
	for _, w := range f.windows {
		if err := ws.Put(w[0], w[1]); err != nil {
			return err
		}
	}
	return tx.Bucket([]byte(metadata.String())).Put([]byte(metaKey), f.state.encode())
}

// records writes the entries of one bucket and brings its ranges up to date.
func (f *Flush) records(tx *bbolt.Tx, in bucket) (err error) {
	tree := f.frozen.tree(in)
	if tree.Len() == 0 {
		return nil
	}
	b := tx.Bucket([]byte(in.String()))
	b.FillPercent = recordFill
	rs := f.tallies[in]
	touched := make([]bool, len(rs))
	at, key := 0, make([]byte, 0, MaxKeyBytes+endedBytes+1)
	tree.Scan(func(e *entry) bool {
		key = append(key[:0], e.key...)
		if e.value == nil {
			err = b.Delete(key)
		} else {
			err = b.Put(key, e.value)
		}
		for at+1 < len(rs) && rs[at+1].start <= e.key {
			at++
		}
		rs[at].tally.add(e.delta)
		touched[at] = true
		return err == nil
	})
	if err != nil {
		return err
	}
	if rs, err = resizeRanges(tx, in, rs, touched); err != nil {
		return err
	}
	f.tallies[in] = rs
	return addsUp(in, rs, *f.state.tally(in))
}

// pathVerifier checks the pages on the way to keys, each once as long as the
// keys ascend.
type pathVerifier struct {
	t *tree
	// hi is the first key that is not in the leaf verified last; nil: there is
	// none. Meaningful once a leaf was.
	hi     []byte
	inLeaf bool
	beside bool // the leaf's neighbours were verified too
}

// verify checks the path to key; with beside, also the pages next to it, with
// which bbolt merges a page that lost much.
func (v *pathVerifier) verify(key []byte, beside bool) error {
	if v.inLeaf && (v.hi == nil || bytes.Compare(key, v.hi) < 0) && (v.beside || !beside) {
		return nil
	}
	var lo, hi []byte
	id := v.t.root
	for range maxTreeDepth {
		n, err := v.enter(id, lo, hi)
		if err != nil {
			return err
		}
		if n.isLeaf {
			v.hi, v.inLeaf, v.beside = hi, true, beside
			return nil
		}
		i, err := n.descend(key)
		if err != nil {
			return err
		}
		if beside {
			if err := v.neighbours(n, i, lo, hi); err != nil {
				return err
			}
		}
		if lo, hi, err = n.bounds(i, lo, hi); err != nil {
			return err
		}
		id = n.child(i)
	}
	return damaged("bucket %s: deeper than %d pages", v.t.in, maxTreeDepth)
}

// enter checks page id. If a read or a put went over it in this transaction, its keys ascend: what
// bbolt could stumble over, places and lengths, is checked again, so close to its writing.
func (v *pathVerifier) enter(id uint64, lo, hi []byte) (node, error) {
	n, err := v.t.node(id) // there is such a page
	if err != nil {
		return node{}, err
	}
	if !v.t.pages.seen(id) {
		return v.t.visit(id, lo, hi, false)
	}
	if err := n.layout(v.t.in, false); err != nil {
		return node{}, err
	}
	return n, n.within(lo, hi)
}

// neighbours checks the children beside child i of n.
func (v *pathVerifier) neighbours(n node, i int, lo, hi []byte) error {
	for _, j := range [...]int{i - 1, i + 1} {
		if j < 0 || j >= n.n {
			continue
		}
		childLo, childHi, err := n.bounds(j, lo, hi)
		if err != nil {
			return err
		}
		if _, err := v.enter(n.child(j), childLo, childHi); err != nil {
			return err
		}
	}
	return nil
}

// verifyUse walks every page in use and checks that none is free, none is used
// twice, and that used and free ones are all there are. It reads the headers of
// leaves and all of the branches: once per start, beside everything else.
func (p *pages) verifyUse() error {
	used := make([]uint64, len(p.free))
	count := firstDataPage
	mark := func(page []byte, id uint64) error {
		for i := range uint64(len(page) / pageBytes) {
			at := id + i
			if p.isFree(at) || used[at/64]&(1<<(at%64)) != 0 {
				return damaged("page %d: used twice, or free", at)
			}
			used[at/64] |= 1 << (at % 64)
			count++
		}
		return nil
	}
	var walk func(id uint64, depth int) error
	walk = func(id uint64, depth int) error {
		if depth > maxTreeDepth {
			return damaged("page %d: deeper than %d pages", id, maxTreeDepth)
		}
		n, err := p.node(id)
		if err != nil {
			return err
		}
		if err := mark(n.b, id); err != nil || n.isLeaf {
			return err
		}
		for i := range n.n {
			if err := walk(n.child(i), depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk(p.meta.root, 0); err != nil {
		return err
	}
	for in := current; in <= metadata; in++ {
		t, err := p.openTree(in)
		if err != nil {
			return err
		}
		if t.root != 0 {
			if err := walk(t.root, 0); err != nil {
				return err
			}
		}
	}
	list, err := p.page(p.meta.freelist)
	if err != nil {
		return err
	}
	if err := mark(list, p.meta.freelist); err != nil {
		return err
	}
	if total := count + p.freeCount(); uint64(total) != p.meta.pages {
		return damaged("%d pages are used or free, of %d", total, p.meta.pages)
	}
	return nil
}

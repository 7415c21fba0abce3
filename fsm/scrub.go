package fsm

import (
	"cmp"
	"runtime/debug"
)

// scrubber is where a pass over the database stands. Each step reads the newest
// commit at its time; what it goes on from holds in every later one.
type scrubber struct {
	in bucket // what is checked next: one of records, or changes; 0: start a pass
	// next is the start of the range to go on from.
	next string
	// revision and chain are those of the last change checked.
	revision Revision
	chain    [32]byte
}

// Scrub checks about budget bytes of the database from where the last call
// stopped; done says that a whole pass ended. ErrDamaged names the place. One
// goroutine, beside everything else.
//
// A pass reads every page that is in use: the records of each range of keys, with
// their checksums, order and pages, against the tally kept of the range; the
// chain of the change log up to the state's head; the windows, the freelist and
// both meta pages. So it finds a record that is missing, which a read cannot. A
// step takes at least one range, of at most some thousand records.
func (s *Store) Scrub(budget int) (done bool, err error) {
	p := s.acquire()
	if p == nil {
		return false, ErrClosed
	}
	defer p.base.release()
	defer catchFault(debug.SetPanicOnFault(true), &err)
	if s.scrub.in == 0 {
		if err := s.scrubMetas(p); err != nil {
			return false, err
		}
	}
	return s.scrub.step(p.base, budget)
}

// scrubMetas checks both meta pages, unless a flush may be writing one of them
// just now: then the next pass does.
func (s *Store) scrubMetas(p *snapshot) error {
	err := p.base.pages.verifyMetas()
	after := s.published.Load()
	if p.frozen != nil || after == nil || after.frozen != nil || after.base != p.base {
		return nil
	}
	return err
}

func (sc *scrubber) step(b *base, budget int) (done bool, err error) {
	l, err := b.logical()
	if err != nil {
		return false, err
	}
	all, err := b.tallies(&l)
	if err != nil {
		return false, err
	}
	if sc.in == 0 {
		*sc = scrubber{in: current}
		if err := b.scrubHead(&l); err != nil {
			return false, err
		}
	}
	for ; sc.in.hasTally(); sc.in++ {
		if budget, err = sc.ranges(b, all[sc.in], budget); err != nil || budget <= 0 {
			return false, err
		}
	}
	if done, err = sc.log(b, &l, budget); done {
		*sc = scrubber{}
	}
	return done, err
}

// scrubHead checks what is read whole: the use of all pages as far as the
// freelist tells, and the windows.
func (b *base) scrubHead(l *logical) error {
	if _, err := b.pages.freeIDs(); err != nil {
		return err
	}
	if err := b.pages.verifyUse(); err != nil {
		return err
	}
	ws, err := b.windows()
	if err != nil {
		return err
	}
	var total sum
	for _, w := range ws {
		total.add(w.sum)
	}
	if total != l.windows {
		return damaged("bucket %s: does not add up to the state's sum", windows)
	}
	return nil
}

// ranges checks the ranges of bucket sc.in from sc.next on, and returns what is
// left of budget, 0 or less if it is used up before the last.
func (sc *scrubber) ranges(b *base, rs []rangeTally, budget int) (int, error) {
	var scratch []byte
	for i := findRange(rs, sc.next); i < len(rs); i++ {
		c := cursor{t: b.tree(sc.in), strict: true}
		var got tally
		ok, err := c.seek([]byte(rs[i].start))
		for ; ok && err == nil && (i+1 == len(rs) || string(c.key) < rs[i+1].start); ok, err = c.next() {
			key := string(c.key)
			if _, err := unseal(sc.in, key, c.val); err != nil {
				return 0, err
			}
			got.add(recordTally(&scratch, sc.in, key, c.val))
		}
		if err != nil {
			return 0, err
		}
		if got != rs[i].tally {
			return 0, damaged("bucket %s: the %d records from %q do not add up to the tally of %d",
				sc.in, got.count, rs[i].start, rs[i].tally.count)
		}
		budget -= c.read + pageBytes
		if i+1 == len(rs) {
			break
		}
		if sc.next = rs[i+1].start; budget <= 0 {
			return 0, nil
		}
	}
	sc.next = ""
	// The bucket is done, whatever is left of the budget.
	return max(budget, 1), nil
}

// log checks the chain of the change log from where the last step stopped, or from the
// floor, should it have risen above that.
func (sc *scrubber) log(b *base, l *logical, budget int) (done bool, err error) {
	c := cursor{t: &b.changes, strict: true}
	if sc.revision <= l.floor {
		sc.revision, sc.chain = l.floor, l.floorChain
		if ok, err := c.seek(nil); err != nil || ok && string(c.key) <= changeKey(l.floor) {
			return false, cmp.Or(err, chainError(l.floor, "it is still there, though compacted"))
		}
	}
	after := gaps(l.gaps).after
	from := sc.revision
	ok, err := c.seek([]byte(changeKey(from + 1)))
	for ; ok && err == nil; ok, err = c.next() {
		if c.read > budget && sc.revision > from { // one that is larger than the budget is one step
			return false, nil
		}
		ch, err := openChange(string(c.key), c.val)
		if err != nil {
			return false, asChainError(after(sc.revision), err)
		}
		if sc.chain, err = follow(sc.revision, after(sc.revision), sc.chain, &ch, c.val); err != nil {
			return false, err
		}
		sc.revision = ch.Revision
	}
	if err != nil {
		return false, err
	}
	if sc.revision != l.revision || sc.chain != l.chain {
		return false, chainError(sc.revision, "the log ends here, the state is at %d, or their hashes differ", l.revision)
	}
	return true, nil
}

// follow checks that ch, stored as value, is that of revision next and comes right after the change of
// revision rev with the chain before it, and returns the chain after it. Between the two may be a gap,
// if the chain says so, too.
func follow(rev, next Revision, before [32]byte, ch *Change, value []byte) ([32]byte, error) {
	if ch.Revision != next {
		return before, chainError(next, "it is missing; %d follows %d", ch.Revision, rev)
	}
	if gap := next > rev+1; gap && !ch.restores(rev) {
		return before, chainError(next, "it follows %d, and is no restore of that", rev)
	}
	if chainHash(before, ch.Revision, value[changeAt:]) != ch.Chain {
		return before, chainError(ch.Revision, "its hash does not follow from the one before")
	}
	return ch.Chain, nil
}

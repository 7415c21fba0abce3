package wal

import "sort"

// index knows where the live entries lie. It grows with the number of segments,
// conflicts, terms and each markBytes of log, not with the number of entries.
//
// Invariants: the spans are consecutive and cover [first, last]; so do the terms.
type index struct {
	first, last uint64
	termBefore  uint64 // term of the entry first-1; 0 if there never was one
	spans       []span
	terms       []termRun
}

// span is a run of live entries that lie one behind the other in one segment;
// between them are at most batch headers and hard states.
type span struct {
	segment     *segment
	first, last uint64
	end         int64  // where the newest entry that was ever in it ends
	closed      bool   // entries that were replaced follow: nothing can be added
	marks       []mark // ascending, the first is at first
}

// mark is where the record of an entry begins, and the CRC of the record before it.
type mark struct {
	index  uint64
	offset int64
	seed   uint32
}

// termRun: the entries from first to the next run have this term.
type termRun struct{ first, term uint64 }

// add enters the entries of a batch at off in s.
func (x *index) add(s *segment, off int64, batch []byte) {
	records(batch, func(at int64, seed uint32, r record) {
		if r.kind() == typeEntry {
			x.put(s, off+at, seed, r)
		}
	})
}

func (x *index) put(s *segment, off int64, seed uint32, r record) {
	i, term := r.index(), r.term()
	if i <= x.last {
		x.truncateBack(i)
	}
	if n := len(x.spans); n == 0 || x.spans[n-1].segment != s || x.spans[n-1].closed {
		x.spans = append(x.spans, span{segment: s, first: i, marks: []mark{{i, off, seed}}})
	}
	sp := &x.spans[len(x.spans)-1]
	sp.last, sp.end = i, off+int64(len(r))
	if off-sp.marks[len(sp.marks)-1].offset >= markBytes {
		sp.marks = append(sp.marks, mark{i, off, seed})
	}
	if n := len(x.terms); n == 0 || x.terms[n-1].term != term {
		x.terms = append(x.terms, termRun{i, term})
	}
	x.last = i
}

// truncateBack forgets the entries from i on. The slices are cut in place, so a
// reader must have copied what it needs.
func (x *index) truncateBack(i uint64) {
	n := sort.Search(len(x.spans), func(k int) bool { return x.spans[k].first >= i })
	clear(x.spans[n:])
	x.spans = x.spans[:n]
	if n > 0 {
		sp := &x.spans[n-1]
		sp.last, sp.closed = min(sp.last, i-1), true
		sp.marks = sp.marks[:sort.Search(len(sp.marks), func(k int) bool { return sp.marks[k].index >= i })]
	}
	x.terms = x.terms[:sort.Search(len(x.terms), func(k int) bool { return x.terms[k].first >= i })]
	x.last = i - 1
}

// term returns the term of the entry at i, in [first-1, last].
func (x *index) term(i uint64) uint64 {
	if i < x.first {
		return x.termBefore
	}
	return x.terms[sort.Search(len(x.terms), func(k int) bool { return x.terms[k].first > i })-1].term
}

// piece is a part of a read: the entries [lo, hi] of one span, read from a mark on.
type piece struct {
	segment *segment
	from    mark
	end     int64
	lo, hi  uint64
}

// plan returns the pieces that hold [lo, hi), which must be held.
func (x *index) plan(lo, hi uint64) []piece {
	var out []piece
	for k := sort.Search(len(x.spans), func(k int) bool { return x.spans[k].last >= lo }); k < len(x.spans) && x.spans[k].first < hi; k++ {
		sp := &x.spans[k]
		p := piece{segment: sp.segment, end: sp.end, lo: max(lo, sp.first), hi: min(hi-1, sp.last)}
		p.from = sp.marks[sort.Search(len(sp.marks), func(k int) bool { return sp.marks[k].index > p.lo })-1]
		out = append(out, p)
	}
	return out
}

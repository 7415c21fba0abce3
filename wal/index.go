package wal

import (
	"slices"
	"sort"
)

// index knows where the live entries lie. It grows with the number of segments,
// conflicts, terms and each markBytes of log, not with the number of entries.
//
// Invariants: the spans are consecutive and cover [first, last]; so do the terms.
type index struct {
	first, last uint64
	termBefore  uint64 // term of the entry first-1; 0 if there never was one
	spans       []span
	terms       []termRun

	marker   Marker   // the newest one held
	markerIn *segment // where it lies; nil: none is held
}

// span is a run of live entries that lie one behind the other in one segment;
// between them are at most batch headers, hard states and truncations.
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

// add enters the marker and the entries of a batch at off in s.
func (x *index) add(s *segment, off int64, batch []byte) {
	records(batch, func(at int64, seed uint32, r record) {
		switch r.kind() {
		case typeMarker:
			m := r.marker()
			*x = index{first: m.Index + 1, last: m.Index, termBefore: m.Term, marker: m, markerIn: s}
		case typeEntry:
			x.put(s, off+at, seed, r)
		default:
		}
	})
}

func (x *index) put(s *segment, off int64, seed uint32, r record) {
	i, term := r.index(), r.term()
	if i <= x.last {
		x.truncateBack(i)
	}
	if i < x.first {
		// Only while a log is opened: a marker must follow, or start finds that the log cannot begin where it does.
		x.first, x.termBefore = i, 0
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

// start returns where the log begins if s is its first segment, and the term of the
// entry before. ok is false if s cannot be the first: then it does not tell, together
// with the segments after it, what the log holds.
//
// If s is not behind the newest marker, all before that is dead, and the marker
// tells. Else the header of s does, unless an entry that it counts was replaced later.
func (x *index) start(s *segment) (first, term uint64, ok bool) {
	first, term = s.lastIndex+1, s.lastTerm
	if x.markerIn != nil && s.number <= x.markerIn.number {
		first, term = x.marker.Index+1, x.marker.Term
	}
	held := x.last + 1 // the first that lies in s or behind it
	if k := sort.Search(len(x.spans), func(k int) bool { return x.spans[k].segment.number >= s.number }); k < len(x.spans) {
		held = x.spans[k].first
	}
	return first, term, held == first
}

// truncateFront makes s, which start allows, the first segment.
func (x *index) truncateFront(s *segment) {
	x.first, x.termBefore, _ = x.start(s)
	x.spans = slices.Delete(x.spans, 0, sort.Search(len(x.spans), func(k int) bool { return x.spans[k].first >= x.first }))
	n := sort.Search(len(x.terms), func(k int) bool { return x.terms[k].first > x.first })
	if x.first > x.last {
		x.terms = nil
	} else {
		x.terms = slices.Delete(x.terms, 0, n-1)
		x.terms[0].first = x.first
	}
	if x.markerIn != nil && x.markerIn.number < s.number {
		x.marker, x.markerIn = Marker{}, nil
	}
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

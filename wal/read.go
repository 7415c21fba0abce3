package wal

import (
	"fmt"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// FirstIndex is the index of the oldest entry held (or that the first will have). It
// rises when the log is truncated or a snapshot takes its place.
func (l *Log) FirstIndex() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.index.first
}

// LastIndex is the index of the newest entry; FirstIndex-1 when there is none.
func (l *Log) LastIndex() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.index.last
}

// Term returns the term of the entry at index, in [FirstIndex-1, LastIndex].
//
// Errors: ErrCompacted, below that.
func (l *Log) Term(index uint64) (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	first, last := l.index.first, l.index.last
	if index < first-1 || index > last {
		return 0, notHeld(fmt.Sprintf("term of %d", index), index+1, first, last)
	}
	return l.index.term(index), nil
}

// notHeld is the error of a read of what, whose lowest entry is lo, from a log of first to last.
func notHeld(what string, lo, first, last uint64) error {
	if lo < first {
		return fmt.Errorf("wal: %s: %w: the log holds %d to %d", what, ErrCompacted, first, last)
	}
	return fmt.Errorf("wal: %s: the log holds %d to %d", what, first, last)
}

// Entries reads the entries in [lo, hi), at most maxBytes of them (as they lie on
// disk: 32 bytes and the data, padded) but at least one. All of [lo, hi) must be held.
// The entries are the caller's.
//
// Errors: ErrCompacted, if lo is below FirstIndex; ErrDamaged, with segment and
// offset, if what lies there is not what was written: the checksums are verified again.
func (l *Log) Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error) {
	l.mu.RLock()
	first, last := l.index.first, l.index.last
	var pieces []piece
	if first <= lo && lo < hi && hi <= last+1 {
		pieces = l.index.plan(lo, hi)
	}
	for _, p := range pieces {
		p.segment.hold()
	}
	l.mu.RUnlock()
	if lo == hi {
		return nil, nil
	}
	if pieces == nil {
		return nil, notHeld(fmt.Sprintf("entries [%d, %d)", lo, hi), lo, first, last)
	}
	defer func() {
		for _, p := range pieces {
			p.segment.release()
		}
	}()
	// The read goes on without the lock: entries are never overwritten where they
	// lie, what replaces one of these is elsewhere, and a file is not closed under it.
	buf := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buf)
	r := entryReader{maxBytes: maxBytes, buf: *buf}
	defer func() { *buf = r.buf }()
	for _, p := range pieces {
		if full, err := r.read(p); full || err != nil {
			return r.entries, err
		}
	}
	return r.entries, nil
}

// readBuffers are of Entries, which copies what it returns.
var readBuffers = sync.Pool{New: func() any { return new([]byte) }}

// entryReader collects entries.
type entryReader struct {
	entries  []*raftpb.Entry
	bytes    uint64
	maxBytes uint64
	buf      []byte
}

// read adds the entries of p and says whether maxBytes was reached.
func (er *entryReader) read(p piece) (full bool, err error) {
	s := p.segment
	w := window{file: s.file, end: p.end, chunk: readChunkBytes, buf: er.buf[:0]}
	defer func() {
		er.buf = w.buf
		if err != nil {
			er.entries = nil
		}
	}()
	off, seed := p.from.offset, p.from.seed
	for next := p.from.index; next <= p.hi; {
		r, err := readRecord(&w, s, off)
		if err != nil {
			return false, err
		}
		if r.kind() == typeBatch {
			if _, ok := decodeBatchHeader(r, s.seed, off); !ok {
				return false, damagedRead(s, off)
			}
		} else if !r.verify(seed) || !r.wellFormed() {
			return false, damagedRead(s, off)
		}
		if r.kind() == typeEntry {
			if r.index() != next {
				return false, damagedRead(s, off)
			}
			if next >= p.lo {
				if er.bytes += uint64(len(r)); er.bytes > er.maxBytes && len(er.entries) > 0 {
					return true, nil
				}
				er.entries = append(er.entries, newEntry(r))
			}
			next++
		}
		seed = r.crc()
		off += int64(len(r))
	}
	return false, nil
}

func readRecord(w *window, s *segment, off int64) (record, error) {
	if w.end-off < recordHeaderBytes {
		return nil, damagedRead(s, off)
	}
	b, err := w.at(off, recordHeaderBytes)
	if err != nil {
		return nil, fmt.Errorf("wal: segment %s at %d: %w", s.name, off, err)
	}
	size := recordSize(b)
	if size == 0 || size > w.end-off {
		return nil, damagedRead(s, off)
	}
	b, err = w.at(off, size)
	if err != nil {
		return nil, fmt.Errorf("wal: segment %s at %d: %w", s.name, off, err)
	}
	return b, nil
}

func damagedRead(s *segment, off int64) error {
	return damaged(s.name, off, "the record is not what was written")
}

// newEntry makes an entry of r, with a copy of its data, in two allocations.
func newEntry(r record) *raftpb.Entry {
	e := &struct {
		entry       raftpb.Entry
		index, term uint64
		kind        raftpb.EntryType
	}{index: r.index(), term: r.term(), kind: r.entryType()}
	e.entry.Index, e.entry.Term, e.entry.Type = &e.index, &e.term, &e.kind
	if data := r.data(); len(data) > 0 {
		e.entry.Data = append(make([]byte, 0, len(data)), data...)
	}
	return &e.entry
}

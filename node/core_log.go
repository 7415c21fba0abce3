package node

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
)

// tail is the log as raft reads it (raft.Storage): the newest durable entries
// in memory, older ones through LogReader.
//
// Invariants: entries are consecutive and end at last, the newest entry whose
// Append was acknowledged; raft itself holds what is still being appended. Nothing
// below first is given out: it goes, or has gone, from the log.
type tail struct {
	log      LogReader
	mark     func(string) // Settings.mark
	hard     *raftpb.HardState
	conf     *raftpb.ConfState
	image    *raftpb.SnapshotMetadata // of an image that could be sent now; nil: none
	entries  []*raftpb.Entry
	bytes    int
	maxBytes int
	first    uint64
	last     uint64
	sizes    logSizes
	// before and beforeTerm cache the last term read from the log: raft asks for
	// the entry before the one it sends again and again.
	before, beforeTerm uint64
}

// logReadError carries an error of LogReader through raft, which would make it a
// panic of its own, to Core.Step.
type logReadError struct{ err error }

func newTail(cfg Config) (*tail, error) {
	first, last := cfg.Log.FirstIndex(), cfg.Log.LastIndex()
	// What the log gave up was applied, and so committed.
	applied := first - 1
	if cfg.Damaged == nil {
		applied = uint64(cfg.State.Applied)
		if err := consistent(cfg.Log, cfg.State); err != nil {
			return nil, err
		}
	}
	hs := cfg.HardState
	if hs == nil {
		hs = &raftpb.HardState{}
	}
	if hs.GetCommit() > last {
		return nil, fmt.Errorf("node: index %d was committed, the log ends at %d: %w", hs.GetCommit(), last, ErrInconsistent)
	}
	return &tail{
		log:  cfg.Log,
		mark: cfg.mark,
		// The commit index is not synced of its own; what was applied was committed.
		hard:     &raftpb.HardState{Term: new(hs.GetTerm()), Vote: new(hs.GetVote()), Commit: new(max(hs.GetCommit(), applied))},
		conf:     confStateOf(cfg.State.Conf),
		maxBytes: cfg.TailBytes,
		first:    first,
		last:     last,
		sizes:    logSizes{marks: []sizeMark{{index: last}}, maxBytes: max(cfg.CatchUpBytes, 0)},
	}, nil
}

// consistent holds the store against the log: it must stand in it, at an entry of the same term.
func consistent(log LogReader, state fsm.State) error {
	first, last, applied := log.FirstIndex(), log.LastIndex(), uint64(state.Applied)
	if applied+1 < first || applied > last {
		return fmt.Errorf("node: the store is at index %d, the log holds %d to %d: %w", applied, first, last, ErrInconsistent)
	}
	if applied == 0 {
		return nil
	}
	term, err := log.Term(applied)
	if err != nil {
		return err
	}
	if term != state.Term {
		return fmt.Errorf("node: the store applied index %d at term %d, the log has it at term %d: %w", applied, state.Term, term, ErrInconsistent)
	}
	return nil
}

// append adds entries whose Append was acknowledged; from the first of them on
// they replace what was there.
func (t *tail) append(ents []*raftpb.Entry) {
	if len(ents) == 0 {
		return
	}
	lo := ents[0].GetIndex()
	must(lo <= t.last+1, "append of index %d behind %d", lo, t.last)
	if lo <= t.last {
		t.mark("entries of the log replaced")
	}
	keep := len(t.entries) - int(min(t.last+1-lo, uint64(len(t.entries))))
	for _, e := range t.entries[keep:] {
		t.bytes -= entryBytes(e)
	}
	clear(t.entries[keep:])
	t.entries = append(t.entries[:keep], ents...)
	for _, e := range ents {
		t.bytes += entryBytes(e)
	}
	t.last = ents[len(ents)-1].GetIndex()
	t.sizes.add(ents)
	if lo <= t.before {
		t.before, t.beforeTerm = 0, 0
	}
	t.trim()
}

func (t *tail) trim() {
	drop := 0
	for t.bytes > t.maxBytes && drop < len(t.entries) {
		t.bytes -= entryBytes(t.entries[drop])
		t.entries[drop] = nil
		drop++
	}
	t.entries = t.entries[drop:]
}

// entryBytes is what an entry counts for in the tail: its data and about what it takes besides.
func entryBytes(e *raftpb.Entry) int { return len(e.GetData()) + 64 }

// memFirst is the index of the oldest entry in memory.
func (t *tail) memFirst() uint64 { return t.last + 1 - uint64(len(t.entries)) }

// InitialState is part of raft.Storage.
func (t *tail) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return t.hard, t.conf, nil
}

// Entries is part of raft.Storage.
func (t *tail) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	must(lo <= hi && hi <= t.last+1, "entries [%d, %d) of a log that ends at %d", lo, hi, t.last)
	if lo < t.first {
		return nil, raft.ErrCompacted
	}
	if mem := t.memFirst(); lo >= mem {
		ents := t.entries[lo-mem : hi-mem]
		size := uint64(0)
		for i, e := range ents {
			if size += uint64(entryBytes(e)); size > maxSize && i > 0 {
				ents = ents[:i]
				break
			}
		}
		// A copy: the caller keeps it in messages, while append and trim reuse the array.
		return slices.Clone(ents), nil
	}
	t.mark("entries read from the disk")
	ents, err := t.log.Entries(lo, min(hi, t.memFirst()), min(maxSize, uint64(maxLogReadBytes)))
	if err != nil {
		panic(logReadError{err})
	}
	must(len(ents) > 0 && ents[0].GetIndex() == lo, "the log read from %d gave %d entries", lo, len(ents))
	return ents, nil
}

// Term is part of raft.Storage.
func (t *tail) Term(i uint64) (uint64, error) {
	if i > t.last {
		return 0, raft.ErrUnavailable
	}
	if i+1 < t.first {
		return 0, raft.ErrCompacted
	}
	if mem := t.memFirst(); i >= mem {
		return t.entries[i-mem].GetTerm(), nil
	}
	if i == t.before && i != 0 {
		return t.beforeTerm, nil
	}
	t.mark("term read from the disk")
	term, err := t.log.Term(i)
	if err != nil {
		panic(logReadError{err})
	}
	t.before, t.beforeTerm = i, term
	return term, nil
}

// LastIndex is part of raft.Storage.
func (t *tail) LastIndex() (uint64, error) { return t.last, nil }

// FirstIndex is part of raft.Storage.
func (t *tail) FirstIndex() (uint64, error) { return t.first, nil }

// Snapshot is part of raft.Storage. It says which image could be sent; the image
// that the driver then opens may be newer.
func (t *tail) Snapshot() (*raftpb.Snapshot, error) {
	if t.image == nil {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return &raftpb.Snapshot{Metadata: t.image}, nil
}

// giveUp lets go of the entries up to index, which the log is about to lose.
func (t *tail) giveUp(index uint64) {
	must(index >= t.first && index <= t.last, "the log holds %d to %d and cannot give up %d", t.first, t.last, index)
	t.first = index + 1
}

// logSizes knows about how many bytes of entries came after an index, as far as this
// process has appended them.
type logSizes struct {
	maxBytes int
	total    int
	marks    []sizeMark // ascending; the first is the last that maxBytes have come after
}

// sizeMark says that total bytes of entries had been appended when index was.
type sizeMark struct {
	index uint64
	total int
}

// sizeMarks is about how many marks there are: how finely the bytes are known.
const sizeMarks = 64

func (s *logSizes) add(ents []*raftpb.Entry) {
	for _, e := range ents {
		s.total += entryBytes(e)
	}
	index := ents[len(ents)-1].GetIndex()
	newest := &s.marks[len(s.marks)-1]
	if s.total-newest.total > s.maxBytes/sizeMarks {
		s.marks = append(s.marks, sizeMark{index: index, total: s.total})
	}
	drop := 0
	for drop+1 < len(s.marks) && s.total-s.marks[drop+1].total >= s.maxBytes {
		drop++
	}
	s.marks = s.marks[drop:]
}

// enough is the index after which there are at least maxBytes of entries; 0: none is known.
func (s *logSizes) enough() uint64 {
	if m := s.marks[0]; s.total-m.total >= s.maxBytes {
		return m.index
	}
	return 0
}

// restart makes the tail that of a log which goes on after a snapshot.
func (t *tail) restart(index, term uint64, conf *raftpb.ConfState) {
	clear(t.entries)
	t.entries, t.bytes = t.entries[:0], 0
	t.first, t.last = index+1, index
	t.before, t.beforeTerm = index, term
	t.conf = conf
}

func (t *tail) check() {
	must(t.first <= t.last+1, "the tail gives out %d to %d", t.first, t.last)
	n := 0
	for want, i := t.memFirst(), 0; i < len(t.entries); want, i = want+1, i+1 {
		e := t.entries[i]
		if e.GetIndex() != want { // must's arguments would be on the heap, for each entry of each step
			must(false, "entry %d of the tail has index %d, want %d", i, e.GetIndex(), want)
		}
		n += entryBytes(e)
	}
	must(n == t.bytes, "the tail counts %d bytes, has %d", t.bytes, n)
}

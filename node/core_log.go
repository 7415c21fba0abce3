package node

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// tail is the log as raft reads it (raft.Storage): the newest durable entries
// in memory, older ones through LogReader.
//
// Invariants: entries are consecutive and end at last, the newest entry whose
// Append was acknowledged; raft itself holds what is still being appended.
type tail struct {
	log      LogReader
	hard     *raftpb.HardState
	conf     *raftpb.ConfState
	entries  []*raftpb.Entry
	bytes    int
	maxBytes int
	last     uint64
	// before and beforeTerm cache the last term read from the log: raft asks for
	// the entry before the one it sends again and again.
	before, beforeTerm uint64
}

// logReadError carries an error of LogReader through raft, which would make it a
// panic of its own, to Core.Step.
type logReadError struct{ err error }

func newTail(cfg Config) (*tail, error) {
	first, last := cfg.Log.FirstIndex(), cfg.Log.LastIndex()
	applied := uint64(cfg.State.Applied)
	if applied+1 < first || applied > last {
		return nil, fmt.Errorf("node: the store is at index %d, the log holds %d to %d: %w", applied, first, last, ErrInconsistent)
	}
	if applied >= first {
		term, err := cfg.Log.Term(applied)
		if err != nil {
			return nil, err
		}
		if term != cfg.State.Term {
			return nil, fmt.Errorf("node: the store applied index %d at term %d, the log has it at term %d: %w", applied, cfg.State.Term, term, ErrInconsistent)
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
		log: cfg.Log,
		// The commit index is not synced of its own; what was applied was committed.
		hard:     &raftpb.HardState{Term: new(hs.GetTerm()), Vote: new(hs.GetVote()), Commit: new(max(hs.GetCommit(), applied))},
		conf:     confStateOf(cfg.State.Conf),
		maxBytes: cfg.TailBytes,
		last:     last,
	}, nil
}

// append adds entries whose Append was acknowledged; from the first of them on
// they replace what was there.
func (t *tail) append(ents []*raftpb.Entry) {
	if len(ents) == 0 {
		return
	}
	lo := ents[0].GetIndex()
	must(lo <= t.last+1, "append of index %d behind %d", lo, t.last)
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
	if lo < t.log.FirstIndex() {
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
	if mem := t.memFirst(); i >= mem {
		return t.entries[i-mem].GetTerm(), nil
	}
	if i+1 < t.log.FirstIndex() {
		return 0, raft.ErrCompacted
	}
	if i == t.before && i != 0 {
		return t.beforeTerm, nil
	}
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
func (t *tail) FirstIndex() (uint64, error) { return t.log.FirstIndex(), nil }

// Snapshot is part of raft.Storage. The log is whole from index 1, so nobody needs one.
func (t *tail) Snapshot() (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}

func (t *tail) check() {
	n := 0
	for i, e := range t.entries {
		must(e.GetIndex() == t.memFirst()+uint64(i), "entry %d of the tail has index %d, want %d", i, e.GetIndex(), t.memFirst()+uint64(i))
		n += entryBytes(e)
	}
	must(n == t.bytes, "the tail counts %d bytes, has %d", t.bytes, n)
}

package sim

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/wal"
)

// shadow is what a node's log was given and what of it is durable, kept beside the
// log to hold it to that. It survives crashes.
type shadow struct {
	terms   []uint64 // of the entries written, from index 1
	durable int      // how many of terms a sync covers
	// term and vote were written last; the durable ones are what a sync covered.
	term, vote               uint64
	durableTerm, durableVote uint64
}

// begun: from here on a crash may leave what b replaces, or what it brings. Raft
// replaces only what no quorum has, so that either will do.
func (s *shadow) begun(b wal.Batch) {
	if b.Snapshot != nil {
		s.durable = min(s.durable, int(b.Snapshot.Index))
		return
	}
	if len(b.Entries) > 0 {
		s.durable = min(s.durable, int(b.Entries[0].GetIndex())-1)
	}
}

// appended takes what was written. What a snapshot stands for is what all applied.
func (s *shadow) appended(b wal.Batch, applied []slot) {
	if b.Snapshot != nil {
		s.compact(int(b.Snapshot.Index), applied)
		s.terms = s.terms[:b.Snapshot.Index]
	}
	if hs := b.HardState; hs != nil {
		s.term, s.vote = hs.GetTerm(), hs.GetVote()
	}
	if len(b.Entries) == 0 {
		return
	}
	before := int(b.Entries[0].GetIndex()) - 1
	s.terms = s.terms[:before]
	for _, e := range b.Entries {
		s.terms = append(s.terms, e.GetTerm())
	}
}

// compact makes the first n entries those that were applied: the log has them no more.
func (s *shadow) compact(n int, applied []slot) {
	for len(s.terms) < n {
		s.terms = append(s.terms, 0)
	}
	for i := range n {
		s.terms[i] = applied[i].term
	}
}

func (s *shadow) synced() {
	s.durable = len(s.terms)
	s.durableTerm, s.durableVote = s.term, s.vote
}

// holds tells whether the entry at index is durable and of that term.
func (s *shadow) holds(index, term uint64) bool {
	return index <= uint64(s.durable) && s.terms[index-1] == term
}

// recovered holds what a log recovered against what was durable. What is there
// now counts as durable from here on: the node acts on it.
func (s *shadow) recovered(log *wal.Log, hs *raftpb.HardState, applied []slot) error {
	if hs.GetTerm() < s.durableTerm || (hs.GetTerm() == s.durableTerm && s.durableVote != 0 && hs.GetVote() != s.durableVote) {
		return fmt.Errorf("the log comes back with term %d and vote for %d, durable were term %d and vote for %d",
			hs.GetTerm(), hs.GetVote(), s.durableTerm, s.durableVote)
	}
	last := int(log.LastIndex())
	if last < s.durable {
		return fmt.Errorf("the log comes back with %d entries, %d were durable", last, s.durable)
	}
	// Terms never fall, so that the same term at the end means the same entries
	// before; a few more are looked at for the log's own mistakes.
	const look = 64
	first := int(log.FirstIndex())
	if first-1 > len(applied) {
		return fmt.Errorf("the log comes back from entry %d on, nobody applied more than %d", first, len(applied))
	}
	s.compact(first-1, applied)
	s.durable = max(s.durable, first-1)
	for i := max(1, first-1, s.durable-look); i <= s.durable; i++ {
		term, err := log.Term(uint64(i))
		if err != nil {
			return err
		}
		if term != s.terms[i-1] {
			return fmt.Errorf("the log comes back with entry %d of term %d, durable was one of term %d", i, term, s.terms[i-1])
		}
	}
	s.terms = s.terms[:s.durable]
	for i := s.durable + 1; i <= last; i++ {
		term, err := log.Term(uint64(i))
		if err != nil {
			return err
		}
		s.terms = append(s.terms, term)
	}
	s.term, s.vote = hs.GetTerm(), hs.GetVote()
	s.synced()
	return nil
}

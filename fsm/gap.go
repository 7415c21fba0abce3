package fsm

// A restore continues the revisions of a backup behind a gap: what the old cluster did after the backup
// is lost, and a number that somebody remembers from there must not come to mean something else. Who
// goes from revision to revision goes by after and before.

// RestoreGap is how far a restored cluster's first revision is from the newest of the backup.
const RestoreGap = 1 << 32

// gaps ascend, and do not overlap.
type gaps []Gap

// at is the gap that rev is in, itself no revision that ever was.
func (gs gaps) at(rev Revision) (Gap, bool) {
	for _, g := range gs {
		if g.From < rev && rev < g.To {
			return g, true
		}
	}
	return Gap{}, false
}

// after is the revision that comes after rev.
func (gs gaps) after(rev Revision) Revision {
	for _, g := range gs {
		if g.From <= rev && rev < g.To {
			return g.To
		}
	}
	return rev + 1
}

// before is the revision that comes before rev.
func (gs gaps) before(rev Revision) Revision {
	for _, g := range gs {
		if g.From < rev && rev <= g.To {
			return g.From
		}
	}
	return rev - 1
}

// refuse is why nothing can be read at rev: nothing was there. nil: it is in no gap.
func (gs gaps) refuse(rev Revision) error {
	if g, ok := gs.at(rev); ok {
		return &CompactedError{Floor: g.To, Gap: g}
	}
	return nil
}

// GapAt is the gap that rev is in: the cluster was restored, and rev is none of its revisions.
func (s *State) GapAt(rev Revision) (Gap, bool) { return gaps(s.Gaps).at(rev) }

// After is the revision that comes after rev, Before the one that comes before it.
func (s *State) After(rev Revision) Revision { return gaps(s.Gaps).after(rev) }

// Before is the revision that comes before rev.
func (s *State) Before(rev Revision) Revision { return gaps(s.Gaps).before(rev) }

// Between is how many revisions there are after from, up to to; neither is in a gap.
func (s *State) Between(from, to Revision) uint64 {
	n := uint64(to - from)
	for _, g := range s.Gaps {
		if from <= g.From && g.To <= to {
			n -= uint64(g.To-g.From) - 1
		}
	}
	return n
}

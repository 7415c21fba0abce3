package linearizability

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// CheckRevisions decides whether the history is linearizable in the order that
// its revisions tell, and whether everything that was answered is what the state
// was at the revision that the answer names. It takes O(n log n).
//
// A write stands at twice its revision, a read, a failed compare and an unchanged
// write at one more. The history is right in this order if no operation was
// called after one of a greater place had returned. Unknown writes are decided
// by the change log if the history has it, else by whether anybody saw their value.
//
// The error names the operations at odds.
func CheckRevisions(h *History) error {
	c := revisionCheck{h: h, made: map[uint64]uint64{}, byID: map[uint64]*Op{}}
	for i := range h.Ops {
		c.byID[h.Ops[i].ID] = &h.Ops[i]
	}
	for _, step := range []func() error{c.readLog, c.collectWrites, c.checkOutcomes, c.checkOrder, c.checkValues} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

type revisionCheck struct {
	h      *History
	byID   map[uint64]*Op
	made   map[uint64]uint64 // op to its revision, of the change log
	writes []revisionWrite   // by revision
}

// revisionWrite is a write with the place that it took.
type revisionWrite struct {
	rev uint64
	op  *Op // nil: a change of no operation in the history
	key string
}

// readLog takes the change log: each operation is in it once at most.
func (c *revisionCheck) readLog() error {
	for _, ch := range c.h.Changes {
		if ch.Op == 0 {
			c.writes = append(c.writes, revisionWrite{rev: ch.Revision, key: ch.Key})
			continue
		}
		o := c.byID[ch.Op]
		switch {
		case o == nil:
			return fmt.Errorf("revision %d was made by op %d, which nobody called", ch.Revision, ch.Op)
		case !o.isWrite() || o.Key != ch.Key:
			return fmt.Errorf("revision %d changed key %s, which %v cannot have done", ch.Revision, ch.Key, o)
		case c.made[ch.Op] != 0:
			return fmt.Errorf("%v was applied twice, at revisions %d and %d", o, c.made[ch.Op], ch.Revision)
		}
		c.made[ch.Op] = ch.Revision
	}
	return nil
}

// collectWrites finds the revision of each write that had an effect.
func (c *revisionCheck) collectWrites() error {
	seen := map[string]uint64{} // value to the revision it was read at
	if !c.h.HasChanges {
		for i := range c.h.Ops {
			if o := &c.h.Ops[i]; o.Outcome == ReadDone && o.Found {
				seen[o.Got] = o.KeyRevision
			}
		}
	}
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		rev := uint64(0)
		switch {
		case !o.isWrite():
		case o.Outcome == Applied && o.Return != Never:
			rev = o.Revision
		case o.isUnknown() && c.h.HasChanges:
			rev = c.made[o.ID]
		case o.isUnknown() && o.Kind == Put:
			rev = seen[o.Value]
		}
		if rev != 0 {
			c.writes = append(c.writes, revisionWrite{rev: rev, op: o, key: o.Key})
		}
	}
	slices.SortStableFunc(c.writes, func(a, b revisionWrite) int { return cmp.Compare(a.rev, b.rev) })
	for i := 1; i < len(c.writes); i++ {
		if a, b := c.writes[i-1], c.writes[i]; a.rev == b.rev {
			return fmt.Errorf("two writes have revision %d: %v and %v", a.rev, a.op, b.op)
		}
	}
	return nil
}

// checkOutcomes holds what clients were told against the change log.
func (c *revisionCheck) checkOutcomes() error {
	if !c.h.HasChanges {
		return nil
	}
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		if !o.isWrite() || o.isUnknown() {
			continue
		}
		made := c.made[o.ID]
		switch {
		case o.Outcome == Applied && made == 0:
			return fmt.Errorf("acknowledged write is lost: %v is not in the change log", o)
		case o.Outcome == Applied && made != o.Revision:
			return fmt.Errorf("%v is in the change log at revision %d", o, made)
		case o.Outcome != Applied && made != 0:
			return fmt.Errorf("%v changed the key all the same, at revision %d", o, made)
		}
	}
	return nil
}

// place is where an operation stands in the order; false if it stands nowhere.
func (c *revisionCheck) place(o *Op) (uint64, bool) {
	switch {
	case o.Kind == Local:
		return 0, false
	case o.isUnknown():
		rev := c.made[o.ID]
		return 2 * rev, rev != 0
	case o.Outcome == Applied:
		return 2 * o.Revision, true
	case o.Outcome == ReadDone, o.Outcome == CompareFailed, o.Outcome == Unchanged:
		return 2*o.Revision + 1, true
	}
	return 0, false
}

// checkOrder: nothing was called after something of a greater place had returned.
func (c *revisionCheck) checkOrder() error {
	var calls, returns []*Op
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		if _, ok := c.place(o); !ok {
			continue
		}
		calls = append(calls, o)
		if !o.isUnknown() {
			returns = append(returns, o)
		}
	}
	slices.SortStableFunc(calls, func(a, b *Op) int { return cmp.Compare(a.Call, b.Call) })
	slices.SortStableFunc(returns, func(a, b *Op) int { return cmp.Compare(a.Return, b.Return) })
	var greatest *Op
	var bound uint64
	n := 0
	for _, o := range calls {
		for ; n < len(returns) && returns[n].Return < o.Call; n++ {
			if p, _ := c.place(returns[n]); greatest == nil || p > bound {
				greatest, bound = returns[n], p
			}
		}
		if p, _ := c.place(o); greatest != nil && p < bound {
			return fmt.Errorf("the past was seen, or written: %v, although before it %v", o, greatest)
		}
	}
	return nil
}

// keyVersion is a key's state from rev on.
type keyVersion struct {
	rev   uint64
	found bool
	value string
	known bool // false: of a change that no operation of the history made
}

// checkValues replays the writes in the order of their revisions and holds every
// answer against the state at its revision.
func (c *revisionCheck) checkValues() error {
	versions := map[string][]keyVersion{}
	for _, w := range c.writes {
		vs := versions[w.key]
		now := keyVersion{known: true}
		if len(vs) > 0 {
			now = vs[len(vs)-1]
		}
		if w.op == nil {
			versions[w.key] = append(vs, keyVersion{rev: w.rev})
			continue
		}
		if now.known {
			if !w.op.conditionHolds(now.keyRevision()) {
				return fmt.Errorf("%v was applied at revision %d, although the key was at %d", w.op, w.rev, now.keyRevision())
			}
			if w.op.Kind == Delete && !now.found {
				return fmt.Errorf("%v was applied at revision %d, although there was nothing to delete", w.op, w.rev)
			}
		}
		versions[w.key] = append(vs, keyVersion{rev: w.rev, found: w.op.Kind == Put, value: w.op.Value, known: true})
	}
	for i := range c.h.Ops {
		o := &c.h.Ops[i]
		if o.Return == Never {
			continue
		}
		vs := versions[o.Key]
		n := sort.Search(len(vs), func(i int) bool { return vs[i].rev > o.Revision })
		now := keyVersion{known: true}
		if n > 0 {
			now = vs[n-1]
		}
		if err := now.explains(o); err != nil {
			return err
		}
	}
	return nil
}

func (v keyVersion) keyRevision() uint64 {
	if !v.found {
		return 0
	}
	return v.rev
}

func (v keyVersion) String() string {
	if !v.found {
		return "absent"
	}
	return fmt.Sprintf("%s at %d", v.value, v.rev)
}

// explains tells whether o's answer is right if the key is v.
func (v keyVersion) explains(o *Op) error {
	if !v.known {
		return nil
	}
	right := true
	switch o.Outcome {
	case ReadDone:
		right = o.Found == v.found && o.Got == v.value && o.KeyRevision == v.keyRevision()
	case CompareFailed:
		right = o.KeyRevision == v.keyRevision() && !o.conditionHolds(v.keyRevision())
	case Unchanged:
		right = o.KeyRevision == v.keyRevision() && v.found == (o.Kind == Put) && v.value == o.Value && o.conditionHolds(v.keyRevision())
	case Applied, NotApplied, Unknown, ReadFailed:
	}
	if !right {
		return fmt.Errorf("wrong answer: %v, but at revision %d the key is %v", o, o.Revision, v)
	}
	return nil
}

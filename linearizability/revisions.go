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
// called after one of a greater place had returned.
//
// With the change log, unknown writes are decided by whether it has them, and the
// answer is exact. Without it, one stands where somebody saw its value. One whose
// value nobody saw may have happened at any revision that is free, and excuses
// what it can explain: nothing right is refused, some wrong may pass, for which there
// is [CheckRegisters].
//
// The error is a *Violation that names the operations at odds.
func CheckRevisions(h *History) error {
	c := revisionCheck{h: h, made: map[*Op]uint64{}}
	c.ops, c.byID = h.operations()
	for _, step := range []func() error{c.readLog, c.collectWrites, c.checkOutcomes, c.checkOrder, c.checkValues} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

type revisionCheck struct {
	h      *History
	ops    []*Op
	byID   map[uint64]*Op // attempts to what they are attempts at
	made   map[*Op]uint64 // where an operation stands in the change log, or must stand
	writes []revisionWrite
	taken  []uint64         // the revisions of writes, in order
	astray map[string][]*Op // by key, unknown writes without a place
	vague  map[string]bool  // lists that such a write may have changed: their values are not known
	states map[string][]keyVersion
}

// revisionWrite is a write with the place that it took.
type revisionWrite struct {
	rev uint64
	op  *Op // nil: a change of no operation in the history
	key string
}

// readLog takes the change log: each operation is in it once at most, and with
// keys that it can have changed.
func (c *revisionCheck) readLog() error {
	for _, ch := range c.h.Changes {
		if ch.Op == 0 {
			c.writes = append(c.writes, revisionWrite{rev: ch.Revision, key: ch.Key})
			continue
		}
		o := c.byID[ch.Op]
		switch {
		case o == nil:
			return violation(nil, "revision %d was made by op %d, which nobody called", ch.Revision, ch.Op)
		case !o.mayChange(ch.Key):
			return violation([]*Op{o}, "revision %d changed key %s, which %v cannot have done", ch.Revision, ch.Key, o)
		case c.made[o] != 0 && c.made[o] != ch.Revision:
			return violation([]*Op{o}, "%v was applied twice, at revisions %d and %d", o, c.made[o], ch.Revision)
		}
		c.made[o] = ch.Revision
	}
	return nil
}

// mayChange tells whether o may change a key.
func (o *Op) mayChange(key string) bool {
	return slices.ContainsFunc(o.mayDo(), func(s Step) bool { return s.Key == key && s.Kind != Read })
}

// collectWrites finds the revision of each write that had an effect.
func (c *revisionCheck) collectWrites() error {
	if !c.h.HasChanges {
		c.place(c.sightings())
	}
	for _, o := range c.ops {
		rev := c.made[o]
		if o.isWrite() && o.isAnswered() && o.Outcome == Applied {
			rev = o.Revision
		} else if !o.isUnknown() {
			rev = 0
		}
		if rev != 0 {
			c.writes = append(c.writes, revisionWrite{rev: rev, op: o})
		}
	}
	slices.SortStableFunc(c.writes, func(a, b revisionWrite) int { return cmp.Compare(a.rev, b.rev) })
	for i := range c.writes {
		b := c.writes[i]
		if i > 0 && b.rev == c.writes[i-1].rev {
			a := c.writes[i-1]
			if a.op == nil && b.op == nil {
				continue // keys of one transaction
			}
			return violation([]*Op{a.op, b.op}, "two writes have revision %d: %v and %v", a.rev, a.op, b.op)
		}
		c.taken = append(c.taken, b.rev)
	}
	return nil
}

// sightings are the revisions at which values were seen that no acknowledged write made.
func (c *revisionCheck) sightings() map[keyValue]map[uint64]bool {
	taken := map[uint64]bool{}
	for _, o := range c.ops {
		if o.Outcome == Applied && o.isAnswered() {
			taken[o.Revision] = true
		}
	}
	out := map[keyValue]map[uint64]bool{}
	see := func(key, value string, rev uint64) {
		if rev == 0 || taken[rev] {
			return
		}
		what := keyValue{key, value}
		if out[what] == nil {
			out[what] = map[uint64]bool{}
		}
		out[what][rev] = true
	}
	for _, o := range c.ops {
		if !o.sawSteps() {
			continue
		}
		if o.Kind == Put && o.Outcome == Unchanged {
			see(o.Key, o.Value, o.KeyRevision)
		}
		for _, s := range o.steps() {
			if s.Kind == Read && s.Found {
				see(s.Key, s.Got, s.KeyRevision)
			}
		}
	}
	return out
}

// place gives unknown puts the revisions that their values were seen at. Of
// several attempts at one value, the first that was called made the first
// revision: if another order is right, this one is.
func (c *revisionCheck) place(seen map[keyValue]map[uint64]bool) {
	c.astray, c.vague = map[string][]*Op{}, map[string]bool{}
	unknown := slices.DeleteFunc(slices.Clone(c.ops), func(o *Op) bool { return !o.isUnknown() })
	slices.SortFunc(unknown, byCall)
	for _, o := range unknown {
		least := uint64(0)
		for _, s := range o.mayDo() {
			revs := seen[keyValue{s.Key, s.Value}]
			if s.Kind != Put || len(revs) == 0 {
				continue
			}
			for rev := range revs {
				if least == 0 || rev < least {
					least = rev
				}
			}
			delete(revs, least)
		}
		c.made[o] = least
		if least != 0 {
			continue
		}
		for _, s := range o.mayDo() {
			if s.Kind != Read {
				c.astray[s.Key] = append(c.astray[s.Key], o)
			}
		}
	}
	for _, o := range c.ops {
		for _, s := range o.mayDo() {
			if s.Kind == Append && len(c.astray[s.Key]) > 0 {
				c.vague[s.Key] = true
			}
		}
	}
}

// checkOutcomes holds what clients were told against the change log.
func (c *revisionCheck) checkOutcomes() error {
	if !c.h.HasChanges {
		return nil
	}
	for _, o := range c.ops {
		if !o.isWrite() || o.isUnknown() {
			continue
		}
		made := c.made[o]
		switch {
		case o.Outcome == Applied && made == 0:
			return violation([]*Op{o}, "acknowledged write is lost: %v is not in the change log", o)
		case o.Outcome == Applied && made != o.Revision:
			return violation([]*Op{o}, "%v is in the change log at revision %d", o, made)
		case o.Outcome != Applied && made != 0:
			return violation([]*Op{o}, "%v changed the key all the same, at revision %d", o, made)
		}
	}
	return nil
}

// placeOf is where an operation stands in the order; false if it stands nowhere.
func (c *revisionCheck) placeOf(o *Op) (uint64, bool) {
	switch {
	case o.Kind == Local:
		return 0, false
	case o.isUnknown():
		rev := c.made[o]
		return 2 * rev, rev != 0
	case o.Outcome == Applied:
		return 2 * o.Revision, true
	case o.isAnswered():
		return 2*o.Revision + 1, true
	}
	return 0, false
}

// checkOrder: nothing was called after something of a greater place had returned.
func (c *revisionCheck) checkOrder() error {
	var calls, returns []*Op
	for _, o := range c.ops {
		if _, ok := c.placeOf(o); !ok {
			continue
		}
		calls = append(calls, o)
		if !o.isUnknown() {
			returns = append(returns, o)
		}
	}
	slices.SortFunc(calls, byCall)
	slices.SortFunc(returns, byReturn)
	var greatest *Op
	var bound uint64
	n := 0
	for _, o := range calls {
		for ; n < len(returns) && returns[n].Return < o.Call; n++ {
			if p, _ := c.placeOf(returns[n]); greatest == nil || p > bound {
				greatest, bound = returns[n], p
			}
		}
		if p, _ := c.placeOf(o); greatest != nil && p < bound {
			return violation([]*Op{o, greatest}, "the past was seen, or written: %v, although before it %v", o, greatest)
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
	by    *Op
}

// checkValues replays the writes in the order of their revisions and holds every
// answer against the state at its revision.
func (c *revisionCheck) checkValues() error {
	c.states = map[string][]keyVersion{}
	for _, w := range c.writes {
		if w.op == nil {
			c.states[w.key] = append(c.states[w.key], keyVersion{rev: w.rev})
			continue
		}
		if err := c.replay(w); err != nil {
			return err
		}
	}
	for _, o := range c.ops {
		if !o.isAnswered() || o.Outcome == Applied {
			continue
		}
		if err := c.checkAnswer(o); err != nil {
			return err
		}
	}
	return nil
}

// replay does what a write did, at its revision, and checks what it saw there.
func (c *revisionCheck) replay(w revisionWrite) error {
	steps, err := c.branchOf(w)
	if err != nil {
		return err
	}
	if steps == nil { // one branch or the other
		for _, s := range w.op.mayDo() {
			if s.Kind != Read {
				c.states[s.Key] = append(c.states[s.Key], keyVersion{rev: w.rev})
			}
		}
		return nil
	}
	changed, unsure := false, false
	for _, s := range steps {
		now := c.at(s.Key, w.rev)
		if s.Kind == Read {
			gone := !s.Found && now.found && c.stray(s.Key, now.rev, w.rev-1, w.op)
			if w.op.isAnswered() && now.known && !now.shows(&s) && !gone {
				return violation([]*Op{w.op, now.by}, "wrong answer: %v, but at revision %d key %s is %v", w.op, w.rev, s.Key, now)
			}
			continue
		}
		next, did := now.after(&s, w)
		if !did && c.stray(s.Key, now.rev, w.rev-1, w.op) {
			did = true
			next.known = w.op.Kind != Txn
		}
		unsure = unsure || !next.known
		changed = changed || did
		if did {
			c.states[s.Key] = append(c.states[s.Key], next)
		}
	}
	if !changed {
		return violation([]*Op{w.op}, "%v was applied at revision %d, although there was nothing to change", w.op, w.rev)
	}
	if c.h.HasChanges && !unsure {
		return c.changedKeys(w, steps)
	}
	return nil
}

// branchOf are the steps that a write did, by what its conditions found at its revision;
// nil if that cannot be said.
func (c *revisionCheck) branchOf(w revisionWrite) ([]Step, error) {
	o := w.op
	sure := true // that all of them hold
	for _, cond := range o.compares() {
		now := c.at(cond.Key, w.rev-1)
		holds := now.known && cond.holds(now)
		switch unsure := c.stray(cond.Key, now.rev, w.rev-1, o); {
		case !now.known || holds && unsure || !holds && c.excused(cond, now, w):
			sure = false
		case holds:
		case o.ElseDone || len(o.Else) > 0 && o.isUnknown():
			return o.Else, nil
		default:
			return nil, violation([]*Op{o, now.by}, "%v was applied at revision %d, although key %s was %v", o, w.rev, cond.Key, now)
		}
	}
	switch {
	case sure && o.ElseDone:
		return nil, violation([]*Op{o}, "%v did its else branch at revision %d, although all its conditions held", o, w.rev)
	case !sure && len(o.Else) > 0 && o.isUnknown():
		return nil, nil
	}
	return o.steps(), nil
}

// changedKeys: the change log names the keys that a write changed, and no others.
func (c *revisionCheck) changedKeys(w revisionWrite, steps []Step) error {
	n := sort.Search(len(c.h.Changes), func(i int) bool { return c.h.Changes[i].Revision >= w.rev })
	logged := map[string]bool{}
	for ; n < len(c.h.Changes) && c.h.Changes[n].Revision == w.rev; n++ {
		key := c.h.Changes[n].Key
		logged[key] = true
		if c.at(key, w.rev).rev != w.rev {
			return violation([]*Op{w.op}, "the change log says that revision %d changed key %s, which %v left as it was", w.rev, key, w.op)
		}
	}
	for _, s := range steps {
		if !logged[s.Key] && c.at(s.Key, w.rev).rev == w.rev {
			return violation([]*Op{w.op}, "half a transaction: %v changed key %s at revision %d, and the change log has not that key", w.op, s.Key, w.rev)
		}
	}
	return nil
}

// checkAnswer holds the answer of anything but an applied write against the state
// at its revision.
func (c *revisionCheck) checkAnswer(o *Op) error {
	if o.Outcome == CompareFailed || o.ElseDone {
		if err := c.checkFailed(o); err != nil || !o.ElseDone {
			return err
		}
	} else {
		for _, cond := range o.compares() {
			now := c.at(cond.Key, o.Revision)
			if now.known && !cond.holds(now) && !c.excused(cond, now, revisionWrite{rev: o.Revision + 1, op: o}) {
				return wrong(o, cond.Key, now)
			}
		}
	}
	for _, s := range o.steps() {
		now := c.at(s.Key, o.Revision)
		if !now.known {
			continue
		}
		right := now.shows(&s)
		if s.Kind != Read {
			_, did := now.after(&s, revisionWrite{rev: o.Revision + 1, op: o})
			right = !did && (o.Kind == Txn || o.KeyRevision == now.keyRevision())
		}
		if gone := (s.Kind == Read && !s.Found) || (s.Kind == Delete && o.KeyRevision == 0); !right && now.found && gone {
			right = c.stray(s.Key, now.rev, o.Revision, o)
		}
		if !right {
			return wrong(o, s.Key, now)
		}
	}
	return nil
}

// checkFailed: one of the conditions did not hold, and the one of a single key saw
// that key as it was.
func (c *revisionCheck) checkFailed(o *Op) error {
	var key string
	var now keyVersion
	for _, cond := range o.compares() {
		key, now = cond.Key, c.at(cond.Key, o.Revision)
		if !now.known || c.stray(key, now.rev, o.Revision, o) {
			if o.Kind == Txn || !cond.holds(lastAt(o.KeyRevision)) {
				return nil
			}
			continue
		}
		if !cond.holds(now) && (o.Kind == Txn || o.KeyRevision == now.keyRevision()) {
			return nil
		}
	}
	return wrong(o, key, now)
}

func wrong(o *Op, key string, now keyVersion) error {
	return violation([]*Op{o, now.by}, "wrong answer: %v, but at revision %d key %s is %v", o, o.Revision, key, now)
}

// excused tells whether an unknown write without a place can have made a
// condition hold.
func (c *revisionCheck) excused(cond Compare, now keyVersion, w revisionWrite) bool {
	if cond.Revision != 0 && (cond.Revision <= now.rev || cond.Revision >= w.rev) {
		return false
	}
	return c.stray(cond.Key, now.rev, w.rev-1, w.op)
}

// stray tells whether an unknown write without a place can have changed a key
// after one revision and up to another, before o ended.
func (c *revisionCheck) stray(key string, after, upTo uint64, o *Op) bool {
	if upTo <= after {
		return false
	}
	within := sort.Search(len(c.taken), func(i int) bool { return c.taken[i] > upTo }) -
		sort.Search(len(c.taken), func(i int) bool { return c.taken[i] > after })
	free := upTo - after - uint64(within)
	return free > 0 && slices.ContainsFunc(c.astray[key], func(s *Op) bool { return s.Call <= o.end() })
}

// at is the state of a key at a revision.
func (c *revisionCheck) at(key string, rev uint64) keyVersion {
	if c.vague[key] {
		return keyVersion{}
	}
	vs := c.states[key]
	if n := sort.Search(len(vs), func(i int) bool { return vs[i].rev > rev }); n > 0 {
		return vs[n-1]
	}
	return keyVersion{known: true}
}

// after is the state after a step of a write, and whether it differs.
func (v keyVersion) after(s *Step, w revisionWrite) (keyVersion, bool) {
	next := keyVersion{rev: w.rev, known: true, by: w.op}
	switch s.Kind {
	case Put:
		next.found, next.value = true, s.Value
	case Append:
		next.found, next.value, next.known = true, appended(v.value, s.Value), v.known
	case Delete, Read, Local, Txn:
	}
	if !v.known && w.op.Kind == Txn {
		next = keyVersion{rev: w.rev} // whether it changed anything is not known
	}
	return next, !v.known || next.found != v.found || next.value != v.value
}

// shows tells whether a read step is right if the key is v.
func (v keyVersion) shows(s *Step) bool {
	return s.Found == v.found && s.Got == v.value && s.KeyRevision == v.keyRevision()
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

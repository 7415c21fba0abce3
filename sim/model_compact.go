package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
)

// compacted is what of the past is not held any more. The model itself forgets nothing: it
// says what was, and whether a store may still know.
type compacted struct {
	floor   fsm.Revision // the oldest revision held
	counted fsm.Revision // up to which the keys of changes were looked at for versions too many
	// countedKeys: so many keys of the change after it were, too.
	countedKeys int
	past        map[string][]modelPast
	gaps        map[string][]modelGap
	gapped      fsm.Index // of the newest gap
}

// modelPast is a version of a key that is over, and held; or the gap before those that are.
type modelPast struct {
	from, ended fsm.Revision
	gap         bool
}

// modelGap says that from an index of the log on a key cannot be read at the revisions from
// from to before ended.
type modelGap struct {
	index       fsm.Index
	from, ended fsm.Revision
}

func newCompacted() compacted {
	return compacted{past: map[string][]modelPast{}, gaps: map[string][]modelGap{}}
}

// over: a record of key that was put at one revision ended at another.
func (c *compacted) over(key string, from, ended fsm.Revision) {
	c.past[key] = append(c.past[key], modelPast{from: from, ended: ended})
}

// maintain lets time pass and forgets what is old enough. Each of its three parts does not do
// more than one command may, and says whether it might have.
func (m *model) maintain(index fsm.Index, c *fsm.Maintenance) modelResult {
	now := m.time + c.Elapsed
	behind := m.answers.expire(now)
	if c.KeepFor > 0 {
		behind = m.sweep(now-c.KeepFor) || behind
	}
	if c.KeepVersions > 0 || m.policy().keeping() {
		behind = m.trim(index, c.KeepVersions) || behind
	}
	m.time = now
	return modelResult{outcome: fsm.Maintained, revision: m.revision, busy: behind || len(m.answers.of) > 0, behind: behind}
}

// sweep raises the floor to the last change made by a time: what it and those before it
// superseded goes.
func (m *model) sweep(until time.Duration) (more bool) {
	room := fsm.MaxMaintenance
	for room > 0 && m.floor < m.revision {
		next := &m.changes[m.place(m.after(m.floor))]
		if next.time > until {
			return false
		}
		m.floor = m.after(m.floor)
		ops := next.ops
		for i := range ops {
			if ops[i].ofKey() { // what a namespace was nobody can ask for any more
				m.past[ops[i].key] = slices.DeleteFunc(m.past[ops[i].key], func(p modelPast) bool { return p.ended == m.floor })
			}
		}
		room -= 1 + len(ops)
	}
	return room <= 0
}

// trim looks at the keys of the changes that were not looked at yet.
func (m *model) trim(index fsm.Index, keep int) (more bool) {
	if m.counted < m.floor {
		m.counted, m.countedKeys = m.floor, 0
	}
	room, done := fsm.MaxMaintenance, map[string]bool{}
	for room > 0 && m.counted < m.revision {
		room--
		ops := m.changes[m.place(m.after(m.counted))].ops
		for ; m.countedKeys < len(ops); m.countedKeys++ {
			if room <= 0 {
				return true
			}
			room--
			key := ops[m.countedKeys].key
			if done[key] || !ops[m.countedKeys].ofKey() {
				continue
			}
			done[key] = true
			here := m.policy().keeps(key, keep)
			if here == 0 {
				continue // all
			}
			room -= max(0, len(m.past[key])-here) // worlds keep too few for those to count
			m.trimKey(index, key, here)
		}
		m.counted, m.countedKeys = m.after(m.counted), 0
	}
	return room <= 0
}

// trimKey leaves the newest keep versions of key that are over, and a gap in place of the rest.
func (m *model) trimKey(index fsm.Index, key string, keep int) {
	past := m.past[key]
	surplus := past[:max(0, len(past)-keep)]
	if len(surplus) == 0 || len(surplus) == 1 && surplus[0].gap {
		return
	}
	gap := modelPast{from: surplus[0].from, ended: surplus[len(surplus)-1].ended, gap: true}
	m.past[key] = append([]modelPast{gap}, past[len(surplus):]...)
	m.gapped = index
	m.gaps[key] = append(m.gaps[key], modelGap{index: index, from: gap.from, ended: gap.ended})
}

// lost tells whether the state after the entry at index does not hold what key was at a
// revision from its floor on: then it returns the revision from which on it does, else 0.
func (m *model) lost(key string, rev fsm.Revision, index fsm.Index) fsm.Revision {
	for _, g := range slices.Backward(m.gaps[key]) {
		if g.index > index {
			continue
		}
		if g.from <= rev && rev < g.ended {
			return g.ended
		}
		break
	}
	return 0
}

// lostAmong is the first of keys, in their order, that is lost, and from where on it is held.
func (m *model) lostAmong(keys []string, rev fsm.Revision, index fsm.Index) (key string, ended fsm.Revision) {
	for _, key := range keys {
		if ended := m.lost(key, rev, index); ended != 0 {
			return key, ended
		}
	}
	return "", 0
}

// known are all keys there ever were that begin with prefix, in order.
func (m *model) known(prefix string) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(m.keys)) {
		if strings.HasPrefix(key, prefix) {
			out = append(out, key)
		}
	}
	return out
}

// restore is what makes a key, or all below a prefix, what it was at a revision.
func (m *model) restore(op *fsm.Op, index fsm.Index) (changed []*fsm.Op, refused modelResult) {
	switch {
	case op.Revision > m.revision:
		return nil, modelResult{outcome: fsm.FutureRevision}
	case op.Revision < m.floor:
		return nil, modelResult{outcome: fsm.Compacted, floor: m.floor}
	case m.skipped(op.Revision):
		return nil, modelResult{outcome: fsm.Compacted, floor: m.skip.To}
	}
	keys := []string{op.Key}
	if op.Key == "" || strings.HasSuffix(op.Key, "/") {
		keys = m.known(op.Key)
	}
	if _, ended := m.lostAmong(keys, op.Revision, index); ended != 0 {
		return nil, modelResult{outcome: fsm.Compacted, floor: ended}
	}
	for _, key := range keys {
		then, now := m.asOf(key, op.Revision), m.at(key, index)
		switch {
		case then.rev == 0 && now.rev != 0:
			changed = append(changed, &fsm.Op{Kind: fsm.Delete, Key: key})
		case then.rev != 0 && (now.rev == 0 || now.value != then.value):
			contentType, value, _ := strings.Cut(then.value, "\n")
			changed = append(changed, &fsm.Op{Kind: fsm.Put, Key: key, ContentType: contentType, Value: []byte(value)})
		}
	}
	return changed, modelResult{}
}

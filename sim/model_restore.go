package sim

import (
	"maps"
	"slices"

	"github.com/confman/confman/fsm"
)

// A restore, as the documentation of fsm.Store.RestoreTo has it: what there was at a revision, and
// behind a gap the change that says so.

// place is where in changes a revision is, which must be one that was made.
func (m *model) place(rev fsm.Revision) int {
	if m.skip.To != 0 && rev >= m.skip.To {
		return int(m.skip.From) + int(rev-m.skip.To)
	}
	return int(rev) - 1
}

// number is the revision at a place in changes.
func (m *model) number(place int) fsm.Revision {
	if m.skip.To != 0 && place >= int(m.skip.From) {
		return m.skip.To + fsm.Revision(place) - m.skip.From
	}
	return fsm.Revision(place) + 1
}

// skipped tells whether a revision is none, since a restore skipped it.
func (m *model) skipped(rev fsm.Revision) bool { return m.skip.From < rev && rev < m.skip.To }

// made is the change of a revision; nil if there is none.
func (m *model) made(rev fsm.Revision) *modelChange {
	if rev == 0 || rev > m.revision || m.skipped(rev) {
		return nil
	}
	return &m.changes[m.place(rev)]
}

// after and before are the revisions on either side of one.
func (m *model) after(rev fsm.Revision) fsm.Revision {
	if m.skip.To != 0 && rev == m.skip.From {
		return m.skip.To
	}
	return rev + 1
}

func (m *model) before(rev fsm.Revision) fsm.Revision {
	if m.skip.To != 0 && rev == m.skip.To {
		return m.skip.From
	}
	return rev - 1
}

// restored is what a cluster begins with that is restored of what m is at revision at, not before its
// floor. m must not be used any more.
func (m *model) restored(at fsm.Revision, to *fsm.Restoration) {
	for key, vs := range m.keys {
		m.keys[key] = slices.DeleteFunc(vs, func(v modelVersion) bool { return v.made > at })
		m.past[key] = slices.DeleteFunc(m.past[key], func(p modelPast) bool { return p.ended > at })
		m.gaps[key] = slices.DeleteFunc(m.gaps[key], func(g modelGap) bool { return g.ended > at })
	}
	m.policies = slices.DeleteFunc(m.policies, func(p modelPolicyFrom) bool { return p.made > at })
	maps.DeleteFunc(m.answers.of, func(_ string, a modelAnswer) bool { return a.result.revision > at })
	m.answers.order = slices.DeleteFunc(m.answers.order, func(name string) bool {
		_, known := m.answers.of[name]
		return !known
	})
	m.origins = map[uint64]*modelOrigin{} // nobody of the new cluster has proposed anything
	if m.counted > at {
		m.counted, m.countedKeys = at, 0
	}
	m.changes = m.changes[:at]
	m.skip = fsm.Gap{From: at, To: m.revision + fsm.RestoreGap}
	m.revision, m.latest = m.skip.To, max(m.latest, to.Time)
	c := modelChange{ops: []modelOp{{kind: fsm.Restored, old: at}}, at: m.latest, time: m.time}
	m.log(c, &fsm.Command{Comment: to.Comment}, nil)
}
